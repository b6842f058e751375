//! A declared select that shares a connection with others. Uses: connection, core, coro, deadline, error, inner, keeper, promise, protocol.
//!
//! Its request is encoded before a connection is there. It joins the queue, and the driver of a connection that is free takes it along
//! in a [group](crate::connection::Rider). Its caller sleeps from the first to the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;

use super::core::{Claim, ConnectionId, Effects, Refusal, Ride, Riding, Ticket, Weight};
use super::inner::{Inner, PoolCore, Waking};
use crate::connection::{self, Answer, Fit, Landing, Link, Plan, Request, Traces, check, stale};
use crate::coro::{self, Waiter};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::keeper;
use crate::promise::{Slot, Waited};
use crate::protocol::session::{End, Reply};

/// Room for a usual request.
const USUAL: usize = 96;
/// Who does not want to wait for a connection waits so long for the driver of one that is there.
const COMING: Duration = Duration::from_secs(1);

/// What came of a ride.
enum Ridden {
    Answered(Arc<Link>, Reply),
    /// It is to be run on a connection of its own.
    Alone,
    /// It got no seat.
    Refused(Refusal<Arc<Error>>),
    Failed(Error),
}

pub(super) struct Rider {
    inner: Arc<Inner>,
    plan: Arc<Plan>,
    /// Bind and Execute.
    request: BytesMut,
    query_limit: Option<Duration>,
    /// The server's clock is asked before and behind it, in a group of its own.
    measured: bool,
    slot: Slot<Ridden>,
    /// Whose it is, for the error if it waits in vain.
    who: usize,
    /// Its place in the queue. Written under the core's lock.
    ticket: Mutex<Option<Ticket>>,
    /// Its connection was lost once: next time it shares one with none, as it may be what ends them.
    unlucky: AtomicBool,
}

impl Inner {
    /// Whether a declared select may share a connection.
    pub(super) fn has_lanes(&self) -> bool {
        self.lanes.load(Ordering::Relaxed)
    }

    /// Runs a select in a group with others. `Ok(None)`: run it on a connection of its own.
    pub(super) fn ride(
        this: &Arc<Inner>,
        plan: Arc<Plan>,
        request: Request<'_>,
        query_limit: Option<Duration>,
        measured: bool,
        fit: Fit<'_>,
    ) -> Result<Option<Answer>> {
        let Some(bytes) = this.encode(&plan, request, USUAL, fit, |encoder| encoder.execute("", 0))? else {
            return Ok(None);
        };
        let rider = Arc::new(Rider {
            inner: this.clone(),
            plan,
            request: bytes,
            query_limit,
            measured,
            slot: Slot::new(),
            who: coro::identity(),
            ticket: Mutex::new(None),
            unlucky: AtomicBool::new(false),
        });
        let guard = GiveUp(&rider);
        if let Err(error) = Inner::seat(&rider) {
            std::mem::forget(guard);
            return Err(error);
        }
        let waited = rider.slot.wait();
        if let Waited::Value(_) = waited {
            std::mem::forget(guard);
        }
        match waited {
            Waited::Value(Ridden::Answered(link, reply)) if reply.end == End::Complete => {
                let plan = &rider.plan;
                plan.pace.answered(reply.bytes.len());
                Ok(Some(Answer::new(link, plan.statement.clone(), reply.bytes)))
            }
            Waited::Value(ridden) => Inner::arrived(&rider, request, ridden).map(|()| None),
            Waited::Overdue => {
                let detail = "the statement was sent; its reply will be thrown away";
                Err(Error::timeout(Phase::Query, query_limit, detail, Outcome::Unknown))
            }
        }
    }

