//! The systems that are measured, one file each.

mod bare_pools;
mod deadpool_postgres;
mod deadpool_transactions;
mod floor_blocking;
mod floor_coroutines;
mod maypole_declared;
mod maypole_lease;
mod maypole_mapping;
mod maypole_rows;
mod maypole_transactions;
mod pgbench;
mod r2d2_postgres;
mod sqlx;
mod sqlx_transactions;
mod tokio_postgres;
mod tokio_tasks;

use crate::Result;
use crate::arguments::Arguments;
use crate::workload::{Load, Workload};

/// Something that is measured; one name may stand for several of them, each for other workloads.
pub struct System {
    pub name: &'static str,
    /// What it can be measured on.
    pub workloads: &'static [Workload],
    /// Measures, and prints what it found.
    run: fn(&'static str, &Load) -> Result<()>,
}

/// The first of a workload is the one that the others are compared with.
pub const ALL: [System; 23] = [
    maypole_lease::SYSTEM,
    bare_pools::DEADPOOL,
    bare_pools::BB8,
    deadpool_postgres::SYSTEM,
    floor_coroutines::SYSTEM,
    floor_blocking::SYSTEM,
    maypole_declared::SESSION,
    maypole_declared::DECLARED,
    maypole_declared::SESSION_POOL,
    maypole_declared::DECLARED_POOL,
    maypole_mapping::BY_HAND,
    maypole_mapping::DERIVE,
    maypole_mapping::NOTHING,
    maypole_rows::SYSTEM,
    tokio_postgres::SYSTEM,
    sqlx::SYSTEM,
    maypole_transactions::ALONG,
    maypole_transactions::WAITING,
    deadpool_transactions::SYSTEM,
    deadpool_transactions::PIPELINED,
    sqlx_transactions::SYSTEM,
    r2d2_postgres::SYSTEM,
    pgbench::SYSTEM,
];

/// Measures one system in this process.
pub fn run(name: &str, arguments: &Arguments) -> Result<bool> {
    let workload = arguments.workload;
    let system = ALL.iter().find(|system| system.name == name && system.workloads.contains(&workload));
    let system = system.ok_or_else(|| format!("no system {name} does {}", workload.name()))?;
    (system.run)(system.name, &Load::new(arguments)?)?;
    Ok(true)
}
