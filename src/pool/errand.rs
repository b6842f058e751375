//! A query that waits for a connection with its request already encoded. Uses: connection, core, coro, deadline, error, inner, keeper, lease, metrics, promise, protocol, waiting.
//!
//! Whoever frees a connection sends the request of the oldest errand at once, and when the reply is there the
//! driver gives the connection to the next. The caller sleeps from the first to the last: without errands it would be woken
//! twice, and the connection would idle while it wakes.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::core::{Acquire, Borrower, Claim, LeaseId, Lent, Refusal, Ticket};
use super::inner::{Inner, Pooled, Waking};
use super::lease::Return;
use super::metrics::Mark;
use super::waiting::{holder, joining};
use crate::connection::{
    self, Answer, Fit, Introduced, Known, Link, Plan, Request, Stale, Statement, check, stale,
};
use crate::coro::{self, Waiter};
use crate::deadline::Deadline;
use crate::error::{self, Error, Phase, Result};
use crate::keeper;
use crate::promise::{Promise, Waited, promise};
use crate::protocol::encode::Encoder;
use crate::protocol::session::Reply;

/// Room for a usual request.
const USUAL: usize = 256;

/// A reply and the session it came from.
struct Answered {
    link: Arc<Link>,
    reply: Reply,
    described: Described,
}

/// What the session was told of the plan.
enum Described {
    AsPlanned,
    Otherwise(Arc<Statement>),
    /// Something else, in this very reply.
    Here,
    /// Nothing: it was not parsed.
    Refused,
}

pub(super) struct Errand {
    inner: Arc<Inner>,
    plan: Arc<Plan>,
    /// Bind, Execute, Sync.
    request: BytesMut,
    acquire_limit: Option<Duration>,
    query_limit: Option<Duration>,
    /// It is to find a session that may not write.
    reads: bool,
    promise: Promise<Result<Answered>>,
    /// Its place in the queue, if it had to wait. Written under the core's lock.
    ticket: OnceLock<Ticket>,
    /// Since when it has had to, and whose it is: that is asked only where it waits.
    waits: OnceLock<(Instant, usize)>,
    /// The connection that it was given.
    given: OnceLock<(LeaseId, Arc<Link>, Mark)>,
    /// What the session knew of the plan when the request was sent.
    known: OnceLock<Known>,
}

impl Inner {
    /// Runs a plan on whatever connection is free first. `Ok(None)`: nothing was executed, because the plan does not fit any more
    /// or because the connection had ended before anything was sent; run it otherwise.
    pub(super) fn run(
        this: &Arc<Inner>,
        plan: Arc<Plan>,
        request: Request<'_>,
        query_limit: Option<Duration>,
        reads: bool,
        fit: Fit<'_>,
    ) -> Result<Option<Answer>> {
        let encoded = this.encode(&plan, request, USUAL, fit, |encoder| {
            encoder.execute("", 0)?;
            encoder.sync();
            Ok(())
        });
        let Some(bytes) = encoded? else { return Ok(None) };
        let (promise, claim) = promise();
        let errand = Arc::new(Errand {
            inner: this.clone(),
            plan,
            request: bytes,
            acquire_limit: this.options.acquire_timeout,
            query_limit,
            reads,
            promise,
            ticket: OnceLock::new(),
            waits: OnceLock::new(),
            given: OnceLock::new(),
            known: OnceLock::new(),
        });
        let guard = GiveUp(&errand);
        errand.set_out()?;
        let Answered { link, reply, described } = match claim.wait() {
            Waited::Value(result) => {
                std::mem::forget(guard);
                match result {
                    // It was given one, which had ended.
                    Err(error) if errand.given.get().is_some() && error.is_unsent() => return Ok(None),
                    result => result.map_err(|error| error.limited_to(query_limit))?,
                }
            }
            Waited::Overdue => {
                let detail =
                    "the statement was sent and may still take effect; its reply will be thrown away";
                return Err(Error::timeout(Phase::Query, query_limit, detail, error::Outcome::Unknown));
            }
        };
        let plan = &errand.plan;
        if let Err(error) = check(&reply) {
            let Some(stale) = stale(&error, &reply) else {
                let again = request.lacks_text(&error, &this.knowledge, plan);
                return if again { Ok(None) } else { Err(error) };
            };
            link.forget(plan, stale);
            if stale == Stale::Plan {
                this.knowledge.retire(request.source, plan, &plan.statement);
            }
            return Ok(None);
        }
        let statement = match described {
            Described::AsPlanned | Described::Refused => plan.statement.clone(),
            Described::Otherwise(own) => own,
            Described::Here => {
                // The connection that answered is somebody else's by now; the catalogue is the same for all.
                let lease = Inner::acquire(this, this.options.acquire_timeout, None)
                    .map_err(|error| error.with_outcome(error::Outcome::Done))?;
                let described = lease.describe_answer(&reply, Deadline::after(query_limit));
                described.map_err(|error| error.with_outcome(error::Outcome::Done))?
            }
        };
        if !Arc::ptr_eq(&statement, &plan.statement) {
            fit(&statement).map_err(|error| error.with_outcome(error::Outcome::Done))?;
        }
        Ok(Some(Answer::new(link, statement, reply.bytes)))
    }