    /// It has no answer. `Ok`: run it on a connection of its own.
    // Out of line: what is rare shall not make the frame of what is not so any larger.
    #[cold]
    #[inline(never)]
    fn arrived(rider: &Rider, request: Request<'_>, ridden: Ridden) -> Result<()> {
        let (this, plan) = (&rider.inner, &rider.plan);
        let (link, reply) = match ridden {
            Ridden::Answered(link, reply) => (link, reply),
            Ridden::Alone => {
                this.gauges.ran_alone();
                return Ok(());
            }
            Ridden::Refused(why) => {
                let limit = this.options.acquire_timeout;
                let waited = limit.filter(|_| matches!(why, Refusal::TimedOut)).unwrap_or_default();
                return Err(this.refused(why, limit, rider.who, waited));
            }
            Ridden::Failed(error) => return Err(error.limited_to(rider.query_limit)),
        };
        let Err(error) = check(&reply) else { return Ok(()) };
        let stale = stale(&error, &reply);
        if let Some(stale) = stale {
            link.forget(plan, stale);
            if stale == connection::Stale::Plan {
                this.knowledge.retire(request.source, plan, &plan.statement);
            }
        }
        if error.sqlstate() == Some("57014") {
            // Whatever was to be learnt of it is that it is slow, or it would be tried first each time.
            plan.pace.was_stopped();
        }
        if stale.is_none() && !is_for_company(&error) && !request.lacks_text(&error, &this.knowledge, plan) {
            return Err(error);
        }
        this.gauges.ran_alone();
        Ok(())
    }

    /// Joins the queue.
    fn seat(rider: &Arc<Rider>) -> Result<()> {
        let inner = &rider.inner;
        let limit = inner.options.acquire_timeout;
        let (call, uncovered) = {
            let mut core = inner.core.lock();
            let ride = core.ride(Rider::riding(rider), Instant::now);
            match ride {
                Ride::Queued { ticket, call, open } => {
                    // Under the lock: whoever takes it along has taken the lock since.
                    *rider.ticket.lock() = Some(ticket);
                    (call, inner.joined(&core, open))
                }
                Ride::Refused(why) => {
                    drop(core);
                    return Err(inner.refused(why, limit, rider.who, Duration::ZERO));
                }
            }
        };
        match call {
            Some((_, pooled)) => pooled.link.call(),
            None if limit == Some(Duration::ZERO) => {
                rider.leave();
                return Err(inner.refused(Refusal::TimedOut, limit, rider.who, Duration::ZERO));
            }
            None => {}
        }
        if let Some(next) = uncovered {
            keeper::nudge(next);
        }
        Ok(())
    }

    /// Somebody has joined the queue for a seat: when the keeper must come, if it would not by itself.
    fn joined(&self, core: &PoolCore, open: Option<ConnectionId>) -> Option<Deadline> {
        if open.is_some() || core.ledger().waiting == 1 {
            return self.queued(core, open);
        }
        self.gauges.joined(core);
        let next = core.next_deadline();
        (!keeper::covers(next)).then_some(next)
    }

    /// The driver of this connection has come for a group, or its last group is back.
    pub(super) fn board(this: &Arc<Inner>, id: ConnectionId, link: &Arc<Link>) {
        let now = Instant::now();
        link.learn(now);
        let traces = match (this.resets(), &this.options.after_connect) {
            (true, _) => Traces::Assumed,
            (false, Some(_)) => Traces::Spoil,
            (false, None) => Traces::Reset,
        };
        if !link.can_be_lane() {
            // Nor can the others.
            this.lanes.store(false, Ordering::Relaxed);
        }
        loop {
            let mut group = Vec::new();
            let effects = {
                let mut core = this.core.lock();
                let effects = core.board(id, |waking| {
                    if let Waking::Rider(rider) = waking {
                        group.push(rider);
                    }
                });
                if group.is_empty() || !effects.open.is_empty() {
                    this.told(&core, &effects);
                }
                this.gauges.boarded(&core, group.len().div_ceil(this.options.largest_group));
                effects
            };
            let none = group.is_empty();
            // One that has ended is told of; one that can't be a lane must not keep its place as one.
            let over =
                none || link.depart(group, this.options.largest_group, traces, now) || link.can_be_lane();
            if none || !effects.open.is_empty() {
                Inner::carry_out(this, effects);
            }
            if over {
                return;
            }
        }
    }

