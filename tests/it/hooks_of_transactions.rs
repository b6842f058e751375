//! What a transaction function puts off until it is known how the transaction ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use maypole::{Database, Error, Outcome, Result, Tx, TxOptions};

use crate::support::chaos::cancel;
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Backend, Proxy, nth};
use crate::support::rest::rest;
use crate::support::server::server;

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no holder panics").push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no holder panics"))
    }

    /// Something to be done later.
    fn later(&self, what: impl Into<String>) -> impl FnOnce() + Send + 'static {
        let (diary, what) = (self.clone(), what.into());
        move || diary.note(what)
    }

    /// Both hooks.
    fn hooks(&self, q: &Tx, name: &str) {
        q.after_commit(self.later(format!("{name} committed")));
        q.after_rollback(self.later(format!("{name} rolled back")));
    }
}

fn run(sql: &str) {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Looks past the library.
fn count(table: &str) -> usize {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.value(&format!("SELECT count(*) FROM {table}")).expect("a count").parse().expect("a number")
}

#[test]
fn hooks_run_in_order_after_the_commit_and_only_those_of_commit() {
    run("CREATE TABLE hooks_commit (id int4)");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let answer = test.db.transaction(|q| {
        diary.hooks(q, "first");
        q.query("INSERT INTO hooks_commit VALUES (1)", ()).run()?;
        diary.hooks(q, "second");
        diary.note("body");
        let (seen, pool) = (diary.clone(), test.pool.clone());
        q.after_commit(move || {
            seen.note(format!("{} stored, {} lent", count("hooks_commit"), pool.stats().lent));
        });
        Ok(7)
    });
    assert_eq!(answer.expect("committed"), 7);
    assert_eq!(diary.take(), ["body", "first committed", "second committed", "1 stored, 0 lent"]);
    test.finish();
}

#[test]
fn hooks_run_in_order_after_the_rollback_and_only_those_of_rollback() {
    run("CREATE TABLE hooks_rollback (id int4)");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let error = test.db.transaction(|q| -> Result<()> {
        diary.hooks(q, "first");
        q.query("INSERT INTO hooks_rollback VALUES (1)", ()).run()?;
        diary.hooks(q, "second");
        diary.note("body");
        let (seen, name) = (diary.clone(), test.name.clone());
        q.after_rollback(move || {
            let mut client = Client::connect(&server().url()).expect("the server answers");
            let open = client.value(&format!(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = '{name}' AND state LIKE 'idle in transaction%'"
            ));
            seen.note(format!("{} open", open.expect("a count")));
        });
        Err(Error::user("no stock left"))
    });
    assert_eq!(error.expect_err("ours").outcome(), Outcome::RolledBack);
    assert_eq!(diary.take(), ["body", "first rolled back", "second rolled back", "0 open"]);
    assert_eq!(count("hooks_rollback"), 0);
    test.finish();
}

/// A pool of one: the connection must be back, and the hook is not inside of the transaction any more.
#[test]
fn a_hook_can_query_and_begin_a_transaction_on_a_pool_of_one() {
    run("CREATE TABLE hooks_query (id int4)");
    for coroutine in [false, true] {
        run("TRUNCATE hooks_query");
        let test = TestPool::new(1);
        let diary = Diary::default();
        let work = |diary: Diary, pool: maypole::Pool| {
            let db = Arc::new(Database::from(pool));
            let hook = |what: &'static str| {
                let (db, diary) = (db.clone(), diary.clone());
                move || {
                    let seen: i64 =
                        db.query("SELECT count(*) FROM hooks_query", ()).value().expect("an answer");
                    let script = db.script("SELECT 1");
                    let inner = db.transaction(|q| {
                        diary.hooks(q, "inner");
                        q.query("INSERT INTO hooks_query VALUES (9)", ()).run()
                    });
                    script.and(inner.map(drop)).expect("both");
                    diary.note(format!("{what}: {seen} seen"));
                }
            };
            db.transaction(|q| {
                q.after_commit(hook("committed"));
                q.query("INSERT INTO hooks_query VALUES (1)", ()).run()
            })
            .expect("committed");
            db.transaction(|q| -> Result<()> {
                q.after_rollback(hook("rolled back"));
                q.query("INSERT INTO hooks_query VALUES (1)", ()).run()?;
                Err(Error::user("enough"))
            })
            .expect_err("ours");
        };
        let (seen, pool) = (diary.clone(), test.pool.clone());
        if coroutine {
            in_coroutine(move || work(seen, pool))
        } else {
            work(seen, pool)
        }
        let expected = ["inner committed", "committed: 1 seen", "inner committed", "rolled back: 2 seen"];
        assert_eq!(diary.take(), expected);
        test.finish();
    }
}

