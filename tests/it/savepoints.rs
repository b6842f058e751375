//! A part of a transaction that fails can be given up without the rest (reliability case 20).

use std::panic::{AssertUnwindSafe, catch_unwind};

use maypole::{Error, Isolation, Outcome, Result, Row, Tx, TxOptions};

use crate::support::past::{ids, run};
use crate::support::pool::TestPool;

fn insert(q: &Tx, table: &str, id: i32) -> Result<u64> {
    q.query(&format!("INSERT INTO {table} VALUES ($1)"), (id,)).run()
}

#[test]
fn a_savepoint_that_fails_takes_its_own_changes_with_it_and_no_others() {
    run("CREATE TABLE savepoint_fails (id int4)");
    let test = TestPool::new(1);
    let done: Result<()> = test.db.transaction(|q| {
        insert(q, "savepoint_fails", 1)?;
        let failed: Result<i32> = q.savepoint(|q| {
            insert(q, "savepoint_fails", 2)?;
            q.query("SELECT 1 / 0", ()).value()
        });
        assert_eq!(failed.expect_err("division by zero").sqlstate(), Some("22012"));
        insert(q, "savepoint_fails", 3)?;
        let failed: Result<()> = q.savepoint(|q| {
            insert(q, "savepoint_fails", 4)?;
            Err(Error::user("no stock left"))
        });
        assert_eq!(failed.expect_err("ours").outcome(), Outcome::RolledBack);
        // The very first statement of a savepoint: it goes out together with it.
        let failed: Result<i32> = q.savepoint(|q| q.query("SELECT 1 / 0", ()).value());
        assert_eq!(failed.expect_err("division by zero").sqlstate(), Some("22012"));
        assert_eq!(q.savepoint(|q| insert(q, "savepoint_fails", 5))?, 1);
        let nothing: Result<()> = q.savepoint(|_| Ok(()));
        nothing?;
        let nothing: Result<()> = q.savepoint(|_| Err(Error::user("enough")));
        nothing.expect_err("ours");
        insert(q, "savepoint_fails", 6).map(drop)
    });
    done.expect("committed");
    assert_eq!(ids("savepoint_fails"), [1, 3, 5, 6]);
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    test.finish();
}

/// The savepoint is the first thing that a transaction does: BEGIN, SAVEPOINT and the statement go out together.
#[test]
fn a_savepoint_at_the_very_beginning_can_fail() {
    run("CREATE TABLE savepoint_first (id int4)");
    let test = TestPool::new(1);
    for depth in 1..4 {
        let done: Result<()> = test.db.transaction(|q| {
            deep(q, depth, &|q| q.query("SELECT 1 / 0", ()).value::<i32>().map(drop))
                .expect_err("division by zero");
            insert(q, "savepoint_first", depth).map(drop)
        });
        done.expect("committed");
    }
    assert_eq!(ids("savepoint_first"), [1, 2, 3]);
    test.finish();
}

/// Runs a function so many savepoints deep.
fn deep(q: &Tx, depth: i32, function: &dyn Fn(&Tx) -> Result<()>) -> Result<()> {
    if depth == 0 { function(q) } else { q.savepoint(|q| deep(q, depth - 1, function)) }
}

#[test]
fn savepoints_nest_and_each_is_given_up_alone() {
    run("CREATE TABLE savepoint_nests (id int4)");
    let test = TestPool::new(1);
    /// The levels 3, 7 and 11 fail, after all those inside of them.
    fn level(q: &Tx, number: i32) -> Result<()> {
        insert(q, "savepoint_nests", number)?;
        if number < 12 {
            let inner = q.savepoint(|q| level(q, number + 1));
            assert_eq!(inner.is_err(), number % 4 == 2, "level {}", number + 1);
        }
        if number % 4 == 3 {
            q.query("SELECT 1 / 0", ()).value::<i32>()?;
        }
        Ok(())
    }
    test.db.transaction(|q| level(q, 0)).expect("committed");
    // Level 3 has failed, and took all that was inside of it.
    assert_eq!(ids("savepoint_nests"), [0, 1, 2]);
    test.finish();
}

