//! What is not used is reported once, as it is of other functions.

#![deny(dead_code, unused_must_use, unused_variables)]

use maypole::{Database, Result, Tx, transaction};

static DB: Database = Database::named("database");

#[transaction(DB)]
fn not_called(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 3)]
pub fn without_transaction(q: &Tx, id: i32, name: String) -> Result<()> {
    Ok(())
}

#[transaction(DB)]
fn only_within(q: &Tx) -> Result<()> {
    q.script("")
}

fn main() {
    let _ = without_transaction(1, String::new());
    let _ = DB.transaction(|q| only_within::within(q));
    without_transaction(2, String::new());
}
