//! A wait ends when its limit says, whatever the limit (reliability case 23).

use std::time::{Duration, Instant};

use maypole::{Config, Error, Outcome, Phase};

use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::raw::Raw;
use crate::support::server::server;

const SHORT: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_micros(1),
    Duration::from_micros(900),
    Duration::from_millis(1),
    Duration::from_millis(30),
];
const LONG: [Option<Duration>; 3] = [Some(Duration::MAX), Some(Duration::from_secs(u64::MAX)), None];

/// What a busy machine may add to a limit. A wait that has no end runs into the watchdog.
const SLACK: Duration = Duration::from_secs(3);

fn assert_in_time(limit: Duration, start: Instant, error: &Error, phase: Phase) {
    let took = start.elapsed();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.phase(), Some(phase), "{error:?}");
    assert!(took >= limit, "a limit of {limit:?} was over after {took:?}");
    assert!(took < limit + SLACK, "a limit of {limit:?} took {took:?}");
}

/// Case 23.
#[test]
fn acquiring_with_a_short_limit_ends_when_it_says() {
    let test = TestPool::new(1);
    let lent = test.pool.connection().expect("lent");
    for limit in SHORT {
        let pool = test.pool.clone();
        let attempt = move || {
            let start = Instant::now();
            let error = pool.connection_within(limit).expect_err("it is lent");
            assert_in_time(limit, start, &error, Phase::Queue);
            assert_eq!(error.outcome(), Outcome::NotSent);
        };
        attempt.clone()();
        in_coroutine(attempt);
    }
    assert_eq!(test.pool.stats().waiting, 0);
    drop(lent);
    test.finish();
}

/// Case 23.
#[test]
fn acquiring_with_a_long_limit_or_none_waits_for_the_connection() {
    let test = TestPool::new(1);
    for limit in LONG {
        let lent = test.pool.connection().expect("lent");
        let answer = move |pool: maypole::Pool| {
            let lease = pool.connection_within(limit).expect("lent in the end");
            lease.query("SELECT 1", ()).value::<i32>().expect("an answer")
        };
        let pool = test.pool.clone();
        let coroutine = maypole::spawn(move || answer(pool));
        let pool = test.pool.clone();
        let thread = std::thread::spawn(move || answer(pool));
        eventually("both wait", || test.pool.stats().waiting == 2);
        drop(lent);
        assert_eq!(coroutine.join().expect("no panic"), 1);
        assert_eq!(thread.join().expect("no panic"), 1);
    }
    test.finish();
}

/// Case 23.
#[test]
fn the_acquire_timeout_of_a_pool_may_be_anything() {
    for limit in SHORT {
        let test = TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit));
        // Nothing is open yet: a connection that is wanted comes, even if nobody has waited for it.
        let _ = test.pool.connection();
        eventually("the connection is open", || test.pool.stats().idle == 1);
        let lent = test.pool.connection().expect("an idle connection costs no wait");
        let db = &test.db;
        let start = Instant::now();
        let error = db.query("SELECT 1", ()).value::<i32>().expect_err("it is lent");
        assert_in_time(limit, start, &error, Phase::Queue);
        drop(lent);
        test.ledger();
    }
    for limit in LONG {
        let test = TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit));
        assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        test.finish();
    }
}

/// Case 23: a crowd of tiny limits, and the one behind them who has time.
#[test]
fn a_crowd_of_tiny_limits_leaves_an_empty_queue() {
    let test = TestPool::new(1);
    let lent = test.pool.connection().expect("lent");
    let crowd: Vec<_> = (0..400_u64)
        .map(|at| {
            let pool = test.pool.clone();
            maypole::spawn(move || {
                let limit = Duration::from_micros(at * 7);
                pool.connection_within(limit).map(drop).expect_err("it is lent").is_timeout()
            })
        })
        .collect();
    let pool = test.pool.clone();
    let patient = maypole::spawn(move || {
        let lease = pool.connection_within(None).expect("lent");
        lease.query("SELECT 5", ()).value::<i32>().expect("an answer")
    });
    for one in crowd {
        assert!(one.join().expect("no panic"));
    }
    eventually("only the patient one waits", || test.pool.stats().waiting == 1);
    drop(lent);
    assert_eq!(patient.join().expect("no panic"), 5);
    assert_eq!(test.pool.stats().lends, 2);
    test.finish();
}

/// Case 23, for queries.
#[test]
fn a_query_ends_when_its_limit_says() {
    let test = TestPool::new(1);
    let ask = |db: &maypole::Database, limit: Duration| {
        let start = Instant::now();
        let error = db.query("SELECT pg_sleep(30)", ()).timeout(limit).run().expect_err("it sleeps");
        assert_in_time(limit, start, &error, Phase::Query);
        assert!(error.to_string().contains(&format!("({limit:?})")), "which limit it was: {error}");
    };
    for limit in SHORT {
        ask(&test.db, limit);
        // If the session sleeps, the clean-up has to give it up.
        let db = maypole::Database::from(test.pool.clone());
        test.settled();
        in_coroutine(move || ask(&db, limit));
        test.settled();
    }
    for limit in LONG {
        let answer = test.db.query("SELECT 3 FROM pg_sleep(0.01)", ()).timeout(limit).value::<i32>();
        assert_eq!(answer.expect("an answer"), 3);
    }
    // What was left of the sleeping sessions would disturb the count of the ledger.
    let mut client = Client::connect(&server().url()).expect("the server answers");
    let name = &test.name;
    let wake = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' AND state = 'active'"
    );
    client.query(&wake).expect("the server answers");
    test.finish();
}

/// Case 23, for connecting.
#[test]
fn connecting_ends_when_its_limit_says() {
    let silent = Raw::start(|mut peer| while peer.receive().is_some() {});
    for limit in SHORT {
        let config: Config = silent.url().parse().expect("a good URL");
        let test =
            TestPool::built(&silent.url(), |builder| builder.config(config.connect_timeout(limit)).limit(1));
        let start = Instant::now();
        let chain = test.why_not();
        assert!(start.elapsed() < SLACK, "{limit:?} took {:?}", start.elapsed());
        assert!(chain.contains("timed out opening a connection"), "the cause of the last attempt: {chain}");
        test.pool.start_closing();
        eventually("nothing is left", || test.pool.is_drained());
    }
    for limit in LONG {
        let config: Config = server().url().parse().expect("a good URL");
        let test = TestPool::built(&server().url(), |builder| {
            builder.config(config.connect_timeout(limit)).limit(1)
        });
        assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    }
}
