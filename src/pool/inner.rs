//! What the handles of a pool share: the core in its lock, and what carries out its decisions.
//! Uses: config, connection, core, coro, deadline, errand, error, gauges, journal, keeper, metrics, opener, options, rider.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::core::{Cause, ConnectionId, Core, Effects, Limits, Overlong};
use super::errand::Errand;
use super::gauges::Gauges;
use super::journal;
use super::metrics::Meter;
use super::opener::Opens;
use super::options::Options;
use super::rider::Rider;
use crate::config::Config;
use crate::connection::{Knowledge, Link};
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome};
use crate::keeper::{self, Sweep};

pub(super) struct Inner {
    /// No other pool of this process has or had it.
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) core: Mutex<PoolCore>,
    pub(super) gauges: Gauges,
    pub(super) meter: Meter,
    pub(super) config: Arc<Config>,
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) options: Options,
    pub(super) opens: Mutex<Opens>,
    /// Connections that have left the pool and not yet said goodbye.
    pub(super) leaving: Mutex<Vec<ConnectionId>>,
    /// Whoever waits for the pool as a whole: for its end, or for connections to be there.
    pub(super) onlookers: Mutex<Vec<(u64, Waiter)>>,
    /// How many connections are wanted to be there, by the numbers of those who want them.
    pub(super) wishes: Mutex<Vec<(u64, usize)>>,
    /// Whether there are any onlookers.
    pub(super) watched: AtomicBool,
    /// Whether callers are told of a failure at once, as far as the log knows.
    pub(super) breaker_logged: AtomicBool,
    /// Whether declared selects may share connections.
    pub(super) lanes: AtomicBool,
    /// Kept as long as the pool lives: the embedded server.
    keep: Option<Box<dyn Any + Send + Sync>>,
}

pub(super) type PoolCore = Core<Pooled, Waking, Arc<Error>>;
pub(super) type PoolEffects = Effects<Pooled, Waking>;

/// Who waits in the queue.
pub(super) enum Waking {
    /// A caller, for a lease: it claims it itself.
    Caller(Waiter),
    /// A request: whoever wakes it sends it.
    Errand(Arc<Errand>),
    /// One that wants a seat in a group: a driver takes it along.
    Rider(Arc<Rider>),
}

impl Waking {
    pub(super) fn caller() -> Waking {
        Waking::Caller(Waiter::current())
    }

    fn wake(&self) {
        match self {
            Waking::Caller(waiter) => waiter.wake(),
            Waking::Errand(errand) => Inner::dispatch(errand),
            Waking::Rider(rider) => Inner::dispatch_rider(rider),
        }
    }
}

/// How long the goodbye to a connection may take.
pub(super) const GOODBYE: std::time::Duration = std::time::Duration::from_secs(10);

