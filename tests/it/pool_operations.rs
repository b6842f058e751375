//! What is done with a pool as a whole: closing within a limit, pausing, resizing, clearing, warming, and connections that
//! grow old (reliability cases 28 and 29; requirements 13, 14 and 25 of the pool).

use std::time::{Duration, Instant};

use maypole::spawn;

use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// Case 28: those who wait err at once; a lease that comes back in time is no harm; one that does not is cut at the limit,
/// with what it runs, and no session remains.
#[test]
fn closing_waits_for_leases_until_its_limit_and_cuts_the_rest() {
    let test = TestPool::new(3);
    let brief = test.pool.connection().expect("lent");
    let idle_in_hand = test.pool.connection().expect("lent");
    let pool = test.pool.clone();
    let running = spawn(move || {
        let lease = pool.connection().expect("lent");
        let error = lease.query("SELECT pg_sleep(60)::text", ()).timeout(None).value::<String>();
        (
            error.expect_err("cut"),
            lease.query("SELECT 1", ()).value::<i32>().expect_err("its connection is gone"),
        )
    });
    eventually("it runs", || test.sessions("AND query LIKE '%pg_sleep(60)%' AND state = 'active'") == 1);
    let pool = test.pool.clone();
    let waiting = spawn(move || pool.connection_within(None).map(drop).expect_err("closed"));
    eventually("somebody waits", || test.pool.stats().waiting == 1);
    let pool = test.pool.clone();
    let limit = Duration::from_millis(800);
    let closing = spawn(move || pool.close(limit));
    assert_eq!(waiting.join().expect("no panic").to_string(), "the pool is closed");
    assert!(test.pool.is_closed() && !test.pool.is_drained());
    assert_eq!(brief.query("SELECT 28", ()).value::<i32>().expect("lent is lent"), 28);
    drop(brief);
    let report = closing.join().expect("no panic");
    assert_eq!((report.finished, report.cut), (1, 2), "{report:?}");
    assert!(report.waited >= limit && report.waited < limit + SLACK, "{report:?}");
    assert!(test.pool.is_drained(), "nothing is left of it");
    let (cut, after) = running.join().expect("no panic");
    assert!(cut.to_string().contains("closed") || cut.is_closed(), "{cut:?}");
    assert!(after.is_closed(), "{after:?}");
    assert!(idle_in_hand.query("SELECT 1", ()).value::<i32>().expect_err("revoked").is_closed());
    drop(idle_in_hand);
    eventually("no session remains", || test.sessions("") == 0);
    let stats = test.pool.stats();
    assert_eq!((stats.lent, stats.free), (0, 3), "{stats:?}");
}

/// Case 28: with nothing out it is over at once, and a second call says so too.
#[test]
fn closing_a_pool_at_rest_waits_for_nothing_but_the_goodbyes() {
    let test = TestPool::new(3);
    test.pool.warm(3, Duration::from_secs(20)).expect("warm");
    let report = test.pool.close(Duration::from_secs(60));
    assert_eq!((report.finished, report.cut), (0, 0));
    assert!(report.waited < SLACK, "{report:?}");
    assert!(test.pool.is_drained());
    assert_eq!(test.pool.close(None).cut, 0);
    eventually("no session remains", || test.sessions("") == 0);
}

/// Requirement 25.
#[test]
fn a_pool_that_is_paused_lends_nothing_and_lends_again_in_order() {
    let test = TestPool::new(2);
    let out = test.pool.connection().expect("lent");
    test.pool.pause();
    assert_eq!(out.query("SELECT 1", ()).value::<i32>().expect("a lease goes on"), 1);
    let error = test.pool.warm(2, Duration::from_millis(20)).expect_err("nothing is opened meanwhile");
    let told = "1 of 2 connections are there; the pool is paused: resume() ends that";
    assert!(error.to_string().ends_with(told), "{error}");
    drop(out);
    let error = test.pool.connection_within(Duration::from_millis(20)).expect_err("paused");
    assert!(error.is_timeout() && error.exhausted().is_some_and(|exhausted| exhausted.paused), "{error:?}");
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..6)
        .map(|number| {
            let (pool, order) = (test.pool.clone(), order.clone());
            let waiter = spawn(move || {
                let _lease = pool.connection().expect("lent in the end");
                order.lock().expect("no holder panics").push(number);
            });
            eventually("it waits", || test.pool.stats().waiting == number + 1);
            waiter
        })
        .collect();
    assert_eq!((test.pool.stats().lent, test.pool.stats().cleaning), (0, 0));
    test.pool.resume();
    waiting.into_iter().for_each(|waiter| waiter.join().expect("no panic"));
    let order = order.lock().expect("no holder panics").clone();
    assert!(order.iter().enumerate().all(|(place, number)| place.abs_diff(*number) < 2), "{order:?}");
    test.finish();
}

