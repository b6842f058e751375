//! The pool: who may use which connection now. Uses: config, connection, core, coro, deadline, error, keeper, lease.

pub(crate) mod core;
mod lease;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use lease::Lease;

use self::core::{Acquire, Claim, ConnectionId, Core, Effects, LeaseId, Limits, Refusal, Returned, Ticket};
use crate::config::Config;
use crate::connection::{self, Connection, Fitness, Link, Types};
use crate::coro::{self, Waiter};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, Outcome, Phase, Result};
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
    core: Mutex<Core<Arc<Link>, Waiter, Arc<Error>>>,
    config: Arc<Config>,
    types: Arc<Types>,
    options: Options,
    opens: Mutex<Opens>,
    /// Kept as long as the pool lives: the embedded server.
    _keep: Option<Box<dyn std::any::Any + Send + Sync>>,
}

/// Connections on their way. The keeper starts them: a lease that is dropped may ask for one, and must not do the
/// work of starting a coroutine.
#[derive(Default)]
struct Opens {
    wanted: Vec<ConnectionId>,
    /// With the moment at which the pool stops counting on them.
    under_way: Vec<(ConnectionId, Deadline)>,
}

type Hook = Arc<dyn Fn(&Connection) -> Result<()> + Send + Sync>;

struct Options {
    limit: usize,
    max_waiting: usize,
    acquire_timeout: Option<Duration>,
    query_timeout: Option<Duration>,
    after_connect: Option<Hook>,
}

/// How long the clean-up of a returned connection may take.
const CLEAN_UP: Duration = Duration::from_secs(2);
/// How long the goodbye to a connection may take.
const GOODBYE: Duration = Duration::from_secs(10);
/// How many connections are opened at the same time.
const OPENING: usize = 2;
/// An open that has not reported so long after its own limit is given up: a name server may hang.
const OVERDUE: Duration = Duration::from_secs(1);

/// Where the connections of a pool are, and what it has done. The first five add up to `limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// With a borrower, or kept for one that has been woken.
    pub lent: usize,
    /// Clean and ready.
    pub idle: usize,
    /// Being opened.
    pub opening: usize,
    /// Being cleaned.
    pub cleaning: usize,
    /// Not there.
    pub free: usize,
    /// How many connections there may be.
    pub limit: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Connections lent since the start.
    pub lends: u64,
    /// Callers that had to wait since the start.
    pub waits: u64,
    /// Callers whose acquire timeout passed.
    pub timeouts: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections closed since the start.
    pub closed: u64,
    /// Most connections open at the same time.
    pub most: usize,
}

/// Settings of a [`Pool`] that is about to be made.
#[must_use = "a builder makes no pool until build()"]
pub struct PoolBuilder {
    config: Option<Config>,
    options: Options,
    keep: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Pool {
    /// A pool with the defaults: 10 connections, 5 s to acquire one, 30 s for a query.
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            config: None,
            options: Options {
                limit: 10,
                max_waiting: 8192,
                acquire_timeout: Some(Duration::from_secs(5)),
                query_timeout: Some(Duration::from_secs(30)),
                after_connect: None,
            },
            keep: None,
        }
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

    /// Where the connections are, and what has happened.
    pub fn stats(&self) -> Stats {
        let core = self.0.core.lock();
        let (ledger, counters) = (core.ledger(), core.counters());
        Stats {
            lent: ledger.lent,
            idle: ledger.idle,
            opening: ledger.opening,
            cleaning: ledger.cleaning,
            free: ledger.free,
            limit: ledger.limit,
            waiting: ledger.waiting,
            lends: counters.lends,
            waits: counters.waits,
            timeouts: counters.timeouts,
            opened: counters.opened,
            closed: counters.closed,
            most: counters.most,
        }
    }

    /// Lends nothing more: who waits gets an error, idle connections say goodbye, lent ones when they come back.
    /// Does not wait for them; [`is_drained`](Pool::is_drained) tells when the last is gone.
    pub fn close(&self) {
        let effects = self.0.core.lock().close();
        Inner::carry_out(&self.0, effects);
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

impl PoolBuilder {
    /// Which server, by a connection string: a `postgres://` URL or `keyword=value` pairs, as libpq takes them.
    ///
    /// # Errors
    ///
    /// If it is malformed; the error names the place and never quotes the text.
    pub fn url(self, url: &str) -> Result<PoolBuilder> {
        Ok(self.config(url.parse()?))
    }

    /// Which server.
    pub fn config(mut self, config: Config) -> PoolBuilder {
        self.config = Some(config);
        self
    }

    /// How many connections there may be at most. Default 10.
    pub fn limit(mut self, connections: usize) -> PoolBuilder {
        self.options.limit = connections;
        self
    }

    /// How long a borrower waits for a connection. Default 5 s; `None` is for ever.
    pub fn acquire_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.acquire_timeout = limit.into();
        self
    }

    /// How long a reply to a query may take. Default 30 s; `None` is for ever.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.query_timeout = limit.into();
        self
    }

