//! A peer that is slow, or that takes nothing, costs no more time than the limits allow (reliability cases 33 and 34).

use std::time::{Duration, Instant};

use maypole::{Config, Phase};

use crate::support::backend::{bind_complete, command_complete, data_row, greeting, notice, ready};
use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Direction::Backend, Direction::Frontend, Proxy, every, nth};
use crate::support::raw::{Raw, echo};
use crate::support::script::Script;
use crate::support::server::server;

/// Far less than what dripping takes, far more than what a limit of 100 ms needs on a busy machine.
const BOUNDED: Duration = Duration::from_secs(8);
const DRIP: Duration = Duration::from_millis(80);
const LIMIT: Duration = Duration::from_millis(100);
const MEGABYTES: usize = 8 * 1024 * 1024;

/// Case 33.
#[test]
fn a_start_up_that_drips_ends_at_the_connect_limit() {
    assert!(DRIP * u32::try_from(greeting().len()).expect("short") > BOUNDED * 3);
    let dripping = Script::new()
        .any_further_connection(|steps| {
            steps.may_close().expect(crate::support::frame::STARTUP).drip(greeting(), DRIP)
        })
        .start();
    let config: Config = dripping.url().parse().expect("a good URL");
    let test = TestPool::built(&dripping.url(), |builder| {
        builder.config(config.connect_timeout(LIMIT)).limit(1).acquire_timeout(Duration::from_secs(30))
    });
    let start = Instant::now();
    let error = test.pool.connection().expect_err("the start-up is never over");
    // Callers are told after two seconds without any connection.
    assert!(start.elapsed() < Duration::from_secs(2) + BOUNDED, "{:?}", start.elapsed());
    assert_eq!(error.phase(), Some(Phase::Connect), "{error:?}");
    test.settled();
}

/// Case 33.
#[test]
fn a_reply_that_drips_ends_at_the_query_limit() {
    for coroutine in [false, true] {
        let reply =
            [bind_complete(), data_row(&[Some(&[7; 200])]), command_complete("SELECT 1"), ready(b'I')];
        let dripping = Script::new()
            .connection(move |steps| {
                steps
                    .expect_startup_and_accept()
                    .expect_all(b"PDS")
                    .send(crate::support::backend::parse_complete())
                    .send(crate::support::backend::parameter_description(&[]))
                    .send(crate::support::backend::row_description(&[("a", 17)]))
                    .send(ready(b'I'))
                    .expect_all(b"BES")
                    .may_close()
                    .drip(reply.concat(), DRIP)
            })
            .any_further_connection(|steps| steps.expect_startup_and_accept().answer_queries(echo))
            .start();
        let test = TestPool::at(&dripping.url(), 1);
        let db = maypole::Database::from(test.pool.clone());
        let ask = move || {
            let lease = db.pool().expect("a pool").connection().expect("lent");
            let start = Instant::now();
            let error =
                lease.query("SELECT a", ()).timeout(LIMIT).unique::<maypole::Row>().expect_err("too slow");
            assert!(start.elapsed() < BOUNDED, "{:?}", start.elapsed());
            assert_eq!(error.phase(), Some(Phase::Query), "{error:?}");
        };
        if coroutine {
            in_coroutine(ask);
        } else {
            ask();
        }
        // The clean-up waits no longer either, and the next borrower gets its own answer.
        let answer: i64 =
            test.db.query("SELECT $1", (77_i64,)).value().expect("an answer from another session");
        assert_eq!(answer, 77);
        test.settled();
    }
}

/// A peer that sends all the time, and never what is waited for, holds up neither its own connection's limit nor the
/// work of others (rules M16 and M17).
#[test]
fn a_start_up_flooded_with_notices_ends_at_the_connect_limit() {
    let flooding = Raw::start(|mut peer| {
        let notices = notice("nothing to see here").repeat(2000);
        if peer.startup() {
            while peer.send(&notices) {}
        }
    });
    let healthy = TestPool::new(1);
    let config: Config = flooding.url().parse().expect("a good URL");
    let tests: Vec<_> = (0..3)
        .map(|_| {
            TestPool::built(&flooding.url(), |builder| {
                builder.config(config.clone().connect_timeout(LIMIT)).limit(1).acquire_timeout(BOUNDED)
            })
        })
        .collect();
    let start = Instant::now();
    let waiting: Vec<_> = tests
        .iter()
        .map(|test| {
            let pool = test.pool.clone();
            std::thread::spawn(move || pool.connection().map(drop).expect_err("never over"))
        })
        .collect();
    assert_eq!(healthy.db.query("SELECT 1", ()).value::<i32>().expect("others work on"), 1);
    for waiting in waiting {
        let error = waiting.join().expect("no panic");
        assert!(error.is_timeout(), "{error:?}");
    }
    assert!(start.elapsed() < BOUNDED * 2, "{:?}", start.elapsed());
    for test in &tests {
        test.pool.start_closing();
    }
    eventually("the floods were given up", || tests.iter().all(|test| test.pool.is_drained()));
    healthy.finish();
}

