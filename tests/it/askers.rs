//! No reply ever reaches anybody but the one who asked, wherever a cancel hits (reliability cases 1 and 2).

use std::time::Duration;

use maypole::{Connection, JoinHandle};

use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Backend, Direction, Frontend, Proxy, Rule, nth};
use crate::support::server::server;

/// A coroutine that borrows and asks; whatever it asks, it must not be over before it is cancelled.
fn victim(test: &TestPool, ask: impl FnOnce(&Connection) + Send + 'static) -> JoinHandle<()> {
    let pool = test.pool.clone();
    maypole::spawn(move || ask(&pool.connection().expect("lent")))
}

fn cancelled_at(test: &TestPool, held: &Rule, ask: impl FnOnce(&Connection) + Send + 'static) {
    let victim = victim(test, ask);
    held.wait_hits(1);
    cancel(&victim);
    assert!(victim.join().is_err(), "it was cancelled");
}

/// Somebody who asks something else while the victim's reply may still be on its way.
fn next(test: &TestPool, constant: i32) -> JoinHandle<maypole::Result<i32>> {
    let pool = test.pool.clone();
    maypole::spawn(move || {
        let connection = pool.connection_within(Duration::from_secs(20))?;
        connection.query("SELECT $1::int4", (constant,)).value::<i32>()
    })
}

#[track_caller]
fn own_answer(next: JoinHandle<maypole::Result<i32>>, constant: i32) {
    assert_eq!(next.join().expect("not cancelled").expect("an answer"), constant, "somebody else's answer");
}

fn warm(test: &TestPool, sql: &str) {
    let rows = test.db.query(sql, ()).flat::<i32>().expect("warm");
    assert!(!rows.is_empty());
}

/// Case 1.
#[test]
fn a_coroutine_cancelled_while_its_reply_is_on_the_way_leaves_the_next_borrower_its_own_answer() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test, "SELECT 1");
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    cancelled_at(&test, &held, |connection| drop(connection.query("SELECT 1", ()).value::<i32>()));
    let next = next(&test, 2);
    held.release();
    own_answer(next, 2);
    assert_eq!(proxy.accepted(), 1, "the reply was read to its end and the session kept");
    test.finish();
}

/// Case 1: the request has left us and is held before it reaches the server.
#[test]
fn a_coroutine_cancelled_before_its_request_reaches_the_server_leaves_the_next_borrower_its_own_answer() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test, "SELECT 1");
    for tag in [b'B', b'E', b'S'] {
        let held = proxy.on(Frontend, tag, nth(1)).hold();
        cancelled_at(&test, &held, |connection| drop(connection.query("SELECT 1", ()).value::<i32>()));
        let next = next(&test, 2);
        held.release();
        own_answer(next, 2);
    }
    test.finish();
}

/// Case 1: the reply does not come within the time a clean-up may take, so the session is closed.
#[test]
fn a_reply_that_never_comes_costs_its_session_and_not_the_next_borrower() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test, "SELECT 1");
    let held = proxy.connection(1).on(Backend, b'D', nth(1)).hold();
    cancelled_at(&test, &held, |connection| drop(connection.query("SELECT 1", ()).value::<i32>()));
    own_answer(next(&test, 2), 2);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (2, 1), "a session of its own");
    test.finish();
}

/// Case 1: cancelled in the pool's queue, behind another.
#[test]
fn a_coroutine_cancelled_in_the_queue_leaves_it_at_once_and_those_behind_it_move_up() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let first = victim(&test, |connection| drop(connection.query("SELECT 1", ()).value::<i32>()));
    eventually("the victim waits", || test.pool.stats().waiting == 1);
    let behind = next(&test, 2);
    eventually("another waits behind it", || test.pool.stats().waiting == 2);
    cancel(&first);
    assert!(first.join().is_err(), "it was cancelled");
    assert_eq!(test.pool.stats().waiting, 1, "it has left the queue");
    drop(lease);
    own_answer(behind, 2);
    test.finish();
}

/// Case 1: cancelled in the queue at the very moment at which the connection is handed over.
#[test]
fn a_connection_handed_to_a_coroutine_that_is_cancelled_goes_to_the_next() {
    let test = TestPool::new(1);
    for round in 0..100 {
        let lease = test.pool.connection().expect("lent");
        let first = victim(&test, |connection| drop(connection.query("SELECT 1", ()).value::<i32>()));
        eventually("the victim waits", || test.pool.stats().waiting == 1);
        let behind = next(&test, round);
        eventually("another waits behind it", || test.pool.stats().waiting == 2);
        let returned = std::thread::spawn(move || drop(lease));
        cancel(&first);
        returned.join().expect("a drop does not panic");
        let _ = first.join();
        own_answer(behind, round);
    }
    test.finish();
}

