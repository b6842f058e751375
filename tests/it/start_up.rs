//! How a connection comes into being, and what callers hear if it does not (reliability case 36 and its kin).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use maypole::{Config, Outcome, Phase};

use crate::support::address::Address;
use crate::support::backend::{
    authentication_md5_password, authentication_ok, backend_key_data, error, fatal, greeting, notice,
    parameter_status, ready,
};
use crate::support::eventually::eventually;
use crate::support::frame::STARTUP;
use crate::support::listener::{Listener, Place};
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Direction::Frontend, Proxy};
use crate::support::raw::{Raw, echo};
use crate::support::script::Script;
use crate::support::server::server;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// A port of 127.0.0.1 where nobody listens, kept while the guard lives.
fn dead_port() -> (Listener, u16) {
    let mut listener = Listener::tcp().expect("a port");
    listener.refuse().expect("it was ours");
    let Place::Tcp(port) = listener.place else { unreachable!("a TCP listener has a port") };
    (listener, port)
}

/// The real server's login at other hosts: `host:port,…`.
fn login_at(hosts: &str) -> String {
    let address = Address::parse(&server().tcp_url());
    let password = address.password.as_deref().expect("TCP needs a password");
    format!("postgres://{}:{password}@{hosts}/{}", address.user, address.database)
}

/// Case 36.
#[test]
fn a_dead_first_host_costs_no_time() {
    let (_kept, dead) = dead_port();
    let url = login_at(&format!("127.0.0.1:{dead},127.0.0.1:{}", server().port()));
    let test = TestPool::at(&url, 2);
    let start = Instant::now();
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("the second host"), 1);
    assert!(start.elapsed() < SLACK);
    test.finish();
}

/// Case 36: the first accepts and never says a word.
#[test]
fn a_deaf_first_host_costs_its_share_of_the_deadline() {
    for deaf in [Raw::start(|mut peer| while peer.receive().is_some() {}), forgetful()] {
        let url = login_at(&format!("127.0.0.1:{},127.0.0.1:{}", deaf.port(), server().port()));
        let config: Config = url.parse().expect("a good URL");
        let limit = Duration::from_millis(600);
        let test = TestPool::built(&url, |builder| builder.config(config.connect_timeout(limit)).limit(1));
        let start = Instant::now();
        assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("the second host"), 1);
        let took = start.elapsed();
        assert!(
            took >= limit / 2 && took < limit / 2 + SLACK,
            "half of {limit:?} is its share, it took {took:?}"
        );
        test.settled();
    }
}

/// A server that accepts, and then forgets about it.
fn forgetful() -> Raw {
    Raw::start(std::mem::forget)
}

/// Case 36: both dead; the error tells of the last, and all of them were tried.
#[test]
fn no_host_alive_is_an_error_that_names_one() {
    let ((_one, first), (_two, second)) = (dead_port(), dead_port());
    let test = TestPool::at(&login_at(&format!("127.0.0.1:{first},127.0.0.1:{second}")), 1);
    let chain = test.why_not();
    assert!(chain.contains(&format!("no connection to 127.0.0.1:{second}")), "{chain}");
    test.settled();
}

/// A name that the system resolves, on a plain thread.
#[test]
fn a_host_name_is_resolved() {
    let test = TestPool::at(&login_at(&format!("localhost:{}", server().port())), 1);
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("let in"), 1);
    test.finish();
    let test = TestPool::at(&login_at("no-such-host.invalid:5432"), 1);
    let chain = test.why_not();
    assert!(chain.contains("no connection to no-such-host.invalid:5432"), "{chain}");
    test.settled();
}

#[test]
fn a_connection_string_reaches_the_server_in_every_form() {
    let (folder, port, password) = (server().socket_dir().display(), server().port(), server().password());
    let encoded: String = server().socket_dir().display().to_string().replace('/', "%2F");
    let forms = [
        format!("host={folder} port={port} user=postgres dbname=postgres"),
        format!("host = '{folder}'  port = '{port}' user=postgres dbname = 'postgres' connect_timeout=3"),
        format!("postgresql://postgres@{encoded}:{port}/postgres"),
        format!("postgres:///postgres?host={folder}&port={port}&user=postgres"),
        format!("host=127.0.0.1 port={port} user=postgres password={password} dbname=postgres"),
        format!(
            "host=ignored.invalid hostaddr=127.0.0.1 port={port} user=postgres password='{password}' dbname=postgres"
        ),
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=prefer&keepalives_idle=30"),
        format!(
            "postgres://postgres:{password}@127.0.0.1:{port}/postgres?options=-c%20search_path%3Dpg_catalog"
        ),
    ];
    for form in forms {
        let test = TestPool::at(&form, 1);
        let name: String =
            test.db.query("SELECT current_setting('application_name')", ()).value().expect("let in");
        assert_eq!(name, test.name, "{form}");
        if form.contains("search_path") {
            let path = test.db.query("SHOW search_path", ()).value::<String>().expect("an answer");
            assert_eq!(path, "pg_catalog");
        }
        test.finish();
    }
}

