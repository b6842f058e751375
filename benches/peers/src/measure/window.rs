//! The time that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Progress;
use crate::{Result, process};

/// How long everything runs before it counts, at most.
const WARM_UP: Duration = Duration::from_millis(500);

/// Warm-up, measurement, end. The tasks look at one byte that changes twice, and not at the clock: a look at the clock for
/// each operation would be a good part of the fastest of them.
#[derive(Clone)]
pub struct Window(Arc<Inner>);

struct Inner {
    phase: AtomicU8,
    length: Duration,
    /// Not so long, but so many operations, whatever time they take.
    operations: Option<u64>,
    /// Counts operations as they come, where the time between must be seen.
    progress: Option<Progress>,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// What the process spent in the window.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Window {
    pub fn new(length: Duration) -> Window {
        Window::with(WARMING, length, None, None)
    }

    /// One whose operations are also counted as they come.
    pub fn with_progress(length: Duration) -> Window {
        Window::with(WARMING, length, None, Some(Progress::new()))
    }

    /// One of so many operations: of a run whose instructions are counted, in which time means nothing.
    pub fn of(operations: u64) -> Window {
        Window::with(COUNTING, Duration::ZERO, Some(operations), None)
    }

    /// One without a warm-up.
    #[cfg(test)]
    pub fn counting() -> Window {
        Window::with(COUNTING, Duration::ZERO, None, None)
    }

    fn with(phase: u8, length: Duration, operations: Option<u64>, progress: Option<Progress>) -> Window {
        Window(Arc::new(Inner { phase: AtomicU8::new(phase), length, operations, progress }))
    }

    /// Whether what ends now counts.
    #[inline]
    pub fn counts(&self) -> bool {
        self.0.phase.load(Ordering::Relaxed) == COUNTING
    }

    /// Whether a task that has done so many operations has done enough.
    #[inline]
    pub fn is_over(&self, operations: u64) -> bool {
        match self.0.operations {
            Some(enough) => operations >= enough,
            None => self.0.phase.load(Ordering::Relaxed) == OVER,
        }
    }

    #[inline]
    pub fn progress(&self) -> Option<&Progress> {
        self.0.progress.as_ref()
    }

    pub fn length(&self) -> Duration {
        self.0.length
    }

    /// Waits for the end of the warm-up, on a plain thread that has nothing else to do.
    pub fn warm_up(&self) {
        thread::sleep(self.warm_up_time());
    }

    pub fn warm_up_time(&self) -> Duration {
        WARM_UP.min(self.0.length / 2)
    }

    /// What ends from now on counts.
    pub fn begin(&self) {
        self.0.phase.store(COUNTING, Ordering::Relaxed);
    }

    /// What ends from now on does not count, but the tasks go on.
    pub fn pause(&self) {
        self.0.phase.store(WARMING, Ordering::Relaxed);
    }

    /// Ends it.
    pub fn end(&self) {
        self.0.phase.store(OVER, Ordering::Relaxed);
    }

    /// Lets the window pass, on a plain thread that has nothing else to do.
    pub fn watch(&self) -> Result<Cost> {
        if self.0.operations.is_some() {
            return Ok(Cost { wall: Duration::ZERO, cpu: Duration::ZERO });
        }
        self.warm_up();
        let (begun, before) = (Instant::now(), process::cpu_time()?);
        self.begin();
        thread::sleep(self.0.length);
        let cost = Cost { wall: begun.elapsed(), cpu: process::cpu_time()? - before };
        self.end();
        Ok(cost)
    }
}
