//! Long pieces of work, which the edges of a window would cut, are timed as a whole.

use std::time::{Duration, Instant};

use super::{Cost, Tally};
use crate::workload::Load;
use crate::{Result, process};

/// What many rows add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    rows: u64,
    total: i64,
}

impl Sum {
    /// Adds a row, by a number made of its fields.
    #[inline]
    pub fn add(&mut self, row: i64) {
        self.rows += 1;
        self.total = self.total.wrapping_add(row);
    }

    /// Of so many rows, added up by somebody else.
    pub fn of(rows: u64, total: i64) -> Sum {
        Sum { rows, total }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// Does a piece of work again and again until the time is over: what it cost and what came of it. The first does not count.
///
/// A piece does so many operations for each of its rows, and its sum must be the one that is expected.
pub fn pieces(
    load: &Load,
    operations_per_row: u64,
    expected: Sum,
    piece: impl FnMut() -> Result<Sum>,
) -> Result<(Cost, Tally)> {
    checked_pieces(load, operations_per_row, expected, piece, Ok)
}

/// The same where the sum is found out after a piece, which does not count either.
pub fn checked_pieces<T>(
    load: &Load,
    operations_per_row: u64,
    expected: Sum,
    mut piece: impl FnMut() -> Result<T>,
    mut check: impl FnMut(T) -> Result<Sum>,
) -> Result<(Cost, Tally)> {
    let mut tally = Tally::new(load, &load.window(), 0);
    let mut cost = Cost { wall: Duration::ZERO, cpu: Duration::ZERO };
    let mut again = |tally: &mut Tally, cost: &mut Cost| -> Result<()> {
        let (begun, before) = (Instant::now(), process::cpu_time()?);
        let done = piece();
        cost.wall += begun.elapsed();
        cost.cpu += process::cpu_time()? - before;
        match done.and_then(&mut check) {
            Ok(sum) if sum == expected => tally.ops += sum.rows() * operations_per_row,
            Ok(sum) => {
                tally.wrong += 1;
                tally.fail(format!("expected {expected:?}, got {sum:?}"));
            }
            Err(error) => tally.fail(error),
        }
        Ok(())
    };
    again(&mut tally, &mut cost)?;
    (tally.ops, cost) = (0, Cost { wall: Duration::ZERO, cpu: Duration::ZERO });
    while !tally.is_stopped() {
        again(&mut tally, &mut cost)?;
        let over = match load.operations {
            Some(operations) => tally.ops >= operations,
            None => cost.wall.as_secs_f64() >= load.seconds,
        };
        if over {
            break;
        }
    }
    Ok((cost, tally))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn pieces_are_counted_by_their_rows_until_one_adds_up_to_something_else() {
        let load = Load { seconds: 0.0, operations: Some(7), ..Load::of_test(Workload::Mapping) };
        let sum_of = |rows: &[i64]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(*row));
            sum
        };
        let (_, tally) = pieces(&load, 2, sum_of(&[1, 2]), || Ok(sum_of(&[1, 2]))).unwrap();
        assert_eq!((tally.ops, tally.errors, tally.wrong), (8, 0, 0));
        for wrong in [sum_of(&[1, 3]), sum_of(&[3]), sum_of(&[])] {
            let mut later = [sum_of(&[1, 2]), sum_of(&[1, 2]), wrong].into_iter();
            let (_, tally) = pieces(&load, 2, sum_of(&[1, 2]), || Ok(later.next().unwrap())).unwrap();
            assert_eq!((tally.ops, tally.errors, tally.wrong), (4, 1, 1));
        }
        let (_, tally) = pieces(&load, 2, sum_of(&[1]), || Err("lost".into())).unwrap();
        assert_eq!((tally.ops, tally.errors, tally.wrong), (0, 1, 0));
    }
}
