//! From a row to a struct of five fields: by the derive, by hand, and without looking at the row, which is what both pay
//! before they begin.
//!
//! The rows of one large answer are streamed, and each is mapped many times. So fetching them is a small part of the whole,
//! and all goes through the public interface.

use std::hint::black_box;

use maypole::{Columns, FromRow, Lease, Result as Answer, RowRef};

use super::maypole_pool::pool;
use super::{System, coroutines};
use crate::Result;
use crate::measure::{Cost, Sum, Tally, pieces};
use crate::readings::{self, TIMES};
use crate::report::Report;
use crate::workload::{Load, Workload};

pub const BY_HAND: System = system("by-hand", measure::<ByHand>);
pub const DERIVE: System = system("derive", measure::<Derived>);
pub const NOTHING: System = system("nothing", measure::<Nothing>);

const fn system(name: &'static str, run: fn(&'static str, &Load) -> Result<()>) -> System {
    System { name, workloads: &[Workload::Mapping], run }
}

#[derive(FromRow)]
struct Derived {
    id: i32,
    serial: i64,
    label: String,
    valid: bool,
    value: f64,
}

struct ByHand {
    id: i32,
    serial: i64,
    label: String,
    valid: bool,
    value: f64,
}

impl FromRow for ByHand {
    type Plan = ();

    fn plan(_: &Columns) -> Answer<()> {
        Ok(())
    }

    fn from_row((): &(), row: &RowRef<'_>) -> Answer<ByHand> {
        Ok(ByHand {
            id: row.get(0)?,
            serial: row.get(1)?,
            label: row.get(2)?,
            valid: row.get(3)?,
            value: row.get(4)?,
        })
    }
}

struct Nothing;

impl FromRow for Nothing {
    type Plan = ();

    fn plan(_: &Columns) -> Answer<()> {
        Ok(())
    }

    fn from_row((): &(), _: &RowRef<'_>) -> Answer<Nothing> {
        Ok(Nothing)
    }
}

/// What a row has become.
trait Reading: FromRow {
    fn add(&self, sum: &mut Sum);

    /// What so many rows add up to.
    fn expected(rows: i32) -> Sum {
        readings::expected(rows)
    }
}

impl Reading for Derived {
    fn add(&self, sum: &mut Sum) {
        readings::add(sum, self.id, self.serial, &self.label, self.valid, self.value);
    }
}

impl Reading for ByHand {
    fn add(&self, sum: &mut Sum) {
        readings::add(sum, self.id, self.serial, &self.label, self.valid, self.value);
    }
}

impl Reading for Nothing {
    fn add(&self, sum: &mut Sum) {
        sum.add(0);
    }

    fn expected(rows: i32) -> Sum {
        let mut sum = Sum::default();
        (0..rows).for_each(|_| sum.add(0));
        sum
    }
}

/// A row that is mapped many times; the last counts.
struct Again<T>(T);

impl<T: FromRow> FromRow for Again<T> {
    type Plan = T::Plan;

    fn plan(columns: &Columns) -> Answer<T::Plan> {
        T::plan(columns)
    }

    fn from_row(plan: &T::Plan, row: &RowRef<'_>) -> Answer<Again<T>> {
        for _ in 1..TIMES {
            drop(black_box(T::from_row(black_box(plan), black_box(row))?));
        }
        T::from_row(plan, row).map(Again)
    }
}

fn measure<T: Reading>(name: &'static str, load: &Load) -> Result<()> {
    coroutines::configure(load);
    let lease = pool(load, 1)?.connection()?;
    let rows = if load.operations.is_some() { readings::COUNTED } else { readings::ROWS };
    let load = load.clone();
    let task = maypole::spawn(move || -> Result<(Load, Cost, Tally)> {
        let (cost, tally) = pieces(&load, TIMES, T::expected(rows), || map_all::<T>(&lease, rows))?;
        Ok((load, cost, tally))
    });
    let (load, cost, tally) = task.join().map_err(|_| "the coroutine panicked")??;
    Report::new(name, &load, cost, vec![tally])?.print()
}

fn map_all<T: Reading>(lease: &Lease, rows: i32) -> Result<Sum> {
    let mut sum = Sum::default();
    // One answer, not many small ones.
    for reading in lease.query(readings::SELECT, (rows,)).chunk(0).iter::<Again<T>>() {
        reading?.0.add(&mut sum);
    }
    Ok(sum)
}
