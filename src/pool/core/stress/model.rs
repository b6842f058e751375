//! A pool that is too simple to be wrong. Uses: core.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Opening,
    Idle,
    Kept(Task),
    Lent(Task),
    /// Its driver is to come.
    Called,
    /// Its group is out.
    Lane,
    Cleaning,
}

/// One in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) arrival: u64,
    pub(super) task: Task,
    pub(super) until: Instant,
    /// A wake-up is on its way.
    pub(super) woken: bool,
    /// It wants a seat.
    pub(super) seat: Option<Weight>,
}

/// What a step should bring about, in an order that can be compared.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expected {
    /// Those served and those refused.
    pub(super) told: Vec<Task>,
    pub(super) call: Vec<u32>,
    pub(super) opens: usize,
    pub(super) clean: bool,
    pub(super) close: Vec<u32>,
}

/// The pool as two lists. Each event changes them in the plainest way; `settle` does the rest by looking at
/// everything again. Only the back-off, which has its own tests, is the real one.
pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) closed: bool,
    pub(super) paused: bool,
    /// Connections, open or on their way, that were there when all were told to go.
    pub(super) stale: Vec<ConnectionId>,
    /// What takes up the limit; the idle ones in the order in which they became idle.
    pub(super) connections: Vec<(ConnectionId, u32, Place)>,
    /// In order of arrival.
    pub(super) queue: Vec<Waiter>,
    /// Connections that were lanes when they were used last.
    pub(super) shared: Vec<ConnectionId>,
    pub(super) refused: Vec<(Task, Refusal<&'static str>)>,
    pub(super) backoff: Backoff<&'static str>,
    pub(super) expected: Expected,
}

impl Model {
    pub(super) fn count(&self, wanted: fn(Place) -> bool) -> usize {
        self.connections.iter().filter(|connection| wanted(connection.2)).count()
    }

