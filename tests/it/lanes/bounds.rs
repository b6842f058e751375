//! How much is put on a lane at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use maypole::{Query, select, spawn};

use crate::lanes::selects;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

/// Nothing is sent behind a group that is out; whoever comes takes a connection that is free.
#[test]
fn behind_a_group_that_is_stuck_nothing_is_sent_and_others_go_on() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 2));
    test.pool.warm(2, Duration::from_secs(20)).expect("opened");
    for _ in 0..5 {
        test.warm(|| divide(1).value().expect("an answer"));
        test.warm(|| echo(1).value().expect("an answer"));
        test.at_rest();
        let held = proxy.on(Backend, b'2', nth(1)).hold();
        let stuck = spawn(|| divide(2).value());
        held.wait_hits(1);
        // The rule counts on both, and holds what it has once: the other is free.
        let answers: Vec<_> = (0..30).map(|n| spawn(move || echo(n).value())).collect();
        for (n, answer) in (0..30).zip(answers) {
            assert_eq!(answer.join().expect("no panic").expect("it goes on"), n);
        }
        eventually("only the stuck one is out", || test.pool.stats().lanes == 1);
        assert_eq!(test.pool.stats().waiting, 0);
        assert!(!stuck.is_done());
        held.release();
        assert_eq!(stuck.join().expect("no panic").expect("an answer"), 2520);
    }
    test.finish();
}

/// With one connection they wait, and not on the wire.
#[test]
fn whoever_comes_while_the_only_lane_is_out_waits_in_the_queue() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| divide(1).value().expect("an answer"));
    test.warm(|| echo(1).value().expect("an answer"));
    test.at_rest();
    let held = proxy.on(Backend, b'2', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    let sent = proxy.on(Frontend, b'E', every()).watch();
    let waiting = test.ask_while_all_are_lent(20, |n| echo(n).value());
    assert_eq!(sent.hits(), 0, "it was put behind a group that is out");
    held.release();
    assert_eq!(out.join().expect("no panic").expect("an answer"), 2520);
    for (n, answer) in (0..20).zip(waiting) {
        assert_eq!(answer.join().expect("no panic").expect("an answer"), n);
    }
    assert_eq!(sent.hits(), 20);
    test.finish();
}

#[test]
fn the_replies_to_a_group_are_bounded() {
    selects!(DB);
    #[select(DB, "SELECT repeat('x', 50000) || :n::text")]
    fn long(n: i32) -> Query<String>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| long(1).value().expect("an answer"));
    let before = test.pool.stats();
    let answers = test.together(40, |n| long(n).value().expect("an answer"));
    for (n, answer) in (0..40).zip(answers) {
        assert!(answer.len() > 50_000 && answer.ends_with(&format!("x{n}")), "{n}");
    }
    let stats = test.pool.stats();
    let (selects, groups) = (stats.selects - before.selects, stats.groups - before.groups);
    assert!(selects > 0 && selects * 50_000 <= groups * 256 * 1024, "{selects} long ones in {groups} groups");
    test.finish();
}

/// A lane under load is no lease that somebody has forgotten.
#[test]
fn a_lane_that_is_never_at_rest_is_neither_a_leak_nor_revoked() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| {
        builder.limit(1).leak_warning(Duration::from_millis(100)).max_hold(Duration::from_millis(200))
    }));
    test.warm(|| echo(1).value().expect("an answer"));
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..30)
        .map(|n| {
            let (over, done) = (over.clone(), done.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(echo(n).value().expect("an answer"), n);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(600));
    over.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers"));
    let stats = test.pool.stats();
    assert_eq!((stats.leaks, stats.closed, stats.opened), (0, 0, 1), "{stats:?}");
    assert!(done.load(Ordering::Relaxed) > 100);
    test.finish();
}
