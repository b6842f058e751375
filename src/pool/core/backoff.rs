//! When to try again after connections could not be opened, and when to stop making callers wait.
//! Uses: nothing.

use std::time::{Duration, Instant};

/// The longest delay after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(50);
/// The longest delay there is.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest delay while callers ask for connections.
const HURRIED: Duration = Duration::from_millis(500);
/// With no live connection callers are told to wait for no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known about failures to open a connection, since the last success.
#[derive(Clone, Debug)]
pub(super) struct Backoff<F> {
    failing: Option<Failing<F>>,
}

#[derive(Clone, Debug)]
struct Failing<F> {
    /// The last one.
    failure: F,
    /// Whether only a person can mend it (a wrong password, no such database).
    permanent: bool,
    /// When the first and the last failed.
    since: Instant,
    latest: Instant,
    /// How many rounds of attempts failed.
    rounds: u32,
    /// No attempt starts before; `None` once that moment was seen to have passed.
    hold: Option<Instant>,
    /// The breaker is open: callers are told of the failure at once.
    refusing: bool,
    /// Somebody has asked for a connection since the last failure.
    asked: bool,
}

impl<F: Clone> Backoff<F> {
    /// Nothing has failed.
    pub(super) fn new() -> Backoff<F> {
        Backoff { failing: None }
    }

    /// A connection could be opened: the failures before are forgotten.
    pub(super) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// Notes a failure. `live` says whether any connection is open, `random` is from 0 to below 1.
    ///
    /// Returns whether those who wait should be told: nothing else can serve them, and waiting longer is
    /// not likely to help.
    pub(super) fn failed(
        &mut self,
        failure: F,
        permanent: bool,
        live: bool,
        random: f64,
        now: Instant,
    ) -> bool {
        let (since, rounds, hold) = match &self.failing {
            None => (now, 0, None),
            Some(before) => (before.since, before.rounds, before.hold),
        };
        let refusing = !live && (permanent || now.saturating_duration_since(since) >= PATIENCE);
        // An attempt that had begun before the hold belongs to the round that failed already.
        let (rounds, hold) = match hold {
            Some(hold) => (rounds, hold),
            None => (rounds.saturating_add(1), now + delay(rounds).mul_f64(random.clamp(0.0, 1.0))),
        };
        let hold = Some(hold);
        let asked = false;
        self.failing =
            Some(Failing { failure, permanent, since, latest: now, rounds, hold, refusing, asked });
        refusing
    }

    /// Somebody wants a connection: the next attempt comes soon, unless it would only fail again.
    pub(super) fn hurry(&mut self) {
        let Some(failing) = &mut self.failing else { return };
        failing.asked = true;
        if !failing.permanent
            && let Some(hold) = &mut failing.hold
        {
            *hold = (*hold).min(failing.latest + HURRIED);
        }
    }

    /// Ends the hold if its time is over. If nobody asked meanwhile the breaker closes: what is known is old by then, and whoever
    /// comes next waits for what the next attempt finds.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Some(failing) = &mut self.failing
            && failing.hold.is_some_and(|hold| hold <= now)
        {
            failing.hold = None;
            failing.refusing &= failing.asked;
        }
    }

    /// Whether an attempt is due although nobody waits: those who would are being refused.
    pub(super) fn wants_probe(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| failing.refusing && failing.hold.is_none())
    }

    /// How many connections may be opened at once, if all is well it is `usual`.
    pub(super) fn allowed(&self, usual: usize) -> usize {
        match &self.failing {
            None => usual,
            Some(failing) if failing.hold.is_some() => 0,
            Some(_) => usual.min(1),
        }
    }

    /// Why a newcomer would wait in vain.
    pub(super) fn refusal(&self) -> Option<&F> {
        self.failing.as_ref().filter(|failing| failing.refusing).map(|failing| &failing.failure)
    }

    /// The last failure, if no attempt has succeeded since.
    pub(super) fn last_failure(&self) -> Option<&F> {
        self.failing.as_ref().map(|failing| &failing.failure)
    }

    /// When the hold ends.
    pub(super) fn next_attempt_at(&self) -> Option<Instant> {
        self.failing.as_ref().and_then(|failing| failing.hold)
    }
}

