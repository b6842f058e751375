//! The tasks of a run, on whatever they run: each hands in its tally when the window is over.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::{Tally, Window};
use crate::report::Report;
use crate::workload::Load;
use crate::{Result, restart};

/// A task that has not come to its end so long after the window has hung. Nobody waits longer than that for a connection:
/// 30 seconds are the longest limit of the pools.
const PATIENCE: Duration = Duration::from_secs(35);

pub struct Crew<'a> {
    name: &'a str,
    load: &'a Load,
    window: Window,
    sender: Sender<Tally>,
    receiver: Receiver<Tally>,
    members: usize,
}

impl<'a> Crew<'a> {
    pub fn new(name: &'a str, load: &'a Load) -> Crew<'a> {
        let (sender, receiver) = mpsc::channel();
        Crew { name, load, window: load.window(), sender, receiver, members: 0 }
    }

    /// One more task: its tally, and where to hand it in.
    pub fn member(&mut self) -> (Tally, Sender<Tally>) {
        let tally = Tally::new(self.load, &self.window, self.members);
        self.members += 1;
        (tally, self.sender.clone())
    }

    /// Lets the window pass and gathers what the tasks did.
    pub fn report(self) -> Result<Report> {
        let Crew { name, load, window, sender, receiver, members } = self;
        drop(sender);
        let (cost, recovery) = if load.restart {
            let (cost, recovery) = restart::watch(load, &window)?;
            (cost, Some(recovery))
        } else {
            (window.watch()?, None)
        };
        let deadline = Instant::now() + PATIENCE;
        let mut tallies = Vec::new();
        // A task that panicked has dropped its sender; with the last of them the channel ends.
        while let Ok(tally) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            tallies.push(tally);
        }
        let missing = members - tallies.len();
        if missing > 0 {
            eprintln!("peers: {name}: {missing} of {members} tasks have not come to their end");
        }
        let mut report = Report::new(name, load, cost, tallies)?;
        report.tasks = members;
        report.hung = missing as u64;
        if missing > 0 && !load.restart {
            report.void();
        }
        report.recovery = recovery;
        Ok(report)
    }
}
