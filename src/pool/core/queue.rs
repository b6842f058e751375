//! The one queue of the pool: first come, first served. Uses: chain, deadline, slots.

use std::time::Instant;

use super::chain::Chain;
use super::slots::Borrower;
use crate::deadline::Deadline;

/// Names one wait in the queue; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket {
    place: usize,
    number: u64,
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

/// One who waits. What it waits for (a lease; later also a place on a lane) will be one more field.
#[derive(Clone, Debug)]
struct Waiter<W, F> {
    /// In order of arrival.
    number: u64,
    borrower: Borrower,
    /// It has borrowed something already.
    holds: bool,
    /// When it joined.
    joined: Instant,
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
    /// Those that are `Waiting`, oldest first.
    order: Chain,
    /// Those of them that have borrowed something already: no more than there are connections.
    holding: Vec<usize>,
    /// None of those in the queue has an earlier one.
    earliest: Deadline,
}

impl<W, F: Clone> Queue<W, F> {
    /// Nobody waits.
    pub(super) fn new() -> Queue<W, F> {
        Queue {
            waiters: Vec::new(),
            gone: Vec::new(),
            order: Chain::default(),
            holding: Vec::new(),
            earliest: Deadline::NEVER,
        }
    }

    /// None of those in the queue has an earlier deadline.
    pub(super) fn earliest(&self) -> Deadline {
        self.earliest
    }

    /// How many wait undecided.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// A new waiter, at the end; `number` is larger than any before, `holds` says that it has borrowed something already.
    pub(super) fn join(
        &mut self,
        number: u64,
        borrower: Borrower,
        holds: bool,
        waiting: Joining<W>,
    ) -> Ticket {
        let Joining { deadline, now: joined, wake } = waiting;
        let waiter =
            Waiter { number, borrower, holds, joined, deadline, wake: Some(wake), fate: Fate::Waiting };
        let place = match self.gone.pop() {
            Some(place) => {
                self.waiters[place] = waiter;
                place
            }
            None => {
                self.waiters.push(waiter);
                self.waiters.len() - 1
            }
        };
        self.order.push_last(place);
        if holds {
            self.holding.push(place);
        }
        self.earliest = self.earliest.min(deadline);
        Ticket { place, number }
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
        self.order.first().map(|place| self.waiters[place].joined)
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

    /// The place of the one who has waited longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.order.first()
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
        // The only older ones in the queue have been put back too, so this walk is no longer than the
        // number of connections.
        let number = self.waiters[place].number;
        let mut next = self.order.first();
        while let Some(older) = next.filter(|other| self.waiters[*other].number < number) {
            next = self.order.after(older);
        }
        self.order.insert_before(next, place);
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
        while let Some(place) = self.order.first() {
            wake.extend(self.refuse(place, why.clone()));
        }
    }

    /// Refuses those whose deadline has passed and returns how many they were. Looks at the waiters only if
    /// there may be one.
    pub(super) fn expire(&mut self, now: Instant, wake: &mut Vec<W>) -> u64 {
        let mut expired = 0;
        if !self.earliest.passed(now) {
            return expired;
        }
        self.earliest = Deadline::NEVER;
        let mut next = self.order.first();
        while let Some(place) = next {
            next = self.order.after(place);
            let deadline = self.waiters[place].deadline;
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
        self.order.remove(place);
        if self.waiters[place].holds {
            self.holding.retain(|other| *other != place);
        }
        if self.order.len() == 0 {
            self.earliest = Deadline::NEVER;
        }
    }
}

#[cfg(test)]
impl<W: Clone, F: Clone> Queue<W, F> {
    /// Fails unless the queue holds those that wait, in the order in which they came.
    pub(super) fn audit(&self) {
        let order: Vec<usize> = self.order.iter().collect();
        assert_eq!(order.len(), self.order.len());
        assert!(order.is_sorted_by_key(|place| self.waiters[*place].number), "out of order");
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

    /// How much work the list of those who wait has done.
    pub(super) fn steps(&self) -> usize {
        self.order.steps
    }
}

#[cfg(test)]
impl Ticket {
    pub(super) fn place(self) -> usize {
        self.place
    }
}
