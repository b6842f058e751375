//! maypole reads many rows: a stream, or all into a list.

use chrono::{DateTime, Utc};
use maypole::{FromRow, Lease};

use super::maypole_pool::pool;
use super::{System, coroutines};
use crate::measure::{Cost, Sum, Tally, pieces};
use crate::report::Report;
use crate::workload::{Load, Workload};
use crate::{Result, events};

pub const SYSTEM: System =
    System { name: "maypole", workloads: &[Workload::Stream, Workload::StreamCollected], run };

#[derive(FromRow)]
struct Event {
    id: i32,
    name: String,
    at: DateTime<Utc>,
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    coroutines::configure(load);
    let lease = pool(load, 1)?.connection()?;
    let read = if load.workload == Workload::Stream { stream } else { collect };
    let load = load.clone();
    let task = maypole::spawn(move || -> Result<(Load, Cost, Tally)> {
        let (cost, tally) = pieces(&load, 1, events::expected(), || read(&lease))?;
        Ok((load, cost, tally))
    });
    let (load, cost, tally) = task.join().map_err(|_| "the coroutine panicked")??;
    Report::new(name, &load, cost, vec![tally])?.print()
}

fn stream(lease: &Lease) -> Result<Sum> {
    let mut sum = Sum::default();
    for event in lease.query(events::SELECT, ()).iter::<Event>() {
        let Event { id, name, at } = event?;
        events::add(&mut sum, id, &name, at);
    }
    Ok(sum)
}

fn collect(lease: &Lease) -> Result<Sum> {
    let mut sum = Sum::default();
    let all: Vec<Event> = lease.query(events::SELECT, ()).rows()?;
    all.iter().for_each(|event| events::add(&mut sum, event.id, &event.name, event.at));
    Ok(sum)
}
