//! Looking at the shared server past the library. Uses: client, server.

use super::client::Client;
use super::server::server;

/// Runs statements.
#[track_caller]
pub(crate) fn run(sql: &str) {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The ids in a table, in order.
#[track_caller]
pub(crate) fn ids(table: &str) -> Vec<i32> {
    numbers(&format!("SELECT id FROM {table} ORDER BY id"))
}

/// The only column of a query's rows.
#[track_caller]
pub(crate) fn numbers(sql: &str) -> Vec<i32> {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    let rows = client.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| row[0].as_deref().expect("no NULL").parse().expect("a number")).collect()
}
