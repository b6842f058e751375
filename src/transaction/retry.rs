//! Whether a transaction is tried again, and when. Uses: error, random.

use std::time::Duration;

use crate::error::Error;
use crate::random::fraction;

/// How long the first wait may be; each further one may be twice as long.
const FIRST: Duration = Duration::from_millis(10);
/// How long a wait may be at most.
const LONGEST: Duration = Duration::from_millis(500);

/// What the connection saw of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: String,
    /// The constraint that was violated, and the key, where there is one.
    key: Option<(String, String)>,
}

/// What a connection that was lost before COMMIT counts as: connection_failure (manual, appendix A).
const LOST: &str = "08006";

impl Failure {
    /// `None` if it was neither the server's nor the connection's.
    pub(super) fn of(error: &Error) -> Option<Failure> {
        let Some(server) = error.db_error() else {
            return error.is_closed().then(|| Failure { code: LOST.to_owned(), key: None });
        };
        let key = server.constraint().zip(server.detail());
        let key = key.map(|(constraint, detail)| (constraint.to_owned(), detail.to_owned()));
        Some(Failure { code: server.code().to_owned(), key })
    }
}

/// The attempts of one transaction.
#[derive(Debug)]
pub(super) struct Retries {
    on: &'static [&'static str],
    most: u32,
    made: u32,
    last: Option<Failure>,
}

impl Retries {
    pub(super) fn new(most: u32, on: &'static [&'static str]) -> Retries {
        Retries { on, most, made: 0, last: None }
    }

    /// Which attempt this is, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.made.saturating_add(1)
    }

    /// How many attempts there can be.
    pub(super) fn attempts(&self) -> u32 {
        self.most.saturating_add(1)
    }

    /// An attempt has failed: how long the next may be put off at most, if there is one.
    pub(super) fn after(&mut self, failure: Option<Failure>) -> Option<Duration> {
        let failure = failure.filter(|failure| self.on.contains(&&*failure.code))?;
        if self.made == self.most {
            return None;
        }
        // The same key of the same constraint, looked at anew and violated again: nobody else is in the way.
        if failure.key.is_some() && self.last.as_ref() == Some(&failure) {
            return None;
        }
        self.last = Some(failure);
        let longest = FIRST.saturating_mul(1 << self.made.min(16)).min(LONGEST);
        self.made += 1;
        Some(longest)
    }
}

/// How long to wait: anything up to the longest, so that those who met do not meet again.
pub(super) fn jitter(longest: Duration) -> Duration {
    longest.mul_f64(fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: &[&str] = &["40001", "23505"];

    fn failure(code: &str, key: Option<&str>) -> Option<Failure> {
        let key = key.map(|key| ("places_pkey".to_owned(), format!("Key (id)=({key}) already exists.")));
        Some(Failure { code: code.to_owned(), key })
    }

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_the_retries() {
        let mut retries = Retries::new(12, ON);
        let waits: Vec<_> = std::iter::from_fn(|| retries.after(failure("40001", None))).collect();
        assert_eq!(waits.len(), 12);
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[11], LONGEST);
        assert_eq!((retries.attempt(), retries.attempts()), (13, 13));
    }

    #[test]
    fn only_what_is_listed_is_tried_again() {
        let mut retries = Retries::new(3, ON);
        assert_eq!(retries.after(None), None, "the function's own error");
        assert_eq!(retries.after(failure("23514", None)), None);
        assert!(retries.after(failure("23505", Some("1"))).is_some());
    }

    #[test]
    fn the_same_key_twice_running_is_no_contention() {
        let mut retries = Retries::new(9, ON);
        assert!(retries.after(failure("23505", Some("1"))).is_some());
        assert!(retries.after(failure("23505", Some("2"))).is_some(), "another key");
        assert!(retries.after(failure("40001", None)).is_some());
        assert!(retries.after(failure("40001", None)).is_some(), "the next is no duplicate");
        assert!(retries.after(failure("23505", Some("2"))).is_some(), "not running");
        assert_eq!(retries.after(failure("23505", Some("2"))), None);
    }
}
