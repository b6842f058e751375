//! What whoever gets no connection is told: how full the pool is, and who holds what since when (requirements 6 and 7 of the
//! pool).

use std::time::{Duration, Instant};

use maypole::{Database, Error, Exhausted, HeldLease, Pool, TxOptions, spawn};

use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::frame::STARTUP;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Frontend, Proxy, every};
use crate::support::server::server;

/// What a busy machine may add to a limit.
const SLACK: Duration = Duration::from_secs(5);

const BRIEF: Duration = Duration::from_millis(30);

#[track_caller]
fn told(error: &Error) -> Exhausted {
    *error.exhausted().unwrap_or_else(|| panic!("it does not tell what the pool looked like: {error:?}"))
}

/// It names a line of this file, in the error's text too.
#[track_caller]
fn is_from_here(error: &Error, lease: Option<HeldLease>) -> u32 {
    let site = lease.and_then(|lease| lease.site).unwrap_or_else(|| panic!("no site: {error:?}"));
    assert!(site.file().ends_with("pool_exhaustion.rs"), "{site}");
    assert!(error.to_string().contains(&format!("pool_exhaustion.rs:{}", site.line())), "{error}");
    site.line()
}

/// Requirement 7.
#[test]
fn a_full_queue_is_an_error_at_once_of_its_own() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).max_waiting(2).acquire_timeout(Duration::from_secs(600))
    });
    let lease = test.pool.connection().expect("lent");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let pool = test.pool.clone();
            spawn(move || pool.connection().map(drop))
        })
        .collect();
    eventually("the queue is full", || test.pool.stats().waiting == 2);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let db = Database::from(pool.clone());
        let start = Instant::now();
        let errors = [
            pool.connection().map(drop).expect_err("a lease"),
            pool.connection_within(None).map(drop).expect_err("a lease without a limit"),
            db.query("SELECT 7", ()).value::<i32>().map(drop).expect_err("a query"),
            db.transaction(|q| q.query("SELECT 7", ()).value::<i32>()).map(drop).expect_err("a transaction"),
            db.query("SELECT 7", ()).iter::<i32>().next().expect("an item").map(drop).expect_err("a stream"),
            db.script("SELECT 7").expect_err("a script"),
        ];
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        for error in errors {
            assert!(error.is_pool() && !error.is_timeout(), "{error:?}");
            assert!(error.to_string().contains("queue is full (max_waiting)"), "{error}");
            let told = told(&error);
            assert_eq!((told.lent, told.limit, told.waiting), (1, 1, 2), "{told:?}");
            assert_eq!((told.waited, told.own_lease), (Duration::ZERO, None), "{told:?}");
            is_from_here(&error, told.oldest_lease);
        }
    });
    drop(lease);
    for waiter in waiting {
        waiter.join().expect("no panic").expect("served in turn");
    }
    test.finish();
}

/// Requirement 6: where the connections are.
#[test]
fn the_counts_of_a_timeout_are_those_of_the_pool() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 4);
    let lease = test.pool.connection().expect("lent");
    let held = proxy.on(Frontend, STARTUP, every()).hold();
    let pool = test.pool.clone();
    let waiting = spawn(move || pool.connection_within(None).map(drop));
    eventually("it waits", || test.pool.stats().waiting == 1);
    let start = Instant::now();
    let error = test.pool.connection_within(BRIEF).expect_err("nothing comes");
    let took = start.elapsed();
    let told = told(&error);
    assert_eq!((told.lent, told.idle, told.opening, told.cleaning, told.limit), (1, 0, 2, 0, 4), "{told:?}");
    assert_eq!((told.waiting, told.paused), (1, false), "the other: {told:?}");
    assert!(told.waited >= BRIEF && told.waited <= took, "{told:?} of {took:?}");
    let text = error.to_string();
    assert!(
        text.contains(
            "1 of 4 connections are lent, 0 idle, 2 being opened, 0 being cleaned; 1 other caller waits"
        ),
        "{text}"
    );
    held.release();
    waiting.join().expect("no panic").expect("lent");
    drop(lease);
    test.finish();
}

/// Requirement 6: why no more come.
#[test]
fn a_timeout_names_the_last_failure_to_connect() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 2);
    let lease = test.pool.connection().expect("lent");
    proxy.refuse();
    let why = test.why_not();
    assert!(why.contains("1 of 2 connections are lent") && why.contains("refused"), "{why}");
    proxy.welcome();
    drop(lease);
    test.finish();
}

