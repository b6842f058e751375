//! The one door to may: spawning and waiting. Uses: nothing.

use std::any::Any;
use std::io;
use std::thread::{self, Thread};

use may::coroutine::{self, Builder};
use may::coroutine_local;

pub(crate) use may::coroutine::Coroutine;
pub use may::coroutine::JoinHandle;

/// The stack that [`spawn`] gives a coroutine, in bytes: enough for each operation of maypole and a panic
/// with its backtrace on top.
pub const STACK_SIZE: usize = 64 * 1024;

/// Starts a coroutine with a stack of [`STACK_SIZE`] bytes.
///
/// The function runs on one of may's workers and gives way to others whenever it waits: on a query, on the
/// pool, on may's own channels and sleeps. It must not block the thread (files, `std::thread::sleep`, long
/// computations), and must not keep references into thread-locals across a wait, because it may go on
/// on another thread. A stack that overflows ends the coroutine without running destructors.
///
/// ```
/// let worker = maypole::spawn(|| 6 * 7);
/// assert_eq!(worker.join().unwrap(), 42);
/// ```
///
/// # Panics
///
/// If the operating system has no memory maps left for another stack (`vm.max_map_count`: about 32,000
/// live coroutines with Linux's default).
pub fn spawn<F, T>(function: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match spawn_named("maypole worker", STACK_SIZE, function) {
        Ok(handle) => handle,
        Err(error) => panic!("no stack for another coroutine: {error}"),
    }
}

/// Starts a coroutine with a stack of so many bytes.
#[allow(unsafe_code)]
pub(crate) fn spawn_named<F, T>(name: &str, stack: usize, function: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // may counts stacks in words; an odd number would make it print the footprint.
    let words = (stack / size_of::<usize>()).next_multiple_of(2);
    let builder = Builder::new().name(name.to_owned()).stack_size(words);
    // SAFETY: may asks three things of whoever spawns.
    // 1. What the coroutine owns may move between threads: `F` and `T` are `Send + 'static`.
    // 2. No reference into a thread-local lives across a wait: this library has no thread-locals, and
    //    `spawn` hands the duty on to its callers in its documentation, as may's own `go!` does.
    // 3. The stack does not overflow: the needs of our operations are measured in `tests/stack.rs`, and
    //    generator guards each stack with an inaccessible page.
    unsafe { builder.spawn(function) }
}

/// The running coroutine; `None` on a plain thread.
pub(crate) fn current() -> Option<Coroutine> {
    coroutine::is_coroutine().then(coroutine::current)
}

/// Cancels a coroutine: its present or next wait unwinds. Nothing happens to one that has ended.
#[allow(unsafe_code)]
pub(crate) fn cancel(coroutine: &Coroutine) {
    // SAFETY: may asks that whoever cancels knows that all the coroutine holds is dropped in the middle of its work. That is
    // a panic which the code did not expect, and all destructors run: safe code stays sound whichever call unwinds.
    unsafe { coroutine.cancel() }
}

/// Whether what unwinds is a cancel, which must go on untouched (rule M13).
pub(crate) fn is_cancel(unwinding: &(dyn Any + Send)) -> bool {
    matches!(unwinding.downcast_ref(), Some(generator::Error::Cancel))
}

/// Tells the running coroutine, or plain thread, from all others that live at the same time. Never 0.
///
/// Takes 2 to 3 ns in a coroutine (rule M29). The number may come again once its owner has ended.
#[inline]
pub(crate) fn identity() -> usize {
    // Where may keeps the coroutine's own data; nothing outside of a coroutine.
    match generator::get_local_data().addr() {
        0 => identity_of_thread(),
        coroutine => coroutine,
    }
}

fn identity_of_thread() -> usize {
    // A value on the heap that is the thread's own as long as it lives.
    coroutine_local!(static OWN: u8 = 0);
    OWN.with(|own| std::ptr::from_ref(own).addr())
}

/// Whoever waits: a coroutine or a plain thread. Waking it is safe anywhere, also in `Drop`.
#[derive(Clone)]
pub(crate) enum Waiter {
    Coroutine(Coroutine),
    Thread(Thread),
}

impl Waiter {
    /// The caller itself.
    pub(crate) fn current() -> Waiter {
        if coroutine::is_coroutine() {
            Waiter::Coroutine(coroutine::current())
        } else {
            Waiter::Thread(thread::current())
        }
    }

    /// Ends its present or its next [`park`].
    pub(crate) fn wake(&self) {
        match self {
            Waiter::Coroutine(coroutine) => coroutine.unpark(),
            Waiter::Thread(thread) => thread.unpark(),
        }
    }
}

/// Waits until woken. May return for no reason: call it in a loop around a condition.
///
/// When the coroutine is cancelled this unwinds, so whatever must be undone belongs into a guard.
pub(crate) fn park() {
    if coroutine::is_coroutine() {
        coroutine::park();
    } else {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coroutines_and_threads_have_identities_of_their_own() {
        let here = identity();
        assert_eq!(here, identity());
        let thread = thread::spawn(identity).join().expect("no panic");
        let one = spawn(|| (identity(), identity()));
        let two = spawn(|| {
            let before = identity();
            coroutine::yield_now();
            (before, identity())
        });
        let ((one, again), (two, later)) = (one.join().expect("no panic"), two.join().expect("no panic"));
        assert_eq!((one, two), (again, later));
        assert!(here != 0 && thread != 0 && one != here && two != here);
    }

    #[test]
    fn a_waiter_woken_before_it_parks_does_not_sleep() {
        spawn(|| {
            Waiter::current().wake();
            park();
        })
        .join()
        .expect("woken");
        Waiter::current().wake();
        park();
    }
}
