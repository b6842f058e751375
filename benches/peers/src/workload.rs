//! What is measured.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::measure::Window;
use crate::{Result, readings};

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Many tasks ask for one row by its key, again and again.
    Select,
    /// The same query by one task.
    Latency,
    /// Each operation is twenty such queries, one after the other.
    Queries20,
    /// As select, and the server is restarted in the middle.
    Restart,
    /// As select, with other numbers of tasks and connections.
    Scaling,
    /// One of a thousand selects takes 20 ms; tasks ask as fast as they are answered. It says what can be carried.
    MixedClosed,
    /// The same at a fixed rate that is not more than `lanes = 0` can carry.
    Mixed60,
    /// The same at a fixed rate that is more.
    Mixed200,
    /// Many tasks share the pool; each reads a row and changes it, in one transaction.
    Update,
    /// The same with the transaction of pgbench, which is like that of TPC-B.
    Tpcb,
    /// A million rows are read one after the other, one task.
    Stream,
    /// The same rows, all into a list.
    StreamCollected,
    /// A hundred thousand rows are written, one task.
    Bulk,
    /// Borrow and return without a query, one task.
    Borrow,
    /// Borrow, yield once, return: 2,000 tasks on 50 connections. Without the yield nobody would ever wait.
    BorrowContended,
    /// Resident memory per waiting task and per idle connection.
    Memory,
    /// The same query by one task, declared and by hand, on one leased connection and through the pool.
    Declared,
    /// The rows of one answer are mapped again and again: the derive beside an implementation by hand.
    Mapping,
}

use Workload::*;

const NAMES: [(&str, Workload); 18] = [
    ("select", Select),
    ("latency", Latency),
    ("queries20", Queries20),
    ("restart", Restart),
    ("scaling", Scaling),
    ("mixed-closed", MixedClosed),
    ("mixed-60", Mixed60),
    ("mixed-200", Mixed200),
    ("update", Update),
    ("tpcb", Tpcb),
    ("stream", Stream),
    ("stream-collected", StreamCollected),
    ("bulk", Bulk),
    ("borrow", Borrow),
    ("borrow-contended", BorrowContended),
    ("memory", Memory),
    ("declared", Declared),
    ("mapping", Mapping),
];

/// What a person asks for by one name, and what it is made of.
const GROUPS: [(&str, &[Workload]); 5] = [
    ("mixed", &[Mixed60, Mixed200]),
    ("stream", &[Stream, StreamCollected]),
    ("rows", &[Stream, StreamCollected]),
    ("borrow", &[Borrow, BorrowContended]),
    (
        "all",
        &[
            Select,
            Latency,
            Queries20,
            Restart,
            Mixed60,
            Mixed200,
            Update,
            Tpcb,
            Stream,
            StreamCollected,
            Bulk,
            Borrow,
            BorrowContended,
            Memory,
            Scaling,
        ],
    ),
];

/// What a workload finds in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    World,
    Events,
    Readings,
    Tpcb,
    Bulk,
}

impl Workload {
    /// All that go by this name.
    pub fn named(name: &str) -> Option<Vec<Workload>> {
        let group = GROUPS.iter().find(|(other, _)| *other == name).map(|(_, workloads)| workloads.to_vec());
        group.or_else(|| Some(vec![Workload::exactly(name)?]))
    }

