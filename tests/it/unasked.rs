//! A connection on which something came unasked, or that has died, is never lent (reliability case 3).

use std::time::Duration;

use maypole::Outcome;

use crate::support::backend::{self, INT4, command_complete, data_row, fatal, ready};
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::responder::{Answer, Value};
use crate::support::script::{Script, Steps};
use crate::support::server::server;

/// A server that answers `SELECT 7`.
fn good(steps: Steps) -> Steps {
    steps.expect_startup_and_accept().answer_queries(|sql| match sql {
        "SELECT 7" => Answer::rows(&[], &[("seven", INT4)], |_| vec![vec![Value::Int4(7)]]),
        "a" | "b" => Answer::done("DO"),
        _ => Answer::error("42601", "not in the script"),
    })
}

/// The next query gets its own answer, and the ledger adds up.
fn healthy(test: &TestPool) {
    assert_eq!(test.db.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
    eventually("nothing is out", || {
        let stats = test.pool.stats();
        assert_eq!(stats.lent + stats.idle + stats.opening + stats.cleaning + stats.free, stats.limit);
        stats.lent + stats.opening + stats.cleaning == 0
    });
}

/// An idle session sends this: it is closed without having been lent again, and another is opened.
fn unasked_while_idle(message: Vec<u8>) {
    let go = Flag::new();
    let script = Script::new()
        .connection(|steps| {
            steps.expect_startup_and_accept().pause_until(&go).send(message.clone()).expect_close()
        })
        .connection(good);
    let server = script.start();
    let test = TestPool::at(&server.url(), 1);
    drop(test.pool.connection().expect("lent"));
    assert_eq!(test.pool.stats().idle, 1);
    go.raise();
    eventually("the pool has noticed", || test.pool.stats().idle == 0);
    healthy(&test);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (2, 1));
    drop(test);
    server.finish();
}

/// Case 3.
#[test]
fn an_unsolicited_ready_for_query_closes_an_idle_connection() {
    unasked_while_idle(ready(b'I'));
}

/// Case 3.
#[test]
fn an_unsolicited_data_row_closes_an_idle_connection() {
    unasked_while_idle(data_row(&[Some(b"\0\0\0\x01")]));
}

/// Case 3.
#[test]
fn an_unsolicited_error_closes_an_idle_connection() {
    unasked_while_idle(backend::error("XX000", "nobody asked"));
    unasked_while_idle(fatal("57P01", "terminating connection due to administrator command"));
}

/// Case 3.
#[test]
fn a_message_that_is_none_closes_an_idle_connection() {
    unasked_while_idle(backend::message(b'?', b"what"));
    unasked_while_idle(backend::announce(b'Z', 2));
}

/// Notices, notifications and parameter changes may come at any time.
#[test]
fn what_may_come_at_any_time_leaves_an_idle_connection_as_it_is() {
    let go = Flag::new();
    let said = [
        backend::notice("hear, hear"),
        backend::notification(1, "channel", "payload"),
        backend::parameter_status("TimeZone", "UTC"),
    ];
    let script = Script::new().connection(|steps| {
        steps
            .expect_startup_and_accept()
            .pause_until(&go)
            .send(said.concat())
            .answer_queries(|_| Answer::rows(&[], &[("seven", INT4)], |_| vec![vec![Value::Int4(7)]]))
    });
    let server = script.start();
    let test = TestPool::at(&server.url(), 1);
    drop(test.pool.connection().expect("lent"));
    go.raise();
    healthy(&test);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    drop(test);
    server.finish();
}

