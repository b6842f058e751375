//! sqlx asks for single rows as its documentation shows it: `query_as` on the pool, which keeps statements prepared. Two worker
//! threads.
//!
//! Without the ping before each use, a round trip that is on if nobody says otherwise: the others do not ask the server
//! either. The ping after each use can't be switched off.

use sqlx::postgres::{PgPool, PgPoolOptions};

use super::System;
use super::tokio_tasks::{self, Peer};
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SYSTEM: System = System {
    name: "sqlx",
    workloads: &[Workload::Select, Workload::Latency, Workload::Queries20, Workload::Restart],
    run,
};

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = runtime.block_on(open_pool(load))?;
    tokio_tasks::select(name, load, &runtime, vec![pool])
}

/// A pool whose connections are all open.
pub async fn open_pool(load: &Load) -> Result<PgPool> {
    let limit = u32::try_from(load.conns)?;
    let options = PgPoolOptions::new().max_connections(limit).test_before_acquire(false);
    let pool = options.connect(&load.url).await?;
    let mut connections = Vec::new();
    for _ in 0..limit {
        connections.push(pool.acquire().await?);
    }
    Ok(pool)
}

impl Peer for PgPool {
    type Error = sqlx::Error;

    async fn ask(&self, id: i32) -> sqlx::Result<(i32, i32)> {
        sqlx::query_as(world::SELECT).bind(id).fetch_one(self).await
    }
}