#[test]
fn a_savepoint_that_was_released_is_undone_with_its_transaction() {
    run("CREATE TABLE savepoint_undone (id int4)");
    let test = TestPool::new(1);
    let failed: Result<()> = test.db.transaction(|q| {
        q.savepoint(|q| insert(q, "savepoint_undone", 1))?;
        Err(Error::user("enough"))
    });
    failed.expect_err("ours");
    assert_eq!(ids("savepoint_undone"), [0; 0]);
    test.finish();
}

#[test]
fn a_savepoint_that_swallowed_an_error_fails_with_it_and_the_transaction_goes_on() {
    run("CREATE TABLE savepoint_swallowed (id int4)");
    let test = TestPool::new(1);
    let done: Result<()> = test.db.transaction(|q| {
        let swallowed: Result<()> = q.savepoint(|q| {
            insert(q, "savepoint_swallowed", 1)?;
            let _ = q.query("SELECT 1 / 0", ()).value::<i32>();
            let _ = q.query("SELECT 1", ()).value::<i32>();
            Ok(())
        });
        let error = swallowed.expect_err("one of its statements had failed");
        assert_eq!(error.sqlstate(), Some("22012"), "the first failure: {error:?}");
        insert(q, "savepoint_swallowed", 2).map(drop)
    });
    done.expect("committed");
    assert_eq!(ids("savepoint_swallowed"), [2]);
    test.finish();
}

