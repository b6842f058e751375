//! Absolute time limits. Uses: nothing.

use std::time::{Duration, Instant};

/// A moment after which waiting ends; "for ever" is a value of its own.
///
/// The public functions of maypole take durations; inside, a `Deadline` travels by value, so that a limit
/// does not restart with each step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

/// A longer wait is meant as "for ever" and would overflow some clocks (rule M4).
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Deadline {
    /// No limit.
    pub(crate) const NEVER: Deadline = Deadline(None);

    /// That moment; `None` is no limit.
    pub(crate) fn at(moment: Option<Instant>) -> Deadline {
        Deadline(moment)
    }

    /// The moment `limit` from now; `None` is no limit.
    pub(crate) fn after(limit: impl Into<Option<Duration>>) -> Deadline {
        match limit.into() {
            Some(limit) => Deadline::counted(Some(limit), Instant::now()),
            None => Deadline::NEVER,
        }
    }

    /// The moment `limit` from `now`; `None` is no limit.
    pub(crate) fn counted(limit: Option<Duration>, now: Instant) -> Deadline {
        Deadline(limit.map(|limit| now + limit.min(LONGEST)))
    }

    /// The earlier of two limits.
    pub(crate) fn min(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }

    /// Whether the moment has passed.
    pub(crate) fn passed(self, now: Instant) -> bool {
        self.0.is_some_and(|at| at <= now)
    }

    /// Whether there is no limit.
    pub(crate) fn is_never(self) -> bool {
        self.0.is_none()
    }

    /// What is left at `now`; `None` is no limit.
    pub(crate) fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }

    /// The deadline of one of `shares` equal parts of the time left at `now`.
    pub(crate) fn share(self, now: Instant, shares: usize) -> Deadline {
        let shares = u32::try_from(shares.max(1)).unwrap_or(u32::MAX);
        Deadline(self.left(now).map(|left| now + left / shares))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_does_not_overflow() {
        let deadline = Deadline::after(Duration::MAX);
        assert!(!deadline.passed(Instant::now()));
        assert!(deadline.left(Instant::now()) <= Some(LONGEST));
    }

    #[test]
    fn a_share_is_a_part_of_what_is_left() {
        let now = Instant::now();
        let whole = Deadline(Some(now + Duration::from_secs(9)));
        assert_eq!(whole.share(now, 3).left(now), Some(Duration::from_secs(3)));
        assert!(Deadline::NEVER.share(now, 3).is_never());
        assert_eq!(whole.min(Deadline::NEVER), whole);
    }
}
