//! What travels when in a transaction, savepoints, and how one ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use maypole::{Error, Isolation, Outcome, Phase, Query, Result, Tx, TxOptions, query, select};

use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

static DB: maypole::Database = maypole::Database::named("not in any settings file");

#[select(DB, "SELECT 1 / :by")]
fn one_by(by: i32) -> Query<i32>;

#[query(DB, "INSERT INTO blocks VALUES (:id)")]
fn insert(id: i32) -> Query;

/// A pool of one behind a proxy, with a table of its own name.
fn shop() -> (Proxy, TestPool) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::configured(&proxy.url(), |config| config, |builder| builder.limit(1));
    test.db.script("CREATE TABLE IF NOT EXISTS blocks (id int4)").expect("a table");
    (proxy, test)
}

/// How often the client waits: each round trip ends with one ReadyForQuery.
fn round_trips<R>(proxy: &Proxy, work: impl FnOnce() -> R) -> usize {
    let seen = proxy.on(Backend, b'Z', every()).watch();
    work();
    let trips = seen.hits();
    seen.release();
    trips
}

fn all(test: &TestPool) -> Vec<i32> {
    test.db.query("SELECT id FROM blocks ORDER BY id", ()).flat().expect("ids")
}

/// Each test has rows of its own, and removes them.
fn cleared(test: &TestPool) {
    test.db.script("DROP TABLE blocks; CREATE TABLE blocks (id int4)").expect("empty");
}

/// One test for all that share the table.
#[test]
fn a_transaction_of_n_statements_costs_n_and_one_round_trips() {
    let (proxy, test) = shop();
    cleared(&test);
    let db = &test.db;
    let warm = || {
        db.transaction(|q| {
            insert(0).on(q).run()?;
            one_by(1).on(q).value()?;
            q.query("SELECT 2", ()).value::<i32>()
        })
    };
    warm().expect("committed");
    assert_eq!(round_trips(&proxy, || db.transaction(|_| Ok(())).expect("nothing was asked")), 0);
    assert_eq!(round_trips(&proxy, || warm().expect("committed")), 4);
    let one = || db.transaction(|q| insert(1).on(q).run()).expect("committed");
    assert_eq!(round_trips(&proxy, one), 2);
    let script =
        || db.transaction(|q| q.script("INSERT INTO blocks VALUES (2); SELECT 1")).expect("committed");
    assert_eq!(round_trips(&proxy, script), 2);
    let stream = || db.transaction(|q| q.query("SELECT 2", ()).iter::<i32>().collect::<Result<Vec<_>>>());
    // The portal is closed without waiting.
    assert_eq!(round_trips(&proxy, || stream().expect("committed")), 3);
    let failing = || db.transaction(|q| one_by(0).on(q).value());
    assert_eq!(round_trips(&proxy, || failing().expect_err("division by zero")), 2);
    let own = || db.transaction(|_| -> Result<()> { Err(Error::user("nothing was asked")) });
    assert_eq!(round_trips(&proxy, || own().expect_err("the function's own")), 0);
    // Savepoints cost nothing but their statements, unless they are undone.
    let nested = |fails: bool| {
        db.transaction(|q| {
            q.savepoint(|q| q.savepoint(|_| Ok(())))?;
            q.savepoint(|q| q.savepoint(|q| insert(3).on(q).run()))?;
            let failed = q.savepoint(|q| {
                insert(4).on(q).run()?;
                if fails { Err(Error::user("undo this")) } else { Ok(()) }
            });
            assert_eq!(failed.is_err(), fails);
            one_by(1).on(q).value()
        })
    };
    assert_eq!(round_trips(&proxy, || nested(false).expect("committed")), 4);
    assert_eq!(round_trips(&proxy, || nested(true).expect("committed")), 5);
    assert_eq!(all(&test), [0, 0, 1, 2, 3, 3, 4]);
    test.finish();
}

