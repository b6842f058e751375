//! What the pool's core is told, and what it answers. Uses: queue, slots, upkeep.

use std::time::Duration;

use super::queue::{Refusal, Ticket};
use super::slots::{ConnectionId, LeaseId};
use super::upkeep::Overlong;

/// What the pool may use, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections, whatever their state; at least one.
    pub(crate) connections: usize,
    /// Connections being opened at the same time; at least one.
    pub(crate) opening: usize,
    /// Callers in the queue when another comes. One whose connection broke before it came for it stands in
    /// the queue again in any case.
    pub(crate) waiting: usize,
    /// Connections that may carry groups of selects at the same time.
    pub(crate) lanes: usize,
    /// Selects that are out on a lane at the same time; at least one.
    pub(crate) group: usize,
    /// Idle connections that are kept.
    pub(crate) min_idle: usize,
    /// After which a connection is replaced.
    pub(crate) lifetime: Option<Duration>,
    /// After which an idle connection beyond `min_idle` is closed.
    pub(crate) idle: Option<Duration>,
    /// After which an idle connection is asked for a sign of life.
    pub(crate) ping: Option<Duration>,
    /// After which a lease is reported.
    pub(crate) leak: Option<Duration>,
    /// After which a lease is revoked.
    pub(crate) hold: Option<Duration>,
}

/// Why a connection left the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// It was lost, or its session is in doubt.
    Broken,
    /// It could not be brought back to idle.
    Unclean,
    /// Its lifetime was over.
    Lifetime,
    /// Nobody used it for long.
    Idle,
    /// All that were there were told to go: by the program, or because the server shut down or was demoted.
    Cleared,
    /// The limit was lowered.
    Surplus,
    /// Its lease was held for too long.
    Revoked,
    /// The pool was closed.
    Closed,
}

impl Cause {
    pub(crate) const ALL: [Cause; 8] = [
        Cause::Broken,
        Cause::Unclean,
        Cause::Lifetime,
        Cause::Idle,
        Cause::Cleared,
        Cause::Surplus,
        Cause::Revoked,
        Cause::Closed,
    ];
}

/// What has happened since the pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Connections lent.
    pub(crate) lends: u64,
    /// Callers that had to join the queue.
    pub(crate) waits: u64,
    /// Those of them whose deadline passed in the queue.
    pub(crate) timeouts: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Attempts that failed.
    pub(crate) failed: u64,
    /// Connections that left, by [`Cause`].
    pub(crate) closed: [u64; Cause::ALL.len()],
    /// Leases whose connections were taken away, or died.
    pub(crate) cut: u64,
    /// Leases that were reported as held for long.
    pub(crate) leaks: u64,
    /// Most connections open at the same time.
    pub(crate) most: usize,
    /// How often selects were sent, several or one.
    pub(crate) groups: u64,
    /// Selects in them.
    pub(crate) selects: u64,
    /// Selects that went back into the queue.
    pub(crate) again: u64,
}

/// Where the connections are. The first six add up to `limit`; while a lowered limit is not reached yet, they are more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// With a borrower, or kept for a waiter that has been woken.
    pub(crate) lent: usize,
    /// With a group of selects, or about to take one.
    pub(crate) lanes: usize,
    /// Clean and ready.
    pub(crate) idle: usize,
    /// Being opened.
    pub(crate) opening: usize,
    /// Being cleaned, or asked for a sign of life.
    pub(crate) cleaning: usize,
    /// Not there.
    pub(crate) free: usize,
    /// All of these.
    pub(crate) limit: usize,
    /// Callers in the queue.
    pub(crate) waiting: usize,
}

/// A connection that is lent from now on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lent<C> {
    pub(crate) lease: LeaseId,
    pub(crate) connection: C,
    /// Somebody else, or nobody, had borrowed it before.
    pub(crate) changed_hands: bool,
}

/// The answer to [`Core::acquire`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquire<C, F> {
    /// Here it is.
    Lent(Lent<C>),
    /// Wait to be woken, then [`claim`](Core::claim); `open` is as in [`Effects`].
    Queued { ticket: Ticket, open: Option<ConnectionId> },
    /// Not now.
    Refused(Refusal<F>),
}

/// The answer to [`Core::ride`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ride<C, F> {
    /// It waits for a seat. `call` is as in [`Effects`], `open` too.
    Queued { ticket: Ticket, call: Option<(ConnectionId, C)>, open: Option<ConnectionId> },
    /// Not now.
    Refused(Refusal<F>),
}

/// The answer to [`Core::claim`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim<C, F> {
    /// Here it is; the ticket is used up.
    Lent(Lent<C>),
    /// Woken in vain; go on waiting.
    Pending,
    /// There will be none; the ticket is used up.
    Refused(Refusal<F>),
}

/// In what state a lease comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Returned {
    /// The server said idle, and nothing is outstanding.
    Clean,
    /// A transaction is open or replies are outstanding.
    Dirty,
    /// Not to be used again.
    Broken,
}

/// What the shell has to do after it let go of the lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<C, W> {
    /// The waiter a connection is now kept for.
    pub(crate) wake: Option<W>,
    /// More waiters whose fate is decided.
    pub(crate) wake_others: Vec<W>,
    /// Connections whose drivers are to come for a group: each calls [`Core::board`].
    pub(crate) call: Vec<(ConnectionId, C)>,
    /// Lanes that have left the pool with their group still out: to be cut off.
    pub(crate) cut: Vec<C>,
    /// Connections to open; each is answered by [`Core::opened`] or [`Core::open_failed`].
    pub(crate) open: Vec<ConnectionId>,
    /// The lease whose connection has to be cleaned, answered by [`Core::cleaned`].
    pub(crate) clean: Option<LeaseId>,
    /// Connections to be asked for a sign of life, answered by [`Core::checked`] or [`Core::broke`].
    pub(crate) check: Vec<(ConnectionId, C)>,
    /// Connections that left the pool, and why: to be closed, if they are not yet, and dropped.
    pub(crate) close: Vec<(C, Cause)>,
    /// Leases that were held for so long that they are reported.
    pub(crate) leaks: Vec<Overlong<C>>,
    /// Leases that were held for too long: their connections have left, and are to be cut off.
    pub(crate) revoke: Vec<Overlong<C>>,
}

impl<C, W> Effects<C, W> {
    /// Nothing to do.
    pub(crate) fn none() -> Effects<C, W> {
        Effects {
            wake: None,
            wake_others: Vec::new(),
            call: Vec::new(),
            cut: Vec::new(),
            open: Vec::new(),
            clean: None,
            check: Vec::new(),
            close: Vec::new(),
            leaks: Vec::new(),
            revoke: Vec::new(),
        }
    }
}
