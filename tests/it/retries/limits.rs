//! What ends the retries: the deadline, a cancel, a panic, an outcome that nobody knows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use maypole::{Database, Error, Outcome, Phase, Result, Tx, TxOptions};

use super::{Calls, Lock, SLACK, STUBBORN, attempts, count, failing, run};
use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Frontend, Proxy, nth};
use crate::support::rest::rest;
use crate::support::server::server;

#[test]
fn a_deadline_ends_the_retries() {
    let test = TestPool::new(1);
    let sql = failing("deadline", 1_000_000, "40001");
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    let options = TxOptions::new().name("limited").retries(u32::MAX).deadline(limit);
    let (calls, result) = attempts(&test, &options, &sql);
    let (error, took) = (result.expect_err("never"), start.elapsed());
    assert!(took < limit + SLACK, "{took:?}");
    assert_eq!((error.phase(), error.is_timeout()), (Some(Phase::Transaction), true), "{error:?}");
    assert_eq!(error.transaction_name(), Some("limited"));
    assert!(error.to_string().contains("300ms"), "{error}");
    assert!(matches!(error.outcome(), Outcome::NotSent | Outcome::RolledBack), "{error:?}");
    assert!(calls > 1, "{calls} calls");
    // The last failure may be its cause.
    let told = error.earlier().len() + usize::from(error.sqlstate() == Some("40001"));
    assert!(told == calls || told + 1 == calls, "{told} failures of {calls} attempts: {error:?}");
    assert!(error.earlier().iter().all(|earlier| earlier.sqlstate() == Some("40001")), "{error:?}");
    test.finish();
}

#[test]
fn no_attempt_begins_after_the_deadline() {
    let test = TestPool::new(1);
    let sql = failing("after_deadline", 1_000_000, "40001");
    let limit = Duration::from_millis(300);
    let options = TxOptions::new().retries(u32::MAX).deadline(limit);
    for _ in 0..8 {
        let (start, last) = (Instant::now(), std::cell::Cell::new(Duration::ZERO));
        let result = test.db.transaction_with(&options, |q| {
            last.set(start.elapsed());
            q.query(&sql, ()).value::<i64>()
        });
        result.expect_err("never");
        // The deadline was set a little later than the clock was read here, and a busy machine takes its time.
        assert!(last.get() < limit + Duration::from_millis(60), "{:?}", last.get());
        // It ends when it is clear that no other attempt can be made, and not when that would have begun.
        assert!(start.elapsed() < limit + SLACK);
    }
    test.finish();
}

#[test]
fn a_deadline_counts_the_wait_for_a_connection() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let calls = Calls::default();
    let options = TxOptions::new().name("limited").retries(3).deadline(Duration::from_millis(100));
    let start = Instant::now();
    let result = test.db.transaction_with(&options, |_| -> Result<()> {
        calls.call();
        Ok(())
    });
    // A transaction that runs no statement needs no connection.
    if let Err(error) = result {
        assert_eq!(
            (error.phase(), error.outcome()),
            (Some(Phase::Transaction), Outcome::NotSent),
            "{error:?}"
        );
    }
    let result = test.db.transaction_with(&options, |q| q.query("SELECT 1", ()).value::<i32>());
    let error: Error = result.expect_err("the only connection is lent");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Transaction), Outcome::NotSent), "{error:?}");
    assert!(start.elapsed() < SLACK, "not the pool's own limit");
    drop(lease);
    test.finish();
}

#[test]
fn a_deadline_ends_a_statement_under_way() {
    let test = TestPool::new(1);
    let calls = Calls::default();
    let options = TxOptions::new().name("limited").retries(3).deadline(Duration::from_millis(100));
    let lock = Lock::take(4_001);
    let start = Instant::now();
    let result = test.db.transaction_with(&options, |q| {
        calls.call();
        q.query(&lock.wait, ()).run()
    });
    let error: Error = result.expect_err("too slow");
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    assert_eq!((error.phase(), calls.count()), (Some(Phase::Transaction), 1), "{error:?}");
    assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    assert!(!error.to_string().contains("may still take effect"), "{error}");
    drop(lock);
    test.finish();
}

