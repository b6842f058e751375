//! Names that are taken are reported once.

use std::collections::BTreeMap as customers_by_name;

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn get_customer(name: &str) -> Query<i32>;

#[query(DB, "UPDATE customers SET name = :name WHERE id = :id RETURNING name")]
fn get_customer(id: i32, name: &str) -> Query<String>;

#[select(DB, "SELECT id FROM customers")]
fn customers_by_name() -> Query<i32>;

mod visible {
    use maypole::{Query, select};

    #[select(super::DB, "SELECT 1")]
    pub(crate) fn one() -> Query<i32>;

    #[select(super::DB, "SELECT 1")]
    pub(crate) fn one() -> Query<i32>;
}

fn main() {
    let _: customers_by_name<i32, i32> = customers_by_name::new();
    let _ = get_customer("a").unique();
    let _ = (get_customer::SQL, get_customer::LINE);
    let _ = visible::one().unique();
}
