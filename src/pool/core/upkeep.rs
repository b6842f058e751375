//! What becomes of connections as time goes by. Uses: core, deadline, slots.
//!
//! Lending and giving back read no clock. Instead the core looks at all connections every now and then, and notes for
//! those it sees idle or lent since when it knows that. So ages are measured from the first look, and everything here is
//! late by the time between two looks at most, never early.

use std::time::{Duration, Instant};

use super::slots::{Borrower, ConnectionId, State};
use super::{Cause, Core, Effects, Limits};
use crate::deadline::Deadline;

/// The longest time between two looks while there are connections.
const LOOK: Duration = Duration::from_secs(1);

/// A lease, and how long it has been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) borrower: Borrower,
    /// At least; zero if it was taken since the last look.
    pub(crate) age: Duration,
}

/// A lease that is held for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlong<C> {
    pub(crate) connection: C,
    pub(crate) held: Held,
    /// The coroutine that borrowed it has ended, it is not known how: somebody else has it, or nobody.
    pub(crate) doubtful: bool,
}

impl Limits {
    /// How long after a look the next one is due.
    fn between_looks(&self) -> Duration {
        let limits = [self.lifetime, self.idle, self.ping, self.leak, self.hold];
        let shortest = limits.into_iter().flatten().min().unwrap_or(LOOK);
        (shortest / 8).clamp(Duration::from_millis(1), LOOK)
    }
}

impl<C: Clone, W, F: Clone> Core<C, W, F> {
    /// A connection has just come.
    pub(super) fn begin_life(&mut self, slot: usize, random: f64, now: Instant) {
        // Up to a quarter early, so that what was opened together does not end together.
        let due =
            self.limits.lifetime.map(|lifetime| now + lifetime.mul_f64(1.0 - 0.25 * random.clamp(0.0, 1.0)));
        self.slots.life_mut(slot).due = due;
        if self.upkeep.is_never() {
            self.upkeep = Deadline::at(Some(now + self.limits.between_looks()));
        }
    }

    /// Looks at all connections.
    pub(super) fn look_after(&mut self, now: Instant, effects: &mut Effects<C, W>) {
        for slot in self.slots.positions() {
            match self.slots.state(slot) {
                State::Idle => self.look_at_idle(slot, now, effects),
                State::Lent => self.look_at_lent(slot, now, effects),
                _ => {}
            }
        }
        self.retire_one(now, effects);
        let next = (!self.slots.all_free()).then(|| now + self.limits.between_looks());
        self.upkeep = Deadline::at(next);
    }

    fn look_at_idle(&mut self, slot: usize, now: Instant, effects: &mut Effects<C, W>) {
        let surplus = self.slots.idle() > self.limits.min_idle;
        let life = self.slots.life_mut(slot);
        let idle = now.saturating_duration_since(*life.since.get_or_insert(now));
        let silent = life.checked.map_or(idle, |checked| now.saturating_duration_since(checked));
        if surplus && self.limits.idle.is_some_and(|limit| idle >= limit) {
            self.leave_slot(slot, Cause::Idle, effects);
        } else if self.limits.ping.is_some_and(|limit| silent >= limit) {
            life.checked = Some(now);
            if let Some(connection) = self.slots.handle(slot).cloned() {
                effects.check.push((self.slots.id(slot), connection));
                self.slots.set(slot, State::Checking);
            }
        }
    }

    fn look_at_lent(&mut self, slot: usize, now: Instant, effects: &mut Effects<C, W>) {
        let borrower = self.slots.borrower(slot);
        let life = self.slots.life_mut(slot);
        let age = now.saturating_duration_since(*life.since.get_or_insert(now));
        // A request of its own is not held: it has a limit of its own.
        let held = borrower.who != 0;
        if held && self.limits.hold.is_some_and(|limit| age >= limit) {
            self.revoke(slot, Cause::Revoked, now, effects);
            return;
        }
        let overlong = held && self.limits.leak.is_some_and(|limit| age >= limit);
        if overlong && !std::mem::replace(&mut life.warned, true) {
            let doubtful = life.doubtful;
            let connection = self.slots.handle(slot).cloned();
            self.counters.leaks += 1;
            let overlong = |connection| Overlong { connection, held: Held { borrower, age }, doubtful };
            effects.leaks.extend(connection.map(overlong));
        }
    }

