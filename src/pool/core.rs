//! The rules of the pool, without I/O, clock, lock or coroutine.
//!
//! [`Core`] knows for each connection the limit allows whether it is idle, lent, being opened or being
//! cleaned, and who waits. The shell keeps it in one lock, tells it what happened, and carries out the
//! [`Effects`] after it let go of the lock. Time comes in as values; what no call brings about by itself
//! (deadlines, the end of a back-off) happens in [`Core::tick`].
//!
//! The rules, held by `core/tests.rs` one by one and by `core/explore.rs` in every interleaving of a small
//! world:
//!
//! * Capacity is derived: lent + idle + opening + cleaning + free = limit, in every state.
//! * First come, first served. A connection that comes free goes to the oldest waiter in the same call, so
//!   nobody overtakes, and one give-back wakes at most one.
//! * A waiter that leaves is unlinked at once. What was kept for it goes to the next.
//! * A connection is opened because somebody waits, but for nobody in particular: whoever is first gets
//!   what is ready first, and an open is never thrown away because a waiter left.
//! * A connection that broke is not lent again. After [`Core::close`] nothing is lent.
//! * Every call may come late or twice: ids are never used again, and an old one does nothing.
//!
//! Lending and giving back take constant time and, once the tables have grown, allocate nothing.
//!
//! Uses: deadline, and its own parts backoff, queue and slots.

mod backoff;
mod chain;
mod queue;
mod slots;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;

use std::time::Instant;

use self::backoff::Backoff;
use self::queue::{Fate, Queue};
pub(crate) use self::queue::{Refusal, Ticket};
pub(crate) use self::slots::{ConnectionId, LeaseId};
use self::slots::{Slots, State};
use crate::deadline::Deadline;

/// The state of a pool.
///
/// `C` is the handle of a connection, cheap to clone; `W` wakes a waiter; `F` says why a connection could
/// not be opened, and is cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Core<C, W, F> {
    slots: Slots<C>,
    queue: Queue<W, F>,
    backoff: Backoff<F>,
    limits: Limits,
    closed: bool,
    /// The number of the last attempt to open a connection.
    attempts: u64,
    counters: Counters,
}

/// What the pool may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections, whatever their state; at least one.
    pub(crate) connections: usize,
    /// Connections being opened at the same time; at least one.
    pub(crate) opening: usize,
    /// Callers in the queue when another comes. One whose connection broke before it came for it stands in
    /// the queue again in any case.
    pub(crate) waiting: usize,
}

/// What has happened since the pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Connections lent.
    pub(crate) lends: u64,
    /// Callers that had to join the queue.
    pub(crate) waits: u64,
    /// Those of them whose deadline passed in the queue.
    pub(crate) timeouts: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Connections that left: broken, not to be cleaned, or closed with the pool.
    pub(crate) closed: u64,
    /// Most connections open at the same time.
    pub(crate) most: usize,
}

/// Where the connections are. The first five add up to `limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// With a borrower, or kept for a waiter that has been woken.
    pub(crate) lent: usize,
    /// Clean and ready.
    pub(crate) idle: usize,
    /// Being opened.
    pub(crate) opening: usize,
    /// Being cleaned.
    pub(crate) cleaning: usize,
    /// Not there.
    pub(crate) free: usize,
    /// All of these.
    pub(crate) limit: usize,
    /// Callers in the queue.
    pub(crate) waiting: usize,
}

/// The answer to [`Core::acquire`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquire<C, F> {
    /// Here it is.
    Lent(LeaseId, C),
    /// Wait to be woken, then [`claim`](Core::claim); `open` is as in [`Effects`].
    Queued { ticket: Ticket, open: Option<ConnectionId> },
    /// Not now.
    Refused(Refusal<F>),
}