#[test]
fn a_server_that_is_too_old_is_refused_with_its_version() {
    let greeting_of = |version: &str| {
        let version = parameter_status("server_version", version);
        [authentication_ok(), version, backend_key_data(1, 2), ready(b'I')].concat()
    };
    for (version, refused) in
        [("12.3", true), ("9.6.24", true), ("12devel", true), ("13.0", false), ("18beta1", false)]
    {
        let bytes = greeting_of(version);
        let old = Raw::start(move |mut peer| {
            peer.startup();
            peer.send(&bytes);
            peer.serve(echo, |_| true);
        });
        let test = TestPool::at(&old.url(), 1);
        let start = Instant::now();
        let asked = test.db.query("SELECT $1", (1_i64,)).value::<i64>();
        if refused {
            let error = asked.expect_err("too old");
            let major = version.split(['.', 'd']).next().expect("a part");
            assert!(error.is_config(), "{error:?}");
            assert!(error.to_string().contains(&format!("PostgreSQL {major}; maypole needs 13")), "{error}");
            assert!(start.elapsed() < SLACK, "at once: {:?}", start.elapsed());
        } else {
            assert_eq!(asked.expect("new enough"), 1, "{version}");
        }
        test.settled();
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_at_the_connect_limit() {
    let silent = Raw::start(|mut peer| while peer.receive().is_some() {});
    let config: Config = silent.url().parse().expect("a good URL");
    let limit = Duration::from_millis(150);
    let test = TestPool::built(&silent.url(), |builder| {
        builder.config(config.connect_timeout(limit)).limit(1).acquire_timeout(Duration::from_secs(20))
    });
    let pool = test.pool.clone();
    let start = Instant::now();
    let error = in_coroutine(move || pool.connection().map(drop)).expect_err("nobody answers");
    // Not at the first failure, which may pass, but after two seconds without any connection; not after 20 s either.
    assert!(start.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", start.elapsed());
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Connect), Outcome::NotSent), "{error:?}");
    assert!(error.to_string().contains("(150ms)"), "{error}");
    test.settled();
}

/// Each step of a start-up, in order.
fn steps() -> Vec<Vec<u8>> {
    let mut steps = vec![authentication_ok()];
    for (name, value) in [("server_version", "15.1"), ("client_encoding", "UTF8")] {
        steps.push(parameter_status(name, value));
    }
    steps.extend([notice("hello"), backend_key_data(1, 2), ready(b'I')]);
    steps
}

#[test]
fn a_server_that_hangs_up_during_the_start_up_is_an_error_that_says_so() {
    let whole: Vec<u8> = steps().concat();
    let ends: Vec<usize> = steps()
        .iter()
        .scan(0, |end, step| {
            *end += step.len();
            Some(*end)
        })
        .collect();
    // Before the first message, inside each, and between each and the next; not behind the last.
    let places =
        [0].into_iter().chain(ends.iter().flat_map(|end| [end - 3, *end])).filter(|at| *at < whole.len());
    for place in places.collect::<Vec<_>>() {
        for reset in [false, true] {
            let part = whole[..place].to_vec();
            let hangs_up = Script::new()
                .any_further_connection(|steps| {
                    let steps = steps.may_close().expect(STARTUP).send(part);
                    if reset { steps.reset() } else { steps.hang_up() }
                })
                .start();
            let test = TestPool::at(&hangs_up.url(), 1);
            let chain = test.why_not();
            assert!(chain.contains("the connection to 127.0.0.1"), "after {place} bytes: {chain}");
            test.settled();
        }
    }
}