#[cfg(test)]
impl<F> Backoff<F> {
    /// Everything that can make a difference from `now` on: flags, round, and times in milliseconds.
    pub(super) fn inspect(&self, now: Instant) -> Option<(u8, u32, [u64; 3])> {
        let failing = self.failing.as_ref()?;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let since = now.saturating_duration_since(failing.since).min(PATIENCE);
        // How long ago the last attempt failed can only shorten a hold.
        let (hold, latest) = match failing.hold {
            Some(hold) => {
                (hold.saturating_duration_since(now), now.saturating_duration_since(failing.latest))
            }
            None => (Duration::ZERO, HURRIED),
        };
        let flags = u8::from(failing.permanent)
            + 2 * u8::from(failing.refusing)
            + 4 * u8::from(failing.hold.is_some())
            + 8 * u8::from(failing.asked);
        Some((flags, failing.rounds, [since, hold, latest.min(HURRIED)].map(milliseconds)))
    }
}

/// The longest delay after this many earlier rounds.
fn delay(rounds: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(rounds)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// The delays after failures in a row, each at the moment its attempt was due.
    fn delays(rounds: usize, random: f64, hurried: bool) -> Vec<u128> {
        let mut now = Instant::now();
        let mut backoff = Backoff::new();
        let mut delays = Vec::new();
        for _ in 0..rounds {
            backoff.failed("refused", false, false, random, now);
            if hurried {
                backoff.hurry();
            }
            let next = backoff.next_attempt_at().unwrap();
            delays.push((next - now).as_millis());
            now = next;
            backoff.tick(now);
        }
        delays
    }

    #[test]
    fn delays_double_up_to_five_seconds_and_are_spread_over_their_whole_length() {
        assert_eq!(delays(9, 1.0, false), [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(delays(4, 0.25, false), [12, 25, 50, 100]);
        assert_eq!(delays(2, 0.0, false), [0, 0]);
        assert_eq!(delays(100, 1.0, false)[99], 5000);
    }

    #[test]
    fn while_callers_wait_half_a_second_is_the_longest_delay() {
        assert_eq!(delays(6, 1.0, true), [50, 100, 200, 400, 500, 500]);
    }

    #[test]
    fn a_permanent_failure_is_not_hurried() {
        let now = Instant::now();
        let mut backoff = Backoff::new();
        for _ in 0..8 {
            backoff.failed("password", true, false, 1.0, now);
            backoff.tick(now + LONGEST);
        }
        backoff.failed("password", true, false, 1.0, now);
        backoff.hurry();
        assert_eq!(backoff.next_attempt_at(), Some(now + LONGEST));
    }

    #[test]
    fn two_attempts_that_fail_together_count_as_one_round() {
        let now = Instant::now();
        let mut backoff = Backoff::new();
        backoff.failed("first", false, false, 1.0, now);
        backoff.failed("second", false, false, 1.0, now + milliseconds(10));
        assert_eq!(backoff.next_attempt_at(), Some(now + milliseconds(50)));
        assert_eq!(backoff.last_failure(), Some(&"second"));
        backoff.tick(now + milliseconds(50));
        backoff.failed("third", false, false, 1.0, now + milliseconds(50));
        assert_eq!(backoff.next_attempt_at(), Some(now + milliseconds(150)));
    }

    #[test]
    fn a_failing_server_gets_one_attempt_at_a_time() {
        let now = Instant::now();
        let mut backoff = Backoff::new();
        assert_eq!(backoff.allowed(2), 2);
        backoff.failed("refused", false, false, 1.0, now);
        assert_eq!(backoff.allowed(2), 0);
        backoff.tick(now + milliseconds(49));
        assert_eq!(backoff.allowed(2), 0);
        backoff.tick(now + milliseconds(50));
        assert_eq!(backoff.allowed(2), 1);
        backoff.succeeded();
        assert_eq!(backoff.allowed(2), 2);
    }

    #[test]
    fn callers_are_refused_after_two_seconds_or_a_permanent_failure_and_only_without_a_live_connection() {
        let now = Instant::now();
        let later = now + PATIENCE;
        let fails = |permanent, live, at| {
            let mut backoff = Backoff::new();
            backoff.failed("first", false, false, 1.0, now);
            backoff.tick(later);
            let told = backoff.failed("then", permanent, live, 1.0, at);
            assert_eq!(backoff.refusal().is_some(), told);
            assert!(!backoff.wants_probe(), "not before it is due");
            let mut asked = backoff.clone();
            asked.hurry();
            asked.tick(at + LONGEST);
            assert_eq!(
                (asked.refusal().is_some(), asked.wants_probe()),
                (told, told),
                "the attempt goes on for them"
            );
            backoff.tick(at + LONGEST);
            assert_eq!(backoff.refusal(), None, "nobody asked: callers wait for the next attempt");
            assert!(!backoff.wants_probe());
            told
        };
        assert!(!fails(false, false, later - milliseconds(1)));
        assert!(fails(false, false, later));
        assert!(!fails(false, true, later));
        assert!(fails(true, false, now));
        assert!(!fails(true, true, now));
    }
}