    /// Retires the connection whose lifetime has been over for longest, if it is time for another: one per share of the lifetime.
    fn retire_one(&mut self, now: Instant, effects: &mut Effects<C, W>) {
        let Some(lifetime) = self.limits.lifetime else { return };
        if self.next_retirement.is_some_and(|next| next > now) {
            return;
        }
        let is_due = |slot: &usize| {
            let life = self.slots.life(*slot);
            let there = !matches!(self.slots.state(*slot), State::Free | State::Opening);
            there && !life.expired && !life.replaced && life.due.is_some_and(|due| due <= now)
        };
        let oldest = self.slots.positions().filter(is_due).min_by_key(|slot| self.slots.life(*slot).due);
        let Some(slot) = oldest else { return };
        if self.slots.has_free() {
            // The next comes before this one goes. If none can be opened now, this one serves on.
            if !self.replace(Some(self.slots.id(slot)), effects) {
                return;
            }
            self.slots.life_mut(slot).replaced = true;
        } else {
            self.slots.life_mut(slot).expired = true;
            if self.slots.state(slot) == State::Idle {
                self.discard(slot, Cause::Lifetime, effects);
            }
        }
        let shares = u32::try_from(self.slots.limit()).unwrap_or(u32::MAX).max(1);
        self.next_retirement = Some(now + lifetime / shares);
    }

    /// Opens a connection although nobody waits, in the place of this one or of one that has gone.
    pub(super) fn replace(&mut self, whom: Option<ConnectionId>, effects: &mut Effects<C, W>) -> bool {
        let Some(id) = self.start_opening() else { return false };
        if let Some((slot, _)) = self.slots.find(id) {
            self.slots.life_mut(slot).replaces = whom;
        }
        effects.open.push(id);
        true
    }

    /// What takes its place is there.
    pub(super) fn expire(&mut self, id: ConnectionId, effects: &mut Effects<C, W>) {
        let Some((slot, state)) = self.slots.find(id) else { return };
        self.slots.life_mut(slot).expired = true;
        if state == State::Idle {
            self.leave_slot(slot, Cause::Lifetime, effects);
        }
    }

    /// What was to take its place does not come: it serves on until its turn comes again.
    pub(super) fn keep(&mut self, replaced: Option<ConnectionId>) {
        if let Some((slot, _)) = replaced.and_then(|id| self.slots.find(id)) {
            self.slots.life_mut(slot).replaced = false;
        }
    }

    /// Takes the connection away from whoever has borrowed it.
    pub(super) fn revoke(&mut self, slot: usize, cause: Cause, now: Instant, effects: &mut Effects<C, W>) {
        let held = self.held(slot, now);
        let doubtful = self.slots.life(slot).doubtful;
        if let Some(connection) = self.slots.vacate(slot) {
            self.counters.closed[cause as usize] += 1;
            self.counters.cut += 1;
            effects.revoke.push(Overlong { connection, held, doubtful });
        }
        self.open_more(effects);
    }

    fn held(&self, slot: usize, now: Instant) -> Held {
        let since = self.slots.life(slot).since;
        let age = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Held { borrower: self.slots.borrower(slot), age }
    }

    /// The lease that has been held for longest.
    pub(crate) fn oldest_lease(&self, now: Instant) -> Option<Held> {
        let lent = self.slots.positions().filter(|slot| self.slots.state(*slot) == State::Lent);
        lent.map(|slot| self.held(slot, now)).max_by_key(|held| held.age)
    }

    /// What this one has borrowed and not given back; of several, the one held for longest.
    pub(crate) fn lease_of(&self, who: usize, now: Instant) -> Option<Held> {
        self.slots.held_by(who).map(|slot| self.held(slot, now)).max_by_key(|held| held.age)
    }

    /// This coroutine has ended; `doubtful` if it may have ended without giving back what it has. What it has borrowed and not given
    /// back, which may be in the hands of another.
    pub(crate) fn ended(&mut self, who: usize, doubtful: bool) -> Vec<(C, Held)> {
        let slots: Vec<usize> = self.slots.held_by(who).collect();
        self.slots.forget_holder(who);
        let mut left = Vec::new();
        for slot in slots {
            let life = self.slots.life_mut(slot);
            (life.orphan, life.doubtful) = (true, doubtful);
            let held = Held { borrower: self.slots.borrower(slot), age: Duration::ZERO };
            left.extend(self.slots.handle(slot).cloned().map(|connection| (connection, held)));
        }
        left
    }

    /// Whether all connections are held by those who wait for another, or who would: then nobody could go on.
    pub(super) fn would_wait_for_itself(&self, who: usize, holder: impl Fn(&C) -> usize) -> bool {
        !self.paused
            && !self.slots.has_free()
            && self.slots.positions().all(|slot| match (self.slots.state(slot), self.slots.handle(slot)) {
                // Beyond a limit that was lowered.
                (State::Free, _) => true,
                (State::Lent, Some(handle)) => {
                    let holder = holder(handle);
                    holder != 0 && (holder == who || self.queue.holds_and_waits(holder))
                }
                _ => false,
            })
    }
}

#[cfg(test)]
mod tests;
