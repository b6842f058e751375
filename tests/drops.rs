//! No `Drop` of the library waits or gives way, whatever it is dropped by and whoever holds its locks (reliability case 50);
//! and whoever waits for a large request to be taken can be cancelled (case 12).
//!
//! A process of its own, with one worker: a coroutine that is runnable runs as soon as another gives way. So what is dropped
//! makes one runnable first, and looks last whether it has run.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use may::coroutine::Coroutine;
use maypole::{Connection, Database, Error, JoinHandle, Pool, Result, Row, TxOptions};

use support::chaos::cancel;
use support::eventually::eventually;
use support::pool::{TestPool, prepare};
use support::proxy::Proxy;
use support::server::server;

/// Dropped first: makes another coroutine runnable, next on this worker. And tells that it waits to be cancelled.
struct First(Coroutine, Arc<AtomicBool>);

impl Drop for First {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// A coroutine that notes that it has run, once it is made runnable.
fn canary(ran: &Arc<AtomicBool>) -> JoinHandle<()> {
    let ran = ran.clone();
    maypole::spawn(move || {
        may::coroutine::park();
        ran.store(true, Ordering::SeqCst);
    })
}

/// Dropped last: whether anybody else has run meanwhile.
struct Last(Arc<AtomicBool>, Arc<AtomicUsize>);

impl Drop for Last {
    fn drop(&mut self) {
        let gave_way = self.0.load(Ordering::SeqCst);
        self.1.fetch_add(if gave_way { 1000 } else { 1 }, Ordering::SeqCst);
    }
}

/// What ends the function that holds it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Panic,
    Cancel,
    Return,
}

/// Goes on for a while when it is told to stop, longer than its caller waits for that.
const STUBBORN: &str = "DO $$ BEGIN PERFORM pg_sleep(5);
    EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(0.4); END $$";

/// Waits until it is cancelled, panics, or comes back. Something is asked and not answered meanwhile.
fn end(by: By, connection: &Connection, first: First) -> Result<()> {
    let first = first;
    let late = connection.query(STUBBORN, ()).timeout(Duration::from_millis(1)).run();
    assert!(late.is_err_and(|error| error.is_timeout()));
    match by {
        By::Panic => panic!("on purpose"),
        By::Cancel => {
            first.1.store(true, Ordering::SeqCst);
            loop {
                may::coroutine::park();
            }
        }
        By::Return => Ok(()),
    }
}

type Holding = fn(&Database, By, First) -> Result<()>;

/// What a coroutine may hold when it ends.
const HOLDINGS: [(&str, Holding); 9] = [
    ("a lease", |db, by, first| {
        let lease = db.pool()?.connection()?;
        end(by, &lease, first)
    }),
    ("a lease in a transaction by hand", |db, by, first| {
        let lease = db.pool()?.connection()?;
        lease.script("BEGIN; SELECT 1")?;
        end(by, &lease, first)
    }),
    ("a stream", |db, by, first| {
        let lease = db.pool()?.connection()?;
        let mut rows = db.query("SELECT generate_series(1, 9999)", ()).chunk(2).iter::<i32>();
        rows.next();
        end(by, &lease, first)
    }),
    ("a stream on a lease, and another lease", |db, by, first| {
        let lease = db.pool()?.connection()?;
        let other = db.pool()?.connection()?;
        let mut rows = lease.query("SELECT generate_series(1, 9999)", ()).chunk(2).iter::<i32>();
        rows.next();
        end(by, &other, first)
    }),
    ("a transaction", |db, by, first| {
        let other = db.pool()?.connection()?;
        db.transaction(|q| {
            q.query("SELECT 1", ()).value::<i32>()?;
            end(by, &other, first)
        })
    }),
    ("a transaction with a stream, and what was sent along", |db, by, first| {
        let other = db.pool()?.connection()?;
        db.transaction(|q| {
            let mut rows = q.query("SELECT generate_series(1, 9999)", ()).chunk(2).iter::<i32>();
            rows.next();
            q.query("SELECT 1", ()).value::<i32>()?;
            q.query("SELECT 1", ()).later()?;
            q.after_rollback(|| ());
            end(by, &other, first)
        })
    }),
    ("savepoints", |db, by, first| {
        let other = db.pool()?.connection()?;
        db.transaction(|q| {
            q.savepoint(|q| {
                q.query("SELECT 1", ()).value::<i32>()?;
                q.savepoint(|_| end(by, &other, first))
            })
        })
    }),
    ("a transaction on a lease", |db, by, first| {
        let lease = db.pool()?.connection()?;
        let other = db.pool()?.connection()?;
        lease.transaction_with(&TxOptions::new().retries(3).confirm_commit(), |q| {
            q.script("SELECT 1")?;
            Ok(())
        })?;
        let mut first = Some(first);
        lease.transaction(|q| {
            q.script("SELECT 1")?;
            first.take().map_or(Ok(()), |first| end(by, &other, first))
        })
    }),
    ("a pool of its own, and rows", |db, by, first| {
        let lease = db.pool()?.connection()?;
        let pool = Pool::builder().url(&server().url())?.limit(1).build()?;
        let rows: Vec<Row> = pool.connection()?.query("SELECT 1, 'two'", ()).rows()?;
        let _error = Error::user("carried");
        let ended = end(by, &lease, first);
        drop((rows, pool));
        ended
    }),
];