/// The answer to [`Core::claim`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim<C, F> {
    /// Here it is; the ticket is used up.
    Lent(LeaseId, C),
    /// Woken in vain; go on waiting.
    Pending,
    /// There will be none; the ticket is used up.
    Refused(Refusal<F>),
}

/// In what state a lease comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Returned {
    /// The server said idle, and nothing is outstanding.
    Clean,
    /// A transaction is open or replies are outstanding.
    Dirty,
    /// Not to be used again.
    Broken,
}

/// What the shell has to do after it let go of the lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<C, W> {
    /// The waiter a connection is now kept for.
    pub(crate) wake: Option<W>,
    /// Waiters that are refused.
    pub(crate) wake_refused: Vec<W>,
    /// Connections to open; each is answered by [`Core::opened`] or [`Core::open_failed`].
    pub(crate) open: Vec<ConnectionId>,
    /// The lease whose connection has to be cleaned, answered by [`Core::cleaned`].
    pub(crate) clean: Option<LeaseId>,
    /// Connections that left the pool: to be closed, if they are not yet, and dropped.
    pub(crate) close: Vec<C>,
}

impl<C, W> Effects<C, W> {
    /// Nothing to do.
    fn none() -> Effects<C, W> {
        Effects { wake: None, wake_refused: Vec::new(), open: Vec::new(), clean: None, close: Vec::new() }
    }
}

impl<C: Clone, W, F: Clone> Core<C, W, F> {
    /// An open pool without connections.
    pub(crate) fn new(limits: Limits) -> Core<C, W, F> {
        Core {
            slots: Slots::new(limits.connections),
            queue: Queue::new(),
            backoff: Backoff::new(),
            limits,
            closed: false,
            attempts: 0,
            counters: Counters::default(),
        }
    }

    /// A caller wants a connection. `join` is asked for its deadline and wake handle only if it has to wait.
    pub(crate) fn acquire(&mut self, join: impl FnOnce() -> (Deadline, W)) -> Acquire<C, F> {
        if self.closed {
            return Acquire::Refused(Refusal::Closed);
        }
        // While one is idle nobody waits, so this overtakes no one.
        if let Some((id, connection)) = self.slots.newest_idle().and_then(|slot| self.lend(slot)) {
            return Acquire::Lent(id, connection);
        }
        self.backoff.hurry();
        if let Some(failure) = self.backoff.refusal() {
            return Acquire::Refused(Refusal::Failed(failure.clone()));
        }
        if self.queue.len() >= self.limits.waiting {
            return Acquire::Refused(Refusal::QueueFull);
        }
        self.counters.waits += 1;
        let (deadline, waiter) = join();
        let ticket = self.queue.join(self.counters.waits, deadline, waiter);
        // One more waiter can justify no more than one more open.
        Acquire::Queued { ticket, open: self.next_open() }
    }

    /// A waiter was woken (or looks on its own) and asks what has become of it. If nothing has and the
    /// handle it was woken with is spent, `rearm` is asked for another.
    pub(crate) fn claim(&mut self, ticket: Ticket, rearm: impl FnOnce() -> W) -> Claim<C, F> {
        match self.queue.fate(ticket) {
            Fate::Waiting => {
                self.queue.rearm(ticket, rearm);
                Claim::Pending
            }
            Fate::Handed { slot } => {
                self.queue.remove(ticket);
                match self.lend(slot) {
                    Some((id, connection)) => Claim::Lent(id, connection),
                    None => Claim::Refused(Refusal::Left),
                }
            }
            Fate::Refused(why) => {
                self.queue.remove(ticket);
                Claim::Refused(why)
            }
            Fate::Gone => Claim::Refused(Refusal::Left),
        }
    }

