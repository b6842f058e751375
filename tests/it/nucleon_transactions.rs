//! The behaviours that the tests of Nucleon's transactions ask for, in the words of this library.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use may::sync::SyncFlag;
use maypole::{Database, Result, Tx, TxOptions};

use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::past::{ids, run};
use crate::support::pool::TestPool;

const INSERT_VALUE: TxOptions = TxOptions::new().name("insert_value").retries(3);

/// Insert with the next free id; `looked` comes between looking for it and taking it.
fn insert_value(q: &Tx, table: &str, looked: impl Fn()) -> Result<i32> {
    let last: i32 = q.query(&format!("SELECT max(id) FROM {table}"), ()).value()?;
    looked();
    let insert = format!("INSERT INTO {table} (id, name) VALUES ($1, $2)");
    q.query(&insert, (last + 1, format!("a{last}"))).run()?;
    Ok(last + 1)
}

fn table(name: &str) {
    run(&format!("CREATE TABLE {name} (id int4 PRIMARY KEY, name text); INSERT INTO {name} VALUES (1, 'a')"));
}

#[test]
fn an_insert_in_a_transaction_is_there_afterwards_and_not_seen_before() {
    table("nucleon_insert");
    let test = TestPool::new(2);
    let id = test.db.transaction(|q| {
        let id = insert_value(q, "nucleon_insert", || ())?;
        assert_eq!(ids("nucleon_insert"), [1], "others do not see it yet");
        assert_eq!(q.query("SELECT name FROM nucleon_insert WHERE id = $1", (id,)).value::<String>()?, "a1");
        Ok(id)
    });
    assert_eq!(id.expect("committed"), 2);
    assert_eq!(ids("nucleon_insert"), [1, 2]);
    test.finish();
}

/// Nucleon's test had one round; each has a new table, where all four look before anyone takes.
#[test]
fn conflicting_inserts_of_four_workers_at_once_are_retried_until_each_has_an_id_of_its_own() {
    const WORKERS: usize = 4;
    let test = TestPool::new(WORKERS);
    for round in 0..5 {
        let name = format!("nucleon_conflict_{round}");
        table(&name);
        let (looking, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all_looked = Arc::new(SyncFlag::new());
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let db = Database::from(test.pool.clone());
                let (name, looking, calls) = (name.clone(), looking.clone(), calls.clone());
                let all_looked = all_looked.clone();
                maypole::spawn(move || {
                    let first = std::cell::Cell::new(true);
                    db.transaction_with(&INSERT_VALUE, |q| {
                        calls.fetch_add(1, Ordering::SeqCst);
                        insert_value(q, &name, || {
                            if first.replace(false) {
                                if looking.fetch_add(1, Ordering::SeqCst) + 1 == WORKERS {
                                    all_looked.fire();
                                }
                                all_looked.wait();
                            }
                        })
                    })
                })
            })
            .collect();
        let mut taken: Vec<i32> = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic").expect("retried to success"))
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, [2, 3, 4, 5]);
        assert_eq!(ids(&name), [1, 2, 3, 4, 5]);
        let calls = calls.load(Ordering::SeqCst);
        // One of the four was first. The last has lost at most against each other.
        assert!((WORKERS + 3..=WORKERS + 6).contains(&calls), "{calls} attempts");
    }
    test.finish();
}

#[test]
fn an_error_rolls_back_what_was_done_before_it() {
    table("nucleon_error");
    let test = TestPool::new(1);
    let error = test.db.transaction_with(&INSERT_VALUE, |q| {
        let id = insert_value(q, "nucleon_error", || ())?;
        assert_eq!(id, 2);
        q.query("SELECT name FROM nucleon_error WHERE id = 'no number'", ()).value::<String>()
    });
    let error: maypole::Error = error.expect_err("no number");
    assert_eq!(
        (error.sqlstate(), error.transaction_name()),
        (Some("22P02"), Some("insert_value")),
        "{error:?}"
    );
    assert_eq!(ids("nucleon_error"), [1]);
    test.finish();
}

#[test]
fn a_coroutine_killed_half_way_leaves_nothing_behind() {
    table("nucleon_killed");
    let test = TestPool::new(1);
    let inserted = Arc::new(AtomicUsize::new(0));
    let (db, seen) = (Database::from(test.pool.clone()), inserted.clone());
    let victim = maypole::spawn(move || {
        db.transaction_with(&INSERT_VALUE, |q| -> Result<()> {
            insert_value(q, "nucleon_killed", || ())?;
            seen.fetch_add(1, Ordering::SeqCst);
            loop {
                may::coroutine::park();
            }
        })
    });
    eventually("half way", || inserted.load(Ordering::SeqCst) == 1);
    assert_eq!(test.sessions("AND state = 'idle in transaction'"), 1);
    cancel(&victim);
    assert!(victim.join().is_err(), "killed");
    test.ledger();
    assert_eq!(ids("nucleon_killed"), [1]);
    // Its place is free again, for the same id.
    let id = test.db.transaction_with(&INSERT_VALUE, |q| insert_value(q, "nucleon_killed", || ()));
    assert_eq!(id.expect("committed"), 2);
    test.finish();
    assert_eq!(inserted.load(Ordering::SeqCst), 1);
}
