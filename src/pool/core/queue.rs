//! The one queue of the pool: first come, first served. Uses: chain, deadline, slots.

use std::time::{Duration, Instant};

use super::chain::Chain;
use super::slots::Borrower;
use crate::deadline::Deadline;

/// Names one wait in the queue; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket {
    place: usize,
    number: u64,
}

impl Ticket {
    /// Where it stands in the order of arrival.
    pub(super) fn number(self) -> u64 {
        self.number
    }
}

/// Why a caller gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Refusal<F> {
    /// The pool is closed.
    Closed,
    /// As many callers wait as may.
    QueueFull,
    /// The caller's deadline passed; `Core::last_failure` may tell why nothing came.
    TimedOut,
    /// No connection can be opened, for this reason.
    Failed(F),
    /// Every connection is held by somebody who waits for another, the caller among them.
    Nested,
    /// The ticket was given up or used before.
    Left,
}

/// What one who has to wait brings along.
pub(crate) struct Joining<W> {
    pub(crate) deadline: Deadline,
    pub(crate) now: Instant,
    /// Wakes it.
    pub(crate) wake: W,
}

/// What one who waits for a seat in a group brings along.
pub(crate) struct Riding<W> {
    /// How long it waits at most.
    pub(crate) limit: Option<Duration>,
    pub(crate) weight: Weight,
    /// Takes it along, or tells it that it was refused.
    pub(crate) wake: W,
}

/// How much of a group a select takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Weight {
    /// How long the server is expected to take, in microseconds.
    pub(crate) micros: u32,
    /// How long its reply is expected to be.
    pub(crate) bytes: u32,
    /// Nobody knows: it shares a group with none.
    pub(crate) alone: bool,
}

/// Who wants a seat reads the clock if nobody has for this long; the others are noted at the next look.
const LOOK: Duration = Duration::from_millis(20);
/// Whoever waits no longer than this reads the clock itself.
const SHORT: Duration = Duration::from_secs(1);

/// What has become of a waiter.
#[derive(Clone, Debug)]
pub(super) enum Fate<F> {
    /// It left; its place may be used again.
    Gone,
    /// It is in the queue.
    Waiting,
    /// The connection in this slot is kept for it.
    Handed { slot: usize },
    /// It will be told so.
    Refused(Refusal<F>),
}

/// One who waits.
#[derive(Clone, Debug)]
struct Waiter<W, F> {
    /// In order of arrival.
    number: u64,
    borrower: Borrower,
    /// It has borrowed something already.
    holds: bool,
    /// What it waits for: a seat in a group, or a lease.
    seat: Option<Weight>,
    /// When it joined, if that is known already.
    joined: Option<Instant>,
    /// How long it waits at most, as long as it is not known since when.
    limit: Option<Duration>,
    deadline: Deadline,
    /// Taken by whoever wakes it.
    wake: Option<W>,
    fate: Fate<F>,
}

/// The waiters, and those whose fate is decided and who have not come to hear it.
#[derive(Clone, Debug)]
pub(super) struct Queue<W, F> {
    waiters: Vec<Waiter<W, F>>,
    /// Places that may be used again.
    gone: Vec<usize>,
    /// Those that are `Waiting` for a lease, oldest first.
    leases: Chain,
    /// Those that are `Waiting` for a seat, oldest first.
    seats: Chain,
    /// Those of them that have borrowed something already: no more than there are connections.
    holding: Vec<usize>,
    /// None of those in the queue has an earlier one.
    earliest: Deadline,
    /// When it is to be noted of the others that they wait.
    look: Deadline,
}

impl<W, F: Clone> Queue<W, F> {
    pub(super) fn new() -> Queue<W, F> {
        Queue {
            waiters: Vec::new(),
            gone: Vec::new(),
            leases: Chain::default(),
            seats: Chain::default(),
            holding: Vec::new(),
            earliest: Deadline::NEVER,
            look: Deadline::NEVER,
        }
    }

    /// Nobody in the queue has an earlier deadline, and those of whom it is not known since when they wait are to be looked at then.
    pub(super) fn earliest(&self) -> Deadline {
        self.earliest.min(self.look)
    }

    /// How many wait undecided.
    pub(super) fn len(&self) -> usize {
        self.leases.len() + self.seats.len()
    }

    /// How many of them wait for a lease.
    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    /// How many of them wait for a seat.
    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// A new waiter, at the end; `number` is larger than any before, `holds` says that it has borrowed something already.
    pub(super) fn join(
        &mut self,
        number: u64,
        borrower: Borrower,
        holds: bool,
        waiting: Joining<W>,
    ) -> Ticket {
        let Joining { deadline, now, wake } = waiting;
        let place = self.put(Waiter {
            number,
            borrower,
            holds,
            seat: None,
            joined: Some(now),
            limit: None,
            deadline,
            wake: Some(wake),
            fate: Fate::Waiting,
        });
        self.leases.push_last(place);
        if holds {
            self.holding.push(place);
        }
        self.earliest = self.earliest.min(deadline);
        Ticket { place, number }
    }

