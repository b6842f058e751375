//! By convention all SQL of a program lives in one module.

use maypole::{Database, FromRow, Query, Result, Tx, query, select, transaction};

/// Opens nothing until it is first used.
pub static DB: Database = Database::named("database");

pub const CUSTOMERS: i32 = 10_000;
pub const ACCOUNTS: i32 = 1_000;

#[derive(Debug, FromRow)]
pub struct Customer {
    pub id: i32,
    pub name: String,
}

/// Makes and fills the tables. They are temporary in spirit: a throw-away server forgets them.
pub fn create_tables() -> Result<()> {
    DB.script(
        "DROP TABLE IF EXISTS customers, accounts;
         CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
         CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));",
    )?;
    fill_customers(CUSTOMERS).run()?;
    fill_accounts(ACCOUNTS).run()?;
    DB.script("ANALYZE customers, accounts")
}

#[query(DB, "INSERT INTO customers SELECT id, 'customer ' || id FROM generate_series(1, :count) AS id")]
fn fill_customers(count: i32) -> Query;

#[query(DB, "INSERT INTO accounts SELECT id, 1000 FROM generate_series(1, :count) AS id")]
fn fill_accounts(count: i32) -> Query;

/// The customer with this id.
#[select(DB, "SELECT id, name FROM customers WHERE id = :id")]
pub fn get_customer(id: i32) -> Query<Customer>;

/// The sum of all balances: no transfer may change it.
#[select(DB, "SELECT sum(balance)::bigint FROM accounts")]
pub fn total() -> Query<i64>;

/// Locks two accounts, in the order of their keys, so that two transfers never wait for each other.
#[query(DB, "SELECT id, balance FROM accounts WHERE id IN (:one, :other) ORDER BY id FOR UPDATE")]
fn lock_accounts(one: i32, other: i32) -> Query<(i32, i64)>;

#[query(DB, "UPDATE accounts SET balance = balance + :amount WHERE id = :account")]
fn add(account: i32, amount: i64) -> Query;

/// Moves money between two accounts; whether there was enough. Callers leave out `q`.
#[transaction(DB, retries = 3)]
pub fn transfer(q: &Tx, from: i32, to: i32, amount: i64) -> Result<bool> {
    let locked = lock_accounts(from, to).on(q).rows()?;
    if !locked.iter().any(|(id, balance)| *id == from && *balance >= amount) {
        return Ok(false);
    }
    // Both travel with COMMIT.
    add(from, -amount).on(q).later()?;
    add(to, amount).on(q).later()?;
    Ok(true)
}
