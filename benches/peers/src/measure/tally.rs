//! What one task did.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Failure, Histogram, Kinds, Window};
use crate::transaction::Transaction;
use crate::workload::Load;
use crate::world::{Ids, stored};

/// The answers of one task are checked and counted here, the same way for all systems.
///
/// Of many tasks, each times every eighth of its operations: a look at the clock before and after each would be a good part
/// of the fastest of them, and the counts of 16,000 tasks would fill the caches. A longest latency is the longest of those.
pub struct Tally {
    window: Window,
    seed: u64,
    ids: Ids,
    /// Each so manieth operation is timed.
    every: u64,
    /// When the operation that goes on began, if it is timed.
    begun: Option<Instant>,
    /// A task that failed does nothing more, unless failures are what is measured.
    forgiving: bool,
    stopped: bool,
    pub ops: u64,
    /// With those outside of the window.
    pub all_ops: u64,
    pub errors: u64,
    pub wrong: u64,
    pub kinds: Kinds,
    pub latencies: Histogram,
}

/// Up to so many tasks time all they do.
const FEW_TASKS: usize = 64;
const EVERY: u64 = 8;

/// How long a task rests after a failure that does not end it.
pub const REST: Duration = Duration::from_millis(10);

impl Tally {
    pub fn new(load: &Load, window: &Window, task: usize) -> Tally {
        Tally {
            window: window.clone(),
            seed: load.seed(task),
            ids: Ids::new(load.seed(task)),
            every: if load.tasks > FEW_TASKS { EVERY } else { 1 },
            begun: None,
            forgiving: load.restart,
            stopped: false,
            ops: 0,
            all_ops: 0,
            errors: 0,
            wrong: 0,
            kinds: Kinds::default(),
            latencies: Histogram::new(),
        }
    }

    /// Whether there is time for another operation, which then begins.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        if self.stopped || self.window.is_over(self.ops) {
            return false;
        }
        // Not all tasks time the same of theirs.
        if self.begun.is_none() && (self.all_ops + self.seed) % self.every == 0 {
            self.begun = Some(Instant::now());
        }
        true
    }

    /// A row to ask for.
    #[inline]
    pub fn id(&mut self) -> i32 {
        self.ids.next_id()
    }

    /// Whether this is the row that was asked for.
    #[inline]
    pub fn is_right<E: Into<Failure>>(&mut self, id: i32, answer: Result<(i32, i32), E>) -> bool {
        self.judge(id, answer, |row| *row == (id, stored(id)))
    }

    /// What to do next.
    #[inline]
    pub fn next<T: Transaction>(&mut self) -> Option<T> {
        self.goes_on().then(|| T::random(&mut self.ids))
    }

    /// What came of it.
    #[inline]
    pub fn settled<T: Transaction, E: Into<Failure>>(&mut self, asked: T, answer: Result<T::Answer, E>) {
        if self.judge(asked, answer, |answer| asked.is_right(answer)) {
            self.done();
        }
    }

    #[inline]
    fn judge<A: Debug, E: Into<Failure>>(
        &mut self,
        asked: impl Debug,
        answer: Result<A, E>,
        is_right: impl FnOnce(&A) -> bool,
    ) -> bool {
        match answer {
            Ok(answer) if is_right(&answer) => return true,
            Ok(answer) => self.wrong(&asked, &answer),
            Err(error) => self.fail(error),
        }
        false
    }

    /// An error, and more: it takes the speed from the whole run.
    #[cold]
    fn wrong(&mut self, asked: &dyn Debug, answer: &dyn Debug) {
        self.wrong += 1;
        self.fail(format!("asked for {asked:?}, got {answer:?}"));
    }

    /// An operation has come to its end.
    #[inline]
    pub fn done(&mut self) {
        self.all_ops += 1;
        if let Some(progress) = self.window.progress() {
            progress.add(self.seed);
        }
        // What began in the warm-up counts if it ended in the window, which what ends behind it makes up for.
        let counts = self.window.counts();
        self.ops += u64::from(counts);
        if let Some(begun) = self.begun.take() {
            let now = Instant::now();
            if counts {
                self.latencies.record(now - begun);
            }
            // The end of one is the beginning of the next.
            self.begun = (self.every == 1).then_some(now);
        }
    }

    /// So many operations, that went together, have come to their end.
    pub fn done_together(&mut self, operations: u64) {
        let begun = self.begun;
        for _ in 0..operations {
            self.begun = begun;
            self.done();
        }
        self.begun = None;
    }

    /// So many operations that are too short to be timed one by one.
    pub fn done_many(&mut self, operations: u64) {
        if self.window.counts() {
            self.ops += operations;
        }
        self.begun = None;
    }

    /// An operation that another program has timed.
    pub fn done_elsewhere(&mut self, latency: Duration) {
        self.ops += 1;
        self.all_ops += 1;
        self.latencies.record(latency);
    }

    /// An operation failed.
    #[cold]
    pub fn fail(&mut self, error: impl Into<Failure>) {
        /// One example is enough.
        static SHOWN: AtomicBool = AtomicBool::new(false);
        let error = error.into();
        self.errors += 1;
        self.kinds.count(&error);
        self.begun = None;
        self.stopped = !self.forgiving;
        if !SHOWN.swap(true, Ordering::Relaxed) {
            eprintln!("peers: an operation failed: {error}");
        }
    }

    /// Whether the task has come to its end before its time.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds what another task did.
    pub fn add(&mut self, other: &Tally) {
        self.ops += other.ops;
        self.all_ops += other.all_ops;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.kinds.add(&other.kinds);
        self.latencies.add(&other.latencies);
    }
}
