//! Savepoints.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use maypole::{Error, Outcome, Result, Tx};

use super::{STUBBORN, ids, table};
use crate::support::pool::TestPool;

fn insert(q: &Tx, table: &str, id: i32) -> Result<u64> {
    q.query(&format!("INSERT INTO {table} VALUES ($1)"), (id,)).run()
}

/// A panic leaves the undoing to the next request; that one must not take it along if it is not sent.
#[test]
fn what_a_savepoint_undoes_is_undone_although_the_next_script_cannot_be_sent() {
    table("attack_unsent", &[]);
    let test = TestPool::new(1);
    let done = test.db.transaction(|q| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            q.savepoint(|q| -> Result<()> {
                insert(q, "attack_unsent", 1)?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        let error = q.script("SELECT '\0'").expect_err("a NUL");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        insert(q, "attack_unsent", 2)
    });
    done.expect("committed");
    assert_eq!(ids("attack_unsent"), [2]);
    // The savepoint itself is not lost either, nor BEGIN.
    let done = test.db.transaction(|q| {
        drop(q.script("SELECT '\0'"));
        insert(q, "attack_unsent", 3)?;
        let undone = q.savepoint(|q| -> Result<()> {
            drop(q.script("SELECT '\0'"));
            insert(q, "attack_unsent", 4)?;
            Err(Error::user("undo this"))
        });
        undone.expect_err("undone");
        insert(q, "attack_unsent", 5)
    });
    done.expect("committed");
    assert_eq!(ids("attack_unsent"), [2, 3, 5]);
    test.finish();
}

/// A savepoint does not undo what failed before it.
#[test]
fn a_savepoint_in_a_transaction_that_has_failed_takes_no_blame() {
    let test = TestPool::new(1);
    for statements in [0, 1] {
        let calls = Cell::new(0);
        let error = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
            calls.set(calls.get() + 1);
            q.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$").expect_err("raised");
            let error = q.savepoint(|q| {
                for _ in 0..statements {
                    drop(q.query("SELECT 1", ()).value::<i32>());
                }
                Ok(())
            });
            error.expect_err("the transaction has failed");
            Ok(())
        });
        let error = error.expect_err("nothing was committed");
        assert_eq!(error.sqlstate(), Some("40001"), "{statements} statements: {error:?}");
        assert!(format!("{error:?}").contains("RAISE EXCEPTION"), "{error:?}");
        assert_eq!(calls.get(), 4, "{statements} statements: {error:?}");
    }
    test.finish();
}

/// A function may use the transaction of an outer one inside of a savepoint: savepoints nest as they are called.
#[test]
fn savepoints_nest_by_the_order_of_calls_and_not_by_whom_they_are_called_on() {
    table("attack_levels", &[]);
    let test = TestPool::new(1);
    let done = test.db.transaction(|outer| {
        outer.savepoint(|q| {
            insert(q, "attack_levels", 1)?;
            let undone = outer.savepoint(|q| -> Result<()> {
                outer.savepoint(|_| Ok(()))?;
                insert(q, "attack_levels", 2)?;
                Err(Error::user("undo this"))
            });
            undone.expect_err("undone");
            insert(q, "attack_levels", 3)?;
            Ok(())
        })?;
        insert(outer, "attack_levels", 4)
    });
    done.expect("committed");
    assert_eq!(ids("attack_levels"), [1, 3, 4]);

    fn deeper(q: &Tx, levels: u32) -> Result<i32> {
        if levels == 0 { q.query("SELECT 1", ()).value() } else { q.savepoint(|_| deeper(q, levels - 1)) }
    }
    assert_eq!(test.db.transaction(|q| deeper(q, 64)).expect("committed"), 1);
    let error = test.db.transaction(|q| deeper(q, 80)).expect_err("too deep");
    assert!(error.to_string().contains("64 savepoints"), "{error}");
    test.finish();
}

/// COMMIT goes with the undoing, which fails: the program has released the savepoint by a script of its own.
#[test]
fn a_lease_is_usable_after_a_commit_that_failed_before_it_was_executed() {
    table("attack_undo_fails", &[]);
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let error = lease.transaction(|q| {
        q.script("SAVEPOINT mine")?;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            q.savepoint(|q| -> Result<()> {
                insert(q, "attack_undo_fails", 1)?;
                q.script("RELEASE SAVEPOINT mine")?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        Ok(())
    });
    let error = error.expect_err("there is nothing to go back to");
    assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("3B001")), "{error:?}");
    assert!(!lease.in_transaction());
    assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
    drop(lease);
    assert_eq!(ids("attack_undo_fails"), [0; 0]);
    test.finish();
}

/// The exchange that was to close a statement was passed over: the session has it still.
#[test]
fn a_statement_that_was_not_closed_after_all_is_no_hindrance_to_its_own_return() {
    let test = TestPool::configured(
        &crate::support::server::server().url(),
        |config| config.statement_cache_capacity(1),
        |builder| builder.limit(1),
    );
    let lease = test.pool.connection().expect("lent");
    let one = || lease.transaction(|q| q.query("SELECT 1 -- the first", ()).value::<i32>());
    assert_eq!(one().expect("committed"), 1);
    let failed = lease.transaction(|q| {
        drop(q.script("SELECT 1 / 0"));
        q.savepoint(|q| q.query("SELECT 2 -- the second", ()).value::<i32>())
    });
    failed.expect_err("the transaction has failed");
    assert_eq!(one().expect("committed"), 1);
    drop(lease);
    test.finish();
}
