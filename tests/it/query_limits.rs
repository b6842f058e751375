//! Time limits of queries: they name their stage, and cost nobody but their asker anything.

use std::time::{Duration, Instant};

use maypole::{Outcome, Phase, Result};

use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Backend, Frontend, Proxy, Rule, nth};
use crate::support::server::server;

const SHORT: Duration = Duration::from_millis(100);
const HUNDRED: &str = "SELECT generate_series(1, 100)";

#[test]
fn a_query_that_is_not_answered_in_time_says_so_and_the_next_borrower_gets_its_own_answer() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    let places: [(&str, &dyn Fn() -> Rule); 4] = [
        ("the request", &|| proxy.on(Frontend, b'B', nth(1)).hold()),
        ("the rows", &|| proxy.on(Backend, b'D', nth(1)).hold()),
        ("half a row", &|| proxy.on(Backend, b'D', nth(1)).hold_after_bytes(8)),
        ("the end", &|| proxy.on(Backend, b'Z', nth(1)).hold()),
    ];
    for (place, hold) in places {
        let held = hold();
        let start = Instant::now();
        let error = test.db.query("SELECT 1", ()).timeout(SHORT).value::<i32>().expect_err(place);
        assert!(start.elapsed() >= SHORT, "not before its time: {place}");
        assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::Unknown), "{error:?}");
        assert!(error.is_timeout() && !error.is_retryable());
        assert!(error.to_string().contains("100ms"), "{error}");
        held.release();
        assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("an answer"), 2, "{place}");
    }
    assert_eq!(test.pool.stats().opened, 1, "late replies were read to their end");
    test.finish();
}

/// The pool's own limit, for every kind of request.
#[test]
fn the_limit_of_the_pool_counts_for_everything_that_has_none_of_its_own() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1).query_timeout(SHORT));
    let slow = "SELECT pg_sleep(0.3)::text";
    let late = |error: maypole::Error| {
        assert_eq!(error.phase(), Some(Phase::Query), "{error:?}");
        assert!(error.to_string().contains("100ms"), "{error}");
    };
    late(test.db.query(slow, ()).value::<String>().expect_err("late"));
    late(test.db.script(slow).expect_err("late"));
    late(test.db.query(slow, ()).iter::<String>().next().expect("an item").expect_err("late"));
    late(test.db.transaction(|q| q.query(slow, ()).value::<String>()).expect_err("late"));
    late(test.db.transaction(|q| q.script(slow)).expect_err("late"));
    assert_eq!(test.db.query(slow, ()).timeout(None).value::<String>().expect("in its own time"), "");
    test.finish();
}

/// A lease whose query timed out goes on: its next answers come behind the late one.
#[test]
fn a_lease_goes_on_after_a_time_limit_and_gets_its_own_answers() {
    let test = TestPool::new(1);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        lease
            .query("SELECT 1, pg_sleep(0.3)::text", ())
            .timeout(SHORT)
            .rows::<maypole::Row>()
            .expect_err("late");
        assert_eq!(lease.query("SELECT 2", ()).value::<i32>().expect("an answer"), 2);
        lease
            .query("SELECT 3, pg_sleep(0.3)::text", ())
            .timeout(SHORT)
            .rows::<maypole::Row>()
            .expect_err("late");
        assert_eq!(lease.transaction(|q| q.query("SELECT 4", ()).value::<i32>()).expect("an answer"), 4);
        lease
            .query("SELECT 5, pg_sleep(0.3)::text", ())
            .timeout(SHORT)
            .rows::<maypole::Row>()
            .expect_err("late");
        let rows: Result<Vec<i32>> =
            lease.query("SELECT generate_series(1, 5)", ()).chunk(2).iter().collect();
        assert_eq!(rows.expect("rows"), [1, 2, 3, 4, 5]);
    });
    test.finish();
}

/// A clean-up that takes too long costs the connection, and the slot is free again.
#[test]
fn a_query_that_never_ends_costs_its_connection_and_not_its_slot() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    // The server stops it when told so, and nobody hears of that.
    let held = proxy.connection(1).on(Backend, ANY, nth(1)).hold();
    test.db.query("SELECT pg_sleep(60)::text", ()).timeout(SHORT).value::<String>().expect_err("late");
    assert_eq!(test.pool.stats().cleaning, 1);
    let lease = test.pool.connection_within(Duration::from_secs(20)).expect("a new connection");
    assert_eq!(lease.query("SELECT 2", ()).value::<i32>().expect("an answer"), 2);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (2, 1));
    drop(lease);
    held.release();
    test.finish();
}

/// The time limit counts for each chunk, not for what came before it.
#[test]
fn each_chunk_has_the_whole_time_limit() {
    const LIMIT: Duration = Duration::from_millis(2_500);
    // Two chunks take longer than the limit, one does not.
    const SLOW: &str =
        "SELECT n FROM generate_series(1, 2) n, LATERAL (SELECT pg_sleep(1.5 * least(n, 1))) s";
    let test = TestPool::new(2);
    let both = [false, true].map(|inside| {
        let db = maypole::Database::from(test.pool.clone());
        maypole::spawn(move || -> Result<Vec<i32>> {
            if inside {
                db.transaction(|q| q.query(SLOW, ()).chunk(1).timeout(LIMIT).iter::<i32>().collect())
            } else {
                db.query(SLOW, ()).chunk(1).timeout(LIMIT).iter::<i32>().collect()
            }
        })
    });
    for rows in both {
        assert_eq!(rows.join().expect("no panic").expect("no chunk took longer than the limit"), [1, 2]);
    }
    test.finish();
}

#[test]
fn a_chunk_that_does_not_come_in_time_is_the_last_item() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    let held = proxy.connection(1).on(Backend, b's', nth(3)).hold();
    let mut stream = test.db.query(HUNDRED, ()).chunk(10).timeout(Duration::from_millis(100)).iter::<i32>();
    let rows: Vec<_> = stream.by_ref().take_while(Result::is_ok).collect();
    assert_eq!(rows.len(), 20);
    assert!(stream.next().is_none(), "nothing comes after an error");
    drop(stream);
    let again = test.db.query(HUNDRED, ()).chunk(10).timeout(Duration::from_millis(100)).iter::<i32>();
    held.release();
    drop(again);
    test.finish();
}

#[test]
fn the_error_of_a_late_chunk_names_the_limit_that_was_set() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    let held = proxy.connection(1).on(Backend, b's', nth(2)).hold();
    let stream = test.db.query(HUNDRED, ()).chunk(10).timeout(Duration::from_millis(123)).iter::<i32>();
    let error = stream.filter_map(Result::err).last().expect("an error");
    held.release();
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::Unknown), "{error:?}");
    assert!(error.to_string().contains("123ms"), "{error}");
    test.finish();
}
