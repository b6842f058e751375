//! A query of a transaction function that forgot to name its transaction fails at once, instead of running outside of it.
//!
//! A process of its own: the databases are known by the names of their settings, and the working directory, where
//! the settings are found, is one for all.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

use maypole::{Database, Error, Outcome, Query, Result, Row, Tx, TxOptions, query, select, spawn};

use support::chaos::cancel;
use support::eventually::eventually;
use support::pool::{TestPool, in_coroutine, prepare};
use support::server::server;

static DB: Database = Database::named("shop");
/// Another name for the same setting.
static SAME: Database = Database::named("shop");
/// Another pool of the same server.
static OTHER: Database = Database::named("other");

#[select(DB, "SELECT name FROM customers WHERE id = :id")]
fn get_customer(id: i32) -> Query<String>;

#[select(SAME, "SELECT name FROM customers WHERE id = :id")]
fn same_customer(id: i32) -> Query<String>;

#[select(OTHER, "SELECT name FROM customers WHERE id = :id")]
fn other_customer(id: i32) -> Query<String>;

#[query(DB, "UPDATE customers SET name = :new WHERE name = :old")]
fn rename(old: &str, new: &str) -> Query;

const ADD: TxOptions = TxOptions::new().name("add_customer");

/// One test at a time: they share the databases, because statics can't be made per test.
struct Shop {
    test: TestPool,
    other: TestPool,
    _turn: MutexGuard<'static, ()>,
}

impl Shop {
    fn open() -> Shop {
        static TURN: Mutex<()> = Mutex::new(());
        static SETTINGS: Once = Once::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        SETTINGS.call_once(|| {
            prepare();
            let folder: PathBuf = env::temp_dir().join(format!("maypole-executor-{}", std::process::id()));
            fs::create_dir(&folder).expect("a folder");
            let url = server().url();
            let settings = format!(
                "[default]\n\
                 shop = {{ url = \"{url}\", limit = 3, application_name = \"shop\" }}\n\
                 other = {{ url = \"{url}\", limit = 3, application_name = \"other\" }}\n"
            );
            fs::write(folder.join("app.toml"), settings).expect("a file");
            env::set_current_dir(&folder).expect("the folder");
            for database in [&DB, &OTHER] {
                database.pool().expect("the settings are right");
            }
            env::set_current_dir("/").expect("it is there");
            fs::remove_dir_all(&folder).expect("ours");
            DB.script(
                "CREATE TABLE customers (id int4, name text);
                 INSERT INTO customers VALUES (1, 'Leonard Winter'), (2, 'Sonia')",
            )
            .expect("customers");
        });
        let pool = |database: &Database, name: &str| {
            let pool = database.pool().expect("it is there").clone();
            TestPool::around(pool, name, &server().url(), Duration::from_secs(60))
        };
        Shop { test: pool(&DB, "shop"), other: pool(&OTHER, "other"), _turn: turn }
    }

    fn close(self) {
        self.test.finish();
        self.other.finish();
        assert_eq!(get_customer(1).unique().expect("no test leaves a guard behind"), "Leonard Winter");
    }
}

/// Runs a function inside the transaction `add_customer`, which is then rolled back.
fn inside<R>(function: impl Fn(&Tx) -> R) -> R {
    let answer = Mutex::new(None);
    let undone: Result<()> = DB.transaction_with(&ADD, |q| {
        q.query("SELECT 1", ()).value::<i32>()?;
        *answer.lock().expect("no holder panics") = Some(function(q));
        Err(Error::user("enough"))
    });
    undone.expect_err("ours");
    answer.into_inner().expect("no holder panics").expect("it ran")
}

/// Nothing was sent, and the text says what to write instead.
#[track_caller]
fn refused<T>(what: &str, result: Result<T>) {
    let Err(error) = result else { panic!("{what}: not refused") };
    let text = error.to_string();
    assert_eq!(error.outcome(), Outcome::NotSent, "{what}: {error:?}");
    assert!(text.contains("outside the transaction add_customer"), "{what}: {text}");
    assert!(text.contains("outside()") || text.contains("pool()"), "{what}: how it is meant: {text}");
    assert!(text.contains("(q)") || text.contains("q.") || text.contains("within"), "{what}: {text}");
    assert!(!error.is_retryable(), "{what}: doing it again does not help");
}

