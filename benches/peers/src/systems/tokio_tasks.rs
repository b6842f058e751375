//! Tasks of tokio, on two worker threads.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::Result;
use crate::meter::Tally;
use crate::report::Report;
use crate::workload::Load;

pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Runs the work in each task and prints what came of it.
pub fn measure<F>(name: &str, load: &Load, runtime: &Runtime, work: impl Fn(Tally) -> F) -> Result<()>
where
    F: Future<Output = Tally> + Send + 'static,
{
    let window = load.window();
    let tasks: Vec<_> =
        (0..load.tasks).map(|task| runtime.spawn(work(Tally::new(window, load.seed(task))))).collect();
    let cost = window.watch()?;
    let tallies = tasks.into_iter().map(|task| runtime.block_on(task));
    Report::new(name, load, cost, tallies.collect::<std::result::Result<_, _>>()?)?.print()
}
