//! Statements of a transaction that are sent along with what comes next.

use std::cell::Cell;

use maypole::{Error, Outcome, Query, Result, Tx, TxOptions, query};

use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::past::{numbers, run};
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

static DB: maypole::Database = maypole::Database::named("not in any settings file");

#[query(DB, "INSERT INTO later_rows VALUES (:id, :tenth)")]
fn insert(id: i32, tenth: i32) -> Query;

#[query(DB, "SELECT 10 / :by")]
fn ten_by(by: i32) -> Query<i32>;

fn shop() -> (Proxy, TestPool) {
    run("CREATE TABLE IF NOT EXISTS later_rows (id int4, tenth int4)");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    // What a session does not know is waited for.
    let known = test.db.transaction(|q| {
        insert(0, 0).on(q).run()?;
        ten_by(1).on(q).value()?;
        q.query("SELECT $1::int4", (1,)).value::<i32>()?;
        Err::<(), _>(Error::user("undo this"))
    });
    known.expect_err("undone");
    (proxy, test)
}

fn stored(id: i32) -> Vec<i32> {
    numbers(&format!("SELECT tenth FROM later_rows WHERE id = {id} ORDER BY 1"))
}

#[test]
fn what_is_sent_along_costs_no_round_trip() {
    let (proxy, test) = shop();
    let trips = |work: &dyn Fn(&Tx) -> Result<i32>| {
        let seen = proxy.on(Backend, b'Z', every()).watch();
        let value = test.db.transaction(work).expect("committed");
        let trips = seen.hits();
        seen.release();
        (value, trips)
    };
    let all = trips(&|q| {
        for tenth in 1..=3 {
            insert(1, tenth).on(q).later()?;
        }
        Ok(0)
    });
    assert_eq!(all, (0, 1), "with COMMIT");
    assert_eq!(stored(1), [1, 2, 3]);
    let mixed = trips(&|q| {
        insert(2, 1).on(q).later()?;
        q.query("SELECT $1::int4", (7,)).later()?;
        let two: i32 = q.query("SELECT $1::int4", (2,)).value()?;
        insert(2, two).on(q).later()?;
        insert(2, 3).on(q).run()?;
        q.savepoint(|q| insert(2, 4).on(q).later())?;
        insert(2, 5).on(q).later()?;
        ten_by(5).on(q).value()
    });
    assert_eq!(mixed, (2, 5), "two that were waited for, the end of the savepoint, the last and COMMIT");
    assert_eq!(stored(2), [1, 2, 3, 4, 5]);
    let many = trips(&|q| {
        for tenth in 0..1000 {
            insert(3, tenth).on(q).later()?;
        }
        Ok(0)
    });
    assert_eq!(many, (0, 4), "answers do not pile up");
    assert_eq!(stored(3).len(), 1000);
    test.finish();
}