#[test]
fn a_declared_query_without_on_is_refused_with_its_name_and_that_of_the_transaction() {
    let shop = Shop::open();
    let error = inside(|_| get_customer(1).unique()).expect_err("it does not name the transaction");
    let text =
        "get_customer ran outside the transaction add_customer; write .on(q), or .outside() if you mean it";
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(error.query_name(), Some("get_customer"));
    shop.close();
}

#[test]
fn every_terminal_of_a_declared_query_is_refused() {
    let shop = Shop::open();
    inside(|_| {
        refused("unique", get_customer(1).unique());
        refused("optional", get_customer(1).optional());
        refused("first", get_customer(1).first());
        refused("rows", get_customer(1).rows());
        refused("value", get_customer(1).value());
        refused("flat", get_customer(1).flat());
        refused("run", rename("a", "b").run());
        refused("each", get_customer(1).each(|_| Ok(())));
        let mut stream = get_customer(1).iter();
        refused("iter", stream.next().expect("an item"));
        assert!(stream.next().is_none(), "the error is the last item");
        let mut items = 0;
        for item in get_customer(1) {
            refused("for", item);
            items += 1;
        }
        assert_eq!(items, 1);
        refused("with a limit", get_customer(1).timeout(Duration::from_secs(9)).unique());
    });
    shop.close();
}

#[test]
fn every_terminal_of_an_ad_hoc_query_is_refused() {
    let shop = Shop::open();
    let sql = "SELECT name FROM customers WHERE id = $1";
    inside(|_| {
        refused("unique", DB.query(sql, (1,)).unique::<Row>());
        refused("optional", DB.query(sql, (1,)).optional::<Row>());
        refused("first", DB.query(sql, (1,)).first::<Row>());
        refused("rows", DB.query(sql, (1,)).rows::<Row>());
        refused("value", DB.query(sql, (1,)).value::<String>());
        refused("flat", DB.query(sql, (1,)).flat::<String>());
        refused("run", DB.query("DELETE FROM customers", ()).run());
        let mut stream = DB.query(sql, (1,)).iter::<String>();
        refused("iter", stream.next().expect("an item"));
        assert!(stream.next().is_none(), "the error is the last item");
        for item in DB.query(sql, (1,)) {
            refused("for", item);
        }
    });
    let left: i64 = DB.query("SELECT count(*) FROM customers", ()).value().expect("a count");
    assert_eq!(left, 2, "nothing was sent");
    shop.close();
}