/// Requirement 25: downwards while all are lent, and upwards while somebody waits.
#[test]
fn a_pool_that_is_resized_has_no_more_connections_than_it_may_and_uses_those_it_may() {
    let test = TestPool::new(4);
    let mut leases: Vec<_> = (0..4).map(|_| test.pool.connection().expect("lent")).collect();
    test.pool.resize(2).expect("a number");
    drop(leases.split_off(2));
    eventually("two are left", || test.sessions("") == 2);
    let pool = test.pool.clone();
    let waiting = spawn(move || pool.connection_within(None).map(|lease| lease.process_id()));
    eventually("it waits", || test.pool.stats().waiting == 1);
    test.pool.resize(3).expect("a number");
    waiting.join().expect("no panic").expect("lent, because there may be one more");
    drop(leases);
    eventually("all are back", || test.pool.stats().idle == 3);
    test.pool.resize(1).expect("a number");
    eventually("one is left", || test.sessions("") == 1 && test.pool.stats().idle == 1);
    assert!(test.pool.resize(0).is_err());
    test.finish();
}

/// Requirement 25.
#[test]
fn a_pool_that_is_cleared_replaces_every_session_and_disturbs_no_lease() {
    let test = TestPool::new(3);
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    let old: Vec<_> = leases.iter().map(|lease| lease.process_id()).collect();
    let mut leases = leases.into_iter();
    let out = leases.next().expect("one of three");
    drop(leases);
    test.pool.clear();
    assert_eq!(out.query("SELECT 1", ()).value::<i32>().expect("a lease goes on"), 1);
    drop(out);
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    assert!(leases.iter().all(|lease| !old.contains(&lease.process_id())), "an old session was lent");
    drop(leases);
    eventually("the old sessions are gone", || test.sessions("") == 3);
    test.finish();
}

/// Case 29, requirement 13: nobody is lent a session that is too old, a lease is not disturbed by its age, and each is
/// replaced.
#[test]
fn connections_that_have_grown_old_are_replaced_and_never_lent() {
    const LIFETIME: Duration = Duration::from_millis(600);
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(2).max_lifetime(LIFETIME).acquire_timeout(Duration::from_secs(30))
    });
    let old = test.pool.connection().expect("lent");
    let (born, process) = (Instant::now(), old.process_id());
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let db = maypole::Database::from(test.pool.clone());
            spawn(move || {
                let sql = "SELECT extract(epoch FROM clock_timestamp() - backend_start)::float8 FROM pg_stat_activity WHERE pid = pg_backend_pid()";
                let mut oldest = 0.0_f64;
                for _ in 0..400 {
                    oldest = oldest.max(db.query(sql, ()).value::<f64>().expect("nobody sees an error"));
                    crate::support::rest::rest(Duration::from_millis(5));
                }
                oldest
            })
        })
        .collect();
    eventually("the lease is older than it may be", || born.elapsed() > LIFETIME * 2);
    assert_eq!(old.query("SELECT pg_backend_pid()", ()).value::<i32>().expect("it goes on"), process);
    drop(old);
    let oldest = workers.into_iter().map(|worker| worker.join().expect("no panic")).fold(0.0, f64::max);
    println!("the oldest session that was lent was {oldest:.3} s old, of {LIFETIME:?}");
    assert!(oldest < (LIFETIME + SLACK).as_secs_f64());
    let stats = test.pool.stats();
    assert!(stats.opened >= 3 && stats.most <= 2, "{stats:?}");
    let lease = test.pool.connection().expect("lent");
    assert_ne!(lease.process_id(), process, "the old one is not lent again");
    drop(lease);
    test.pool.start_closing();
    eventually("no session remains", || test.pool.is_drained() && test.sessions("") == 0);
}

/// Requirement 14: what nobody needs goes, but for as many as shall stay.
#[test]
fn connections_that_are_idle_for_long_are_closed_down_to_the_minimum() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(5).min_idle(2).idle_timeout(Duration::from_millis(300))
    });
    test.pool.warm(5, Duration::from_secs(20)).expect("warm");
    eventually("two are left", || test.pool.stats().idle == 2 && test.sessions("") == 2);
    let kept = test.pool.connection().expect("lent").process_id();
    let again = test.pool.connection().expect("lent").process_id();
    assert_eq!(kept, again, "the one used last is used first");
    let mut client = test.client();
    client.value(&format!("SELECT pg_terminate_backend({kept})::text")).expect("terminated");
    eventually("the minimum is there again", || test.pool.stats().idle == 2 && test.sessions("") == 2);
    assert!(test.pool.stats().opened >= 6);
    test.pool.start_closing();
    eventually("no session remains", || test.pool.is_drained() && test.sessions("") == 0);
}