/// A failure comes from the next that is waited for, with the name of the one that failed, whatever that next is.
#[test]
fn a_failure_of_what_was_sent_along_is_told_by_what_comes_next() {
    let (_proxy, test) = shop();
    type Next = fn(&Tx) -> Result<()>;
    let nexts: [(&str, Next); 7] = [
        ("commit", |_| Ok(())),
        ("query", |q| insert(9, 2).on(q).run().map(drop)),
        ("new text", |q| q.query("SELECT 'never seen before'", ()).value::<String>().map(drop)),
        ("script", |q| q.script("INSERT INTO later_rows VALUES (9, 3)")),
        ("stream", |q| {
            q.query("SELECT generate_series(1, 9)", ())
                .chunk(2)
                .iter::<i32>()
                .try_for_each(|row| row.map(drop))
        }),
        ("savepoint", |q| q.savepoint(|q| insert(9, 4).on(q).run()).map(drop)),
        ("more", |q| {
            insert(9, 5).on(q).later()?;
            insert(9, 6).on(q).run().map(drop)
        }),
    ];
    for (what, next) in nexts {
        for first in [true, false] {
            let passed = Cell::new(false);
            let result = test.db.transaction_with(&TxOptions::new().name("along"), |q| -> Result<()> {
                if !first {
                    insert(9, 0).on(q).run()?;
                }
                insert(9, 1).on(q).later()?;
                ten_by(0).on(q).later()?;
                passed.set(true);
                next(q)
            });
            assert!(passed.get(), "it is not waited for");
            let error = result.expect_err(what);
            assert_eq!(
                (error.sqlstate(), error.query_name()),
                (Some("22012"), Some("ten_by")),
                "{what}: {error:?}"
            );
            assert_eq!(
                (error.outcome(), error.transaction_name()),
                (Outcome::RolledBack, Some("along")),
                "{what}"
            );
            test.ledger();
        }
    }
    assert!(stored(9).is_empty());
    // In a savepoint it is the savepoint's.
    let done = test.db.transaction(|q| {
        insert(10, 1).on(q).later()?;
        let failed = q.savepoint(|q| {
            insert(10, 2).on(q).later()?;
            ten_by(0).on(q).later()
        });
        assert_eq!(failed.expect_err("division by zero").query_name(), Some("ten_by"));
        insert(10, 3).on(q).later()
    });
    done.expect("committed");
    assert_eq!(stored(10), [1, 3]);
    // Undone, whatever would have come of it.
    let done = test.db.transaction(|q| {
        let failed = q.savepoint(|q| -> Result<()> {
            insert(17, 1).on(q).later()?;
            ten_by(0).on(q).later()?;
            Err(Error::user("undo this"))
        });
        assert!(failed.is_err());
        insert(17, 2).on(q).run()
    });
    assert_eq!(done.expect("committed"), 1);
    assert_eq!(stored(17), [2]);
    // Swallowed, it is told at the end.
    let error = test.db.transaction(|q| {
        ten_by(0).on(q).later()?;
        drop(insert(9, 7).on(q).run());
        Ok(())
    });
    assert_eq!(error.expect_err("rolled back").sqlstate(), Some("22012"));
    // And retried, if it is of that kind.
    let calls = Cell::new(0);
    let retried = test.db.transaction_with(&TxOptions::new().retries(2), |q| -> Result<()> {
        calls.set(calls.get() + 1);
        // Known after the first time.
        let fail = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$";
        let pass = "DO $$ BEGIN NULL; END $$";
        q.query(if calls.get() < 3 { fail } else { pass }, ()).later()
    });
    retried.expect("the third");
    assert_eq!(calls.get(), 3);
    test.finish();
}

/// What comes behind it in the same flight would run outside.
#[test]
fn a_statement_that_ends_the_transaction_is_not_sent_along() {
    let (_proxy, test) = shop();
    for statement in ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"] {
        // Also when the session knows it.
        for _ in 0..3 {
            let result = test.db.transaction(|q| {
                let error = q.query(statement, ()).later().expect_err("it ends the transaction");
                assert!(error.to_string().contains("the transaction is over"), "{error}");
                insert(18, 1).on(q).later().expect_err("it is over");
                insert(18, 1).on(q).run().expect_err("it is over");
                Ok(())
            });
            assert!(result.is_err());
            test.ledger();
        }
    }
    assert!(stored(18).is_empty());
    test.finish();
}

#[test]
fn outside_of_a_transaction_nothing_is_sent_along() {
    let (_proxy, test) = shop();
    let lease = test.pool.connection().expect("lent");
    for error in [
        insert(11, 1).on(&test.db).later().expect_err("no transaction"),
        insert(11, 1).on(&lease).later().expect_err("no transaction"),
        lease.query("SELECT 1", ()).later().expect_err("no transaction"),
    ] {
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.to_string().contains("later() is for statements of a transaction"), "{error}");
    }
    drop(lease);
    assert!(stored(11).is_empty());
    test.finish();
}

#[test]
fn what_cannot_be_encoded_is_told_at_once_and_costs_nothing() {
    let (_proxy, test) = shop();
    let done = test.db.transaction(|q| {
        insert(12, 1).on(q).later()?;
        q.query("SELECT $1::int4", ("no number",)).later().expect_err("a text is no int4");
        insert(12, 2).on(q).later()
    });
    done.expect("committed");
    assert_eq!(stored(12), [1, 2]);
    test.finish();
}

