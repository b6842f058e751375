//! The pool: who may use which connection now. Uses: builder, config, connection, core, coro, deadline, errand, error, keeper, lease, opener, stats.

mod builder;
pub(crate) mod core;
mod errand;
mod lease;
mod opener;
mod stats;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

pub use builder::{PoolBuilder, SessionReset};
pub use lease::Lease;
pub use stats::Stats;

use self::core::{Acquire, Claim, ConnectionId, Core, Effects, LeaseId, Limits, Refusal, Returned, Ticket};
use self::errand::Errand;
use crate::config::Config;
use crate::connection::{Answer, Connection, Fit, Fitness, Knowledge, Link, Plan, Request};
use crate::coro::{self, Waiter};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::keeper::{self, Sweep};

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

struct Inner {
    core: Mutex<PoolCore>,
    config: Arc<Config>,
    knowledge: Arc<Knowledge>,
    options: Options,
    opens: Mutex<Opens>,
    /// Kept as long as the pool lives: the embedded server.
    keep: Option<Box<dyn Any + Send + Sync>>,
}

/// Connections on their way. The keeper starts them: a lease that is dropped may ask for one, and must not do the
/// work of starting a coroutine.
#[derive(Default)]
struct Opens {
    wanted: Vec<ConnectionId>,
    /// With the moment at which the pool stops counting on them.
    under_way: Vec<(ConnectionId, Deadline)>,
}

type PoolCore = Core<Arc<Link>, Waking, Arc<Error>>;
type PoolEffects = Effects<Arc<Link>, Waking>;
/// Who waits in the queue.
enum Waking {
    /// A caller, for a lease: it claims it itself.
    Caller(Waiter),
    /// A request: whoever wakes it sends it.
    Errand(Arc<Errand>),
}

impl Waking {
    fn caller() -> Waking {
        Waking::Caller(Waiter::current())
    }

    fn wake(&self) {
        match self {
            Waking::Caller(waiter) => waiter.wake(),
            Waking::Errand(errand) => Inner::dispatch(errand),
        }
    }
}

type Hook = Arc<dyn Fn(&Connection) -> Result<()> + Send + Sync>;

struct Options {
    name: Option<String>,
    limit: usize,
    min_idle: usize,
    max_waiting: usize,
    max_connecting: usize,
    acquire_timeout: Option<Duration>,
    query_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    idle_timeout: Option<Duration>,
    ping_after_idle: Option<Duration>,
    ping_timeout: Duration,
    clean_up_timeout: Duration,
    leak_warning: Option<Duration>,
    max_hold: Option<Duration>,
    session_reset: SessionReset,
    after_connect: Option<Hook>,
}

impl Options {
    /// Fails if they contradict each other.
    fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::config(what));
        if self.limit == 0 {
            return wrong("limit: a pool needs at least 1 connection");
        }
        if self.limit > MOST {
            return wrong("limit: a pool has at most 65,535 connections");
        }
        if self.min_idle > self.limit {
            return wrong("min_idle: there can't be more idle connections than the limit allows");
        }
        if self.max_connecting == 0 {
            return wrong("max_connecting: at least 1 connection must be opened at a time");
        }
        let zero = |limit: Option<Duration>| limit == Some(Duration::ZERO);
        for (name, limit) in [
            ("max_lifetime", self.max_lifetime),
            ("idle_timeout", self.idle_timeout),
            ("ping_after_idle", self.ping_after_idle),
            ("ping_timeout", Some(self.ping_timeout)),
            ("clean_up_timeout", Some(self.clean_up_timeout)),
            ("leak_warning", self.leak_warning),
            ("max_hold", self.max_hold),
        ] {
            if zero(limit) {
                return wrong(&format!(
                    "{name}: must be longer than nothing; leave it out or use None for no limit"
                ));
            }
        }
        Ok(())
    }
}

/// As many connections as the words of `stats` can count.
const MOST: usize = 65_535;

/// How long the clean-up of a returned connection may take.
const CLEAN_UP: Duration = Duration::from_secs(2);
/// How long the goodbye to a connection may take.
const GOODBYE: Duration = Duration::from_secs(10);
/// How many connections are opened at the same time.
const OPENING: usize = 2;