    pub(super) fn opening(&self) -> usize {
        self.count(|place| place == Place::Opening)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<(u32, Place)> {
        let at = self.connections.iter().position(|connection| connection.0 == id)?;
        let (_, handle, place) = self.connections.remove(at);
        Some((handle, place))
    }

    pub(super) fn put(&mut self, id: ConnectionId, handle: u32, place: Place) {
        self.connections.push((id, handle, place));
    }

    /// A connection without an owner: it is idle, or has to go.
    pub(super) fn put_clean(&mut self, id: ConnectionId, handle: u32) {
        // It is not counted: it has been taken out before.
        if self.closed || self.stale.contains(&id) || self.connections.len() >= self.limits.connections {
            self.expected.close.push(handle);
        } else {
            self.put(id, handle, Place::Idle);
        }
    }

    pub(super) fn leave(&mut self, task: Task) {
        self.queue.retain(|waiter| waiter.task != task);
        self.refused.retain(|refused| refused.0 != task);
    }

    pub(super) fn refuse(&mut self, who: impl Fn(Instant) -> bool, why: Refusal<&'static str>) -> u64 {
        let before = self.queue.len();
        for Waiter { task, woken, .. } in self.queue.extract_if(.., |waiter| who(waiter.until)) {
            self.refused.push((task, why));
            self.expected.told.extend((!woken).then_some(task));
        }
        u64::try_from(before - self.queue.len()).unwrap()
    }

    /// Whatever can be done now is done.
    pub(super) fn settle(&mut self) {
        if self.closed {
            self.refuse(|_| true, Refusal::Closed);
            let out = |connection: &mut (_, _, Place)| matches!(connection.2, Place::Idle | Place::Kept(_));
            for (_, handle, place) in self.connections.extract_if(.., out) {
                self.expected.close.push(handle);
                if let Place::Kept(task) = place {
                    self.refused.push((task, Refusal::Closed));
                }
            }
            return;
        }
        while !self.paused
            && let Some(idle) = self.connections.iter().rposition(|connection| connection.2 == Place::Idle)
        {
            // Who rides has a claim only if no driver comes for it yet, and another lane is allowed.
            let calls = self.riders() > self.called() && self.lanes() < self.limits.lanes;
            let Some(next) = self.queue.iter().position(|waiter| calls || waiter.seat.is_none()) else {
                break;
            };
            if self.queue[next].seat.is_some() {
                self.connections[idle].2 = Place::Called;
                self.expected.call.push(self.connections[idle].1);
            } else {
                let Waiter { task, woken, .. } = self.queue.remove(next);
                self.connections[idle].2 = Place::Kept(task);
                self.expected.told.extend((!woken).then_some(task));
            }
        }
        if !self.queue.is_empty() {
            self.backoff.hurry();
        }
        let taken = |model: &Model| model.connections.len() + model.expected.opens;
        let probes = self.opening() + self.expected.opens == 0 && self.backoff.wants_probe();
        if probes && !self.paused && taken(self) < self.limits.connections {
            self.expected.opens += 1;
        }
        while !self.paused
            && self.wanted() > self.opening() + self.expected.opens
            && self.opening() + self.expected.opens < self.backoff.allowed(self.limits.opening)
            && taken(self) < self.limits.connections
        {
            self.expected.opens += 1;
        }
    }

    pub(super) fn riders(&self) -> usize {
        self.queue.iter().filter(|waiter| waiter.seat.is_some()).count()
    }

    pub(super) fn called(&self) -> usize {
        self.count(|place| place == Place::Called)
    }

    pub(super) fn lanes(&self) -> usize {
        self.count(|place| matches!(place, Place::Called | Place::Lane))
    }

    /// For how many of those who wait a connection is wanted.
    fn wanted(&self) -> usize {
        let more = self.riders().div_ceil(self.limits.group).saturating_sub(self.called());
        self.queue.len() - self.riders() + more.min(self.limits.lanes - self.lanes())
    }

    /// The connection that one who rides, or one who borrows, is given at once.
    pub(super) fn idle_like(&self, shared: bool) -> Option<usize> {
        let idle = |at: &usize| self.connections[*at].2 == Place::Idle;
        let newest_first = || (0..self.connections.len()).rev().filter(idle);
        let alike = |at: &usize| self.shared.contains(&self.connections[*at].0) == shared;
        newest_first().find(alike).or(newest_first().next())
    }

    /// Those who go along with this connection, which is taken out and put to where it belongs.
    pub(super) fn board(&mut self, id: ConnectionId) -> Vec<Task> {
        let Some((handle, _)) = self.remove(id) else { return Vec::new() };
        let leaves =
            self.closed || self.stale.contains(&id) || self.connections.len() >= self.limits.connections;
        if self.paused || leaves || self.queue.first().is_none_or(|waiter| waiter.seat.is_none()) {
            self.put_clean(id, handle);
            return Vec::new();
        }
        self.put(id, handle, Place::Lane);
        self.shared.push(id);
        let riders = self.riders();
        let share = riders.div_ceil(self.called() + 1).min(self.limits.group);
        let part = riders.div_ceil(self.lanes());
        let mut group: Vec<(Task, Weight)> = Vec::new();
        for Waiter { task, seat, .. } in &self.queue {
            let Some(weight) = *seat else { continue };
            let sum = |of: fn(&Weight) -> u32| group.iter().map(|(_, it)| of(it)).sum::<u32>() + of(&weight);
            let alone = weight.alone || group.iter().any(|(_, it)| it.alone);
            let large = sum(|it| it.bytes) > 256 * 1024;
            let long = sum(|it| it.micros) > 2_000 && group.len() >= part;
            if group.len() == share || (!group.is_empty() && (alone || large || long)) {
                break;
            }
            group.push((*task, weight));
        }
        group.iter().for_each(|(task, _)| self.queue.retain(|waiter| waiter.task != *task));
        group.into_iter().map(|(task, _)| task).collect()
    }

    /// Joins where it belongs.
    pub(super) fn join(&mut self, waiter: Waiter) {
        self.queue.push(waiter);
        self.queue.sort_by_key(|waiter| waiter.arrival);
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger {
            lent: self.count(|it| matches!(it, Place::Kept(_) | Place::Lent(_))),
            lanes: self.lanes(),
            idle: self.count(|it| it == Place::Idle),
            opening: self.opening(),
            cleaning: self.count(|it| it == Place::Cleaning),
            free: self.limits.connections.saturating_sub(self.connections.len()),
            limit: self.limits.connections,
            waiting: self.queue.len(),
        }
    }
}
