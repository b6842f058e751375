//! Parameters: all of a request is sent or nothing of it, whatever the values do (reliability case 6).

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use maypole::types::{IsNull, Type, to_sql_checked};
use maypole::{Lease, Outcome, Result, ToSql};
use parking_lot::ReentrantMutex;

use crate::support::pool::TestPool;
use crate::support::proxy::{Frontend, Proxy};
use crate::support::server::server;

const FIVE: &str = "SELECT $1::int4 + $2::int4 + $3::int4 + $4::int4 + $5::int4";

/// A value that does something while it is encoded.
struct Acts<F>(F);

impl<F> std::fmt::Debug for Acts<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acts")
    }
}

impl<F: Fn(&mut Vec<u8>) -> Result<(), String>> ToSql for Acts<F> {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let mut bytes = Vec::new();
        let result = (self.0)(&mut bytes);
        out.extend_from_slice(&bytes);
        result?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What the client has sent so far.
fn sent(proxy: &Proxy) -> usize {
    proxy.all().seen().iter().filter(|event| event.direction == Frontend).count()
}

/// A pool behind a proxy, with the five parameters prepared.
fn prepared(limit: usize) -> (Proxy, TestPool) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), limit);
    let sum = test.db.query(FIVE, (1, 2, 3, 4, 5)).value::<i32>().expect("prepared");
    assert_eq!(sum, 15);
    (proxy, test)
}

fn is_usable(lease: &Lease, process: i32) {
    assert_eq!(lease.query(FIVE, (1, 2, 3, 4, 5)).value::<i32>().expect("an answer"), 15);
    assert_eq!(lease.process_id(), process);
}