#[test]
fn options_are_what_the_server_sees() {
    let test = TestPool::new(1);
    let shown = |q: &Tx| -> Result<(String, String, String)> {
        q.query(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),
                    current_setting('transaction_deferrable')",
            (),
        )
        .unique()
    };
    let told = |options: TxOptions| {
        let (isolation, read_only, deferrable) = test.db.transaction_with(&options, shown).expect("told");
        format!("{isolation}, {read_only}, {deferrable}")
    };
    let plain = TxOptions::new();
    assert_eq!(told(plain), "read committed, off, off");
    assert_eq!(told(plain.isolation(Isolation::RepeatableRead)), "repeatable read, off, off");
    assert_eq!(
        told(plain.isolation(Isolation::Serializable).read_only().deferrable()),
        "serializable, on, on"
    );
    let written =
        test.db.transaction_with(&plain.read_only(), |q| q.script("CREATE TABLE not_here (id int4)"));
    assert_eq!(written.expect_err("read only").sqlstate(), Some("25006"));
    // A script may be the first.
    let late = test.db.transaction_with(&plain.isolation(Isolation::Serializable), |q| {
        q.script("SELECT 1")?;
        shown(q)
    });
    assert_eq!(late.expect("told").0, "serializable");
    test.finish();
}

#[test]
fn what_fails_before_begin_has_run_lets_nothing_run_outside_of_it() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE begin_fails (id int4)").expect("a table");
    // A mistake in a script is found before any of it runs, BEGIN included.
    for statement in
        ["INSERT INTO begin_fails VALUES (1); SELEC 1", "INSERT INTO begin_fails VALUES (1) RETURNING x"]
    {
        let result = test.db.transaction(|q| {
            let failed = q.script(statement);
            assert!(failed.is_err());
            // What comes next does not run either.
            q.query("INSERT INTO begin_fails VALUES (2)", ()).run().expect_err("the transaction has failed");
            Ok(())
        });
        let error = result.expect_err("swallowed");
        assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    }
    let count: i64 = test.db.query("SELECT count(*) FROM begin_fails", ()).value().expect("a count");
    assert_eq!(count, 0);
    test.finish();
}

#[test]
fn an_error_that_was_swallowed_names_the_first_query_that_failed() {
    let test = TestPool::new(1);
    let options = TxOptions::new().name("careless");
    let error = test.db.transaction_with(&options, |q| -> Result<()> {
        drop(one_by(0).on(q).value());
        drop(q.query("SELECT 1", ()).value::<i32>());
        Ok(())
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("22012")), "{error:?}");
    assert_eq!(error.transaction_name(), Some("careless"));
    let text = format!("{error:?}");
    assert!(text.contains("caused by: query one_by failed: division by zero"), "{text}");
    assert!(text.contains("= in transaction careless"), "{text}");
    assert!(!text.contains("attempt"), "there was one: {text}");
    test.finish();
}

/// "current transaction is aborted" does not help anybody.
#[test]
fn a_statement_behind_one_whose_error_was_swallowed_tells_of_that() {
    let test = TestPool::new(1);
    let error = test.db.transaction(|q| {
        drop(one_by(0).on(q).value());
        q.query("SELECT 1", ()).value::<i32>()
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("25P02")), "{error:?}");
    assert!(format!("{error:?}").contains("caused by: query one_by failed: division by zero"), "{error:?}");
    test.finish();
}

#[test]
fn a_stream_that_fails_after_it_was_dropped_is_found_at_commit() {
    let test = TestPool::new(1);
    let error = test.db.transaction(|q| {
        let mut rows = q.query("SELECT 1 / (5 - n) FROM generate_series(1, 9) n", ()).chunk(2).iter::<i32>();
        rows.next().expect("a row")?;
        rows.nth(1).expect("a row")?;
        // The chunk in which it fails has been asked for.
        drop(rows);
        Ok(())
    });
    let error = error.expect_err("nothing was committed");
    assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("22012")), "{error:?}");
    assert!(format!("{error:?}").contains("generate_series"), "the query is named: {error:?}");
    test.finish();
}