#[test]
fn a_server_that_hangs_up_instead_of_checking_a_password_is_an_error_that_says_so() {
    for answered in [false, true] {
        let hangs_up = Raw::start(move |mut peer| {
            peer.startup();
            peer.send(&authentication_md5_password(*b"salt"));
            if answered {
                peer.receive();
            }
            peer.hang_up();
        });
        let test = TestPool::at(&hangs_up.url_for("me:secret"), 1);
        let chain = test.why_not();
        assert!(chain.contains("was lost"), "{chain}");
        test.settled();
    }
}

#[test]
fn what_does_not_belong_into_a_start_up_is_refused() {
    let cases = [
        ("ready before being let in", ready(b'I')),
        ("a key before being let in", backend_key_data(1, 2)),
        ("ready in a transaction", [authentication_ok(), ready(b'T')].concat()),
        ("a row", [authentication_ok(), crate::support::backend::data_row(&[None])].concat()),
        ("let in twice", [authentication_ok(), authentication_ok()].concat()),
        ("another protocol", crate::support::backend::negotiate_protocol_version(2, &["_pq_.x"])),
        ("half a key", [authentication_ok(), crate::support::backend::message(b'K', b"abc")].concat()),
        ("an unknown message", [authentication_ok(), crate::support::backend::message(b'?', b"")].concat()),
    ];
    for (what, bytes) in cases {
        let odd = Raw::start(move |mut peer| {
            peer.startup();
            peer.send(&bytes);
            peer.receive();
        });
        let test = TestPool::at(&odd.url(), 1);
        let chain = test.why_not();
        assert!(!chain.contains("was lost") && !chain.contains("opening a connection"), "{what}: {chain}");
        test.settled();
    }
}

/// Bytes behind the first ReadyForQuery, in the same segment: nobody has asked anything.
#[test]
fn what_comes_unasked_behind_the_start_up_closes_the_connection() {
    for (bytes, harmless) in [
        (notice("welcome"), true),
        (parameter_status("TimeZone", "CET"), true),
        (ready(b'I'), false),
        (error("57P01", "go away"), false),
    ] {
        let odd = Raw::start(move |mut peer| {
            peer.startup();
            let extra = if peer.number == 1 { bytes.as_slice() } else { &[] };
            peer.send(&[greeting().as_slice(), extra].concat());
            peer.serve(echo, |_| true);
        });
        let test = TestPool::at(&odd.url(), 1);
        if !harmless {
            // The first may be lent in the instant before it is closed, but answers nothing.
            drop(test.pool.connection());
            eventually("it has left", || test.pool.stats().closed == 1);
        }
        assert_eq!(test.db.query("SELECT $1", (6_i64,)).value::<i64>().expect("an answer"), 6);
        assert_eq!(test.pool.stats().opened, if harmless { 1 } else { 2 });
        test.settled();
    }
}

/// Many callers wait; what only a person can mend is told to all of them at once.
#[test]
fn waiters_hear_of_a_wrong_password_and_an_unknown_database_at_once() {
    let good = server().tcp_url();
    let wrong_password = good.replace(server().password(), "wrong");
    let unknown_database = format!("{good}_that_is_not_there");
    for (url, code) in [(wrong_password, "28P01"), (unknown_database, "3D000")] {
        let test = TestPool::built(&url, |builder| builder.limit(4).acquire_timeout(Duration::from_secs(40)));
        let start = Instant::now();
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let db = maypole::Database::from(test.pool.clone());
                maypole::spawn(move || {
                    db.query("SELECT 1", ()).rows::<maypole::Row>().expect_err("not let in")
                })
            })
            .collect();
        for waiter in waiters {
            let error = waiter.join().expect("no panic");
            assert_eq!(error.sqlstate(), Some(code), "{error:?}");
            assert!(!error.is_timeout() && error.outcome() == Outcome::NotSent, "{error:?}");
        }
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        test.settled();
    }
}

/// The server is not there at first.
#[test]
fn waiters_with_time_get_their_connection_when_the_server_comes() {
    let proxy = Proxy::start(&server().tcp_url());
    proxy.refuse();
    let test =
        TestPool::built(&proxy.url(), |builder| builder.limit(2).acquire_timeout(Duration::from_secs(30)));
    let waiters: Vec<_> = (0..10)
        .map(|number| {
            let db = maypole::Database::from(test.pool.clone());
            maypole::spawn(move || {
                db.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| (number, answer))
            })
        })
        .collect();
    // At least one attempt has failed: those with no time hear why.
    assert!(test.why_not().contains("no connection to"), "a cause");
    proxy.welcome();
    for waiter in waiters {
        let (number, answer) = waiter.join().expect("no panic").expect("an answer in the end");
        assert_eq!(number, answer);
    }
    test.finish();
}

