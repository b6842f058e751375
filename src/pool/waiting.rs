//! Borrowing: what is there at once, or a place in the queue. Uses: builder, connection, core, coro, deadline, error, inner, keeper, lease, lost, metrics.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::SessionReset;
use super::core::{Acquire, Borrower, Claim, ConnectionId, Held, Joining, Lent, Refusal, Ticket};
use super::inner::{Inner, PoolCore, Pooled, Waking};
use super::lease::{Lease, Return};
use super::metrics::Mark;
use crate::connection::{Connection, Link};
use crate::coro;
use crate::deadline::Deadline;
use crate::error::{Error, Exhausted, HeldLease, Outcome, Phase, Result};
use crate::keeper;

/// What a caller needs who has to wait: only then is a clock read.
pub(super) fn joining(limit: Option<Duration>, wake: Waking) -> Joining<Waking> {
    let now = Instant::now();
    Joining { deadline: Deadline::counted(limit, now), now, wake }
}

/// Who certainly holds this connection now, 0 if that can't be told. A lease may be handed to another coroutine at any time, and nobody sees
/// it; only one in a transaction function can't, because that borrows it.
pub(super) fn holder(pooled: &Pooled) -> usize {
    if pooled.link.is_in_block() { pooled.link.user() } else { 0 }
}

impl Inner {
    /// `site` is where somebody asked for a lease; nobody did for a query of its own.
    pub(super) fn acquire(
        this: &Arc<Inner>,
        limit: Option<Duration>,
        site: Option<&'static Location<'static>>,
    ) -> Result<Lease> {
        let borrower = Borrower { who: coro::identity(), site };
        let mut since = None;
        let join = || {
            let joining = joining(limit, Waking::caller());
            since = Some(joining.now);
            joining
        };
        let (ticket, uncovered) = {
            let mut core = this.core.lock();
            // No clock is read and no handle made unless it has to wait.
            match core.acquire(borrower, holder, join) {
                Acquire::Lent(lent) => {
                    this.gauges.moved(&*core);
                    drop(core);
                    return Ok(Inner::lease(this, lent, borrower.who));
                }
                Acquire::Refused(why) => {
                    drop(core);
                    return Err(this.refused(why, limit, borrower.who, Duration::ZERO));
                }
                Acquire::Queued { ticket, open } => (ticket, this.queued(&core, open)),
            }
        };
        let waiting = Waiting { inner: this, ticket: Some(ticket), who: borrower.who };
        if let Some(next) = uncovered {
            // An open that is wanted is started by the keeper, at once.
            keeper::nudge(next);
        }
        if limit == Some(Duration::ZERO) {
            drop(waiting);
            return Err(this.refused(Refusal::TimedOut, limit, borrower.who, Duration::ZERO));
        }
        // The limit counts from there too.
        waiting.wait(limit, since.unwrap_or_else(Instant::now))
    }

    /// Somebody has joined the queue: when the keeper must come, if it would not by itself.
    pub(super) fn queued(&self, core: &PoolCore, open: Option<ConnectionId>) -> Option<Deadline> {
        self.gauges.publish(core);
        let next = if open.is_some() { Deadline::after(Duration::ZERO) } else { core.next_deadline() };
        if open.is_some() {
            self.opens.lock().wanted.extend(open);
        }
        (!keeper::covers(next)).then_some(next)
    }

    fn lease(this: &Arc<Inner>, lent: Lent<Pooled>, who: usize) -> Lease {
        if lent.changed_hands {
            Inner::watch(this, who);
        }
        this.prepare_to_lend(&lent.connection.link);
        let connection = Connection::new(lent.connection.link, this.options.query_timeout);
        Lease::new(connection, Return::new(this.clone(), lent.lease, Mark::now()))
    }

    /// A connection is about to be used by somebody else than before.
    #[inline]
    pub(super) fn prepare_to_lend(&self, link: &Link) {
        if self.resets() {
            link.reset_later();
        }
    }

    /// Whether sessions are reset behind the backs of their borrowers.
    #[inline]
    pub(super) fn resets(&self) -> bool {
        self.options.session_reset == SessionReset::Lazy
    }

    /// The error for a caller that gets no connection.
    #[cold]
    pub(super) fn refused(
        &self,
        why: Refusal<Arc<Error>>,
        limit: Option<Duration>,
        who: usize,
        waited: Duration,
    ) -> Error {
        let (exhausted, failure) = {
            let core = self.core.lock();
            let (ledger, now) = (core.ledger(), Instant::now());
            let held = |held: Held| HeldLease::new(held.borrower.site, held.age);
            let exhausted = Exhausted {
                waited,
                lent: ledger.lent,
                lanes: ledger.lanes,
                idle: ledger.idle,
                opening: ledger.opening,
                cleaning: ledger.cleaning,
                limit: ledger.limit,
                waiting: ledger.waiting,
                paused: core.is_paused(),
                oldest_lease: core.oldest_lease(now).map(held),
                own_lease: core.lease_of(who, now).map(held),
            };
            (exhausted, core.last_failure().cloned())
        };
        match why {
            Refusal::Closed => Error::pool("the pool is closed"),
            Refusal::QueueFull => {
                let message = format!("the pool's queue is full (max_waiting): {exhausted}");
                Error::pool(message).with_exhausted(exhausted)
            }
            Refusal::Nested => {
                let message = format!(
                    "waiting for a connection would never end: every one is held by a coroutine that itself waits for another; {exhausted}"
                );
                Error::pool(message).with_exhausted(exhausted)
            }
            Refusal::Failed(error) => error.duplicate(),
            Refusal::Left => Error::pool("the wait was given up"),
            Refusal::TimedOut => {
                let error = Error::timeout(Phase::Queue, limit, exhausted.to_string(), Outcome::NotSent);
                let error = error.with_exhausted(exhausted);
                match failure {
                    Some(failure) => error.caused_by(failure.duplicate()),
                    None => error,
                }
            }
        }
    }
}

/// A caller in the queue: leaves it on whatever way out.
struct Waiting<'i> {
    inner: &'i Arc<Inner>,
    ticket: Option<Ticket>,
    who: usize,
}

impl Waiting<'_> {
    fn wait(mut self, limit: Option<Duration>, start: Instant) -> Result<Lease> {
        let Some(ticket) = self.ticket else {
            return Err(self.inner.refused(Refusal::Left, limit, self.who, Duration::ZERO));
        };
        loop {
            coro::park();
            let claim = {
                let mut core = self.inner.core.lock();
                let claim = core.claim(ticket, Waking::caller);
                self.inner.gauges.moved(&*core);
                claim
            };
            match claim {
                Claim::Pending => {}
                Claim::Lent(lent) => {
                    self.ticket = None;
                    self.inner.meter.waited(start);
                    return Ok(Inner::lease(self.inner, lent, self.who));
                }
                Claim::Refused(why) => {
                    self.ticket = None;
                    return Err(self.inner.refused(why, limit, self.who, start.elapsed()));
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            Inner::tell(self.inner, |core| core.leave(ticket));
        }
    }
}
