//! What fails while nobody looks: chunks that were asked for ahead, statements that were given up.

use std::cell::Cell;
use std::time::Duration;

use maypole::{Error, Result};

use super::{STUBBORN, behind_a_proxy};
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, every};

/// The statement between two rows is only the second that fails.
#[test]
fn a_chunk_that_fails_ahead_is_what_decides_about_a_retry_and_what_is_told() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE FUNCTION attack_ahead(n int4) RETURNS int4 LANGUAGE plpgsql AS $$
             BEGIN
                 IF n > 2 THEN RAISE EXCEPTION 'got in the way' USING ERRCODE = '40001'; END IF;
                 RETURN n;
             END $$",
        )
        .expect("a function");
    for swallowed in [false, true] {
        let calls = Cell::new(0);
        let error = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
            calls.set(calls.get() + 1);
            let rows = q.query("SELECT attack_ahead(n) FROM generate_series(1, 9) n", ()).chunk(2);
            for row in rows.iter::<i32>() {
                row?;
                let touched = q.query("SELECT 7 -- innocent", ()).value::<i32>();
                if swallowed {
                    return Ok(());
                }
                touched?;
            }
            Ok(())
        });
        let error = error.expect_err("nothing was committed");
        assert_eq!(calls.get(), 4, "it was retried: {error:?}");
        let text = format!("{error:?}");
        assert!(text.contains("got in the way"), "what failed first is told: {text}");
        if swallowed {
            assert!(text.contains("attack_ahead(n)"), "and which query it was: {text}");
        }
    }
    test.finish();
}

/// Two queries were given up; the first fails.
#[test]
fn of_two_queries_that_were_given_up_the_one_that_failed_is_named() {
    let (proxy, test) = behind_a_proxy();
    let known = test.db.transaction(|q| q.query("SELECT 8 / 0 -- the guilty", ()).value::<i32>());
    known.expect_err("division by zero");
    let error = test.db.transaction(|q| {
        q.query("SELECT 8 -- known", ()).value::<i32>()?;
        let held = proxy.on(Backend, ANY, every()).hold();
        let limit = Duration::from_millis(30);
        let one = q.query("SELECT 8 / 0 -- the guilty", ()).timeout(limit).value::<i32>();
        assert!(one.expect_err("no answer").is_timeout());
        let other = q.query("SELECT 8 -- known", ()).timeout(limit).value::<i32>();
        assert!(other.expect_err("no answer").is_timeout());
        held.release();
        Ok(())
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!(error.sqlstate(), Some("22012"), "{error:?}");
    assert!(format!("{error:?}").contains("the guilty"), "{error:?}");
    assert!(!format!("{error:?}").contains("known"), "{error:?}");
    test.finish();
}

/// The error is there, the end of the answer is not.
#[test]
fn a_query_that_was_given_up_between_its_error_and_the_end_of_its_answer_is_named() {
    let (proxy, test) = behind_a_proxy();
    let text = "DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$";
    test.db.transaction(|q| q.query(text, ()).run()).expect_err("known from now on");
    let calls = Cell::new(0);
    let options = STUBBORN.retries(1);
    let error = test.db.transaction_with(&options, |q| -> Result<()> {
        calls.set(calls.get() + 1);
        q.query("SELECT 1", ()).value::<i32>()?;
        let held = proxy.on(Backend, b'Z', every()).hold();
        let result = q.query(text, ()).timeout(Duration::from_millis(100)).run();
        assert!(result.expect_err("no end").is_timeout());
        held.release();
        Ok(())
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!(calls.get(), 2, "it was retried: {error:?}");
    assert!(format!("{error:?}").contains("in the way"), "{error:?}");
    assert!(format!("{error:?}").contains("RAISE EXCEPTION"), "{error:?}");
    test.finish();
}

/// It outlives its transaction, and ends with an error: not as if it had no more rows.
#[test]
fn a_stream_of_the_lease_that_outlives_the_transaction_fails() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let rows =
        lease.transaction(|_| Ok(lease.query("SELECT generate_series(1, 9)", ()).chunk(2).iter::<i32>()));
    let rows: Vec<_> = rows.expect("committed").collect();
    assert_eq!(rows.iter().filter(|row| row.is_ok()).count(), 4, "what was asked for in time: {rows:?}");
    assert!(matches!(rows.last(), Some(Err(error)) if error.sqlstate() == Some("34000")), "{rows:?}");
    assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
    drop(lease);
    test.finish();
}

/// Nobody drops it, and so nobody closes its portal.
#[test]
fn a_stream_that_is_forgotten_ends_with_its_transaction() {
    let test = TestPool::new(1);
    let done = test.db.transaction(|q| {
        let mut rows = q.query("SELECT generate_series(1, 9)", ()).chunk(2).iter::<i32>();
        rows.next().expect("a row")?;
        std::mem::forget(rows);
        q.query("SELECT 7", ()).value::<i32>()
    });
    assert_eq!(done.expect("committed"), 7);
    let undone = test.db.transaction(|q| {
        let mut rows = q.query("SELECT generate_series(1, 9)", ()).chunk(2).iter::<i32>();
        rows.next().expect("a row")?;
        std::mem::forget(rows);
        Err::<(), _>(Error::user("undo this"))
    });
    undone.expect_err("the function's own");
    eventually("the books balance", || test.pool.stats().idle == 1);
    test.finish();
}
