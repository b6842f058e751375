//! How workers ended. Uses: nothing.

use std::any::Any;
use std::fmt;

/// As many panics are reported one by one; of more only the number is kept.
const MOST_PANICS: usize = 1000;

/// How the workers of a set ended since the last [`join`](super::Workers::join).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkersReport {
    /// How many returned.
    pub finished: u64,
    /// How many were cancelled, those that had not begun included.
    pub cancelled: u64,
    /// How many panicked, or overflowed their stacks.
    pub panicked: u64,
    /// The panics one by one, in the order in which they came; at most the first 1,000.
    pub panics: Vec<WorkerPanic>,
}

/// The panic of one worker. `Display` tells all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPanic {
    /// Which worker of the set: the first that was spawned is 1.
    pub number: u64,
    /// Its name, if it was spawned with one.
    pub name: Option<String>,
    /// What the panic said.
    pub message: String,
}

impl fmt::Display for WorkerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.number)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How one worker ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was given up before it began.
    NotBegun,
    Finished,
    Cancelled,
    Panicked(String),
    /// Its stack overflowed: nothing on it ran any more.
    Lost,
}

impl End {
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> End {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        End::Panicked(text.unwrap_or("a panic whose payload is no text").to_owned())
    }
}

impl WorkersReport {
    pub(super) fn add(&mut self, number: u64, name: Option<String>, end: End) {
        let message = match end {
            End::NotBegun => return,
            End::Finished => {
                self.finished += 1;
                return;
            }
            End::Cancelled => {
                self.cancelled += 1;
                return;
            }
            End::Panicked(message) => message,
            End::Lost => "its stack overflowed: give it more with stack_size".to_owned(),
        };
        self.panicked += 1;
        if self.panics.len() < MOST_PANICS {
            self.panics.push(WorkerPanic { number, name, message });
        }
    }
}
