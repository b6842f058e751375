//! The tasks of a run, on whatever they run: each hands in its tally when the window is over.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::{OpenLoop, Tally, Window};
use crate::report::{Offer, Report};
use crate::workload::Load;
use crate::{Result, restart};

/// A task that has not come to its end so long after the window has hung. Nobody waits longer than that for a connection:
/// 30 seconds are the longest limit of the pools.
const PATIENCE: Duration = Duration::from_secs(35);

pub struct Crew<'a> {
    name: &'a str,
    load: &'a Load,
    window: Window,
    /// Where operations come at a fixed rate.
    open: Option<Arc<OpenLoop>>,
    sender: Sender<Tally>,
    receiver: Receiver<Tally>,
    members: usize,
}

/// Where a task hands in its tally at its end.
pub struct HandIn(Sender<Tally>);

impl HandIn {
    pub fn hand_in(self, tally: Tally) {
        // Nobody takes it if the run was given up.
        let _ = self.0.send(tally);
    }
}

impl<'a> Crew<'a> {
    pub fn new(name: &'a str, load: &'a Load) -> Crew<'a> {
        let (sender, receiver) = mpsc::channel();
        let open = load.rate.map(|rate| Arc::new(OpenLoop::new(rate, load.tasks, load.seed(0))));
        Crew { name, load, window: load.window(), open, sender, receiver, members: 0 }
    }

    /// One more task: its tally, and where to hand it in.
    pub fn member(&mut self) -> (Tally, HandIn) {
        let mut tally = Tally::new(self.load, &self.window, self.members);
        if let Some(open) = &self.open {
            tally = tally.at_fixed_rate(open.clone(), self.members);
        }
        self.members += 1;
        (tally, HandIn(self.sender.clone()))
    }

    /// Lets the window pass and gathers what the tasks did.
    pub fn report(self) -> Result<Report> {
        let Crew { name, load, window, open, sender, receiver, members } = self;
        drop(sender);
        let (mut recovery, mut due) = (None, None);
        let cost = if load.restart {
            let (cost, found) = restart::watch(load, &window)?;
            recovery = Some(found);
            cost
        } else if let Some(open) = &open {
            let (cost, in_window) = open.pace(&window)?;
            due = Some((open.rate(), in_window));
            cost
        } else {
            window.watch()?
        };
        // Who only wants to see that everything runs, does not want to wait so long.
        let deadline = Instant::now() + PATIENCE.min(Duration::from_secs_f64(load.seconds * 20.0));
        let mut tallies = Vec::new();
        // A task that panicked has dropped its sender; with the last of them the channel ends.
        while let Ok(tally) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            tallies.push(tally);
        }
        let missing = members - tallies.len();
        if missing > 0 {
            eprintln!("peers: {name}: {missing} of {members} tasks have not come to their end");
        }
        let offer = due.map(|(rate, due)| {
            let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
            let not_carried = due.saturating_sub(sum(|tally| tally.carried));
            Offer { rate, not_carried, slow: sum(|tally| tally.slow) }
        });
        let mut report = Report::new(name, load, cost, tallies)?;
        report.tasks = members;
        report.hung = missing as u64;
        if missing > 0 && !load.restart {
            report.void();
        }
        report.recovery = recovery;
        report.offer = offer;
        Ok(report)
    }
}