/// Case 3: the extra ReadyForQuery comes glued to the reply of a query, while the connection is lent.
#[test]
fn a_ready_for_query_too_many_shifts_no_answer() {
    let script = Script::new()
        .connection(|steps| {
            let both = [command_complete("DO"), ready(b'I'), ready(b'I')].concat();
            steps.expect_startup_and_accept().expect(b'Q').send(both).expect_close()
        })
        .connection(good);
    let server = script.start();
    let test = TestPool::at(&server.url(), 1);
    let lease = test.pool.connection().expect("lent");
    lease.script("a").expect("its own reply is whole");
    eventually("the driver has noticed", || test.pool.stats().closed == 1);
    let error = lease.script("b").expect_err("the connection is closed");
    assert!(error.is_closed(), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    drop(lease);
    healthy(&test);
    drop(test);
    server.finish();
}

/// Case 3: it comes when the next request is on its way already, where it could be taken for the answer.
#[test]
fn a_ready_for_query_too_many_is_not_taken_for_the_answer_to_the_next_script() {
    let script = Script::new()
        .connection(|steps| {
            let late = [ready(b'I'), command_complete("DO"), ready(b'I')].concat();
            steps
                .expect_startup_and_accept()
                .expect(b'Q')
                .send([command_complete("DO"), ready(b'I')].concat())
                .expect(b'Q')
                .send(late)
                .expect_close()
        })
        .connection(good);
    let server = script.start();
    let test = TestPool::at(&server.url(), 1);
    let lease = test.pool.connection().expect("lent");
    lease.script("a").expect("its own reply");
    let error = lease.script("b").expect_err("a ReadyForQuery alone is no answer to a query");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    drop(lease);
    healthy(&test);
    drop(test);
    server.finish();
}

/// The server says goodbye to idle sessions: they leave the pool before anybody borrows them.
#[test]
fn idle_connections_that_the_server_ended_are_never_lent() {
    let test = TestPool::new(3);
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    let old: Vec<_> = leases.iter().map(|lease| lease.process_id()).collect();
    drop(leases);
    eventually("all are idle", || test.pool.stats().idle == 3);
    let mut client = Client::connect(&server().url()).expect("the server answers");
    for process in &old {
        client.value(&format!("SELECT pg_terminate_backend({process})::text")).expect("terminated");
    }
    eventually("the pool has noticed", || test.pool.stats().idle == 0);
    assert_eq!(test.pool.stats().closed, 3);
    for _ in 0..3 {
        let lease = test.pool.connection().expect("lent");
        assert!(!old.contains(&lease.process_id()));
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    }
    test.finish();
}

/// A session that is ended under a running query: its asker hears why, those who wait get another session.
#[test]
fn a_running_query_whose_session_is_ended_fails_with_the_servers_reason_and_those_who_wait_do_not() {
    let test = TestPool::new(1);
    for round in 0..20 {
        let pool = test.pool.clone();
        let asker = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            lease.query("SELECT pg_sleep(60)::text", ()).value::<String>()
        });
        eventually("the query runs", || {
            test.sessions("AND state = 'active' AND query LIKE '%pg_sleep%'") == 1
        });
        let pool = test.pool.clone();
        let next = maypole::spawn(move || {
            let lease = pool.connection_within(Duration::from_secs(20))?;
            lease.query("SELECT $1::int4", (round,)).value::<i32>()
        });
        eventually("the next waits", || test.pool.stats().waiting == 1);
        let mut client = Client::connect(&server().url()).expect("the server answers");
        let sql = format!(
            "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = '{}'",
            test.name
        );
        client.value(&sql).expect("terminated");
        let error = asker.join().expect("no panic").expect_err("terminated");
        assert_eq!((error.sqlstate(), error.outcome()), (Some("57P01"), Outcome::Unknown), "{error:?}");
        assert_eq!(next.join().expect("no panic").expect("a session that lives"), round);
    }
    test.finish();
}

/// The same from a coroutine that goes on using its lease.
#[test]
fn a_lease_whose_session_is_ended_says_so_and_sends_nothing_more() {
    let test = TestPool::new(1);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let error = lease.query("SELECT pg_terminate_backend(pg_backend_pid())::text", ()).value::<String>();
        assert_eq!(error.expect_err("terminated").sqlstate(), Some("57P01"));
        let error = lease.query("SELECT 1", ()).value::<i32>().expect_err("the session is gone");
        assert!(error.is_closed() || error.sqlstate() == Some("57P01"), "{error:?}");
    });
    test.finish();
}
