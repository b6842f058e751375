//! Opening connections before anybody needs them: `Pool::warm`.

use std::time::{Duration, Instant};

use maypole::{Outcome, Phase, spawn};

use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::frame::STARTUP;
use crate::support::pool::TestPool;
use crate::support::proxy::{Frontend, Proxy, every};
use crate::support::server::server;

/// What a busy machine may add to a limit.
const SLACK: Duration = Duration::from_secs(5);

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_slow_server_is_waited_for_and_asked_by_no_more_at_once_than_may_be() {
    const SLOW: Duration = Duration::from_millis(200);
    let proxy = Proxy::start(&server().url());
    let slow = proxy.on(Frontend, STARTUP, every()).delay(SLOW);
    let test = TestPool::at(&proxy.url(), 5);
    let start = Instant::now();
    test.pool.warm(4, PATIENCE).expect("warm");
    assert!(start.elapsed() >= SLOW * 2, "two at once: {:?}", start.elapsed());
    let stats = test.pool.stats();
    assert_eq!((stats.idle, stats.opened, stats.free), (4, 4, 1), "{stats:?}");
    slow.release();
    test.pool.warm(4, Duration::ZERO).expect("they are there");
    // Those that are lent count.
    let lease = test.pool.connection().expect("lent");
    test.pool.warm(4, Duration::ZERO).expect("they are there");
    drop(lease);
    assert_eq!(proxy.accepted(), 4);
    test.pool.warm(5, PATIENCE).expect("warm");
    test.finish();
}

#[test]
fn what_is_on_its_way_when_the_limit_passes_is_not_lost() {
    let proxy = Proxy::start(&server().url());
    let held = proxy.on(Frontend, STARTUP, every()).hold();
    let test = TestPool::at(&proxy.url(), 5);
    let limit = Duration::from_millis(50);
    let start = Instant::now();
    let error = test.pool.warm(4, limit).expect_err("none comes");
    assert!(start.elapsed() >= limit && start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
    assert!(error.is_timeout() && error.phase() == Some(Phase::Connect), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("0 of 4 connections are there"), "{error}");
    let pool = test.pool.clone();
    let cancelled = spawn(move || pool.warm(4, None));
    held.wait_hits(2);
    cancel(&cancelled);
    assert!(cancelled.join().is_err(), "it was cancelled");
    held.release();
    eventually("the two are there", || test.pool.stats().idle == 2);
    assert_eq!((test.pool.stats().opened, proxy.accepted()), (2, 2), "nobody wants more");
    test.finish();
}

#[test]
fn what_only_a_person_can_mend_is_told_at_once_with_its_cause() {
    let good = server().tcp_url();
    let wrong_password = good.replace(server().password(), "wrong");
    let no_database = good.replace("/postgres", "/there_is_none").replace("there_is_none:", "postgres:");
    for (url, code) in [(wrong_password, "28P01"), (no_database, "3D000")] {
        let test = TestPool::at(&url, 2);
        let start = Instant::now();
        let error = test.pool.warm(2, Duration::from_secs(600)).expect_err("refused");
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        assert_eq!((error.sqlstate(), error.is_timeout()), (Some(code), false), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong"), "a password: {error:?}");
        test.settled();
    }
}

#[test]
fn a_server_that_is_away_is_the_cause_of_the_timeout() {
    let proxy = Proxy::start(&server().url());
    proxy.refuse();
    let test = TestPool::at(&proxy.url(), 2);
    let error = test.pool.warm(2, Duration::from_millis(300)).expect_err("refused");
    assert!(error.is_timeout(), "{error:?}");
    let told = format!("{error:?}");
    assert!(told.contains("refused") && told.contains("0 of 2 connections are there"), "{told}");
    // Without a limit it ends when the pool tells everybody so.
    let error = test.pool.warm(2, None).expect_err("refused");
    assert!(!error.is_timeout() && format!("{error:?}").contains("refused"), "{error:?}");
    proxy.welcome();
    // The pool goes on trying, slowly.
    eventually("it is warm", || test.pool.warm(2, Duration::from_secs(1)).is_ok());
    test.finish();
}

#[test]
fn more_than_may_be_and_a_closed_pool_are_refused() {
    let test = TestPool::new(2);
    let error = test.pool.warm(3, PATIENCE).expect_err("too many");
    assert!(error.to_string().contains("3 connections are more than the limit of the pool, 2"), "{error}");
    assert_eq!(test.pool.stats().opened, 0);
    test.pool.close(PATIENCE);
    let error = test.pool.warm(1, PATIENCE).expect_err("closed");
    assert_eq!(error.to_string(), "the pool is closed");
}
