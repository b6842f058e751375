//! The systems that are measured, one file each.

mod deadpool_postgres;
mod floor_blocking;
mod floor_coroutines;
mod maypole_declared;
mod maypole_lease;
mod maypole_mapping;
mod maypole_rows;
mod sqlx;
mod tokio_postgres;

use crate::Result;
use crate::arguments::Arguments;
use crate::workload::{Load, Workload};

/// Something that is measured.
pub struct System {
    pub name: &'static str,
    /// What it can be measured on.
    pub workloads: &'static [Workload],
    /// Measures, and prints what it found.
    run: fn(&'static str, &Load) -> Result<()>,
}

/// The first of a workload is the one that the others are compared with.
pub const ALL: [System; 14] = [
    maypole_lease::SYSTEM,
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
];

/// Measures one system in this process.
pub fn run(name: &str, arguments: &Arguments) -> Result<bool> {
    let system = ALL.into_iter().find(|system| system.name == name);
    let system = system.ok_or_else(|| format!("{name}: no such system"))?;
    if !system.workloads.contains(&arguments.workload) {
        return Err(format!("{name} does not do {}", arguments.workload.name()).into());
    }
    (system.run)(system.name, &Load::new(arguments)?)?;
    Ok(true)
}
