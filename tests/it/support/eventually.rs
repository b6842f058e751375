//! Waiting for a condition. Uses: nothing.

use std::panic::Location;
use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Waits until the condition is true; panics after ten seconds, naming `what` did not happen.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(LIMIT, what, condition);
}

/// Waits until the condition is true; panics after `limit`, naming `what` did not happen.
#[track_caller]
pub(crate) fn eventually_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            panic!("after {limit:?} still not: {what} (waited for at {})", Location::caller());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
