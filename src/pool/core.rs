//! The rules of the pool, without I/O, clock, lock or coroutine.
//!
//! [`Core`] knows for each connection the limit allows whether it is idle, lent, being opened or being
//! cleaned, and who waits. The shell keeps it in one lock, tells it what happened, and carries out the
//! [`Effects`] after it let go of the lock. Time comes in as values; what no call brings about by itself
//! (deadlines, the end of a back-off, lifetimes) happens in [`Core::tick`].
//!
//! The rules, held by `core/tests.rs` one by one and by `core/explore.rs` in every interleaving of a small
//! world:
//!
//! * Capacity is derived: lent + lanes + idle + opening + cleaning + free = limit, in every state.
//! * First come, first served. A connection that comes free goes to the oldest waiter in the same call, so
//!   nobody overtakes, and one give-back wakes at most one.
//! * A waiter that leaves is unlinked at once. What was kept for it goes to the next.
//! * A connection is opened because somebody waits (or because so many are to be kept), but for nobody in
//!   particular: whoever is first gets what is ready first, and an open is never thrown away because a waiter left.
//! * A connection that broke, was distrusted, or whose time is over is not lent again. After
//!   [`Core::close`] nothing is lent, and while the pool is paused nothing either.
//! * Every call may come late or twice: ids are never used again, and an old one does nothing.
//!
//! Lending and giving back take constant time and, once the tables have grown, allocate nothing and read no clock.
//!
//! Uses: deadline, and its own parts backoff, lanes, operate, queue, slots, terms and upkeep.

mod backoff;
mod chain;
mod lanes;
mod operate;
mod queue;
mod slots;
mod terms;
mod upkeep;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;

use std::time::Instant;