impl Pool {
    /// A pool with the defaults: 10 connections, 5 s to acquire one, 30 s for a query.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Borrows a connection; waits while all are lent, at most for the acquire timeout.
    ///
    /// # Errors
    ///
    /// When the timeout passes ([`Error::phase`] is [`Phase::Queue`]), the queue is full, the pool is closed, or
    /// no connection can be opened for a reason that waiting does not mend.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits leaves the queue at once; what was kept for it goes to the next.
    pub fn connection(&self) -> Result<Lease> {
        self.connection_within(self.0.options.acquire_timeout)
    }

    /// Borrows a connection, waiting no longer than this; `None` is for ever, zero does not wait at all.
    ///
    /// # Errors
    ///
    /// As for [`connection`](Pool::connection).
    pub fn connection_within(&self, limit: impl Into<Option<Duration>>) -> Result<Lease> {
        Inner::acquire(&self.0, limit.into())
    }

    /// Runs one statement on whatever connection is free first, and waits for the whole of its result. `limit` is for the
    /// reply.
    pub(crate) fn run(
        &self,
        mut request: Request<'_>,
        limit: Option<Duration>,
        fit: Fit<'_>,
    ) -> Result<Answer> {
        if let Some(plan) = self.admit(request)? {
            if let Some(answer) = Inner::run(&self.0, plan, request, limit, fit)? {
                return Ok(answer);
            }
            request.wary = true;
        }
        let lease = self.connection()?;
        lease.run(request, Deadline::after(limit), fit).map_err(|error| error.limited_to(limit))
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

    /// What it is called where transactions under way are marked: no other has this name as long as it lives.
    pub(crate) fn name(&self) -> usize {
        Arc::as_ptr(&self.0.knowledge).addr()
    }

    pub(crate) fn query_timeout(&self) -> Option<Duration> {
        self.0.options.query_timeout
    }

    /// Where the connections are, and what has happened.
    pub fn stats(&self) -> Stats {
        let core = self.0.core.lock();
        Stats::new(&core.ledger(), core.counters())
    }

    /// Lends nothing more: who waits gets an error, idle connections say goodbye, lent ones when they come back.
    /// Does not wait for them; [`is_drained`](Pool::is_drained) tells when the last is gone.
    pub fn close(&self) {
        Inner::tell(&self.0, Core::close);
    }

    /// Whether the pool is closed and none of its connections is left.
    pub fn is_drained(&self) -> bool {
        self.0.core.lock().is_drained()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.0.config).field("stats", &self.stats()).finish()
    }
}

impl Inner {
    fn start(config: Config, options: Options, keep: Option<Box<dyn Any + Send + Sync>>) -> Arc<Inner> {
        let limits = Limits { connections: options.limit, opening: OPENING, waiting: options.max_waiting };
        let inner = Arc::new(Inner {
            core: Mutex::new(Core::new(limits)),
            knowledge: Knowledge::new(config.get_statement_cache_capacity()),
            config: Arc::new(config),
            options,
            opens: Mutex::default(),
            keep,
        });
        keeper::watch(Arc::downgrade(&(inner.clone() as Arc<dyn Sweep>)));
        inner
    }

    fn acquire(this: &Arc<Inner>, limit: Option<Duration>) -> Result<Lease> {
        let (ticket, uncovered) = {
            let mut core = this.core.lock();
            // No clock is read and no handle made unless it has to wait.
            let acquired = core.acquire(|| (Deadline::after(limit), Waking::caller()));
            match acquired {
                Acquire::Lent(id, link) => return Ok(Inner::lease(this, id, link)),
                Acquire::Refused(why) => {
                    drop(core);
                    return Err(this.refused(why, limit));
                }
                Acquire::Queued { ticket, open } => (ticket, this.queued(&core, open)),
            }
        };
        let waiting = Waiting { inner: this, ticket: Some(ticket) };
        if let Some(next) = uncovered {
            // An open that is wanted is started by the keeper, at once.
            keeper::nudge(next);
        }
        if limit == Some(Duration::ZERO) {
            drop(waiting);
            return Err(this.refused(Refusal::TimedOut, limit));
        }
        waiting.wait(limit)
    }

