//! deadpool-postgres as its documentation recommends: `prepare_cached`, the fast recycling method, two worker threads.
//!
//! Fast recycling is its default, and asks the server nothing.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use super::System;
use super::tokio_tasks::{self, Peer};
use crate::report::Weight;
use crate::workload::{Load, Workload};
use crate::{Result, process, world};

pub const SYSTEM: System = System {
    name: "deadpool-postgres",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Queries20,
        Workload::Restart,
        Workload::Memory,
    ],
    run,
};

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    match load.workload {
        Workload::Memory => memory(name, load, &runtime),
        _ => tokio_tasks::select(name, load, &runtime, vec![warm_pool(load, &runtime)?]),
    }
}

impl Peer for Pool {
    type Error = PoolError;

    async fn ask(&self, id: i32) -> std::result::Result<(i32, i32), PoolError> {
        ask_on(&self.get().await?, id).await
    }
}

async fn ask_on(client: &Object, id: i32) -> std::result::Result<(i32, i32), PoolError> {
    let statement = client.prepare_cached(world::SELECT).await?;
    let row = client.query_one(&statement, &[&id]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// A pool whose connections are all open.
pub fn open_pool(load: &Load, runtime: &Runtime) -> Result<Pool> {
    let pool = pool(load, load.conns)?;
    runtime.block_on(open(&pool, load.conns))?;
    Ok(pool)
}

fn pool(load: &Load, limit: usize) -> Result<Pool> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(load.url.parse()?, NoTls, config);
    Ok(Pool::builder(manager).max_size(limit).build()?)
}

/// A pool whose connections are all open and know the statement.
pub fn warm_pool(load: &Load, runtime: &Runtime) -> Result<Pool> {
    let pool = pool(load, load.conns)?;
    runtime.block_on(warm(&pool, load.conns))?;
    Ok(pool)
}

async fn open(pool: &Pool, count: usize) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for _ in 0..count {
        objects.push(pool.get().await?);
    }
    Ok(objects)
}

async fn warm(pool: &Pool, count: usize) -> Result<()> {
    for object in &open(pool, count).await? {
        ask_on(object, 1).await?;
    }
    Ok(())
}

fn memory(name: &str, load: &Load, runtime: &Runtime) -> Result<()> {
    let one = pool(load, 1)?;
    let object = runtime.block_on(one.get())?;
    let before = process::resident_bytes()?;
    let waiting: Vec<_> = (0..load.tasks)
        .map(|_| {
            let one = one.clone();
            runtime.spawn(async move { one.get().await.map(drop) })
        })
        .collect();
    wait_until(|| one.status().waiting == load.tasks);
    Weight::print(name, load, "waiting task", load.tasks, before, process::resident_bytes()?)?;
    drop(object);
    for task in waiting {
        runtime.block_on(task)??;
    }

    let many = pool(load, load.conns + 1)?;
    runtime.block_on(warm(&many, 1))?;
    let before = process::resident_bytes()?;
    runtime.block_on(warm(&many, load.conns + 1))?;
    wait_until(|| many.status().available == load.conns + 1);
    Weight::print(name, load, "idle connection", load.conns, before, process::resident_bytes()?)
}

/// Looks again and again, on the main thread.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
