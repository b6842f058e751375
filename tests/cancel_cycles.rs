//! Cancels and reuse in turn, on pools of one: no cancel ever hits the next borrower, and what a cancel adds to the time
//! until the connection is lent again is about a round trip (requirement 21 of the pool, reliability case 9).
//!
//! A process of its own: its coroutines would keep the workers of may from those of other tests. `MAYPOLE_CANCEL_CYCLES` says
//! how many cycles there are.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use maypole::{CancelHandle, Connection, JoinHandle, Pool, spawn};

use support::frame::{CANCEL_REQUEST, END};
use support::pool::TestPool;
use support::proxy::{Backend, Frontend, Proxy, every};
use support::random::Random;
use support::rest::rest;
use support::server::server;

/// How many if nobody says: enough for a race in a hundred to be seen for sure.
const CYCLES: usize = 4_000;
const POOLS: usize = 8;
/// How long the test may take.
const LIMIT: Duration = Duration::from_secs(1_800);

/// What came of the cycles of one pool.
#[derive(Default)]
struct Seen {
    /// Statements that were stopped.
    stopped: usize,
    /// Statements that were faster than their cancel.
    faster: usize,
    /// Statements of a borrower behind them that were hit: there must be none.
    stray: Vec<String>,
    /// How long the next borrower waited for the connection of a statement that was stopped.
    holds: Vec<Duration>,
    /// How long a round trip takes.
    trips: Vec<Duration>,
}

/// Cancels until the statement is over, beginning about now.
fn stop(handle: CancelHandle, late: usize, over: Arc<AtomicBool>) -> JoinHandle<()> {
    spawn(move || {
        for _ in 0..late {
            may::coroutine::yield_now();
        }
        // An error says that the lease has ended.
        while handle.cancel().is_ok() && !over.load(Ordering::SeqCst) {
            rest(Duration::from_millis(1));
        }
    })
}

fn borrow(pool: &Pool) -> impl std::ops::Deref<Target = Connection> {
    pool.connection().expect("lent")
}

fn cycle(pool: &Pool, random: &mut Random, seen: &mut Seen) {
    let lease = borrow(pool);
    let over = Arc::new(AtomicBool::new(false));
    // One half is stopped for sure, the other ends by itself at about the same time.
    let endless = random.below(2) == 0;
    let seconds =
        if endless { 60.0 } else { f64::from(u32::try_from(random.below(2_000)).expect("small")) / 1e6 };
    let stopper = stop(lease.cancel_handle(), random.below(4), over.clone());
    let result = lease.query("SELECT pg_sleep($1)::text", (seconds,)).value::<String>();
    over.store(true, Ordering::SeqCst);
    let returned = Instant::now();
    drop(lease);
    let next = borrow(pool);
    let held = returned.elapsed();
    match result {
        Ok(_) => seen.faster += 1,
        Err(error) => {
            assert_eq!(error.sqlstate(), Some("57014"), "{error:?}");
            seen.stopped += 1;
            seen.holds.push(held);
        }
    }
    let constant = i32::try_from(random.below(1_000_000)).expect("small");
    let answer = next.query("SELECT $1::int, pg_sleep(0.0003)::text", (constant,)).unique::<(i32, String)>();
    if !answer.as_ref().is_ok_and(|(answer, _)| *answer == constant) {
        seen.stray.push(format!("{answer:?}, not {constant}"));
    }
    let asked = Instant::now();
    next.query("SELECT 1", ()).value::<i32>().expect("an answer");
    seen.trips.push(asked.elapsed());
    drop(next);
    stopper.join().expect("no panic");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What a fence adds, where the network and not a new process of the server takes the time: a round trip of 10 ms.
#[test]
fn a_cancel_adds_less_than_two_round_trips_until_the_connection_is_lent_again() {
    const ONE_WAY: Duration = Duration::from_millis(5);
    let url = server().url();
    let proxy = Proxy::start(&url);
    let test =
        TestPool::of_server(&url, &proxy.url(), LIMIT, |builder, config| builder.config(config).limit(1));
    let mut seen = Seen::default();
    let (pool, mut random) = (test.pool.clone(), Random::new());
    for (direction, tag) in [(Frontend, b'S'), (Frontend, CANCEL_REQUEST), (Backend, b'Z'), (Backend, END)] {
        let _at_work = proxy.on(direction, tag, every()).delay(ONE_WAY);
    }
    let mut seen = spawn(move || {
        while seen.stopped < 40 {
            cycle(&pool, &mut random, &mut seen);
        }
        seen
    })
    .join()
    .expect("no panic");
    let (hold, trip) = (median(&mut seen.holds), median(&mut seen.trips));
    println!(
        "median hold {hold:.1?}, {:.2} round trips of {trip:.1?}",
        hold.as_secs_f64() / trip.as_secs_f64()
    );
    assert!(seen.stray.is_empty(), "{:#?}", seen.stray);
    assert!(hold < trip * 2, "{hold:?}, with round trips of {trip:?}");
    test.finish();
}

#[test]
fn cancels_and_reuse_in_turn_hit_no_other_statement() {
    let cycles =
        std::env::var("MAYPOLE_CANCEL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES);
    let url = server().url();
    let pools: Vec<_> = (0..POOLS)
        .map(|_| {
            TestPool::of_server(&url, &url, LIMIT, |builder, config| {
                builder.config(config).limit(1).acquire_timeout(Duration::from_secs(30))
            })
        })
        .collect();
    let start = Instant::now();
    let mut random = Random::new();
    let workers: Vec<_> = pools
        .iter()
        .map(|test| {
            let (pool, mut random) = (test.pool.clone(), random.fork());
            spawn(move || {
                let mut seen = Seen::default();
                for _ in 0..cycles.div_ceil(POOLS) {
                    cycle(&pool, &mut random, &mut seen);
                }
                seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for worker in workers {
        let seen = worker.join().expect("no panic");
        all.stopped += seen.stopped;
        all.faster += seen.faster;
        all.stray.extend(seen.stray);
        all.holds.extend(seen.holds);
        all.trips.extend(seen.trips);
    }
    let (hold, trip) = (median(&mut all.holds), median(&mut all.trips));
    println!(
        "{} cycles in {:.1?}: {} stopped, {} faster, {} stray; median hold {hold:.1?}, {:.2} round trips of {trip:.1?}",
        all.stopped + all.faster,
        start.elapsed(),
        all.stopped,
        all.faster,
        all.stray.len(),
        hold.as_secs_f64() / trip.as_secs_f64(),
    );
    assert!(all.stray.is_empty(), "{:#?}", all.stray);
    assert!(all.stopped > cycles / 4 && all.faster > 0, "both kinds");
    let closed: u64 = pools.iter().map(|test| test.pool.stats().closed).sum();
    assert_eq!(closed, 0, "a session was given up");
    pools.iter().for_each(TestPool::finish);
}