/// Case 2.
#[test]
fn a_coroutine_cancelled_inside_its_reply_leaves_the_next_borrower_its_own_answer() {
    const TWO: &str = "SELECT generate_series(1, 2)";
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test, TWO);
    let places: [(&str, &dyn Fn() -> Rule); 6] = [
        ("between two DataRows", &|| proxy.on(Backend, b'D', nth(2)).hold()),
        ("before CommandComplete", &|| proxy.on(Backend, b'C', nth(1)).hold()),
        ("after CommandComplete", &|| proxy.on(Backend, b'Z', nth(1)).hold()),
        ("inside a header", &|| proxy.on(Backend, b'D', nth(1)).hold_after_bytes(3)),
        ("inside a DataRow", &|| proxy.on(Backend, b'D', nth(1)).hold_after_bytes(9)),
        ("inside ReadyForQuery", &|| proxy.on(Backend, b'Z', nth(1)).hold_after_bytes(5)),
    ];
    for (place, hold) in places {
        println!("{place}");
        let held = hold();
        cancelled_at(&test, &held, |connection| drop(connection.query(TWO, ()).flat::<i32>()));
        let next = next(&test, 7);
        held.release();
        own_answer(next, 7);
    }
    assert_eq!(test.pool.stats().opened, 1, "each reply was read to its end and the session kept");
    test.finish();
}

/// Cases 1 and 2, at every message of every kind of exchange: hold it, cancel, let it go.
fn cancelled_everywhere(direction: Direction, ask: impl Fn(&Connection) + Clone + Send + 'static) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    for place in 1.. {
        // What is left of the last round must not count in this one.
        test.ledger();
        let held = proxy.on(direction, ANY, nth(place)).hold();
        let ask = ask.clone();
        let victim = victim(&test, move |connection| ask(connection));
        eventually("held, or over", || held.hits() > 0 || victim.is_done());
        if held.hits() == 0 {
            assert!(place > 3, "the exchange has more messages than {place}");
            victim.join().expect("not cancelled");
            held.release();
            break;
        }
        cancel(&victim);
        // Held at the very end, it may have nothing left to wait for.
        let _ = victim.join();
        let next = next(&test, place.try_into().expect("a small number"));
        held.release();
        own_answer(next, place.try_into().expect("a small number"));
    }
    test.finish();
}

fn plain(connection: &Connection) {
    // Another text each time, so that it is prepared each time.
    let text = format!("SELECT generate_series(1, 3) -- {:?}", std::time::Instant::now());
    drop(connection.query(&text, ()).flat::<i32>());
}

fn script(connection: &Connection) {
    drop(connection.script("SELECT 1; SELECT 2; SELECT 3"));
}

fn stream(connection: &Connection) {
    for row in connection.query("SELECT generate_series(1, 6)", ()).chunk(2).iter::<i32>() {
        let _ = row.expect("a row");
    }
}

fn failing(connection: &Connection) {
    drop(connection.query("SELECT 1 / (3 - n) FROM generate_series(1, 3) n", ()).flat::<i32>());
}

#[test]
fn a_query_can_be_cancelled_at_each_message_of_its_exchange() {
    cancelled_everywhere(Backend, plain);
    cancelled_everywhere(Frontend, plain);
}

#[test]
fn a_script_can_be_cancelled_at_each_message_of_its_exchange() {
    cancelled_everywhere(Backend, script);
}

#[test]
fn a_stream_can_be_cancelled_at_each_message_of_its_exchange() {
    cancelled_everywhere(Backend, stream);
    cancelled_everywhere(Frontend, stream);
}

#[test]
fn a_failing_query_can_be_cancelled_at_each_message_of_its_exchange() {
    cancelled_everywhere(Backend, failing);
}

#[test]
fn plain_queries_work_from_a_coroutine_and_from_a_thread() {
    let test = TestPool::new(2);
    let db = maypole::Database::from(test.pool.clone());
    assert_eq!(in_coroutine(move || db.query("SELECT 7", ()).value::<i32>()).expect("an answer"), 7);
    assert_eq!(test.db.query("SELECT 8", ()).value::<i32>().expect("an answer"), 8);
    test.finish();
}
