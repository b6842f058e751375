//! Five declared queries, a different mistake in each, and what `DB.check()` says of them.
//!
//! `cargo run --example check`

use std::error::Error;
use std::process::ExitCode;

use maypole::{Database, FromRow, Query, select};

static DB: Database = Database::named("database");

const SCHEMA: &str = "
    CREATE TABLE customers (
        id int4 PRIMARY KEY,
        name text NOT NULL,
        email text
    );
    CREATE TABLE orders (
        id int8 PRIMARY KEY,
        customer int4 NOT NULL REFERENCES customers,
        total int8 NOT NULL
    );
";

#[derive(FromRow)]
#[allow(dead_code, reason = "nothing is read here, only checked")]
struct Customer {
    id: i32,
    name: String,
    phone: Option<String>,
}

/// A misspelt column.
#[select(DB, "SELECT id FROM customers WHERE nmae = :name")]
fn find_customer(name: &str) -> Query<i32>;

/// A parameter of another type.
#[select(DB, "SELECT name FROM customers WHERE id = :id")]
fn customer_name(id: &str) -> Query<String>;

/// A column of another type.
#[select(DB, "SELECT id, total FROM orders WHERE customer = :customer")]
fn orders_of(customer: i32) -> Query<(i32, i64)>;

/// A field without a column, and a column without a field.
#[select(DB, "SELECT id, name, email FROM customers WHERE id = :id")]
fn get_customer(id: i32) -> Query<Customer>;

/// A customer without orders has no total.
#[select(
    DB,
    "SELECT c.name, o.total
       FROM customers c
       LEFT JOIN orders o ON o.customer = c.id"
)]
fn totals() -> Query<(String, i64)>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    println!("{}", check()?);
    Ok(ExitCode::FAILURE)
}

/// What the check says. A program of your own writes `DB.check()?` in `main`, and `DB.check().unwrap()` in a test.
fn check() -> Result<maypole::Error, Box<dyn Error>> {
    if std::env::var_os("MAYPOLE_SETTINGS").is_none() {
        // app.toml is looked for from the working directory upward; this program has its own.
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/check"))?;
    }
    DB.script(SCHEMA)?;
    DB.check().err().ok_or_else(|| "five mistakes were not found".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_shows_what_this_program_prints() {
        let report = super::check().expect("checked").to_string();
        let document = include_str!("../docs/queries.md");
        assert!(document.contains(&format!("```text\n{report}\n```\n")), "docs/queries.md lacks:\n{report}");
    }
}
