//! An idle connection is asked for a sign of life, one that gives none is lent to nobody, and one that is used is left alone
//! (requirement 15 of the pool).

use std::time::{Duration, Instant};

use maypole::{Database, spawn};

use crate::support::eventually::eventually;
use crate::support::frame::is_real_tag;
use crate::support::pool::TestPool;
use crate::support::proxy::{Frontend, Proxy};
use crate::support::rest::rest;
use crate::support::server::server;

/// What a busy machine may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the client has said on this connection since it was this many messages long.
fn said(proxy: &Proxy, connection: usize, from: usize) -> Vec<char> {
    let seen = proxy.connection(connection).seen();
    let said = seen.iter().filter(|event| event.direction == Frontend && is_real_tag(event.tag));
    said.skip(from).map(|event| char::from(event.tag)).collect()
}

#[test]
fn an_idle_connection_is_asked_with_bare_syncs_and_stays() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| {
        builder.limit(2).ping_after_idle(Duration::from_millis(100)).ping_timeout(PATIENCE)
    });
    test.pool.warm(2, PATIENCE).expect("warm");
    let before = [said(&proxy, 1, 0).len(), said(&proxy, 2, 0).len()];
    for (connection, before) in [1, 2].into_iter().zip(before) {
        eventually("each is asked more than once", || said(&proxy, connection, before).len() >= 3);
        assert!(said(&proxy, connection, before).iter().all(|tag| *tag == 'S'), "nothing is executed");
    }
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (2, 0), "{stats:?}");
    assert_eq!(test.db.query("SELECT 15", ()).value::<i32>().expect("an answer"), 15);
    test.finish();
}

/// Nobody waits for it but whoever can have no other.
#[test]
fn a_connection_that_gives_no_sign_of_life_is_lent_to_nobody_and_leaves_at_the_limit() {
    const LIMIT: Duration = Duration::from_millis(500);
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| {
        builder
            .limit(1)
            .ping_after_idle(Duration::from_millis(100))
            .ping_timeout(LIMIT)
            .acquire_timeout(PATIENCE)
    });
    let old = test.pool.connection().expect("lent").process_id();
    let deaf = proxy.connection(1).deaf();
    deaf.wait_hits(1);
    let start = Instant::now();
    let lease = test.pool.connection().expect("another is opened in its place");
    assert_ne!(lease.process_id(), old, "the deaf one was lent");
    println!("the next was lent {:?} after the question, of {LIMIT:?}", start.elapsed());
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed, stats.closes.broken), (2, 1, 1), "{stats:?}");
    assert_eq!(lease.query("SELECT 15", ()).value::<i32>().expect("an answer"), 15);
    drop(lease);
    deaf.release();
    test.finish();
}

#[test]
fn who_borrows_while_a_connection_is_asked_gets_another_if_there_may_be_one() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| {
        builder
            .limit(2)
            .ping_after_idle(Duration::from_millis(100))
            .ping_timeout(Duration::from_secs(600))
            .acquire_timeout(PATIENCE)
    });
    let old = test.pool.connection().expect("lent").process_id();
    let deaf = proxy.connection(1).deaf();
    deaf.wait_hits(1);
    let lease = test.pool.connection().expect("lent, long before the limit of the other");
    assert_ne!(lease.process_id(), old, "the deaf one was lent");
    // Requests that borrow for themselves find the way too.
    drop(lease);
    let process: i32 = test.db.query("SELECT pg_backend_pid()", ()).value().expect("an answer");
    assert_ne!(process, old);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (2, 0));
    deaf.release();
    // It was only slow.
    eventually("it is back", || {
        let leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
        leases.iter().any(|lease| lease.process_id() == old)
    });
    assert_eq!(test.pool.stats().closed, 0);
    test.finish();
}

/// The one that is used all the time, and the one that is lent all the time and not used.
#[test]
fn a_pool_that_is_busy_asks_nobody() {
    const IDLE: Duration = Duration::from_secs(1);
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| builder.limit(2).ping_after_idle(IDLE));
    let held = test.pool.connection().expect("lent");
    let before = said(&proxy, 1, 0).len();
    let db = Database::from(test.pool.clone());
    let (sent, busy) = spawn(move || {
        // Scripts are simple queries: every Sync is a ping.
        let (mut last, mut sent) = (Instant::now(), 0_usize);
        let start = last;
        let mut longest = Duration::ZERO;
        while start.elapsed() < IDLE * 2 {
            db.script("SELECT 1").expect("an answer");
            sent += 1;
            rest(Duration::from_millis(10));
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        (sent, longest < IDLE)
    })
    .join()
    .expect("no panic");
    let said_meanwhile = said(&proxy, 2, 0);
    let asked = said_meanwhile.iter().filter(|tag| **tag == 'S').count();
    let queries = said_meanwhile.iter().filter(|tag| **tag == 'Q').count();
    assert_eq!(queries, sent, "{sent} scripts on one connection");
    // A machine that stopped us for that long has made it idle.
    assert!(asked == 0 || !busy, "{asked} pings among {sent} scripts");
    assert_eq!(said(&proxy, 1, before), [] as [char; 0], "a lease that is not used is its holder's");
    drop(held);
    test.finish();
}
