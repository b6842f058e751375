//! The table of connections: one slot for each that the limit allows. Uses: chain.

use std::panic::Location;
use std::time::Instant;

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

/// Who borrows, and where in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Borrower {
    /// Tells a coroutine or thread from all others that live; 0 is nobody in particular.
    pub(crate) who: usize,
    pub(crate) site: Option<&'static Location<'static>>,
}

impl Borrower {
    /// Nobody in particular: a request of its own.
    pub(crate) const NOBODY: Borrower = Borrower { who: 0, site: None };
}

/// Where a slot is in its life.
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
    /// Its driver comes for those who wait for a seat.
    Called,
    /// A group of selects is out.
    Lane,
    /// Being rolled back or drained before anybody may have it.
    Cleaning,
    /// Was idle for long, and is asked for a sign of life.
    Checking,
}

/// All connections and their states. The counts of the ledger are those of the lists and of [`Slots::set`], through which
/// every change goes: there is no number of permits that could drift.
#[derive(Clone, Debug)]
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    /// By position, whoever borrowed the connection last; 0 once that coroutine has ended.
    holders: Vec<usize>,
    /// Positions of the free ones.
    free: Vec<usize>,
    /// The idle ones, most recently used first: caches stay warm, and a surplus is left to age.
    idle: Chain,
    opening: usize,
    /// `Handed` and `Lent`.
    lent: usize,
    called: usize,
    /// `Called` and `Lane`.
    lanes: usize,
    /// `Cleaning` and `Checking`.
    cleaning: usize,
    /// How many may be in use. There are more slots after a [`limit`](Slots::limit) was lowered.
    limit: usize,
}

#[derive(Clone, Debug)]
struct Slot<C> {
    state: State,
    /// The number of the connection that was opened here last.
    connection: u64,
    /// The number of the lease that was given here last.
    lease: u64,
    /// Absent in the states `Free` and `Opening`.
    handle: Option<C>,
    borrower: Borrower,
    /// It was a lane when it was used last: as one it needs no change of its session.
    shared: bool,
    life: Life,
}

/// What is noted of a connection as time goes by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// When it was first seen in its present state, `Idle` or `Lent`: nobody reads a clock to lend it.
    pub(super) since: Option<Instant>,
    /// When it was last asked for a sign of life since it was lent last.
    pub(super) checked: Option<Instant>,
    /// Of the pool, when its opening began.
    pub(super) generation: u64,
    /// When its lifetime is over.
    pub(super) due: Option<Instant>,
    /// A connection that is being opened takes its place.
    pub(super) replaced: bool,
    /// Not to be lent again.
    pub(super) expired: bool,
    /// For one that is being opened: whose place it takes.
    pub(super) replaces: Option<ConnectionId>,
    /// Its lease has been reported as forgotten.
    pub(super) warned: bool,
    /// The coroutine that borrowed it has ended.
    pub(super) orphan: bool,
    /// And may have ended without giving it back.
    pub(super) doubtful: bool,
}

impl<C: Clone> Slots<C> {
    pub(super) fn new(limit: usize) -> Slots<C> {
        let mut slots = Slots {
            slots: Vec::new(),
            holders: Vec::new(),
            free: Vec::new(),
            idle: Chain::default(),
            opening: 0,
            lent: 0,
            called: 0,
            lanes: 0,
            cleaning: 0,
            limit: 0,
        };
        slots.set_limit(limit);
        slots
    }