impl Inner {
    pub(super) fn start(
        config: Config,
        options: Options,
        keep: Option<Box<dyn Any + Send + Sync>>,
    ) -> Arc<Inner> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = options.name.clone().unwrap_or_else(|| config.get_dbname().to_owned());
        let limits = Limits::from(&options);
        let lanes = limits.lanes > 0 && config.get_statement_cache_capacity() > 0;
        let inner = Arc::new(Inner {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            core: Mutex::new(Core::new(limits)),
            gauges: Gauges::new(),
            meter: Meter::new(&name),
            name,
            knowledge: Knowledge::new(config.get_statement_cache_capacity()),
            config: Arc::new(config),
            options,
            opens: Mutex::default(),
            leaving: Mutex::default(),
            onlookers: Mutex::default(),
            wishes: Mutex::default(),
            watched: AtomicBool::new(false),
            breaker_logged: AtomicBool::new(false),
            lanes: AtomicBool::new(lanes),
            keep,
        });
        inner.gauges.publish(&*inner.core.lock());
        keeper::watch(Arc::downgrade(&(inner.clone() as Arc<dyn Sweep>)));
        inner
    }

    /// Tells the core something, and carries out what it decides once the lock is released.
    pub(super) fn tell(this: &Arc<Inner>, tell: impl FnOnce(&mut PoolCore) -> PoolEffects) {
        let (effects, uncovered) = {
            let mut core = this.core.lock();
            let effects = tell(&mut core);
            this.told(&core, &effects);
            let next = core.next_deadline();
            (effects, (!keeper::covers(next)).then_some(next))
        };
        Inner::carry_out(this, effects);
        if let Some(next) = uncovered {
            keeper::nudge(next);
        }
    }

    /// The core has decided something, and is still locked: whoever looks at it next must find the figures that belong to it, and those
    /// that have left its table among those that have not said goodbye.
    pub(super) fn told(&self, core: &PoolCore, effects: &PoolEffects) {
        self.gauges.publish(core);
        if !effects.close.is_empty() || !effects.revoke.is_empty() || !effects.cut.is_empty() {
            let closed = effects.close.iter().map(|(pooled, _)| pooled.id);
            let revoked = effects.revoke.iter().map(|overlong| overlong.connection.id);
            let cut = effects.cut.iter().map(|pooled| pooled.id);
            self.leaving.lock().extend(closed.chain(revoked).chain(cut));
        }
    }

    /// Carries out what the core decided. No lock is held; nothing here waits.
    pub(super) fn carry_out(this: &Arc<Inner>, effects: PoolEffects) {
        let Effects { wake, wake_others, call, open, clean: _, check, close, cut, leaks, revoke } = effects;
        wake.iter().chain(&wake_others).for_each(Waking::wake);
        call.iter().for_each(|(_, pooled)| pooled.link.call());
        for pooled in cut {
            let why = "the pool was closed";
            pooled.link.kill(Error::closed(why, Outcome::Unknown));
            this.has_left(pooled.id);
            journal::closed(&this.name, pooled.link.entered.process, Cause::Closed);
        }
        if !open.is_empty() {
            this.opens.lock().wanted.extend(open);
            keeper::nudge(Deadline::after(std::time::Duration::ZERO));
        }
        for (pooled, cause) in close {
            journal::closed(&this.name, pooled.link.entered.process, cause);
            this.say_goodbye(&pooled);
        }
        for (id, pooled) in check {
            let weak = Arc::downgrade(this);
            pooled.link.ping(Deadline::after(this.options.ping_timeout), move || {
                if let Some(this) = weak.upgrade() {
                    Inner::tell(&this, |core| core.checked(id));
                }
            });
        }
        for overlong in leaks {
            Inner::report(this, &overlong);
        }
        for overlong in revoke {
            Inner::revoke(this, &overlong);
        }
        this.tell_onlookers();
    }

    fn say_goodbye(&self, pooled: &Pooled) {
        pooled.link.end(Deadline::after(GOODBYE));
        if pooled.link.death().is_some() {
            self.has_left(pooled.id);
        }
    }

    /// The session of this connection is over.
    pub(super) fn has_left(&self, id: ConnectionId) {
        self.leaving.lock().retain(|other| *other != id);
        self.tell_onlookers();
    }

    /// Writes to the log if callers are told of a failure at once from now on, or no longer.
    pub(super) fn log_breaker(&self) {
        let failure = self.core.lock().refusal().cloned();
        if self.breaker_logged.swap(failure.is_some(), Ordering::Relaxed) != failure.is_some() {
            match failure {
                Some(failure) => journal::breaker_opened(&self.name, &failure),
                None => journal::breaker_closed(&self.name),
            }
        }
    }

    /// Tells the core that all connections have to go, and why.
    pub(super) fn renew(this: &Arc<Inner>, why: &str, tell: impl FnOnce(&mut PoolCore) -> PoolEffects) {
        let (mut before, mut after) = (0, 0);
        Inner::tell(this, |core| {
            before = core.generation();
            let effects = tell(core);
            after = core.generation();
            effects
        });
        if after != before {
            journal::renewed(&this.name, after, why);
        }
    }

    /// Something has changed that somebody may wait for.
    fn tell_onlookers(&self) {
        if self.watched.load(Ordering::Acquire) {
            self.onlookers.lock().iter().for_each(|(_, waiter)| waiter.wake());
        }
    }

    /// A lease has been held for too long, or beyond the pool's end.
    fn revoke(this: &Arc<Inner>, overlong: &Overlong<Pooled>) {
        let Overlong { connection: Pooled { id, link }, held, .. } = overlong;
        let closed = this.core.lock().is_closed();
        let why = if closed { "the pool was closed" } else { "it was held for longer than max_hold" };
        let site = held.borrower.site.map(|site| format!(" taken at {site}")).unwrap_or_default();
        // First, as a logger is somebody else's code.
        link.revoke(Error::closed(format!("the lease{site} was revoked: {why}"), Outcome::Unknown));
        this.has_left(*id);
        journal::revoked(&this.name, link.entered.process, held, why);
        let cause = if closed { Cause::Closed } else { Cause::Revoked };
        journal::closed(&this.name, link.entered.process, cause);
    }
}

/// A connection in the pool, by the name that the core has for it.
#[derive(Clone)]
pub(super) struct Pooled {
    pub(super) id: ConnectionId,
    pub(super) link: Arc<Link>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for pooled in self.core.lock().connections() {
            pooled.link.end(Deadline::after(GOODBYE));
        }
        if let Some(keep) = self.keep.take() {
            // Stopping a server takes its time, and this may be a worker. If no thread can be started it is dropped here.
            let _ = std::thread::Builder::new().name("maypole stop".to_owned()).spawn(move || drop(keep));
        }
    }
}
