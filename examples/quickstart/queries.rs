//! By convention all SQL of a program lives in one module.

use maypole::{Database, FromRow, Result, Tx};

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
    DB.query(
        "INSERT INTO customers SELECT id, 'customer ' || id FROM generate_series(1, $1) AS id",
        (CUSTOMERS,),
    )
    .run()?;
    DB.query("INSERT INTO accounts SELECT id, 1000 FROM generate_series(1, $1) AS id", (ACCOUNTS,)).run()?;
    DB.script("ANALYZE customers, accounts")
}

pub fn get_customer(id: i32) -> Result<Customer> {
    DB.query("SELECT id, name FROM customers WHERE id = $1", (id,)).unique()
}

/// The sum of all balances: no transfer may change it.
pub fn total() -> Result<i64> {
    DB.query("SELECT sum(balance)::bigint FROM accounts", ()).value()
}

/// Moves money between two accounts; whether there was enough.
pub fn transfer(from: i32, to: i32, amount: i64) -> Result<bool> {
    DB.transaction(|q| {
        // Rows are locked in the order of their keys, so that two transfers never wait for each other.
        let locked: Vec<(i32, i64)> = q
            .query("SELECT id, balance FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE", (from, to))
            .rows()?;
        if !locked.iter().any(|(id, balance)| *id == from && *balance >= amount) {
            return Ok(false);
        }
        add(q, from, -amount)?;
        add(q, to, amount)?;
        Ok(true)
    })
}

fn add(q: &Tx, account: i32, amount: i64) -> Result<()> {
    q.query("UPDATE accounts SET balance = balance + $2 WHERE id = $1", (account, amount)).run()?;
    Ok(())
}
