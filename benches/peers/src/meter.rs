//! Counting operations and their latencies, and what they cost.
//!
//! Short operations are counted in a window of time. Long pieces of work, which its edges would cut, are timed as a whole.

use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::transaction::Transaction;
use crate::workload::Load;
use crate::world::{Ids, stored};
use crate::{Result, process};

/// How long everything runs before it counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// The time that counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    from: Instant,
    until: Instant,
    /// Not so long, but so many operations, whatever time they take.
    operations: Option<u64>,
}

/// What the process spent in the window.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Window {
    /// Begins the warm-up.
    pub fn open(length: Duration) -> Window {
        let from = Instant::now() + WARM_UP;
        Window { from, until: from + length, operations: None }
    }

    /// One of so many operations: of a run whose instructions are counted, in which time means nothing.
    pub fn of(operations: u64) -> Window {
        let now = Instant::now();
        Window { from: now, until: now, operations: Some(operations) }
    }

    fn counts(&self, moment: Instant) -> bool {
        self.operations.is_some() || (moment >= self.from && moment < self.until)
    }

    /// One without a warm-up.
    #[cfg(test)]
    pub fn open_now(length: Duration) -> Window {
        let from = Instant::now();
        Window { from, until: from + length, operations: None }
    }

    /// Waits for the end, on a plain thread that has nothing else to do.
    pub fn watch(&self) -> Result<Cost> {
        sleep_until(self.from);
        let (begun, before) = (Instant::now(), process::cpu_time()?);
        sleep_until(self.until);
        let cpu = process::cpu_time()? - before;
        Ok(Cost { wall: begun.elapsed(), cpu })
    }
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// What one task did. The clock is read once per operation: the end of one is the beginning of the next.
pub struct Tally {
    window: Window,
    begun: Instant,
    ids: Ids,
    failed: bool,
    pub ops: u64,
    /// With those outside of the window.
    pub all_ops: u64,
    pub errors: u64,
    pub wrong: u64,
    pub latencies: Histogram,
}

impl Tally {
    pub fn new(window: Window, seed: u64) -> Tally {
        Tally {
            window,
            begun: Instant::now(),
            ids: Ids::new(seed),
            failed: false,
            ops: 0,
            all_ops: 0,
            errors: 0,
            wrong: 0,
            latencies: Histogram::new(),
        }
    }

    /// Whether there is time for another operation. A task that failed does nothing more.
    #[inline]
    pub fn goes_on(&self) -> bool {
        let over = match self.window.operations {
            Some(operations) => self.ops >= operations,
            None => self.begun >= self.window.until,
        };
        !self.failed && !over
    }

    /// The row to ask for next.
    #[inline]
    pub fn next_id(&mut self) -> Option<i32> {
        self.goes_on().then(|| self.ids.next_id())
    }

    /// The answer to the question for this row.
    #[inline]
    pub fn answered<E: Display>(&mut self, id: i32, answer: std::result::Result<(i32, i32), E>) {
        self.judged(id, answer, |row| *row == (id, stored(id)));
    }

    /// What to do next.
    #[inline]
    pub fn next<T: Transaction>(&mut self) -> Option<T> {
        self.goes_on().then(|| T::random(&mut self.ids))
    }

    /// What came of it.
    #[inline]
    pub fn settled<T: Transaction, E: Display>(
        &mut self,
        asked: T,
        answer: std::result::Result<T::Answer, E>,
    ) {
        self.judged(asked, answer, |answer| asked.is_right(answer));
    }

    #[inline]
    fn judged<A: Debug, E: Display>(
        &mut self,
        asked: impl Debug,
        answer: std::result::Result<A, E>,
        is_right: impl FnOnce(&A) -> bool,
    ) {
        match answer {
            Ok(answer) if is_right(&answer) => self.done(),
            Ok(answer) => {
                // An error, and more: it takes the speed from the whole run.
                self.wrong += 1;
                self.fail(&format!("asked for {asked:?}, got {answer:?}"));
            }
            Err(error) => self.fail(&error),
        }
    }

    /// An operation has come to its end.
    #[inline]
    pub fn done(&mut self) {
        let now = Instant::now();
        self.all_ops += 1;
        // What began in the warm-up counts if it ended in the window, which what ends behind it makes up for.
        if self.window.counts(now) {
            self.ops += 1;
            self.latencies.record(now - self.begun);
        }
        self.begun = now;
    }

    /// An operation that another program has timed.
    pub fn done_elsewhere(&mut self, latency: Duration) {
        self.ops += 1;
        self.all_ops += 1;
        self.latencies.record(latency);
    }

    /// So many operations that are too short to be timed one by one.
    pub fn done_many(&mut self, operations: u64) {
        let now = Instant::now();
        if self.window.counts(now) {
            self.ops += operations;
        }
        self.begun = now;
    }