/// Nobody knows what became of it, so nobody runs it again.
#[test]
fn a_commit_that_is_not_answered_before_the_deadline_is_unknown() {
    run("CREATE TABLE retried_unanswered (id int4)");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let calls = Calls::default();
    let held = Mutex::new(None);
    let options = TxOptions::new().retries(3).deadline(Duration::from_millis(300));
    let result = test.db.transaction_with(&options, |q| -> Result<()> {
        calls.call();
        q.query("INSERT INTO retried_unanswered VALUES (1)", ()).run()?;
        *held.lock().expect("no holder panics") = Some(proxy.on(Backend, ANY, nth(1)).hold());
        Ok(())
    });
    let error = result.expect_err("no answer");
    assert_eq!((error.outcome(), calls.count()), (Outcome::Unknown, 1), "{error:?}");
    assert!(!error.is_retryable());
    eventually("the server has committed", || count("retried_unanswered") == 1);
    held.lock().expect("no holder panics").as_ref().expect("held").release();
    test.finish();
    assert_eq!(count("retried_unanswered"), 1);
}

/// Case 14: with retries too.
#[test]
fn an_unknown_commit_is_never_retried() {
    run("CREATE TABLE retried_never_again (round int4)");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    // Whatever the connection saw before: the list must not matter.
    let options = STUBBORN.retry_on(&["40001", "57P01", "08006", "08000", "08003", "08007", "40003"]);
    for (round, cut) in (0..).zip(["behind COMMIT", "before its reply", "inside its reply"]) {
        test.db.script("SELECT 1").expect("a connection, new or old");
        let calls = Calls::default();
        let result = test.db.transaction_with(&options, |q| -> Result<()> {
            calls.call();
            q.query("INSERT INTO retried_never_again VALUES ($1)", (round,)).run()?;
            let _ = match round {
                0 => proxy.on(Frontend, ANY, nth(1)).cut_after(),
                1 => proxy.on(Backend, ANY, nth(1)).cut_before(),
                _ => proxy.on(Backend, ANY, nth(1)).cut_after_bytes(1),
            };
            Ok(())
        });
        let error = result.expect_err("the connection is lost");
        assert_eq!((error.outcome(), calls.count()), (Outcome::Unknown, 1), "{cut}: {error:?}");
        assert!(!error.is_retryable(), "{cut}: {error:?}");
        test.ledger();
    }
    test.finish();
    assert!(count("retried_never_again") >= 2, "two of the cuts are behind the commit");
    assert_eq!(
        count("(SELECT DISTINCT round FROM retried_never_again) r"),
        count("retried_never_again"),
        "none twice"
    );
}

/// A session that was ended before COMMIT has rolled back. It is not contention; who wants it retried says so.
#[test]
fn a_session_that_was_ended_is_retried_only_if_that_is_asked_for() {
    run("CREATE TABLE retried_ended (id int4)");
    let test = TestPool::new(1);
    let work = |calls: &Calls, q: &Tx| -> Result<()> {
        q.query("INSERT INTO retried_ended VALUES (1)", ()).run()?;
        if calls.call() == 1 {
            // The server's word on it is the answer to this or to the next.
            q.query("SELECT pg_terminate_backend(pg_backend_pid())", ()).value::<bool>()?;
            q.query("SELECT 1", ()).value::<i32>()?;
        }
        Ok(())
    };
    let calls = Calls::default();
    let error = test.db.transaction_with(&STUBBORN, |q| work(&calls, q)).expect_err("ended");
    assert_eq!((calls.count(), count("retried_ended")), (1, 0), "{error:?}");
    assert!(matches!(error.outcome(), Outcome::NotSent | Outcome::RolledBack), "{error:?}");

    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN.retry_on(&["57P01"]), |q| work(&calls, q));
    result.expect("the second attempt, on another session");
    assert_eq!((calls.count(), count("retried_ended")), (2, 1));
    test.finish();
}