    /// How many borrowers may wait; the next gets an error at once. Default 8,192.
    pub fn max_waiting(mut self, borrowers: usize) -> PoolBuilder {
        self.options.max_waiting = borrowers;
        self
    }

    /// What to do with each connection after it was opened and before it is lent: `SET`s, for instance. If it fails,
    /// the connection counts as one that could not be opened.
    pub fn after_connect(
        mut self,
        hook: impl Fn(&Connection) -> Result<()> + Send + Sync + 'static,
    ) -> PoolBuilder {
        self.options.after_connect = Some(Arc::new(hook));
        self
    }

    /// Something that must live as long as the pool.
    pub(crate) fn keep(mut self, thing: impl std::any::Any + Send + Sync) -> PoolBuilder {
        self.keep = Some(Box::new(thing));
        self
    }

    /// Makes the pool. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// If the configuration is missing or contradicts itself, or the limit is 0.
    pub fn build(self) -> Result<Pool> {
        let config =
            self.config.ok_or_else(|| Error::config("a pool needs a server: set url() or config()"))?;
        config.targets()?;
        if self.options.limit == 0 {
            return Err(Error::config("limit: a pool needs at least 1 connection"));
        }
        let limits =
            Limits { connections: self.options.limit, opening: OPENING, waiting: self.options.max_waiting };
        let inner = Arc::new(Inner {
            core: Mutex::new(Core::new(limits)),
            config: Arc::new(config),
            types: Types::new(),
            options: self.options,
            opens: Mutex::default(),
            _keep: self.keep,
        });
        keeper::watch(Arc::downgrade(&(inner.clone() as Arc<dyn Sweep>)));
        Ok(Pool(inner))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("config", &self.config)
            .field("limit", &self.options.limit)
            .finish()
    }
}

impl Inner {
    fn acquire(this: &Arc<Inner>, limit: Option<Duration>) -> Result<Lease> {
        let (ticket, covered, deadline) = {
            let mut core = this.core.lock();
            let mut deadline = Deadline::NEVER;
            // No clock is read and no handle made unless it has to wait.
            let acquired = core.acquire(|| {
                deadline = Deadline::after(limit);
                (deadline, Waiter::current())
            });
            match acquired {
                Acquire::Lent(id, link) => return Ok(Inner::lease(this, id, link)),
                Acquire::Refused(why) => {
                    drop(core);
                    return Err(this.refused(why, limit));
                }
                Acquire::Queued { ticket, open } => {
                    this.opens.lock().wanted.extend(open);
                    (ticket, open.is_none() && keeper::covers(deadline), deadline)
                }
            }
        };
        let waiting = Waiting { inner: this, ticket: Some(ticket) };
        if limit == Some(Duration::ZERO) {
            keeper::nudge(Deadline::after(Duration::ZERO));
            drop(waiting);
            return Err(this.refused(Refusal::TimedOut, limit));
        }
        if !covered {
            // An open that is wanted is started by the keeper, at once.
            keeper::nudge(if this.opens.lock().wanted.is_empty() {
                deadline
            } else {
                Deadline::after(Duration::ZERO)
            });
        }
        waiting.wait(limit)
    }

    fn lease(this: &Arc<Inner>, id: LeaseId, link: Arc<Link>) -> Lease {
        let connection = Connection::new(link, this.options.query_timeout);
        Lease::new(connection, Return { inner: this.clone(), id })
    }

    /// Carries out what the core decided. No lock is held; nothing here waits.
    fn carry_out(this: &Arc<Inner>, effects: Effects<Arc<Link>, Waiter>) {
        effects.wake.iter().chain(&effects.wake_refused).for_each(Waiter::wake);
        if !effects.open.is_empty() {
            this.opens.lock().wanted.extend(effects.open);
            keeper::nudge(Deadline::after(Duration::ZERO));
        }
        for link in effects.close {
            link.end(Deadline::after(GOODBYE));
        }
    }

    /// For the keeper: starts a coroutine that opens a connection.
    fn open(this: &Arc<Inner>, id: ConnectionId) {
        let limit = this.config.get_connect_timeout().map(|limit| limit.saturating_add(OVERDUE));
        this.opens.lock().under_way.push((id, Deadline::after(limit)));
        let weak = Arc::downgrade(this);
        let opened = connection::open(this.config.clone(), this.types.clone(), move |result| {
            let Some(this) = weak.upgrade() else {
                // The pool is gone: so is the use for this.
                return if let Ok(link) = result {
                    link.end(Deadline::after(GOODBYE))
                };
            };
            match (result, this.options.after_connect.clone()) {
                (Ok(link), None) => Inner::opened(&this, id, link),
                (Ok(link), Some(hook)) => Inner::prepare(&this, id, link, hook),
                (Err(error), _) => Inner::failed(&this, id, error),
            }
        });
        if let Err(error) = opened {
            Inner::failed(this, id, Error::connect("no coroutine could be started").caused_by(error));
        }
    }