#[test]
fn scripts_and_transactions_are_refused_too() {
    let shop = Shop::open();
    let folder = env::temp_dir().join(format!("maypole-executor-script-{}", std::process::id()));
    fs::write(&folder, "DELETE FROM customers").expect("a file");
    let ran = AtomicUsize::new(0);
    let call = |_: &Tx| -> Result<()> {
        ran.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    inside(|_| {
        refused("script", DB.script("DELETE FROM customers"));
        refused("script_file", DB.script_file(&folder));
        refused("transaction", DB.transaction(call));
        refused("transaction_with", DB.transaction_with(&TxOptions::new(), call));
        refused("with retries", DB.transaction_with(&TxOptions::new().retries(3), call));
        refused("rolled_back", DB.rolled_back(call));
    });
    assert_eq!(ran.load(Ordering::SeqCst), 0, "no function was called");
    fs::remove_file(&folder).expect("ours");
    let left: i64 = DB.query("SELECT count(*) FROM customers", ()).value().expect("a count");
    assert_eq!(left, 2, "nothing was sent");
    shop.close();
}

/// A transaction function of its own inside of another: what was meant is its `within`.
#[test]
fn a_nested_transaction_function_is_refused_with_the_word_within() {
    let shop = Shop::open();
    let inner = TxOptions::new().name("rename_customer");
    inside(|_| {
        let error = DB.transaction_with(&inner, |q| -> Result<u64> { rename("a", "b").on(q).run() });
        let error = error.expect_err("it does not name the transaction");
        let text = error.to_string();
        assert!(text.contains("rename_customer") && text.contains("add_customer"), "{text}");
        assert!(text.contains("within"), "{text}");
    });
    shop.close();
}

#[test]
fn databases_of_the_same_name_are_the_same() {
    let shop = Shop::open();
    let copy = Database::from(shop.test.pool.clone());
    inside(|_| {
        refused("declared", same_customer(1).unique());
        refused("ad hoc", SAME.query("SELECT 1", ()).value::<i32>());
        refused("script", SAME.script("SELECT 1"));
        // A database without a name, around the same pool.
        refused("a copy", copy.query("SELECT 1", ()).value::<i32>());
    });
    shop.close();
}

#[test]
fn who_says_where_it_runs_is_believed() {
    let shop = Shop::open();
    let name = || "Leonard Winter".to_owned();
    inside(|q| {
        assert_eq!(get_customer(1).on(q).unique().expect("inside"), name());
        assert_eq!(q.query("SELECT 7", ()).value::<i32>().expect("inside"), 7);
        q.script("SELECT 1").expect("inside");
        assert_eq!(get_customer(1).outside().unique().expect("outside"), name());
        assert_eq!(get_customer(1).outside().rows().expect("outside"), [name()]);
        assert_eq!(get_customer(1).outside().iter().collect::<Result<Vec<_>>>().expect("outside"), [name()]);
        assert_eq!(DB.query("SELECT 7", ()).outside().value::<i32>().expect("outside"), 7);
        assert_eq!(get_customer(1).on(&DB).unique().expect("outside"), name());
        assert_eq!(get_customer(1).on(&shop.test.pool).unique().expect("outside"), name());
        let lease = shop.test.pool.connection().expect("asked for by name");
        assert_eq!(get_customer(1).on(&lease).unique().expect("outside"), name());
        assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("outside"), 7);
        lease.script("SELECT 7").expect("outside");
        drop(lease);
        let sum = DB.transaction_with(&TxOptions::new().outside(), |inner| {
            assert_eq!(get_customer(1).on(inner).unique()?, name());
            get_customer(1).on(q).unique()?;
            inner.query("SELECT 7", ()).value::<i32>()
        });
        let sum: Result<i32> = sum;
        assert_eq!(sum.expect("a transaction of its own"), 7);
        refused("afterwards as before", get_customer(1).unique());
    });
    shop.close();
}

/// What is outside is kept although the transaction is rolled back, and does not see what is inside.
#[test]
fn outside_is_outside() {
    let shop = Shop::open();
    DB.script("CREATE TABLE audit (what text)").expect("a table");
    inside(|q| {
        q.query("INSERT INTO audit VALUES ('inside')", ()).run().expect("inside");
        let own = TxOptions::new().name("audit").outside();
        let stored: Result<i64> = DB.transaction_with(&own, |q| {
            q.query("INSERT INTO audit VALUES ('own transaction')", ()).run()?;
            q.query("SELECT count(*) FROM audit", ()).value()
        });
        assert_eq!(stored.expect("committed"), 1);
        DB.query("INSERT INTO audit VALUES ('outside')", ()).outside().run().expect("outside");
    });
    let kept: Vec<String> = DB.query("SELECT what FROM audit ORDER BY what", ()).flat().expect("rows");
    assert_eq!(kept, ["outside", "own transaction"]);
    DB.script("DROP TABLE audit").expect("ours");
    shop.close();
}

/// Inside a transaction that began outside of another, it is that which must be named.
#[test]
fn a_transaction_outside_of_another_has_a_guard_of_its_own() {
    let shop = Shop::open();
    inside(|_| {
        let inner: Result<()> = DB.transaction_with(&TxOptions::new().name("audit").outside(), |_| {
            let error = get_customer(1).unique().expect_err("it names none");
            assert!(error.to_string().contains("outside the transaction audit"), "{error}");
            Ok(())
        });
        inner.expect("committed");
        refused("the outer one again", get_customer(1).unique());
    });
    shop.close();
}

