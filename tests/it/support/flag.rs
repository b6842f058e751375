//! A flag that one thread raises and others wait for. Uses: nothing.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A condition between a test and its fake server: down at first, raised once, never lowered.
#[derive(Clone, Default)]
pub(crate) struct Flag(Arc<(Mutex<bool>, Condvar)>);

impl Flag {
    /// A flag that is down.
    pub(crate) fn new() -> Flag {
        Flag::default()
    }

    /// Raises the flag and wakes who waits for it.
    pub(crate) fn raise(&self) {
        *self.0.0.lock().expect("no holder panics") = true;
        self.0.1.notify_all();
    }

    /// Waits for the flag at most `limit`; whether it is up then.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut up = self.0.0.lock().expect("no holder panics");
        while !*up {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            up = self.0.1.wait_timeout(up, left).expect("no holder panics").0;
        }
        true
    }
}
