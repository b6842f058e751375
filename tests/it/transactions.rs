//! A transaction takes effect as a whole or not at all, and what is reported is what happened (reliability cases 14 to
//! 16, 18 and 19).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use maypole::{Connection, Outcome, Phase, Result, TxOptions};

use crate::support::chaos::cancel;
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Direction, Frontend, Proxy, Rule, RuleMaker, nth};
use crate::support::server::server;

/// Looks past the library: how many rows a round has left in a table.
fn stored(table: &str, round: usize) -> i64 {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    let count = client.value(&format!("SELECT count(*) FROM {table} WHERE round = {round}"));
    count.expect("a count").parse().expect("a number")
}

fn table(name: &str) {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.query(&format!("CREATE TABLE {name} (round int4, step int4)")).expect("a table");
}

/// A transaction with every kind of exchange in it, that stores two rows: with savepoints that are kept and undone, an attempt
/// that fails and is made again, and hooks. `place` is called before and behind each statement.
fn work(
    connection: &Connection,
    table: &str,
    round: usize,
    options: TxOptions,
    place: &dyn Fn(),
) -> Result<()> {
    let round = i32::try_from(round).expect("small");
    let attempts = Cell::new(0);
    connection.transaction_with(&options.name("work").retries(1), |q| {
        attempts.set(attempts.get() + 1);
        place();
        q.after_commit(|| ());
        // Another text in each round, so that it is prepared each time.
        let insert = format!("INSERT INTO {table} VALUES ($1, $2) -- {round}");
        q.query("SELECT 7", ()).later()?;
        place();
        q.query(&insert, (round, 1)).run()?;
        place();
        if attempts.get() == 1 {
            q.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")?;
        }
        for row in q.query("SELECT generate_series(1, 3)", ()).chunk(2).iter::<i32>() {
            row?;
            place();
        }
        let undone = q.savepoint(|q| {
            place();
            q.query(&insert, (round, 3)).run()?;
            place();
            q.query("SELECT 1 / 0", ()).value::<i32>()
        });
        // Lost connections are errors too.
        if let Err(error) = undone
            && error.sqlstate() != Some("22012")
        {
            return Err(error);
        }
        q.script("SELECT 1; SELECT 2")?;
        place();
        q.savepoint(|q| {
            q.query(&insert, (round, 2)).run()?;
            place();
            Ok(())
        })?;
        place();
        // Goes with COMMIT.
        q.query("SELECT 7", ()).later()?;
        place();
        Ok(())
    })
}

/// Case 19: a cancel at every message of a transaction. Held, cancelled, let go.
fn cancelled_everywhere(direction: Direction, name: &'static str) {
    let confirmed = TxOptions::new().confirm_commit();
    table(name);
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let mut rolled_back = 0;
    for round in 1.. {
        // What is left of the last round must not count in this one.
        test.ledger();
        let held = proxy.on(direction, ANY, nth(round)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            work(&lease, name, round, confirmed, &|| ()).expect("committed");
        });
        eventually("held, or over", || held.hits() > 0 || victim.is_done());
        if held.hits() == 0 {
            victim.join().expect("not cancelled");
            held.release();
            assert_eq!(stored(name, round), 2);
            assert!(rolled_back > 10, "the transaction has more messages than {rolled_back}");
            break;
        }
        cancel(&victim);
        let over = victim.join().is_ok();
        held.release();
        test.ledger();
        assert_eq!(test.sessions("AND state LIKE 'idle in transaction%'"), 0, "held at message {round}");
        match (over, stored(name, round)) {
            (false, 0) => rolled_back += 1,
            // COMMIT was on its way.
            (_, 2) => {}
            other => panic!("held at message {round}: {other:?}"),
        }
        assert_eq!(test.db.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
    }
    test.finish();
}

/// Case 19.
#[test]
fn a_transaction_can_be_cancelled_at_each_message_of_the_server() {
    cancelled_everywhere(Backend, "cancelled_backend");
}

/// Case 19.
#[test]
fn a_transaction_can_be_cancelled_at_each_message_to_the_server() {
    cancelled_everywhere(Frontend, "cancelled_frontend");
}