#[test]
fn a_savepoint_is_inside_of_its_transaction() {
    let shop = Shop::open();
    inside(|q| {
        let inner: Result<()> = q.savepoint(|q| {
            refused("in a savepoint", get_customer(1).unique());
            get_customer(1).on(q).unique().map(drop)
        });
        inner.expect("released");
        let inner: Result<()> = q.savepoint(|_| Err(Error::user("enough")));
        inner.expect_err("ours");
        refused("after a savepoint", get_customer(1).unique());
    });
    shop.close();
}

#[test]
fn a_transaction_on_a_lease_has_the_guard_too() {
    let shop = Shop::open();
    let lease = shop.test.pool.connection().expect("lent");
    let done: Result<()> = lease.transaction_with(&ADD, |_| {
        refused("declared", get_customer(1).unique());
        refused("ad hoc", DB.query("SELECT 1", ()).value::<i32>());
        Ok(())
    });
    done.expect("committed");
    drop(lease);
    shop.close();
}

#[test]
fn other_databases_are_not_concerned() {
    let shop = Shop::open();
    inside(|_| {
        assert_eq!(other_customer(1).unique().expect("another database"), "Leonard Winter");
        assert_eq!(OTHER.query("SELECT 7", ()).value::<i32>().expect("another database"), 7);
        OTHER.script("SELECT 1").expect("another database");
        // Both at once, each with its own.
        let both: Result<i32> = OTHER.transaction(|q| {
            refused("of the outer one", get_customer(1).unique());
            let error = other_customer(1).unique().expect_err("of the inner one");
            assert!(error.to_string().contains("other_customer ran outside the transaction"), "{error}");
            q.query("SELECT 7", ()).value()
        });
        assert_eq!(both.expect("committed"), 7);
        assert_eq!(other_customer(2).unique().expect("over"), "Sonia");
        refused("still", get_customer(1).unique());
    });
    shop.close();
}

/// What a coroutine or a thread is started for is its own business: it has no part in the transaction.
#[test]
fn coroutines_and_threads_that_are_started_do_not_inherit_it() {
    let shop = Shop::open();
    let work = || {
        inside(|_| {
            let spawned = spawn(|| get_customer(1).unique());
            assert_eq!(spawned.join().expect("no panic").expect("not inherited"), "Leonard Winter");
            refused("after the join", get_customer(1).unique());
        });
    };
    work();
    in_coroutine(work);
    inside(|_| {
        let started = thread::spawn(|| get_customer(1).unique());
        assert_eq!(started.join().expect("no panic").expect("not inherited"), "Leonard Winter");
    });
    shop.close();
}