/// Other statements run between the chunks of a stream, savepoints that fail included.
#[test]
fn a_stream_goes_on_while_other_queries_and_savepoints_run() {
    let test = TestPool::new(1);
    let seen = test.db.transaction(|q| {
        let mut seen = Vec::new();
        for number in q.query("SELECT generate_series(1, 30)", ()).chunk(4).iter::<i32>() {
            let number = number?;
            let result = q.savepoint(|q| one_by(number % 3).on(q).value());
            assert_eq!(result.is_err(), number % 3 == 0, "{result:?}");
            seen.push(q.query("SELECT $1::int4 * 2", (number,)).value::<i32>()?);
        }
        Ok(seen)
    });
    assert_eq!(seen.expect("committed"), (1..=30).map(|number| number * 2).collect::<Vec<_>>());
    test.finish();
}

#[test]
fn a_savepoint_that_fails_leaves_the_transaction_usable() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE saved (id int4 PRIMARY KEY)").expect("a table");
    let insert = |q: &Tx, id: i32| q.query("INSERT INTO saved VALUES ($1)", (id,)).run();
    let done = test.db.transaction(|q| {
        insert(q, 1)?;
        let failed = q.savepoint(|q| {
            insert(q, 2)?;
            insert(q, 1)
        });
        assert_eq!(failed.expect_err("a duplicate").sqlstate(), Some("23505"));
        let failed = q.savepoint(|q| {
            insert(q, 3)?;
            drop(insert(q, 1));
            Ok(())
        });
        let failed = failed.expect_err("swallowed");
        assert_eq!((failed.outcome(), failed.sqlstate()), (Outcome::RolledBack, Some("23505")), "{failed:?}");
        let own = q.savepoint(|q| -> Result<()> {
            insert(q, 4)?;
            Err(Error::user(std::io::Error::other("no stock left")))
        });
        assert_eq!(own.expect_err("the function's").outcome(), Outcome::RolledBack);
        // A panic that is caught around it.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            q.savepoint(|q| -> Result<()> {
                insert(q, 5)?;
                drop(insert(q, 1));
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        insert(q, 6)?;
        q.savepoint(|q| {
            insert(q, 7)?;
            let _ = q.savepoint(|q| {
                insert(q, 8)?;
                insert(q, 1)
            });
            insert(q, 9)
        })
    });
    done.expect("committed");
    let last = test.db.transaction(|q| {
        insert(q, 10)?;
        // Undone, although COMMIT comes next.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            q.savepoint(|q| -> Result<()> {
                insert(q, 11)?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        Ok(())
    });
    last.expect("committed");
    assert_eq!(
        test.db.query("SELECT id FROM saved ORDER BY id", ()).flat::<i32>().expect("ids"),
        [1, 6, 7, 9, 10]
    );
    test.finish();
}

/// Case 20.
#[test]
fn a_statement_prepared_in_a_savepoint_that_is_rolled_back_is_prepared_still() {
    let (proxy, test) = shop();
    let text = "SELECT 'prepared in a savepoint'";
    let lease = test.pool.connection().expect("lent");
    let done = lease.transaction(|q| {
        let _ = q.savepoint(|q| -> Result<()> {
            q.query(text, ()).value::<String>()?;
            Err(Error::user("undo this"))
        });
        q.query(text, ()).value::<String>()
    });
    done.expect("committed");
    let parses = proxy.on(Frontend, b'P', every()).watch();
    assert_eq!(lease.query(text, ()).value::<String>().expect("an answer"), "prepared in a savepoint");
    assert_eq!(parses.hits(), 0, "it was known");
    drop(lease);
    test.finish();
}

#[test]
fn savepoints_nest_to_a_limit_that_is_told() {
    fn deeper(q: &Tx, levels: u32) -> Result<i32> {
        if levels == 0 {
            return q.query("SELECT 1", ()).value();
        }
        q.savepoint(|q| deeper(q, levels - 1))
    }
    let test = TestPool::new(1);
    assert_eq!(test.db.transaction(|q| deeper(q, 64)).expect("committed"), 1);
    let error = test.db.transaction(|q| deeper(q, 65)).expect_err("too deep");
    assert!(error.to_string().contains("64 savepoints"), "{error}");
    test.finish();
}