/// Requirement 6: the age counts from the first look after it was taken, and grows.
#[test]
fn the_age_of_the_oldest_lease_grows() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(2).leak_warning(BRIEF));
    let oldest_at = line!() + 1;
    let oldest = test.pool.connection().expect("lent");
    let mut ages = Vec::new();
    let younger = test.pool.connection().expect("lent");
    eventually("it is old", || {
        let error = test.pool.connection_within(Duration::from_millis(1)).expect_err("all are lent");
        let lease = told(&error).oldest_lease;
        ages.push(lease.expect("a lease").age);
        ages[ages.len() - 1] > BRIEF * 5
    });
    assert!(ages.is_sorted(), "{ages:?}");
    drop(younger);
    let _again = test.pool.connection().expect("lent");
    let error = test.pool.connection_within(Duration::from_millis(1)).expect_err("all are lent");
    assert_eq!(is_from_here(&error, told(&error).oldest_lease), oldest_at);
    drop((oldest, _again));
    test.finish();
}

/// Who holds the only connection, and how.
type Holder = (&'static str, fn(&Pool, &dyn Fn()));

/// Each calls the function while it holds the connection, which it has not used yet where that can be.
const HOLDERS: [Holder; 6] = [
    ("a lease", |pool, meanwhile| {
        let _lease = pool.connection().expect("lent");
        meanwhile();
    }),
    ("a lease within a limit", |pool, meanwhile| {
        let _lease = pool.connection_within(SLACK).expect("lent");
        meanwhile();
    }),
    ("a transaction", |pool, meanwhile| {
        let hold = Database::from(pool.clone()).transaction(|_| {
            meanwhile();
            Ok(())
        });
        hold.expect("committed");
    }),
    ("a transaction with options", |pool, meanwhile| {
        let hold = Database::from(pool.clone()).transaction_with(&TxOptions::new().read_only(), |_| {
            meanwhile();
            Ok::<_, Error>(())
        });
        hold.expect("committed");
    }),
    ("a transaction that is rolled back", |pool, meanwhile| {
        let hold = Database::from(pool.clone()).rolled_back(|_| {
            meanwhile();
            Ok(())
        });
        hold.expect("rolled back");
    }),
    ("a stream", |pool, meanwhile| {
        let db = Database::from(pool.clone());
        let mut stream = db.query("SELECT generate_series(1, 1000)", ()).chunk(10).iter::<i32>();
        stream.next().expect("a row").expect("a row");
        meanwhile();
    }),
];

/// Requirement 6: the place in the program where the oldest lease was taken, whatever took it.
#[test]
fn the_oldest_lease_is_told_with_the_place_where_it_was_taken() {
    let test = TestPool::new(1);
    for (holder, hold) in HOLDERS {
        let (holds, over) = (Flag::new(), Flag::new());
        let (pool, raise, wait) = (test.pool.clone(), holds.clone(), over.clone());
        let holding = std::thread::spawn(move || {
            hold(&pool, &|| {
                raise.raise();
                wait.wait(SLACK * 4);
            });
        });
        holds.wait(SLACK * 4);
        let error = test.pool.connection_within(Duration::from_millis(1)).expect_err("it is lent");
        println!("{holder}: {error}");
        let told = told(&error);
        assert_eq!(told.own_lease, None, "{holder}");
        is_from_here(&error, told.oldest_lease);
        over.raise();
        holding.join().expect("no panic");
    }
    test.finish();
}

/// Requirement 8: the same of the caller's own, which it could give back.
#[test]
fn the_callers_own_lease_is_told_with_the_place_where_it_was_taken() {
    let test = TestPool::new(1);
    for (holder, hold) in HOLDERS {
        let pool = test.pool.clone();
        in_coroutine(move || {
            hold(&pool, &|| {
                let error = pool.connection_within(Duration::from_millis(1)).expect_err("it is lent");
                println!("{holder}: {error}");
                let told = told(&error);
                let line = is_from_here(&error, told.own_lease);
                assert_eq!(line, is_from_here(&error, told.oldest_lease), "{holder}");
                assert!(error.to_string().contains("itself already holds a lease"), "{error}");
            });
        });
    }
    test.finish();
}

/// A query of its own has no lease that could be given back.
#[test]
fn a_query_of_its_own_is_told_as_what_it_is() {
    let test = TestPool::new(1);
    let mut client = test.client();
    client.query("SELECT pg_advisory_lock(6, 6)").expect("locked");
    let db = Database::from(test.pool.clone());
    test.db.script("CREATE FUNCTION wait_for_six() RETURNS text LANGUAGE SQL AS 'SELECT pg_advisory_xact_lock(6, 6)::text'").expect("made");
    let asking = spawn(move || db.query("SELECT wait_for_six()", ()).value::<String>());
    eventually("it waits", || test.sessions("AND wait_event_type = 'Lock'") == 1);
    let error = test.pool.connection_within(Duration::from_millis(1)).expect_err("it is lent");
    let told = told(&error);
    assert_eq!(told.oldest_lease.expect("a lease").site, None, "{told:?}");
    assert!(error.to_string().contains("by a query of its own"), "{error}");
    client.query("SELECT pg_advisory_unlock(6, 6)").expect("unlocked");
    assert_eq!(asking.join().expect("no panic").expect("an answer"), "");
    test.db.script("DROP FUNCTION wait_for_six()").expect("dropped");
    test.finish();
}