    /// A waiter gives up: it was cancelled, panicked, or does not want to wait any longer.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Effects<C, W> {
        let mut effects = Effects::none();
        match self.queue.fate(ticket) {
            Fate::Gone => {}
            Fate::Handed { slot } => {
                self.queue.remove(ticket);
                self.provide(slot, &mut effects);
            }
            Fate::Waiting | Fate::Refused(_) => self.queue.remove(ticket),
        }
        effects
    }

    /// A lease ends.
    pub(crate) fn give_back(&mut self, lease: LeaseId, state: Returned) -> Effects<C, W> {
        let mut effects = Effects::none();
        match (self.slots.find_lease(lease), state) {
            (Some((slot, State::Lent)), Returned::Clean) => self.provide(slot, &mut effects),
            (Some((slot, State::Lent)), Returned::Dirty) if !self.closed => {
                self.slots.set(slot, State::Cleaning);
                effects.clean = Some(lease);
            }
            (Some((slot, State::Lent | State::Lost)), _) => self.discard(slot, &mut effects),
            _ => {}
        }
        effects
    }

    /// Cleaning the connection of this lease has ended, or took too long, which is not `ok`.
    pub(crate) fn cleaned(&mut self, lease: LeaseId, ok: bool) -> Effects<C, W> {
        let mut effects = Effects::none();
        if let Some((slot, State::Cleaning)) = self.slots.find_lease(lease) {
            if ok {
                self.provide(slot, &mut effects);
            } else {
                self.discard(slot, &mut effects);
            }
        }
        effects
    }

    /// A connection that was asked for is open. If it comes too late it is among those to close.
    pub(crate) fn opened(&mut self, id: ConnectionId, connection: C) -> Effects<C, W> {
        let mut effects = Effects::none();
        match self.slots.find(id) {
            Some((slot, State::Opening)) if !self.closed => {
                self.backoff.succeeded();
                self.slots.arrive(slot, connection);
                self.counters.opened += 1;
                self.counters.most = self.counters.most.max(self.slots.handles().count());
                self.provide(slot, &mut effects);
                self.open_more(&mut effects);
            }
            Some((slot, State::Opening)) => {
                self.slots.vacate(slot);
                effects.close.push(connection);
            }
            _ => effects.close.push(connection),
        }
        effects
    }

    /// A connection that was asked for could not be opened, or not in time. `permanent` failures are those
    /// that only a person can mend; `random`, from 0 to below 1, spreads the next attempt.
    pub(crate) fn open_failed(
        &mut self,
        id: ConnectionId,
        failure: F,
        permanent: bool,
        random: f64,
        now: Instant,
    ) -> Effects<C, W> {
        let mut effects = Effects::none();
        let Some((slot, State::Opening)) = self.slots.find(id) else { return effects };
        self.slots.vacate(slot);
        if self.closed {
            return effects;
        }
        let live = self.slots.handles().next().is_some();
        if self.backoff.failed(failure.clone(), permanent, live, random, now) {
            self.queue.refuse_all(&Refusal::Failed(failure), &mut effects.wake_refused);
        }
        // Nothing is opened in the pause that has begun, but those who wait shorten it.
        self.open_more(&mut effects);
        effects
    }

    /// The driver saw this connection die, whoever has it.
    pub(crate) fn broke(&mut self, id: ConnectionId) -> Effects<C, W> {
        let mut effects = Effects::none();
        match self.slots.find(id) {
            Some((slot, State::Lent)) => {
                self.counters.closed += 1;
                effects.close.extend(self.slots.lose(slot));
            }
            Some((slot, State::Handed { waiter })) => {
                self.discard(slot, &mut effects);
                self.queue.put_back(waiter);
                match self.slots.newest_idle() {
                    Some(idle) => self.provide(idle, &mut effects),
                    None => self.open_more(&mut effects),
                }
            }
            Some((slot, State::Opening | State::Idle | State::Cleaning)) => self.discard(slot, &mut effects),
            Some((_, State::Lost | State::Free)) | None => {}
        }
        effects
    }

    /// Time has passed: deadlines in the queue, and the pause after a failure, may be over. Costs next to
    /// nothing when none is, so it may be called every few milliseconds.
    pub(crate) fn tick(&mut self, now: Instant) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.counters.timeouts += self.queue.expire(now, &mut effects.wake_refused);
        self.backoff.tick(now);
        self.open_more(&mut effects);
        effects
    }

    /// Nothing is lent from now on. Waiters are refused, idle connections are to be closed, the others when
    /// they come back.
    pub(crate) fn close(&mut self) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.closed = true;
        self.queue.refuse_all(&Refusal::Closed, &mut effects.wake_refused);
        for slot in 0..self.slots.len() {
            match self.slots.state(slot) {
                State::Idle => self.discard(slot, &mut effects),
                State::Handed { waiter } => {
                    // It has been woken already and will hear this instead.
                    self.queue.refuse(waiter, Refusal::Closed);
                    self.discard(slot, &mut effects);
                }
                State::Free | State::Opening | State::Lent | State::Lost | State::Cleaning => {}
            }
        }
        effects
    }

    /// Whether the pool is closed and nothing of it is left: no connection, and none on its way.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed && self.slots.all_free()
    }

    /// Where the connections are, counted now; takes time in proportion to the limit.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger { limit: self.slots.len(), waiting: self.queue.len(), ..Ledger::default() };
        for state in self.slots.states() {
            match state {
                State::Free => ledger.free += 1,
                State::Opening => ledger.opening += 1,
                State::Idle => ledger.idle += 1,
                State::Handed { .. } | State::Lent | State::Lost => ledger.lent += 1,
                State::Cleaning => ledger.cleaning += 1,
            }
        }
        ledger
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why the last attempt to open a connection failed, if none has succeeded since.
    pub(crate) fn last_failure(&self) -> Option<&F> {
        self.backoff.last_failure()
    }

    /// When [`tick`](Core::tick) must be called next: at the first deadline in the queue, or when the pause after a
    /// failure ends.
    pub(crate) fn next_deadline(&self) -> Deadline {
        self.queue.earliest().min(Deadline::at(self.next_attempt_at()))
    }

    fn next_attempt_at(&self) -> Option<Instant> {
        self.backoff.next_attempt_at()
    }

    /// The connections that are open, whoever has them.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &C> {
        self.slots.handles()
    }

    fn lend(&mut self, slot: usize) -> Option<(LeaseId, C)> {
        self.counters.lends += 1;
        self.slots.lend(slot, self.counters.lends)
    }

    /// A clean connection is at hand: it goes to the oldest waiter, else it is idle.
    fn provide(&mut self, slot: usize, effects: &mut Effects<C, W>) {
        if self.closed {
            self.discard(slot, effects);
        } else if let Some(waiter) = self.queue.oldest() {
            self.slots.set(slot, State::Handed { waiter });
            effects.wake = self.queue.hand(waiter, slot);
        } else {
            self.slots.set(slot, State::Idle);
        }
    }

    /// What is in this slot leaves the pool, and another may be opened in its place.
    fn discard(&mut self, slot: usize, effects: &mut Effects<C, W>) {
        if let Some(connection) = self.slots.vacate(slot) {
            self.counters.closed += 1;
            effects.close.push(connection);
        }
        self.open_more(effects);
    }

    /// Starts as many opens as are justified.
    fn open_more(&mut self, effects: &mut Effects<C, W>) {
        if self.queue.len() > 0 {
            self.backoff.hurry();
        }
        while let Some(id) = self.next_open() {
            effects.open.push(id);
        }
    }

    /// Starts an open if more callers wait than connections are on their way, and there is room.
    fn next_open(&mut self) -> Option<ConnectionId> {
        let opening = self.slots.opening();
        let wanted = !self.closed
            && self.queue.len() > opening
            && opening < self.backoff.allowed(self.limits.opening)
            && self.slots.has_free();
        if !wanted {
            return None;
        }
        self.attempts += 1;
        self.slots.start_opening(self.attempts)
    }
}
