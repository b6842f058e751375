//! Each attempt is a transaction of its own, and nothing is held between two of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use maypole::{Error, Isolation, Outcome, Result, Tx, TxOptions};

use super::{Calls, SLACK, STUBBORN, attempts, client, failing, run};
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};

/// What an attempt saw.
struct Attempt {
    transaction: String,
    session: i32,
    began: Instant,
}

/// Runs a function that fails three times, and looks at each of its transactions from the next.
fn fails_three_times(q: &Tx, sql: &str, seen: &Mutex<Vec<Attempt>>) -> Result<i64> {
    let began = Instant::now();
    let (transaction, session) =
        q.query("SELECT pg_current_xact_id()::text, pg_backend_pid()", ()).unique::<(String, i32)>()?;
    let mut seen = seen.lock().expect("no holder panics");
    for earlier in seen.iter() {
        let fate: String =
            q.query("SELECT pg_xact_status($1::text::xid8)", (&earlier.transaction,)).value()?;
        assert_eq!(fate, "aborted", "the transaction of an earlier attempt is over");
        assert_ne!(earlier.transaction, transaction, "each attempt has a transaction of its own");
    }
    seen.push(Attempt { transaction, session, began });
    drop(seen);
    q.query(sql, ()).value()
}

/// Case 17.
#[test]
fn a_serialization_failure_three_times_and_then_success_is_four_calls_on_four_transactions() {
    let test = TestPool::new(2);
    let sql = failing("case_17", 3, "40001");
    let seen = Mutex::default();
    let rolled_back = Arc::new(Mutex::new(Vec::new()));
    let stuck = Arc::new(AtomicUsize::new(0));
    let name = test.name.clone();
    let answer = test.db.transaction_with(&STUBBORN, |q| {
        let (times, stuck, name) = (rolled_back.clone(), stuck.clone(), name.clone());
        q.after_rollback(move || {
            let open = client().value(&format!(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = '{name}' AND state LIKE 'idle in transaction%'"
            ));
            stuck.fetch_add(open.expect("a count").parse().expect("a number"), Ordering::SeqCst);
            times.lock().expect("no holder panics").push(Instant::now());
        });
        fails_three_times(q, &sql, &seen)
    });
    assert_eq!(answer.expect("the fourth attempt"), 4);
    let (seen, rolled_back) =
        (seen.into_inner().expect("no holder panics"), rolled_back.lock().expect("the same"));
    assert_eq!((seen.len(), rolled_back.len()), (4, 3));
    for (rolled_back, next) in rolled_back.iter().zip(&seen[1..]) {
        assert!(next.began > *rolled_back, "attempts do not overlap");
        assert!(next.began - *rolled_back < SLACK, "the back-off ends");
    }
    assert_eq!(stuck.load(Ordering::SeqCst), 0, "sessions idle in transaction while it sleeps");
    drop(rolled_back);
    test.finish();
}

/// Case 17, where sleeping is something else.
#[test]
fn a_function_is_retried_in_a_coroutine_as_on_a_thread() {
    let test = TestPool::new(1);
    let sql = failing("case_17_in_a_coroutine", 3, "40001");
    let db = maypole::Database::from(test.pool.clone());
    let attempts = in_coroutine(move || {
        let seen = Mutex::default();
        let answer = db.transaction_with(&STUBBORN, |q| fails_three_times(q, &sql, &seen));
        assert_eq!(answer.expect("the fourth attempt"), 4);
        seen.into_inner().expect("no holder panics").len()
    });
    assert_eq!(attempts, 4);
    test.finish();
}

/// Who holds a lease keeps it: all attempts run on its session.
#[test]
fn a_function_on_a_lease_is_retried_on_the_same_session() {
    let test = TestPool::new(2);
    let sql = failing("case_17_on_a_lease", 3, "40001");
    let lease = test.pool.connection().expect("lent");
    let seen = Mutex::default();
    let answer = lease.transaction_with(&STUBBORN, |q| fails_three_times(q, &sql, &seen));
    assert_eq!(answer.expect("the fourth attempt"), 4);
    let seen = seen.into_inner().expect("no holder panics");
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|attempt| attempt.session == lease.process_id()));
    drop(lease);
    test.finish();
}

