//! Lengths that no message should have, in either direction (reliability cases 38 and 39). How much memory they cost is
//! measured in `tests/memory.rs`.

use maypole::{Config, Outcome, Row};

use crate::support::backend::{
    announce, authentication_ok, bind_complete, command_complete, data_row, ready,
};
use crate::support::eventually::eventually;
use crate::support::frame::STARTUP;
use crate::support::pool::TestPool;
use crate::support::proxy::{Direction::Frontend, Proxy};
use crate::support::raw::{Raw, echo};
use crate::support::script::Script;
use crate::support::server::server;

/// Two gigabytes, nothing (a length counts itself), less than nothing.
const IMPOSSIBLE: [i32; 6] = [i32::MAX, i32::MIN, -1, 0, 3, -30_000];

/// Case 38: more than 30,000 bytes is too much before the server has let us in.
#[test]
fn a_hostile_header_before_authentication_is_refused() {
    for length in IMPOSSIBLE.into_iter().chain([30_001]) {
        for tag in [b'R', b'E', b'N', b'S'] {
            let hostile = Script::new()
                .any_further_connection(move |steps| {
                    steps.may_close().expect(STARTUP).send(announce(tag, length)).expect_close()
                })
                .start();
            let test = TestPool::at(&hostile.url(), 1);
            let chain = test.why_not();
            assert!(chain.contains("the server broke the protocol"), "{length} {tag}: {chain}");
            test.pool.start_closing();
            eventually("nothing is left", || test.pool.is_drained());
        }
    }
}

/// Case 38.
#[test]
fn a_hostile_header_between_authentication_and_readiness_is_refused() {
    for length in IMPOSSIBLE {
        let hostile = Script::new()
            .any_further_connection(move |steps| {
                let bytes = [authentication_ok(), announce(b'S', length)].concat();
                steps.may_close().expect(STARTUP).send(bytes).expect_close()
            })
            .start();
        let test = TestPool::at(&hostile.url(), 1);
        let chain = test.why_not();
        assert!(chain.contains("the server broke the protocol"), "{length}: {chain}");
        test.pool.start_closing();
        eventually("nothing is left", || test.pool.is_drained());
    }
}

/// Case 38.
#[test]
fn a_hostile_header_in_a_reply_closes_the_connection() {
    for length in IMPOSSIBLE {
        for tag in [b'2', b'D', b'N', b'Z'] {
            let hostile = Raw::start(move |mut peer| {
                peer.enter();
                if peer.number == 1 {
                    peer.serve(echo, |out| {
                        if out.contains(&b'D') {
                            *out = announce(tag, length);
                        }
                        true
                    });
                } else {
                    peer.serve(echo, |_| true);
                }
            });
            let test = TestPool::at(&hostile.url(), 1);
            let lease = test.pool.connection().expect("lent");
            let error = lease.query("SELECT $1", (1_i64,)).value::<i64>().expect_err("refused");
            assert!(error.is_closed(), "{length} {tag}: {error:?}");
            assert_eq!(error.outcome(), Outcome::Unknown);
            drop(lease);
            assert_eq!(test.db.query("SELECT $1", (2_i64,)).value::<i64>().expect("another session"), 2);
            test.settled();
        }
    }
}

/// Case 38: while nobody asks anything.
#[test]
fn a_hostile_header_on_an_idle_connection_closes_it_before_it_is_lent() {
    for length in IMPOSSIBLE {
        let hostile = Raw::start(move |mut peer| {
            peer.enter();
            if peer.number == 1 {
                peer.send(&announce(b'N', length));
                while peer.receive().is_some() {}
            } else {
                peer.serve(echo, |_| true);
            }
        });
        let test = TestPool::at(&hostile.url(), 1);
        // It may be lent in the instant before the header comes, but then the query fails; never is a wrong answer.
        drop(test.pool.connection());
        eventually("it has left", || test.pool.stats().closed == 1);
        assert_eq!(test.db.query("SELECT $1", (2_i64,)).value::<i64>().expect("another session"), 2);
        test.settled();
    }
}

fn limited(url: &str, bytes: usize) -> TestPool {
    let config: Config = url.parse().expect("a good URL");
    TestPool::built(url, |builder| {
        builder.config(config.max_message_size(bytes).application_name("limited")).limit(1)
    })
}

