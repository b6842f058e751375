//! What is done with a pool as a whole, while selects ride.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use maypole::{JoinHandle, Outcome, spawn};

use crate::lanes::selects;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Proxy, nth};
use crate::support::server::server;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn while_a_pool_is_paused_no_select_is_sent_and_afterwards_all_are_answered() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(2).acquire_timeout(PATIENCE)));
    test.warm(|| echo(1).value().expect("an answer"));
    test.pool.pause();
    let selects = test.pool.stats().selects;
    let riders = test.ask_while_all_are_lent(20, |n| echo(n).value());
    let stats = test.pool.stats();
    assert_eq!((stats.selects, stats.lanes, stats.waiting), (selects, 0, 20), "{stats:?}");
    let short = spawn(|| echo(1).value());
    eventually("it waits, too", || test.pool.stats().waiting == 21);
    test.pool.resume();
    for (n, rider) in (0..20).zip(riders) {
        assert_eq!(rider.join().expect("no panic").expect("an answer"), n);
    }
    assert_eq!(short.join().expect("no panic").expect("an answer"), 1);
    test.finish();
}

#[test]
fn a_pool_that_is_paused_while_a_group_is_out_answers_it_and_sends_no_other() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::built(&proxy.url(), |builder| builder.limit(1).acquire_timeout(PATIENCE)));
    test.warm(|| echo(1).value().expect("an answer"));
    test.warm(|| divide(1).value().expect("an answer"));
    test.at_rest();
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    let riders = test.ask_while_all_are_lent(5, |n| echo(n).value());
    test.pool.pause();
    held.release();
    assert_eq!(out.join().expect("no panic").expect("it was out"), 2520);
    eventually("the lane is over", || test.pool.stats().lanes == 0 && test.pool.stats().idle == 1);
    assert_eq!(test.pool.stats().waiting, 5);
    test.pool.resume();
    for (n, rider) in (0..5).zip(riders) {
        assert_eq!(rider.join().expect("no panic").expect("an answer"), n);
    }
    test.finish();
}

#[test]
fn a_pool_that_is_closed_refuses_riders_that_wait_and_answers_those_that_were_sent() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    test.warm(|| divide(1).value().expect("an answer"));
    test.at_rest();
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    let riders = test.ask_while_all_are_lent(5, |n| echo(n).value());
    let pool = test.pool.clone();
    let closing = spawn(move || pool.close(PATIENCE));
    for rider in riders {
        let error = rider.join().expect("no panic").expect_err("closed");
        assert_eq!(
            (error.to_string().contains("the pool is closed"), error.outcome()),
            (true, Outcome::NotSent)
        );
    }
    assert!(!out.is_done() && !closing.is_done());
    held.release();
    assert_eq!(out.join().expect("no panic").expect("it was sent"), 2520);
    let report = closing.join().expect("no panic");
    assert_eq!(report.cut, 0, "{report:?}");
    assert!(report.waited < PATIENCE, "{report:?}");
    assert!(echo(1).value().expect_err("closed").is_pool());
    eventually("no session remains", || test.sessions("") == 0);
}

#[test]
fn a_pool_that_closes_cuts_a_lane_at_its_limit() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| divide(1).value().expect("an answer"));
    test.at_rest();
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    let report = test.pool.close(Duration::from_millis(200));
    assert!(report.waited >= Duration::from_millis(200) && report.waited < PATIENCE, "{report:?}");
    let error = out.join().expect("no panic").expect_err("cut");
    assert!(error.is_closed() || error.is_pool(), "{error:?}");
    assert!(test.pool.is_drained());
    held.release();
    eventually("no session remains", || test.sessions("") == 0);
}

/// Riders that ask until they are told to stop.
struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    askers: Vec<JoinHandle<HashSet<i32>>>,
}

impl Load {
    fn start(ask: impl Fn(i32) -> (i32, i32, bool) + Clone + Send + 'static) -> Load {
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let asker = |n| {
            let (over, done, ask) = (over.clone(), done.clone(), ask.clone());
            spawn(move || {
                let mut processes = HashSet::new();
                while !over.load(Ordering::Relaxed) {
                    let (answer, process, _) = ask(n);
                    assert_eq!(answer, n);
                    processes.insert(process);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                processes
            })
        };
        let askers = (0..60).map(asker).collect();
        Load { over, done, askers }
    }

    /// So many more are done.
    #[track_caller]
    fn go_on(&self, more: usize) {
        let enough = self.done.load(Ordering::Relaxed) + more;
        eventually("they go on", || {
            assert!(self.askers.iter().all(|asker| !asker.is_done()), "one got an error");
            self.done.load(Ordering::Relaxed) >= enough
        });
    }

    /// The processes that answered.
    fn stop(self) -> HashSet<i32> {
        self.over.store(true, Ordering::Relaxed);
        self.askers.into_iter().flat_map(|asker| asker.join().expect("its own answers")).collect()
    }
}

#[test]
fn a_pool_that_is_cleared_under_load_replaces_every_lane_and_no_select_fails() {
    selects!(DB);
    let test = DB.is(TestPool::new(2));
    test.warm(|| who(1).unique().expect("an answer"));
    for _ in 0..5 {
        let load = Load::start(|n| who(n).unique().expect("an answer"));
        load.go_on(500);
        let closed = test.pool.stats().closes.cleared;
        test.pool.clear();
        load.go_on(500);
        let old = load.stop();
        eventually("old sessions have gone", || test.pool.stats().closes.cleared > closed);
        // Each of those that are left was opened after the last clear, or is about to go.
        test.pool.clear();
        eventually("all are gone", || test.pool.stats().idle == 0);
        let new = who(1).unique().expect("an answer").1;
        assert!(!old.contains(&new), "an old session");
    }
    test.finish();
}

#[test]
fn a_pool_that_is_resized_under_load_keeps_to_its_limit_and_no_select_fails() {
    selects!(DB);
    let test = DB.is(TestPool::new(4));
    test.pool.warm(4, PATIENCE).expect("opened");
    test.warm(|| who(1).unique().expect("an answer"));
    let load = Load::start(|n| who(n).unique().expect("an answer"));
    for limit in [1, 3, 2, 4, 1] {
        test.pool.resize(limit).expect("a number");
        load.go_on(300);
        eventually("there are no more than that", || test.sessions("") <= limit);
    }
    load.stop();
    test.finish();
}
