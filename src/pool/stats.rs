//! Figures of a pool. Uses: core.

use std::time::Duration;

use super::core::{Cause, Counters, Ledger};

/// Where the connections of a pool are, and what it has done. The first six add up to `limit`, except that after the limit was
/// lowered more may be in use until they come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// With a borrower, or kept for one that has been woken.
    pub lent: usize,
    /// With a group of selects that share it, or about to take one.
    pub lanes: usize,
    /// Clean and ready.
    pub idle: usize,
    /// Being opened.
    pub opening: usize,
    /// Being cleaned, or asked for a sign of life.
    pub cleaning: usize,
    /// Not there.
    pub free: usize,
    /// How many connections there may be.
    pub limit: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// For how long the first in the queue has waited.
    pub oldest_wait: Option<Duration>,
    /// Connections lent since the start.
    pub lends: u64,
    /// Callers that had to wait since the start.
    pub waits: u64,
    /// Callers whose acquire timeout passed.
    pub timeouts: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Attempts to open one that failed.
    pub failed: u64,
    /// Connections closed since the start.
    pub closed: u64,
    /// The same by what closed them.
    pub closes: Closes,
    /// Leases that were reported because they were held for longer than the leak warning allows.
    pub leaks: u64,
    /// Most connections open at the same time.
    pub most: usize,
    /// Groups of selects sent since the start: one round trip for each.
    pub groups: u64,
    /// Selects that travelled in them.
    pub selects: u64,
    /// Those of them that were sent once more, because one before them failed or their connection was lost.
    pub sent_again: u64,
    /// Those of them that were run again on a connection of their own.
    pub run_alone: u64,
}

/// Connections that were closed, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closes {
    /// Lost, or in doubt about what the session would say next.
    pub broken: u64,
    /// Could not be brought back to idle within the clean-up timeout.
    pub unclean: u64,
    /// At the end of their lifetime.
    pub lifetime: u64,
    /// Not used for the idle timeout.
    pub idle: u64,
    /// By [`clear`](crate::Pool::clear), or because the server shut down or was demoted.
    pub cleared: u64,
    /// Because the limit was lowered.
    pub surplus: u64,
    /// Their leases were held for longer than `max_hold`.
    pub revoked: u64,
    /// With the pool.
    pub with_pool: u64,
}

impl Stats {
    pub(super) fn new(
        ledger: &Ledger,
        counters: &Counters,
        oldest_wait: Option<Duration>,
        run_alone: u64,
    ) -> Stats {
        let closed = |cause: Cause| counters.closed[cause as usize];
        Stats {
            lent: ledger.lent,
            lanes: ledger.lanes,
            idle: ledger.idle,
            opening: ledger.opening,
            cleaning: ledger.cleaning,
            free: ledger.free,
            limit: ledger.limit,
            waiting: ledger.waiting,
            oldest_wait,
            lends: counters.lends,
            waits: counters.waits,
            timeouts: counters.timeouts,
            opened: counters.opened,
            failed: counters.failed,
            closed: counters.closed.iter().sum(),
            closes: Closes {
                broken: closed(Cause::Broken),
                unclean: closed(Cause::Unclean),
                lifetime: closed(Cause::Lifetime),
                idle: closed(Cause::Idle),
                cleared: closed(Cause::Cleared),
                surplus: closed(Cause::Surplus),
                revoked: closed(Cause::Revoked),
                with_pool: closed(Cause::Closed),
            },
            leaks: counters.leaks,
            most: counters.most,
            groups: counters.groups,
            selects: counters.selects,
            sent_again: counters.again,
            run_alone,
        }
    }
}