    /// It was refused while it waited for a seat.
    pub(super) fn dispatch_rider(rider: &Arc<Rider>) {
        let Some(ticket) = *rider.ticket.lock() else { return };
        let claim = rider.inner.core.lock().claim(ticket, || Waking::Rider(rider.clone()));
        if let Claim::Refused(why) = claim {
            rider.slot.keep(Ridden::Refused(why)).inspect(Waiter::wake);
        }
    }
}

impl Rider {
    fn riding(this: &Arc<Rider>) -> Riding<Waking> {
        let pace = &this.plan.pace;
        let alone = this.measured || this.unlucky.load(Ordering::Relaxed);
        // Who does not want to wait has left, or one is there whose driver comes.
        let limit = this.inner.options.acquire_timeout;
        Riding {
            limit: limit.map(|limit| if limit.is_zero() { COMING } else { limit }),
            weight: Weight { micros: pace.micros(), bytes: pace.bytes(), alone },
            wake: Waking::Rider(this.clone()),
        }
    }

    /// Waits for a seat again; whom to wake if there is none to be had.
    fn again(self: &Arc<Rider>) -> Option<Waiter> {
        let mut refused = None;
        Inner::tell(&self.inner, |core| {
            let mut ticket = self.ticket.lock();
            let Some(before) = ticket.filter(|_| self.slot.is_wanted()) else { return Effects::none() };
            let (again, effects) = core.ride_again(before, Rider::riding(self), Instant::now);
            match again {
                Ok(again) => *ticket = Some(again),
                Err(why) => refused = Some(why),
            }
            effects
        });
        if !self.slot.is_wanted() {
            // Its caller may have gone before it could know of this ticket.
            self.leave();
        }
        self.slot.keep(Ridden::Refused(refused?))
    }

    /// Leaves the queue, if it is there.
    fn leave(&self) {
        let ticket = *self.ticket.lock();
        if let Some(ticket) = ticket {
            Inner::tell(&self.inner, |core| core.leave(ticket));
        }
    }
}

impl connection::Rider for Rider {
    fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn is_measured(&self) -> bool {
        self.measured
    }

    fn limit(&self) -> Option<Duration> {
        self.query_limit
    }

    fn is_wanted(&self) -> bool {
        self.slot.is_wanted()
    }

    fn expire(&self) -> Option<Waiter> {
        self.slot.expire()
    }

    fn land(self: Arc<Self>, landing: Landing, link: Option<&Arc<Link>>) -> Option<Waiter> {
        let ridden = match (landing, link) {
            (Landing::Reply(reply), Some(link)) => Ridden::Answered(link.clone(), reply),
            (Landing::Reply(_), None) | (Landing::Misfit, _) => Ridden::Alone,
            (Landing::PassedOver, _) => return self.again(),
            (Landing::Lost(error), _) => match self.unlucky.swap(true, Ordering::Relaxed) {
                false => return self.again(),
                // Not executed, twice: there may be something that keeps connections from being lanes.
                true if error.outcome() != Outcome::Unknown => Ridden::Alone,
                true => Ridden::Failed(error),
            },
        };
        self.slot.keep(ridden)
    }
}

/// Whether it may have failed because of those it shared a transaction with, or because of the limits that lanes have for
/// each other's sake: a deadlock, a lock that did not come soon, a cancel, a conflict of a standby.
fn is_for_company(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("40P01" | "55P03" | "57014" | "40001"))
}

/// The caller has gone: by a cancel, a panic or a timeout. Leaves the queue; a reply that is under way is thrown away.
struct GiveUp<'r>(&'r Arc<Rider>);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        // First: who seats it again looks at this behind it.
        self.0.slot.abandon();
        self.0.leave();
        keeper::nudge(Deadline::after(Duration::ZERO));
    }
}
