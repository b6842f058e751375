//! Which failures are retried: what the connection saw decides, whatever the function made of it.

use maypole::{Error, Outcome, Result};

use super::{Calls, STUBBORN, attempts, count, failing, run};
use crate::support::pool::TestPool;

/// An error type of a program, which forgets what the library told it.
#[derive(Debug, PartialEq)]
enum Refusal {
    NoStock,
    Database,
}

impl From<Error> for Refusal {
    fn from(_: Error) -> Refusal {
        Refusal::Database
    }
}

#[test]
fn what_the_connection_saw_decides_although_the_function_has_an_error_type_of_its_own() {
    let test = TestPool::new(1);
    let sql = failing("own_error", 3, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.query(&sql, ()).value::<i64>().map_err(|_| Refusal::NoStock)
    });
    assert_eq!((result, calls.count()), (Ok(4), 4));

    let sql = failing("own_error_to_the_end", 100, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.query(&sql, ()).value::<i64>().map_err(|_| Refusal::NoStock)
    });
    assert_eq!((result, calls.count()), (Err(Refusal::NoStock), 4), "the last attempt's own error");

    // Nothing failed but the function itself: that is no contention.
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.query("SELECT 1", ()).value::<i32>()?;
        Err::<(), _>(Refusal::NoStock)
    });
    assert_eq!((result, calls.count()), (Err(Refusal::NoStock), 1));
    test.finish();
}

#[test]
fn a_failure_that_the_function_swallowed_is_retried_as_if_it_had_not() {
    let test = TestPool::new(1);
    let sql = failing("swallowed_and_retried", 3, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
        calls.call();
        let _ = q.query(&sql, ()).value::<i64>();
        Ok(())
    });
    result.expect("the fourth attempt");
    assert_eq!(calls.count(), 4);

    let sql = failing("swallowed_to_the_end", 100, "40001");
    let result = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
        let _ = q.query(&sql, ()).value::<i64>();
        // The first failure is the one that counts, not those that it brings about.
        let _ = q.query("SELECT 1", ()).value::<i32>();
        Ok(())
    });
    let error = result.expect_err("never");
    assert_eq!((error.sqlstate(), error.outcome()), (Some("40001"), Outcome::RolledBack), "{error:?}");
    assert_eq!(error.earlier().len(), 3);
    assert!(format!("{error:?}").contains("failure number 4"), "{error:?}");

    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
        calls.call();
        let _ = q.query("SELECT 1 / 0", ()).value::<i32>();
        Ok(())
    });
    let error = result.expect_err("nothing was committed");
    assert_eq!((error.sqlstate(), calls.count()), (Some("22012"), 1), "{error:?}");
    test.finish();
}

#[test]
fn the_first_failure_decides_and_not_those_that_it_brings_about() {
    let test = TestPool::new(1);
    let sql = failing("first_failure", 1, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        let _ = q.query(&sql, ()).value::<i64>();
        // 25P02 in the first attempt: the transaction has failed.
        q.query("SELECT 1", ()).value::<i32>()
    });
    assert_eq!((result.expect("the second attempt"), calls.count()), (1, 2));
    test.finish();
}

#[test]
fn a_failure_that_a_savepoint_has_undone_decides_nothing() {
    let test = TestPool::new(1);
    let sql = failing("undone", 1, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.savepoint(|q| q.query(&sql, ()).value::<i64>()).expect_err("the first failure");
        q.query("SELECT 1", ()).value::<i32>()
    });
    assert_eq!((result.expect("the outer one is fine"), calls.count()), (1, 1));

    let sql = failing("undone_and_failed", 1, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.savepoint(|q| q.query(&sql, ()).value::<i64>()).expect_err("the first failure");
        q.query("SELECT 1 / 0", ()).value::<i32>()
    });
    assert_eq!((result.expect_err("division by zero").sqlstate(), calls.count()), (Some("22012"), 1));
    test.finish();
}

/// The function may have forgotten what a savepoint told it, and returned it as its own.
#[test]
fn a_failure_inside_a_savepoint_that_is_passed_on_is_retried() {
    let test = TestPool::new(1);
    let sql = failing("passed_on", 2, "40001");
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.savepoint(|q| q.query(&sql, ()).value::<i64>())
    });
    assert_eq!((result.expect("the third attempt"), calls.count()), (3, 3));
    test.finish();
}

/// Found only at COMMIT, where the function has returned already.
#[test]
fn a_deferred_constraint_that_fails_at_commit_is_retried() {
    run("CREATE TABLE retried_deferred (id int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    let test = TestPool::new(1);
    let calls = Calls::default();
    let answer = test.db.transaction_with(&STUBBORN, |q| -> Result<i32> {
        let last: i32 = q.query("SELECT coalesce(max(id), 0) FROM retried_deferred", ()).value()?;
        if calls.call() == 1 {
            run("INSERT INTO retried_deferred VALUES (1)");
        }
        q.query("INSERT INTO retried_deferred VALUES ($1)", (last + 1,)).run()?;
        Ok(last + 1)
    });
    assert_eq!((answer.expect("the second attempt"), calls.count()), (2, 2));
    assert_eq!(count("retried_deferred"), 2);
    test.finish();
}

#[test]
fn of_the_sqlstates_only_those_of_contention_are_retried() {
    let test = TestPool::new(1);
    for code in ["40001", "40P01", "23505", "23P01"] {
        // Without a key in its detail: nothing says that it is the same one again.
        let (calls, result) = attempts(&test, &STUBBORN, &failing(&format!("sqlstate_{code}"), 3, code));
        assert_eq!((calls, result.ok()), (4, Some(4)), "{code}");
    }
    for code in
        ["23514", "23502", "23503", "23000", "40003", "40002", "40000", "25P02", "55P03", "57014", "P0001"]
    {
        let (calls, result) = attempts(&test, &STUBBORN, &failing(&format!("sqlstate_{code}"), 3, code));
        assert_eq!((calls, result.expect_err("once").sqlstate()), (1, Some(code)));
    }
    test.finish();
}

/// The real thing again, for the mistake that retrying must not repeat.
#[test]
fn a_check_violation_is_not_retried() {
    run("CREATE TABLE retried_checked (id int4 CHECK (id > 0))");
    let test = TestPool::new(1);
    let calls = Calls::default();
    let result = test.db.transaction_with(&STUBBORN, |q| {
        calls.call();
        q.query("INSERT INTO retried_checked VALUES (-1)", ()).run()
    });
    let error: Error = result.expect_err("negative");
    assert_eq!((calls.count(), error.sqlstate(), error.earlier().len()), (1, Some("23514"), 0), "{error:?}");
    test.finish();
}

#[test]
fn retry_on_is_instead_of_the_usual_list() {
    let test = TestPool::new(1);
    let options = STUBBORN.retry_on(&["40P01", "23514"]);
    for code in ["40P01", "23514"] {
        let (calls, result) = attempts(&test, &options, &failing(&format!("listed_{code}"), 3, code));
        assert_eq!((calls, result.ok()), (4, Some(4)), "{code}");
    }
    for code in ["40001", "23505", "23P01"] {
        let (calls, result) = attempts(&test, &options, &failing(&format!("listed_{code}"), 3, code));
        assert_eq!((calls, result.expect_err("once").sqlstate()), (1, Some(code)));
    }
    let (calls, result) = attempts(&test, &STUBBORN.retry_on(&[]), &failing("listed_none", 3, "40001"));
    assert_eq!((calls, result.expect_err("once").sqlstate()), (1, Some("40001")));
    test.finish();
}
