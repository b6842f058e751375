//! How connections come into a pool, and how it hears of their end. Uses: config, connection, core, coro, deadline, error, inner, journal, keeper, options, random.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::ConnectionId;
use super::inner::{GOODBYE, Inner, Pooled};
use super::journal;
use super::options::Hook;
use crate::connection::{self, Connection, Fitness, Link, News};
use crate::coro;
use crate::deadline::Deadline;
use crate::error::{Error, Kind, Outcome, Phase, Result};
use crate::keeper::Sweep;
use crate::random::fraction;

/// An open that has not reported so long after its own limit is given up: a name server may hang.
const OVERDUE: Duration = Duration::from_secs(1);

/// Connections on their way. The keeper starts them: a lease that is dropped may ask for one, and must not do the
/// work of starting a coroutine.
#[derive(Default)]
pub(super) struct Opens {
    pub(super) wanted: Vec<ConnectionId>,
    /// With the moment at which the pool stops counting on them.
    under_way: Vec<(ConnectionId, Deadline)>,
}

impl Inner {
    /// For the keeper: starts a coroutine that opens a connection.
    fn open(this: &Arc<Inner>, id: ConnectionId) {
        let limit = this.config.get_connect_timeout().map(|limit| limit.saturating_add(OVERDUE));
        this.opens.lock().under_way.push((id, Deadline::after(limit)));
        let (weak, start) = (Arc::downgrade(this), Instant::now());
        let opened = connection::open(this.config.clone(), this.knowledge.clone(), move |result| {
            let Some(this) = weak.upgrade() else {
                // The pool is gone: so is the use for this.
                return if let Ok(link) = result {
                    link.end(Deadline::after(GOODBYE))
                };
            };
            if let Ok(link) = &result {
                this.meter.opened(start);
                journal::opened(&this.name, link.entered.process, start.elapsed());
            }
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
                    Ok(()) => {
                        link.settle();
                        Inner::opened(&this, id, link);
                    }
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
        let weak = Arc::downgrade(this);
        // First: as soon as the core knows of it, its driver may be called, and tells that it has come.
        link.observe(Box::new(move |news| {
            let Some(this) = weak.upgrade() else { return };
            match news {
                News::Ready(link) => Inner::board(&this, id, link),
                // The others need not be found out one by one.
                News::Demoted => {
                    Inner::renew(&this, "a server takes no writes any more", |core| core.distrust(id))
                }
                News::Died(error) => {
                    if connection::is_shutdown(error) {
                        Inner::renew(&this, "a server shuts down", |core| core.distrust(id));
                    }
                    Inner::tell(&this, |core| core.broke(id));
                    this.has_left(id);
                }
            }
        }));
        let pooled = Pooled { id, link };
        Inner::tell(this, |core| core.opened(id, pooled, fraction(), Instant::now()));
        this.log_breaker();
    }

    fn failed(this: &Arc<Inner>, id: ConnectionId, error: Error) {
        this.opens.lock().under_way.retain(|(other, _)| *other != id);
        let permanent = is_permanent(&error);
        journal::open_failed(&this.name, &error);
        let error = Arc::new(error);
        Inner::tell(this, |core| core.open_failed(id, error, permanent, fraction(), Instant::now()));
        this.log_breaker();
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
            self.told(&core, &effects);
            (effects, core.next_deadline())
        };
        Inner::carry_out(&self, effects);
        self.log_breaker();
        let figures = self.meter.hand_over(now, self.options.min_idle, || self.gauges.read());
        let next = next.min(Deadline::at(figures));
        self.opens.lock().under_way.iter().fold(next, |next, (_, deadline)| next.min(*deadline))
    }
}

/// Whether only a person can mend it: wrong configuration, wrong password, no such database.
fn is_permanent(error: &Error) -> bool {
    match error.sqlstate() {
        Some(code) => code.starts_with("28") || code == "3D000",
        None => matches!(error.kind(), Kind::Config(_) | Kind::Authentication(_)),
    }
}
