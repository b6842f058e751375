//! `after_connect`: what it does to a connection before anybody gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maypole::{Connection, Pool, Result};

use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::{TestPool, prepare};
use crate::support::proxy::{Direction::Backend, Proxy, nth};
use crate::support::raw::{Raw, echo};
use crate::support::server::server;
use crate::support::watchdog::watchdog;

const SLACK: Duration = Duration::from_secs(3);

/// A pool whose hook is this, and how often it ran.
fn hooked(
    limit: usize,
    hook: impl Fn(usize, &Connection) -> Result<()> + Send + Sync + 'static,
) -> (TestPool, Arc<AtomicUsize>) {
    hooked_at(&server().url(), limit, hook)
}

fn hooked_at(
    url: &str,
    limit: usize,
    hook: impl Fn(usize, &Connection) -> Result<()> + Send + Sync + 'static,
) -> (TestPool, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let test = TestPool::built(url, |builder| {
        builder
            .limit(limit)
            .acquire_timeout(Duration::from_secs(20))
            .after_connect(move |connection| hook(count.fetch_add(1, Ordering::SeqCst) + 1, connection))
    });
    (test, runs)
}

#[test]
fn the_hook_runs_once_for_each_connection_before_it_is_lent() {
    let (test, runs) = hooked(3, |_, connection| connection.script("SET statement_timeout = 12345"));
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    for lease in &leases {
        let set = lease.query("SHOW statement_timeout", ()).value::<String>().expect("an answer");
        assert_eq!(set, "12345ms");
    }
    drop(leases);
    test.finish();
    assert_eq!(runs.load(Ordering::SeqCst), 3, "once each, however often it is lent");
}

/// The hook may do all that one can do with a connection.
#[test]
fn the_hook_may_query_stream_prepare_and_run_transactions() {
    let (test, _) = hooked(2, |_, connection| {
        connection.query("SELECT $1::int", (1,)).value::<i32>()?;
        connection.transaction(|q| q.query("SELECT 1", ()).rows::<maypole::Row>())?;
        // Its Sync is still on the way when the hook returns.
        let first = connection.query("SELECT i FROM generate_series(1, 10000) i", ()).iter::<i32>().next();
        assert_eq!(first.expect("a row")?, 1);
        Ok(())
    });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    test.finish();
}

#[test]
fn a_hook_that_fails_once_is_tried_again_with_another_connection() {
    let (test, runs) =
        hooked(
            1,
            |run, connection| {
                if run <= 2 { connection.script("SELECT 1 / 0") } else { connection.script("SELECT 1") }
            },
        );
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("in the end"), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    test.finish();
}