    /// Runs the hook: in a coroutine of its own, because the driver must drive meanwhile.
    fn prepare(this: &Arc<Inner>, id: ConnectionId, link: Arc<Link>, hook: Hook) {
        this.opens.lock().under_way.retain(|(other, _)| *other != id);
        /// Whatever the hook does, a panic included, the pool hears of the end.
        struct Report(Option<(Arc<Inner>, ConnectionId, Arc<Link>)>);
        impl Report {
            fn tell(&mut self, result: Result<()>) {
                let Some((this, id, link)) = self.0.take() else { return };
                let result = result.and_then(|()| match link.fitness() {
                    Fitness::Clean => Ok(()),
                    _ => Err(Error::usage("the hook left the connection in a transaction, or it was lost")),
                });
                match result {
                    Ok(()) => Inner::opened(&this, id, link),
                    Err(error) => {
                        link.end(Deadline::after(GOODBYE));
                        Inner::failed(&this, id, Error::connect("after_connect failed").caused_by(error));
                    }
                }
            }
        }
        impl Drop for Report {
            fn drop(&mut self) {
                self.tell(Err(Error::usage("after_connect panicked")));
            }
        }
        let timeout = this.options.query_timeout;
        let mut report = Report(Some((this.clone(), id, link.clone())));
        let started = coro::spawn_named("maypole after_connect", coro::STACK_SIZE, move || {
            let connection = Connection::new(link.clone(), timeout);
            let result = hook(&connection).and_then(|()| match link.fitness() {
                // The reply to the end of a stream may be on its way: nothing is outstanding once this has come.
                Fitness::Dirty => connection.script(""),
                _ => Ok(()),
            });
            report.tell(result);
        });
        // If it could not be started, the report was dropped, and told so.
        drop(started);
    }

    fn opened(this: &Arc<Inner>, id: ConnectionId, link: Arc<Link>) {
        this.opens.lock().under_way.retain(|(other, _)| *other != id);
        let effects = this.core.lock().opened(id, link.clone());
        Inner::carry_out(this, effects);
        let weak = Arc::downgrade(this);
        link.observe(Box::new(move |_| {
            if let Some(this) = weak.upgrade() {
                let effects = this.core.lock().broke(id);
                Inner::carry_out(&this, effects);
            }
        }));
    }

    fn failed(this: &Arc<Inner>, id: ConnectionId, error: Error) {
        this.opens.lock().under_way.retain(|(other, _)| *other != id);
        let permanent = is_permanent(&error);
        log::warn!(target: "maypole::pool", "a connection could not be opened: {error:?}");
        let error = Arc::new(error);
        let effects = this.core.lock().open_failed(id, error, permanent, random(), Instant::now());
        Inner::carry_out(this, effects);
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
            let claim = self.inner.core.lock().claim(ticket, Waiter::current);
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
            let effects = self.inner.core.lock().leave(ticket);
            Inner::carry_out(self.inner, effects);
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
        let state = match link.fitness() {
            Fitness::Clean => Returned::Clean,
            Fitness::Dirty => Returned::Dirty,
            Fitness::Broken => Returned::Broken,
        };
        let effects = self.inner.core.lock().give_back(self.id, state);
        if let Some(lease) = effects.clean {
            let weak = Arc::downgrade(&self.inner);
            link.clean_up(Deadline::after(CLEAN_UP), move || Inner::cleaned(&weak, lease));
        }
        Inner::carry_out(&self.inner, effects);
    }
}

impl Inner {
    fn cleaned(weak: &Weak<Inner>, lease: LeaseId) {
        if let Some(this) = weak.upgrade() {
            let effects = this.core.lock().cleaned(lease, true);
            Inner::carry_out(&this, effects);
        }
    }

    fn wanted_opens(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.opens.lock().wanted)
    }
}

impl Sweep for Inner {
    fn sweep(self: Arc<Self>, now: Instant) -> Deadline {
        for id in self.wanted_opens() {
            Inner::open(&self, id);
        }
        let overdue: Vec<_> = {
            let mut opens = self.opens.lock();
            opens.under_way.extract_if(.., |(_, deadline)| deadline.passed(now)).collect()
        };
        for (id, _) in overdue {
            let limit = self.config.get_connect_timeout();
            let error = Error::timeout(Phase::Connect, limit, "it has not come back", Outcome::NotSent);
            Inner::failed(&self, id, error);
        }
        let (effects, next) = {
            let mut core = self.core.lock();
            let effects = core.tick(now);
            (effects, core.next_deadline())
        };
        Inner::carry_out(&self, effects);
        self.opens.lock().under_way.iter().fold(next, |next, (_, deadline)| next.min(*deadline))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for link in self.core.lock().connections() {
            link.end(Deadline::after(GOODBYE));
        }
    }
}

/// Whether only a person can mend it: wrong configuration, wrong password, no such database.
fn is_permanent(error: &Error) -> bool {
    match error.sqlstate() {
        Some(code) => code.starts_with("28") || code == "3D000",
        None => matches!(error.kind(), Kind::Config(_) | Kind::Authentication(_)),
    }
}

/// From 0 to below 1, for the jitter of retries. Each `RandomState` has keys of its own.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}
