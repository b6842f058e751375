//! A connection comes back at the very moment at which a waiter times out or is cancelled: whoever wins, no slot is lost
//! and none is lent twice (reliability case 22). The rules alone are explored in `src/pool/core`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use may::coroutine::yield_now;
use maypole::{JoinHandle, Pool, spawn};

use crate::support::chaos::{Chaos, cancel};
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::random::Random;
use crate::support::rest::rest;

const SLOTS: usize = 3;
const WORKERS: usize = 24;
const BORROWS: usize = 100_000;
const ROUNDS: usize = 1_000;

/// What all borrowers share.
struct Race {
    pool: Pool,
    /// One for each session: whether it is lent.
    out: Vec<(i32, AtomicBool)>,
    lent: AtomicUsize,
    timed_out: AtomicUsize,
    done: AtomicUsize,
}

/// A session that is lent, and not twice.
struct Held<'r>(&'r AtomicBool);

impl Race {
    fn hold(&self, process: i32) -> Held<'_> {
        let (_, out) =
            self.out.iter().find(|(other, _)| *other == process).expect("no session is ever replaced");
        assert!(!out.swap(true, Ordering::SeqCst), "lent twice");
        Held(out)
    }

    /// Borrows with a limit that ends about when the keeper looks, holds for about as long, gives back.
    fn borrow(&self, random: &mut Random) {
        let limit = Duration::from_micros(random.next() % 5_000);
        match self.pool.connection_within(limit) {
            Ok(lease) => {
                let held = self.hold(lease.process_id());
                self.lent.fetch_add(1, Ordering::Relaxed);
                match random.below(40) {
                    0 => rest(Duration::from_micros(random.next() % 5_000)),
                    1..20 => yield_now(),
                    _ => {}
                }
                // Before the lease: the next one may have it at once.
                drop(held);
                drop(lease);
            }
            Err(error) => {
                assert!(error.is_timeout(), "{error:?}");
                self.timed_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Tells the supervisor which worker is over, on whatever way out.
struct Tell(usize, mpsc::Sender<usize>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

fn worker(race: &Arc<Race>, mut random: Random, tell: Tell) -> JoinHandle<()> {
    let race = race.clone();
    spawn(move || {
        let _tell = tell;
        while race.done.load(Ordering::Relaxed) < BORROWS {
            race.borrow(&mut random);
        }
    })
}

/// A pool whose connections are all open.
fn warm() -> (TestPool, Vec<i32>) {
    let test = TestPool::new(SLOTS);
    let leases: Vec<_> = (0..SLOTS).map(|_| test.pool.connection().expect("lent")).collect();
    let processes = leases.iter().map(|lease| lease.process_id()).collect();
    (test, processes)
}

/// Case 22: thousands of borrows whose limits end all the while, and cancels among them.
#[test]
fn returns_that_race_with_timeouts_and_cancels_lose_no_slot_and_lend_none_twice() {
    let mut random = Random::new();
    let (test, processes) = warm();
    let start = Instant::now();
    let race = Arc::new(Race {
        pool: test.pool.clone(),
        out: processes.into_iter().map(|process| (process, AtomicBool::new(false))).collect(),
        lent: AtomicUsize::new(0),
        timed_out: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    });
    let chaos = Chaos::default();
    let (tell, told) = mpsc::channel();
    let spawn = |number: usize, random: &mut Random| {
        let handle = worker(&race, random.fork(), Tell(number, tell.clone()));
        chaos.expose(&handle);
        Some(handle)
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|number| spawn(number, &mut random)).collect();
    let seen = race.clone();
    let cancelling = chaos.start(random.fork(), move || seen.done.load(Ordering::Relaxed));
    let (mut cancelled, mut running) = (0, WORKERS);
    while running > 0 {
        let number = told.recv().expect("we hold a sender");
        if let Err(panic) = workers[number].take().expect("it is told once").join() {
            // A cancel is not a text; a failed assertion is.
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            assert!(text.is_none(), "a worker panicked: {text:?}");
            cancelled += 1;
        }
        if race.done.load(Ordering::Relaxed) < BORROWS {
            workers[number] = spawn(number, &mut random);
        } else {
            running -= 1;
        }
    }
    chaos.stop();
    cancelling.join().expect("the chaos does not panic");
    let (lent, timed_out) = (race.lent.load(Ordering::Relaxed), race.timed_out.load(Ordering::Relaxed));
    let stats = test.pool.stats();
    println!(
        "{BORROWS} borrows in {:?}: {lent} lent, {timed_out} timed out, {} waited, {cancelled} workers cancelled",
        start.elapsed(),
        stats.waits
    );
    assert!(lent > BORROWS / 100 && timed_out > BORROWS / 1_000 && cancelled > 100, "a race");
    assert!(stats.waits > u64::try_from(BORROWS / 100).expect("small"));
    eventually("nobody is left", || {
        let stats = test.pool.stats();
        stats.waiting + stats.lent + stats.cleaning == 0
    });
    let stats = test.pool.stats();
    assert_eq!(
        (stats.idle, stats.opened, stats.closed),
        (SLOTS, SLOTS as u64, 0),
        "each slot is there: {stats:?}"
    );
    test.finish();
}

/// Case 22, at one point: one slot, one waiter behind it, and the lease dropped by one thread while another cancels the
/// waiter, or while the keeper ends its wait.
#[test]
fn a_return_at_the_moment_of_the_waiters_end_leaves_the_slot_free() {
    let mut random = Random::new();
    let test = TestPool::new(1);
    drop(test.pool.connection().expect("lent"));
    let (mut served, mut ended) = (0, 0);
    for round in 0..ROUNDS {
        let lease = test.pool.connection().expect("the slot is free");
        let times_out = round % 2 == 0;
        // The keeper looks about every two milliseconds.
        let limit = times_out.then(|| Duration::from_micros(500 + random.next() % 2_000));
        let pool = test.pool.clone();
        let waiter = spawn(move || pool.connection_within(limit).is_ok());
        eventually("it waits, or has given up", || {
            test.pool.stats().waiting == 1 || test.pool.stats().timeouts > ended
        });
        let before = test.pool.stats().timeouts;
        let spins = random.below(if times_out { 60_000 } else { 2_000 });
        let dropping = std::thread::spawn(move || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            drop(lease);
        });
        if !times_out {
            (0..random.below(2_000)).for_each(|_| std::hint::spin_loop());
            cancel(&waiter);
        }
        match waiter.join() {
            Ok(true) => served += 1,
            Ok(false) => assert!(times_out),
            Err(_) => assert!(!times_out),
        }
        dropping.join().expect("no panic");
        ended = ended.max(before).max(test.pool.stats().timeouts);
        let stats = test.pool.stats();
        assert_eq!((stats.idle, stats.waiting, stats.opened), (1, 0, 1), "round {round}: {stats:?}");
    }
    println!("of {ROUNDS} waiters {served} were served, {ended} timed out");
    assert!(served > 0 && ended > 0, "a race that either may win");
    test.finish();
}
