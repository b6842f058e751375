//! How long a statement takes the server, and how long its answers are: learnt as it runs. Uses: nothing.
//!
//! Time is measured by the server's clock, right before and behind the statement. What passes until an answer is read says
//! nothing when either side has more to do than it can: then every answer is late.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What is known of a statement. Changes are lost now and then when several learn at once, which does no harm.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In microseconds; 0 if it is not known.
    micros: AtomicU32,
    /// Of a whole reply.
    bytes: AtomicU32,
    /// It may have become slow.
    doubted: AtomicBool,
    /// How often it has run without being measured, while it was not known or took long.
    unmeasured: AtomicU32,
}

/// What takes longer has a connection of its own: whoever came behind it would wait for it.
const SLOW: u32 = 2_000;
/// What a lane has stopped is taken to take so long.
const STOPPED: u32 = 1_000_000;
/// What answers with more has one too, in bytes.
const LARGE: u32 = 64 * 1024;
/// What is slow, or not known yet, is measured every so often.
const AGAIN: u32 = 16;
/// What is not known yet is taken for this, so that few of it are in a group.
const GUESS: u32 = 250;

/// How a select is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gait {
    /// In a group with others.
    Shared,
    /// In a group of its own, and measured.
    Measured,
    /// On a connection of its own.
    Exclusive,
}

impl Pace {
    /// In microseconds; a guess if it is not known.
    #[inline]
    pub(crate) fn micros(&self) -> u32 {
        match self.micros.load(Ordering::Relaxed) {
            0 => GUESS,
            micros => micros,
        }
    }

    /// Whether it is the turn of this one among those that are measured now and then.
    fn is_sample(&self) -> bool {
        self.unmeasured.fetch_add(1, Ordering::Relaxed).is_multiple_of(AGAIN)
    }

    /// The length of a reply, in bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How it is to run now.
    #[inline]
    pub(crate) fn gait(&self) -> Gait {
        let micros = self.micros.load(Ordering::Relaxed);
        if micros == 0 {
            if self.is_sample() { Gait::Measured } else { Gait::Shared }
        } else if micros > SLOW || self.bytes() > LARGE {
            if self.is_sample() { Gait::Measured } else { Gait::Exclusive }
        } else if self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Relaxed) {
            Gait::Measured
        } else {
            Gait::Shared
        }
    }

    /// It, or one that ran with it, may have become slow: the next is measured.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// By the server's clock it has taken so many microseconds. Less than expected is believed at once: whatever else the server
    /// does only makes it more.
    pub(crate) fn took(&self, micros: u32) {
        let (micros, known) = (micros.max(1), self.micros.load(Ordering::Relaxed));
        let next = match micros.checked_sub(known) {
            Some(more) if known > 0 => known + more / 4,
            _ => micros,
        };
        self.micros.store(next, Ordering::Relaxed);
    }

    /// It was stopped because it took longer than a lane lets anything run.
    pub(crate) fn was_stopped(&self) {
        self.took(STOPPED);
    }

    /// Its answer was so long. More than expected is believed at once.
    #[inline]
    pub(crate) fn answered(&self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let known = self.bytes();
        // Small changes are not worth the traffic between the workers.
        if length.abs_diff(known) > 512.max(known / 4) {
            let next = if length > known { length } else { known - (known - length) / 4 };
            self.bytes.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_measured_first_and_then_shares() {
        let pace = Pace::default();
        assert_eq!(pace.gait(), Gait::Measured);
        assert_eq!((pace.gait(), pace.micros()), (Gait::Shared, GUESS), "meanwhile few go together");
        pace.took(20);
        assert_eq!((pace.micros(), pace.gait()), (20, Gait::Shared));
        pace.doubt();
        assert_eq!(pace.gait(), Gait::Measured);
        assert_eq!(pace.gait(), Gait::Shared, "one is enough");
    }

    #[test]
    fn a_slow_one_has_a_connection_of_its_own_until_it_is_measured_fast() {
        let pace = Pace::default();
        pace.took(20_000);
        let gaits: Vec<_> = (0..AGAIN).map(|_| pace.gait()).collect();
        let measured = gaits.iter().filter(|gait| **gait == Gait::Measured).count();
        assert!(measured == 1 && !gaits.contains(&Gait::Shared), "{gaits:?}");
        pace.took(25_000);
        assert_eq!(pace.micros(), 21_250);
        pace.took(30);
        assert_eq!((pace.micros(), pace.gait()), (30, Gait::Shared));
    }

    #[test]
    fn one_that_was_stopped_is_slow_even_if_nothing_was_known_of_it() {
        for known in [0, 30] {
            let pace = Pace::default();
            if known > 0 {
                pace.took(known);
            }
            assert_eq!(pace.gait() == Gait::Measured, known == 0);
            pace.was_stopped();
            // The first of those that are slow may be the one that is measured.
            pace.gait();
            assert_eq!(pace.gait(), Gait::Exclusive);
        }
    }

    #[test]
    fn long_answers_count_at_once_and_are_forgotten_slowly() {
        let pace = Pace::default();
        assert_eq!(pace.gait(), Gait::Measured);
        pace.took(20);
        pace.answered(100);
        assert_eq!(pace.bytes(), 0, "not worth noting");
        pace.answered(100_000);
        assert_eq!(pace.gait(), Gait::Exclusive);
        pace.answered(1_000);
        assert_eq!(pace.gait(), Gait::Exclusive);
        (0..8).for_each(|_| pace.answered(1_000));
        assert_eq!(pace.gait(), Gait::Shared);
    }
}
