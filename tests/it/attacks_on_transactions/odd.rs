//! Statements that are odd in a transaction.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::BytesMut;
use maypole::{Error, Isolation, Outcome, Result, Tx, TxOptions};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};

use super::{STUBBORN, ids, table};
use crate::support::own_server::OwnServer;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// Neither data nor the transaction get anywhere they should not.
#[test]
fn a_copy_inside_of_a_transaction_fails_and_leaves_nothing_behind() {
    table("attack_copy", &[]);
    let test = TestPool::new(1);
    for confirmed in [false, true] {
        let options = if confirmed { TxOptions::new().confirm_commit() } else { TxOptions::new() };
        for first in [true, false] {
            for copy in ["COPY attack_copy FROM STDIN", "COPY (SELECT generate_series(1, 3000)) TO STDOUT"] {
                for how in ["script", "query", "later"] {
                    let case = format!("{copy} by {how}, confirmed {confirmed}, first {first}");
                    let result = test.db.transaction_with(&options, |q| -> Result<()> {
                        if !first {
                            q.query("INSERT INTO attack_copy VALUES (1)", ()).run()?;
                        }
                        match how {
                            "script" => q.script(copy)?,
                            "query" => drop(q.query(copy, ()).run()?),
                            _ => q.query(copy, ()).later()?,
                        }
                        Ok(())
                    });
                    let error = result.expect_err(&case);
                    let known = matches!(error.outcome(), Outcome::RolledBack | Outcome::NotSent);
                    assert!(known, "{case}: {error:?}");
                    test.ledger();
                    assert_eq!(ids("attack_copy"), [0; 0], "{case}");
                }
            }
        }
    }
    test.finish();
}

/// PostgreSQL refuses: nothing of it is committed.
#[test]
fn a_procedure_that_commits_fails_inside_of_a_transaction() {
    table("attack_procedure", &[]);
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE PROCEDURE attack_commits() LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO attack_procedure VALUES (1); COMMIT; END $$",
        )
        .expect("a procedure");
    for call in ["CALL attack_commits()", "DO $$ BEGIN CALL attack_commits(); END $$"] {
        for script in [true, false] {
            let error = test
                .db
                .transaction(|q| if script { q.script(call) } else { q.query(call, ()).run().map(drop) });
            let error = error.expect_err(call);
            assert_eq!(
                (error.sqlstate(), error.outcome()),
                (Some("2D000"), Outcome::RolledBack),
                "{error:?}"
            );
        }
    }
    assert_eq!(ids("attack_procedure"), [0; 0]);
    test.finish();
}

/// What had been done waits for COMMIT PREPARED, and nobody calls that a rollback.
#[test]
fn a_transaction_that_was_prepared_by_hand_is_over_and_says_so() {
    let server = OwnServer::start(|builder| builder.setting("max_prepared_transactions", "5"));
    let mut client = server.client();
    client.query("CREATE TABLE attack_prepared (id int4)").expect("a table");
    let test = TestPool::at(&server.url(), 1);
    for how in ["script", "query"] {
        let error = test.db.transaction(|q| {
            q.query("INSERT INTO attack_prepared VALUES (1)", ()).run()?;
            let text = format!("PREPARE TRANSACTION '{how}'");
            let ended = if how == "script" { q.script(&text) } else { q.query(&text, ()).run().map(drop) };
            drop(ended);
            Ok(())
        });
        let error = error.expect_err("it did not end with its function");
        assert_eq!(error.outcome(), Outcome::Done, "{error:?}");
        assert!(format!("{error:?}").contains("PREPARE TRANSACTION was executed"), "{error:?}");
        client.query(&format!("COMMIT PREPARED '{how}'")).expect("it waits");
    }
    assert_eq!(client.value("SELECT count(*) FROM attack_prepared").expect("a count"), "2");
    assert!(!test.pool.connection().expect("lent").in_transaction());
    test.settled();
}

/// Found at COMMIT only, by one of two.
#[test]
fn a_write_skew_that_is_found_at_commit_is_retried() {
    let test = TestPool::new(2);
    test.db.script("CREATE TABLE attack_skew (who text, on_call bool)").expect("a table");
    test.db.script("INSERT INTO attack_skew VALUES ('a', true), ('b', true)").expect("rows");
    let options = STUBBORN.isolation(Isolation::Serializable);
    let off = |q: &Tx, who: &str| -> Result<i64> {
        let count = q.query("SELECT count(*) FROM attack_skew WHERE on_call", ()).value::<i64>()?;
        if count > 1 {
            q.query("UPDATE attack_skew SET on_call = false WHERE who = $1", (who,)).run()?;
        }
        Ok(count)
    };
    let (outer, inner) = (Cell::new(0), Cell::new(0));
    let other = test.pool.connection().expect("lent");
    let count = test.db.transaction_with(&options, |q| {
        outer.set(outer.get() + 1);
        let count = off(q, "a")?;
        if outer.get() == 1 {
            other.transaction_with(&options, |q| {
                inner.set(inner.get() + 1);
                off(q, "b")
            })?;
        }
        Ok::<_, Error>(count)
    });
    assert_eq!(count.expect("committed"), 1, "the second attempt sees the other's");
    assert_eq!((outer.get(), inner.get()), (2, 1));
    drop(other);
    test.finish();
}

