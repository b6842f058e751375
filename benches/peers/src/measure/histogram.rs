//! Latencies, counted.

use std::time::Duration;

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
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], max: Duration::ZERO }
    }

    #[inline]
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = latency.as_nanos() as u64;
        self.counts[bucket(nanoseconds).min(BUCKETS - 1)] += 1;
        self.max = self.max.max(latency);
    }

    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.max = self.max.max(other.max);
    }

    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The latency that this share of all is not above, in microseconds.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.total();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let middle = (lower(bucket) + lower(bucket + 1)) as f64 / 2.0;
        Some(middle.min(self.max.as_nanos() as f64) / 1e3)
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