    /// How many may be in use from now on; those beyond stay until they leave.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        let more = self.slots.len()..limit.max(self.slots.len());
        // They are taken from the end.
        self.free.splice(0..0, more.clone().rev());
        for _ in more {
            let (life, borrower) = (Life::default(), Borrower::NOBODY);
            self.slots.push(Slot {
                state: State::Free,
                connection: 0,
                lease: 0,
                handle: None,
                borrower,
                shared: false,
                life,
            });
            self.holders.push(0);
        }
    }

    /// How many may be in use.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many are in use, in whatever state.
    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many connections are being opened.
    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    /// How many are with a borrower, or kept for one.
    pub(super) fn lent(&self) -> usize {
        self.lent
    }

    /// How many wait for their drivers to take a group.
    pub(super) fn called(&self) -> usize {
        self.called
    }

    /// How many of them there are, and of those whose group is out.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// How many are idle.
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// How many are being cleaned or checked.
    pub(super) fn cleaning(&self) -> usize {
        self.cleaning
    }

    /// Whether a connection may be opened.
    pub(super) fn has_free(&self) -> bool {
        self.used() < self.limit
    }

    /// Whether there is no connection, not even one on its way.
    pub(super) fn all_free(&self) -> bool {
        self.used() == 0
    }

    /// The idle connection that was used last.
    pub(super) fn newest_idle(&self) -> Option<usize> {
        self.idle.first()
    }

    /// The same among those that were lanes, or were not; else any. Only among the first few: what is spared is a change of
    /// the session, which costs the server some 0.1 ms.
    #[inline]
    pub(super) fn newest_idle_like(&self, shared: bool) -> Option<usize> {
        const FEW: usize = 16;
        let first = self.idle.first()?;
        if self.slots[first].shared == shared {
            return Some(first);
        }
        let rest = std::iter::successors(Some(first), |slot| self.idle.after(*slot));
        rest.take(FEW).find(|slot| self.slots[*slot].shared == shared).or(Some(first))
    }

    /// The idle connection that has not been used for longest.
    pub(super) fn oldest_idle(&self) -> Option<usize> {
        self.idle.last()
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
    pub(super) fn start_opening(&mut self, number: u64, generation: u64) -> Option<ConnectionId> {
        let slot = self.free.pop()?;
        self.slots[slot].connection = number;
        self.slots[slot].life = Life { generation, ..Life::default() };
        self.slots[slot].shared = false;
        self.set(slot, State::Opening);
        Some(ConnectionId { slot, number })
    }

    /// The connection is there; its state must be set next.
    pub(super) fn arrive(&mut self, slot: usize, handle: C) {
        self.slots[slot].handle = Some(handle);
    }

    /// Lends the connection that is in this slot. Tells also whether its last borrower was another.
    pub(super) fn lend(
        &mut self,
        slot: usize,
        number: u64,
        borrower: Borrower,
    ) -> Option<(LeaseId, C, bool)> {
        let it = &mut self.slots[slot];
        let handle = it.handle.clone()?;
        it.lease = number;
        it.borrower = borrower;
        let other = std::mem::replace(&mut self.holders[slot], borrower.who) != borrower.who;
        self.set(slot, State::Lent);
        Some((LeaseId { slot, number }, handle, other))
    }

    /// Makes the slot free and gives back what was in it.
    pub(super) fn vacate(&mut self, slot: usize) -> Option<C> {
        self.set(slot, State::Free);
        self.slots[slot].handle.take()
    }

    /// One that was checked is idle again: behind those that were used since, and for as long as before.
    pub(super) fn rest(&mut self, slot: usize) {
        let Life { since, checked, .. } = self.slots[slot].life;
        self.set(slot, State::Idle);
        self.idle.remove(slot);
        self.idle.push_last(slot);
        let life = &mut self.slots[slot].life;
        (life.since, life.checked) = (since, checked);
    }

    /// Every change of state goes through here, so that the lists cannot disagree with the states.
    pub(super) fn set(&mut self, slot: usize, state: State) {
        let it = &mut self.slots[slot];
        match std::mem::replace(&mut it.state, state) {
            State::Idle => self.idle.remove(slot),
            State::Opening => self.opening -= 1,
            State::Handed { .. } | State::Lent => self.lent -= 1,
            State::Called => (self.called, self.lanes) = (self.called - 1, self.lanes - 1),
            State::Lane => self.lanes -= 1,
            State::Cleaning | State::Checking => self.cleaning -= 1,
            State::Free => {}
        }
        match state {
            State::Free => self.free.push(slot),
            State::Idle => {
                it.life.since = None;
                it.life.checked = None;
                self.idle.push_first(slot);
            }
            State::Opening => self.opening += 1,
            State::Handed { .. } => self.lent += 1,
            State::Lent => {
                it.life.since = None;
                it.life.warned = false;
                it.life.orphan = false;
                it.life.doubtful = false;
                it.shared = false;
                self.lent += 1;
            }
            State::Called => (self.called, self.lanes) = (self.called + 1, self.lanes + 1),
            State::Lane => {
                // Whoever borrowed it before has given it back.
                (it.shared, it.borrower) = (true, Borrower::NOBODY);
                self.lanes += 1;
            }
            State::Cleaning | State::Checking => self.cleaning += 1,
        }
    }

    /// The state of the slot at this position.
    pub(super) fn state(&self, slot: usize) -> State {
        self.slots[slot].state
    }

    /// The name of the connection at this position.
    pub(super) fn id(&self, slot: usize) -> ConnectionId {
        ConnectionId { slot, number: self.slots[slot].connection }
    }

    /// What is noted of the connection at this position.
    pub(super) fn life(&self, slot: usize) -> &Life {
        &self.slots[slot].life
    }

    pub(super) fn life_mut(&mut self, slot: usize) -> &mut Life {
        &mut self.slots[slot].life
    }

    /// Whoever borrowed the connection at this position last.
    pub(super) fn borrower(&self, slot: usize) -> Borrower {
        self.slots[slot].borrower
    }

    pub(super) fn handle(&self, slot: usize) -> Option<&C> {
        self.slots[slot].handle.as_ref()
    }

    /// All positions.
    pub(super) fn positions(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// The positions of what this one has borrowed and not given back.
    pub(super) fn held_by(&self, who: usize) -> impl Iterator<Item = usize> + '_ {
        let holders = self.holders.iter().enumerate();
        let its = holders.filter(move |(_, holder)| who != 0 && **holder == who).map(|(slot, _)| slot);
        its.filter(|slot| self.slots[*slot].state == State::Lent)
    }

    /// This one has ended: nobody else is to be taken for it.
    pub(super) fn forget_holder(&mut self, who: usize) {
        self.holders.iter_mut().filter(|holder| **holder == who).for_each(|holder| *holder = 0);
    }

    /// The connections that are open and alive, as far as is known.
    pub(super) fn handles(&self) -> impl Iterator<Item = &C> {
        self.slots.iter().filter_map(|slot| slot.handle.as_ref())
    }
}

#[cfg(test)]
impl<C: Clone> Slots<C> {
    /// Fails unless the lists, the counts and the handles say what the states say.
    pub(super) fn audit(&self) {
        let count = |wanted: fn(&State) -> bool| self.slots.iter().filter(|slot| wanted(&slot.state)).count();
        assert_eq!(self.free.len(), count(|it| *it == State::Free));
        let idle = count(|it| *it == State::Idle);
        assert_eq!((self.idle.len(), self.idle.iter().count()), (idle, idle));
        assert_eq!(self.opening, count(|it| *it == State::Opening));
        assert_eq!(self.lent, count(|it| matches!(it, State::Lent | State::Handed { .. })));
        assert_eq!(self.called, count(|it| *it == State::Called));
        assert_eq!(self.lanes, count(|it| matches!(it, State::Called | State::Lane)));
        assert_eq!(self.cleaning, count(|it| matches!(it, State::Cleaning | State::Checking)));
        for (before, at) in self.free.iter().enumerate() {
            assert!(self.slots[*at].state == State::Free && !self.free[..before].contains(at));
        }
        assert!(self.idle.iter().all(|at| self.slots[at].state == State::Idle));
        for slot in &self.slots {
            let empty = matches!(slot.state, State::Free | State::Opening);
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