    /// One that waits for a seat: at the end, or where `number` belongs. Reads the clock only if nobody has for a while.
    pub(super) fn join_for_seat(
        &mut self,
        number: u64,
        riding: Riding<W>,
        now: impl FnOnce() -> Instant,
    ) -> Ticket {
        let Riding { limit, weight, wake } = riding;
        let (mut joined, mut deadline) = (None, Deadline::NEVER);
        if self.look.is_never() || limit.is_some_and(|limit| limit <= SHORT) {
            let now = now();
            if self.look.is_never() {
                self.look = Deadline::at(Some(now + LOOK));
            }
            (joined, deadline) = (Some(now), Deadline::counted(limit, now));
            self.earliest = self.earliest.min(deadline);
        }
        let place = self.put(Waiter {
            number,
            borrower: Borrower::NOBODY,
            holds: false,
            seat: Some(weight),
            joined,
            limit,
            deadline,
            wake: Some(wake),
            fate: Fate::Waiting,
        });
        match self.seats.last() {
            Some(last) if self.waiters[last].number > number => self.insert(place),
            _ => self.seats.push_last(place),
        }
        Ticket { place, number }
    }

    fn put(&mut self, waiter: Waiter<W, F>) -> usize {
        match self.gone.pop() {
            Some(place) => {
                self.waiters[place] = waiter;
                place
            }
            None => {
                self.waiters.push(waiter);
                self.waiters.len() - 1
            }
        }
    }

    /// Into the order of its kind, by its number. Only those may be older that were taken out like it, so this walk is short.
    fn insert(&mut self, place: usize) {
        let number = self.waiters[place].number;
        let order = if self.waiters[place].seat.is_some() { &mut self.seats } else { &mut self.leases };
        let mut next = order.first();
        while let Some(older) = next.filter(|other| self.waiters[*other].number < number) {
            next = order.after(older);
        }
        order.insert_before(next, place);
    }

    /// The next who waits for a seat goes along, if `fits` says that there is room for it.
    pub(super) fn take_seat(&mut self, fits: impl FnOnce(Weight) -> bool) -> Option<W> {
        let place = self.seats.first()?;
        let waiter = &mut self.waiters[place];
        if !fits(waiter.seat?) {
            return None;
        }
        let wake = waiter.wake.take();
        self.remove(Ticket { place, number: self.waiters[place].number });
        wake
    }

    /// Who wants a lease and has waited for longest.
    pub(super) fn oldest_lease(&self) -> Option<usize> {
        self.leases.first()
    }

    /// Whether one who wants a seat has waited for longer than anybody who wants a lease.
    pub(super) fn seat_is_next(&self) -> bool {
        match (self.seats.first(), self.leases.first()) {
            (Some(seat), Some(lease)) => self.waiters[seat].number < self.waiters[lease].number,
            (seat, _) => seat.is_some(),
        }
    }

    /// Whether this one waits although it has borrowed something already.
    pub(super) fn holds_and_waits(&self, who: usize) -> bool {
        self.holding.iter().any(|place| self.waiters[*place].borrower.who == who)
    }

    /// Who is behind this ticket.
    pub(super) fn borrower(&self, ticket: Ticket) -> Borrower {
        self.waiters[ticket.place].borrower
    }

    /// When the one who has waited longest joined.
    pub(super) fn oldest_joined(&self) -> Option<Instant> {
        // Among those who want a seat, the first may be one of whom it is not known.
        let joined = |place: usize| self.waiters[place].joined;
        let seats = self.seats.first().and_then(joined);
        self.leases.first().and_then(joined).into_iter().chain(seats).min()
    }

    /// What has become of the waiter with this ticket.
    pub(super) fn fate(&self, ticket: Ticket) -> Fate<F> {
        match self.waiters.get(ticket.place) {
            Some(waiter) if waiter.number == ticket.number => waiter.fate.clone(),
            _ => Fate::Gone,
        }
    }

    /// A waiter that was woken in vain gets a new wake handle, if it still waits.
    pub(super) fn rearm(&mut self, ticket: Ticket, wake: impl FnOnce() -> W) {
        let waiter = &mut self.waiters[ticket.place];
        if waiter.wake.is_none() {
            waiter.wake = Some(wake());
        }
    }

