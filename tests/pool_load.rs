//! What the pool costs when much happens at once: a process of its own, and one test after the other, because they look
//! at the clock. The limits are generous; the figures are printed.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use maypole::{Database, JoinHandle, Lease, Pool, spawn};

use support::eventually::{eventually, eventually_within};
use support::frame::STARTUP;
use support::pool::TestPool;
use support::proxy::{Frontend, Proxy, Rule, RuleMaker, every};
use support::rest::rest;
use support::server::server;

/// One test at a time, or they would slow down each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed is no reason for the others to fail.
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Starts a coroutine with a stack of so many bytes.
fn spawn_small<T: Send + 'static>(
    stack: usize,
    function: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let builder = may::coroutine::Builder::new().stack_size(stack / size_of::<usize>());
    // SAFETY: what is moved in is Send and 'static, and the stack is long enough: that is what is tested.
    #[allow(unsafe_code)]
    let handle = unsafe { builder.spawn(function) };
    handle.expect("a coroutine")
}

/// All there may be, open and idle.
fn warm(test: &TestPool) {
    let limit = test.pool.stats().limit;
    drop((0..limit).map(|_| test.pool.connection().expect("lent")).collect::<Vec<Lease>>());
    eventually("all are idle", || test.pool.stats().idle == limit);
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Case 21, requirement 4: a crowd of waiters times out; then one lease is given back by a coroutine with may's default
/// stack. It goes to the one waiter that is left, in less than a millisecond, whatever the size of the crowd.
#[test]
fn a_return_after_a_mass_timeout_serves_the_one_who_is_left_in_no_time() {
    const STACK: usize = 32 * 1024;
    let _alone = alone();
    for (crowd, rounds, limit) in [(500, 3, 300), (5_000, 2, 1_500), (8_000, 2, 3_000)] {
        let test = TestPool::new(1);
        warm(&test);
        let mut returns = Vec::new();
        let mut timeouts = Vec::new();
        for _ in 0..rounds {
            let lease = test.pool.connection().expect("lent");
            let before = test.pool.stats();
            let end = Instant::now() + Duration::from_millis(limit);
            let waiters: Vec<_> = (0..crowd)
                .map(|_| {
                    let pool = test.pool.clone();
                    spawn(move || {
                        let limit = end.saturating_duration_since(Instant::now());
                        pool.connection_within(limit).map(drop).expect_err("it is lent").is_timeout()
                    })
                })
                .collect();
            let pool = test.pool.clone();
            let patient = spawn(move || {
                let lease = pool.connection_within(None).expect("lent in the end");
                lease.query("SELECT 21", ()).value::<i32>().expect("an answer")
            });
            eventually("all wait at the same time", || test.pool.stats().waiting == crowd + 1);
            assert!(Instant::now() < end, "the crowd stood in the queue before the first left it");
            assert!(waiters.into_iter().all(|waiter| waiter.join().expect("no panic")));
            timeouts.push(end.elapsed());
            eventually("only the patient one waits", || test.pool.stats().waiting == 1);
            let took = spawn_small(STACK, move || {
                let start = Instant::now();
                drop(lease);
                start.elapsed()
            });
            returns.push(took.join().expect("neither an overflow nor a panic"));
            assert_eq!(patient.join().expect("no panic"), 21);
            eventually("the lease is back", || test.pool.stats().idle == 1);
            let stats = test.pool.stats();
            assert_eq!((stats.waiting, stats.timeouts - before.timeouts), (0, crowd as u64), "{stats:?}");
            assert_eq!((stats.lends - before.lends, stats.opened), (1, 1), "{stats:?}");
        }
        let best = returns.iter().min().expect("some");
        println!("{crowd} waiters timed out; all had heard of it {timeouts:?} after their deadline;");
        println!("    the return behind them took {best:?} at best, of {returns:?}");
        assert!(*best < MILLISECOND, "{returns:?}");
        test.finish();
    }
}

/// A spike: fifty callers at once, five connections of fifty open, and something in the way of others that are opened. When
/// the last was served, and how many connections were opened.
fn spike(hinder: impl Fn(RuleMaker<'_>) -> Rule) -> (Duration, usize) {
    const CALLERS: usize = 50;
    const WARM: usize = 5;
    const SLEEP: &str = "SELECT pg_sleep(0.002)::text";
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), CALLERS);
    let leases: Vec<_> = (0..WARM).map(|_| test.pool.connection().expect("lent")).collect();
    for lease in &leases {
        lease.query(SLEEP, ()).value::<String>().expect("warm");
    }
    drop(leases);
    eventually("all that was opened is idle", || test.pool.stats().idle == WARM);
    assert_eq!(proxy.accepted(), WARM);
    let hindered = hinder(proxy.on(Frontend, STARTUP, every()));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let pool = test.pool.clone();
            spawn(move || {
                let lease = pool.connection().expect("lent");
                lease.query(SLEEP, ()).value::<String>().expect("an answer");
                drop(lease);
                start.elapsed()
            })
        })
        .collect();
    let last = callers.into_iter().map(|caller| caller.join().expect("no panic")).max().expect("some");
    let opened = proxy.accepted() - WARM;
    hindered.release();
    eventually("what was begun has come", || test.pool.stats().opening == 0);
    test.finish();
    (last, opened)
}