#[test]
fn hooks_run_after_each_attempt_that_was_rolled_back_and_after_the_one_that_was_not() {
    run("CREATE SEQUENCE hooks_attempts");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let options = TxOptions::new().retries(3);
    let answer = test.db.transaction_with(&options, |q| -> Result<i64> {
        let number: i64 = q.query("SELECT nextval('hooks_attempts')", ()).value()?;
        diary.note(format!("body {number}"));
        diary.hooks(q, &format!("attempt {number}"));
        if number < 3 {
            q.script("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")?;
        }
        Ok(number)
    });
    assert_eq!(answer.expect("the third attempt"), 3);
    let expected = [
        "body 1",
        "attempt 1 rolled back",
        "body 2",
        "attempt 2 rolled back",
        "body 3",
        "attempt 3 committed",
    ];
    assert_eq!(diary.take(), expected);
    test.finish();
}

#[test]
fn a_commit_that_fails_is_a_rollback_to_the_hooks() {
    run("CREATE TABLE hooks_deferred (id int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let error = test.db.transaction(|q| {
        diary.hooks(q, "deferred");
        q.query("INSERT INTO hooks_deferred VALUES (1), (1)", ()).run()
    });
    assert_eq!(error.expect_err("twice the same").sqlstate(), Some("23505"));
    assert_eq!(diary.take(), ["deferred rolled back"]);
    let error = test.db.transaction(|q| {
        diary.hooks(q, "swallowed");
        let _ = q.query("SELECT 1 / 0", ()).value::<i32>();
        Ok(())
    });
    assert_eq!(error.expect_err("it has failed").sqlstate(), Some("22012"));
    assert_eq!(diary.take(), ["swallowed rolled back"]);
    test.finish();
}

#[test]
fn a_transaction_that_ran_no_statement_has_hooks_too() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    let committed: Result<()> = test.db.transaction(|q| {
        diary.hooks(q, "empty");
        Ok(())
    });
    committed.expect("nothing to do");
    assert_eq!(diary.take(), ["empty committed"]);
    let failed: Result<()> = test.db.transaction(|q| {
        diary.hooks(q, "empty");
        Err(Error::user("enough"))
    });
    failed.expect_err("ours");
    assert_eq!(diary.take(), ["empty rolled back"]);
    test.finish();
}

/// Nobody knows, so nothing that depends on it is done.
#[test]
fn no_hook_runs_when_the_outcome_is_unknown() {
    run("CREATE TABLE hooks_unknown (id int4)");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let diary = Diary::default();
    let error = test.db.transaction_with(&TxOptions::new().retries(3), |q| -> Result<()> {
        diary.note("body");
        diary.hooks(q, "unknown");
        q.savepoint(|q| {
            diary.hooks(q, "inner");
            q.query("INSERT INTO hooks_unknown VALUES (1)", ()).run()
        })?;
        let _ = proxy.on(Backend, ANY, nth(1)).cut_before();
        Ok(())
    });
    let error = error.expect_err("the connection is lost");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(diary.take(), ["body"]);
    test.finish();
}

/// What was done is committed, by a statement, and the function fails all the same: it was not rolled back.
#[test]
fn no_hook_runs_when_a_statement_has_ended_the_transaction() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    for ends_well in [true, false] {
        let result = test.db.transaction(|q| -> Result<()> {
            diary.hooks(q, "ended");
            let _ = q.query("SELECT 1", ()).value::<i32>()?;
            q.query("COMMIT", ()).run().expect_err("it ends the transaction");
            if ends_well { Ok(()) } else { Err(Error::user("enough")) }
        });
        result.expect_err("it did not end with its function");
        assert!(diary.take().is_empty());
    }
    test.finish();
}

