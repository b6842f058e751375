//! A query that is built and not run does nothing.

#![deny(unused_must_use)]

use maypole::{Database, Query, query};

static DB: Database = Database::named("database");

#[query(DB, "DELETE FROM customers WHERE id = :id")]
fn remove(id: i32) -> Query;

fn main() {
    remove(52);
}
