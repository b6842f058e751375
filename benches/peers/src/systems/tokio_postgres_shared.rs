//! tokio-postgres without a pool: a few clients, whose statements are prepared once, are shared by all tasks. It pipelines
//! what comes while an answer is outstanding, each query with a Sync of its own (its documentation, "Pipelining"). Two worker
//! threads.
//!
//! Nothing opens a connection again that is lost: that would be up to the program.

use tokio_postgres::{Client, NoTls, Statement};

use super::System;
use super::tokio_tasks::{self, Peer};
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SYSTEM: System = System {
    name: "tokio-postgres",
    workloads: &[Workload::Select, Workload::Latency, Workload::Queries20, Workload::Restart],
    run,
};

struct Shared {
    client: Client,
    select: Statement,
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let load = &load.of_shared();
    let runtime = tokio_tasks::runtime()?;
    let mut peers = Vec::new();
    for _ in 0..load.conns {
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&load.url, NoTls))?;
        runtime.spawn(connection);
        let select = runtime.block_on(client.prepare(world::SELECT))?;
        peers.push(Shared { client, select });
    }
    tokio_tasks::select(name, load, &runtime, peers)
}

impl Peer for Shared {
    type Error = tokio_postgres::Error;

    async fn ask(&self, id: i32) -> std::result::Result<(i32, i32), tokio_postgres::Error> {
        let row = self.client.query_one(&self.select, &[&id]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }
}
