//! The small parts: waiting, random numbers, the watchdog, addresses, the shared server.

use std::process::Command;
use std::time::Duration;

use super::failure_of;
use crate::support::address::Address;
use crate::support::client::{Client, Failure};
use crate::support::eventually::{eventually, eventually_within};
use crate::support::random::{Random, parse_seed};
use crate::support::server::server;
use crate::support::watchdog::watchdog;

#[test]
fn eventually_returns_when_the_condition_is_true_and_panics_when_it_stays_false() {
    let mut calls = 0;
    eventually("three calls", || {
        calls += 1;
        calls == 3
    });
    let failure = failure_of(|| eventually_within(Duration::from_millis(10), "pigs fly", || false));
    assert!(failure.contains("still not: pigs fly (waited for at tests/it/kit/small.rs"), "{failure}");
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    // The first numbers of the published generator.
    let mut random = Random::with_seed(1_234_567);
    assert_eq!(random.next(), 6_457_827_717_110_365_317);
    assert_eq!(random.next(), 3_203_168_211_198_807_973);
    let numbers = |mut random: Random| (0..20).map(|_| random.below(1000)).collect::<Vec<_>>();
    assert_eq!(numbers(Random::with_seed(1)), numbers(Random::with_seed(1)));
    assert_ne!(numbers(Random::with_seed(1)), numbers(Random::with_seed(2)));
    assert_eq!(numbers(Random::with_seed(1).fork()), numbers(Random::with_seed(1).fork()));
    assert_ne!(numbers(Random::with_seed(1)), numbers(Random::with_seed(1).fork()));
}

#[test]
fn random_numbers_reach_all_of_their_range() {
    let mut random = Random::new();
    let mut seen = [false; 10];
    let mut both = [false; 2];
    for _ in 0..1000 {
        seen[random.below(10)] = true;
        both[usize::from(random.one_in(2))] = true;
    }
    assert_eq!((seen, both), ([true; 10], [true; 2]));
    assert!(["a", "b"].contains(random.pick(&["a", "b"])));
}

#[test]
fn a_seed_is_read_as_it_is_printed() {
    assert_eq!(parse_seed("0xff"), Some(255));
    assert_eq!(parse_seed(" 255 "), Some(255));
    assert_eq!(parse_seed("lucky"), None);
}

/// Says to the tests below that they are the child.
const CHILD: &str = "MAYPOLE_TEST_WATCHDOG_CHILD";

#[test]
fn the_watchdog_aborts_a_test_that_hangs_and_no_other() {
    let run = |test: &str, variable: &str| {
        let name = format!("kit::small::{test}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &name, "--ignored"]).env(variable, "1");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (success, text) = run("a_test_that_hangs", CHILD);
    assert!(!success);
    assert!(text.contains("watchdog: kit::small::a_test_that_hangs is not over after"), "{text}");
    assert!(text.contains("--- the pool\nthree leases\n"), "{text}");
    assert!(text.contains("--- a lock\n(no answer"), "{text}");
    assert!(text.contains("watchdog: aborting"), "{text}");
    let (success, text) = run("a_test_that_does_not_hang", CHILD);
    assert!(success, "{text}");
    assert!(!text.contains("watchdog"), "{text}");
}

#[test]
#[ignore = "the child process of the test above"]
fn a_test_that_hangs() {
    if std::env::var_os(CHILD).is_some() {
        let guard = watchdog(Duration::from_millis(20));
        guard.on_dump("the pool", || "three leases".to_owned());
        guard.on_dump("a lock", || panic!("poisoned"));
        // Not for ever, so that a watchdog that sleeps is a failure above and not a hang.
        std::thread::sleep(Duration::from_secs(20));
    }
}

#[test]
#[ignore = "the child process of the test above"]
fn a_test_that_does_not_hang() {
    let guard = watchdog(Duration::from_secs(60));
    guard.on_dump("nothing", String::new);
}

#[test]
fn addresses_are_taken_apart_and_put_together() {
    let address = Address::parse("postgres://me:a%40b@%2Ftmp%2Fx:5433/shop");
    assert_eq!((address.user.as_str(), address.password.as_deref()), ("me", Some("a@b")));
    assert_eq!((address.host.as_str(), address.port, address.database.as_str()), ("/tmp/x", 5433, "shop"));
    assert_eq!(address.url_at(7), "postgres://me:a%40b@127.0.0.1:7/shop");
    assert_eq!(Address::parse("postgres://me@/shop?host=/tmp/x&port=5433").port, 5433);
    assert!(failure_of(|| drop(Address::parse("host=a"))).contains("postgres://"));
}

#[test]
fn the_tests_share_one_real_server() {
    let mut unix = Client::connect(&server().url()).unwrap();
    let mut tcp = Client::connect(&server().tcp_url()).unwrap();
    let start = "SELECT pg_postmaster_start_time()";
    assert_eq!(unix.value(start).unwrap(), tcp.value(start).unwrap());
    let failure = unix.query("SELECT nonsense").unwrap_err();
    assert!(
        matches!(failure, Failure::Server { code, text } if code == "42703" && text.contains("nonsense"))
    );
    let wrong = server().tcp_url().replace(server().password(), "wrong");
    assert!(matches!(Client::connect(&wrong), Err(Failure::Server { code, .. }) if code == "28P01"));
}
