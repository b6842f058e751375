//! maypole with a lease for each query: as its documentation shows, on two workers that are not pinned.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use may::coroutine::yield_now;
use may::sync::SyncFlag;
use maypole::{Database, JoinHandle, Lease, Pool};

use super::System;
use crate::meter::Tally;
use crate::report::{Report, Weight};
use crate::workload::{BATCH, Load, Workload};
use crate::{Result, process, world};

pub const SYSTEM: System = System {
    name: "maypole-lease",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Borrow,
        Workload::BorrowContended,
        Workload::Memory,
    ],
    run,
};

fn run(name: &'static str, load: &Load) -> Result<()> {
    configure(load);
    match load.workload {
        Workload::Select | Workload::Latency => select(name, load),
        Workload::Borrow => borrow(name, load),
        Workload::BorrowContended => borrow_contended(name, load),
        Workload::Memory => memory(name, load),
        other => Err(format!("{name} does not do {}", other.name()).into()),
    }
}

/// Two workers, as the peers have. One where instructions are counted, so that chance does not decide who does what.
pub fn configure(load: &Load) {
    let workers = if load.operations.is_some() { 1 } else { 2 };
    may::config().set_workers(workers).set_worker_pin(false);
}

fn select(name: &str, load: &Load) -> Result<()> {
    let database = Arc::new(Database::from(warm_pool(load)?));
    measure(name, load, move |tally| {
        while let Some(id) = tally.next_id() {
            tally.answered(id, database.query(world::SELECT, (id,)).unique::<(i32, i32)>());
        }
    })?
    .print()
}

fn borrow(name: &str, load: &Load) -> Result<()> {
    let pool = warm_pool(load)?;
    measure(name, load, move |tally| {
        while tally.goes_on() {
            for _ in 0..BATCH {
                if let Err(error) = pool.connection() {
                    return tally.fail(&error);
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
                Err(error) => tally.fail(&error),
            }
        }
    })?
    .print()
}

/// Runs the work in each coroutine; what came of it.
///
/// All begin together, released by one of them: a worker of may looks for new coroutines only when it has no others left,
/// so those that yield in a loop would keep the rest from ever starting.
pub fn measure(
    name: &str,
    load: &Load,
    work: impl Fn(&mut Tally) + Clone + Send + 'static,
) -> Result<Report> {
    let window = load.window();
    let gate = Arc::new((AtomicUsize::new(0), SyncFlag::new()));
    let tasks: Vec<JoinHandle<Tally>> = (0..load.tasks)
        .map(|task| {
            let (work, gate, seed) = (work.clone(), gate.clone(), load.seed(task));
            maypole::spawn(move || {
                gate.0.fetch_add(1, Ordering::Relaxed);
                gate.1.wait();
                let mut tally = Tally::new(window, seed);
                work(&mut tally);
                tally
            })
        })
        .collect();
    wait_until(|| gate.0.load(Ordering::Relaxed) == load.tasks);
    maypole::spawn(move || gate.1.fire()).join().map_err(|_| "the gate does not open")?;
    let cost = window.watch()?;
    let tallies = tasks.into_iter().map(|task| task.join().map_err(|_| "a coroutine panicked"));
    Report::new(name, load, cost, tallies.collect::<std::result::Result<_, _>>()?)
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

fn warm(pool: &Pool, count: usize) -> Result<()> {
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

/// Looks again and again, on the main thread.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}
