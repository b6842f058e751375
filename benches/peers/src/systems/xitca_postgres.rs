//! xitca-postgres without a pool: a few clients, whose statements are prepared once, are shared by all tasks, as its "Quick
//! Start" shows it. It too pipelines, each query with a Sync of its own. Two worker threads of tokio.
//!
//! Nothing opens a connection again that is lost: that would be up to the program.

use std::future::IntoFuture;

use xitca_postgres::iter::AsyncLendingIterator;
use xitca_postgres::types::Type;
use xitca_postgres::{Client, Execute, Postgres, Statement};

use super::System;
use super::tokio_tasks::{self, Peer};
use crate::measure::Failure;
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SYSTEM: System = System {
    name: "xitca-postgres",
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
    let peers = runtime.block_on(async {
        let mut peers = Vec::new();
        for _ in 0..load.conns {
            let (client, driver) = Postgres::new(load.url.as_str()).connect().await?;
            tokio::spawn(driver.into_future());
            let select = Statement::named(world::SELECT, &[Type::INT4]).execute(&client).await?.leak();
            peers.push(Shared { client, select });
        }
        Ok::<_, Failure>(peers)
    })?;
    tokio_tasks::select(name, load, &runtime, peers)
}

impl Peer for Shared {
    type Error = Failure;

    async fn ask(&self, id: i32) -> std::result::Result<(i32, i32), Failure> {
        let mut rows = self.select.bind([id]).query(&self.client).await?;
        let row = rows.try_next().await?.ok_or("no row")?;
        let found = (row.try_get(0)?, row.try_get(1)?);
        // As `query_one` of tokio-postgres: to the end.
        match rows.try_next().await? {
            None => Ok(found),
            Some(_) => Err("more than one row".into()),
        }
    }
}
