//! The figures of a pool where anybody can read them without its lock. Uses: core, stats.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::core::{Cause, Core, Counters, Ledger};
use super::stats::Stats;

/// Written by whoever holds the pool's lock, so there is one writer at a time and every value is one that was.
///
/// The places of the connections are one word, because they belong together: 12 bits for each, which is why a pool has at
/// most 4,095.
pub(super) struct Gauges {
    places: AtomicU64,
    limit: AtomicUsize,
    waiting: AtomicUsize,
    /// When the oldest waiter joined, in nanoseconds since `start`; 0 if nobody waits.
    oldest: AtomicU64,
    lends: AtomicU64,
    waits: AtomicU64,
    timeouts: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    closed: [AtomicU64; Cause::ALL.len()],
    leaks: AtomicU64,
    most: AtomicUsize,
    groups: AtomicU64,
    selects: AtomicU64,
    again: AtomicU64,
    /// Selects that were run alone after all. Written by whoever did.
    alone: AtomicU64,
    start: Instant,
}

impl Gauges {
    pub(super) fn new() -> Gauges {
        let zero = || AtomicU64::new(0);
        Gauges {
            places: zero(),
            limit: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            oldest: zero(),
            lends: zero(),
            waits: zero(),
            timeouts: zero(),
            opened: zero(),
            failed: zero(),
            closed: Default::default(),
            leaks: zero(),
            most: AtomicUsize::new(0),
            groups: zero(),
            selects: zero(),
            again: zero(),
            alone: zero(),
            start: Instant::now(),
        }
    }

    /// A connection was lent or came back, and nothing else has happened.
    #[inline]
    pub(super) fn moved<C: Clone, W, F: Clone>(&self, core: &Core<C, W, F>) {
        self.places.store(pack(&core.ledger()), Ordering::Relaxed);
        self.lends.store(core.counters().lends, Ordering::Relaxed);
    }

    /// A select is run on a connection of its own after all.
    #[cold]
    pub(super) fn ran_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody has joined a queue in which others wait, and nothing else has happened.
    #[inline]
    pub(super) fn joined<C: Clone, W, F: Clone>(&self, core: &Core<C, W, F>) {
        let ledger = core.ledger();
        self.places.store(pack(&ledger), Ordering::Relaxed);
        self.waiting.store(ledger.waiting, Ordering::Relaxed);
        self.waits.store(core.counters().waits, Ordering::Relaxed);
    }

    /// Selects have boarded, in so many groups.
    #[inline]
    pub(super) fn boarded<C: Clone, W, F: Clone>(&self, core: &Core<C, W, F>, groups: usize) {
        let (ledger, counters) = (core.ledger(), core.counters());
        self.places.store(pack(&ledger), Ordering::Relaxed);
        self.waiting.store(ledger.waiting, Ordering::Relaxed);
        self.groups.fetch_add(groups as u64, Ordering::Relaxed);
        self.selects.store(counters.selects, Ordering::Relaxed);
    }

    /// Anything may have happened.
    pub(super) fn publish<C: Clone, W, F: Clone>(&self, core: &Core<C, W, F>) {
        let ledger = core.ledger();
        self.places.store(pack(&ledger), Ordering::Relaxed);
        self.limit.store(ledger.limit, Ordering::Relaxed);
        self.waiting.store(ledger.waiting, Ordering::Relaxed);
        let since = |joined: Instant| joined.saturating_duration_since(self.start).as_nanos();
        let oldest =
            core.oldest_joined().map_or(0, |joined| u64::try_from(since(joined)).unwrap_or(u64::MAX).max(1));
        self.oldest.store(oldest, Ordering::Relaxed);
        let Counters {
            lends,
            waits,
            timeouts,
            opened,
            failed,
            closed,
            leaks,
            most,
            selects,
            again,
            groups: _,
            cut: _,
        } = *core.counters();
        self.lends.store(lends, Ordering::Relaxed);
        self.waits.store(waits, Ordering::Relaxed);
        self.timeouts.store(timeouts, Ordering::Relaxed);
        self.opened.store(opened, Ordering::Relaxed);
        self.failed.store(failed, Ordering::Relaxed);
        for (gauge, closed) in self.closed.iter().zip(closed) {
            gauge.store(closed, Ordering::Relaxed);
        }
        self.leaks.store(leaks, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
        self.selects.store(selects, Ordering::Relaxed);
        self.again.store(again, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let [lent, lanes, idle, opening, cleaning] = unpack(read(&self.places));
        let limit = self.limit.load(Ordering::Relaxed);
        let ledger = Ledger {
            lent,
            lanes,
            idle,
            opening,
            cleaning,
            free: limit.saturating_sub(lent + lanes + idle + opening + cleaning),
            limit,
            waiting: self.waiting.load(Ordering::Relaxed),
        };
        let counters = Counters {
            lends: read(&self.lends),
            waits: read(&self.waits),
            timeouts: read(&self.timeouts),
            opened: read(&self.opened),
            failed: read(&self.failed),
            closed: self.closed.each_ref().map(read),
            leaks: read(&self.leaks),
            cut: 0,
            most: self.most.load(Ordering::Relaxed),
            groups: read(&self.groups),
            selects: read(&self.selects),
            again: read(&self.again),
        };
        let oldest = match read(&self.oldest) {
            0 => None,
            joined => {
                let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                Some(std::time::Duration::from_nanos(now.saturating_sub(joined)))
            }
        };
        Stats::new(&ledger, &counters, oldest, read(&self.alone))
    }
}

fn pack(ledger: &Ledger) -> u64 {
    let Ledger { lent, lanes, idle, opening, cleaning, .. } = *ledger;
    [lent, lanes, idle, opening, cleaning].into_iter().fold(0, |word, count| word << 12 | count as u64)
}

fn unpack(word: u64) -> [usize; 5] {
    [48, 36, 24, 12, 0].map(|shift| usize::from((word >> shift & 0xfff) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_places_fit_one_word() {
        let ledger =
            Ledger { lent: 4_095, lanes: 7, idle: 1, opening: 0, cleaning: 300, ..Ledger::default() };
        assert_eq!(unpack(pack(&ledger)), [4_095, 7, 1, 0, 300]);
    }
}
