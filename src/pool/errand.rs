//! A query that waits for a connection with its request already encoded. Uses: connection, core, coro, deadline, error, keeper, params, pool, promise, protocol.
//!
//! Whoever frees a connection sends the request of the oldest errand at once, and when the reply is there the
//! driver gives the connection to the next. The caller sleeps from the first to the last: without errands it would be woken
//! twice, and the connection would idle while it wakes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;

use super::core::{Acquire, Claim, LeaseId, Ticket};
use super::{Inner, Return, Waking};
use crate::connection::{self, Answer, Link, Plan, Sent, Stale, check, stale};
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::keeper;
use crate::params::Params;
use crate::promise::{Promise, Waited, promise};
use crate::protocol::encode::Encoder;
use crate::protocol::session::{End, Reply};

/// Room for a usual request.
const USUAL: usize = 256;

pub(super) struct Errand {
    inner: Arc<Inner>,
    plan: Arc<Plan>,
    /// Bind, Execute, Sync.
    request: BytesMut,
    acquire_limit: Option<Duration>,
    query_limit: Option<Duration>,
    /// `None` if the plan does not fit any more; then nothing was executed.
    promise: Promise<Result<Option<(Arc<Link>, Reply)>>>,
    /// Its place in the queue, if it had to wait. Written under the core's lock.
    ticket: OnceLock<Ticket>,
    /// The connection that it was given.
    given: OnceLock<(LeaseId, Arc<Link>)>,
    /// The session was asked how it describes the plan; the request has not been sent.
    asked: AtomicBool,
}

impl Inner {
    /// Runs a plan on whatever connection is free first. `Ok(None)`: the plan does not fit any more, run it otherwise.
    pub(super) fn run(
        this: &Arc<Inner>,
        plan: Arc<Plan>,
        params: &dyn Params,
        query_limit: Option<Duration>,
    ) -> Result<Option<Answer>> {
        let mut request = BytesMut::with_capacity(USUAL);
        let mut encoder = Encoder::new(&mut request, this.config.get_max_message_size());
        encoder.bind("", &plan.statement.name, &plan.statement.params, params)?;
        encoder.execute("", 0)?;
        encoder.sync();
        drop(encoder);
        let (promise, claim) = promise();
        let errand = Arc::new(Errand {
            inner: this.clone(),
            plan,
            request,
            acquire_limit: this.options.acquire_timeout,
            query_limit,
            promise,
            ticket: OnceLock::new(),
            given: OnceLock::new(),
            asked: AtomicBool::new(false),
        });
        let guard = GiveUp(&errand);
        errand.set_out()?;
        let outcome = match claim.wait() {
            Waited::Value(result) => {
                std::mem::forget(guard);
                result?
            }
            Waited::Overdue => {
                let detail =
                    "the statement was sent and may still take effect; its reply will be thrown away";
                return Err(Error::timeout(Phase::Query, query_limit, detail, Outcome::Unknown));
            }
        };
        let Some((link, reply)) = outcome else { return Ok(None) };
        match check(&reply) {
            Ok(()) => Ok(Some(Answer::new(link, errand.plan.statement.clone(), reply.bytes))),
            Err(error) => {
                let Some(stale) = stale(&error) else { return Err(error) };
                link.forget(&errand.plan, stale);
                if stale == Stale::Plan {
                    this.knowledge.plans.retire(&errand.plan);
                }
                Ok(None)
            }
        }
    }

    /// Something is kept for this errand in the queue, or it is refused.
    pub(super) fn dispatch(errand: &Arc<Errand>) {
        let Some(ticket) = errand.ticket.get() else { return };
        let claim = errand.inner.core.lock().claim(*ticket, || Waking::Errand(errand.clone()));
        match claim {
            Claim::Pending => {}
            Claim::Lent(id, link) => errand.send(id, link),
            Claim::Refused(why) => errand.fail(errand.inner.refused(why, errand.acquire_limit)),
        }
    }
}

impl Errand {
    /// Takes an idle connection, or joins the queue.
    fn set_out(self: &Arc<Errand>) -> Result<()> {
        let uncovered = {
            let mut core = self.inner.core.lock();
            let limit = self.acquire_limit;
            match core.acquire(|| (Deadline::after(limit), Waking::Errand(self.clone()))) {
                Acquire::Lent(id, link) => {
                    drop(core);
                    self.send(id, link);
                    return Ok(());
                }
                Acquire::Refused(why) => {
                    drop(core);
                    return Err(self.inner.refused(why, limit));
                }
                Acquire::Queued { ticket, open } => {
                    // Set once, and under the lock: whoever dispatches it has taken the lock since.
                    let _ = self.ticket.set(ticket);
                    self.inner.queued(&core, open)
                }
            }
        };
        if let Some(next) = uncovered {
            keeper::nudge(next);
        }
        Ok(())
    }

    /// Sends the request on the connection that is now its own.
    fn send(self: &Arc<Errand>, id: LeaseId, link: Arc<Link>) {
        let _ = self.given.set((id, link));
        self.proceed();
    }

    /// Sends the request, or first the question.
    fn proceed(self: &Arc<Errand>) {
        let Some((_, link)) = self.given.get() else { return };
        if !self.promise.is_wanted() {
            // Given up before its request was sent.
            self.give_back();
            return;
        }
        let deadline = Deadline::after(self.query_limit);
        let sending = |sent| self.asked.store(sent == Sent::Question, Ordering::Release);
        if let Err(error) = link.send(&self.plan, &self.request, deadline, self.clone(), sending) {
            self.give_back();
            self.fail(error);
        }
    }

    /// The session has described the plan: if it says the same, the request is sent; nothing was executed so far.
    fn described(self: &Arc<Errand>, link: &Arc<Link>, reply: &Reply) {
        if self.plan.is_described_by(&reply.bytes) {
            link.meet(&self.plan);
            self.proceed();
            return;
        }
        self.inner.knowledge.plans.retire(&self.plan);
        link.meet(&self.plan);
        link.forget(&self.plan, Stale::Plan);
        self.give_back();
        self.promise.keep(Ok(None)).inspect(Waiter::wake);
    }

    fn give_back(&self) {
        if let Some((id, link)) = self.given.get() {
            Return { inner: self.inner.clone(), id: *id }.give_back(link);
        }
    }

    fn fail(&self, error: Error) {
        self.promise.keep(Err(error)).inspect(Waiter::wake);
    }
}

impl connection::Errand for Errand {
    fn is_wanted(&self) -> bool {
        self.promise.is_wanted()
    }

    fn expire(&self) -> Option<Waiter> {
        self.promise.expire()
    }

    fn finish(self: Arc<Self>, reply: Result<Reply>) {
        let Some((_, link)) = self.given.get() else { return };
        if self.asked.swap(false, Ordering::AcqRel)
            && let Ok(reply) = &reply
            && reply.end == End::Complete
        {
            return self.described(link, reply);
        }
        // First, so that the next request is under way before this caller wakes.
        self.give_back();
        self.promise.keep(reply.map(|reply| Some((link.clone(), reply)))).inspect(Waiter::wake);
    }
}

/// The caller has gone: by a cancel, a panic or a timeout. Leaves the queue; if the request is under way, the keeper sees
/// to it that its reply does not hold the connection for long.
struct GiveUp<'e>(&'e Arc<Errand>);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.ticket.get() {
            Inner::tell(&self.0.inner, |core| core.leave(*ticket));
        }
        keeper::nudge(Deadline::after(Duration::ZERO));
    }
}