    /// Writes the request before a connection is there. `Ok(None)` if the plan does not fit any more.
    pub(super) fn encode(
        &self,
        plan: &Plan,
        request: Request<'_>,
        room: usize,
        fit: Fit<'_>,
        then: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Option<BytesMut>> {
        if fit(&plan.statement).is_err() {
            // Unless the schema has changed since it was asked for.
            self.knowledge.retire(request.source, plan, &plan.statement);
            return Ok(None);
        }
        if plan.statement.has_text {
            // Whether that is so on a session is found out before it is run there.
            return Ok(None);
        }
        let mut bytes = BytesMut::with_capacity(room);
        let mut encoder = Encoder::new(&mut bytes, self.config.get_max_message_size());
        let Statement { params, columns, .. } = &*plan.statement;
        if let Err(error) = encoder.bind("", &plan.name, params, request.values(), columns) {
            if !plan.takes_types_of_a_schema() {
                return Err(error);
            }
            self.knowledge.retire(request.source, plan, &plan.statement);
            return Ok(None);
        }
        then(&mut encoder)?;
        drop(encoder);
        Ok(Some(bytes))
    }

    /// Something is kept for this errand in the queue, or it is refused.
    pub(super) fn dispatch(errand: &Arc<Errand>) {
        let Some(ticket) = errand.ticket.get() else { return };
        let claim = {
            let mut core = errand.inner.core.lock();
            let claim = core.claim(*ticket, || Waking::Errand(errand.clone()));
            errand.inner.gauges.moved(&*core);
            claim
        };
        match claim {
            Claim::Pending => {}
            Claim::Lent(lent) => {
                errand.waits.get().into_iter().for_each(|(since, _)| errand.inner.meter.waited(*since));
                errand.send(lent);
            }
            Claim::Refused(why) => errand.fail(errand.refused(why)),
        }
    }
}

impl Errand {
    /// Takes an idle connection, or joins the queue.
    fn set_out(self: &Arc<Errand>) -> Result<()> {
        let uncovered = {
            let mut core = self.inner.core.lock();
            let limit = self.acquire_limit;
            let join = || {
                let joining = joining(limit, Waking::Errand(self.clone()));
                let _ = self.waits.set((joining.now, coro::identity()));
                joining
            };
            match core.acquire(Borrower::NOBODY, holder, join) {
                Acquire::Lent(lent) => {
                    self.inner.gauges.moved(&*core);
                    drop(core);
                    self.send(lent);
                    return Ok(());
                }
                Acquire::Refused(why) => {
                    drop(core);
                    return Err(self.refused(why));
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
    fn send(self: &Arc<Errand>, lent: Lent<Pooled>) {
        let _ = self.given.set((lent.lease, lent.connection.link, Mark::now()));
        let Some((_, link, _)) = self.given.get() else { return };
        if !self.promise.is_wanted() {
            // Given up before its request was sent.
            self.give_back();
            return;
        }
        self.inner.prepare_to_lend(link);
        let deadline = Deadline::after(self.query_limit);
        let sending = |known| drop(self.known.set(known));
        match link.send(&self.plan, &self.request, deadline, self.reads, self.clone(), sending) {
            // Given up meanwhile: the keeper may have looked before it was sent.
            Ok(()) if !self.promise.is_wanted() => keeper::nudge(Deadline::after(Duration::ZERO)),
            Ok(()) => {}
            Err(error) => {
                self.give_back();
                self.fail(error);
            }
        }
    }

    /// What the session was told of the plan. Asked before the connection is given on.
    fn described(&self, link: &Link, reply: &Reply) -> Described {
        match self.known.get() {
            Some(Known::AsPlanned) => Described::AsPlanned,
            Some(Known::Otherwise(own)) => Described::Otherwise(own.clone()),
            Some(Known::Not) | None => match link.introduced(&self.plan, reply) {
                Introduced::AsPlanned => Described::AsPlanned,
                Introduced::Otherwise => Described::Here,
                Introduced::Refused => Described::Refused,
            },
        }
    }

    fn give_back(&self) {
        if let Some((id, link, since)) = self.given.get() {
            Return::new(self.inner.clone(), *id, *since).give_back(link);
        }
    }

    fn refused(&self, why: Refusal<Arc<Error>>) -> Error {
        // One that has not waited is refused in front of its caller.
        let (waited, who) = match self.waits.get() {
            Some((since, who)) => (since.elapsed(), *who),
            None => (Duration::ZERO, coro::identity()),
        };
        self.inner.refused(why, self.acquire_limit, who, waited)
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
        let Some((_, link, _)) = self.given.get() else { return };
        let answered = reply.map(|reply| {
            let described = self.described(link, &reply);
            Answered { link: link.clone(), reply, described }
        });
        // First, so that the next request is under way before this caller wakes.
        self.give_back();
        self.promise.keep(answered).inspect(Waiter::wake);
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
