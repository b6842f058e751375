//! Connections that are slow to come, and a server that falls silent (reliability cases 24 and 26).

use std::time::{Duration, Instant};

use maypole::{Phase, spawn};

use crate::support::eventually::{eventually, eventually_within};
use crate::support::frame::STARTUP;
use crate::support::pool::TestPool;
use crate::support::proxy::{Frontend, Proxy, every};
use crate::support::server::server;

/// What a busy machine may add to a limit.
const SLACK: Duration = Duration::from_secs(3);

/// How many connections a pool opens at the same time, by default.
const OPENING: usize = 2;

/// Case 24: a caller whose limit is shorter than connecting takes errs on time, and what it caused to be opened comes
/// into the pool for the next; callers that come and go cause no more opens than there may be at once.
#[test]
fn connections_that_come_after_their_callers_have_gone_are_kept_and_there_is_no_storm_of_them() {
    const LIMIT: Duration = Duration::from_millis(20);
    for crowd in [1, 40] {
        let proxy = Proxy::start(&server().url());
        let held = proxy.on(Frontend, STARTUP, every()).hold();
        let test = TestPool::at(&proxy.url(), 10);
        for _ in 0..10 {
            let callers: Vec<_> = (0..crowd)
                .map(|_| {
                    let pool = test.pool.clone();
                    spawn(move || {
                        let start = Instant::now();
                        let error = pool.connection_within(LIMIT).expect_err("nothing is open yet");
                        (start.elapsed(), error)
                    })
                })
                .collect();
            for caller in callers {
                let (took, error) = caller.join().expect("no panic");
                assert!(error.is_timeout() && error.phase() == Some(Phase::Queue), "{error:?}");
                assert!(LIMIT <= took && took < LIMIT + SLACK, "{took:?}");
            }
        }
        let most = crowd.min(OPENING);
        let accepted = proxy.accepted();
        assert!((1..=most).contains(&accepted), "{accepted} attempts for {crowd} callers at once");
        held.release();
        eventually("what was opened is in the pool", || test.pool.stats().idle == accepted);
        let stats = test.pool.stats();
        let opened = u64::try_from(accepted).expect("small");
        assert_eq!((stats.opened, stats.closed, stats.opening), (opened, 0, 0), "{stats:?}");
        let lease = test.pool.connection_within(Duration::ZERO).expect("it is there, without a wait");
        assert_eq!(lease.query("SELECT 24", ()).value::<i32>().expect("an answer"), 24);
        drop(lease);
        assert_eq!(proxy.accepted(), accepted, "nobody else is opened for those who left");
        test.finish();
    }
}

/// Case 24: who waits for a connection that is slow to come gets one that somebody gives back meanwhile.
#[test]
fn a_caller_does_not_wait_for_the_connection_that_it_has_caused_to_be_opened() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 2);
    let lease = test.pool.connection().expect("lent");
    let held = proxy.on(Frontend, STARTUP, every()).hold();
    let pool = test.pool.clone();
    let waiting = spawn(move || pool.connection_within(None).map(|lease| lease.process_id()));
    held.wait_hits(1);
    let process = lease.process_id();
    drop(lease);
    assert_eq!(waiting.join().expect("no panic").expect("lent"), process);
    held.release();
    eventually("the other has come as well", || test.pool.stats().idle == 2);
    test.finish();
}

/// Case 26: with all leases out the network falls silent; they are dropped in whatever state they are, and their slots
/// are free again within the limit of the clean-up.
#[test]
fn a_server_that_falls_silent_costs_no_slot() {
    const CLEAN_UP: Duration = Duration::from_secs(2);
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::built(&proxy.url(), |builder| {
        builder.limit(6).clean_up_timeout(CLEAN_UP).acquire_timeout(Duration::from_secs(30))
    });
    let leases: Vec<_> = (0..6).map(|_| test.pool.connection().expect("lent")).collect();
    for lease in &leases {
        lease.query("SELECT generate_series(1, 100)", ()).flat::<i32>().expect("warm");
    }
    leases[0].script("BEGIN").expect("begun");
    let mut stream = leases[1].query("SELECT generate_series(1, 100)", ()).chunk(10).iter::<i32>();
    stream.next().expect("a row").expect("a row");
    let deaf = proxy.deaf();
    drop(stream);
    for lease in &leases[2..4] {
        let query = lease.query("SELECT generate_series(1, 100)", ()).timeout(Duration::from_millis(20));
        assert!(query.flat::<i32>().expect_err("silence").is_timeout());
    }
    leases[4]
        .transaction(|q| q.query("SELECT 1", ()).timeout(Duration::from_millis(20)).value::<i32>())
        .expect_err("silence");
    // The last is clean as far as anybody can tell.
    let start = Instant::now();
    drop(leases);
    assert!(start.elapsed() < SLACK, "giving back waits for nobody: {:?}", start.elapsed());
    let books = || {
        let stats = test.pool.stats();
        (stats.lent, stats.cleaning, stats.idle, stats.free)
    };
    eventually_within(CLEAN_UP + SLACK, "the slots are back", || books() == (0, 0, 1, 5));
    println!("five of six slots were free {:?} after their leases were dropped", start.elapsed());
    // Nobody can be served meanwhile, and whoever asks hears so in time.
    let error = test
        .pool
        .connection_within(Duration::from_millis(20))
        .and_then(|lease| lease.query("SELECT 1", ()).timeout(Duration::from_millis(20)).value::<i32>());
    assert!(error.expect_err("silence").is_timeout());
    deaf.release();
    test.finish();
}