use self::backoff::Backoff;
use self::queue::{Fate, Queue};
pub(crate) use self::queue::{Joining, Refusal, Riding, Ticket, Weight};
pub(crate) use self::slots::{Borrower, ConnectionId, LeaseId};
use self::slots::{Life, Slots, State};
pub(crate) use self::terms::{
    Acquire, Cause, Claim, Counters, Effects, Ledger, Lent, Limits, Returned, Ride,
};
pub(crate) use self::upkeep::{Held, Overlong};
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
    paused: bool,
    /// Connections whose opening began in an earlier one are not lent again.
    generation: u64,
    /// So many connections are opened although nobody waits.
    warm: usize,
    /// When the next connection may be retired.
    next_retirement: Option<Instant>,
    /// When to look after the connections next.
    upkeep: Deadline,
    /// The number of the last attempt to open a connection.
    attempts: u64,
    counters: Counters,
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
            paused: false,
            generation: 0,
            warm: 0,
            next_retirement: None,
            upkeep: Deadline::NEVER,
            attempts: 0,
            counters: Counters::default(),
        }
    }

    /// Somebody wants a connection. `holder` tells who certainly holds a lent connection now, 0 if that can't be told; `join` is
    /// asked for what it takes to wait only if it has to.
    pub(crate) fn acquire(
        &mut self,
        borrower: Borrower,
        holder: impl Fn(&C) -> usize,
        join: impl FnOnce() -> Joining<W>,
    ) -> Acquire<C, F> {
        if self.closed {
            return Acquire::Refused(Refusal::Closed);
        }
        // While one is idle nobody waits, unless the pool is paused or somebody has called another, so this overtakes no one.
        if !self.paused
            && let Some(slot) = self.slots.newest_idle_like(false)
            && let Some(lent) = self.lend(slot, borrower)
        {
            return Acquire::Lent(lent);
        }
        self.backoff.hurry();
        if let Some(failure) = self.backoff.refusal() {
            return Acquire::Refused(Refusal::Failed(failure.clone()));
        }
        if self.queue.len() >= self.limits.waiting {
            return Acquire::Refused(Refusal::QueueFull);
        }
        let holds = self.slots.held_by(borrower.who).next().is_some();
        if holds && self.would_wait_for_itself(borrower.who, holder) {
            return Acquire::Refused(Refusal::Nested);
        }
        self.counters.waits += 1;
        let ticket = self.queue.join(self.counters.waits, borrower, holds, join());
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
                let borrower = self.queue.borrower(ticket);
                self.queue.remove(ticket);
                match self.lend(slot, borrower) {
                    Some(lent) => Claim::Lent(lent),
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

    /// A lease ends clean, as nearly all do. `Err` if there is more to it than putting the connection back among the idle ones: then
    /// [`give_back`](Core::give_back) says what.
    #[inline]
    pub(crate) fn put_back(&mut self, lease: LeaseId) -> Result<(), ()> {
        match self.slots.find_lease(lease) {
            Some((slot, State::Lent)) if self.queue.len() == 0 && self.must_leave(slot).is_none() => {
                self.slots.set(slot, State::Idle);
                Ok(())
            }
            _ => Err(()),
        }
    }

    /// A lease ends.
    pub(crate) fn give_back(&mut self, lease: LeaseId, state: Returned) -> Effects<C, W> {
        let mut effects = Effects::none();
        let Some((slot, State::Lent)) = self.slots.find_lease(lease) else { return effects };
        match (state, self.must_leave(slot)) {
            (Returned::Broken, _) => self.discard(slot, Cause::Broken, &mut effects),
            (_, Some(cause)) => self.discard(slot, cause, &mut effects),
            (Returned::Clean, None) => self.provide(slot, &mut effects),
            (Returned::Dirty, None) => {
                self.slots.set(slot, State::Cleaning);
                effects.clean = Some(lease);
            }
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
                self.discard(slot, Cause::Unclean, &mut effects);
            }
        }
        effects
    }

    /// This connection has given the sign of life it was asked for.
    pub(crate) fn checked(&mut self, id: ConnectionId) -> Effects<C, W> {
        let mut effects = Effects::none();
        if let Some((slot, State::Checking)) = self.slots.find(id) {
            if self.must_leave(slot).is_some() || self.may_serve() {
                self.provide(slot, &mut effects);
            } else {
                self.slots.rest(slot);
            }
        }
        effects
    }

    /// A connection that was asked for is open. If it comes too late it is among those to close. `random`, from 0 to below 1,
    /// spreads the ends of lifetimes.
    pub(crate) fn opened(
        &mut self,
        id: ConnectionId,
        connection: C,
        random: f64,
        now: Instant,
    ) -> Effects<C, W> {
        let mut effects = Effects::none();
        let Some((slot, State::Opening)) = self.slots.find(id) else {
            effects.close.push((connection, Cause::Closed));
            return effects;
        };
        let replaces = self.slots.life_mut(slot).replaces.take();
        if let Some(cause) = self.must_leave(slot) {
            self.slots.vacate(slot);
            effects.close.push((connection, cause));
            self.keep(replaces);
            self.open_more(&mut effects);
            return effects;
        }
        self.backoff.succeeded();
        self.slots.arrive(slot, connection);
        self.begin_life(slot, random, now);
        self.counters.opened += 1;
        self.counters.most = self.counters.most.max(self.slots.handles().count());
        self.provide(slot, &mut effects);
        if let Some(replaced) = replaces {
            self.expire(replaced, &mut effects);
        }
        self.open_more(&mut effects);
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
        let replaces = self.slots.life_mut(slot).replaces.take();
        self.keep(replaces);
        self.slots.vacate(slot);
        self.counters.failed += 1;
        if self.closed {
            return effects;
        }
        let live = self.slots.handles().next().is_some();
        if self.backoff.failed(failure.clone(), permanent, live, random, now) {
            self.queue.refuse_all(&Refusal::Failed(failure), &mut effects.wake_others);
        }
        // Nothing is opened in the pause that has begun, but those who wait shorten it.
        self.open_more(&mut effects);
        effects
    }

    /// The driver saw this connection die, whoever has it.
    pub(crate) fn broke(&mut self, id: ConnectionId) -> Effects<C, W> {
        let mut effects = Effects::none();
        match self.slots.find(id) {
            Some((slot, State::Handed { waiter })) => {
                self.take_back(slot, waiter, Cause::Broken, &mut effects)
            }
            // Its lease, if there is one, has nothing to give back any more.
            Some((slot, state)) => {
                self.counters.cut += u64::from(state == State::Lent);
                let replaces = self.slots.life_mut(slot).replaces.take();
                self.keep(replaces);
                self.discard(slot, Cause::Broken, &mut effects);
            }
            None => {}
        }
        effects
    }

    /// This connection has seen the server shut down or lose its rank: it is not to be trusted, nor is any other that was opened before
    /// that. Says it of many connections only once.
    pub(crate) fn distrust(&mut self, id: ConnectionId) -> Effects<C, W> {
        match self.slots.find(id) {
            Some((slot, _)) if self.slots.life(slot).generation == self.generation => self.clear(),
            _ => Effects::none(),
        }
    }

    /// How often all connections were told to go.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Time has passed: deadlines in the queue, the pause after a failure and the lives of connections may be over. Costs next to
    /// nothing when none is, so it may be called every few milliseconds.
    pub(crate) fn tick(&mut self, now: Instant) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.counters.timeouts += self.queue.expire(now, &mut effects.wake_others);
        self.backoff.tick(now);
        if self.upkeep.passed(now) {
            self.look_after(now, &mut effects);
        }
        self.open_more(&mut effects);
        effects
    }

    /// Whether nothing is lent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it lends nothing until it is resumed.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the pool is closed and nothing of it is left: no connection, and none on its way.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed && self.slots.all_free()
    }

    /// Where the connections are, now.
    pub(crate) fn ledger(&self) -> Ledger {
        let (limit, used) = (self.slots.limit(), self.slots.used());
        Ledger {
            lent: self.slots.lent(),
            lanes: self.slots.lanes(),
            idle: self.slots.idle(),
            opening: self.slots.opening(),
            cleaning: self.slots.cleaning(),
            free: limit.saturating_sub(used),
            limit,
            waiting: self.queue.len(),
        }
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Since when the one who has waited longest waits.
    pub(crate) fn oldest_joined(&self) -> Option<Instant> {
        self.queue.oldest_joined()
    }

    /// Why the last attempt to open a connection failed, if none has succeeded since.
    pub(crate) fn last_failure(&self) -> Option<&F> {
        self.backoff.last_failure()
    }

    /// Why nobody is to wait for a connection at the moment, if so.
    pub(crate) fn refusal(&self) -> Option<&F> {
        self.backoff.refusal()
    }

    /// When [`tick`](Core::tick) must be called next: at the first deadline in the queue, when the pause after a
    /// failure ends, or when the connections want looking after.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Deadline {
        self.queue.earliest().min(Deadline::at(self.backoff.next_attempt_at())).min(self.upkeep)
    }

    /// The connections that are open, whoever has them.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &C> {
        self.slots.handles()
    }

    #[inline]
    fn lend(&mut self, slot: usize, borrower: Borrower) -> Option<Lent<C>> {
        self.counters.lends += 1;
        let (lease, connection, changed_hands) = self.slots.lend(slot, self.counters.lends, borrower)?;
        Some(Lent { lease, connection, changed_hands })
    }

    /// Whether somebody waits who may be served.
    fn may_serve(&self) -> bool {
        !self.paused && (self.queue.leases() > 0 || self.wants_lane())
    }

    /// Why this connection is not to be lent again, if so.
    #[inline]
    fn must_leave(&self, slot: usize) -> Option<Cause> {
        let Life { generation, expired, .. } = self.slots.life(slot);
        if self.closed {
            Some(Cause::Closed)
        } else if *generation != self.generation {
            Some(Cause::Cleared)
        } else if *expired {
            Some(Cause::Lifetime)
        } else if self.slots.used() > self.slots.limit() {
            Some(Cause::Surplus)
        } else {
            None
        }
    }

    /// A clean connection is at hand: it goes to whoever has waited for longest, else it is idle.
    fn provide(&mut self, slot: usize, effects: &mut Effects<C, W>) {
        if let Some(cause) = self.must_leave(slot) {
            self.discard(slot, cause, effects);
        } else if self.paused {
            self.slots.set(slot, State::Idle);
        } else if self.wants_lane() && self.queue.seat_is_next() {
            self.slots.set(slot, State::Called);
            let connection = self.slots.handle(slot).cloned();
            effects.call.extend(connection.map(|connection| (self.slots.id(slot), connection)));
        } else if let Some(waiter) = self.queue.oldest_lease() {
            self.slots.set(slot, State::Handed { waiter });
            effects.wake_others.extend(effects.wake.take());
            effects.wake = self.queue.hand(waiter, slot);
        } else {
            self.slots.set(slot, State::Idle);
        }
    }

    /// Idle connections go to those who wait.
    fn serve_idle(&mut self, effects: &mut Effects<C, W>) {
        while let Some(slot) = self.slots.newest_idle().filter(|_| self.may_serve()) {
            self.provide(slot, effects);
        }
    }

    /// What is in this slot leaves the pool.
    fn leave_slot(&mut self, slot: usize, cause: Cause, effects: &mut Effects<C, W>) {
        if let Some(connection) = self.slots.vacate(slot) {
            self.counters.closed[cause as usize] += 1;
            effects.close.push((connection, cause));
        }
    }

    /// What is in this slot leaves the pool, and another may be opened in its place.
    fn discard(&mut self, slot: usize, cause: Cause, effects: &mut Effects<C, W>) {
        let replaced = self.slots.life(slot).replaced;
        self.leave_slot(slot, cause, effects);
        if cause == Cause::Lifetime && !replaced {
            self.replace(None, effects);
        }
        // If it was a lane, or called to be one, another may be one now.
        self.serve_idle(effects);
        self.open_more(effects);
    }

    /// What was kept for this waiter leaves: it waits on at its old place, or gets another.
    fn take_back(&mut self, slot: usize, waiter: usize, cause: Cause, effects: &mut Effects<C, W>) {
        self.leave_slot(slot, cause, effects);
        self.queue.put_back(waiter);
        self.serve_idle(effects);
        self.open_more(effects);
    }

    /// Starts as many opens as are justified.
    fn open_more(&mut self, effects: &mut Effects<C, W>) {
        if self.queue.len() > 0 || self.warm > 0 {
            self.backoff.hurry();
        }
        while let Some(id) = self.next_open() {
            effects.open.push(id);
        }
    }

    /// Starts an open if it is wanted, and there is room: more callers wait than connections are on their way, fewer are there than are
    /// to be kept, or it is to be found out whether the server is back.
    fn next_open(&mut self) -> Option<ConnectionId> {
        let opening = self.slots.opening();
        let ready = self.slots.idle() + self.slots.cleaning() + opening;
        let wanted = self.queue.leases() + self.wanted_lanes() > opening
            || ready < self.limits.min_idle
            || self.slots.used() < self.warm
            || (opening == 0 && self.backoff.wants_probe());
        if wanted { self.start_opening() } else { None }
    }

    /// Starts an open if there is room.
    fn start_opening(&mut self) -> Option<ConnectionId> {
        let possible = !self.closed
            && !self.paused
            && self.slots.opening() < self.backoff.allowed(self.limits.opening)
            && self.slots.has_free();
        if !possible {
            return None;
        }
        self.attempts += 1;
        self.slots.start_opening(self.attempts, self.generation)
    }
}
