//! deadpool-postgres, as in [`super::deadpool_postgres`], where one of a thousand selects takes 20 ms and all come at a fixed
//! rate.

use std::sync::Arc;

use deadpool_postgres::{Pool, PoolError};
use tokio::sync::Notify;

use super::System;
use super::deadpool_postgres::warm_pool;
use super::tokio_tasks::{self, Peer, measure};
use crate::Result;
use crate::measure::{Next, Tally};
use crate::workload::{Load, Workload};

pub const SYSTEM: System =
    System { name: "deadpool-postgres", workloads: &[Workload::Mixed60, Workload::Mixed200], run };

const NAP: &str = "SELECT 1 FROM pg_sleep(0.02)";

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = warm_pool(load, &runtime)?;
    measure(name, load, &runtime, |tally| mixed(pool.clone(), tally))
}

async fn mixed(pool: Pool, mut tally: Tally) -> Tally {
    let bell = Arc::new(Notify::new());
    let mine = bell.clone();
    tally.wakes_by(move || mine.notify_one());
    loop {
        match tally.arrival() {
            Next::Over => return tally,
            Next::Wait => bell.notified().await,
            Next::Due(arrival) => {
                let right = if arrival.slow {
                    let answer = nap(&pool).await;
                    tally.is_awake(answer)
                } else {
                    let id = tally.id();
                    let answer = pool.ask(id).await;
                    tally.is_right(id, answer)
                };
                if right {
                    tally.settled_arrival(arrival);
                }
            }
        }
    }
}

async fn nap(pool: &Pool) -> std::result::Result<i32, PoolError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(NAP).await?;
    Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
}
