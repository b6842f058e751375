//! In the place of `src/coro.rs`: all waiters are threads of loom.

use loom::thread::{self, JoinHandle, Thread};

/// A thread that waits.
#[derive(Clone)]
pub(crate) struct Waiter(Thread);

impl Waiter {
    pub(crate) fn current() -> Waiter {
        Waiter(thread::current())
    }

    /// Somebody else.
    pub(crate) fn of<T>(other: &JoinHandle<T>) -> Waiter {
        Waiter(other.thread().clone())
    }

    pub(crate) fn wake(&self) {
        self.0.unpark();
    }
}

pub(crate) fn park() {
    thread::park();
}
