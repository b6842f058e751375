//! A million rows of three columns: an integer, a text, a moment.

use chrono::{DateTime, Utc};
use maypole::{Pool, Result};

use crate::measure::Sum;
use crate::process;
use crate::report::Peaks;

pub const SELECT: &str = "SELECT id, name, at FROM event ORDER BY id";

/// A tenth of it.
pub const SELECT_FEW: &str = "SELECT id, name, at FROM event WHERE id <= 100000 ORDER BY id";

pub const ROWS: i64 = 1_000_000;
pub const FEW: i64 = 100_000;
/// 2026-01-01 00:00:00 UTC; the event of an id is so many seconds later.
const FIRST: i64 = 1_767_225_600;

/// Makes and fills the table.
pub fn fill(url: &str) -> Result<()> {
    let pool = Pool::builder().url(url)?.limit(1).query_timeout(None).build()?;
    let connection = pool.connection()?;
    connection
        .script("CREATE TABLE event (id int PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL)")?;
    connection.execute(
        "INSERT INTO event SELECT id, 'event ' || id, to_timestamp($1::int8 + id) FROM generate_series(1, $2::int8) id",
        (FIRST, ROWS),
    )?;
    connection.script("VACUUM ANALYZE event")
}

/// Adds the fields of a row to the sum.
#[inline]
pub fn add(sum: &mut Sum, id: i32, name: &str, at: DateTime<Utc>) {
    sum.add(i64::from(id) + name.len() as i64 + at.timestamp());
}

/// What so many rows add up to.
pub fn expected(rows: i64) -> Sum {
    let mut sum = Sum::default();
    (1..=rows).for_each(|id| sum.add(id + format!("event {id}").len() as i64 + FIRST + id));
    sum
}

/// How much memory reading takes at most, for few rows and for many, in a process that has read none yet.
pub fn peaks(mut read: impl FnMut(&'static str) -> crate::Result<Sum>) -> crate::Result<Peaks> {
    process::forget_peak()?;
    let before = process::peak_bytes()?;
    let mut peak = |select, rows| -> crate::Result<u64> {
        if read(select)? != expected(rows) {
            return Err("the rows do not add up".into());
        }
        Ok(process::peak_bytes()?.saturating_sub(before) / 1024)
    };
    Ok(Peaks {
        few_rows: FEW.unsigned_abs(),
        few_peak_kib: peak(SELECT_FEW, FEW)?,
        many_rows: ROWS.unsigned_abs(),
        many_peak_kib: peak(SELECT, ROWS)?,
    })
}