/// Case 14, at every message: the connection is cut there, and what is reported must agree with what is stored.
fn cut_everywhere(direction: Direction, name: &'static str, cut: impl Fn(RuleMaker<'_>) -> Rule) {
    cut_with(direction, name, TxOptions::new(), &cut);
    cut_with(direction, &format!("{name}_confirmed"), TxOptions::new().confirm_commit(), &cut);
}

fn cut_with(direction: Direction, name: &str, options: TxOptions, cut: &dyn Fn(RuleMaker<'_>) -> Rule) {
    table(name);
    let confirmed = name.ends_with("_confirmed");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let mut unknown = 0;
    for round in 1.. {
        test.ledger();
        test.db.script("SELECT 1").expect("a connection, new or old");
        test.ledger();
        let cut = cut(proxy.on(direction, ANY, nth(round)));
        let lease = test.pool.connection().expect("lent");
        let result = work(&lease, name, round, options, &|| ());
        drop(lease);
        let hits = cut.hits();
        cut.release();
        // The server notices the end of a session when it has done what it was told.
        test.ledger();
        match (&result, stored(name, round)) {
            (Ok(()), 2) => {}
            (Err(error), 0) if error.outcome() != Outcome::Done => {}
            (Err(error), 2) if error.outcome() == Outcome::Unknown => unknown += 1,
            (result, count) => {
                panic!("cut at message {round}: {count} rows stored, and reported was {result:?}")
            }
        }
        if hits == 0 {
            result.expect("nothing was cut");
            assert!(round > 10, "the transaction has more messages than {round}");
            break;
        }
    }
    assert_eq!(
        unknown == 0,
        confirmed,
        "a cut after COMMIT went out is among them, and is found out if that is wanted"
    );
    test.finish();
}

/// Case 14.
#[test]
fn a_connection_cut_after_any_message_to_the_server_reports_what_happened() {
    cut_everywhere(Frontend, "cut_after_frontend", |rule| rule.cut_after());
}

/// Case 14.
#[test]
fn a_connection_cut_before_any_message_of_the_server_reports_what_happened() {
    cut_everywhere(Backend, "cut_before_backend", |rule| rule.cut_before());
}

/// Case 14.
#[test]
fn a_connection_cut_inside_any_message_of_the_server_reports_what_happened() {
    cut_everywhere(Backend, "cut_inside_backend", |rule| rule.cut_after_bytes(3));
}

/// Case 14: cut and noticed before COMMIT was asked for.
#[test]
fn a_transaction_whose_connection_is_lost_before_commit_was_not_sent() {
    table("lost_before");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let error = test.db.transaction(|q| {
        q.query("INSERT INTO lost_before VALUES (1, 1)", ()).run()?;
        proxy.all().cut();
        eventually("the pool has noticed", || test.pool.stats().closed == 1);
        Ok(())
    });
    let error = error.expect_err("the connection is lost");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
    test.ledger();
    assert_eq!(stored("lost_before", 1), 0);
    test.finish();
}

/// Case 14: COMMIT went out, its reply never came.
#[test]
fn a_transaction_whose_connection_is_lost_behind_commit_is_unknown() {
    table("lost_behind");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    for (round, cut) in [(1, "before the server has it"), (2, "before its reply"), (3, "inside its reply")] {
        println!("{cut}");
        let error = test.db.transaction(|q| {
            q.query("INSERT INTO lost_behind VALUES ($1, 1)", (round,)).run()?;
            let traffic = proxy.all();
            let _ = match round {
                1 => traffic.on(Frontend, b'Q', nth(1)).cut_before(),
                2 => traffic.on(Backend, b'C', nth(1)).cut_before(),
                _ => traffic.on(Backend, b'C', nth(1)).cut_after_bytes(1),
            };
            Ok(())
        });
        let error = error.expect_err("the connection is lost");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        assert!(!error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("may or may not"), "{error}");
        test.ledger();
        assert_eq!(stored("lost_behind", 1), 0, "COMMIT did not get there");
    }
    assert_eq!((stored("lost_behind", 2), stored("lost_behind", 3)), (1, 1), "COMMIT got there");
    test.finish();
}

/// Case 16.
#[test]
fn a_deferred_constraint_that_fails_at_commit_rolls_back() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TABLE deferred_parent (id int4 PRIMARY KEY);
             CREATE TABLE deferred_child (
                 id int4 CONSTRAINT parent_must_exist REFERENCES deferred_parent DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("tables");
    let error = test.db.transaction(|q| q.query("INSERT INTO deferred_child VALUES (1)", ()).run());
    let error = error.expect_err("no parent");
    assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("23503")), "{error:?}");
    assert!(error.is_integrity_violation());
    assert_eq!(error.constraint(), Some("parent_must_exist"));
    assert_eq!(test.db.query("SELECT count(*) FROM deferred_child", ()).value::<i64>().expect("a count"), 0);
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    test.finish();
}

