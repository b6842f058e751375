//! Names that nothing has are reported once each.

use maypole::{Database, Query, select};

static DB: Database = Database::named("database");

#[select(NOWHERE, "SELECT 1")]
fn nowhere() -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE id = :id")]
fn unknown_types(id: Option<Missing>) -> Query<Absent>;

fn main() {
    let _ = nowhere().unique();
    let _ = unknown_types(None).unique();
}
