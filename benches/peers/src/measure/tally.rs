//! What one task did.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Arrival, CARRIED_WITHIN, Failure, Histogram, Kinds, Next, OpenLoop, SLOW_ONE_OF, Window};
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
    /// Where operations come at a fixed rate: from here, to the task of this number.
    arrivals: Option<(Arc<OpenLoop>, usize)>,
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
    /// Operations at a fixed rate that were answered in time, and the slow ones among them.
    pub carried: u64,
    pub slow: u64,
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
            arrivals: None,
            every: if load.tasks > FEW_TASKS { EVERY } else { 1 },
            begun: None,
            forgiving: load.restart || load.rate.is_some(),
            stopped: false,
            ops: 0,
            all_ops: 0,
            errors: 0,
            wrong: 0,
            carried: 0,
            slow: 0,
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
        if self.begun.is_none() && (self.all_ops + self.seed).is_multiple_of(self.every) {
            self.begun = Some(Instant::now());
        }
        true
    }

    /// The tally of a task whose operations come at a fixed rate.
    pub fn at_fixed_rate(mut self, open: Arc<OpenLoop>, task: usize) -> Tally {
        self.arrivals = Some((open, task));
        self
    }

    /// How the task is woken when an operation of it is due.
    pub fn wakes_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        if let Some((open, task)) = &self.arrivals {
            open.wakes_by(*task, wake);
        }
    }

    /// What the task has to do next.
    pub fn arrival(&self) -> Next {
        match &self.arrivals {
            // Those that failed are among those that it has done.
            Some((open, task)) => open.next(*task, self.all_ops + self.errors),
            None => Next::Over,
        }
    }

    /// An operation that came at a fixed rate was answered.
    pub fn settled_arrival(&mut self, arrival: Arrival) {
        self.all_ops += 1;
        self.ops += u64::from(self.window.counts());
        if !arrival.counts {
            return;
        }
        let latency = arrival.due.elapsed();
        self.carried += u64::from(latency <= CARRIED_WITHIN);
        if arrival.slow {
            self.slow += 1;
        } else {
            self.latencies.record(latency);
        }
    }

    /// Whether the next operation shall be a slow one.
    pub fn is_slow(&mut self) -> bool {
        self.ids.between(1, SLOW_ONE_OF) == 1
    }

    /// Whether this is what a slow one says.
    pub fn is_awake<E: Into<Failure>>(&mut self, answer: Result<i32, E>) -> bool {
        self.judge("a nap", answer, |one| *one == 1)
    }

    /// With which of its selects a task begins: else all would come to the end of an operation at the same time, and the
    /// edges of the window would decide how many count.
    pub fn first_of(&self, selects: usize) -> usize {
        self.seed as usize % selects
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
        self.all_ops += operations;
        let counts = self.window.counts();
        self.ops += if counts { operations } else { 0 };
        if let Some(begun) = self.begun.take()
            && counts
        {
            let latency = begun.elapsed();
            (0..operations).for_each(|_| self.latencies.record(latency));
        }
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
        self.carried += other.carried;
        self.slow += other.slow;
        self.kinds.add(&other.kinds);
        self.latencies.add(&other.latencies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    fn timed(tasks: usize, task: usize, operations: u64) -> u64 {
        let load = Load { tasks, ..Load::of_test(Workload::Select) };
        let mut tally = Tally::new(&load, &Window::counting(), task);
        for _ in 0..operations {
            assert!(tally.goes_on());
            tally.done();
        }
        assert_eq!(tally.ops, operations);
        tally.latencies.total()
    }

    #[test]
    fn few_tasks_time_everything_and_many_time_one_of_eight_each_at_its_own_turn() {
        assert_eq!(timed(1, 0, 80), 80);
        assert_eq!(timed(1_000, 0, 80), 10);
        let first_only: u64 = (0..8).map(|task| timed(1_000, task, 1)).sum();
        assert_eq!(first_only, 1);
    }

    #[test]
    fn operations_that_went_together_are_counted_one_by_one() {
        let load = Load::of_test(Workload::Select);
        let mut tally = Tally::new(&load, &Window::counting(), 0);
        assert!(tally.goes_on());
        tally.done_together(32);
        assert_eq!((tally.ops, tally.all_ops, tally.latencies.total()), (32, 32, 32));
    }

    #[test]
    fn a_failure_ends_a_task_unless_failures_are_what_is_measured() {
        for restart in [false, true] {
            let load = Load { restart, ..Load::of_test(Workload::Select) };
            let mut tally = Tally::new(&load, &Window::counting(), 0);
            assert!(tally.goes_on());
            assert!(!tally.is_right(1, Err::<(i32, i32), _>("lost")));
            assert_eq!((tally.goes_on(), tally.errors, tally.wrong), (restart, 1, 0));
        }
    }
}
