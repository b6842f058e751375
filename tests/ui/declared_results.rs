//! What is not the result of a declared query. Each mistake is reported once.

use maypole::{Database, FromRow, Query, Result, query, select};

static DB: Database = Database::named("database");

#[derive(FromRow)]
struct Customer {
    id: i32,
}

#[query(DB, "UPDATE customers SET name = 'a'")]
fn nothing();

#[select(DB, "SELECT id FROM customers")]
fn a_row() -> Customer;

#[select(DB, "SELECT id FROM customers")]
fn a_result() -> Result<Customer>;

#[select(DB, "SELECT id FROM customers")]
fn a_result_of_rows() -> Result<Vec<Customer>, maypole::Error>;

#[query(DB, "UPDATE customers SET name = 'a'")]
fn a_result_of_nothing() -> Result<()>;

#[select(DB, "SELECT id FROM customers")]
fn rows() -> Vec<Customer>;

#[select(DB, "SELECT id FROM customers")]
fn perhaps_a_row() -> Option<Customer>;

#[select(DB, "SELECT id FROM customers")]
fn some_rows() -> impl Iterator<Item = Customer>;

#[select(DB, "SELECT id, name FROM customers")]
fn two_types() -> Query<i32, Option<String>>;

#[select(DB, "SELECT name FROM customers")]
fn a_borrowed_row() -> Query<&str>;

#[query(DB, "UPDATE customers SET name = 'a'")]
fn rows_of_an_update() -> Query<Customer>;

#[query(DB, "UPDATE customers SET name = 'a'", not_null = ["name"])]
fn columns_of_an_update() -> Query;

#[select(DB, "SELECT id FROM customers")]
fn a_result_of_a_query() -> Result<Query<Customer>>;

#[query(DB, "UPDATE customers SET name = 'a'")]
fn perhaps_a_query() -> Option<Query>;

type Q<'q, T> = Query<'q, T>;

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn an_alias(name: &str) -> Q<Customer>;

fn main() {
    let _ = nothing().run();
    let _ = rows_of_an_update().unique();
    let _ = columns_of_an_update().run();
}