/// The mark belongs to the coroutine, not to the worker that it happens to run on.
#[test]
fn coroutines_on_the_same_worker_do_not_share_it() {
    let shop = Shop::open();
    let answered = Arc::new(AtomicUsize::new(0));
    let inner = Arc::new(AtomicUsize::new(0));
    let (seen, ready) = (answered.clone(), inner.clone());
    let holder = spawn(move || {
        inside(|q| {
            ready.fetch_add(1, Ordering::SeqCst);
            // Others run on both workers meanwhile, and this one moves between them.
            while seen.load(Ordering::SeqCst) < 40 {
                q.query("SELECT 1", ()).value::<i32>().expect("inside");
                refused("wherever it runs now", get_customer(1).unique());
                may::coroutine::yield_now();
            }
        });
    });
    eventually("it is inside", || inner.load(Ordering::SeqCst) == 1);
    let others: Vec<_> = (0..40)
        .map(|_| {
            let answered = answered.clone();
            spawn(move || {
                let answer = get_customer(1).unique();
                answered.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .collect();
    for other in others {
        assert_eq!(other.join().expect("no panic").expect("not inside"), "Leonard Winter");
    }
    holder.join().expect("no panic");
    shop.close();
}

#[test]
fn it_works_on_plain_threads_and_in_coroutines() {
    let shop = Shop::open();
    let work = || {
        inside(|_| refused("declared", get_customer(1).unique()));
        assert_eq!(get_customer(1).unique().expect("over"), "Leonard Winter");
    };
    work();
    thread::spawn(work).join().expect("no panic");
    in_coroutine(work);
    shop.close();
}

/// However the function ends, nothing of the guard stays with its thread or coroutine.
fn every_end() {
    let free = |how: &str| {
        let answer = get_customer(1).unique();
        assert_eq!(answer.unwrap_or_else(|error| panic!("{how}: {error}")), "Leonard Winter");
        DB.script("SELECT 1").unwrap_or_else(|error| panic!("{how}: {error}"));
        let inner: Result<i32> = DB.transaction(|q| q.query("SELECT 7", ()).value());
        assert_eq!(inner.unwrap_or_else(|error| panic!("{how}: {error}")), 7);
    };
    let committed: Result<()> = DB.transaction_with(&ADD, |q| q.query("SELECT 1", ()).run_any());
    committed.expect("committed");
    free("committed");
    let empty: Result<()> = DB.transaction(|_| Ok(()));
    empty.expect("nothing to do");
    free("without a statement");
    let failed: Result<i32> = DB.transaction(|q| q.query("SELECT 1 / 0", ()).value());
    failed.expect_err("division by zero");
    free("failed");
    let failed: Result<()> = DB.transaction(|_| Err(Error::user("enough")));
    failed.expect_err("ours");
    free("failed by itself");
    let retried: Result<()> = DB.transaction_with(&ADD.retries(2), |q| {
        q.script("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
    });
    assert_eq!(retried.expect_err("never").earlier().len(), 2);
    free("retried");
    let undone: Result<i32> = DB.rolled_back(|q| q.query("SELECT 7", ()).value());
    undone.expect("an answer");
    free("always rolled back");
    inside(|_| refused("refused", get_customer(1).unique()));
    free("refused");
    for statement in [false, true] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            DB.transaction(|q| -> Result<()> {
                if statement {
                    q.query("SELECT 1", ()).value::<i32>()?;
                }
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        free("panicked");
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        DB.transaction(|q| q.savepoint(|_| -> Result<()> { panic!("in a savepoint") }))
    }));
    assert!(panicked.is_err());
    free("panicked in a savepoint");
}

trait RunAny {
    fn run_any(self) -> Result<()>;
}

impl<P: maypole::Params> RunAny for maypole::Sql<'_, P> {
    fn run_any(self) -> Result<()> {
        self.rows::<Row>().map(drop)
    }
}

#[test]
fn it_is_gone_however_the_function_ended() {
    let shop = Shop::open();
    every_end();
    in_coroutine(every_end);
    shop.close();
}

/// A cancelled coroutine may catch its cancel to clean up; and may's workers serve others afterwards.
#[test]
fn it_is_gone_when_the_function_was_cancelled() {
    let shop = Shop::open();
    for _ in 0..10 {
        let inner = Arc::new(AtomicUsize::new(0));
        let (ready, said) = (inner.clone(), Arc::new(Mutex::new(None)));
        let saying = said.clone();
        let victim = spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                inside(|_| {
                    ready.fetch_add(1, Ordering::SeqCst);
                    may::coroutine::park();
                });
            }));
            // It is answered, or cancelled where it waits; a guard that is still there would refuse it before.
            let again = catch_unwind(|| get_customer(1).unique());
            let refused = matches!(again, Ok(Err(error)) if error.to_string().contains("outside"));
            *saying.lock().expect("no holder panics") = Some(refused);
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic);
            }
        });
        eventually("it is inside", || inner.load(Ordering::SeqCst) == 1);
        cancel(&victim);
        assert!(victim.join().is_err(), "cancelled");
        assert_eq!(*said.lock().expect("no holder panics"), Some(false));
        let others: Vec<_> = (0..8).map(|_| spawn(|| get_customer(1).unique())).collect();
        for other in others {
            assert_eq!(other.join().expect("no panic").expect("nothing inherited"), "Leonard Winter");
        }
        shop.test.ledger();
    }
    shop.close();
}
