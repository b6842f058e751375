//! How long a statement takes the server, how long its answers are, and how far away the server is: learnt as it goes. Uses: nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A running estimate. Changes are lost now and then when several learn at once, which does no harm.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In microseconds; 0 if it is not known.
    micros: AtomicU32,
    /// Of a whole reply.
    bytes: AtomicU32,
}

/// What takes longer has a connection of its own: whoever came behind it would wait for it.
const SLOW: u32 = 2_000;
/// What answers with more has one too, in bytes.
const LARGE: u32 = 64 * 1024;

impl Pace {
    /// In microseconds; 0 if it is not known.
    #[inline]
    pub(crate) fn micros(&self) -> u32 {
        self.micros.load(Ordering::Relaxed)
    }

    /// The length of a reply, in bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it is too much to share a connection.
    #[inline]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.micros() > SLOW || self.bytes() > LARGE
    }

    /// It has taken so long. Believed sooner if it is less than expected: whatever else the machine does only makes it more.
    pub(crate) fn took(&self, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let known = self.micros();
        let next = match time.checked_sub(known) {
            _ if known == 0 => time,
            None => known - (known - time) / 2,
            Some(more) => known + more / 16,
        };
        self.micros.store(next.max(1), Ordering::Relaxed);
    }

    /// Its answer was so long. Believed sooner if it is more than expected.
    #[inline]
    pub(crate) fn answered(&self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let known = self.bytes();
        // Small changes are not worth the traffic between the workers.
        if length.abs_diff(known) > 512.max(known / 4) {
            let next = if length > known { length } else { known - (known - length) / 16 };
            self.bytes.store(next, Ordering::Relaxed);
        }
    }
}

/// How long an answer takes that costs the server next to nothing.
#[derive(Debug, Default)]
pub(crate) struct Distance {
    /// In microseconds; 0 if it is not known.
    micros: AtomicU32,
}

impl Distance {
    /// One has taken so long. Believed sooner if it is less than expected.
    pub(super) fn measured(&self, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let known = self.micros.load(Ordering::Relaxed);
        let next = match time.checked_sub(known) {
            Some(more) if known > 0 => known + more / 8,
            _ => time,
        };
        self.micros.store(next, Ordering::Relaxed);
    }

    /// What the server itself needed of this time.
    pub(crate) fn beyond(&self, time: Duration) -> Duration {
        time.saturating_sub(Duration::from_micros(self.micros.load(Ordering::Relaxed).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn the_first_time_is_believed_and_less_is_believed_sooner_than_more() {
        let pace = Pace::default();
        assert_eq!(pace.micros(), 0);
        pace.took(micros(20_000));
        assert!(pace.micros() == 20_000 && pace.is_exclusive());
        pace.took(micros(20));
        assert_eq!(pace.micros(), 10_010);
        (0..20).for_each(|_| pace.took(micros(20)));
        assert!(pace.micros() <= 21 && !pace.is_exclusive(), "{}", pace.micros());
        pace.took(micros(20_000));
        assert!(pace.micros() < 2_000, "one outlier makes nothing slow: {}", pace.micros());
        (0..20).for_each(|_| pace.took(micros(20_000)));
        assert!(pace.is_exclusive());
    }

    #[test]
    fn long_answers_count_at_once_and_are_forgotten_slowly() {
        let pace = Pace::default();
        pace.answered(100);
        assert_eq!(pace.bytes(), 0, "not worth noting");
        pace.answered(100_000);
        assert!(pace.is_exclusive());
        pace.answered(1_000);
        assert!(pace.is_exclusive());
        (0..20).for_each(|_| pace.answered(1_000));
        assert!(!pace.is_exclusive());
    }
}
