//! tokio-postgres reads many rows: a stream, or all into a list. Two worker threads.

use std::iter;
use std::pin::pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use tokio::runtime::Builder;
use tokio_postgres::{Client, NoTls, Row};

use super::System;
use crate::measure::{Sum, pieces};
use crate::report::Report;
use crate::workload::{Load, Workload};
use crate::{Result, events};

pub const SYSTEM: System =
    System { name: "tokio-postgres", workloads: &[Workload::Stream, Workload::StreamCollected], run };

struct Event {
    id: i32,
    name: String,
    at: DateTime<Utc>,
}

impl Event {
    fn of(row: &Row) -> Result<Event> {
        Ok(Event { id: row.try_get(0)?, name: row.try_get(1)?, at: row.try_get(2)? })
    }
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&load.url, NoTls))?;
    runtime.spawn(connection);
    let client = Arc::new(client);
    let streamed = load.workload == Workload::Stream;
    let read = |select| -> Result<Sum> {
        let client = client.clone();
        let read = async move {
            if streamed { stream(&client, select).await } else { collect(&client, select).await }
        };
        runtime.block_on(runtime.spawn(read))?
    };
    let peaks = streamed.then(|| events::peaks(read)).transpose()?;
    let (cost, tally) = pieces(load, 1, events::expected(events::ROWS), || read(events::SELECT))?;
    let mut report = Report::new(name, load, cost, vec![tally])?;
    report.peaks = peaks;
    report.print()
}

async fn stream(client: &Client, select: &'static str) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut rows = pin!(client.query_raw(select, iter::empty::<i32>()).await?);
    while let Some(row) = rows.try_next().await? {
        let Event { id, name, at } = Event::of(&row)?;
        events::add(&mut sum, id, &name, at);
    }
    Ok(sum)
}

async fn collect(client: &Client, select: &'static str) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut all = Vec::new();
    let mut rows = pin!(client.query_raw(select, iter::empty::<i32>()).await?);
    while let Some(row) = rows.try_next().await? {
        all.push(Event::of(&row)?);
    }
    all.iter().for_each(|event| events::add(&mut sum, event.id, &event.name, event.at));
    Ok(sum)
}
