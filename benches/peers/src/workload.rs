//! What is measured.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::meter::Window;
use crate::{Result, readings};

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Many tasks share the pool; each borrows a connection for one row by its key.
    Select,
    /// The same query by one task.
    Latency,
    /// Many tasks share the pool; each reads a row and changes it, in one transaction.
    Update,
    /// The same with the transaction of pgbench, which is like that of TPC-B.
    Tpcb,
    /// The same query by one task, declared and by hand, on one leased connection and through the pool.
    Declared,
    /// The rows of one answer are mapped again and again: the derive beside an implementation by hand.
    Mapping,
    /// A million rows are read one after the other, one task.
    Rows,
    /// The same rows, all into a list.
    RowsCollected,
    /// Borrow and return without a query, one task.
    Borrow,
    /// Borrow, yield once, return: 2,000 tasks on 50 connections. Without the yield nobody would ever wait.
    BorrowContended,
    /// Resident memory per waiting task and per idle connection.
    Memory,
}

const NAMES: [(&str, Workload); 11] = [
    ("select", Workload::Select),
    ("latency", Workload::Latency),
    ("update", Workload::Update),
    ("tpcb", Workload::Tpcb),
    ("declared", Workload::Declared),
    ("mapping", Workload::Mapping),
    ("rows", Workload::Rows),
    ("rows-collected", Workload::RowsCollected),
    ("borrow", Workload::Borrow),
    ("borrow-contended", Workload::BorrowContended),
    ("memory", Workload::Memory),
];

impl Workload {
    pub fn named(name: &str) -> Option<Workload> {
        NAMES.iter().find(|(other, _)| *other == name).map(|(_, workload)| *workload)
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, other)| *other == self).map_or("", |(name, _)| name)
    }

    /// What a person means by it.
    pub fn cases(self) -> &'static [Workload] {
        match self {
            Workload::Select => &[Workload::Select],
            Workload::Latency => &[Workload::Latency],
            Workload::Update => &[Workload::Update],
            Workload::Tpcb => &[Workload::Tpcb],
            Workload::Declared => &[Workload::Declared],
            Workload::Mapping => &[Workload::Mapping],
            Workload::Rows => &[Workload::Rows, Workload::RowsCollected],
            Workload::RowsCollected => &[Workload::RowsCollected],
            Workload::Borrow => &[Workload::Borrow, Workload::BorrowContended],
            Workload::BorrowContended => &[Workload::BorrowContended],
            Workload::Memory => &[Workload::Memory],
        }
    }

    /// Whether its operations change the tables, which are then looked at after each run.
    pub fn changes_tables(self) -> bool {
        matches!(self, Workload::Update | Workload::Tpcb)
    }

    /// How many operations are done when their instructions are counted; none where nobody asks for so exact a figure.
    pub fn counted(self) -> Option<u64> {
        match self {
            Workload::Declared => Some(2_000),
            Workload::Mapping => Some(u64::from(readings::COUNTED.unsigned_abs()) * readings::TIMES),
            _ => None,
        }
    }
}

/// How much of it, and where.
#[derive(Clone, Debug)]
pub struct Load {
    pub workload: Workload,
    pub conns: usize,
    pub tasks: usize,
    pub seconds: f64,
    pub round: u64,
    /// So many operations instead of so many seconds.
    pub operations: Option<u64>,
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
    pub fn new(arguments: &Arguments) -> Result<Load> {
        let url = std::env::var(URL_VARIABLE).map_err(|_| format!("a child needs {URL_VARIABLE}"))?;
        let (conns, tasks) = match arguments.workload {
            Workload::Select | Workload::Update => (arguments.conns, arguments.tasks.unwrap_or(256)),
            Workload::Tpcb => (arguments.conns, arguments.tasks.unwrap_or(64)),
            Workload::Latency | Workload::Borrow => (arguments.conns, 1),
            Workload::Declared | Workload::Mapping | Workload::Rows | Workload::RowsCollected => (1, 1),
            Workload::BorrowContended => (50, 2_000),
            Workload::Memory => (WEIGHED_CONNECTIONS, WEIGHED_TASKS),
        };
        let Arguments { workload, seconds, round, operations, .. } = *arguments;
        Ok(Load { workload, conns, tasks, seconds, round, operations, url })
    }

    /// Begins the warm-up.
    pub fn window(&self) -> Window {
        match self.operations {
            Some(operations) => Window::of(operations),
            None => Window::open(Duration::from_secs_f64(self.seconds)),
        }
    }

    /// A seed of its own for each task, the same for all systems.
    pub fn seed(&self, task: usize) -> u64 {
        self.round << 32 | task as u64
    }
}
