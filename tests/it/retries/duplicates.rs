//! A duplicate key is contention if it is another one each time, else a mistake that will not go away.

use maypole::{Result, TxOptions};

use super::{Calls, run};
use crate::support::pool::TestPool;

/// How often an insert runs whose key depends on the attempt.
fn inserts(test: &TestPool, table: &str, key: impl Fn(usize) -> usize) -> (usize, Result<u64>) {
    let calls = Calls::default();
    let sql = format!("INSERT INTO {table} VALUES ($1)");
    let options = TxOptions::new().retries(5);
    let result = test.db.transaction_with(&options, |q| {
        let key = i32::try_from(key(calls.call())).expect("small");
        q.query(&sql, (key,)).run()
    });
    (calls.count(), result)
}

#[test]
fn a_duplicate_of_the_same_key_twice_running_ends_the_retries_and_another_key_goes_on() {
    let test = TestPool::new(1);
    for (table, constraint, code) in [
        ("retried_duplicate", "PRIMARY KEY", "23505"),
        ("retried_excluded", "CONSTRAINT one_each EXCLUDE (id WITH =)", "23P01"),
    ] {
        let constraint = constraint.replace("EXCLUDE (", "EXCLUDE USING btree (");
        if code == "23505" {
            run(&format!("CREATE TABLE {table} (id int4 {constraint})"));
        } else {
            run(&format!("CREATE TABLE {table} (id int4, {constraint})"));
        }
        run(&format!("INSERT INTO {table} VALUES (1), (2), (3), (4), (5)"));

        let (calls, result) = inserts(&test, table, |_| 1);
        let error = result.expect_err("it is there");
        assert_eq!((calls, error.sqlstate(), error.earlier().len()), (2, Some(code), 1), "{error:?}");

        let (calls, result) = inserts(&test, table, |call| if call < 3 { call } else { 3 });
        let error = result.expect_err("it is there");
        assert_eq!((calls, error.earlier().len()), (4, 3), "3 twice running: {error:?}");

        let (calls, result) = inserts(&test, table, |call| call % 2 + 1);
        let error = result.expect_err("both are there");
        assert_eq!((calls, error.earlier().len()), (6, 5), "never the same twice running: {error:?}");

        let (calls, result) = inserts(&test, table, |call| call);
        assert_eq!((calls, result.ok()), (6, Some(1)), "the sixth is new");
    }
    test.finish();
}

/// The same key of another constraint is another obstacle.
#[test]
fn a_duplicate_in_another_constraint_goes_on() {
    run(
        "CREATE TABLE retried_two_keys (one int4 UNIQUE, two int4 UNIQUE); INSERT INTO retried_two_keys VALUES (1, 1)",
    );
    let test = TestPool::new(1);
    let calls = Calls::default();
    let result = test.db.transaction_with(&TxOptions::new().retries(5), |q| {
        let values = match calls.call() {
            1 => (1, 2),
            2 => (2, 1),
            3 => (1, 2),
            _ => (2, 2),
        };
        q.query("INSERT INTO retried_two_keys VALUES ($1, $2)", values).run()
    });
    let result: Result<u64> = result;
    assert_eq!((calls.count(), result.ok()), (4, Some(1)));
    test.finish();
}