/// Case 6.
#[test]
fn a_parameter_that_cannot_be_encoded_is_named_and_nothing_is_sent() {
    let (proxy, test) = prepared(1);
    let lease = test.pool.connection().expect("lent");
    let process = lease.process_id();
    let half = Acts(|bytes: &mut Vec<u8>| {
        bytes.extend([0; 10]);
        Err("no more".to_owned())
    });
    let before = sent(&proxy);
    let wrong_type = lease.query(FIVE, (1, 2, "three", 4, 5)).value::<i32>();
    let half_way = lease.query(FIVE, (1, 2, &half, 4, 5)).value::<i32>();
    let streamed = lease.query(FIVE, (1, 2, &half, 4, 5)).iter::<i32>().next().expect("an item");
    let too_few = lease.query(FIVE, (1, 2, 3, 4)).value::<i32>();
    assert_eq!(sent(&proxy), before, "nothing was sent");
    for error in [&wrong_type, &half_way, &streamed] {
        let error = error.as_ref().expect_err("it cannot be encoded");
        assert!(error.to_string().contains("parameter $3"), "{error}");
        assert!(error.to_string().contains("int4"), "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
    let error = too_few.expect_err("one is missing");
    assert!(error.to_string().contains("has 5 parameters, 4 were given"), "{error}");
    is_usable(&lease, process);
    drop(lease);
    test.finish();
}

/// Case 6, inside a transaction: it goes on.
#[test]
fn a_parameter_that_cannot_be_encoded_leaves_its_transaction_as_it_is() {
    let (_proxy, test) = prepared(1);
    let sum = test.db.transaction(|q| {
        q.query(FIVE, (1, 2, "three", 4, 5)).value::<i32>().expect_err("it cannot be encoded");
        q.query(FIVE, (1, 2, 3, 4, 5)).value::<i32>()
    });
    assert_eq!(sum.expect("committed"), 15);
    test.finish();
}

/// Case 6.
#[test]
fn a_parameter_that_panics_sends_nothing_and_the_connection_goes_on() {
    let (proxy, test) = prepared(1);
    let lease = test.pool.connection().expect("lent");
    let process = lease.process_id();
    let panics = Acts(|bytes: &mut Vec<u8>| {
        bytes.extend([0; 10]);
        panic!("in the middle")
    });
    let before = sent(&proxy);
    let run = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    run(&|| drop(lease.query(FIVE, (1, 2, &panics, 4, 5)).value::<i32>()));
    run(&|| drop(lease.query(FIVE, (1, 2, &panics, 4, 5)).iter::<i32>()));
    assert_eq!(sent(&proxy), before, "nothing was sent");
    is_usable(&lease, process);
    drop(lease);
    run(&|| drop(test.db.query(FIVE, (1, 2, &panics, 4, 5)).value::<i32>()));
    run(&|| drop(test.db.query(FIVE, (1, 2, &panics, 4, 5)).iter::<i32>()));
    run(&|| drop(test.db.transaction(|q| q.query(FIVE, (1, 2, &panics, 4, 5)).value::<i32>())));
    test.finish();
}

/// Case 6: while the third of five values is encoded, the same connection is asked something else.
#[test]
fn a_parameter_may_query_the_connection_that_it_is_sent_on() {
    let test = TestPool::new(1);
    let lease = ReentrantMutex::new(test.pool.connection().expect("lent"));
    let asks = Acts(|bytes: &mut Vec<u8>| {
        let lease = lease.lock();
        let three: i32 = lease.query("SELECT 3", ()).value().map_err(|error| error.to_string())?;
        let streamed: Result<Vec<i32>> =
            lease.query("SELECT generate_series(1, 5)", ()).chunk(2).iter().collect();
        assert_eq!(streamed.map_err(|error| error.to_string())?.len(), 5);
        bytes.extend(three.to_be_bytes());
        Ok(())
    });
    for _ in 0..3 {
        let lease = lease.lock();
        assert_eq!(lease.query(FIVE, (1, 2, &asks, 4, 5)).value::<i32>().expect("an answer"), 15);
        let streamed = lease.query(FIVE, (1, 2, &asks, 4, 5)).iter::<i32>().next().expect("an item");
        assert_eq!(streamed.expect("an answer"), 15);
        let inside = lease.transaction(|q| q.query(FIVE, (1, 2, &asks, 4, 5)).value::<i32>());
        assert_eq!(inside.expect("an answer"), 15);
    }
    drop(lease);
    test.finish();
}

/// The same where the question evicts the statement that is about to be sent.
#[test]
fn a_parameter_may_make_the_connection_forget_the_statement_it_belongs_to() {
    let test = TestPool::configured(
        &server().url(),
        |config| config.statement_cache_capacity(1),
        |builder| builder.limit(1),
    );
    let lease = ReentrantMutex::new(test.pool.connection().expect("lent"));
    let asks = Acts(|bytes: &mut Vec<u8>| {
        let lease = lease.lock();
        for text in ["SELECT 1", "SELECT 2", "SELECT 3"] {
            let answer: i32 = lease.query(text, ()).value().map_err(|error| error.to_string())?;
            if text == "SELECT 3" {
                bytes.extend(answer.to_be_bytes());
            }
        }
        Ok(())
    });
    for _ in 0..3 {
        assert_eq!(lease.lock().query(FIVE, (1, 2, &asks, 4, 5)).value::<i32>().expect("an answer"), 15);
    }
    drop(lease);
    test.finish();
}

/// A value that does not fit into a message is refused before a byte is sent.
#[test]
fn a_parameter_longer_than_the_longest_message_is_refused_and_nothing_is_sent() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::configured(
        &proxy.url(),
        |config| config.max_message_size(100_000),
        |builder| builder.limit(1),
    );
    let length = |text: &str| test.db.query("SELECT length($1::text)", (text,)).value::<i32>();
    assert_eq!(length("short").expect("an answer"), 5);
    let before = sent(&proxy);
    let error = length(&"x".repeat(100_001)).expect_err("too long");
    assert_eq!(sent(&proxy), before, "nothing was sent");
    assert!(error.to_string().contains("max_message_size"), "{error}");
    assert_eq!(length(&"x".repeat(99_000)).expect("an answer"), 99_000);
    assert_eq!(proxy.accepted(), 1);
    test.finish();
}

/// No value reaches the text of an error.
#[test]
fn no_error_shows_the_value_of_a_parameter() {
    let test = TestPool::new(1);
    let secret = "hunter2";
    let errors = [
        test.db.query("SELECT $1::int4", (secret,)).value::<i32>().expect_err("no number"),
        test.db.query("SELECT 1 / length($1) - 1, nothing", (secret,)).value::<i32>().expect_err("no column"),
        test.db.query("SELECT $1::text", (secret,)).value::<i32>().expect_err("no number"),
    ];
    for error in errors {
        assert!(!format!("{error:?} {error}").contains(secret), "{error:?}");
    }
    let query = test.db.query("SELECT $1::text", (secret,));
    assert!(!format!("{query:?}").contains(secret));
    test.finish();
}
