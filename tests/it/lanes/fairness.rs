//! One queue for leases and selects: first come, first served, and neither starves the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use maypole::{Query, select, spawn};

use crate::lanes::selects;
use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Proxy, nth};
use crate::support::rest::rest;
use crate::support::server::server;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn selects_and_leases_are_served_in_the_order_in_which_they_came() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| echo(1).value().expect("an answer"));
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let ride = move |n: i32| {
        assert_eq!(echo(n).value().expect("an answer"), n);
        count.fetch_add(1, Ordering::SeqCst);
    };
    // In the queue: a lease, ten selects, a lease.
    let blocking = test.all();
    let (go, done_then) = (Flag::new(), done.clone());
    let (pool, wait) = (test.pool.clone(), go.clone());
    let first = spawn(move || {
        let lease = pool.connection().expect("lent");
        while !wait.wait(std::time::Duration::ZERO) {
            rest(std::time::Duration::from_millis(1));
        }
        drop(lease);
        done_then.load(Ordering::SeqCst)
    });
    eventually("the first lease waits", || test.pool.stats().waiting == 1);
    let riders = test.ask_while_all_are_lent(10, ride.clone());
    let (pool, done_then) = (test.pool.clone(), done.clone());
    let last = spawn(move || {
        let _lease = pool.connection().expect("lent");
        done_then.load(Ordering::SeqCst)
    });
    eventually("the last lease waits", || test.pool.stats().waiting == 12);
    drop(blocking);
    eventually("the first has its lease", || test.pool.stats().waiting == 11);
    assert_eq!(done.load(Ordering::SeqCst), 0, "selects overtook the lease before them");
    go.raise();
    assert_eq!(first.join().expect("no panic"), 0);
    riders.into_iter().for_each(|rider| rider.join().expect("its own answer"));
    // They have been answered, though their coroutines may not all have said so yet.
    assert!(last.join().expect("no panic") <= 10);
    assert_eq!(test.pool.stats().waiting, 0);
    test.finish();
}

/// A select that comes while a group is out waits behind a lease that came before it.
#[test]
fn a_lease_is_served_before_selects_that_came_after_it() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    test.warm(|| divide(1).value().expect("an answer"));
    for _ in 0..10 {
        test.at_rest();
        let held = proxy.on(Backend, b'Z', nth(1)).hold();
        // Its running time is what it was held for; it may lease from then on, which is as good.
        let out = spawn(|| divide(1).value().expect("an answer"));
        held.wait_hits(1);
        let after = Arc::new(AtomicUsize::new(0));
        let (pool, seen) = (test.pool.clone(), after.clone());
        let lease = spawn(move || {
            let _lease = pool.connection_within(PATIENCE).expect("lent");
            seen.load(Ordering::SeqCst)
        });
        eventually("the lease waits", || test.pool.stats().waiting == 1);
        let count = after.clone();
        let riders = test.ask_while_all_are_lent(5, move |n| {
            assert_eq!(echo(n).value().expect("an answer"), n);
            count.fetch_add(1, Ordering::SeqCst);
        });
        held.release();
        assert_eq!(out.join().expect("no panic"), 5040);
        assert_eq!(lease.join().expect("no panic"), 0, "selects that came later were served before it");
        riders.into_iter().for_each(|rider| rider.join().expect("its own answer"));
    }
    test.finish();
}

/// What never stops asking, until told.
fn press(
    over: &Arc<AtomicBool>,
    count: &Arc<AtomicUsize>,
    ask: impl Fn() + Send + 'static,
) -> maypole::JoinHandle<()> {
    let (over, count) = (over.clone(), count.clone());
    spawn(move || {
        while !over.load(Ordering::Relaxed) {
            ask();
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[test]
fn neither_leases_nor_selects_starve_when_both_press() {
    selects!(DB);
    let test = DB.is(TestPool::new(2));
    test.warm(|| echo(1).value().expect("an answer"));
    let over = Arc::new(AtomicBool::new(false));
    let (leases, selects) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut all = Vec::new();
    for n in 0..60 {
        all.push(press(&over, &selects, move || assert_eq!(echo(n).value().expect("served in time"), n)));
    }
    for n in 0..20 {
        let pool = test.pool.clone();
        all.push(press(&over, &leases, move || {
            let lease = pool.connection().expect("lent in time");
            assert_eq!(lease.query("SELECT $1::int4", (n,)).value::<i32>().expect("an answer"), n);
        }));
    }
    let served = |count: &AtomicUsize| count.load(Ordering::Relaxed) >= 500;
    eventually("both are served", || served(&leases) && served(&selects));
    over.store(true, Ordering::Relaxed);
    // And every single one of them.
    all.into_iter().for_each(|one| one.join().expect("served in time"));
    let stats = test.pool.stats();
    assert_eq!(stats.timeouts, 0, "{stats:?}");
    assert!(stats.selects >= 500, "the selects rode: {stats:?}");
    test.finish();
}

/// How long a select takes is learned; those that take long have a connection for themselves, and the fast ones share on.
#[test]
fn a_slow_select_is_learned_as_slow_and_leases_from_then_on() {
    selects!(DB);
    #[select(
        DB,
        "SELECT :n::int4, pg_backend_pid(), current_setting('lock_timeout') = '20ms' FROM pg_sleep(0.02)"
    )]
    fn slow(n: i32) -> Query<(i32, i32, bool)>;
    let test = DB.is(TestPool::new(3));
    test.pool.warm(3, None).expect("opened");
    test.warm(|| who(1).unique().expect("an answer"));
    let mut leased = 0;
    eventually("it leases", || {
        let (_, _, rode) = slow(1).unique().expect("an answer");
        leased = if rode { 0 } else { leased + 1 };
        leased >= 10
    });
    let over = Arc::new(AtomicBool::new(false));
    let (slows, fasts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Now and then one is measured, whether it still is slow.
    let rides = Arc::new(AtomicUsize::new(0));
    let count = rides.clone();
    let mut all = vec![press(&over, &slows, move || {
        let (n, _, rode) = slow(2).unique().expect("an answer");
        assert_eq!(n, 2);
        count.fetch_add(rode.into(), Ordering::Relaxed);
    })];
    for n in 0..20 {
        all.push(press(&over, &fasts, move || assert_eq!(who(n).unique().expect("an answer").0, n)));
    }
    eventually("some slow ones are done", || slows.load(Ordering::Relaxed) >= 40);
    over.store(true, Ordering::Relaxed);
    let (slows, fasts) = (slows.load(Ordering::Relaxed), fasts.load(Ordering::Relaxed));
    all.into_iter().for_each(|one| one.join().expect("its own answers"));
    assert!(rides.load(Ordering::Relaxed) <= slows / 8, "they ride on: {rides:?} of {slows}");
    // If each had waited for a slow one, there were twenty for each of those.
    assert!(fasts > slows * 40, "{fasts} fast ones while {slows} slow ones ran");
    test.finish();
}

/// A long reply would hold up those behind it, too.
#[test]
fn a_select_with_a_long_reply_leases() {
    selects!(DB);
    #[select(DB, "SELECT repeat('x', 200000), current_setting('lock_timeout') = '20ms'")]
    fn long() -> Query<(String, bool)>;
    let test = DB.is(TestPool::new(2));
    let mut leased = 0;
    eventually("it leases", || {
        let (text, rode) = long().unique().expect("an answer");
        assert_eq!(text.len(), 200_000);
        leased = if rode { 0 } else { leased + 1 };
        leased >= 10
    });
    test.warm(|| who(1).unique().expect("an answer"));
    test.finish();
}
