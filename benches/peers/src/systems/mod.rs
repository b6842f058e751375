//! The systems that are measured, one file each.

mod bare_pools;
mod bb8_postgres;
mod bulk_writers;
mod coroutines;
mod deadpool_mixed;
mod deadpool_postgres;
mod deadpool_transactions;
mod floor;
mod floor_blocking;
mod floor_coroutines;
mod maypole_declared;
mod maypole_mapping;
mod maypole_pool;
mod maypole_rows;
mod maypole_select;
mod maypole_transactions;
mod pgbench;
mod r2d2_postgres;
mod sqlx_rows;
mod sqlx_select;
mod sqlx_transactions;
mod threads;
mod tokio_postgres_rows;
mod tokio_postgres_shared;
mod tokio_tasks;
mod xitca_postgres;

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
pub const ALL: &[System] = &[
    maypole_select::GROUPED,
    maypole_select::UNGROUPED,
    maypole_select::LEASE,
    maypole_pool::SYSTEM,
    maypole_rows::SYSTEM,
    maypole_transactions::ALONG,
    maypole_transactions::WAITING,
    bulk_writers::MAYPOLE_UNNEST,
    bulk_writers::MAYPOLE_PIPELINED,
    bulk_writers::TOKIO_POSTGRES_COPY,
    bulk_writers::TOKIO_POSTGRES_UNNEST,
    bulk_writers::SQLX_UNNEST,
    bare_pools::DEADPOOL,
    bare_pools::BB8,
    deadpool_postgres::SYSTEM,
    deadpool_mixed::SYSTEM,
    deadpool_transactions::SYSTEM,
    deadpool_transactions::PIPELINED,
    bb8_postgres::SYSTEM,
    sqlx_select::SYSTEM,
    sqlx_rows::SYSTEM,
    sqlx_transactions::SYSTEM,
    r2d2_postgres::SYSTEM,
    tokio_postgres_shared::SYSTEM,
    tokio_postgres_rows::SYSTEM,
    xitca_postgres::SYSTEM,
    floor::SYSTEM,
    floor_coroutines::SYSTEM,
    floor_blocking::SYSTEM,
    pgbench::SYSTEM,
    maypole_declared::SESSION,
    maypole_declared::DECLARED,
    maypole_declared::SESSION_POOL,
    maypole_declared::DECLARED_POOL,
    maypole_mapping::BY_HAND,
    maypole_mapping::DERIVE,
    maypole_mapping::NOTHING,
];

/// Measures one system in this process.
pub fn run(name: &str, arguments: &Arguments) -> Result<bool> {
    let &[workload] = arguments.workloads.as_slice() else { return Err("a child does one workload".into()) };
    let system = ALL.iter().find(|system| system.name == name && system.workloads.contains(&workload));
    let system = system.ok_or_else(|| format!("no system {name} does {}", workload.name()))?;
    (system.run)(system.name, &Load::new(workload, arguments)?)?;
    Ok(true)
}