/// Case 20: PostgreSQL keeps what was prepared inside, and we remember it; the plan is another one where the table is.
#[test]
fn what_a_rolled_back_savepoint_has_prepared_is_known_to_both_sides_or_to_none() {
    let test = TestPool::new(1);
    let done: Result<()> = test.db.transaction(|q| {
        for round in 0..3 {
            let failed: Result<()> = q.savepoint(|q| {
                // Another type each time: a plan of the last one would read it wrongly.
                let kind = ["int4", "text", "int8"][round];
                q.script(&format!("CREATE TABLE savepoint_prepared (value {kind})"))?;
                q.query("INSERT INTO savepoint_prepared VALUES (7)", ()).run()?;
                let row: Row = q.query("SELECT value FROM savepoint_prepared", ()).unique()?;
                assert_eq!(
                    row.to_string(),
                    [r#"{"value": 7}"#, r#"{"value": "7"}"#, r#"{"value": 7}"#][round]
                );
                Err(Error::user("enough"))
            });
            assert!(failed.expect_err("ours").sqlstate().is_none(), "round {round}");
            let gone = q.savepoint(|q| q.query("SELECT value FROM savepoint_prepared", ()).rows::<Row>());
            assert_eq!(gone.expect_err("no such table").sqlstate(), Some("42P01"));
            assert_eq!(q.query("SELECT $1::int4", (7,)).value::<i32>()?, 7);
        }
        Ok(())
    });
    done.expect("committed");
    let gone = test.db.query("SELECT value FROM savepoint_prepared", ()).rows::<Row>();
    assert_eq!(gone.expect_err("no such table").sqlstate(), Some("42P01"));
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    test.finish();
}

#[test]
fn a_stream_goes_on_while_savepoints_come_and_go() {
    run("CREATE TABLE savepoint_stream (id int4)");
    let test = TestPool::new(1);
    let done: Result<i32> = test.db.transaction(|q| {
        let mut sum = 0;
        for number in q.query("SELECT generate_series(1, 20)", ()).chunk(3).iter::<i32>() {
            let number = number?;
            let kept = q.savepoint(|q| {
                insert(q, "savepoint_stream", number)?;
                q.query("SELECT 1 / ($1::int4 % 2)", (number,)).value::<i32>()
            });
            assert_eq!(kept.is_ok(), number % 2 == 1);
            sum += number;
        }
        Ok(sum)
    });
    assert_eq!(done.expect("committed"), 210);
    assert_eq!(ids("savepoint_stream"), (1..20).step_by(2).collect::<Vec<_>>());
    test.finish();
}

#[test]
fn a_durable_function_refuses_to_be_a_part_of_another() {
    run("CREATE TABLE savepoint_durable (id int4)");
    let test = TestPool::new(1);
    let durable = TxOptions::new().name("pay").durable();
    let done: Result<()> = test.db.transaction(|q| {
        let refused = q.savepoint_with(&durable, |q| insert(q, "savepoint_durable", 1));
        let error = refused.expect_err("it may be rolled back");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert!(error.to_string().contains("durable"), "{error}");
        insert(q, "savepoint_durable", 2).map(drop)
    });
    done.expect("committed");
    let done: Result<u64> = test.db.transaction_with(&durable, |q| insert(q, "savepoint_durable", 3));
    done.expect("committed: it is no part of another");
    assert_eq!(ids("savepoint_durable"), [2, 3]);
    test.finish();
}

#[test]
fn a_part_can_not_be_isolated_more_strictly_than_the_whole() {
    use Isolation::{ReadCommitted, RepeatableRead, Serializable};
    let test = TestPool::new(1);
    let all = [ReadCommitted, RepeatableRead, Serializable];
    for outer in all {
        for inner in all {
            let done: Result<()> = test.db.transaction_with(&TxOptions::new().isolation(outer), |q| {
                let part = q.savepoint_with(&TxOptions::new().isolation(inner), |q| {
                    q.query("SELECT current_setting('transaction_isolation')", ()).value::<String>()
                });
                match part {
                    Ok(seen) if inner <= outer => {
                        assert_eq!(seen.replace(' ', ""), format!("{outer:?}").to_lowercase());
                    }
                    Err(error) if inner > outer => {
                        let _: &Error = &error;
                        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                    }
                    other => panic!("{inner:?} in {outer:?}: {other:?}"),
                }
                q.query("SELECT 1", ()).value::<i32>().map(drop)
            });
            done.expect("committed");
        }
    }
    test.finish();
}

/// Whoever catches a panic inside of a transaction function must not commit half of a savepoint.
#[test]
fn a_savepoint_whose_function_panicked_is_not_kept() {
    run("CREATE TABLE savepoint_panicked (id int4)");
    let test = TestPool::new(1);
    for statement in [false, true] {
        let result: Result<()> = test.db.transaction(|q| {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                q.savepoint(|q| -> Result<()> {
                    if statement {
                        insert(q, "savepoint_panicked", 1)?;
                    }
                    panic!("in the middle");
                })
            }));
            assert!(panicked.is_err(), "the panic goes through");
            Ok(())
        });
        // Refused or committed without it: either is right, half of it is not.
        if let Err(error) = result {
            assert!(matches!(error.outcome(), Outcome::RolledBack | Outcome::NotSent), "{error:?}");
        }
        test.ledger();
        assert_eq!(ids("savepoint_panicked"), [0; 0]);
    }
    test.finish();
}

/// A program's own COMMIT or ROLLBACK ends the transaction behind our back: nothing may run after it as if it had not.
#[test]
fn a_transaction_that_was_ended_by_hand_is_over_and_says_so() {
    run("CREATE TABLE ended_by_hand (id int4)");
    let test = TestPool::new(1);
    for (id, word) in [(1, "COMMIT"), (2, "ROLLBACK"), (3, "END"), (4, "ABORT")] {
        for script in [false, true] {
            let result: Result<()> = test.db.transaction(|q| {
                insert(q, "ended_by_hand", id)?;
                if script {
                    q.script(word)?
                } else {
                    q.query(word, ()).run().map(drop)?
                }
                insert(q, "ended_by_hand", 100 + id).map(drop)
            });
            let error = result.expect_err("it was ended by hand");
            assert!(
                ids("ended_by_hand").iter().all(|id| *id < 100),
                "{word}: nothing runs afterwards: {error:?}"
            );
            let text = format!("{error:?}").to_lowercase();
            assert!(text.contains("commit") || text.contains("rollback"), "{word}: {text}");
            let kept = matches!(word, "COMMIT" | "END");
            assert_eq!(ids("ended_by_hand").contains(&id), kept, "{word}");
            run("DELETE FROM ended_by_hand");
        }
    }
    test.finish();
}
