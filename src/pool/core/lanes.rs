//! Connections that many share: groups of selects. Uses: core, queue, slots.
//!
//! Whoever wants a seat joins the queue, and if a connection is idle its driver is called. When the driver comes it takes as
//! many as make up a group, sends them, and asks again when they are answered. So a group is made up at the last
//! moment, of all who have come until then; nothing is sent behind a group that is out; and when its group is back, a
//! connection goes to whoever has waited for longest, for a seat or for a lease.

use std::time::Instant;

use super::queue::{Refusal, Riding, Ticket, Weight};
use super::slots::State;
use super::{ConnectionId, Core, Effects, Ride};

/// A group takes the server no longer than this, in microseconds, unless one select alone does.
const LONGEST: u32 = 2_000;
/// The replies to a group are no longer than this, in bytes, unless one alone is.
const LARGEST: u32 = 256 * 1024;

impl<C: Clone, W, F: Clone> Core<C, W, F> {
    /// Somebody wants a seat in a group. `now` is asked only if nobody has looked at the clock for a while.
    pub(crate) fn ride(&mut self, riding: Riding<W>, now: impl FnOnce() -> Instant) -> Ride<C, F> {
        if self.closed {
            return Ride::Refused(Refusal::Closed);
        }
        let call = self.call_idle();
        if call.is_none() {
            self.backoff.hurry();
            if let Some(failure) = self.backoff.refusal() {
                return Ride::Refused(Refusal::Failed(failure.clone()));
            }
            if self.queue.len() >= self.limits.waiting {
                return Ride::Refused(Refusal::QueueFull);
            }
        }
        self.counters.waits += 1;
        let ticket = self.queue.join_for_seat(self.counters.waits, riding, now);
        let open = if call.is_none() { self.next_open() } else { None };
        Ride::Queued { ticket, call, open }
    }

    /// One that had been taken along was passed over, or its connection was lost: it waits again, at its old place.
    pub(crate) fn ride_again(
        &mut self,
        before: Ticket,
        riding: Riding<W>,
        now: impl FnOnce() -> Instant,
    ) -> (Result<Ticket, Refusal<F>>, Effects<C, W>) {
        let mut effects = Effects::none();
        if self.closed {
            return (Err(Refusal::Closed), effects);
        }
        self.counters.again += 1;
        let ticket = self.queue.join_for_seat(before.number(), riding, now);
        self.serve_idle(&mut effects);
        self.open_more(&mut effects);
        (Ok(ticket), effects)
    }

    /// The driver of this connection has come, or its group is back. Calls `take` with each who goes along; if there is none, the
    /// connection is not its to use any more. If there is one, there is nothing to do but to open connections.
    pub(crate) fn board(&mut self, id: ConnectionId, mut take: impl FnMut(W)) -> Effects<C, W> {
        let mut effects = Effects::none();
        let Some((slot, State::Called | State::Lane)) = self.slots.find(id) else { return effects };
        if self.paused || self.must_leave(slot).is_some() || !self.queue.seat_is_next() {
            self.slots.set(slot, State::Idle);
            self.provide(slot, &mut effects);
            return effects;
        }
        self.slots.set(slot, State::Lane);
        // Others that were called share those who wait with this one.
        let share = self.queue.seats().div_ceil(self.slots.called() + 1);
        let most = share.min(self.limits.group).max(1);
        // Where all lanes are full it makes nobody wait longer if this one takes its part, however long it takes.
        let part = self.queue.seats().div_ceil(self.slots.lanes());
        let mut sum = Weight::default();
        for count in 0..most {
            let fits = |weight: Weight| {
                let full = sum.alone
                    || weight.alone
                    || count >= part && sum.micros.saturating_add(weight.micros) > LONGEST
                    || sum.bytes.saturating_add(weight.bytes) > LARGEST;
                if full && count > 0 {
                    return false;
                }
                sum.micros = sum.micros.saturating_add(weight.micros);
                sum.bytes = sum.bytes.saturating_add(weight.bytes);
                sum.alone = weight.alone;
                true
            };
            let Some(wake) = self.queue.take_seat(fits) else { break };
            self.counters.selects += 1;
            take(wake);
        }
        self.counters.groups += 1;
        // Fewer may have found room in it than were counted on.
        self.open_more(&mut effects);
        effects
    }

    /// Calls the driver of an idle connection, if there may be another lane.
    fn call_idle(&mut self) -> Option<(ConnectionId, C)> {
        if self.paused || self.slots.lanes() >= self.limits.lanes {
            return None;
        }
        let slot = self.slots.newest_idle_like(true)?;
        self.slots.set(slot, State::Called);
        Some((self.slots.id(slot), self.slots.handle(slot)?.clone()))
    }

    /// Whether somebody wants a seat for whom no driver has been called yet, and may be.
    pub(super) fn wants_lane(&self) -> bool {
        self.queue.seats() > self.slots.called() && self.slots.lanes() < self.limits.lanes
    }

    /// How many connections those who want a seat could do with, beside the lanes that are called.
    pub(super) fn wanted_lanes(&self) -> usize {
        let groups = self.queue.seats().div_ceil(self.limits.group);
        let room = self.limits.lanes.saturating_sub(self.slots.lanes());
        groups.saturating_sub(self.slots.called()).min(room)
    }
}

#[cfg(test)]
mod tests;
