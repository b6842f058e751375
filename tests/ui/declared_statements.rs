//! What SQL can't be declared so. Each mistake is reported once.

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");

#[select(DB, "")]
fn empty() -> Query<i32>;

#[select(DB, "\n  ;  \n")]
fn semicolon() -> Query<i32>;

#[select(DB, "-- SELECT 1\n/* SELECT 2 */")]
fn comments() -> Query<i32>;

#[query(DB, "SELECT 'a\0b'")]
fn nul() -> Query<String>;

#[select(DB, "SELECT 'Leonard FROM customers")]
fn a_quote_without_end() -> Query<String>;

#[select(DB, "SELECT 1 /* one /* nested */")]
fn a_comment_without_end() -> Query<i32>;

#[select(DB, "SELECT $x$ FROM customers")]
fn a_dollar_quote_without_end() -> Query<i32>;

#[query(DB, "UPDATE customers SET name = :name; UPDATE suppliers SET name = :name")]
fn several(name: &str) -> Query;

#[select(DB, "UPDATE customers SET name = :name")]
fn a_write(name: &str) -> Query;

#[select(DB, "SELECT id FROM customers WHERE id = :id FOR UPDATE")]
fn a_lock(id: i32) -> Query<i32>;

#[select(DB, "SELECT nextval('numbers')")]
fn a_number() -> Query<i64>;

#[select(DB, "WITH gone AS (DELETE FROM customers RETURNING id) SELECT id FROM gone")]
fn a_write_inside() -> Query<i32>;

#[select(DB, "SELEC id FROM customers")]
fn a_slip() -> Query<i32>;

#[select(DB, "LISTEN news")]
fn news() -> Query;

#[select(DB, r#"
    SELECT id, pg_notify('news', :nmae)
      FROM customers
     WHERE name = :name
"#)]
fn several_mistakes(name: &str, age: i32) -> Query<i32>;

fn main() {
    let _ = empty().unique();
    let _ = semicolon().unique();
    let _ = comments().unique();
    let _ = nul().unique();
    let _ = a_quote_without_end().unique();
    let _ = a_comment_without_end().unique();
    let _ = a_dollar_quote_without_end().unique();
    let _ = several("a").run();
    let _ = a_write("a").run();
    let _ = a_lock(1).unique();
    let _ = a_number().unique();
    let _ = a_write_inside().unique();
    let _ = news().run();
    let _ = several_mistakes("a", 1).unique();
}