/// Requirement 9: nobody waits for its own connect, all are served by the connections there are, and no more are opened for
/// nobody than may be opened at once.
#[test]
fn a_spike_is_served_by_the_connections_there_are() {
    const OPENING: usize = 2;
    let _alone = alone();
    let (_, opened) = spike(|rule| rule.hold());
    assert!(opened <= OPENING, "{opened} were opened though none of them ever came");
    let connect = Duration::from_millis(150);
    for _ in 0..3 {
        let (last, opened) = spike(|rule| rule.delay(connect));
        println!(
            "50 callers, 5 connections, 150 ms to open another, 2 ms a query: the last was served after {last:?}, {opened} were opened"
        );
        assert!(
            opened <= OPENING || last > connect,
            "{opened} were opened, and the last was served after {last:?}"
        );
    }
}

/// Requirement 15: the server ends every idle session. Once that has been noticed no borrower sees an error; how long
/// noticing takes is printed.
#[test]
fn when_all_idle_sessions_are_ended_no_borrower_sees_an_error() {
    const ROUNDS: usize = 5;
    let _alone = alone();
    for connections in [10, 50] {
        let test = TestPool::new(connections);
        let mut client = test.client();
        let (mut each, mut all) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            warm(&test);
            let closed = test.pool.stats().closed;
            let sql = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{}'",
                test.name
            );
            let start = Instant::now();
            assert_eq!(client.value(&sql).expect("the server answers"), connections.to_string());
            let mut noticed = 0;
            while noticed < connections {
                let now = usize::try_from(test.pool.stats().closed - closed).expect("small");
                each.extend((noticed..now).map(|_| start.elapsed()));
                noticed = now;
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "only {noticed} of {connections}, round {round}"
                );
                thread::sleep(Duration::from_micros(100));
            }
            all.push(start.elapsed());
            assert_eq!((test.pool.stats().idle, test.pool.stats().free), (0, connections));
            // Twice as many borrowers as connections.
            let borrowers: Vec<_> = (0..2 * connections)
                .map(|number| {
                    let db = Database::from(test.pool.clone());
                    let pool = test.pool.clone();
                    spawn(move || {
                        let number = i64::try_from(number).expect("small");
                        let answer = if number % 2 == 0 {
                            db.query("SELECT $1::bigint", (number,)).value::<i64>()
                        } else {
                            pool.connection()
                                .and_then(|lease| lease.query("SELECT $1::bigint", (number,)).value())
                        };
                        assert_eq!(answer.expect("no borrower sees an error"), number);
                    })
                })
                .collect();
            borrowers.into_iter().for_each(|borrower| borrower.join().expect("no panic"));
        }
        println!(
            "{connections} idle sessions terminated at once: noticed after {:?} (median), {:?} (max); the last of each of {ROUNDS} rounds: {all:?}",
            middle(&mut each),
            each.last().expect("some"),
        );
        test.finish();
    }
}

/// Keeps may's single timer thread busy while it lives, as a user does who computes after a sleep (rule M5).
struct BusyTimer {
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    sleeper: Option<JoinHandle<()>>,
}

impl BusyTimer {
    fn start() -> BusyTimer {
        let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (over.clone(), rounds.clone());
        let sleeper = spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                may::coroutine::sleep(MILLISECOND);
                // On the timer thread from here on, until it next gives way.
                thread::sleep(Duration::from_millis(500));
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        BusyTimer { over, rounds, sleeper: Some(sleeper) }
    }
}

impl Drop for BusyTimer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.sleeper.take().map(JoinHandle::join);
    }
}

/// How long three milliseconds take whoever lets may's timer thread measure them.
fn may_sleeps() -> Duration {
    let sleeper = spawn(|| {
        let start = Instant::now();
        (0..3).for_each(|_| may::coroutine::sleep(MILLISECOND));
        let took = start.elapsed();
        // may's sleep still uses the coroutine for an instant after it has ended.
        rest(Duration::from_millis(20));
        took
    });
    sleeper.join().expect("no panic")
}

