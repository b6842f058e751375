//! Figures of a pool. Uses: core.

use super::core::{Counters, Ledger};

/// Where the connections of a pool are, and what it has done. The first five add up to `limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// With a borrower, or kept for one that has been woken.
    pub lent: usize,
    /// Clean and ready.
    pub idle: usize,
    /// Being opened.
    pub opening: usize,
    /// Being cleaned.
    pub cleaning: usize,
    /// Not there.
    pub free: usize,
    /// How many connections there may be.
    pub limit: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Connections lent since the start.
    pub lends: u64,
    /// Callers that had to wait since the start.
    pub waits: u64,
    /// Callers whose acquire timeout passed.
    pub timeouts: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections closed since the start.
    pub closed: u64,
    /// Most connections open at the same time.
    pub most: usize,
}

impl Stats {
    pub(super) fn new(ledger: &Ledger, counters: &Counters) -> Stats {
        Stats {
            lent: ledger.lent,
            idle: ledger.idle,
            opening: ledger.opening,
            cleaning: ledger.cleaning,
            free: ledger.free,
            limit: ledger.limit,
            waiting: ledger.waiting,
            lends: counters.lends,
            waits: counters.waits,
            timeouts: counters.timeouts,
            opened: counters.opened,
            closed: counters.closed,
            most: counters.most,
        }
    }
}
