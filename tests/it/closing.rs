//! The end of a pool: who waits hears of it, and the server hears a goodbye.

use std::time::{Duration, Instant};

use maypole::{Database, Error, Pool};

use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine, prepare};
use crate::support::proxy::{Direction::Backend, Direction::Frontend, Proxy, every, nth};
use crate::support::server::server;
use crate::support::watchdog::watchdog;

const SLACK: Duration = Duration::from_secs(5);

fn assert_closed(error: &Error) {
    assert!(error.is_pool() && error.to_string() == "the pool is closed", "{error:?}");
}

#[test]
fn closing_tells_those_who_wait_and_lets_those_who_have_finish() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 3);
    let mut leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let pool = test.pool.clone();
            maypole::spawn(move || pool.connection_within(None).map(drop).expect_err("closed"))
        })
        .collect();
    eventually("they wait", || test.pool.stats().waiting == 20);
    test.pool.start_closing();
    for waiter in waiters {
        assert_closed(&waiter.join().expect("no panic"));
    }
    assert_closed(&test.pool.connection().expect_err("closed"));
    assert!(!test.pool.is_drained());
    // Those who have one may go on, transactions included.
    for lease in &leases {
        assert_eq!(lease.query("SELECT 4", ()).value::<i32>().expect("lent is lent"), 4);
        lease.transaction(|q| q.query("SELECT 1", ()).rows::<maypole::Row>()).expect("committed");
    }
    // One comes back dirty.
    leases[0].script("BEGIN").expect("begun");
    leases.pop();
    leases.clear();
    eventually("the last is gone", || test.pool.is_drained() && test.sessions("") == 0);
    assert_eq!(proxy.all().count(Frontend, b'X'), 3, "each said goodbye");
    let stats = test.pool.stats();
    assert_eq!((stats.free, stats.closed), (3, 3), "{stats:?}");
}

#[test]
fn closing_says_goodbye_on_idle_connections() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 4);
    drop((0..4).map(|_| test.pool.connection().expect("lent")).collect::<Vec<_>>());
    eventually("all are idle", || test.pool.stats().idle == 4);
    test.pool.start_closing();
    test.pool.start_closing();
    proxy.wait_for(Frontend, b'X', 4, SLACK);
    eventually("the last is gone", || test.pool.is_drained() && test.sessions("") == 0);
}

#[test]
fn closing_while_connections_are_on_their_way_leaves_none_behind() {
    let proxy = Proxy::start(&server().tcp_url());
    let held = proxy.on(Backend, b'Z', every()).hold();
    let test = TestPool::at(&proxy.url(), 4);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let pool = test.pool.clone();
            maypole::spawn(move || pool.connection_within(None).map(drop).expect_err("closed"))
        })
        .collect();
    held.wait_hits(2);
    let start = Instant::now();
    test.pool.start_closing();
    for waiter in waiters {
        assert_closed(&waiter.join().expect("no panic"));
    }
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    held.release();
    eventually("nothing is left", || test.pool.is_drained() && test.sessions("") == 0);
}

/// A query under way when its pool is closed is not disturbed.
#[test]
fn a_query_under_way_is_answered_though_the_pool_is_closed() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 5", ()).rows::<maypole::Row>().expect("warm");
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let db = maypole::Database::from(test.pool.clone());
    let asked = maypole::spawn(move || db.query("SELECT 5", ()).value::<i32>());
    held.wait_hits(1);
    test.pool.start_closing();
    held.release();
    assert_eq!(asked.join().expect("no panic").expect("an answer"), 5);
    eventually("nothing is left", || test.pool.is_drained() && test.sessions("") == 0);
}

#[test]
fn dropping_the_last_handle_says_goodbye_on_every_connection() {
    for coroutine in [false, true] {
        let proxy = Proxy::start(&server().tcp_url());
        // Not a pool of the kit, whose watchdog keeps a handle.
        let _watchdog = watchdog(Duration::from_secs(60));
        prepare();
        let pool = Pool::builder().url(&proxy.url()).expect("a good URL").limit(3).build().expect("a pool");
        let db = Database::from(pool.clone());
        let lease = pool.connection().expect("lent");
        drop((0..2).map(|_| pool.connection().expect("lent")).collect::<Vec<_>>());
        eventually("two are idle", || pool.stats().idle == 2);
        if coroutine {
            in_coroutine(move || drop((pool, db)));
        } else {
            drop((pool, db));
        }
        // The lease keeps its pool.
        assert_eq!(lease.query("SELECT 6", ()).value::<i32>().expect("still lent"), 6);
        assert_eq!(proxy.all().count(Frontend, b'X'), 0);
        drop(lease);
        proxy.wait_for(Frontend, b'X', 3, SLACK);
        eventually("the server has seen them go", || proxy.open() == 0);
    }
}

/// A server that does not listen any more is not waited for.
#[test]
fn a_goodbye_that_nobody_hears_does_not_hold_up_the_end() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 2);
    drop((0..2).map(|_| test.pool.connection().expect("lent")).collect::<Vec<_>>());
    let deaf = proxy.deaf();
    let start = Instant::now();
    test.pool.start_closing();
    eventually("nothing is left", || test.pool.is_drained());
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    deaf.release();
    eventually("the sessions have gone", || test.sessions("") == 0);
}
