//! The floor of coroutines: one per connection on may's own sockets, otherwise as [`super::floor_blocking`]. What it costs
//! more than that is the price of may; what a lease of maypole costs more than this is maypole's.

use may::io::CoIo;

use super::System;
use super::coroutines::configure;
use super::floor_blocking::Floor;
use super::threads::ask_for_rows;
use crate::Result;
use crate::measure::Crew;
use crate::workload::{Load, Workload};

pub const SYSTEM: System =
    System { name: "floor-coroutines", workloads: &[Workload::Select, Workload::Latency], run: select };

fn select(name: &'static str, load: &Load) -> Result<()> {
    configure(load);
    let mut crew = Crew::new(name, load);
    for _ in 0..load.conns.min(load.tasks) {
        let floor = Floor::open(&load.url)?;
        let mut floor = floor.onto(|stream| CoIo::new(stream).map_err(std::io::Error::from))?;
        let (mut tally, end) = crew.member();
        maypole::spawn(move || {
            // A failure ends it, so it never sleeps.
            ask_for_rows(&mut tally, 1, |id| floor.ask(id));
            end.hand_in(tally);
        });
    }
    crew.report()?.print()
}
