//! When the keeper wakes next, for whoever writes a deadline. Explored with loom in `loom/`. Uses: sync.

use crate::sync::{AtomicU64, Ordering};

/// A moment in nanoseconds, or that the keeper sweeps just now.
///
/// No order between this and the deadlines is needed but that of the locks under which deadlines are written and swept:
/// whoever asks holds such a lock, so it either comes before the sweep, which then sees its deadline, or it sees
/// what the keeper has said before it swept.
pub(crate) struct WakeTime(AtomicU64);

/// The keeper is at work: what it has passed already, it will not see.
const SWEEPS: u64 = u64::MAX;

impl WakeTime {
    /// Of a keeper that does nothing yet: it covers nothing, so the first who asks starts it.
    pub(crate) const fn new(value: AtomicU64) -> WakeTime {
        WakeTime(value)
    }

    /// What `new` takes.
    pub(crate) const NOTHING: u64 = SWEEPS;

    /// A sweep begins. For the keeper, before it takes any lock.
    pub(crate) fn sweeps(&self) {
        self.0.store(SWEEPS, Ordering::Relaxed);
    }

    /// The sweep is over, and the next begins then; `None` is when somebody nudges.
    pub(crate) fn sleeps_until(&self, moment: Option<u64>) {
        self.0.store(moment.map_or(SWEEPS - 1, |moment| moment.min(SWEEPS - 1)), Ordering::Relaxed);
    }

    /// Whether the next sweep begins no later than that. Ask while holding the lock under which the deadline was
    /// written and under which the sweep reads it.
    pub(crate) fn covers(&self, moment: u64) -> bool {
        let wakes_at = self.0.load(Ordering::Relaxed);
        wakes_at != SWEEPS && moment >= wakes_at
    }
}