/// Left by an error, by a panic, by a cancel with things still to be sent: nothing of it happens.
#[test]
fn what_was_to_be_sent_along_ends_with_its_transaction() {
    let (proxy, test) = shop();
    let lease = test.pool.connection().expect("lent");
    for panics in [false, true] {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lease.transaction(|q| -> Result<()> {
                insert(13, 1).on(q).later()?;
                ten_by(0).on(q).later()?;
                assert!(!panics, "in the middle");
                Err(Error::user("undo this"))
            })
        }));
        assert!(result.is_err() == panics, "the panic goes through");
        assert_eq!(lease.query("SELECT $1::int4", (7,)).value::<i32>().expect("an answer"), 7);
        assert!(!lease.in_transaction());
    }
    drop(lease);
    test.ledger();
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    // Cancelled, cut at each message.
    for round in 1.. {
        test.ledger();
        let held = proxy.on(Backend, ANY, nth(round)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let result = pool.connection().expect("lent").transaction(|q| {
                insert(14, round_number(round)).on(q).later()?;
                ten_by(5).on(q).value()?;
                insert(14, round_number(round)).on(q).later()
            });
            result.expect("committed");
        });
        eventually("held, or over", || held.hits() > 0 || victim.is_done());
        let over = held.hits() == 0;
        if !over {
            cancel(&victim);
        }
        let done = victim.join().is_ok();
        held.release();
        test.ledger();
        assert_eq!(test.sessions("AND state LIKE 'idle in transaction%'"), 0);
        let count = stored(14).iter().filter(|tenth| **tenth == round_number(round)).count();
        assert!(count == 2 || (count == 0 && !done), "all or nothing: {count} at {round}");
        if over {
            assert!(round > 8, "there are more messages than {round}");
            break;
        }
    }
    assert!(stored(13).is_empty());
    test.finish();
}

fn round_number(round: usize) -> i32 {
    i32::try_from(round).expect("small")
}

/// The number must be known before COMMIT is sent.
#[test]
fn a_commit_that_was_lost_with_what_was_sent_along_is_found_out() {
    let (proxy, test) = shop();
    let options = TxOptions::new().confirm_commit();
    for way in 0..2 {
        test.ledger();
        let known = test.db.transaction(|q| insert(15, 100).on(q).run());
        known.expect("a session that knows the statement");
        let result = test.db.transaction_with(&options, |q| -> Result<()> {
            insert(15, way).on(q).later()?;
            let _ = match way {
                0 => proxy.on(Frontend, b'Q', nth(1)).cut_before(),
                _ => proxy.on(Backend, b'C', nth(4)).cut_before(),
            };
            Ok(())
        });
        test.ledger();
        let kept = stored(15).contains(&way);
        match result {
            Ok(()) => assert!(kept),
            Err(error) => assert!(!kept && error.outcome() != Outcome::Unknown, "{error:?}"),
        }
        assert_eq!(kept, way == 1);
    }
    test.finish();
}

#[test]
fn cut_at_each_message_what_was_sent_along_is_there_or_not_as_was_reported() {
    let (proxy, test) = shop();
    for round in 1.. {
        test.ledger();
        test.db.transaction(|q| insert(16, 0).on(q).run()).expect("a session that knows the statement");
        test.ledger();
        let cut = proxy.on(Backend, ANY, nth(round)).cut_before();
        let result = test.db.transaction(|q| {
            insert(16, round_number(round)).on(q).later()?;
            insert(16, round_number(round)).on(q).later()
        });
        let hits = cut.hits();
        cut.release();
        test.ledger();
        let count = stored(16).iter().filter(|tenth| **tenth == round_number(round)).count();
        match &result {
            Ok(()) => assert_eq!(count, 2),
            Err(error) if error.outcome() == Outcome::Unknown => assert!(count == 0 || count == 2),
            Err(error) => assert_eq!(count, 0, "{error:?}"),
        }
        if hits == 0 {
            result.expect("nothing was cut");
            assert!(round > 5);
            break;
        }
    }
    test.finish();
}
