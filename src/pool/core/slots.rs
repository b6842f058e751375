//! The table of connections: one slot for each that the limit allows. Uses: chain.

use super::chain::Chain;

/// Names an attempt to open a connection and, once it is open, the connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    slot: usize,
    number: u64,
}

/// Names one lending of a connection; never used twice, so an old one does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LeaseId {
    slot: usize,
    number: u64,
}

/// Where a slot is in its life. A lane, shared by many, will be one more state beside `Lent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No connection; one may be opened.
    Free,
    /// A coroutine of the pool's is connecting.
    Opening,
    /// Clean and waiting to be lent.
    Idle,
    /// Promised to the waiter at this position of the queue, who has not come for it yet.
    Handed { waiter: usize },
    /// One coroutine owns the session.
    Lent,
    /// Died while it was lent: the slot is free once the lease comes back.
    Lost,
    /// Being rolled back or drained before anybody may have it.
    Cleaning,
}

/// All connections and their states. The counts of the ledger are taken from here whenever they are asked
/// for: there is no number of permits that could drift.
#[derive(Clone, Debug)]
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    /// Positions of the free ones.
    free: Vec<usize>,
    /// The idle ones, most recently used first: caches stay warm, and a surplus is left to age.
    idle: Chain,
    /// How many are being opened.
    opening: usize,
}

#[derive(Clone, Debug)]
struct Slot<C> {
    state: State,
    /// The number of the connection that was opened here last.
    connection: u64,
    /// The number of the lease that was given here last.
    lease: u64,
    /// Present in the states `Idle`, `Handed`, `Lent` and `Cleaning`.
    handle: Option<C>,
}

impl<C: Clone> Slots<C> {
    pub(super) fn new(limit: usize) -> Slots<C> {
        let slot = Slot { state: State::Free, connection: 0, lease: 0, handle: None };
        Slots {
            slots: vec![slot; limit],
            free: (0..limit).rev().collect(),
            idle: Chain::default(),
            opening: 0,
        }
    }

    /// How many connections are being opened.
    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    /// Whether a connection may be opened.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether there is no connection, not even one on its way.
    pub(super) fn all_free(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// The idle connection that was used last.
    pub(super) fn newest_idle(&self) -> Option<usize> {
        self.idle.first()
    }

    /// Where this connection is, unless it has left.
    pub(super) fn find(&self, id: ConnectionId) -> Option<(usize, State)> {
        let slot = self.slots.get(id.slot).filter(|slot| slot.connection == id.number)?;
        (slot.state != State::Free).then_some((id.slot, slot.state))
    }

    /// Where the connection of this lease is, unless it was lent again since.
    pub(super) fn find_lease(&self, id: LeaseId) -> Option<(usize, State)> {
        let slot = self.slots.get(id.slot).filter(|slot| slot.lease == id.number)?;
        Some((id.slot, slot.state))
    }

    /// Takes a free slot for a connection that is about to be opened.
    pub(super) fn start_opening(&mut self, number: u64) -> Option<ConnectionId> {
        let slot = self.free.pop()?;
        self.slots[slot].connection = number;
        self.set(slot, State::Opening);
        Some(ConnectionId { slot, number })
    }

    /// The connection is there; its state must be set next.
    pub(super) fn arrive(&mut self, slot: usize, handle: C) {
        self.slots[slot].handle = Some(handle);
    }

    /// Lends the connection that is in this slot.
    pub(super) fn lend(&mut self, slot: usize, number: u64) -> Option<(LeaseId, C)> {
        let handle = self.slots[slot].handle.clone()?;
        self.slots[slot].lease = number;
        self.set(slot, State::Lent);
        Some((LeaseId { slot, number }, handle))
    }

    /// Makes the slot free and gives back what was in it.
    pub(super) fn vacate(&mut self, slot: usize) -> Option<C> {
        self.set(slot, State::Free);
        self.slots[slot].handle.take()
    }

    /// The lent connection died; the slot stays taken until its lease comes back.
    pub(super) fn lose(&mut self, slot: usize) -> Option<C> {
        self.set(slot, State::Lost);
        self.slots[slot].handle.take()
    }

    /// Every change of state goes through here, so that the lists cannot disagree with the states.
    pub(super) fn set(&mut self, slot: usize, state: State) {
        match std::mem::replace(&mut self.slots[slot].state, state) {
            State::Idle => self.idle.remove(slot),
            State::Opening => self.opening -= 1,
            _ => {}
        }
        match state {
            State::Free => self.free.push(slot),
            State::Idle => self.idle.push_first(slot),
            State::Opening => self.opening += 1,
            _ => {}
        }
    }

    /// The state of the slot at this position.
    pub(super) fn state(&self, slot: usize) -> State {
        self.slots[slot].state
    }

    /// All states, by position.
    pub(super) fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.slots.iter().map(|slot| slot.state)
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The connections that are open and alive, as far as is known.
    pub(super) fn handles(&self) -> impl Iterator<Item = &C> {
        self.slots.iter().filter_map(|slot| slot.handle.as_ref())
    }
}

#[cfg(test)]
impl<C: Clone> Slots<C> {
    /// Fails unless the lists, the count and the handles say what the states say.
    pub(super) fn audit(&self) {
        let count = |wanted: State| self.slots.iter().filter(|slot| slot.state == wanted).count();
        assert_eq!(self.free.len(), count(State::Free));
        assert_eq!((self.idle.len(), self.idle.iter().count()), (count(State::Idle), count(State::Idle)));
        assert_eq!(self.opening, count(State::Opening));
        for (before, at) in self.free.iter().enumerate() {
            assert!(self.slots[*at].state == State::Free && !self.free[..before].contains(at));
        }
        assert!(self.idle.iter().all(|at| self.slots[at].state == State::Idle));
        for slot in &self.slots {
            let empty = matches!(slot.state, State::Free | State::Opening | State::Lost);
            assert_eq!(slot.handle.is_none(), empty, "{:?}", slot.state);
        }
    }

    /// Everything about each slot, by position.
    pub(super) fn inspect(&self) -> Vec<(State, ConnectionId, LeaseId, Option<C>)> {
        let ids = |(at, slot): (usize, &Slot<C>)| {
            let connection = ConnectionId { slot: at, number: slot.connection };
            (slot.state, connection, LeaseId { slot: at, number: slot.lease }, slot.handle.clone())
        };
        self.slots.iter().enumerate().map(ids).collect()
    }

    /// How much work the list of idle ones has done.
    pub(super) fn steps(&self) -> usize {
        self.idle.steps
    }
}
