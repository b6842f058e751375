//! What an attacker of the lanes has found.

use std::time::{Duration, Instant};

use maypole::{Config, Query, TargetSessionAttrs, select, spawn};

use crate::lanes::{Here, Lanes, rode, selects};
use crate::support::eventually::eventually;
use crate::support::own_server::OwnServer;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::server::server;

fn read_write(here: &Here, server: &OwnServer) -> Lanes {
    let url = server.url();
    here.is(TestPool::of_server(&url, &url, Duration::from_secs(120), |builder, config: Config| {
        builder.config(config.target_session_attrs(TargetSessionAttrs::ReadWrite)).limit(1)
    }))
}

/// A lane overrides the default of the server. When it ends, that counts again, and not what it was when the lane began.
#[test]
fn a_demotion_while_a_session_is_a_lane_is_noticed_when_it_is_lent() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let test = read_write(&DB, &server);
    test.warm(|| who(1).unique().expect("an answer"));
    server.take_writes(false);
    assert!(rode(who(5)), "reading goes on");
    let lease = test.pool.connection().expect("lent");
    assert_eq!(lease.query("SHOW default_transaction_read_only", ()).value::<String>().expect("told"), "on");
    drop(lease);
    eventually("it has left", || test.pool.stats().closes.cleared == 1);
    server.take_writes(true);
    eventually("it is served again", || echo(6).value().is_ok());
    test.finish();
}

#[test]
fn a_demotion_is_noticed_by_a_session_that_was_a_lane_before() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let test = read_write(&DB, &server);
    for _ in 0..3 {
        test.warm(|| who(1).unique().expect("an answer"));
        assert_eq!(DB.query("SELECT 31", ()).value::<i32>().expect("an answer"), 31);
    }
    assert_eq!(test.pool.stats().closed, 0);
    let lease = test.pool.connection().expect("lent");
    server.take_writes(false);
    eventually("it is told", || {
        assert_eq!(lease.query("SELECT 31", ()).value::<i32>().expect("reading goes on"), 31);
        lease.query("SHOW default_transaction_read_only", ()).value::<String>().expect("told") == "on"
    });
    drop(lease);
    eventually("it has left", || test.pool.stats().closes.cleared == 1);
    server.take_writes(true);
    eventually("it is served again", || echo(6).value().is_ok());
    test.finish();
}

/// What a lane always stops is not tried on a lane each time.
#[test]
fn a_select_that_takes_longer_than_a_lane_lets_it_is_tried_on_a_lane_once() {
    selects!(DB);
    #[select(DB, "SELECT :n::int4 FROM pg_sleep(1.1)")]
    fn sleep(n: i32) -> Query<i32>;
    let test = DB.is(TestPool::new(2));
    for n in 0..4 {
        assert_eq!(sleep(n).value().expect("an answer"), n);
    }
    assert_eq!(test.pool.stats().run_alone, 1, "{:?}", test.pool.stats());
    test.finish();
}

/// It waits for itself, and is told so as anybody is who asks for a lease.
#[test]
fn a_select_of_one_who_holds_all_there_is_says_so() {
    selects!(DB);
    let limit = Duration::from_millis(100);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit)));
    test.warm(|| echo(1).value().expect("an answer"));
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let error = echo(1).value().expect_err("it holds the only one");
        let exhausted = error.exhausted().expect("it says why");
        assert!(exhausted.own_lease.is_some(), "{error:?}");
        drop(lease);
    });
    test.finish();
}

/// An idle connection is there: nobody has to wait for anything.
#[test]
fn who_does_not_want_to_wait_gets_a_seat_on_an_idle_connection() {
    selects!(DB);
    let test =
        DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(Duration::ZERO)));
    test.pool.warm(1, Duration::from_secs(20)).expect("opened");
    for n in 0..2_000 {
        test.at_rest();
        assert_eq!(echo(n).value().expect("one is idle"), n);
    }
    test.at_rest();
    let lease = test.pool.connection().expect("lent");
    let start = Instant::now();
    let error = echo(1).value().expect_err("it is lent");
    assert!(error.is_timeout() && start.elapsed() < Duration::from_secs(3), "{error:?}");
    drop(lease);
    test.at_rest();
}

