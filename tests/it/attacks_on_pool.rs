//! What was tried to make the pool lose a slot, lend twice, kill what is used, or say what is not so.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use maypole::{Database, Lease, SessionReset, spawn};

use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::rest::rest;
use crate::support::server::server;

/// A lease that was handed to somebody else is given back by that one: whoever borrowed it may wait for another.
#[test]
fn a_coroutine_that_has_handed_its_lease_on_may_wait_for_another() {
    let test = TestPool::new(1);
    let (give, take) = may::sync::mpsc::channel::<Lease>();
    let pool = test.pool.clone();
    let holder = spawn(move || {
        let lease = take.recv().expect("handed on");
        rest(Duration::from_millis(100));
        drop(lease);
    });
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        give.send(lease).expect("it is waited for");
        pool.connection_within(Duration::from_secs(20)).expect("the other gives it back");
    });
    holder.join().expect("no panic");
    test.finish();
}

/// The identity of a thread comes again once it has ended.
#[test]
fn a_thread_is_not_taken_for_one_that_has_ended_and_has_handed_its_lease_on() {
    let test = TestPool::new(1);
    for _ in 0..20 {
        let pool = test.pool.clone();
        let lease = std::thread::spawn(move || {
            let lease = pool.connection().expect("lent");
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            lease
        })
        .join()
        .expect("no panic");
        let pool = test.pool.clone();
        let other = std::thread::spawn(move || {
            pool.connection_within(Duration::from_millis(30)).map(drop).expect_err("it is lent")
        });
        let error = other.join().expect("no panic");
        assert!(error.is_timeout(), "it holds nothing: {error:?}");
        assert!(error.exhausted().expect("details").own_lease.is_none(), "{error:?}");
        drop(lease);
    }
    test.finish();
}

/// The identity of a coroutine comes again once it has ended: whoever has it then and uses the lease is not the one that ended.
#[test]
fn a_lease_that_is_used_by_another_is_not_taken_back_although_its_borrower_has_ended() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).leak_warning(Duration::from_millis(150)).acquire_timeout(Duration::from_secs(30))
    });
    for _ in 0..5 {
        let (give, take) = mpsc::channel::<Lease>();
        let pool = test.pool.clone();
        let origin = may::go!(move || {
            let lease = pool.connection().expect("lent");
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            give.send(lease).expect("it is waited for");
        });
        origin.join().expect("no panic");
        let lease = take.recv().expect("handed on");
        let user = may::go!(move || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(500) {
                lease.query("SELECT pg_sleep(0.02)::text", ()).value::<String>()?;
            }
            Ok::<(), maypole::Error>(())
        });
        user.join().expect("no panic").expect("it is in use");
    }
    test.finish();
}

/// What one caller wants to be warm does not end what another wants.
#[test]
fn two_may_warm_a_pool_at_once() {
    let test = TestPool::new(6);
    let few = test.pool.clone();
    let many = test.pool.clone();
    let many = std::thread::spawn(move || many.warm(6, Duration::from_secs(5)));
    eventually("it has begun", || test.pool.stats().opened + test.pool.stats().opening as u64 > 0);
    few.warm(1, Duration::from_secs(5)).expect("warm");
    many.join().expect("no panic").expect("all are there");
    test.finish();
}

/// What can't be reached any more is not waited for.
#[test]
fn warming_more_than_a_lowered_limit_allows_ends() {
    let test = TestPool::new(6);
    let warming = test.pool.clone();
    let warming = std::thread::spawn(move || warming.warm(6, Duration::from_secs(8)));
    eventually("it has begun", || test.pool.stats().opened + test.pool.stats().opening as u64 > 0);
    test.pool.resize(2).expect("a number");
    let start = Instant::now();
    warming.join().expect("no panic").expect_err("it can't be");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    test.finish();
}

#[test]
fn a_pool_that_was_small_for_a_while_keeps_its_idle_connections_again() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(4).min_idle(3));
    eventually("three are kept", || test.pool.stats().idle == 3);
    test.pool.resize(1).expect("a number");
    eventually("one is left", || test.pool.stats().idle == 1);
    test.pool.resize(4).expect("a number");
    eventually("three are kept again", || test.pool.stats().idle == 3);
    test.finish();
}

/// Each closer hears what has become of the leases, whoever has cut them.
#[test]
fn two_that_close_a_pool_are_both_told_that_a_lease_was_cut() {
    let test = TestPool::new(2);
    let lease = test.pool.connection().expect("lent");
    let patient = test.pool.clone();
    let patient = std::thread::spawn(move || patient.close(Duration::from_secs(30)));
    eventually("it is closed", || test.pool.is_closed());
    let report = test.pool.close(Duration::from_millis(50));
    assert_eq!((report.finished, report.cut), (0, 1));
    let report = patient.join().expect("no panic");
    assert_eq!(report.finished, 0, "it did not come back: {report:?}");
    assert!(lease.query("SELECT 1", ()).value::<i32>().is_err());
    drop(lease);
    eventually("no session remains", || test.sessions("") == 0);
}

/// The next borrower does not pay for a limit that the last one has set.
#[test]
fn a_statement_timeout_that_was_left_behind_does_not_hit_the_reset() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).session_reset(SessionReset::Lazy).acquire_timeout(Duration::from_secs(30))
    });
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let tables: String = (0..300).map(|n| format!("CREATE TEMP TABLE left_{n} (id int PRIMARY KEY);")).collect();
        lease.script(&tables).expect("created");
        lease.script("SET statement_timeout = '20ms'").expect("set");
    });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    assert_eq!(test.pool.stats().closed, 0);
    test.finish();
}

/// Requirement 8: a request of its own beside a lease names the lease.
#[test]
fn a_query_beside_a_lease_names_the_lease_when_it_waits_in_vain() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).acquire_timeout(Duration::from_millis(200))
    });
    let db = Database::from(test.pool.clone());
    test.db.query("SELECT 1", ()).value::<i32>().expect("an answer");
    in_coroutine(move || {
        let lease = db.pool().expect("a pool").connection().expect("lent");
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        let error = db.query("SELECT 1", ()).value::<i32>().expect_err("all are lent");
        let exhausted = error.exhausted().expect("details");
        assert!(exhausted.own_lease.is_some(), "{error}");
        assert!(exhausted.waited >= Duration::from_millis(200), "{exhausted:?}");
    });
    test.finish();
}

/// A request that was provably not sent because an idle connection turned out dead goes to another.
#[test]
fn a_request_that_finds_its_connection_dead_before_it_was_sent_is_sent_on_another() {
    let test = TestPool::new(1);
    let mut client = test.client();
    let mut unsent = 0;
    let mut unknown = 0;
    for _ in 0..300 {
        let process = {
            let lease = test.pool.connection().expect("lent");
            lease.query("SELECT 1", ()).value::<i32>().map(|_| lease.process_id())
        };
        let Ok(process) = process else { continue };
        client.query(&format!("SELECT pg_terminate_backend({process})")).expect("terminated");
        if let Err(error) = test.db.query("SELECT 1", ()).value::<i32>() {
            match error.outcome() {
                maypole::Outcome::NotSent => unsent += 1,
                _ => unknown += 1,
            }
        }
    }
    println!("{unsent} not sent, {unknown} unknown");
    assert_eq!(unsent, 0);
    test.finish();
}
