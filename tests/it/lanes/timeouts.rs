//! Limits of single riders: whoever gives up leaves the others alone.

use std::time::{Duration, Instant};

use maypole::{Outcome, Phase, Query, select, spawn};

use crate::lanes::selects;
use crate::support::eventually::eventually;
use crate::support::frame::CANCEL_REQUEST;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Backend, Frontend, Proxy, nth};
use crate::support::server::server;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn a_rider_that_runs_out_of_time_in_a_group_gives_up_alone_and_nothing_is_cancelled() {
    const LIMIT: Duration = Duration::from_millis(150);
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    for place in [b'2', b'D', b'C'] {
        // What was held is slow for a while, so each round has to be learned anew.
        test.warm(|| echo(1).value().expect("an answer"));
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(9, |n| {
            let start = Instant::now();
            // The first is in the first group, however large that is.
            let limit = if n == 0 { LIMIT } else { Duration::from_secs(20) };
            (echo(n).timeout(limit).value(), start.elapsed())
        });
        let held = proxy.on(Backend, place, nth(1)).hold();
        drop(leases);
        held.wait_hits(1);
        eventually("the first has given up", || riders[0].is_done());
        assert!(riders[1..].iter().all(|rider| !rider.is_done()), "the others wait on");
        held.release();
        for (n, rider) in (0..9).zip(riders) {
            let (answer, took) = rider.join().expect("no panic");
            if n > 0 {
                assert_eq!(answer.expect("its own answer"), n);
                continue;
            }
            let error = answer.expect_err("out of time");
            assert_eq!((error.is_timeout(), error.phase()), (true, Some(Phase::Query)), "{error:?}");
            assert!(took >= LIMIT && took < LIMIT + SLACK, "{took:?}");
        }
    }
    assert_eq!(proxy.all().count(Frontend, CANCEL_REQUEST), 0, "a CancelRequest would stop a stranger");
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}

#[test]
fn a_rider_that_runs_out_of_time_in_the_queue_says_so_and_is_never_sent() {
    selects!(DB);
    let url = server().url();
    let limit = Duration::from_millis(150);
    let test = DB.is(TestPool::built(&url, |builder| builder.limit(1).acquire_timeout(limit)));
    test.pool.warm(1, Duration::from_secs(20)).expect("opened");
    test.warm(|| echo(1).value().expect("an answer"));
    let lease = test.pool.connection().expect("lent");
    let (selects, timeouts) = (test.pool.stats().selects, test.pool.stats().timeouts);
    for n in 0..3 {
        let ask = move || {
            let start = Instant::now();
            let error = echo(n).value().expect_err("it is lent");
            assert!(error.is_timeout(), "{error:?}");
            assert_eq!((error.phase(), error.outcome()), (Some(Phase::Queue), Outcome::NotSent), "{error:?}");
            assert!(error.exhausted().is_some(), "{error:?}");
            assert!(start.elapsed() >= limit && start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
        };
        ask();
        in_coroutine(ask);
    }
    let stats = test.pool.stats();
    assert_eq!((stats.selects, stats.timeouts, stats.waiting), (selects, timeouts + 6, 0), "{stats:?}");
    drop(lease);
    assert_eq!(echo(8).value().expect("an answer"), 8);
    test.finish();
}

#[test]
fn a_pool_whose_queue_is_full_refuses_riders_at_once() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).max_waiting(2)));
    test.warm(|| echo(1).value().expect("an answer"));
    let leases = test.all();
    let riders = test.ask_while_all_are_lent(2, |n| echo(n).value());
    let error = echo(3).value().expect_err("the queue is full");
    assert!(error.is_pool() && error.exhausted().is_some(), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    drop(leases);
    for (n, rider) in (0..2).zip(riders) {
        assert_eq!(rider.join().expect("no panic").expect("an answer"), n);
    }
    test.finish();
}

/// The server itself stops what runs for longer than a lane may; it is run again alone, for as long as its caller waits.
#[test]
fn a_select_that_is_suddenly_slow_gets_its_answer_all_the_same() {
    selects!(DB);
    #[select(DB, "SELECT :n::int4 FROM pg_sleep(:seconds)")]
    fn sleep(n: i32, seconds: f64) -> Query<i32>;
    let test = DB.is(TestPool::new(2));
    for round in 0..3 {
        test.warm(|| sleep(1, 0.0).value().expect("an answer"));
        test.warm(|| echo(1).value().expect("an answer"));
        // Longer than a lane lets it run.
        let answers = test.together(9, |n| if n == 3 { sleep(n, 1.3).value() } else { echo(n).value() });
        for (n, answer) in (0..9).zip(answers) {
            assert_eq!(answer.expect("an answer"), n, "round {round}");
        }
    }
    let start = Instant::now();
    let error = sleep(1, 30.0).timeout(Duration::from_millis(300)).value().expect_err("out of time");
    assert!(error.is_timeout() && error.phase() == Some(Phase::Query), "{error:?}");
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    let slow = spawn(|| sleep(1, 0.1).value());
    assert_eq!(slow.join().expect("no panic").expect("an answer"), 1);
    test.finish();
}
