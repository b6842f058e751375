//! maypole asks for single rows by a declared select, as its documentation shows it.
//!
//! Three ways: selects of many coroutines share connections in groups with one Sync each (what you get); the same in groups of
//! one, so that each select has a Sync of its own; and a lease for each select.

use may::coroutine::sleep;
use maypole::{Pool, PoolBuilder, Query, select};

use super::System;
use super::coroutines::{self, measure};
use super::maypole_pool::{DB, use_pool, warm};
use crate::Result;
use crate::measure::{REST, Tally};
use crate::workload::{Load, Workload};

pub const GROUPED: System = System {
    name: "maypole",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Queries20,
        Workload::Restart,
        Workload::Scaling,
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
    workloads: &[Workload::Select, Workload::Latency, Workload::Queries20, Workload::Restart],
    run: |name, load| run(name, load, Sharing::Nothing),
};

#[select(DB, "SELECT id, randomnumber FROM world WHERE id = :id")]
pub fn world_by_id(id: i32) -> Query<(i32, i32)>;

/// What selects of different coroutines share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sharing {
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
            Sharing::OneByOne => pool,
            Sharing::Nothing => pool,
        }
    }
}

fn run(name: &str, load: &Load, sharing: Sharing) -> Result<()> {
    coroutines::configure(load);
    open_pool(load, sharing)?;
    let selects = load.selects();
    measure(name, load, move |tally| ask_for_rows(tally, selects))?.print()
}

/// The pool of the database, whose connections are all open.
pub fn open_pool(load: &Load, sharing: Sharing) -> Result<()> {
    // All tasks may wait.
    let most = load.tasks.max(8_192);
    let builder = Pool::builder().url(&load.url)?.limit(load.conns).max_waiting(most);
    let pool = sharing.set(builder).build()?;
    warm(&pool, load.conns)?;
    use_pool(pool)
}

fn ask_for_rows(tally: &mut Tally, selects: usize) {
    while tally.goes_on() {
        let mut right = true;
        for _ in 0..selects {
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
