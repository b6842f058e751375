//! A connection whose other end is out of reach, without a word to either side, is found by the system: by its keepalive
//! probes while it is idle, by its user timeout while it owes an acknowledgement (reliability case 37).

use std::time::{Duration, Instant};

use maypole::{Config, Outcome};

use crate::support::eventually::{eventually, eventually_within};
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::Proxy;
use crate::support::server::server;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

/// A pool behind a proxy, with its connections open and idle.
fn pool_of(proxy: &Proxy, connections: usize, configure: fn(Config) -> Config) -> TestPool {
    let test = TestPool::configured(&proxy.url(), configure, |builder| {
        builder.limit(connections).ping_after_idle(None).acquire_timeout(Duration::from_secs(30))
    });
    let leases: Vec<_> = (0..connections).map(|_| test.pool.connection().expect("lent")).collect();
    drop(leases);
    eventually("all are idle", || test.pool.stats().idle == connections);
    test
}

/// Case 37: one second of silence, then two probes a second apart, make three seconds.
#[test]
fn an_idle_connection_that_the_network_has_forgotten_leaves_the_pool_before_anybody_borrows_it() {
    let proxy = Proxy::start(&server().tcp_url());
    let second = Duration::from_secs(1);
    let test = pool_of(&proxy, 3, |config| {
        let second = Duration::from_secs(1);
        // The user timeout would take the place of the count.
        config.tcp_user_timeout(None).keepalives_idle(second).keepalives_interval(second).keepalives_count(2)
    });
    proxy.connection(1).forgotten_by_the_network();
    proxy.connection(2).forgotten_by_the_network();
    let start = Instant::now();
    eventually_within(3 * second + SLACK, "the two have left", || test.pool.stats().closed == 2);
    println!("two idle connections were found lost after {:?}", start.elapsed());
    assert!(start.elapsed() > second, "a single silent second is no loss");
    let stats = test.pool.stats();
    assert_eq!(
        (stats.idle, stats.lends),
        (1, 3),
        "the third is well, and nobody has borrowed one: {stats:?}"
    );
    // Nobody who comes now sees an error.
    let pool = test.pool.clone();
    in_coroutine(move || {
        let leases: Vec<_> = (0..3).map(|_| pool.connection().expect("lent")).collect();
        for (at, lease) in leases.iter().enumerate() {
            let at = i64::try_from(at).expect("small");
            assert_eq!(lease.query("SELECT $1::bigint", (at,)).value::<i64>().expect("an answer"), at);
        }
    });
    proxy.connection(1).cut();
    proxy.connection(2).cut();
    test.finish();
}

/// Case 37: what was sent and is not acknowledged within the user timeout ends the connection, and its asker hears of it,
/// although no time limit of its own has passed.
#[test]
fn a_request_that_the_network_swallows_is_an_error_within_the_user_timeout() {
    let proxy = Proxy::start(&server().tcp_url());
    let limit = Duration::from_secs(1);
    let test = pool_of(&proxy, 1, |config| config.keepalives(false).tcp_user_timeout(Duration::from_secs(1)));
    proxy.connection(1).forgotten_by_the_network();
    let db = maypole::Database::from(test.pool.clone());
    in_coroutine(move || {
        let lease = db.pool().expect("a pool").connection().expect("it looks well");
        let start = Instant::now();
        let error = lease.query("SELECT 1", ()).timeout(None).value::<i32>().expect_err("swallowed");
        println!("a request that was not acknowledged was given up after {:?}", start.elapsed());
        assert!(start.elapsed() >= limit / 2 && start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
        assert!(error.is_closed() && error.outcome() == Outcome::Unknown, "{error:?}");
    });
    eventually("it has left the pool", || test.pool.stats().free == 1);
    assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("an answer of another session"), 2);
    proxy.connection(1).cut();
    test.finish();
}