#[test]
fn a_hook_that_always_fails_is_the_cause_that_callers_hear() {
    let (test, runs) = hooked(2, |_, connection| connection.script("SELECT 1 / 0"));
    let start = Instant::now();
    let error = test.pool.connection().expect_err("the hook fails");
    assert!(start.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", start.elapsed());
    assert_eq!(error.sqlstate(), Some("22012"), "{error:?}");
    assert!(error.to_string().contains("after_connect failed"), "{error}");
    assert!(runs.load(Ordering::SeqCst) >= 2);
    eventually("the sessions have gone", || test.sessions("") == 0);
    test.settled();
}

#[test]
fn a_hook_that_panics_is_a_failure_and_nothing_is_lost() {
    let (test, runs) = hooked(2, |run, connection| {
        if run <= 3 {
            connection.script("BEGIN")?;
            panic!("the hook panics, on purpose");
        }
        Ok(())
    });
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let db = maypole::Database::from(test.pool.clone());
            maypole::spawn(move || {
                let answer = db.query("SELECT $1::int", (number,)).value::<i32>().expect("in the end");
                assert_eq!(answer, number);
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    assert!(runs.load(Ordering::SeqCst) > 3);
    test.finish();
}

#[test]
fn a_hook_that_leaves_a_transaction_open_is_refused() {
    let (test, runs) =
        hooked(1, |run, connection| if run == 1 { connection.script("BEGIN") } else { Ok(()) });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("the second"), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    test.finish();
    let (test, _) = hooked(1, |_, connection| connection.script("BEGIN"));
    assert!(test.why_not().contains("left the connection in a transaction"));
    test.settled();
}

/// Also one that failed, and that the hook makes nothing of.
#[test]
fn a_hook_that_ignores_a_failed_transaction_is_refused() {
    let (test, _) = hooked(1, |_, connection| {
        connection.script("BEGIN")?;
        let _ = connection.query("SELECT 1 / 0", ()).rows::<maypole::Row>();
        Ok(())
    });
    assert!(test.why_not().contains("left the connection in a transaction"));
    test.settled();
}

#[test]
fn a_connection_lost_in_the_hook_is_replaced() {
    let proxy = Proxy::start(&server().tcp_url());
    let cut = proxy.on(Backend, b'Z', nth(2)).cut_before();
    let (test, runs) = hooked_at(&proxy.url(), 1, |_, connection| {
        // What it does about the error is its own affair.
        let _ = connection.query("SELECT 1", ()).rows::<maypole::Row>();
        Ok(())
    });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("the second"), 1);
    assert_eq!((cut.hits(), runs.load(Ordering::SeqCst)), (1, 2));
    test.finish();
}

/// The query timeout holds in the hook too, so a server that falls silent there does not hold the slot for ever.
#[test]
fn a_hook_whose_query_is_never_answered_ends_at_the_query_limit() {
    let silent = Raw::start(|mut peer| {
        peer.enter();
        if peer.number == 1 {
            while peer.receive().is_some() {}
        } else {
            peer.serve(echo, |_| true);
        }
    });
    let test = TestPool::built(&silent.url(), |builder| {
        builder
            .limit(1)
            .query_timeout(Duration::from_millis(100))
            .acquire_timeout(Duration::from_secs(20))
            .after_connect(|connection| connection.query("SELECT $1", (1_i64,)).value::<i64>().map(drop))
    });
    assert_eq!(test.db.query("SELECT $1", (2_i64,)).timeout(SLACK).value::<i64>().expect("the second"), 2);
    test.settled();
}

#[test]
fn closing_the_pool_while_a_hook_runs_closes_its_connection() {
    let (test, runs) = hooked(1, |_, connection| connection.script("SELECT pg_sleep(0.3)"));
    let pool = test.pool.clone();
    let waiter = maypole::spawn(move || pool.connection().map(drop));
    eventually("the hook runs", || runs.load(Ordering::SeqCst) == 1);
    test.pool.start_closing();
    assert!(waiter.join().expect("no panic").expect_err("closed").is_pool());
    eventually("nothing is left", || test.pool.is_drained() && test.sessions("") == 0);
}

#[test]
fn a_pool_that_is_dropped_while_a_hook_runs_leaves_no_session() {
    // Not a pool of the kit, whose watchdog keeps a handle.
    let _watchdog = watchdog(Duration::from_secs(60));
    prepare();
    let proxy = Proxy::start(&server().tcp_url());
    let (runs, may_end) = (Arc::new(AtomicUsize::new(0)), Flag::new());
    let (count, wait) = (runs.clone(), may_end.clone());
    let hook = move |connection: &Connection| {
        count.fetch_add(1, Ordering::SeqCst);
        while !wait.wait(Duration::ZERO) {
            connection.script("SELECT pg_sleep(0.01)")?;
        }
        Ok(())
    };
    let builder = Pool::builder().url(&proxy.url()).expect("a good URL").limit(1);
    let pool = builder.after_connect(hook).build().expect("a pool");
    assert!(pool.connection_within(Duration::ZERO).is_err(), "it only asks for one to be opened");
    eventually("the hook runs", || runs.load(Ordering::SeqCst) == 1);
    drop(pool);
    may_end.raise();
    eventually("the session has gone", || proxy.accepted() == 1 && proxy.open() == 0);
}