/// The session ends because nobody does anything in it, at every moment at which nobody does.
#[test]
fn a_session_that_idled_too_long_in_its_transaction_is_a_rollback_with_its_reason() {
    table("attack_idle", &[]);
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).after_connect(|lease| lease.script("SET idle_in_transaction_session_timeout = 30"))
    });
    let idle = || std::thread::sleep(Duration::from_millis(200));
    type Step = fn(&Tx) -> Result<()>;
    let steps: [(&str, Step); 5] = [
        ("commit", |_| Ok(())),
        ("query", |q| q.query("INSERT INTO attack_idle VALUES (2)", ()).run().map(drop)),
        ("later", |q| q.query("INSERT INTO attack_idle VALUES ($1)", (2,)).later()),
        ("script", |q| q.script("INSERT INTO attack_idle VALUES (2)")),
        ("savepoint", |q| q.savepoint(|q| q.script("INSERT INTO attack_idle VALUES (2)"))),
    ];
    for confirmed in [false, true] {
        let options = TxOptions::new().name("idler").retries(1).retry_on(&["25P03"]);
        let options = if confirmed { options.confirm_commit() } else { options };
        for (how, step) in steps {
            let calls = Cell::new(0);
            let error = test.db.transaction_with(&options, |q| {
                calls.set(calls.get() + 1);
                q.query("INSERT INTO attack_idle VALUES ($1)", (1,)).run()?;
                idle();
                step(q)
            });
            let error = error.expect_err("the session is gone");
            assert!(
                matches!(error.outcome(), Outcome::RolledBack | Outcome::NotSent),
                "{how}, {confirmed}: {error:?}"
            );
            assert_eq!(error.sqlstate(), Some("25P03"), "{how}, {confirmed}: {error:?}");
            assert_eq!((calls.get(), error.earlier().len()), (2, 1), "{how}, {confirmed}: {error:?}");
            test.ledger();
        }
    }
    assert_eq!(ids("attack_idle"), [0; 0]);
    test.finish();
}

/// COMMIT itself is stopped, by somebody with `pg_cancel_backend`.
#[test]
fn a_commit_that_was_stopped_is_a_rollback() {
    table("attack_stopped", &[]);
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE FUNCTION attack_stops() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(5); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER stops AFTER INSERT ON attack_stopped
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION attack_stops()",
        )
        .expect("a trigger");
    let insert = "INSERT INTO attack_stopped VALUES ($1)";
    for later in [false, true, true] {
        let error = test.db.transaction(|q| {
            let insert = q.query(insert, (1,));
            if later { insert.later() } else { insert.run().map(drop) }
        });
        let error = error.expect_err("it was stopped");
        assert_eq!((error.sqlstate(), error.outcome()), (Some("57014"), Outcome::RolledBack), "{error:?}");
    }
    assert_eq!(ids("attack_stopped"), [0; 0]);
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    test.finish();
}

#[derive(Debug)]
struct Bad {
    panics: bool,
}

impl ToSql for Bad {
    fn to_sql(
        &self,
        _: &Type,
        _: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        assert!(!self.panics, "on purpose");
        Err("on purpose".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// It costs the transaction nothing, wherever it happens.
#[test]
fn a_value_that_cannot_be_written_costs_the_transaction_nothing() {
    table("attack_unwritten", &[]);
    let test = TestPool::new(1);
    let insert = "INSERT INTO attack_unwritten VALUES ($1)";
    for round in 1..=2 {
        for panics in [false, true] {
            for later in [false, true] {
                let id = round * 10 + i32::from(panics) * 2 + i32::from(later);
                let done = test.db.transaction(|q| {
                    let bad = || {
                        let bad = q.query(insert, (Bad { panics },));
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            if later { bad.later() } else { bad.run().map(drop) }
                        }));
                        match result {
                            Ok(result) => {
                                let error = result.expect_err("refused");
                                assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                            }
                            Err(_) => assert!(panics),
                        }
                    };
                    bad();
                    q.savepoint(|q| {
                        bad();
                        q.query(insert, (id,)).later()?;
                        bad();
                        Ok(())
                    })?;
                    bad();
                    drop(q.query("", ()).run());
                    q.script("")?;
                    q.script("-- nothing")
                });
                done.expect("committed");
                assert!(ids("attack_unwritten").contains(&id));
            }
        }
    }
    assert_eq!(ids("attack_unwritten").len(), 8);
    test.finish();
}