#[test]
fn connections_flooded_with_notices_leave_the_others_their_turn() {
    let flood = Flag::new();
    let raised = flood.clone();
    let flooding = Raw::start(move |mut peer| {
        let notices = notice("nothing to see here").repeat(2000);
        if peer.enter() && raised.wait(Duration::from_secs(20)) {
            while peer.send(&notices) {}
        }
    });
    let healthy = TestPool::new(2);
    let flooded = TestPool::at(&flooding.url(), 3);
    let leases: Vec<_> = (0..3).map(|_| flooded.pool.connection().expect("lent")).collect();
    flood.raise();
    for _ in 0..20 {
        let db = maypole::Database::from(healthy.pool.clone());
        let answer = in_coroutine(move || db.query("SELECT 1", ()).timeout(BOUNDED).value::<i32>());
        assert_eq!(answer.expect("others work on"), 1);
    }
    let start = Instant::now();
    let error = leases[0].query("SELECT 1", ()).timeout(LIMIT).value::<i32>().expect_err("no answer comes");
    assert!(error.is_timeout(), "{error:?}");
    assert!(start.elapsed() < BOUNDED, "{:?}", start.elapsed());
    drop(leases);
    // Notices are allowed at any time, so the other two are good; the one that owes an answer is given up.
    eventually("the session that owes an answer is given up", || flooded.pool.stats().free == 1);
    healthy.finish();
}

/// Case 34: the server sends its 8 MB before it has read ours.
#[test]
fn eight_megabytes_up_while_eight_come_down_are_no_deadlock() {
    let server = Raw::start(|mut peer| {
        peer.enter();
        peer.serve_until_bind(|peer| {
            let row = data_row(&[Some(&vec![b'd'; MEGABYTES])]);
            let reply = [bind_complete(), row, command_complete("SELECT 1"), ready(b'I')].concat();
            // The first bytes of the request are there, and the others are not read before all this has gone.
            peer.await_bytes().expect("a request");
            assert!(peer.send(&reply), "the client reads while it writes");
        });
        peer.serve(echo, |_| true);
    });
    let test = TestPool::at(&server.url(), 1);
    let db = maypole::Database::from(test.pool.clone());
    let up = "u".repeat(MEGABYTES);
    let down: String = in_coroutine(move || db.query("SELECT down", (up,)).value()).expect("both ways");
    assert!(down.len() == MEGABYTES && down.bytes().all(|byte| byte == b'd'));
    assert_eq!(test.db.query("SELECT $1", (9_i64,)).value::<i64>().expect("the session works on"), 9);
    test.settled();
}

/// Case 34, on the real server: many at once, so that both directions are full.
#[test]
fn eight_megabytes_both_ways_on_the_real_server() {
    let test = TestPool::at(&server().tcp_url(), 4);
    let workers: Vec<_> = (0..8_u8)
        .map(|number| {
            let db = maypole::Database::from(test.pool.clone());
            maypole::spawn(move || {
                let up = vec![number; MEGABYTES];
                let down: Vec<u8> =
                    db.query("SELECT $1::bytea", (&up,)).timeout(None).value().expect("both ways");
                assert!(down == up, "somebody else's bytes");
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    test.finish();
}

/// Case 34: the peer dies while both directions are full.
#[test]
fn a_peer_that_dies_under_a_large_request_is_an_error_in_time() {
    for reset in [false, true] {
        let proxy = Proxy::start(&server().tcp_url());
        let test = TestPool::at(&proxy.url(), 1);
        test.db.query("SELECT $1::text", ("warm",)).rows::<maypole::Row>().expect("warm");
        let rule = if reset {
            proxy.on(Frontend, b'B', nth(1)).cut_after_bytes(MEGABYTES / 3)
        } else {
            proxy.on(Backend, b'D', nth(1)).cut_after_bytes(MEGABYTES / 3)
        };
        let start = Instant::now();
        let up = "u".repeat(MEGABYTES);
        let error =
            test.db.query("SELECT $1::text", (up,)).rows::<maypole::Row>().expect_err("the peer died");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(error.is_closed(), "{error:?}");
        assert_eq!(error.outcome(), maypole::Outcome::Unknown);
        rule.release();
        test.finish();
    }
}

/// Case 34: the peer takes nothing any more, and does not die either.
#[test]
fn a_peer_that_goes_deaf_under_a_large_request_is_an_error_in_time() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT $1::text", ("warm",)).rows::<maypole::Row>().expect("warm");
    let held = proxy.on(Frontend, b'B', every()).hold_after_bytes(1);
    let start = Instant::now();
    // More than the proxy and all the buffers of the system take.
    let up = "u".repeat(MEGABYTES * 4);
    let error =
        test.db.query("SELECT $1::text", (up,)).timeout(LIMIT).rows::<maypole::Row>().expect_err("deaf");
    assert!(error.is_timeout() && error.outcome() == maypole::Outcome::Unknown, "{error:?}");
    assert!(start.elapsed() < BOUNDED, "{:?}", start.elapsed());
    eventually("the clean-up gives the session up", || test.pool.stats().free == 1);
    held.release();
    test.finish();
}