    /// Forgets the waiter, whose fate is not `Gone`.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        let fate = std::mem::replace(&mut self.waiters[ticket.place].fate, Fate::Gone);
        if let Fate::Waiting = fate {
            self.unlink(ticket.place);
        }
        self.waiters[ticket.place].wake = None;
        self.gone.push(ticket.place);
    }

    /// Keeps the connection in `slot` for the waiter at `place`. The wake handle is `None` if a wake-up is
    /// on its way to that waiter already.
    pub(super) fn hand(&mut self, place: usize, slot: usize) -> Option<W> {
        self.unlink(place);
        self.waiters[place].fate = Fate::Handed { slot };
        self.waiters[place].wake.take()
    }

    /// What was kept for this waiter is gone: it waits again, at its old place in the order.
    pub(super) fn put_back(&mut self, place: usize) {
        self.insert(place);
        if self.waiters[place].holds {
            self.holding.push(place);
        }
        self.waiters[place].fate = Fate::Waiting;
        self.earliest = self.earliest.min(self.waiters[place].deadline);
    }

    /// Decides that the waiter at `place` gets nothing, whether or not something was kept for it.
    pub(super) fn refuse(&mut self, place: usize, why: Refusal<F>) -> Option<W> {
        if let Fate::Waiting = self.waiters[place].fate {
            self.unlink(place);
        }
        self.waiters[place].fate = Fate::Refused(why);
        self.waiters[place].wake.take()
    }

    /// Refuses all that wait and adds their wake handles to `wake`.
    pub(super) fn refuse_all(&mut self, why: &Refusal<F>, wake: &mut Vec<W>) {
        while let Some(place) = self.leases.first().or(self.seats.first()) {
            wake.extend(self.refuse(place, why.clone()));
        }
    }

    /// Refuses those whose deadline has passed and returns how many they were. Looks at the waiters only if
    /// there may be one.
    pub(super) fn expire(&mut self, now: Instant, wake: &mut Vec<W>) -> u64 {
        if self.look.passed(now) {
            self.look_at_seats(now);
        }
        if !self.earliest.passed(now) {
            return 0;
        }
        self.earliest = Deadline::NEVER;
        self.expire_from(self.leases.first(), now, wake) + self.expire_from(self.seats.first(), now, wake)
    }

    /// Those of whom it is not known since when they wait, wait from now on.
    fn look_at_seats(&mut self, now: Instant) {
        self.look = Deadline::NEVER;
        let mut next = self.seats.first();
        while let Some(place) = next {
            next = self.seats.after(place);
            let waiter = &mut self.waiters[place];
            if waiter.joined.is_none() {
                waiter.joined = Some(now);
                waiter.deadline = Deadline::counted(waiter.limit, now);
            }
            self.earliest = self.earliest.min(waiter.deadline);
        }
    }

    fn expire_from(&mut self, mut next: Option<usize>, now: Instant, wake: &mut Vec<W>) -> u64 {
        let mut expired = 0;
        while let Some(place) = next {
            let waiter = &self.waiters[place];
            next = if waiter.seat.is_some() { self.seats.after(place) } else { self.leases.after(place) };
            let deadline = waiter.deadline;
            if deadline.passed(now) {
                wake.extend(self.refuse(place, Refusal::TimedOut));
                expired += 1;
            } else {
                self.earliest = self.earliest.min(deadline);
            }
        }
        expired
    }

    fn unlink(&mut self, place: usize) {
        match self.waiters[place].seat {
            Some(_) => self.seats.remove(place),
            None => self.leases.remove(place),
        }
        if self.waiters[place].holds {
            self.holding.retain(|other| *other != place);
        }
        if self.len() == 0 {
            self.earliest = Deadline::NEVER;
        }
    }
}

#[cfg(test)]
impl<W: Clone, F: Clone> Queue<W, F> {
    /// Fails unless the queue holds those that wait, in the order in which they came.
    pub(super) fn audit(&self) {
        for chain in [&self.leases, &self.seats] {
            assert_eq!(chain.iter().count(), chain.len());
            assert!(chain.iter().is_sorted_by_key(|place| self.waiters[place].number), "out of order");
        }
        assert!(self.seats.iter().all(|place| self.waiters[place].seat.is_some()));
        assert!(self.leases.iter().all(|place| self.waiters[place].seat.is_none()));
        let order: Vec<usize> = self.leases.iter().chain(self.seats.iter()).collect();
        let gone = self.waiters.iter().filter(|waiter| matches!(waiter.fate, Fate::Gone)).count();
        assert_eq!(gone, self.gone.len(), "places that may be used again");
        for (place, waiter) in self.waiters.iter().enumerate() {
            let waits = matches!(waiter.fate, Fate::Waiting);
            assert_eq!(waits, order.contains(&place), "{:?}", Ticket { place, number: waiter.number });
            assert!(waits || waiter.wake.is_none(), "a decided waiter was not woken");
            assert!(
                !waits || self.earliest.min(waiter.deadline) == self.earliest,
                "a deadline is overlooked"
            );
        }
    }

    /// Everything about those who have not left, in the order in which they came.
    pub(super) fn inspect(&self) -> Vec<(Ticket, Deadline, Option<W>, Fate<F>)> {
        let mut waiters = Vec::new();
        for (place, waiter) in self.waiters.iter().enumerate() {
            if !matches!(waiter.fate, Fate::Gone) {
                let ticket = Ticket { place, number: waiter.number };
                waiters.push((ticket, waiter.deadline, waiter.wake.clone(), waiter.fate.clone()));
            }
        }
        waiters.sort_by_key(|(ticket, ..)| ticket.number);
        waiters
    }

    /// When those who ride are looked at next.
    pub(super) fn look(&self) -> Deadline {
        self.look
    }

    /// How much work the list of those who wait has done.
    pub(super) fn steps(&self) -> usize {
        self.leases.steps + self.seats.steps
    }
}

#[cfg(test)]
impl Ticket {
    pub(super) fn place(self) -> usize {
        self.place
    }
}