/// A plan is out of date: the transaction, or the savepoint, fails once.
#[test]
fn a_plan_that_is_out_of_date_costs_one_savepoint_and_no_more() {
    let test = TestPool::new(1);
    test.db
        .script("CREATE TABLE attack_stale (id int4); INSERT INTO attack_stale VALUES (1)")
        .expect("a table");
    let all =
        |q: &Tx| q.query("SELECT * FROM attack_stale", ()).rows::<maypole::Row>().map(|rows| rows.len());
    for round in 0..2 {
        assert_eq!(test.db.transaction(all).expect("known"), 1);
        test.db.script(&format!("ALTER TABLE attack_stale ADD COLUMN c{round} text")).expect("changed");
        let done = test.db.transaction(|q| {
            let first = q.savepoint(all);
            assert!(first.as_ref().is_err_and(|error| error.sqlstate() == Some("0A000")), "{first:?}");
            q.savepoint(all)
        });
        assert_eq!(done.expect("committed"), 1);
        test.db.script(&format!("ALTER TABLE attack_stale DROP COLUMN c{round}")).expect("changed");
        test.db.transaction(all).expect_err("out of date");
        assert_eq!(test.db.transaction(all).expect("known"), 1);
    }
    test.finish();
}

/// Sessions remember one statement, or none.
#[test]
fn transactions_work_where_sessions_remember_next_to_nothing() {
    table("attack_forgetful", &[]);
    for capacity in [0, 1, 2] {
        let test = TestPool::configured(
            &server().url(),
            |config| config.statement_cache_capacity(capacity),
            |builder| builder.limit(1),
        );
        for options in [STUBBORN, STUBBORN.confirm_commit()] {
            test.db.script("DELETE FROM attack_forgetful").expect("empty");
            let calls = Cell::new(0);
            let done = test.db.transaction_with(&options, |q| {
                calls.set(calls.get() + 1);
                let insert =
                    |q: &Tx, id: i32| q.query("INSERT INTO attack_forgetful VALUES ($1)", (id,)).later();
                let mut sum = 0;
                for number in q.query("SELECT generate_series(1, 9)", ()).chunk(2).iter::<i32>() {
                    let number = number?;
                    insert(q, number)?;
                    let undone = q.savepoint(|q| {
                        insert(q, number + 100)?;
                        q.query("SELECT 1 / $1", (number % 2,)).value::<i32>()?;
                        Err::<(), _>(Error::user("undo this"))
                    });
                    undone.expect_err("undone");
                    sum += q.query("SELECT $1::int4 * 2", (number,)).value::<i32>()?;
                }
                if calls.get() < 3 {
                    q.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")?;
                }
                Ok::<_, Error>(sum)
            });
            assert_eq!(done.expect("committed"), 90);
            assert_eq!(calls.get(), 3);
            assert_eq!(ids("attack_forgetful"), (1..=9).collect::<Vec<_>>());
        }
        test.finish();
    }
}

/// Undone by the program's own savepoint, and no reason for another attempt.
#[test]
fn a_failure_that_was_undone_by_hand_decides_nothing() {
    let test = TestPool::new(1);
    let calls = Cell::new(0);
    let error = test.db.transaction_with(&STUBBORN, |q| -> Result<()> {
        calls.set(calls.get() + 1);
        q.script("SAVEPOINT mine")?;
        drop(q.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"));
        q.script("ROLLBACK TO SAVEPOINT mine")?;
        Err(Error::user("no stock left"))
    });
    error.expect_err("the function's own");
    assert_eq!(calls.get(), 1);
    test.finish();
}

/// A panic leaves things still to be sent, one of which fails.
#[test]
fn a_savepoint_that_panicked_is_undone_although_what_was_sent_along_in_it_fails() {
    table("attack_later_panic", &[1]);
    let test = TestPool::new(1);
    let insert = |q: &Tx, id: i32| q.query("INSERT INTO attack_later_panic VALUES ($1)", (id,)).later();
    test.db.transaction(|q| insert(q, 2)).expect("known from now on");
    let done = test.db.transaction(|q| {
        insert(q, 3)?;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            q.savepoint(|q| -> Result<()> {
                insert(q, 4)?;
                insert(q, 1)?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        insert(q, 5)
    });
    done.expect("committed");
    assert_eq!(ids("attack_later_panic"), [1, 2, 3, 5]);
    test.finish();
}
