//! maypole reads many rows: a stream, or all into a list.

use chrono::{DateTime, Utc};
use maypole::{FromRow, Lease};

use super::maypole_pool::pool;
use super::{System, coroutines};
use crate::measure::{Cost, Sum, Tally, pieces};
use crate::report::{Peaks, Report};
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
    let streamed = load.workload == Workload::Stream;
    let read = if streamed { stream } else { collect };
    let load = load.clone();
    let task = maypole::spawn(move || -> Result<(Load, Option<Peaks>, Cost, Tally)> {
        let peaks = streamed.then(|| events::peaks(|select| read(&lease, select))).transpose()?;
        let (cost, tally) =
            pieces(&load, 1, events::expected(events::ROWS), || read(&lease, events::SELECT))?;
        Ok((load, peaks, cost, tally))
    });
    let (load, peaks, cost, tally) = task.join().map_err(|_| "the coroutine panicked")??;
    let mut report = Report::new(name, &load, cost, vec![tally])?;
    report.peaks = peaks;
    report.print()
}

fn stream(lease: &Lease, select: &str) -> Result<Sum> {
    let mut sum = Sum::default();
    for event in lease.query(select, ()).iter::<Event>() {
        let Event { id, name, at } = event?;
        events::add(&mut sum, id, &name, at);
    }
    Ok(sum)
}

fn collect(lease: &Lease, select: &str) -> Result<Sum> {
    let mut sum = Sum::default();
    let all: Vec<Event> = lease.query(select, ()).rows()?;
    all.iter().for_each(|event| events::add(&mut sum, event.id, &event.name, event.at));
    Ok(sum)
}