/// Case 18, and 15: PostgreSQL answers COMMIT with the tag ROLLBACK then.
#[test]
fn a_transaction_whose_function_swallowed_an_error_is_not_committed() {
    table("swallowed");
    let test = TestPool::new(1);
    let error = test.db.transaction(|q| {
        q.query("INSERT INTO swallowed VALUES (1, 1)", ()).run()?;
        q.query("SELECT 1 / 0", ()).value::<i32>().expect_err("division by zero");
        let error = q.query("INSERT INTO swallowed VALUES (1, 2)", ()).run();
        assert_eq!(error.expect_err("the transaction has failed").sqlstate(), Some("25P02"));
        Ok(())
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(stored("swallowed", 1), 0);
    test.finish();
}

/// Case 19: early return, with an error of the server's or of one's own.
#[test]
fn a_transaction_whose_function_fails_is_rolled_back_and_its_error_is_passed_on() {
    table("failed");
    let test = TestPool::new(1);
    let error = test.db.transaction(|q| {
        q.query("INSERT INTO failed VALUES (1, 1)", ()).run()?;
        q.query("SELECT 1 / 0", ()).value::<i32>()
    });
    assert_eq!(error.expect_err("division by zero").sqlstate(), Some("22012"));
    let error = test.db.transaction(|q| -> Result<()> {
        q.query("INSERT INTO failed VALUES (1, 1)", ()).run()?;
        Err(maypole::Error::user(std::io::Error::other("no stock left")))
    });
    let own = error.expect_err("the user's").into_user::<std::io::Error>().expect("the same");
    assert_eq!(own.to_string(), "no stock left");
    assert_eq!(stored("failed", 1), 0);
    test.finish();
}

/// Case 19: by a panic, at each place between two statements, on a lease that is used again and on one that is given back.
#[test]
fn a_transaction_can_panic_at_each_place() {
    table("panicked");
    let test = TestPool::new(1);
    for again in [true, false] {
        for round in 1.. {
            let left = Cell::new(round);
            let place = || {
                left.set(left.get() - 1);
                assert_ne!(left.get(), 0, "in the middle");
            };
            let lease = test.pool.connection().expect("lent");
            let result = catch_unwind(AssertUnwindSafe(|| {
                work(&lease, "panicked", round, TxOptions::new().confirm_commit(), &place)
            }));
            if again {
                assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
                assert!(!lease.in_transaction());
            }
            drop(lease);
            test.ledger();
            assert_eq!(test.sessions("AND state LIKE 'idle in transaction%'"), 0, "at place {round}");
            if result.is_ok() {
                assert!(round > 10, "there are more places than {round}");
                break;
            }
            assert_eq!(stored("panicked", round), 0, "at place {round}");
        }
        let mut client = Client::connect(&server().url()).expect("the server answers");
        client.query("DELETE FROM panicked").expect("empty");
    }
    assert_eq!(test.pool.stats().opened, 1, "the connection is kept");
    test.finish();
}

#[test]
fn transactions_do_not_nest_and_the_refusal_leaves_the_outer_one_as_it_is() {
    table("nested");
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let outer = lease.transaction(|q| {
        q.query("INSERT INTO nested VALUES (1, 1)", ()).run()?;
        let error = lease.transaction(|_| Ok(())).expect_err("they do not nest");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert!(lease.in_transaction(), "the outer one is still there");
        q.query("INSERT INTO nested VALUES (1, 2)", ()).run()
    });
    outer.expect("committed");
    assert_eq!(stored("nested", 1), 2);
    drop(lease);
    test.finish();
}

/// A transaction left open by hand is rolled back when its lease ends.
#[test]
fn a_transaction_left_open_on_a_lease_is_rolled_back_before_the_next_borrower() {
    table("left_open");
    let test = TestPool::new(1);
    for failed in [false, true] {
        let lease = test.pool.connection().expect("lent");
        lease.script("BEGIN; INSERT INTO left_open VALUES (1, 1)").expect("begun");
        if failed {
            lease.script("SELECT 1 / 0").expect_err("division by zero");
        }
        assert!(lease.in_transaction());
        drop(lease);
        let lease = test.pool.connection().expect("lent");
        assert!(!lease.in_transaction());
        assert_eq!(lease.query("SELECT count(*) FROM left_open", ()).value::<i64>().expect("a count"), 0);
    }
    assert_eq!(test.pool.stats().opened, 1, "cleaned, not replaced");
    test.finish();
}

/// BEGIN goes with the first statement, whose answer does not come in time.
#[test]
fn a_begin_that_is_not_answered_in_time_is_rolled_back() {
    table("late_begin");
    let proxy = Proxy::start(&server().url());
    let limit = Duration::from_millis(100);
    let test = TestPool::built(&proxy.url(), |builder| builder.limit(1).query_timeout(limit));
    drop(test.pool.connection().expect("warm"));
    let held = proxy.on(Backend, b'C', nth(1)).hold();
    let result = test.db.transaction(|q| q.script("INSERT INTO late_begin VALUES (1, 1)"));
    let error = result.expect_err("no answer");
    held.release();
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::RolledBack), "{error:?}");
    assert!(error.to_string().contains("100ms"), "{error}");
    test.finish();
    assert_eq!(stored("late_begin", 1), 0);
}