/// Without any connection for two seconds, waiting is over, with the cause and not a timeout; and it heals.
#[test]
fn a_server_that_stays_away_is_told_after_two_seconds_and_found_when_it_comes() {
    let proxy = Proxy::start(&server().tcp_url());
    proxy.refuse();
    let test =
        TestPool::built(&proxy.url(), |builder| builder.limit(2).acquire_timeout(Duration::from_secs(40)));
    let start = Instant::now();
    let error = test.pool.connection().expect_err("nobody there");
    assert!(!error.is_timeout() && error.is_closed(), "{error:?}");
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(2) + SLACK);
    proxy.welcome();
    eventually("the pool has found it", || test.db.query("SELECT 1", ()).rows::<maypole::Row>().is_ok());
    test.finish();
}

/// The server says that it is full, or starting, while it lets others wait: that passes.
#[test]
fn a_server_that_is_full_for_a_moment_is_tried_again() {
    for code in ["53300", "57P03"] {
        let full = Raw::start(move |mut peer| {
            if peer.number <= 3 {
                peer.startup();
                peer.send(&fatal(code, "sorry, not now"));
                peer.hang_up();
            } else {
                peer.enter();
                peer.serve(echo, |_| true);
            }
        });
        let test = TestPool::at(&full.url(), 1);
        assert_eq!(test.db.query("SELECT $1", (4_i64,)).value::<i64>().expect("in the end"), 4);
        assert!(full.accepted() >= 4);
        test.settled();
    }
}

/// Case 44: a NUL would end one parameter of the start-up and begin another, `user\0…\0database\0…`.
#[test]
fn a_nul_in_what_the_start_up_carries_is_refused() {
    let listener = Listener::tcp().expect("a port");
    let Place::Tcp(port) = listener.place else { unreachable!("a TCP listener has a port") };
    let base = || Config::new().host(Ipv4Addr::LOCALHOST.to_string()).port(port).user("me").dbname("shop");
    let configs = [
        ("user", base().user("me\0database\0other")),
        ("dbname", base().dbname("shop\0user\0postgres")),
        ("application_name", base().application_name("app\0user\0postgres")),
        ("options", base().options("-c a=b\0user\0postgres")),
        ("password", base().password("pass\0word")),
        ("host", base().host("127.0.0.1\0")),
    ];
    for (key, config) in configs {
        let error = maypole::Pool::builder().config(config).build().expect_err("a NUL");
        assert!(error.is_config() && error.to_string().contains(&format!("{key}: a NUL")), "{error}");
        assert!(!error.to_string().contains("postgres"), "it quotes nothing: {error}");
    }
    for text in [
        "host=127.0.0.1 user='me\0x'",
        "postgres://me%00x@127.0.0.1/shop",
        "postgres://me@127.0.0.1/shop%00x",
        "postgres://me@127.0.0.1/shop?application_name=a%00b",
        "host=127.0.0.1 application_name=a\0b",
    ] {
        assert!(text.parse::<Config>().expect_err("a NUL").is_config());
    }
    assert!(listener.drain().expect("it listens").is_empty(), "nobody has connected");
}

/// Case 44: in a statement and in a text value.
#[test]
fn a_nul_in_a_statement_is_refused_before_a_byte_is_sent() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 1);
    assert_eq!(test.db.query("SELECT $1::text", ("warm",)).value::<String>().expect("warm"), "warm");
    let count = || proxy.all().seen().iter().filter(|event| event.direction == Frontend).count();
    let before = count();
    for error in [
        test.db.query("SELECT 1\0; DROP TABLE x", ()).rows::<maypole::Row>().map(drop).expect_err("a NUL"),
        test.db.script("SELECT 1\0; DROP TABLE x").expect_err("a NUL"),
        test.db.query("SELECT '\0'", ()).iter::<i32>().next().expect("an item").map(drop).expect_err("a NUL"),
    ] {
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
    }
    assert_eq!(count(), before, "something was sent");
    // In a value it is the server that refuses: text has no NUL in PostgreSQL.
    let error = test.db.query("SELECT $1::text", ("a\0b",)).value::<String>().expect_err("a NUL");
    assert_eq!(error.sqlstate(), Some("22021"), "{error:?}");
    assert_eq!(test.pool.stats().opened, 1);
    test.finish();
}