/// Case 17: first come, first served holds between attempts.
#[test]
fn the_connection_is_lent_to_others_between_two_attempts() {
    let test = TestPool::new(1);
    let sql = failing("case_17_lent", 2, "40001");
    let (calls, served) = (Calls::default(), Calls::default());
    let answer = test.db.transaction_with(&STUBBORN, |q| {
        let call = calls.call();
        assert_eq!(served.count(), call - 1, "who waited has been served before attempt {call}");
        if call < 3 {
            let (pool, served) = (test.pool.clone(), served.clone());
            drop(maypole::spawn(move || {
                let lease = pool.connection().expect("lent");
                assert!(!lease.in_transaction());
                assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
                served.call();
            }));
            eventually("the other waits for the only connection", || test.pool.stats().waiting == 1);
        }
        q.query(&sql, ()).value::<i64>()
    });
    assert_eq!((answer.expect("the third attempt"), calls.count()), (3, 3));
    test.finish();
}

#[test]
fn when_the_attempts_are_used_up_the_last_error_comes_with_those_before_it_in_order() {
    let test = TestPool::new(1);
    let sql = failing("exhausted", 100, "40001");
    let options = TxOptions::new().name("hopeless").retries(2);
    let (calls, result) = attempts(&test, &options, &sql);
    let error = result.expect_err("never");
    assert_eq!(calls, 3);
    assert_eq!((error.sqlstate(), error.outcome()), (Some("40001"), Outcome::RolledBack), "{error:?}");
    assert_eq!(error.transaction_name(), Some("hopeless"));
    assert!(error.to_string().contains("failure number 3"), "{error}");
    assert!(error.to_string().contains("= in transaction hopeless, attempt 3 of 3"), "{error}");
    assert_eq!(error.earlier().len(), 2);
    for (number, earlier) in (1..).zip(error.earlier()) {
        let text = earlier.to_string();
        assert!(text.contains(&format!("failure number {number}")), "{text}");
        assert!(text.contains(&format!("attempt {number} of 3")), "{text}");
        assert_eq!(earlier.sqlstate(), Some("40001"));
        assert!(earlier.earlier().is_empty());
    }
    test.finish();
}

#[test]
fn without_retries_a_function_is_called_once() {
    let test = TestPool::new(1);
    let sql = failing("called_once", 1, "40001");
    let (calls, result) = attempts(&test, &TxOptions::new(), &sql);
    let error = result.expect_err("the first failure");
    assert_eq!((calls, error.sqlstate(), error.earlier().len()), (1, Some("40001"), 0), "{error:?}");
    let sql = failing("called_once_plainly", 1, "40001");
    let error = test.db.transaction(|q| q.query(&sql, ()).value::<i64>()).expect_err("the first failure");
    assert_eq!((error.sqlstate(), error.earlier().len()), (Some("40001"), 0), "{error:?}");
    test.finish();
}

/// The real thing: another client was faster, and the next attempt sees what it did.
#[test]
fn the_next_attempt_sees_what_the_other_client_did() {
    run("CREATE TABLE retried_fresh (id int4, value int4); INSERT INTO retried_fresh VALUES (1, 10)");
    let test = TestPool::new(1);
    for (round, isolation) in (0..).zip([Isolation::RepeatableRead, Isolation::Serializable]) {
        let calls = Calls::default();
        let answer = test.db.transaction_with(&STUBBORN.isolation(isolation), |q| {
            let value: i32 = q.query("SELECT value FROM retried_fresh WHERE id = 1", ()).value()?;
            if calls.call() == 1 {
                run("UPDATE retried_fresh SET value = value + 5");
            }
            q.query("UPDATE retried_fresh SET value = $1 WHERE id = 1", (value * 2,)).run()?;
            Ok::<_, Error>(value)
        });
        // (10 + 5) * 2 + 5, and so on.
        let expected = [15, 35][round];
        assert_eq!((answer.expect("the second attempt"), calls.count()), (expected, 2));
        let stored = client().value("SELECT value FROM retried_fresh").expect("a value");
        assert_eq!(stored, (expected * 2).to_string());
    }
    test.finish();
}
