//! sqlx reads many rows: a stream, or all into a list. Two worker threads.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::FromRow;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::Builder;

use super::System;
use crate::measure::{Sum, pieces};
use crate::report::Report;
use crate::workload::{Load, Workload};
use crate::{Result, events};

pub const SYSTEM: System =
    System { name: "sqlx", workloads: &[Workload::Stream, Workload::StreamCollected], run };

#[derive(FromRow)]
struct Event {
    id: i32,
    name: String,
    at: DateTime<Utc>,
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let pool = runtime.block_on(PgPoolOptions::new().max_connections(1).connect(&load.url))?;
    let pool = Arc::new(pool);
    let streamed = load.workload == Workload::Stream;
    let read = |select| -> Result<Sum> {
        let pool = pool.clone();
        let read =
            async move { if streamed { stream(&pool, select).await } else { collect(&pool, select).await } };
        runtime.block_on(runtime.spawn(read))?
    };
    let peaks = streamed.then(|| events::peaks(read)).transpose()?;
    let (cost, tally) = pieces(load, 1, events::expected(events::ROWS), || read(events::SELECT))?;
    let mut report = Report::new(name, load, cost, vec![tally])?;
    report.peaks = peaks;
    report.print()
}

async fn stream(pool: &PgPool, select: &'static str) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut rows = sqlx::query_as(select).fetch(pool);
    while let Some(Event { id, name, at }) = rows.try_next().await? {
        events::add(&mut sum, id, &name, at);
    }
    Ok(sum)
}

async fn collect(pool: &PgPool, select: &'static str) -> Result<Sum> {
    let mut sum = Sum::default();
    let all: Vec<Event> = sqlx::query_as(select).fetch_all(pool).await?;
    all.iter().for_each(|event| events::add(&mut sum, event.id, &event.name, event.at));
    Ok(sum)
}
