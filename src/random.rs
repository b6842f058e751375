//! Random numbers, for spreading what would otherwise come at once. Uses: nothing.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Anything from 0 to below 1. Not for secrets.
pub(crate) fn fraction() -> f64 {
    // Each `RandomState` has keys of its own.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_spread_over_the_whole_range() {
        let all: Vec<_> = (0..1000).map(|_| fraction()).collect();
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            let within = all.iter().filter(|one| (from..from + 0.1).contains(one)).count();
            assert!((50..=170).contains(&within), "a tenth of a thousand is about a hundred, not {within}");
        }
    }
}
