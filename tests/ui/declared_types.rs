//! Types that do not fit, in declarations and in calls.

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");
static NO_DATABASE: i32 = 1;

struct Celsius(f64);

#[query(DB, "UPDATE weather SET temperature = :temperature WHERE city = ANY(:cities)")]
fn measure(temperature: Celsius, cities: std::collections::BTreeSet<String>) -> Query;

#[select(NO_DATABASE, "SELECT 1")]
fn elsewhere() -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE id = :id")]
fn get_customer(id: i32) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE id = :id AND name = :name")]
fn another_lifetime<'a>(id: &'a i32, name: &str) -> Query<'a, i32>;

/// A struct without FromRow.
struct Customer;

#[select(DB, "SELECT id FROM customers")]
fn no_rows() -> Query<Customer>;

fn main() {
    let _ = measure(Celsius(20.0), std::collections::BTreeSet::new()).run();
    let _ = elsewhere().unique();
    let _ = get_customer("52").unique();
    let _ = get_customer().unique();
}
