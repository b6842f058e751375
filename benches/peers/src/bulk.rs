//! Many rows that are written at once.

use chrono::{DateTime, Utc};
use r2d2_postgres::postgres::{Client, NoTls};

use crate::Result;
use crate::measure::Sum;

pub const UNNEST: &str =
    "INSERT INTO bulk (id, name, at) SELECT * FROM unnest($1::int4[], $2::text[], $3::timestamptz[])";
pub const COPY: &str = "COPY bulk (id, name, at) FROM STDIN BINARY";

const ROWS: i32 = 100_000;
/// 2026-01-01 00:00:00 UTC.
const FIRST: i64 = 1_767_225_600;

/// What is written, by columns.
pub struct Columns {
    pub ids: Vec<i32>,
    pub names: Vec<String>,
    pub moments: Vec<DateTime<Utc>>,
}

impl Columns {
    pub fn new() -> Columns {
        let moment = |id: i32| DateTime::from_timestamp(FIRST + i64::from(id), 0).unwrap_or_default();
        Columns {
            ids: (1..=ROWS).collect(),
            names: (1..=ROWS).map(|id| format!("row {id}")).collect(),
            moments: (1..=ROWS).map(moment).collect(),
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = (i32, &str, DateTime<Utc>)> {
        self.ids
            .iter()
            .zip(&self.names)
            .zip(&self.moments)
            .map(|((id, name), moment)| (*id, name.as_str(), *moment))
    }

    /// What the table must add up to.
    pub fn expected(&self) -> Sum {
        let mut sum = Sum::default();
        self.rows().for_each(|(id, name, at)| sum.add(i64::from(id) + name.len() as i64 + at.timestamp()));
        sum
    }
}

/// The table, made, looked at and emptied by a session of its own.
pub struct Table(Client);

impl Table {
    pub fn make(url: &str) -> Result<Table> {
        let mut client = Client::connect(url, NoTls)?;
        client.batch_execute(
            "DROP TABLE IF EXISTS bulk;
             CREATE TABLE bulk (id int NOT NULL, name text NOT NULL, at timestamptz NOT NULL)",
        )?;
        Ok(Table(client))
    }

    /// What is in it; then it is empty.
    pub fn empty(&mut self) -> Result<Sum> {
        let sums = self.0.query_one(
            "SELECT count(*), coalesce(sum(id + length(name) + extract(epoch FROM at)), 0)::int8 FROM bulk",
            &[],
        )?;
        self.0.batch_execute("TRUNCATE bulk")?;
        Ok(Sum::of(sums.try_get::<_, i64>(0)?.unsigned_abs(), sums.try_get(1)?))
    }
}
