//! Coroutines of may, on two workers that are not pinned. All of maypole is measured by this code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use may::sync::SyncFlag;

use crate::Result;
use crate::measure::{Crew, Tally};
use crate::report::Report;
use crate::workload::Load;

/// Two workers, as the peers have. One where instructions are counted, so that chance does not decide who does what.
pub fn configure(load: &Load) {
    let workers = if load.operations.is_some() { 1 } else { 2 };
    may::config().set_workers(workers).set_worker_pin(false);
}

/// Runs the work in each coroutine; what came of it.
///
/// All begin together, released by one of them: a worker of may looks for new coroutines only when it has no others left,
/// so those that yield in a loop would keep the rest from ever starting.
pub fn measure(
    name: &str,
    load: &Load,
    work: impl Fn(&mut Tally) + Clone + Send + 'static,
) -> Result<Report> {
    let mut crew = Crew::new(name, load);
    let gate = Arc::new((AtomicUsize::new(0), SyncFlag::new()));
    for _ in 0..load.tasks {
        let (mut tally, end) = crew.member();
        let (work, gate) = (work.clone(), gate.clone());
        maypole::spawn(move || {
            gate.0.fetch_add(1, Ordering::Relaxed);
            gate.1.wait();
            work(&mut tally);
            end.hand_in(tally);
        });
    }
    wait_until(|| gate.0.load(Ordering::Relaxed) == load.tasks);
    maypole::spawn(move || gate.1.fire()).join().map_err(|_| "the gate does not open")?;
    crew.report()
}

/// Looks again and again, on the main thread.
pub fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}
