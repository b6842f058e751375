//! What a program does with its pool as a whole. Uses: core, coro, deadline, error, inner, keeper, pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Pool;
use super::core::{Core, Effects};
use super::inner::Inner;
use crate::coro::{self, Waiter};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::keeper;

/// How a pool was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Leases that were out when it began, and came back in time; connections that carried selects count as one lease each.
    pub finished: usize,
    /// Leases that did not: their connections were closed, what they ran was cancelled, or they had been lost.
    pub cut: usize,
    /// How long it took.
    pub waited: Duration,
}

/// After the deadline only goodbyes are waited for, and not for longer than this.
const GOODBYES: Duration = Duration::from_secs(1);

impl Pool {
    /// Closes the pool and waits until nothing is left of it: who waits for a connection, or asks for one from now on, gets an error
    /// at once; idle connections say goodbye; leases may be used until the limit passes, then what they run is cancelled
    /// and their connections are closed, so that every further use of them fails. `None` waits for the leases for ever.
    ///
    /// May be called by several, and again; each gets its own report. 10 s is a good limit where nothing else is known.
    ///
    /// ```
    /// # fn stop(pool: &maypole::Pool) {
    /// let report = pool.close(std::time::Duration::from_secs(10));
    /// println!("{} leases came back, {} were cut", report.finished, report.cut);
    /// # }
    /// ```
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits leaves the pool closed, and the leases until they come back.
    pub fn close(&self, limit: impl Into<Option<Duration>>) -> CloseReport {
        let start = Instant::now();
        let deadline = Deadline::after(limit);
        let (lent, before) = self.begin_to_close();
        if !self.0.watch_until(deadline, Inner::is_drained) {
            Inner::tell(&self.0, |core| core.cut(Instant::now()));
            self.0.watch_until(Deadline::after(GOODBYES), Inner::is_drained);
        }
        let cut = usize::try_from(self.0.core.lock().counters().cut - before).unwrap_or(usize::MAX).min(lent);
        CloseReport { finished: lent - cut, cut, waited: start.elapsed() }
    }

    /// Begins to close the pool and does not wait: as [`close`](Pool::close), without an end to the patience with leases.
    /// [`is_drained`](Pool::is_drained) tells when the last connection is gone.
    pub fn start_closing(&self) {
        self.begin_to_close();
    }

    /// How many are lent or carry selects then, and how many were cut before.
    fn begin_to_close(&self) -> (usize, u64) {
        let mut then = (0, 0);
        Inner::tell(&self.0, |core| {
            let effects = core.close();
            let ledger = core.ledger();
            then = (ledger.lent + ledger.lanes, core.counters().cut);
            effects
        });
        then
    }

    /// Whether the pool lends nothing any more.
    pub fn is_closed(&self) -> bool {
        self.0.core.lock().is_closed()
    }

    /// Whether the pool is closed and none of its connections is left.
    pub fn is_drained(&self) -> bool {
        self.0.is_drained()
    }

    /// Lends nothing until [`resume`](Pool::resume): who asks waits, within the limits for waiting. Leases go on; once
    /// [`stats`](Pool::stats) says that none is lent, none a lane and none being cleaned, nothing of this pool runs on the server. Nothing is opened meanwhile.
    pub fn pause(&self) {
        Inner::tell(&self.0, |core| {
            core.pause();
            Effects::none()
        });
    }

    /// Lends again after [`pause`](Pool::pause), to those who have waited for longest first.
    pub fn resume(&self) {
        Inner::tell(&self.0, Core::resume);
    }

    /// Changes how many connections there may be. If they are fewer, those idle for longest are closed now and the others when they come
    /// back.
    ///
    /// # Errors
    ///
    /// If the number is 0 or over 4,095.
    pub fn resize(&self, limit: usize) -> Result<()> {
        super::options::check_limit(limit)?;
        Inner::tell(&self.0, |core| core.resize(limit));
        Ok(())
    }

    /// Replaces all connections: idle ones are closed now, others when they come back. For when the server behind the address
    /// has changed. When the server says that it shuts down, this happens by itself.
    pub fn clear(&self) {
        Inner::renew(&self.0, "the program asked for it", Core::clear);
    }