    /// The one of this name.
    pub fn exactly(name: &str) -> Option<Workload> {
        NAMES.iter().find(|(other, _)| *other == name).map(|(_, workload)| *workload)
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, other)| *other == self).map_or("", |(name, _)| name)
    }

    /// What a person asks for to have it.
    pub fn asked_for(self) -> &'static str {
        let group = GROUPS.iter().find(|(_, workloads)| workloads.contains(&self));
        group.filter(|(name, _)| *name != "all").map_or(self.name(), |(name, _)| name)
    }

    pub fn tables(self) -> Tables {
        match self {
            Stream | StreamCollected => Tables::Events,
            Mapping => Tables::Readings,
            Workload::Tpcb => Tables::Tpcb,
            Workload::Bulk => Tables::Bulk,
            _ => Tables::World,
        }
    }

    /// Whether its operations change the tables, which are then looked at after each run.
    pub fn changes_tables(self) -> bool {
        matches!(self, Update | Workload::Tpcb)
    }

    /// How many operations are done when their instructions are counted; none where nobody asks for so exact a figure.
    pub fn counted(self) -> Option<u64> {
        match self {
            Declared => Some(2_000),
            Mapping => Some(u64::from(readings::COUNTED.unsigned_abs()) * readings::TIMES),
            _ => None,
        }
    }

    /// Which part of what `lanes = 0` can carry is offered.
    pub fn share(self) -> Option<f64> {
        match self {
            Mixed60 => Some(0.6),
            Mixed200 => Some(2.0),
            _ => None,
        }
    }
}

/// How much of it, and where.
#[derive(Clone, Debug)]
pub struct Load {
    pub workload: Workload,
    pub conns: usize,
    /// Connections of those that share them without a pool: more than about four of them only cost.
    pub shared: usize,
    pub tasks: usize,
    pub seconds: f64,
    pub round: u64,
    /// So many operations instead of so many seconds.
    pub operations: Option<u64>,
    /// So many operations a second, however long they take.
    pub rate: Option<f64>,
    pub restart: bool,
    pub url: String,
}

/// The variable that tells a child its server; the command line is no place for a password.
pub const URL_VARIABLE: &str = "PEERS_URL";

/// Work in which the clock is not read each time: so many operations between two looks.
pub const BATCH: u64 = 256;

/// How many tasks wait when their memory is weighed, and how many connections are idle.
pub const WEIGHED_TASKS: usize = 5_000;
pub const WEIGHED_CONNECTIONS: usize = 100;

impl Load {
    pub fn new(workload: Workload, arguments: &Arguments) -> Result<Load> {
        let url = std::env::var(URL_VARIABLE).map_err(|_| format!("a child needs {URL_VARIABLE}"))?;
        let (most_conns, tasks) = (arguments.conns, arguments.tasks);
        let (conns, tasks) = match workload {
            Select | Queries20 | Restart | Scaling | MixedClosed => (most_conns, tasks.unwrap_or(1_024)),
            // As many as may wait for a connection in time.
            Mixed60 | Mixed200 => (most_conns, tasks.unwrap_or(4_096)),
            Update => (most_conns, tasks.unwrap_or(256)),
            Workload::Tpcb => (most_conns, tasks.unwrap_or(64)),
            Latency | Borrow => (most_conns, 1),
            Declared | Mapping | Stream | StreamCollected | Workload::Bulk => (1, 1),
            BorrowContended => (50, 2_000),
            Memory => (WEIGHED_CONNECTIONS, WEIGHED_TASKS),
        };
        let shared = if tasks == 1 { 1 } else { arguments.shared.min(conns) };
        let restart = workload == Restart;
        let Arguments { seconds, round, operations, rate, .. } = *arguments;
        Ok(Load { workload, conns, shared, tasks, seconds, round, operations, rate, restart, url })
    }

    /// The same by those who share their connections.
    pub fn of_shared(&self) -> Load {
        Load { conns: self.shared, ..self.clone() }
    }

    /// How many selects make an operation.
    pub fn selects(&self) -> usize {
        if self.workload == Queries20 { 20 } else { 1 }
    }

    pub fn window(&self) -> Window {
        let length = Duration::from_secs_f64(self.seconds);
        match self.operations {
            Some(operations) => Window::of(operations),
            None if self.restart => Window::with_progress(length),
            None => Window::new(length),
        }
    }

    /// A seed of its own for each task, the same for all systems.
    pub fn seed(&self, task: usize) -> u64 {
        self.round << 32 | task as u64
    }

    /// One of a unit test.
    #[cfg(test)]
    pub fn of_test(workload: Workload) -> Load {
        Load {
            workload,
            conns: 1,
            shared: 1,
            tasks: 1,
            seconds: 1.0,
            round: 1,
            operations: None,
            rate: None,
            restart: false,
            url: String::new(),
        }
    }
}