#[test]
fn nothing_that_is_dropped_waits_or_gives_way() {
    prepare();
    // Nothing has run yet.
    may::config().set_workers(1);
    let test = TestPool::new(4);
    // The locks are held by others as much as can be.
    let over = Arc::new(AtomicBool::new(false));
    let contenders: Vec<_> = (0..2)
        .map(|_| {
            let (pool, over) = (test.pool.clone(), over.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::black_box(pool.stats());
                    thread::yield_now();
                }
            })
        })
        .collect();
    for (name, holding) in HOLDINGS {
        for by in [By::Panic, By::Cancel, By::Return] {
            let quiet = Arc::new(AtomicUsize::new(0));
            let (seen, db) = (quiet.clone(), Database::from(test.pool.clone()));
            let waits = Arc::new(AtomicBool::new(false));
            let ran = Arc::new(AtomicBool::new(false));
            let canary = canary(&ran);
            let next = canary.coroutine().clone();
            let tell = waits.clone();
            let victim = maypole::spawn(move || {
                let _last = Last(ran, seen);
                let result = holding(&db, by, First(next, tell));
                assert!(by != By::Return || result.is_ok(), "{result:?}");
            });
            if by == By::Cancel {
                eventually("it waits to be cancelled", || waits.load(Ordering::SeqCst));
                cancel(&victim);
            }
            let ended = victim.join();
            canary.join().expect("made runnable");
            assert_eq!(ended.is_ok(), by == By::Return, "{name} by {by:?}");
            if by != By::Return {
                // What returns may wait: for the end of a transaction, for instance.
                assert_eq!(
                    quiet.load(Ordering::SeqCst),
                    1,
                    "{name} by {by:?}: something gave way while it was dropped"
                );
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    contenders.into_iter().for_each(|contender| contender.join().expect("no panic"));
    test.finish();

    // Case 12, in the same process as it wants one worker too.
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let deaf = proxy.deaf();
    let pool = test.pool.clone();
    let victim = maypole::spawn(move || {
        let db = Database::from(pool);
        db.transaction(|q| {
            let large = "x".repeat(64 << 20);
            q.query("SELECT length($1::text)", (&large,)).value::<i32>()
        })
    });
    // Half of what it has to say can't leave: nobody reads, and the system's buffers hold less.
    eventually("it is lent", || test.pool.stats().lent == 1);
    let start = Instant::now();
    cancel(&victim);
    let ended = catch_unwind(AssertUnwindSafe(|| victim.join()));
    assert!(ended.is_ok_and(|ended| ended.is_err()), "cancelled");
    assert!(start.elapsed() < Duration::from_secs(2), "at once: {:?}", start.elapsed());
    deaf.release();
    test.finish();
}
