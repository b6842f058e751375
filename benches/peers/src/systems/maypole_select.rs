//! maypole asks for single rows by a declared select, as its documentation shows it.
//!
//! Three ways: selects of many coroutines share connections in groups with one Sync each (what you get); the same in groups of
//! one, so that each select has a Sync of its own; and a lease for each select.

use may::coroutine::{self, sleep};
use maypole::{Pool, PoolBuilder, Query, Stats, select};

use super::System;
use super::coroutines::{self, measure};
use super::maypole_pool::{DB, use_pool, warm};
use crate::Result;
use crate::measure::{Next, REST, Tally};
use crate::report::Lanes;
use crate::workload::{Load, Workload};

pub const GROUPED: System = System {
    name: "maypole",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Queries20,
        Workload::Restart,
        Workload::Scaling,
        Workload::Mixed60,
        Workload::Mixed200,
    ],
    run: |name, load| run(name, load, Sharing::Groups),
};

pub const UNGROUPED: System = System {
    name: "maypole-ungrouped",
    workloads: &[Workload::Select, Workload::Latency, Workload::Queries20, Workload::Restart],
    run: |name, load| run(name, load, Sharing::OneByOne),
};

pub const LEASE: System = System {
    name: "maypole-lease",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Queries20,
        Workload::Restart,
        Workload::MixedClosed,
        Workload::Mixed60,
        Workload::Mixed200,
    ],
    run: |name, load| run(name, load, Sharing::Nothing),
};

#[select(DB, "SELECT id, randomnumber FROM world WHERE id = :id")]
fn world_by_id(id: i32) -> Query<(i32, i32)>;

#[select(DB, "SELECT 1 FROM pg_sleep(0.02)")]
fn nap() -> Query<i32>;

const WARM: i32 = 100;

/// What selects of different coroutines share.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sharing {
    /// A connection and a Sync.
    Groups,
    /// A connection.
    OneByOne,
    Nothing,
}

impl Sharing {
    /// The pool that does so.
    fn set(self, pool: PoolBuilder) -> PoolBuilder {
        match self {
            Sharing::Groups => pool,
            Sharing::OneByOne => pool.largest_group(1),
            Sharing::Nothing => pool.lanes(0),
        }
    }

    /// Whether this is what it looks like; a select that was sent again has been in two groups.
    fn is_that_of(self, groups: u64, selects: u64) -> bool {
        match self {
            Sharing::Groups => selects > 0,
            Sharing::OneByOne => groups >= selects && selects > 0,
            Sharing::Nothing => groups == 0,
        }
    }
}

fn run(name: &str, load: &Load, sharing: Sharing) -> Result<()> {
    coroutines::configure(load);
    // All tasks may wait.
    let most = load.tasks.max(8_192);
    let builder = Pool::builder().url(&load.url)?.limit(load.conns).max_waiting(most);
    let pool = sharing.set(builder).build()?;
    warm(&pool, load.conns)?;
    use_pool(pool.clone())?;
    // How long the declared one takes is known from then on, as the statement is on the connections of the others.
    for id in 1..=WARM {
        world_by_id(id).unique()?;
    }
    let selects = load.selects();
    let mut report = match load.workload {
        Workload::MixedClosed => measure(name, load, mixed_closed),
        Workload::Mixed60 | Workload::Mixed200 => measure(name, load, mixed),
        _ => measure(name, load, move |tally| ask_for_rows(tally, selects)),
    }?;
    let Stats { groups, selects, sent_again, run_alone, .. } = pool.stats();
    report.lanes = Some(Lanes { groups, selects, sent_again, run_alone });
    if !sharing.is_that_of(groups, selects) {
        eprintln!(
            "peers: {name} has sent {selects} selects in {groups} groups: that is not what its name says"
        );
        report.void();
    }
    report.print()
}

fn ask_for_rows(tally: &mut Tally, selects: usize) {
    let mut first = tally.first_of(selects);
    while tally.goes_on() {
        let mut right = true;
        for _ in std::mem::take(&mut first)..selects {
            let id = tally.id();
            right = tally.is_right(id, world_by_id(id).unique());
            if !right {
                break;
            }
        }
        if right {
            tally.done();
        } else {
            sleep(REST);
        }
    }
}

/// Selects, some of them slow, as fast as they are answered.
fn mixed_closed(tally: &mut Tally) {
    while tally.goes_on() {
        if ask_mixed(tally.is_slow(), tally) {
            tally.done();
        } else {
            sleep(REST);
        }
    }
}

/// The same when they are due.
fn mixed(tally: &mut Tally) {
    let me = coroutine::current();
    tally.wakes_by(move || me.unpark());
    loop {
        match tally.arrival() {
            Next::Over => return,
            Next::Wait => coroutine::park(),
            Next::Due(arrival) => {
                if ask_mixed(arrival.slow, tally) {
                    tally.settled_arrival(arrival);
                }
            }
        }
    }
}

/// Whether the answer was right.
fn ask_mixed(slow: bool, tally: &mut Tally) -> bool {
    if slow {
        return tally.is_awake(nap().value());
    }
    let id = tally.id();
    tally.is_right(id, world_by_id(id).unique())
}
