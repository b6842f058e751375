//! Statements that are sent along, in places where they were not expected.

use std::time::Duration;

use maypole::{Error, Result, Tx};

use super::{behind_a_proxy, ids, table};
use crate::support::pool::TestPool;

fn insert(q: &Tx, table: &str, id: i32) -> Result<()> {
    q.query(&format!("INSERT INTO {table} VALUES ($1)"), (id,)).later()
}

/// What this sends is known from now on, and is sent along the next time.
fn known(test: &TestPool, table: &str) {
    let known = test.db.transaction(|q| {
        insert(q, table, -1)?;
        Err::<(), _>(Error::user("undo this"))
    });
    known.expect_err("undone");
}

/// The chunk that the stream waits for was asked for before; its answer is not that of what was sent along since.
#[test]
fn statements_are_sent_along_while_a_stream_is_read() {
    table("attack_later_stream", &[]);
    let test = TestPool::new(1);
    known(&test, "attack_later_stream");
    let done = test.db.transaction(|q| {
        for number in q.query("SELECT generate_series(1, 9)", ()).chunk(2).timeout(None).iter::<i32>() {
            insert(q, "attack_later_stream", number?)?;
        }
        Ok(())
    });
    done.expect("committed");
    assert_eq!(ids("attack_later_stream"), (1..=9).collect::<Vec<_>>());
    test.finish();
}

/// What it does is only seen if its own answer is looked at.
#[test]
fn a_statement_that_ends_the_transaction_is_not_sent_along() {
    table("attack_later_end", &[]);
    let test = TestPool::new(1);
    known(&test, "attack_later_end");
    for (round, statement) in [(1, "ROLLBACK"), (2, "ROLLBACK"), (3, "COMMIT"), (4, "COMMIT")] {
        let done = test.db.transaction(|q| {
            insert(q, "attack_later_end", round)?;
            q.query(statement, ()).later()?;
            insert(q, "attack_later_end", round + 10)
        });
        done.expect_err("it has ended the transaction");
    }
    assert_eq!(ids("attack_later_end"), [3, 4]);
    test.finish();
}

/// A failed one makes the server pass over everything up to the next Sync.
#[test]
fn a_savepoint_is_undone_although_what_was_sent_along_in_it_has_failed() {
    table("attack_later_savepoint", &[1]);
    let test = TestPool::new(1);
    known(&test, "attack_later_savepoint");
    let done = test.db.transaction(|q| {
        insert(q, "attack_later_savepoint", 2)?;
        let undone = q.savepoint(|q| {
            insert(q, "attack_later_savepoint", 1)?;
            Err::<(), _>(Error::user("no stock left"))
        });
        undone.expect_err("the function's own");
        q.query("INSERT INTO attack_later_savepoint VALUES (3)", ()).run()
    });
    done.expect("committed");
    assert_eq!(ids("attack_later_savepoint"), [1, 2, 3]);
    test.finish();
}

/// It is sent when its limit has passed already, and fails.
#[test]
fn what_was_sent_along_too_late_is_named_if_it_fails() {
    table("attack_later_late", &[1]);
    let (_proxy, test) = behind_a_proxy();
    known(&test, "attack_later_late");
    let error = test.db.transaction(|q| {
        q.query("SELECT 1", ()).value::<i32>()?;
        let text = "INSERT INTO attack_later_late VALUES ($1)";
        q.query(text, (1,)).timeout(Duration::from_millis(1)).later()?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    });
    let error = error.expect_err("a duplicate");
    assert_eq!(error.sqlstate(), Some("23505"), "{error:?}");
    assert!(format!("{error:?}").contains("INSERT INTO attack_later_late"), "{error:?}");
    test.finish();
}
