//! Random numbers that can be had again. Uses: nothing.

use std::hash::{BuildHasher, RandomState};

/// The environment variable that sets the seed.
pub(crate) const SEED_VARIABLE: &str = "MAYPOLE_TEST_SEED";

/// A small generator (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator with a fresh seed, or that of `MAYPOLE_TEST_SEED`; prints it, so that a failing test shows it.
    pub(crate) fn new() -> Random {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(text) => parse_seed(&text).unwrap_or_else(|| {
                panic!("{SEED_VARIABLE} must be a whole number, decimal or with 0x before it, not {text:?}")
            }),
            Err(_) => RandomState::new().hash_one(std::process::id()),
        };
        println!("random numbers from {SEED_VARIABLE}={seed:#x}");
        Random::with_seed(seed)
    }

    /// A generator with this seed.
    pub(crate) fn with_seed(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("usize has at most 64 bits");
        usize::try_from(self.next() % limit).expect("below a usize")
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of the items, which are not none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A generator for another thread or coroutine: same seed, same numbers, whatever the schedule.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

/// A seed as people write it.
pub(crate) fn parse_seed(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.trim().parse().ok(),
    }
}
