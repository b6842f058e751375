//! A borrowed connection, and its way back. Uses: connection, core, deadline, inner, metrics.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::core::{LeaseId, Returned};
use super::inner::Inner;
use super::metrics::Mark;
use crate::connection::{Connection, Fitness, Link};
use crate::deadline::Deadline;

/// A connection that is borrowed from a [`Pool`](crate::Pool), and goes back when this is dropped.
///
/// Dropping it never waits and does no I/O: a session that the server said is idle goes to the next borrower at once; one
/// that is in a transaction, or whose reply nobody waited for, is brought back to idle by its driver within the clean-up
/// timeout, or closed.
pub struct Lease {
    connection: Connection,
    back: Return,
}

impl Lease {
    pub(super) fn new(connection: Connection, back: Return) -> Lease {
        Lease { connection, back }
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.back.give_back(self.connection.link());
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.connection).finish()
    }
}

/// The way back of a lease.
pub(super) struct Return {
    inner: Arc<Inner>,
    id: LeaseId,
    since: Mark,
}

impl Return {
    pub(super) fn new(inner: Arc<Inner>, id: LeaseId, since: Mark) -> Return {
        Return { inner, id, since }
    }

    /// Bookkeeping only: a clean connection goes to the next at once, another is cleaned by its driver.
    pub(super) fn give_back(&self, link: &Arc<Link>) {
        link.forget_user();
        self.inner.meter.used(self.since);
        let state = match link.retire_lease() {
            Fitness::Clean => {
                let mut core = self.inner.core.lock();
                if core.put_back(self.id).is_ok() {
                    self.inner.gauges.moved(&*core);
                    return;
                }
                Returned::Clean
            }
            Fitness::Dirty => Returned::Dirty,
            Fitness::Broken => Returned::Broken,
        };
        let mut to_clean = None;
        Inner::tell(&self.inner, |core| {
            let effects = core.give_back(self.id, state);
            to_clean = effects.clean;
            effects
        });
        if let Some(lease) = to_clean {
            let weak = Arc::downgrade(&self.inner);
            link.clean_up(Deadline::after(self.inner.options.clean_up_timeout), move || {
                if let Some(this) = weak.upgrade() {
                    Inner::tell(&this, |core| core.cleaned(lease, true));
                }
            });
        }
    }
}
