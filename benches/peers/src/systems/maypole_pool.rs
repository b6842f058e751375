//! maypole's pool: borrowing without a query, and what waiting and idle connections weigh. And what all of maypole that is
//! measured has in common: a pool, and a database that is made of it.

use std::sync::{LazyLock, OnceLock};

use may::coroutine::yield_now;
use maypole::{Database, Lease, Pool};

use super::System;
use super::coroutines::{configure, measure, wait_until};
use crate::report::Weight;
use crate::workload::{BATCH, Load, Workload};
use crate::{Result, process, world};

pub const SYSTEM: System = System {
    name: "maypole",
    workloads: &[Workload::Borrow, Workload::BorrowContended, Workload::Memory],
    run,
};

/// Set before anything is measured.
static POOL: OnceLock<Pool> = OnceLock::new();

/// There is no settings file here: the database is made of the pool.
pub static DB: LazyLock<Database> = LazyLock::new(|| Database::from(POOL.wait().clone()));

/// Makes it the pool of the database.
pub fn use_pool(pool: Pool) -> Result<()> {
    POOL.set(pool).map_err(|_| "the database is made twice")?;
    LazyLock::force(&DB);
    Ok(())
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    configure(load);
    match load.workload {
        Workload::Borrow => borrow(name, load),
        Workload::BorrowContended => borrow_contended(name, load),
        Workload::Memory => memory(name, load),
        other => Err(format!("{name} does not do {}", other.name()).into()),
    }
}

fn borrow(name: &str, load: &Load) -> Result<()> {
    let pool = warm_pool(load)?;
    measure(name, load, move |tally| {
        while tally.goes_on() {
            for _ in 0..BATCH {
                if let Err(error) = pool.connection() {
                    return tally.fail(error);
                }
            }
            tally.done_many(BATCH);
            yield_now();
        }
    })?
    .print()
}

fn borrow_contended(name: &str, load: &Load) -> Result<()> {
    let pool = warm_pool(load)?;
    measure(name, load, move |tally| {
        while tally.goes_on() {
            match pool.connection() {
                Ok(lease) => {
                    yield_now();
                    drop(lease);
                    tally.done();
                }
                Err(error) => tally.fail(error),
            }
        }
    })?
    .print()
}

pub fn pool(load: &Load, limit: usize) -> Result<Pool> {
    Ok(Pool::builder().url(&load.url)?.limit(limit).build()?)
}

/// A pool whose connections are all open and know the statement.
fn warm_pool(load: &Load) -> Result<Pool> {
    let pool = pool(load, load.conns)?;
    warm(&pool, load.conns)?;
    Ok(pool)
}

/// So many connections of it, all open.
pub fn open(pool: &Pool, count: usize) -> Result<Vec<Lease>> {
    Ok((0..count).map(|_| pool.connection()).collect::<maypole::Result<_>>()?)
}

pub fn warm(pool: &Pool, count: usize) -> Result<()> {
    for lease in &open(pool, count)? {
        lease.query(world::SELECT, (1,)).unique::<(i32, i32)>()?;
    }
    Ok(())
}

fn memory(name: &str, load: &Load) -> Result<()> {
    let one = pool(load, 1)?;
    let lease = one.connection()?;
    // What the first of a kind needs is not counted.
    maypole::spawn(|| ()).join().map_err(|_| "a coroutine panicked")?;
    let before = process::resident_bytes()?;
    let waiting: Vec<_> = (0..load.tasks)
        .map(|_| {
            let one = one.clone();
            maypole::spawn(move || one.connection_within(None).map(drop))
        })
        .collect();
    wait_until(|| one.stats().waiting == load.tasks);
    Weight::print(name, load, "waiting task", load.tasks, before, process::resident_bytes()?)?;
    drop(lease);
    for task in waiting {
        task.join().map_err(|_| "a coroutine panicked")??;
    }

    let many = pool(load, load.conns + 1)?;
    warm(&many, 1)?;
    let before = process::resident_bytes()?;
    warm(&many, load.conns + 1)?;
    wait_until(|| many.stats().idle == load.conns + 1);
    Weight::print(name, load, "idle connection", load.conns, before, process::resident_bytes()?)
}