/// A thousand borrows by twenty coroutines on three connections, each with a query, while others wait in vain for limits
/// of a few milliseconds: how long each borrower had to wait, and by how much the limits were overdrawn.
fn thousand_borrows(test: &TestPool, full: &Pool) -> (Vec<Duration>, Vec<Duration>) {
    let workers: Vec<_> = (0..20)
        .map(|_| {
            let pool = test.pool.clone();
            spawn(move || {
                let mut waits = Vec::new();
                for number in 0..50_i64 {
                    let start = Instant::now();
                    let lease = pool.connection().expect("lent");
                    waits.push(start.elapsed());
                    assert_eq!(
                        lease.query("SELECT $1::bigint", (number,)).value::<i64>().expect("an answer"),
                        number
                    );
                }
                waits
            })
        })
        .collect();
    let in_vain: Vec<_> = (0..100_u64)
        .map(|number| {
            let pool = full.clone();
            spawn(move || {
                let limit = Duration::from_millis(1 + number % 20);
                let start = Instant::now();
                assert!(pool.connection_within(limit).expect_err("it is lent").is_timeout());
                start.elapsed() - limit
            })
        })
        .collect();
    let waits = workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect();
    (waits, in_vain.into_iter().map(|waiter| waiter.join().expect("no panic")).collect())
}

/// Case 32.
#[test]
fn a_thousand_borrows_wait_no_longer_while_mays_timer_thread_is_busy() {
    let _alone = alone();
    let (test, full) = (TestPool::new(3), TestPool::new(1));
    warm(&test);
    let lent = full.pool.connection().expect("lent");
    let report = |what: &str| {
        let (mut waits, mut overdrawn) = thousand_borrows(&test, &full.pool);
        let (median, late) = (middle(&mut waits), middle(&mut overdrawn));
        let (longest, latest) = (*waits.last().expect("some"), *overdrawn.last().expect("some"));
        println!(
            "{what}: a borrow waited {median:?} (median), {longest:?} (max); limits were overdrawn by {late:?} (median), {latest:?} (max)"
        );
        assert_eq!(waits.len(), 1_000);
        (longest, latest)
    };
    report("timer thread idle");
    let busy = BusyTimer::start();
    eventually("the timer thread is busy", || busy.rounds.load(Ordering::SeqCst) > 0);
    assert!(may_sleeps() > Duration::from_millis(100), "who depends on the timer thread has to wait for it");
    // A single wait for the timer thread would take half a second; a busy machine gets three tries.
    let most = Duration::from_millis(400);
    let fine = (0..3).any(|_| {
        let (longest, latest) = report("timer thread busy");
        longest < most && latest < most
    });
    assert!(fine, "somebody had to wait for the timer thread");
    drop(busy);
    drop(lent);
    test.finish();
    full.finish();
}

/// Requirement 3: with equal holds the spread of the waits within one generation of the queue is one hold.
#[test]
fn waiters_are_served_one_hold_after_the_other() {
    const SLOTS: usize = 4;
    const WAITERS: usize = 40;
    const HOLD: Duration = Duration::from_millis(20);
    let _alone = alone();
    let test = TestPool::new(SLOTS);
    warm(&test);
    let leases: Vec<_> = (0..SLOTS).map(|_| test.pool.connection().expect("lent")).collect();
    let served = Arc::new(Mutex::new(Vec::new()));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|number| {
            let (pool, served) = (test.pool.clone(), served.clone());
            let waiter = spawn(move || {
                let lease = pool.connection().expect("lent");
                served.lock().expect("no holder panics").push((number, Instant::now()));
                lease.query("SELECT pg_sleep(0.02)::text", ()).value::<String>().expect("an answer");
            });
            eventually("it waits", || test.pool.stats().waiting == number + 1);
            waiter
        })
        .collect();
    let start = Instant::now();
    drop(leases);
    waiters.into_iter().for_each(|waiter| waiter.join().expect("no panic"));
    let served = std::mem::take(&mut *served.lock().expect("no holder panics"));
    // Who was woken first says so first, but for what four workers' locks may shuffle.
    for (place, (number, _)) in served.iter().enumerate() {
        assert!(number.abs_diff(place) < SLOTS, "waiter {number} was served as number {place}");
    }
    let spread = served
        .chunks(SLOTS)
        .map(|generation| generation[SLOTS - 1].1 - generation[0].1)
        .max()
        .expect("ten generations");
    println!(
        "{WAITERS} waiters on {SLOTS} slots: {:?}; the widest generation spread over {spread:?}",
        start.elapsed()
    );
    eventually_within(HOLD * 10, "all are back", || test.pool.stats().idle == SLOTS);
    test.finish();
}
