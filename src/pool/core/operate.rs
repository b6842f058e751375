//! What a program tells its pool as a whole. Uses: core, queue, slots.

use std::time::Instant;

use super::queue::Refusal;
use super::slots::State;
use super::{Cause, Core, Effects};

impl<C: Clone, W, F: Clone> Core<C, W, F> {
    /// All connections that are open or being opened now are not lent again: the idle ones leave at once, the others when they come
    /// back.
    pub(crate) fn clear(&mut self) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.generation += 1;
        for slot in self.slots.positions() {
            match self.slots.state(slot) {
                State::Idle | State::Checking => self.leave_slot(slot, Cause::Cleared, &mut effects),
                State::Handed { waiter } => {
                    self.leave_slot(slot, Cause::Cleared, &mut effects);
                    self.queue.put_back(waiter);
                }
                State::Free
                | State::Opening
                | State::Lent
                | State::Called
                | State::Lane
                | State::Cleaning => {}
            }
        }
        self.open_more(&mut effects);
        effects
    }

    /// Lends nothing until it is resumed: who comes waits. Leases go on.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Lends again, to those who waited first.
    pub(crate) fn resume(&mut self) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.paused = false;
        self.serve_idle(&mut effects);
        self.open_more(&mut effects);
        effects
    }

    /// Changes the limit. If it is lowered, those idle for longest leave at once, the others when they come back.
    pub(crate) fn resize(&mut self, limit: usize) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.limits.connections = limit;
        self.slots.set_limit(limit);
        while self.slots.used() > limit
            && let Some(slot) = self.slots.oldest_idle()
        {
            self.leave_slot(slot, Cause::Surplus, &mut effects);
        }
        self.open_more(&mut effects);
        effects
    }

    /// Opens connections until there are so many, at most as many as the limit allows; 0 is as many as are needed.
    pub(crate) fn warm(&mut self, connections: usize) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.warm = connections;
        self.open_more(&mut effects);
        effects
    }

    /// Nothing is lent from now on. Waiters are refused, idle connections are to be closed, the others when
    /// they come back.
    pub(crate) fn close(&mut self) -> Effects<C, W> {
        let mut effects = Effects::none();
        self.closed = true;
        self.queue.refuse_all(&Refusal::Closed, &mut effects.wake_others);
        for slot in self.slots.positions() {
            match self.slots.state(slot) {
                State::Idle | State::Checking => self.leave_slot(slot, Cause::Closed, &mut effects),
                State::Handed { waiter } => {
                    // It has been woken already and will hear this instead.
                    self.queue.refuse(waiter, Refusal::Closed);
                    self.leave_slot(slot, Cause::Closed, &mut effects);
                }
                State::Free
                | State::Opening
                | State::Lent
                | State::Called
                | State::Lane
                | State::Cleaning => {}
            }
        }
        effects
    }

    /// Closed, and out of patience: what is still lent is to be cut off, and what is on its way is given up.
    pub(crate) fn cut(&mut self, now: Instant) -> Effects<C, W> {
        let mut effects = Effects::none();
        if !self.closed {
            return effects;
        }
        for slot in self.slots.positions() {
            match self.slots.state(slot) {
                State::Lent => self.revoke(slot, Cause::Closed, now, &mut effects),
                State::Called | State::Lane => {
                    self.counters.cut += 1;
                    self.counters.closed[Cause::Closed as usize] += 1;
                    effects.cut.extend(self.slots.vacate(slot));
                }
                State::Opening | State::Cleaning => self.leave_slot(slot, Cause::Closed, &mut effects),
                State::Free | State::Idle | State::Handed { .. } | State::Checking => {}
            }
        }
        effects
    }
}