/// A statement that was given up inside a transaction: the rollback waits behind it, and nobody waits for the rollback.
#[test]
fn a_transaction_in_which_a_statement_timed_out_ends_at_once() {
    table("timed_out");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let error = test.db.transaction(|q| {
        q.query("INSERT INTO timed_out VALUES (1, 1)", ()).run()?;
        let _ = proxy.on(Backend, b'D', nth(1)).delay(Duration::from_millis(500));
        q.query("SELECT 1", ()).timeout(Duration::from_millis(50)).value::<i32>()
    });
    let error = error.expect_err("too late");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::RolledBack), "{error:?}");
    assert_eq!(test.pool.stats().cleaning, 1, "the caller did not wait for the rollback");
    test.finish();
    assert_eq!(stored("timed_out", 1), 0);
}

#[test]
fn a_script_takes_effect_as_a_whole_or_not_at_all() {
    table("scripted");
    let test = TestPool::new(1);
    let script = "INSERT INTO scripted VALUES (1, 1); SELECT 1 / 0; INSERT INTO scripted VALUES (1, 2)";
    let lease = test.pool.connection().expect("lent");
    let error = lease.script(script).expect_err("division by zero");
    assert_eq!((error.sqlstate(), error.outcome()), (Some("22012"), Outcome::RolledBack), "{error:?}");
    assert!(!lease.in_transaction());
    assert_eq!(stored("scripted", 1), 0);
    let error = lease.transaction(|q| {
        q.query("INSERT INTO scripted VALUES (1, 1)", ()).run()?;
        q.script(script)
    });
    assert_eq!(error.expect_err("division by zero").sqlstate(), Some("22012"));
    assert_eq!(stored("scripted", 1), 0);
    lease.script("INSERT INTO scripted VALUES (1, 1); INSERT INTO scripted VALUES (1, 2)").expect("both");
    lease.script("").expect("nothing");
    lease.script(" ; ; ").expect("nothing");
    assert_eq!(stored("scripted", 1), 2);
    drop(lease);
    test.finish();
}