    /// An operation failed.
    #[cold]
    pub fn fail(&mut self, error: &dyn Display) {
        /// One example is enough.
        static SHOWN: AtomicBool = AtomicBool::new(false);
        self.errors += 1;
        self.failed = true;
        if !SHOWN.swap(true, Ordering::Relaxed) {
            eprintln!("peers: an operation failed: {error}");
        }
    }

    /// Adds what another task did.
    pub fn add(&mut self, other: &Tally) {
        self.ops += other.ops;
        self.all_ops += other.all_ops;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.latencies.add(&other.latencies);
    }
}

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
    mut piece: impl FnMut() -> Result<Sum>,
) -> Result<(Cost, Tally)> {
    let mut tally = Tally::new(load.window(), load.seed(0));
    let mut again = |tally: &mut Tally| match piece() {
        Ok(sum) if sum == expected => tally.ops += sum.rows() * operations_per_row,
        Ok(sum) => {
            tally.wrong += 1;
            tally.fail(&format!("expected {expected:?}, got {sum:?}"));
        }
        Err(error) => tally.fail(&error),
    };
    again(&mut tally);
    tally.ops = 0;
    let (begun, before) = (Instant::now(), process::cpu_time()?);
    while !tally.failed {
        again(&mut tally);
        let over = match load.operations {
            Some(operations) => tally.ops >= operations,
            None => begun.elapsed().as_secs_f64() >= load.seconds,
        };
        if over {
            break;
        }
    }
    Ok((Cost { wall: begun.elapsed(), cpu: process::cpu_time()? - before }, tally))
}

/// Latencies in buckets of 1/16 of a power of two: off by 3 % at most, except the maximum, which is exact.
pub struct Histogram {
    counts: Vec<u32>,
    max: Duration,
}

/// 2 to the power of this is the number of buckets from one power of two to the next.
const FINE: u32 = 4;
/// Everything from 2^36 ns, a minute, on is in the last bucket.
const BUCKETS: usize = ((36 - FINE as usize) + 1) << FINE;

impl Histogram {
    fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], max: Duration::ZERO }
    }

    #[inline]
    fn record(&mut self, latency: Duration) {
        let nanoseconds = latency.as_nanos() as u64;
        self.counts[bucket(nanoseconds).min(BUCKETS - 1)] += 1;
        self.max = self.max.max(latency);
    }

    fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.max = self.max.max(other.max);
    }

    /// The latency that this share of all is not above, in microseconds.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some((lower(bucket) + lower(bucket + 1)) as f64 / 2.0 / 1e3)
    }

    /// The longest, in microseconds.
    pub fn max(&self) -> Option<f64> {
        (!self.max.is_zero()).then_some(self.max.as_nanos() as f64 / 1e3)
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let power = nanoseconds.checked_ilog2().unwrap_or(0);
    if power < FINE {
        return nanoseconds as usize;
    }
    let fine = (nanoseconds >> (power - FINE)) - (1 << FINE);
    (((power - FINE + 1) as usize) << FINE) + fine as usize
}

/// The least latency of a bucket, in nanoseconds.
fn lower(bucket: usize) -> u64 {
    let (power, fine) = (bucket >> FINE, bucket as u64 % (1 << FINE));
    match power {
        0 => fine,
        _ => ((1 << FINE) + fine) << (power - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn every_latency_lies_in_its_bucket_and_buckets_are_narrow() {
        for nanoseconds in (0..5_000).chain((5_000..60_000_000_000).step_by(7_654_321)) {
            let bucket = bucket(nanoseconds);
            assert!(bucket < BUCKETS, "{nanoseconds}");
            let (low, high) = (lower(bucket), lower(bucket + 1));
            assert!((low..high).contains(&nanoseconds), "{nanoseconds} in {low}..{high}");
            assert!(high - low <= 1 || (high - low) * 16 <= low, "{low}..{high}");
        }
    }

    #[test]
    fn pieces_are_counted_by_their_rows_until_one_adds_up_to_something_else() {
        let load = Load {
            workload: Workload::Mapping,
            conns: 1,
            tasks: 1,
            seconds: 0.0,
            round: 1,
            operations: Some(7),
            url: String::new(),
        };
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

    #[test]
    fn quantiles_are_those_of_the_sorted_latencies() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.max()), (None, None));
        (1..=1000).for_each(|microseconds| histogram.record(Duration::from_micros(microseconds)));
        let close = |share, expected: f64| {
            let found = histogram.quantile(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.04, "{found} instead of {expected}");
        };
        close(0.5, 500.0);
        close(0.99, 990.0);
        assert_eq!(histogram.max(), Some(1000.0));
    }
}