/// The session was lost before COMMIT: that is a rollback, and known.
#[test]
fn a_session_lost_before_commit_is_a_rollback_to_the_hooks() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let diary = Diary::default();
    let error = test.db.transaction(|q| {
        diary.hooks(q, "lost");
        q.query("SELECT 1", ()).value::<i32>()?;
        let _ = proxy.on(Backend, ANY, nth(1)).cut_before();
        q.query("SELECT 1", ()).value::<i32>()
    });
    error.expect_err("the connection is lost");
    assert_eq!(diary.take(), ["lost rolled back"]);
    test.finish();
}

#[test]
fn no_hook_runs_when_the_function_panics() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    for statement in [false, true] {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            test.db.transaction(|q| -> Result<()> {
                diary.hooks(q, "panicked");
                if statement {
                    q.query("SELECT 1", ()).value::<i32>()?;
                }
                panic!("in the middle");
            })
        }));
        assert!(panic.is_err(), "it goes through");
    }
    assert_eq!(diary.take(), [""; 0]);
    test.finish();
}

#[test]
fn no_hook_runs_when_the_coroutine_is_cancelled() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    for sql in ["SELECT", "SELECT pg_advisory_xact_lock(4003)"] {
        let mut holder = Client::connect(&server().url()).expect("the server answers");
        holder.query("SELECT pg_advisory_lock(4003)").expect("nobody else has it");
        let (db, seen) = (Database::from(test.pool.clone()), diary.clone());
        let victim = maypole::spawn(move || {
            db.transaction_with(&TxOptions::new().retries(3), |q| -> Result<()> {
                seen.hooks(q, "cancelled");
                q.query(sql, ()).run()?;
                seen.note("parked");
                loop {
                    may::coroutine::park();
                }
            })
        });
        eventually("it waits", || {
            !diary.0.lock().expect("no holder panics").is_empty()
                || test.sessions("AND wait_event = 'advisory'") == 1
        });
        cancel(&victim);
        assert!(victim.join().is_err(), "cancelled");
        drop(holder);
        test.ledger();
        assert!(diary.take().iter().all(|note| note == "parked"));
    }
    test.finish();
}

#[test]
fn a_savepoint_that_is_rolled_back_takes_its_commit_hooks_with_it() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    let done: Result<()> = test.db.transaction(|q| {
        q.after_commit(diary.later("outer"));
        let kept: Result<()> = q.savepoint(|q| {
            q.after_commit(diary.later("kept"));
            let lost: Result<()> = q.savepoint(|q| {
                q.after_commit(diary.later("inner of kept, lost"));
                q.query("SELECT 1 / 0", ()).value::<i32>().map(drop)
            });
            lost.expect_err("division by zero");
            q.after_commit(diary.later("kept too"));
            Ok(())
        });
        kept.expect("released");
        let lost: Result<()> = q.savepoint(|q| {
            q.after_commit(diary.later("lost"));
            q.savepoint(|q| {
                q.after_commit(diary.later("inner of lost"));
                Ok(())
            })?;
            Err(Error::user("enough"))
        });
        lost.expect_err("ours");
        q.after_commit(diary.later("last"));
        diary.note("body");
        Ok(())
    });
    done.expect("committed");
    assert_eq!(diary.take(), ["body", "outer", "kept", "kept too", "last"]);
    test.finish();
}