    /// Somebody has joined the queue: when the keeper must come, if it would not by itself.
    fn queued(&self, core: &PoolCore, open: Option<ConnectionId>) -> Option<Deadline> {
        let next = if open.is_some() { Deadline::after(Duration::ZERO) } else { core.next_deadline() };
        if open.is_some() {
            self.opens.lock().wanted.extend(open);
        }
        (!keeper::covers(next)).then_some(next)
    }

    /// Tells the core something, and carries out what it decides once the lock is released.
    fn tell(this: &Arc<Inner>, tell: impl FnOnce(&mut PoolCore) -> PoolEffects) {
        let (effects, uncovered) = {
            let mut core = this.core.lock();
            let effects = tell(&mut core);
            let next = core.next_deadline();
            (effects, (!keeper::covers(next)).then_some(next))
        };
        Inner::carry_out(this, effects);
        if let Some(next) = uncovered {
            keeper::nudge(next);
        }
    }

    fn lease(this: &Arc<Inner>, id: LeaseId, link: Arc<Link>) -> Lease {
        let connection = Connection::new(link, this.options.query_timeout);
        Lease::new(connection, Return { inner: this.clone(), id })
    }

    /// Carries out what the core decided. No lock is held; nothing here waits.
    fn carry_out(this: &Arc<Inner>, effects: PoolEffects) {
        effects.wake.iter().chain(&effects.wake_refused).for_each(Waking::wake);
        if !effects.open.is_empty() {
            this.opens.lock().wanted.extend(effects.open);
            keeper::nudge(Deadline::after(Duration::ZERO));
        }
        for link in effects.close {
            link.end(Deadline::after(GOODBYE));
        }
    }

    fn refused(&self, why: Refusal<Arc<Error>>, limit: Option<Duration>) -> Error {
        let (ledger, failure) = {
            let core = self.core.lock();
            (core.ledger(), core.last_failure().cloned())
        };
        match why {
            Refusal::Closed => Error::pool("the pool is closed"),
            Refusal::QueueFull => Error::pool(format!(
                "the pool's queue is full: {} callers wait for {} connections (max_waiting)",
                ledger.waiting, ledger.limit
            )),
            Refusal::Failed(error) => error.duplicate(),
            Refusal::Left => Error::pool("the wait was given up"),
            Refusal::TimedOut => {
                let detail = format!(
                    "{} of {} connections are lent, {} idle, {} being opened, {} being cleaned; {} callers wait",
                    ledger.lent, ledger.limit, ledger.idle, ledger.opening, ledger.cleaning, ledger.waiting
                );
                let error = Error::timeout(Phase::Queue, limit, detail, Outcome::NotSent);
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
}

impl Waiting<'_> {
    fn wait(mut self, limit: Option<Duration>) -> Result<Lease> {
        let Some(ticket) = self.ticket else {
            return Err(self.inner.refused(Refusal::Left, limit));
        };
        loop {
            coro::park();
            let claim = self.inner.core.lock().claim(ticket, Waking::caller);
            match claim {
                Claim::Pending => {}
                Claim::Lent(id, link) => {
                    self.ticket = None;
                    return Ok(Inner::lease(self.inner, id, link));
                }
                Claim::Refused(why) => {
                    self.ticket = None;
                    return Err(self.inner.refused(why, limit));
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

/// The way back of a lease.
struct Return {
    inner: Arc<Inner>,
    id: LeaseId,
}

impl Return {
    /// Bookkeeping only: a clean connection goes to the next at once, another is cleaned by its driver.
    fn give_back(&self, link: &Arc<Link>) {
        let state = match link.retire_lease() {
            Fitness::Clean => Returned::Clean,
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
            link.clean_up(Deadline::after(CLEAN_UP), move || Inner::cleaned(&weak, lease));
        }
    }
}

impl Inner {
    fn cleaned(weak: &Weak<Inner>, lease: LeaseId) {
        if let Some(this) = weak.upgrade() {
            Inner::tell(&this, |core| core.cleaned(lease, true));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for link in self.core.lock().connections() {
            link.end(Deadline::after(GOODBYE));
        }
        if let Some(keep) = self.keep.take() {
            // Stopping a server takes its time, and this may be a worker. If no thread can be started it is dropped here.
            let _ = std::thread::Builder::new().name("maypole stop".to_owned()).spawn(move || drop(keep));
        }
    }
}
