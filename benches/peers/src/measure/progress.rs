//! Operations counted as they come, for curves over time.

use std::sync::atomic::{AtomicU64, Ordering};

/// Many counters, so that tasks on different cores rarely meet in one.
pub struct Progress(Box<[Counter]>);

/// Alone in its cache lines.
#[repr(align(128))]
struct Counter(AtomicU64);

const COUNTERS: usize = 64;

impl Progress {
    pub fn new() -> Progress {
        Progress((0..COUNTERS).map(|_| Counter(AtomicU64::new(0))).collect())
    }

    pub fn add(&self, seed: u64) {
        self.0[seed as usize % COUNTERS].0.fetch_add(1, Ordering::Relaxed);
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
    }
}