/// What it did is rolled back, whatever becomes of the rest: whoever wanted to clean up after that still does.
#[test]
fn a_savepoint_that_is_rolled_back_has_its_rollback_hooks_called_when_the_transaction_is_over() {
    for commit in [true, false] {
        let test = TestPool::new(1);
        let diary = Diary::default();
        let done: Result<()> = test.db.transaction(|q| {
            diary.hooks(q, "outer");
            let lost: Result<()> = q.savepoint(|q| {
                diary.hooks(q, "lost");
                q.savepoint(|q| {
                    diary.hooks(q, "inner of lost");
                    Ok(())
                })?;
                q.query("SELECT 1 / 0", ()).value::<i32>().map(drop)
            });
            lost.expect_err("division by zero");
            let swallowed: Result<()> = q.savepoint(|q| {
                diary.hooks(q, "swallowed");
                drop(q.query("SELECT 1 / 0", ()).value::<i32>());
                Ok(())
            });
            swallowed.expect_err("division by zero");
            diary.note("body");
            if commit { Ok(()) } else { Err(Error::user("enough")) }
        });
        assert_eq!(done.is_ok(), commit);
        let expected: &[&str] = if commit {
            &[
                "body",
                "lost rolled back",
                "inner of lost rolled back",
                "swallowed rolled back",
                "outer committed",
            ]
        } else {
            &[
                "body",
                "outer rolled back",
                "lost rolled back",
                "inner of lost rolled back",
                "swallowed rolled back",
            ]
        };
        assert_eq!(diary.take(), expected);
        test.finish();
    }
}

#[test]
fn the_hooks_of_a_savepoint_wait_for_the_transaction() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    let failed: Result<()> = test.db.transaction(|q| {
        q.savepoint(|q| {
            diary.hooks(q, "inner");
            Ok(())
        })?;
        diary.note("body");
        Err(Error::user("enough"))
    });
    failed.expect_err("ours");
    assert_eq!(diary.take(), ["body", "inner rolled back"]);
    test.finish();
}

#[test]
fn rolled_back_gives_the_answer_and_stores_nothing_and_runs_no_commit_hook() {
    run("CREATE TABLE hooks_rolled_back (id int4)");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let answer = test.db.rolled_back(|q| {
        q.after_commit(diary.later("outer"));
        q.savepoint(|q| {
            q.after_commit(diary.later("inner"));
            q.query("INSERT INTO hooks_rolled_back VALUES (1)", ()).run()
        })?;
        q.query("SELECT count(*) FROM hooks_rolled_back", ()).value::<i64>()
    });
    assert_eq!(answer.expect("an answer"), 1);
    assert_eq!(diary.take(), [""; 0]);
    let error = test.db.rolled_back(|q| q.query("SELECT 1 / 0", ()).value::<i32>());
    assert_eq!(error.expect_err("division by zero").sqlstate(), Some("22012"));
    assert_eq!(count("hooks_rolled_back"), 0);
    test.finish();
}

#[test]
fn hooks_of_a_transaction_on_a_lease_run_when_it_is_over() {
    run("CREATE TABLE hooks_lease (id int4)");
    let test = TestPool::new(1);
    let diary = Diary::default();
    let lease = test.pool.connection().expect("lent");
    let seen = diary.clone();
    let done: Result<()> = lease.transaction(|q| {
        q.after_commit(move || seen.note(format!("{} stored", count("hooks_lease"))));
        q.query("INSERT INTO hooks_lease VALUES (1)", ()).run().map(drop)
    });
    done.expect("committed");
    assert_eq!(diary.take(), ["1 stored"]);
    assert!(!lease.in_transaction());
    drop(lease);
    test.finish();
}

/// What a hook waits for is not counted into anything of the transaction's.
#[test]
fn a_hook_may_wait() {
    let test = TestPool::new(1);
    let diary = Diary::default();
    let (seen, pool) = (diary.clone(), test.pool.clone());
    in_coroutine(move || {
        let db = Database::from(pool);
        let options = TxOptions::new().deadline(Duration::from_secs(20));
        let done: Result<i32> = db.transaction_with(&options, |q| {
            let seen = seen.clone();
            q.after_commit(move || {
                rest(Duration::from_millis(20));
                seen.note("slept");
            });
            q.query("SELECT 1", ()).value::<i32>()
        });
        assert_eq!(done.expect("committed"), 1);
    });
    assert_eq!(diary.take(), ["slept"]);
    test.finish();
}
