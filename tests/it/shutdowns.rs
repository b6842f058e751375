//! One session says that the server shuts down: the others leave without being tried one by one (requirement 16 of the
//! pool). `pg_terminate_backend` says the same, and is taken for it.

use std::time::Duration;

use crate::support::eventually::eventually;
use crate::support::frame::is_real_tag;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, every};
use crate::support::server::server;

const PATIENCE: Duration = Duration::from_secs(30);

fn behind_a_proxy(limit: usize) -> (Proxy, TestPool) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| builder.limit(limit).acquire_timeout(PATIENCE));
    (proxy, test)
}

/// Ends sessions of the pool, past the library.
fn terminate(test: &TestPool, processes: &[i32]) {
    let list: Vec<_> = processes.iter().map(ToString::to_string).collect();
    let sql = format!("SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[{}]) AS pid", list.join(","));
    test.client().query(&sql).expect("terminated");
}

/// How many messages the client has sent but goodbyes.
fn said(proxy: &Proxy) -> usize {
    let seen = proxy.all().seen();
    let said = seen
        .iter()
        .filter(|event| event.direction == Frontend && is_real_tag(event.tag) && event.tag != b'X');
    said.count()
}

#[test]
fn of_five_idle_sessions_one_is_told_and_all_leave_untried() {
    let (proxy, test) = behind_a_proxy(5);
    test.pool.warm(5, PATIENCE).expect("warm");
    let leases: Vec<_> = (0..5).map(|_| test.pool.connection().expect("lent")).collect();
    let old: Vec<_> = leases.iter().map(|lease| lease.process_id()).collect();
    drop(leases);
    let before = said(&proxy);
    terminate(&test, &old[2..3]);
    eventually("all five have left", || test.pool.stats().closed == 5);
    let stats = test.pool.stats();
    // The one that was told may count as either.
    assert_eq!(stats.closes.broken + stats.closes.cleared, 5, "{stats:?}");
    assert!(stats.closes.cleared >= 4, "{stats:?}");
    assert_eq!(stats.opened, 5, "nobody needs another yet: {stats:?}");
    assert_eq!(said(&proxy), before, "nobody was tried");
    eventually("the server has none left", || test.sessions("") == 0);
    // On demand, and no borrower errs.
    assert_eq!(test.db.query("SELECT 16", ()).value::<i32>().expect("an answer"), 16);
    let leases: Vec<_> = (0..5).map(|_| test.pool.connection().expect("lent")).collect();
    for lease in &leases {
        assert!(!old.contains(&lease.process_id()), "an old session was lent");
        assert_eq!(lease.query("SELECT 16", ()).value::<i32>().expect("an answer"), 16);
    }
    drop(leases);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (10, 5));
    test.finish();
}

#[test]
fn a_lease_goes_on_and_its_session_leaves_when_it_comes_back() {
    let (_proxy, test) = behind_a_proxy(3);
    let out = test.pool.connection().expect("lent");
    let told = test.pool.connection().expect("lent").process_id();
    terminate(&test, &[told]);
    eventually("it has left", || test.pool.stats().closed == 1);
    assert_eq!(out.query("SELECT 16", ()).value::<i32>().expect("a lease goes on"), 16);
    let process = out.process_id();
    assert_eq!(test.pool.stats().closed, 1);
    drop(out);
    assert_eq!(test.pool.stats().closed, 2, "it is not lent again");
    assert_ne!(test.pool.connection().expect("lent").process_id(), process);
    test.finish();
}

/// What an old session says after a new one was opened is about the shutdown that was before.
#[test]
fn a_shutdown_that_two_sessions_tell_of_replaces_them_once() {
    let (proxy, test) = behind_a_proxy(3);
    let first = test.pool.connection().expect("lent");
    let second = test.pool.connection().expect("lent");
    let held = proxy.connection(2).on(Backend, b'E', every()).hold();
    terminate(&test, &[first.process_id(), second.process_id()]);
    held.wait_hits(1);
    eventually("the first has been heard", || test.pool.stats().closed == 1);
    drop(first);
    let new = test.pool.connection().expect("lent");
    let process = new.process_id();
    drop(new);
    held.release();
    eventually("the second has been heard", || test.pool.stats().closed == 2);
    drop(second);
    let stats = test.pool.stats();
    assert_eq!((stats.idle, stats.opened, stats.closed), (1, 3, 2), "{stats:?}");
    assert_eq!(test.pool.connection().expect("lent").process_id(), process, "the new one was not replaced");
    test.finish();
}
