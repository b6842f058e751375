//! The floor of coroutines: one per connection on may's own sockets, otherwise as [`super::floor_blocking`]. What it costs
//! more than that is the price of may; what maypole costs more than this is maypole's.

use may::io::CoIo;
use maypole::JoinHandle;

use super::System;
use super::floor_blocking::Floor;
use crate::Result;
use crate::meter::Tally;
use crate::report::Report;
use crate::workload::{Load, Workload};

pub const SYSTEM: System =
    System { name: "floor-coroutines", workloads: &[Workload::Select, Workload::Latency], run: select };

fn select(name: &'static str, load: &Load) -> Result<()> {
    may::config().set_workers(2).set_worker_pin(false);
    let coroutines = load.conns.min(load.tasks);
    let floors = (0..coroutines)
        .map(|_| Ok(Floor::open(&load.url)?.onto(|stream| CoIo::new(stream).map_err(std::io::Error::from))?));
    let floors = floors.collect::<Result<Vec<_>>>()?;
    let window = load.window();
    let tasks: Vec<JoinHandle<Tally>> = floors
        .into_iter()
        .enumerate()
        .map(|(task, mut floor)| {
            let mut tally = Tally::new(window, load.seed(task));
            maypole::spawn(move || {
                while let Some(id) = tally.next_id() {
                    tally.answered(id, floor.ask(id));
                }
                tally
            })
        })
        .collect();
    let cost = window.watch()?;
    let tallies = tasks.into_iter().map(|task| task.join().map_err(|_| "a coroutine panicked"));
    Report::new(name, load, cost, tallies.collect::<std::result::Result<_, _>>()?)?.print()
}