    /// Opens connections until there are so many, idle or lent, and waits for them: after a start, so that the first callers need not.
    ///
    /// # Errors
    ///
    /// If they are more than the limit, the pool is closed, they can't be opened for a reason that waiting does not mend, or
    /// they are not there in time ([`Phase::Connect`]), as while the pool is paused. What has been opened stays.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits stops wanting them; opens under way are not lost.
    pub fn warm(&self, connections: usize, limit: impl Into<Option<Duration>>) -> Result<()> {
        let limit = limit.into();
        let too_many = |most: usize| {
            Error::usage(format!(
                "warm: {connections} connections are more than the limit of the pool, {most}"
            ))
        };
        let most = self.stats().limit;
        if connections > most {
            return Err(too_many(most));
        }
        let _wish = Wish::new(&self.0, connections);
        let look = |inner: &Inner| {
            let core = inner.core.lock();
            let ledger = core.ledger();
            let there = ledger.lent + ledger.lanes + ledger.idle + ledger.cleaning;
            if there >= connections {
                Some(Ok(()))
            } else if core.is_closed() {
                Some(Err(Error::pool("the pool is closed")))
            } else if connections > ledger.limit {
                Some(Err(too_many(ledger.limit)))
            } else {
                core.refusal().map(|failure| Err(failure.duplicate()))
            }
        };
        self.0.watch_until(Deadline::after(limit), |inner| look(inner).is_some());
        look(&self.0).unwrap_or_else(|| {
            let stats = self.stats();
            let there = stats.lent + stats.lanes + stats.idle + stats.cleaning;
            let (paused, failure) = {
                let core = self.0.core.lock();
                (core.is_paused(), core.last_failure().cloned())
            };
            let pause = if paused { "; the pool is paused: resume() ends that" } else { "" };
            let detail = format!("{there} of {connections} connections are there{pause}");
            let error = Error::timeout(Phase::Connect, limit, detail, Outcome::NotSent);
            Err(match failure {
                Some(failure) => error.caused_by(failure.duplicate()),
                None => error,
            })
        })
    }
}

/// Somebody wants so many connections to be there. The largest of all wishes counts.
struct Wish<'p> {
    inner: &'p Arc<Inner>,
    number: u64,
}

impl Wish<'_> {
    fn new(inner: &Arc<Inner>, connections: usize) -> Wish<'_> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        inner.wish(|wishes| wishes.push((number, connections)));
        Wish { inner, number }
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.inner.wish(|wishes| wishes.retain(|(number, _)| *number != self.number));
    }
}

impl Inner {
    fn wish(self: &Arc<Inner>, change: impl FnOnce(&mut Vec<(u64, usize)>)) {
        // Under the core's lock, so that it hears of wishes in the order in which they came.
        Inner::tell(self, |core| {
            let mut wishes = self.wishes.lock();
            change(&mut wishes);
            core.warm(wishes.iter().map(|(_, connections)| *connections).max().unwrap_or(0))
        });
    }

    /// Whether the pool is closed, and all of its connections have said goodbye.
    fn is_drained(&self) -> bool {
        self.core.lock().is_drained() && self.leaving.lock().is_empty()
    }

    /// Waits until this is so, or the deadline has passed; tells which.
    fn watch_until(&self, deadline: Deadline, is_so: impl Fn(&Inner) -> bool) -> bool {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        /// Looks on no longer.
        struct Onlooker<'i>(&'i Inner, u64);
        impl Drop for Onlooker<'_> {
            fn drop(&mut self) {
                let mut onlookers = self.0.onlookers.lock();
                onlookers.retain(|(number, _)| *number != self.1);
                self.0.watched.store(!onlookers.is_empty(), Ordering::Release);
            }
        }
        let waiter = Waiter::current();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        {
            let mut onlookers = self.onlookers.lock();
            onlookers.push((number, waiter.clone()));
            self.watched.store(true, Ordering::Release);
        }
        let _onlooker = Onlooker(self, number);
        let _alarm = keeper::alarm(deadline, move || waiter.wake());
        loop {
            if is_so(self) {
                return true;
            }
            if deadline.passed(Instant::now()) {
                return false;
            }
            coro::park();
        }
    }
}
