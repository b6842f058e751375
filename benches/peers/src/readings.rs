//! Rows of five columns, which are mapped again and again.

use maypole::{Pool, Result};

use crate::measure::Sum;

pub const SELECT: &str = "SELECT id, serial, label, valid, value FROM reading WHERE id <= $1";

pub const ROWS: i32 = 100_000;

/// How many rows are asked for when instructions are counted.
pub const COUNTED: i32 = 5_000;

/// How often each row is mapped.
pub const TIMES: u64 = 20;

/// Makes and fills the table.
pub fn fill(url: &str) -> Result<()> {
    let pool = Pool::builder().url(url)?.limit(1).build()?;
    let connection = pool.connection()?;
    connection.script(
        "CREATE TABLE reading (id int4 PRIMARY KEY, serial int8 NOT NULL, label text NOT NULL, valid bool NOT NULL, \
         value float8 NOT NULL)",
    )?;
    connection.execute(
        "INSERT INTO reading SELECT id, id * 1000000::int8, 'reading ' || id, id % 3 = 0, id * 0.5 \
         FROM generate_series(1, $1) id",
        (ROWS,),
    )?;
    connection.script("VACUUM ANALYZE reading")
}

/// Adds the fields of a row to the sum.
pub fn add(sum: &mut Sum, id: i32, serial: i64, label: &str, valid: bool, value: f64) {
    sum.add(i64::from(id) + serial + label.len() as i64 + i64::from(valid) + (value * 2.0) as i64);
}

/// What the first so many rows add up to.
pub fn expected(rows: i32) -> Sum {
    let mut sum = Sum::default();
    for id in 1..=rows {
        let serial = i64::from(id) * 1_000_000;
        add(&mut sum, id, serial, &format!("reading {id}"), id % 3 == 0, f64::from(id) * 0.5);
    }
    sum
}