/// Case 39.
#[test]
fn a_value_over_the_limit_is_refused_before_a_byte_is_sent() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = limited(&proxy.url(), 100_000);
    assert_eq!(test.db.query("SELECT length($1)", ("warm",)).value::<i32>().expect("short"), 4);
    let sent = |tag| proxy.all().count(Frontend, tag);
    let before = [sent(b'B'), sent(b'E'), sent(b'S')];
    for (whole, part) in [(100_001, 1), (99_990, 99_990), (5_000_000, 1)] {
        let lease = test.pool.connection().expect("lent");
        let error =
            lease.query("SELECT length($1)", ("x".repeat(whole),)).value::<i32>().expect_err("too long");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert!(error.to_string().contains("max_message_size"), "{error}");
        // The same session, and not one byte of it has gone there.
        let length = lease.query("SELECT length($1)", ("x".repeat(part.min(90_000)),)).value::<i32>();
        assert_eq!(length.expect("short enough"), i32::try_from(part.min(90_000)).expect("small"));
    }
    // Each round ran one query and no more.
    assert_eq!([sent(b'B'), sent(b'E'), sent(b'S')], before.map(|count| count + 3));
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}

/// Case 39.
#[test]
fn a_statement_over_the_limit_is_refused_before_a_byte_is_sent() {
    let proxy = Proxy::start(&server().tcp_url());
    let test = limited(&proxy.url(), 100_000);
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("short"), 1);
    let long = format!("SELECT 1 -- {}", "x".repeat(100_000));
    let before = proxy.all().seen().iter().filter(|event| event.direction == Frontend).count();
    for error in [
        test.db.query(&long, ()).run().map(drop).expect_err("too long"),
        test.db.script(&long).expect_err("too long"),
        test.db.query(&long, ()).iter::<i32>().next().expect("an item").map(drop).expect_err("too long"),
    ] {
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert!(error.to_string().contains("max_message_size"), "{error}");
    }
    let after = proxy.all().seen().iter().filter(|event| event.direction == Frontend).count();
    assert_eq!(after, before, "something of it was sent");
    // Inside a transaction nothing was sent either, so it goes on.
    let sum = test.db.transaction(|q| {
        assert!(q.query(&long, ()).run().is_err());
        q.query("SELECT 2", ()).value::<i32>()
    });
    assert_eq!(sum.expect("committed"), 2);
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}

/// Case 39, the way down: one message, and a reply of many.
#[test]
fn a_reply_over_the_limit_closes_the_connection_with_a_clear_error() {
    let proxy = Proxy::start(&server().tcp_url());
    for sql in ["SELECT repeat('x', 200000)", "SELECT repeat('x', 1000) FROM generate_series(1, 200)"] {
        let test = limited(&proxy.url(), 100_000);
        let lease = test.pool.connection().expect("lent");
        let error = lease.query(sql, ()).rows::<Row>().expect_err("too long");
        assert!(error.is_closed(), "{error:?}");
        assert!(format!("{error:?}").contains("max_message_size"), "{error:?}");
        assert!(lease.query("SELECT 1", ()).rows::<maypole::Row>().is_err(), "the connection is closed");
        drop(lease);
        assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("another session"), 2);
        assert_eq!(test.pool.stats().opened, 2);
        test.settled();
    }
}

/// Case 39: what is too long at once can be streamed.
#[test]
fn a_result_over_the_limit_can_be_streamed_in_chunks_below_it() {
    let test = limited(&server().tcp_url(), 100_000);
    let mut rows = 0;
    for row in
        test.db.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000)", ()).chunk(20).iter::<String>()
    {
        assert_eq!(row.expect("a row").len(), 1000);
        rows += 1;
    }
    assert_eq!(rows, 1000);
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}

/// Case 39: a reply that nobody waits for any more may be as long as it likes.
#[test]
fn an_abandoned_reply_over_the_limit_is_thrown_away() {
    let long = Raw::start(|mut peer| {
        if !peer.enter() {
            return;
        }
        peer.serve_until_bind(|peer| {
            peer.await_bytes().expect("a request");
            peer.send(&bind_complete());
            // The caller has given up by the time that the first of these is read.
            std::thread::sleep(std::time::Duration::from_millis(600));
            for _ in 0..1000 {
                peer.send(&data_row(&[Some(&[b'x'; 1000])]));
            }
            peer.send(&[command_complete("SELECT 1000"), ready(b'I')].concat());
        });
        peer.serve(echo, |_| true);
    });
    let test = limited(&long.url(), 100_000);
    let limit = std::time::Duration::from_millis(50);
    let error = test.db.query("SELECT long", ("",)).timeout(limit).rows::<Row>().expect_err("too slow");
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(test.db.query("SELECT $1", (3_i64,)).value::<i64>().expect("the same session"), 3);
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}
