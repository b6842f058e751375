//! Counting operations and their latencies, and what they cost.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{Ids, stored};
use crate::{Result, process};

/// How long everything runs before it counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// The time that counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    from: Instant,
    until: Instant,
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
        Window { from, until: from + length }
    }

    /// One without a warm-up.
    #[cfg(test)]
    pub fn open_now(length: Duration) -> Window {
        let from = Instant::now();
        Window { from, until: from + length }
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
            errors: 0,
            wrong: 0,
            latencies: Histogram::new(),
        }
    }

    /// Whether there is time for another operation. A task that failed does nothing more.
    #[inline]
    pub fn goes_on(&self) -> bool {
        !self.failed && self.begun < self.window.until
    }

    /// The row to ask for next.
    #[inline]
    pub fn next_id(&mut self) -> Option<i32> {
        self.goes_on().then(|| self.ids.next_id())
    }

    /// The answer to the question for this row.
    #[inline]
    pub fn answered<E: Display>(&mut self, id: i32, answer: std::result::Result<(i32, i32), E>) {
        match answer {
            Ok(row) if row == (id, stored(id)) => self.done(),
            Ok(row) => {
                // An error, and more: it takes the speed from the whole run.
                self.wrong += 1;
                self.fail(&format!("asked for {id}, got {row:?}"));
            }
            Err(error) => self.fail(&error),
        }
    }

    /// An operation has come to its end.
    #[inline]
    pub fn done(&mut self) {
        let now = Instant::now();
        // What began in the warm-up counts if it ended in the window, which what ends behind it makes up for.
        if now >= self.window.from && now < self.window.until {
            self.ops += 1;
            self.latencies.record(now - self.begun);
        }
        self.begun = now;
    }

    /// So many operations that are too short to be timed one by one.
    pub fn done_many(&mut self, operations: u64) {
        let now = Instant::now();
        if now >= self.window.from && now < self.window.until {
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
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.latencies.add(&other.latencies);
    }
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
