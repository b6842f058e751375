//! Lanes that die with a group out: a select has no effects, so it is sent once more, and nobody hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use maypole::{PoolBuilder, Query, spawn};

use crate::lanes::{Lanes, selects};
use crate::support::backend::{fatal, notice, ready};
use crate::support::client::Client;
use crate::support::eventually::{eventually, eventually_within};
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, Rule, every, nth};
use crate::support::server::server;

fn terminate(test: &Lanes) {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name = '{}'",
        test.name
    );
    client.value(&sql).expect("terminated");
}

#[test]
fn sessions_killed_under_load_cost_no_select_its_answer() {
    selects!(DB);
    let test = DB.is(TestPool::new(2));
    test.warm(|| echo(1).value().expect("an answer"));
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..100)
        .map(|n| {
            let (over, done) = (over.clone(), done.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(echo(n).value().expect("nobody hears of it"), n);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    eventually_within(Duration::from_secs(40), "some were sent once more", || {
        // Far apart: what was sent twice already is answered by then.
        let enough = done.load(Ordering::Relaxed) + 1_000;
        eventually("they go on", || {
            done.load(Ordering::Relaxed) > enough || askers.iter().any(|asker| asker.is_done())
        });
        let (closed, failed) = (test.pool.stats().closed, askers.iter().any(|asker| asker.is_done()));
        terminate(&test);
        eventually("the pool has noticed", || test.pool.stats().closed > closed);
        failed || test.pool.stats().sent_again >= 50
    });
    over.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers and no error"));
    test.finish();
}

/// A lane lost at each place of the exchange, with nine out.
macro_rules! lost_at_any_place {
    (fn $name:ident(), $build:expr) => {
        #[test]
        fn $name() {
            selects!(DB);
            let proxy = Proxy::start(&server().url());
            let build: fn(PoolBuilder) -> PoolBuilder = $build;
            let test = DB.is(TestPool::built(&proxy.url(), |builder| build(builder.limit(1))));
            lost_at_any_place(&test, &proxy, echo);
        }
    };
}

lost_at_any_place!(fn a_lane_lost_at_any_place_of_its_exchange_costs_no_select_its_answer(), |builder| builder);
lost_at_any_place!(fn a_lane_lost_with_a_sync_for_each_costs_no_select_its_answer(), |builder| builder
    .largest_group(1));
lost_at_any_place!(fn a_lane_lost_with_several_groups_out_costs_no_select_its_answer(), |builder| builder
    .largest_group(4));

fn lost_at_any_place(test: &Lanes, proxy: &Proxy, echo: fn(i32) -> Query<'static, i32>) {
    let lost: [(&str, &dyn Fn() -> Rule); 10] = [
        ("before the first Bind", &|| proxy.on(Frontend, b'B', nth(1)).cut_before()),
        ("inside the third Bind", &|| proxy.on(Frontend, b'B', nth(3)).cut_after_bytes(7)),
        ("before the Sync", &|| proxy.on(Frontend, b'S', nth(1)).cut_before()),
        ("after the Sync", &|| proxy.on(Frontend, b'S', nth(1)).cut_after()),
        ("before the first answer", &|| proxy.on(Backend, b'2', nth(1)).cut_before()),
        ("inside the second row", &|| proxy.on(Backend, b'D', nth(2)).cut_after_bytes(8)),
        ("behind the fifth answer", &|| proxy.on(Backend, b'C', nth(5)).cut_after()),
        ("behind the last answer", &|| proxy.on(Backend, b'C', nth(9)).cut_after()),
        ("before ReadyForQuery", &|| proxy.on(Backend, b'Z', nth(1)).cut_before()),
        ("inside ReadyForQuery", &|| proxy.on(Backend, b'Z', nth(1)).cut_after_bytes(5)),
    ];
    for (place, lose) in lost {
        test.warm(|| echo(1).value().expect("an answer"));
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(9, move |n| echo(n).value());
        let rule = lose();
        drop(leases);
        for (n, rider) in (0..9).zip(riders) {
            assert_eq!(rider.join().expect("no panic").expect("an answer"), n, "{place}");
        }
        rule.wait_hits(1);
        rule.release();
    }
    test.finish();
}

/// The server says why it ends the session.
#[test]
fn a_lane_that_the_server_ends_costs_no_select_its_answer() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    for code in ["57P01", "57P02", "XX000"] {
        test.warm(|| echo(1).value().expect("an answer"));
        let closed = test.pool.stats().closed;
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(9, |n| echo(n).value());
        let said = proxy.on(Backend, b'D', nth(2)).insert_before(fatal(code, "goodbye"));
        let gone = proxy.on(Backend, b'D', nth(2)).cut_before();
        drop(leases);
        for (n, rider) in (0..9).zip(riders) {
            assert_eq!(rider.join().expect("no panic").expect("an answer"), n, "{code}");
        }
        assert!(test.pool.stats().closed > closed);
        said.release();
        gone.release();
    }
    test.finish();
}

/// Once, and no more often: a select that ends its session would do so for ever.
#[test]
fn a_select_is_sent_once_more_and_not_again() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    test.at_rest();
    let sent = proxy.on(Frontend, b'E', every()).watch();
    test.at_rest();
    let lost = proxy.on(Backend, b'D', every()).cut_before();
    let error = spawn(|| echo(7).value()).join().expect("no panic").expect_err("lost twice");
    assert!(error.is_closed(), "{error:?}");
    assert_eq!(sent.hits(), 2, "it was executed that often");
    lost.release();
    assert_eq!(echo(8).value().expect("an answer"), 8);
    test.finish();
}

/// What the Sync of a lane comes back with decides: anything but idle ends it.
#[test]
fn a_lane_that_is_not_idle_in_the_end_is_not_used_again() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    for status in [b'T', b'E'] {
        test.warm(|| who(1).unique().expect("an answer"));
        let old = who(1).unique().expect("an answer").1;
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(9, |n| who(n).unique());
        // In place of the one that comes, which is held.
        let lane = proxy.connection(proxy.accepted());
        let said = lane.on(Backend, b'Z', nth(1)).insert_before([notice("so"), ready(status)].concat());
        let held = lane.on(Backend, b'Z', nth(1)).hold_after_bytes(0);
        let closed = test.pool.stats().closed;
        drop(leases);
        for (n, rider) in (0..9).zip(riders) {
            assert_eq!(rider.join().expect("no panic").expect("an answer").0, n);
        }
        eventually("the lane is given up", || test.pool.stats().closed > closed);
        said.release();
        held.release();
        assert_ne!(who(1).unique().expect("an answer").1, old, "status {}", char::from(status));
    }
    test.finish();
}

/// The server says nothing any more, and the system does not notice: when nobody waits for its group any more, a lane is given up, as
/// a lease is that can not be cleaned (reliability case 26).
#[test]
fn a_lane_that_has_gone_deaf_is_given_up_when_all_of_its_riders_have() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    let leases = test.all();
    let riders = test.ask_while_all_are_lent(9, |n| {
        echo(n).timeout(Duration::from_millis(100 + 20 * u64::from(n.unsigned_abs()))).value()
    });
    let deaf = proxy.connection(1).deaf();
    drop(leases);
    for rider in riders {
        let error = rider.join().expect("no panic").expect_err("nobody answers");
        assert!(error.is_timeout(), "{error:?}");
    }
    eventually("the connection is given up", || test.pool.stats().closed == 1);
    assert_eq!(echo(8).value().expect("an answer"), 8, "on another connection");
    deaf.release();
    test.finish();
}
