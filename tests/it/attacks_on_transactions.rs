//! What was found by attacking transactions: false successes, hangs, retries that did not happen, errors that lied.

mod ends;
mod later;
mod model;
mod odd;
mod savepoints;
mod servers;
mod streams;

use maypole::TxOptions;

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::proxy::Proxy;
use crate::support::server::server;

const STUBBORN: TxOptions = TxOptions::new().retries(3).name("stubborn");

/// Looks past the library.
fn ids(table: &str) -> Vec<i32> {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    let rows = client.query(&format!("SELECT id FROM {table} ORDER BY id")).expect("rows");
    rows.iter().map(|row| row[0].as_deref().expect("no NULL").parse().expect("a number")).collect()
}

/// A table with rows.
fn table(name: &str, ids: &[i32]) {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.query(&format!("CREATE TABLE {name} (id int4 PRIMARY KEY)")).expect("a table");
    for id in ids {
        client.query(&format!("INSERT INTO {name} VALUES ({id})")).expect("a row");
    }
}

/// A pool of one behind a proxy.
fn behind_a_proxy() -> (Proxy, TestPool) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    (proxy, test)
}
