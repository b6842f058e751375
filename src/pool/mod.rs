//! The pool: who may use which connection now. Uses: builder, config, connection, core, deadline, error, errand, gauges, inner, journal, lease, lost, metrics, opener, operate, options, rider, stats, waiting.

mod builder;
pub(crate) mod core;
mod errand;
mod gauges;
mod inner;
mod journal;
mod lease;
mod lost;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod opener;
mod operate;
mod options;
mod rider;
mod stats;
mod waiting;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub use builder::{PoolBuilder, SessionReset};
pub use lease::Lease;
pub use operate::CloseReport;
pub use stats::{Closes, Stats};

use self::inner::Inner;
use crate::connection::{Answer, Fit, Gait, Plan, Request};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// A capped set of connections, lent first come, first served.
///
/// A clone is another handle of the same pool. Connections are opened when they are needed, by coroutines of their own:
/// whoever waits gets whatever is ready first. When the last handle and the last lease are gone, the connections are
/// closed.
///
/// ```no_run
/// # fn main() -> maypole::Result<()> {
/// let pool = maypole::Pool::builder().url("postgres://app@localhost/shop")?.limit(20).build()?;
/// let connection = pool.connection()?;
/// let one: i32 = connection.query("SELECT 1", ()).value()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

impl Pool {
    /// A pool with the defaults: 10 connections, 5 s to acquire one, 30 s for a query.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Borrows a connection; waits while all are lent, at most for the acquire timeout.
    ///
    /// The place of the call is kept with the lease: it appears in the error of whoever waits in vain, and in the log if the
    /// lease is not given back for long.
    ///
    /// # Errors
    ///
    /// When the timeout passes ([`Error::phase`] is [`Phase::Queue`](crate::Phase::Queue), and [`Error::exhausted`] tells what the pool
    /// looked like), the queue is full, the pool is closed, no connection can be opened for a reason that waiting does not
    /// mend, or every connection is held by a transaction whose coroutine itself waits for another, so that nobody could go on. Outside of
    /// transactions a lease may be handed to somebody else, so there it is a wait like any other.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits leaves the queue at once; what was kept for it goes to the next.
    #[track_caller]
    pub fn connection(&self) -> Result<Lease> {
        Inner::acquire(&self.0, self.0.options.acquire_timeout, Some(Location::caller()))
    }

    /// Borrows a connection, waiting no longer than this; `None` is for ever, zero does not wait at all: not even for a connection to
    /// be opened, so it gets one only if one is idle.
    ///
    /// # Errors
    ///
    /// As for [`connection`](Pool::connection).
    #[track_caller]
    pub fn connection_within(&self, limit: impl Into<Option<Duration>>) -> Result<Lease> {
        Inner::acquire(&self.0, limit.into(), Some(Location::caller()))
    }

    /// Borrows a connection for whoever asked for one there.
    pub(crate) fn connection_at(
        &self,
        limit: Option<Duration>,
        site: &'static Location<'static>,
    ) -> Result<Lease> {
        Inner::acquire(&self.0, limit, Some(site))
    }

    /// Runs one statement on whatever connection is free first, and waits for the whole of its result. `limit` is for the
    /// reply. If the connection turns out to have ended before any of it was sent, another gets it, once.
    pub(crate) fn run(
        &self,
        mut request: Request<'_>,
        limit: Option<Duration>,
        fit: Fit<'_>,
    ) -> Result<Answer> {
        let mut plan = self.admit(request)?;
        let rides = request.may_ride() && self.0.has_lanes();
        if rides && plan.is_none() {
            plan = Some(self.learn(request, limit)?);
        }
        if let Some(plan) = plan {
            let gait = if rides { plan.pace.gait() } else { Gait::Exclusive };
            let answer = match gait {
                Gait::Exclusive => Inner::run(&self.0, plan, request, limit, rides, fit)?,
                _ => Inner::ride(&self.0, plan, request, limit, gait == Gait::Measured, fit)?,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            request.wary = true;
        }
        self.run_on_lease(request, limit, rides, fit)
    }

    /// The same on a lease. `reads` if the session is to be one that may not write.
    #[inline(never)]
    fn run_on_lease(
        &self,
        request: Request<'_>,
        limit: Option<Duration>,
        reads: bool,
        fit: Fit<'_>,
    ) -> Result<Answer> {
        let mut once_more = !request.wary;
        loop {
            // A query of its own has no place: nobody holds the lease in a program's hands.
            let lease = Inner::acquire(&self.0, self.0.options.acquire_timeout, None)?;
            if reads {
                lease.only_read();
            }
            match lease.run(request, Deadline::after(limit), fit) {
                Err(error) if once_more && error.is_unsent() => once_more = false,
                result => return result.map_err(|error| error.limited_to(limit)),
            }
        }
    }

    /// Asks the server about a select, which is not executed: the session that executes it is to be one that may not write.
    #[cold]
    fn learn(&self, request: Request<'_>, limit: Option<Duration>) -> Result<Arc<Plan>> {
        let mut once_more = true;
        loop {
            let lease = Inner::acquire(&self.0, self.0.options.acquire_timeout, None)?;
            // Others may have asked meanwhile.
            if let Some(plan) = self.0.knowledge.plans.get(request.source) {
                return Ok(plan);
            }
            match lease.learn(request.source, Deadline::after(limit)) {
                Err(error) if once_more && error.is_unsent() => once_more = false,
                result => return result.map_err(|error| error.limited_to(limit)),
            }
        }
    }

    /// What is known of a statement that is to run on whatever connection is free; refuses what needs a session of its own.
    pub(crate) fn admit(&self, request: Request<'_>) -> Result<Option<Arc<Plan>>> {
        let plan = self.0.knowledge.plans.get(request.source);
        let refused = match &plan {
            Some(plan) => plan.session.clone(),
            None => request.source.needs_session(),
        };
        refused.map_or(Ok(plan), |why| Err(Error::usage(why)))
    }

    pub(crate) fn acquire_timeout(&self) -> Option<Duration> {
        self.0.options.acquire_timeout
    }

    /// How it is told from others where transactions under way are marked: no other has this as long as it lives.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0.knowledge).addr()
    }

    pub(crate) fn query_timeout(&self) -> Option<Duration> {
        self.0.options.query_timeout
    }

    /// What it is called in logs and metrics.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where the connections are, and what has happened. Takes no lock, so it may be called as often as one likes.
    pub fn stats(&self) -> Stats {
        self.0.gauges.read()
    }
}

#[cfg(test)]
impl Pool {
    /// The idle connection ends, and neither its driver nor the pool has noticed.
    pub(crate) fn end_unnoticed(&self) {
        let core = self.0.core.lock();
        assert_eq!(core.ledger().idle, 1);
        core.connections().for_each(|pooled| pooled.link.die_unnoticed());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.0.name)
            .field("config", &self.0.config)
            .field("stats", &self.stats())
            .finish()
    }
}