/// Case 52: in the body.
#[test]
fn a_cancel_in_the_body_goes_through_and_is_not_retried() {
    run("CREATE TABLE retried_cancelled_in_body (id int4)");
    let test = TestPool::new(1);
    let (calls, hooks) = (Calls::default(), Calls::default());
    let (db, called, hooked) = (Database::from(test.pool.clone()), calls.clone(), hooks.clone());
    let lock = Lock::take(4_002);
    let wait = lock.wait.clone();
    let victim = maypole::spawn(move || {
        db.transaction_with(&STUBBORN, |q| -> Result<()> {
            called.call();
            let (one, other) = (hooked.clone(), hooked.clone());
            q.after_commit(move || _ = one.call());
            q.after_rollback(move || _ = other.call());
            q.query("INSERT INTO retried_cancelled_in_body VALUES (1)", ()).run()?;
            q.query(&wait, ()).run().map(drop)
        })
    });
    eventually("it waits on the server", || test.sessions("AND wait_event = 'advisory'") == 1);
    cancel(&victim);
    let panic = victim.join().map(drop).expect_err("cancelled");
    assert!(panic.downcast_ref::<String>().is_none() && panic.downcast_ref::<&str>().is_none());
    drop(lock);
    test.ledger();
    assert_eq!((calls.count(), hooks.count(), count("retried_cancelled_in_body")), (1, 0, 0));
    test.finish();
}

/// Case 52: between two attempts, asleep or back in the queue.
#[test]
fn a_cancel_between_two_attempts_goes_through_at_once() {
    let test = TestPool::new(1);
    for round in 0..10 {
        let sql = failing(&format!("cancelled_between_{round}"), 100, "40001");
        let (calls, began, failed) = (Calls::default(), Flag::new(), Flag::new());
        let (called, begin, fail) = (calls.clone(), began.clone(), failed.clone());
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let db = Database::from(pool.clone());
            db.transaction_with(&STUBBORN, |q| {
                called.call();
                let fail = fail.clone();
                q.after_rollback(move || fail.raise());
                q.query("SELECT 1", ()).value::<i32>()?;
                begin.raise();
                while pool.stats().waiting == 0 {
                    rest(Duration::from_millis(1));
                }
                q.query(&sql, ()).value::<i64>()
            })
        });
        assert!(began.wait(SLACK), "the first attempt runs");
        // Whoever waits now comes before the second attempt, and keeps the only connection.
        let (pool, held, (end, ended)) = (test.pool.clone(), Flag::new(), mpsc::channel::<()>());
        let hold = held.clone();
        let holder = thread::spawn(move || {
            let lease = pool.connection().expect("lent");
            hold.raise();
            let _ = ended.recv();
            drop(lease);
        });
        assert!(held.wait(SLACK) && failed.wait(SLACK), "rolled back, and lent to the next");
        cancel(&victim);
        let panic = victim.join().map(drop).expect_err("cancelled");
        assert!(panic.downcast_ref::<String>().is_none() && panic.downcast_ref::<&str>().is_none());
        drop(end);
        holder.join().expect("held");
        assert_eq!(calls.count(), 1, "round {round}");
    }
    assert_eq!(test.pool.stats().opened, 1, "nothing was in doubt: the connection is kept");
    test.finish();
}

#[test]
fn a_panic_is_not_retried() {
    run("CREATE TABLE retried_panicked_once (id int4)");
    let test = TestPool::new(1);
    let sql = failing("panicked_once_failing", 1, "40001");
    for after_a_failure in [false, true] {
        let calls = Calls::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
                calls.call();
                q.query("INSERT INTO retried_panicked_once VALUES (1)", ()).run()?;
                if after_a_failure {
                    let _ = q.query(&sql, ()).value::<i64>();
                }
                panic!("in the middle");
            })
        }));
        let panic = result.map(drop).expect_err("the panic goes through");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the middle"));
        test.ledger();
        assert_eq!((calls.count(), count("retried_panicked_once")), (1, 0));
    }
    test.finish();
}