macro_rules! many_selects {
    ($database:ident: $($name:ident = $number:literal),*) => {
        $(
            #[select($database, $number)]
            fn $name(n: i32) -> Query<i32>;
        )*
        const MANY: &[fn(i32) -> Query<'static, i32>] = &[$($name),*];
    };
}

/// A member closes the statement of one before it, and one behind it uses that again.
#[test]
fn a_session_that_keeps_one_statement_answers_groups_of_several_without_leases() {
    selects!(DB);
    many_selects!(DB: m0 = "SELECT :n + 0", m1 = "SELECT :n + 1", m2 = "SELECT :n + 2");
    let one = |config: Config| config.statement_cache_capacity(1);
    let test = DB.is(TestPool::configured(&server().url(), one, |builder| builder.limit(1)));
    for select in MANY {
        test.warm(|| select(1).value().expect("an answer"));
    }
    for round in 0..20 {
        let leases = test.all();
        let ask = move |n: i32| {
            // Each kind twice in a row, then the next.
            let which = (n / 2 + round) % 3;
            MANY[usize::try_from(which).expect("small")](n).value().expect("an answer") - which
        };
        let askers = test.ask_while_all_are_lent(18, ask);
        let lends = test.pool.stats().lends;
        drop(leases);
        for (n, asker) in (0..18).zip(askers) {
            assert_eq!(asker.join().expect("no panic"), n);
        }
        assert_eq!(test.pool.stats().lends, lends, "a member of a group had to lease");
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}

/// Its caller has gone before its turn came again: it is not left in the queue, where it would keep the pool alive.
#[test]
fn who_has_gone_while_its_lane_died_is_not_seated_again() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let url = server.url();
    let test = DB.is(TestPool::of_server(&url, &url, Duration::from_secs(120), |builder, config| {
        builder.config(config).limit(1).acquire_timeout(None)
    }));
    #[select(DB, "SELECT :n::int4 FROM pg_sleep(:seconds)")]
    fn sleep(n: i32, seconds: f64) -> Query<i32>;
    test.warm(|| sleep(1, 0.0).value().expect("an answer"));
    let process = who(1).unique().expect("an answer").1;
    test.at_rest();
    // A group of which only one still waits when its session ends.
    let leases = test.all();
    let askers = test.ask_while_all_are_lent(8, |n| {
        sleep(n, 0.9).timeout(Duration::from_millis(if n == 7 { 20_000 } else { 50 })).value()
    });
    drop(leases);
    eventually("the others have gone", || askers[..7].iter().all(maypole::JoinHandle::is_done));
    let waiting = test.pool.stats().waiting;
    let _ = server.client().query(&format!("SELECT pg_terminate_backend({process})"));
    eventually("it is seated again, and no other", || askers[7].is_done() || test.pool.stats().waiting <= 1);
    let _ = waiting;
    for (n, asker) in (0..8).zip(askers) {
        let answer = asker.join().expect("no panic");
        match n {
            7 => assert_eq!(answer.expect("an answer"), 7),
            _ => assert!(answer.expect_err("out of time").is_timeout()),
        }
    }
    assert!(test.pool.stats().sent_again <= 1, "{:?}", test.pool.stats());
    let _ = spawn(|| ()).join();
    test.finish();
}

/// What is undone in front of a group is no change that a select has made, whatever the session was used for before.
#[test]
fn a_reset_behind_a_select_that_had_the_session_for_itself_contradicts_nothing() {
    selects!(DB);
    #[select(DB, "SELECT :n::int4 + 1", exclusive)]
    fn alone(n: i32) -> Query<i32>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| who(1).unique().expect("an answer"));
    assert_eq!(alone(1).value().expect("an answer"), 2);
    for zone in ["Etc/GMT+5", "Etc/GMT-5", "Etc/GMT+7"] {
        let lease = test.pool.connection().expect("lent");
        lease.script(&format!("SET TimeZone = '{zone}'; SET DateStyle = 'German'")).expect("set");
        drop(lease);
        assert_eq!(alone(1).value().expect("an answer"), 2);
        assert!(rode(who(1)));
        assert!(rode(who(2)));
        assert_eq!(alone(2).value().expect("an answer"), 3);
        assert!(rode(who(2)));
    }
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (1, 0), "{stats:?}");
    test.finish();
}