#[test]
fn within_refuses_what_a_part_of_a_transaction_can_not_be() {
    let test = TestPool::new(1);
    let within = |outer: TxOptions, inner: TxOptions| {
        test.db.transaction_with(&outer, |q| {
            q.savepoint_with(&inner, |q| q.query("SELECT 1", ()).value::<i32>())
        })
    };
    let plain = TxOptions::new();
    let strict = plain.isolation(Isolation::Serializable);
    let weaker = plain.isolation(Isolation::ReadCommitted);
    assert_eq!(within(plain, weaker).expect("the same"), 1);
    assert_eq!(within(strict, plain.isolation(Isolation::RepeatableRead)).expect("a weaker one"), 1);
    let error = within(plain, strict.name("pay")).expect_err("stricter").to_string();
    assert!(
        error.contains("pay wants the isolation level SERIALIZABLE") && error.contains("READ COMMITTED"),
        "{error}"
    );
    let error = within(plain, plain.durable().name("pay")).expect_err("durable").to_string();
    assert!(error.contains("pay is durable"), "{error}");
    // Durable is no hindrance outside.
    assert!(test.db.transaction_with(&plain.durable(), |_| -> Result<()> { Ok(()) }).is_ok());
    test.finish();
}

#[test]
fn a_statement_that_ends_the_transaction_is_an_error_that_says_so() {
    let (_proxy, test) = shop();
    let cases = [
        ("COMMIT", "COMMIT was executed", true),
        ("COMMIT AND CHAIN", "COMMIT was executed", true),
        ("ROLLBACK", "ROLLBACK was executed", false),
        ("ROLLBACK AND CHAIN", "ROLLBACK was executed", false),
        ("BEGIN", "BEGIN was executed", false),
    ];
    test.db.script("CREATE TABLE ended (id int4, how text)").expect("a table");
    for (statement, says, kept) in cases {
        for script in [false, true] {
            let how = format!("{statement} {script}");
            let result = test.db.transaction(|q| {
                q.query("INSERT INTO ended VALUES (1, $1)", (&how,)).run()?;
                let error = if script {
                    q.script(&format!("SELECT 1; {statement}; SELECT 2"))
                } else {
                    q.query(statement, ()).run().map(drop)
                };
                let error = error.expect_err("it has ended the transaction");
                assert!(error.to_string().contains(says), "{error}");
                // Nothing runs outside of it.
                let error = q.query("INSERT INTO ended VALUES (2, $1)", (&how,)).run().expect_err("over");
                assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                assert!(error.to_string().contains("the transaction is over"), "{error}");
                Ok(())
            });
            let error = result.expect_err("it did not end with its function");
            assert!(format!("{error:?}").contains(says), "{error:?}");
            let ids: Vec<i32> =
                test.db.query("SELECT id FROM ended WHERE how = $1", (&how,)).flat().expect("ids");
            assert_eq!(ids, if kept { vec![1] } else { vec![] }, "{how}");
            test.ledger();
        }
    }
    // By hand is allowed what does not end it.
    let done = test.db.transaction(|q| {
        q.script("SAVEPOINT mine")?;
        q.script("SELECT 1 / 0").expect_err("division by zero");
        q.query("ROLLBACK TO SAVEPOINT mine", ()).run()?;
        q.query("INSERT INTO ended VALUES (3, 'by hand')", ()).run()
    });
    assert_eq!(done.expect("committed"), 1);
    test.finish();
}

/// The lease that a transaction runs on is the same session.
#[test]
fn a_query_on_the_lease_itself_is_in_its_transaction() {
    let (_proxy, test) = shop();
    let lease = test.pool.connection().expect("lent");
    lease.script("CREATE TABLE by_lease (id int4)").expect("a table");
    let result = lease.transaction(|_| -> Result<()> {
        assert!(lease.in_transaction(), "although nothing was sent");
        lease.execute("INSERT INTO by_lease VALUES (1)", ())?;
        Err(Error::user("undo this"))
    });
    result.expect_err("the function's");
    assert!(!lease.in_transaction());
    assert_eq!(lease.query("SELECT count(*) FROM by_lease", ()).value::<i64>().expect("a count"), 0);
    drop(lease);
    test.finish();
}

