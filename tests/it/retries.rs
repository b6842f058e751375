//! What makes a transaction function run again, and what does not (reliability cases 17 and 52).

mod attempts;
mod contention;
mod duplicates;
mod limits;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use maypole::{Result, TxOptions};

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// How long the machine may be busy with something else.
const SLACK: Duration = Duration::from_secs(5);

const STUBBORN: TxOptions = TxOptions::new().name("stubborn").retries(3);

fn client() -> Client {
    Client::connect(&server().url()).expect("the server answers")
}

fn run(sql: &str) {
    client().query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn count(table: &str) -> usize {
    client().value(&format!("SELECT count(*) FROM {table}")).expect("a count").parse().expect("a number")
}

/// A statement that fails with this SQLSTATE as often as asked, and then tells how often it has run. It counts in a
/// sequence, which no rollback turns back.
fn failing(name: &str, times: u32, code: &str) -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        run("CREATE FUNCTION fail_at_first(counter regclass, times int8, code text) RETURNS int8 LANGUAGE plpgsql AS $$
             DECLARE number int8 := nextval(counter);
             BEGIN
                 IF number <= times THEN
                     RAISE EXCEPTION 'failure number %', number USING ERRCODE = code;
                 END IF;
                 RETURN number;
             END $$");
    });
    run(&format!("CREATE SEQUENCE failures_of_{name}"));
    format!("SELECT fail_at_first('failures_of_{name}', {times}, '{code}')")
}

/// Counts calls.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn call(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// How often a function runs that does nothing but this statement, and what comes of it.
fn attempts(test: &TestPool, options: &TxOptions, sql: &str) -> (usize, Result<i64>) {
    let calls = Calls::default();
    let result = test.db.transaction_with(options, |q| {
        calls.call();
        q.query(sql, ()).value::<i64>()
    });
    (calls.count(), result)
}

/// A lock of the server's that is held until this is dropped.
struct Lock {
    _holder: Client,
    /// The statement that waits for it.
    wait: String,
}

impl Lock {
    fn take(key: u32) -> Lock {
        let mut holder = client();
        holder.query(&format!("SELECT pg_advisory_lock({key})")).expect("nobody else has it");
        Lock { _holder: holder, wait: format!("SELECT pg_advisory_xact_lock({key})") }
    }
}
