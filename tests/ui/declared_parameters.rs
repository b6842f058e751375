//! Parameters that do not fit the arguments. Each mistake is reported once.

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");

#[select(DB, "SELECT id FROM customers WHERE name = :nmae")]
fn misspelt(name: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name AND age > :minimum")]
fn unknown(name: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn without_arguments() -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn unused(name: &str, age: i32, country: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :Name")]
fn in_capitals(name: &str) -> Query<i32>;

#[select(
    DB,
    r#"
    SELECT id
      FROM customers
     WHERE größe > :größe
       AND name = :nmae
       AND age > :agee
    "#
)]
fn on_several_lines(größe: i32, name: &str, age: i32) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = $1")]
fn numbered(name: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name AND age > $2")]
fn named_and_numbered(name: &str, age: i32) -> Query<i32>;

#[select(DB, "SELECT list[1:n] FROM customers")]
fn a_slice(n: i32) -> Query<Vec<i32>>;

#[select(DB, "SELECT id FROM customers WHERE type = :tpye")]
fn raw(r#type: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE id IN (:ids)")]
fn in_a_slice(ids: &[i32]) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE id IN (:ids) OR name NOT IN (:names)")]
fn in_lists(ids: Vec<i32>, names: Option<[&str; 2]>) -> Query<i32>;

#[query(DB, "DELETE FROM customers WHERE id IN (:id) AND picture IN (:bytes) AND nmae = :nmae")]
fn in_single_values(id: i32, bytes: &[u8], name: &str) -> Query;

#[select(DB, "SELECT id FROM customers WHERE name = ? AND age > ?")]
fn question_marks(name: &str, age: i32) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = {name} AND age > @age AND country = $country")]
fn as_elsewhere(name: &str, age: i32, country: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers ORDER BY :column")]
fn sorted(column: &str) -> Query<i32>;

#[select(
    DB,
    r#"
    SELECT country, count(*), row_number() OVER (PARTITION BY :c ORDER BY :b DESC)
      FROM customers
     GROUP BY country, :a::text
     ORDER BY count(*) <-> :n, :b DESC
     LIMIT :n
    "#
)]
fn grouped(a: &str, b: &str, c: &str, n: i64) -> Query<(String, i64, i64)>;

fn main() {
    let _ = question_marks("a", 1).unique();
    let _ = as_elsewhere("a", 1, "b").unique();
    let _ = sorted("name").rows();
    let _ = grouped("a", "b", "c", 1).rows();
    let _ = misspelt("a").unique();
    let _ = unknown("a").unique();
    let _ = without_arguments().unique();
    let _ = unused("a", 1, "b").unique();
    let _ = in_capitals("a").unique();
    let _ = on_several_lines(1, "a", 1).unique();
    let _ = numbered("a").unique();
    let _ = named_and_numbered("a", 1).unique();
    let _ = a_slice(1).value();
    let _ = raw("a").unique();
    let _ = in_a_slice(&[1]).unique();
    let _ = in_lists(vec![1], Some(["a", "b"])).unique();
    let _ = in_single_values(1, b"a", "a").run();
}