#[test]
fn a_deadline_holds_for_statements_and_for_commit() {
    let test = TestPool::new(1);
    let limit = Duration::from_millis(80);
    let options = TxOptions::new().deadline(limit).name("late");
    let start = Instant::now();
    let error = test.db.transaction_with(&options, |q| q.query("SELECT pg_sleep(5)", ()).run());
    let error = error.expect_err("too late");
    assert_eq!(
        (error.phase(), error.outcome()),
        (Some(Phase::Transaction), Outcome::RolledBack),
        "{error:?}"
    );
    assert!(error.to_string().contains("80ms") && error.to_string().contains("late"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    test.ledger();
    // The function itself takes too long: it is not committed.
    let error = test.db.transaction_with(&options, |q| -> Result<()> {
        q.query("SELECT 1", ()).value::<i32>()?;
        std::thread::sleep(limit);
        Ok(())
    });
    let error = error.expect_err("too late");
    assert_eq!(
        (error.phase(), error.outcome()),
        (Some(Phase::Transaction), Outcome::RolledBack),
        "{error:?}"
    );
    // Waiting for a connection counts.
    let lease = test.pool.connection().expect("lent");
    let start = Instant::now();
    let error = test.db.transaction_with(&options, |q| q.query("SELECT 1", ()).value::<i32>());
    let error = error.expect_err("all are lent");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Transaction), Outcome::NotSent), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "not the five seconds of the pool");
    drop(lease);
    // A savepoint's own.
    let done = test.db.transaction(|q| {
        let error = q.savepoint_with(&options, |q| q.query("SELECT pg_sleep(0.3)", ()).run());
        assert_eq!(error.expect_err("too late").phase(), Some(Phase::Transaction));
        q.query("SELECT 1", ()).value::<i32>()
    });
    assert_eq!(done.expect("the rest has its own time"), 1);
    test.finish();
}

