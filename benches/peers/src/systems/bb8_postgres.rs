//! bb8 with bb8-postgres. Its statements are prepared once for each connection and kept beside the client, as its example
//! `custom_state` does; two worker threads.
//!
//! Without the test before each use, a round trip that is on if nobody says otherwise: the others do not ask the server
//! either. Whether the client has seen its connection break is looked at all the same.

use bb8::{ManageConnection, Pool, RunError};
use bb8_postgres::PostgresConnectionManager;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use super::System;
use super::tokio_tasks::{self, Peer};
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SYSTEM: System = System {
    name: "bb8-postgres",
    workloads: &[Workload::Select, Workload::Latency, Workload::Queries20, Workload::Restart],
    run,
};

type Error = tokio_postgres::Error;

/// A client and what was prepared on it.
struct Session {
    client: Client,
    select: Statement,
}

struct Manager(PostgresConnectionManager<NoTls>);

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = Error;

    async fn connect(&self) -> std::result::Result<Session, Error> {
        let client = self.0.connect().await?;
        let select = client.prepare(world::SELECT).await?;
        Ok(Session { client, select })
    }

    async fn is_valid(&self, session: &mut Session) -> std::result::Result<(), Error> {
        self.0.is_valid(&mut session.client).await
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        self.0.has_broken(&mut session.client)
    }
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = open_pool(load, &runtime)?;
    tokio_tasks::select(name, load, &runtime, vec![pool])
}

/// A pool whose connections are all open.
fn open_pool(load: &Load, runtime: &Runtime) -> Result<Pool<Manager>> {
    let manager = Manager(PostgresConnectionManager::new(load.url.parse()?, NoTls));
    let limit = u32::try_from(load.conns)?;
    let builder = Pool::builder().max_size(limit).min_idle(limit).test_on_check_out(false);
    // It opens as many as shall be idle before it returns.
    Ok(runtime.block_on(builder.build(manager))?)
}

impl Peer for Pool<Manager> {
    type Error = RunError<Error>;

    async fn ask(&self, id: i32) -> std::result::Result<(i32, i32), RunError<Error>> {
        let session = self.get().await?;
        let row = session.client.query_one(&session.select, &[&id]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }
}
