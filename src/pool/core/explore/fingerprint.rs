//! What makes two states of the small world the same. Uses: core.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::*;
use crate::pool::core::queue::Fate;

pub(super) type Fingerprints = HashSet<u64, BuildHasherDefault<Mix>>;

/// The standard hasher takes half of the time here when it is not optimised; this one is enough for numbers.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(u64::try_from(number).unwrap());
    }
}

impl World {
    /// All that can make a difference later, without the names.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Mix::default();
        let waiters = self.core.queue.inspect();
        // In the order of arrival, with those that were taken out of it and may come back.
        let out = self.coroutines.iter().filter_map(|coroutine| match coroutine.doing {
            Doing::Seated { ticket, .. } | Doing::Over { ticket, .. } => Some(ticket.number()),
            _ => None,
        });
        let mut order: Vec<u64> = waiters.iter().map(|waiter| waiter.0.number()).chain(out).collect();
        order.sort_unstable();
        let rank = |ticket: Ticket| order.iter().position(|number| *number == ticket.number());
        let mut coroutines = self.coroutines.map(|coroutine| {
            let doing = match coroutine.doing {
                Doing::Nothing => (0, None),
                Doing::Waiting { ticket, woken, .. } => (1 + u8::from(woken), rank(ticket)),
                Doing::Holding { connection, .. } => (3 + u8::from(self.gone.contains(&connection)), None),
                Doing::Riding { ticket, woken, .. } => (5 + u8::from(woken), rank(ticket)),
                Doing::Seated { ticket, .. } => (7, rank(ticket)),
                Doing::Over { ticket, .. } => (8, rank(ticket)),
            };
            (coroutine.acquisitions, coroutine.rides, doing, self.ride_print(&coroutine.doing))
        });
        coroutines.sort_unstable();
        coroutines.hash(&mut hash);
        for (_, deadline, wake, fate) in &waiters {
            match fate {
                Fate::Gone => unreachable!(),
                Fate::Waiting => (0, deadline.left(self.now), wake.is_some()).hash(&mut hash),
                Fate::Handed { .. } => (1, deadline.left(self.now)).hash(&mut hash),
                Fate::Refused(why) => (2, why).hash(&mut hash),
            }
        }
        let mut slots = self.core.ledger();
        slots.waiting = waiters.len();
        slots.hash(&mut hash);
        let opening = |id: &&ConnectionId| matches!(self.core.slots.find(**id), Some((_, State::Opening)));
        (self.opens.len(), self.opens.iter().filter(opening).count(), self.overdue.len()).hash(&mut hash);
        (self.cleaning.len(), self.checks.len(), self.paused, self.limit).hash(&mut hash);
        self.lives().hash(&mut hash);
        let mut lanes: Vec<_> =
            self.lanes.iter().map(|lane| (lane.course, self.lane_print(lane.id))).collect();
        lanes.sort_unstable();
        (lanes, self.core.queue.look().left(self.now)).hash(&mut hash);
        (self.core.warm, self.core.next_retirement.map(|at| self.left(at))).hash(&mut hash);
        self.core.upkeep.left(self.now).hash(&mut hash);
        self.core.backoff.inspect(self.now).hash(&mut hash);
        (self.closed, self.budget).hash(&mut hash);
        hash.finish()
    }

    /// What is known of somebody who rides, beside its place.
    fn ride_print(&self, doing: &Doing) -> u64 {
        let mut hash = Mix::default();
        match doing {
            Doing::Riding { want, since, noted, .. } => {
                let since = want.limit.map(|_| (self.now - *since, noted.map(|noted| self.now - noted)));
                (want.weight, want.limit, since).hash(&mut hash);
            }
            Doing::Seated { want, id, .. } => {
                (want.weight, want.limit, self.lane_print(*id)).hash(&mut hash);
            }
            Doing::Over { want, .. } => (want.weight, want.limit).hash(&mut hash),
            Doing::Nothing | Doing::Waiting { .. } | Doing::Holding { .. } => {}
        }
        hash.finish()
    }

    /// What tells one lane from another: its first member, and what becomes of its connection.
    fn lane_print(&self, id: ConnectionId) -> (Option<u64>, bool, bool) {
        let life = self.core.slots.find(id).map(|(slot, _)| self.core.slots.life(slot));
        let first = self.members(id).first().map(|(_, ticket, _)| ticket.number());
        let before = |number: u64| {
            let taken = self.coroutines.iter().filter_map(|coroutine| match coroutine.doing {
                Doing::Seated { ticket, .. } => Some(ticket.number()),
                _ => None,
            });
            u64::try_from(taken.filter(|other| *other < number).count()).unwrap()
        };
        let stays = life.is_some_and(|life| life.generation == self.core.generation);
        (first.map(before), stays, life.is_some_and(|life| life.expired))
    }

    fn left(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.now)
    }

    /// What is noted of the connections, in any order.
    fn lives(&self) -> Vec<u64> {
        let slots = self.core.slots.inspect().into_iter().enumerate();
        let mut lives: Vec<u64> = slots
            .filter(|(_, slot)| slot.0 != State::Free)
            .map(|(at, (state, ..))| {
                let life = self.core.slots.life(at);
                let mut hash = Mix::default();
                std::mem::discriminant(&state).hash(&mut hash);
                [life.since, life.checked].map(|it| it.map(|it| self.now - it)).hash(&mut hash);
                (life.generation == self.core.generation).hash(&mut hash);
                life.due.map(|due| self.left(due)).hash(&mut hash);
                let flags = [life.expired, life.replaced, life.warned, life.orphan, life.doubtful];
                flags.hash(&mut hash);
                life.replaces.map(|id| self.core.slots.find(id).is_some()).hash(&mut hash);
                hash.finish()
            })
            .collect();
        lives.sort_unstable();
        lives
    }
}