#[test]
fn what_was_rolled_back_for_a_test_is_gone_and_what_commit_would_refuse_is_refused() {
    let (_proxy, test) = shop();
    test.db
        .script(
            "CREATE TABLE tried_parent (id int4 PRIMARY KEY);
             CREATE TABLE tried (id int4 REFERENCES tried_parent DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("tables");
    let count = test.db.rolled_back(|q| {
        q.query("INSERT INTO tried_parent VALUES (1)", ()).run()?;
        q.query("SELECT count(*) FROM tried_parent", ()).value::<i64>()
    });
    assert_eq!(count.expect("counted"), 1);
    let error = test.db.rolled_back(|q| q.query("INSERT INTO tried VALUES (2)", ()).run());
    assert_eq!(error.expect_err("no parent").sqlstate(), Some("23503"));
    let error = test.db.rolled_back(|q| {
        drop(one_by(0).on(q).value());
        Ok(())
    });
    assert_eq!(error.expect_err("swallowed").sqlstate(), Some("22012"));
    assert_eq!(test.db.query("SELECT count(*) FROM tried_parent", ()).value::<i64>().expect("a count"), 0);
    test.db.rolled_back(|_| Ok(())).expect("nothing was asked");
    test.finish();
}

/// Loses the connection behind COMMIT, in one of three ways.
fn lose_commit(proxy: &Proxy, way: u32) {
    let traffic = proxy.all();
    let _ = match way {
        0 => traffic.on(Frontend, b'Q', nth(1)).cut_before(),
        1 => traffic.on(Backend, b'C', nth(1)).cut_before(),
        _ => traffic.on(Backend, b'C', nth(1)).cut_after_bytes(1),
    };
}

/// Case 14, resolved.
#[test]
fn what_became_of_a_lost_commit_is_found_out_where_that_is_wanted() {
    let (proxy, test) = shop();
    test.db.script("CREATE TABLE confirmed (way int4, how text)").expect("a table");
    let options = TxOptions::new().confirm_commit().retries(3);
    for way in 0..3u32 {
        let number = i32::try_from(way).expect("small");
        for how in ["query", "script", "stream", "savepoint"] {
            test.ledger();
            let calls = std::cell::Cell::new(0);
            let result = test.db.transaction_with(&options, |q| -> Result<()> {
                calls.set(calls.get() + 1);
                q.query("SELECT 1", ()).value::<i32>()?;
                match how {
                    "query" => drop(q.query("INSERT INTO confirmed VALUES ($1, $2)", (number, how)).run()?),
                    "script" => {
                        q.script(&format!("INSERT INTO confirmed VALUES ({way}, 'script') -- done"))?
                    }
                    "stream" => {
                        let sql = "INSERT INTO confirmed VALUES ($1, $2) RETURNING way";
                        let ways: Result<Vec<i32>> = q.query(sql, (number, how)).iter::<i32>().collect();
                        assert_eq!(ways?, [number], "and nothing of the number");
                    }
                    _ => drop(q.savepoint(|q| {
                        q.query("INSERT INTO confirmed VALUES ($1, $2)", (number, how)).run()
                    })?),
                }
                lose_commit(&proxy, way);
                Ok(())
            });
            assert_eq!(calls.get(), 1, "an unknown commit is not retried");
            test.ledger();
            let sql = "SELECT count(*) FROM confirmed WHERE way = $1 AND how = $2";
            let stored: i64 = test.db.query(sql, (number, how)).value().expect("a count");
            match result {
                Ok(()) => assert_eq!(stored, 1, "{way} {how}"),
                Err(error) => {
                    assert_eq!((error.outcome(), stored), (Outcome::RolledBack, 0), "{way} {how}: {error:?}");
                    assert!(error.to_string().contains("another connection told"), "{error}");
                }
            }
            assert_eq!(stored, i64::from(way > 0), "COMMIT got there unless it was cut before");
        }
    }
    test.finish();
}

/// The old session is ended, as it might commit at any time.
#[test]
fn a_transaction_that_still_runs_is_ended_before_its_fate_is_told() {
    let (proxy, test) = shop();
    test.db.script("CREATE TABLE still_runs (id int4)").expect("a table");
    let options = TxOptions::new().confirm_commit().deadline(Duration::from_millis(300)).name("pending");
    let held = std::cell::RefCell::new(None);
    let result = test.db.transaction_with(&options, |q| -> Result<()> {
        q.query("INSERT INTO still_runs VALUES (1)", ()).run()?;
        // COMMIT does not reach the server, which sees the connection open.
        *held.borrow_mut() = Some(proxy.on(Frontend, b'Q', nth(1)).hold());
        Ok(())
    });
    let error = result.expect_err("it was ended");
    assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    assert!(
        error.to_string().contains("another connection told that the transaction was rolled back"),
        "{error}"
    );
    held.take().expect("held").release();
    test.finish();
    assert_eq!(test.db.query("SELECT count(*) FROM still_runs", ()).value::<i64>().expect("a count"), 0);
}

/// An id is asked for behind what may write, and not again.
#[test]
fn the_number_is_asked_for_behind_what_may_write_until_it_is_known() {
    let (proxy, test) = shop();
    test.db.script("CREATE TABLE numbered (id int4)").expect("a table");
    let options = TxOptions::new().confirm_commit();
    let work = |q: &Tx| -> Result<()> {
        one_by(1).on(q).value()?;
        q.query("SELECT 1", ()).value::<i32>()?;
        q.query("INSERT INTO numbered VALUES (1)", ()).run()?;
        q.query("INSERT INTO numbered VALUES (2)", ()).run()?;
        Ok(())
    };
    test.db.transaction_with(&options, work).expect("committed");
    let executed = proxy.on(Frontend, b'E', every()).watch();
    test.db.transaction_with(&options, work).expect("committed");
    // BEGIN, the declared select, the ad-hoc one and the first insert with the question each, the second insert.
    assert_eq!(executed.hits(), 1 + 1 + 2 + 2 + 1);
    executed.release();
    let executed = proxy.on(Frontend, b'E', every()).watch();
    let read_only = options.read_only();
    test.db.transaction_with(&read_only, |q| q.query("SELECT 1", ()).value::<i32>()).expect("committed");
    assert_eq!(executed.hits(), 2, "what only reads has no number");
    executed.release();
    test.finish();
}
