//! The one door to may: spawning and waiting. Uses: nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    let function = move || {
        LIFE.with(|life| life.ending.set(Ending::Overflowed));
        let _returned = Returned;
        function()
    };
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
/// Takes 2 to 3 ns in a coroutine (rule M29). The number of a coroutine may come again once that has ended.
#[inline]
pub(crate) fn identity() -> usize {
    // Where may keeps the coroutine's own data; nothing outside of a coroutine.
    match generator::get_local_data().addr() {
        0 => identity_of_thread(),
        coroutine => coroutine,
    }
}

fn identity_of_thread() -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    // Odd, as no address of a coroutine's data is. Nobody hears of a thread's end, so its number does not come again.
    coroutine_local!(static OWN: usize = NUMBER.fetch_add(2, Ordering::Relaxed));
    OWN.with(|own| *own)
}

/// How a coroutine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ran to its end, or was unwound by a panic or a cancel: what it owned was dropped.
    Unwound,
    /// Its stack overflowed, and nothing that it owned was dropped (rule M14).
    Overflowed,
    /// One of these: it was not started by [`spawn`].
    Unknown,
}

/// What is dropped with the coroutine, however it ends.
struct Life {
    ending: Cell<Ending>,
    calls: RefCell<Vec<AtEnd>>,
}

/// What is called at the end, with the key by which it is known.
type AtEnd = (u64, Box<dyn FnOnce(Ending) + Send>);

coroutine_local!(static LIFE: Life = Life { ending: Cell::new(Ending::Unknown), calls: RefCell::default() });

impl Drop for Life {
    fn drop(&mut self) {
        let ending = self.ending.get();
        self.calls.take().into_iter().for_each(|(_, call)| call(ending));
    }
}

/// Dropped on whatever way out of the coroutine's function, except for one.
struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        LIFE.with(|life| life.ending.set(Ending::Unwound));
    }
}

/// Has the function called when the running coroutine has ended, unless one with this key is to be called already. It runs
/// outside of any coroutine and must neither wait nor panic. Outside of coroutines this does nothing.
pub(crate) fn at_end<F: FnOnce(Ending) + Send + 'static>(key: u64, call: impl FnOnce() -> F) {
    if !coroutine::is_coroutine() {
        return;
    }
    LIFE.with(|life| {
        let mut calls = life.calls.borrow_mut();
        if !calls.iter().any(|(other, _)| *other == key) {
            calls.push((key, Box::new(call())));
        }
    });
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
    fn what_is_to_be_called_at_the_end_is_called_once_and_told_how_it_ended() {
        let (tell, told) = std::sync::mpsc::channel();
        let watch = move |key, tell: std::sync::mpsc::Sender<Ending>| {
            at_end(key, || move |ending| tell.send(ending).expect("it is waited for"));
        };
        let (first, second, third) = (tell.clone(), tell.clone(), tell);
        spawn(move || {
            watch(1, first.clone());
            watch(1, first);
        });
        assert_eq!(told.recv(), Ok(Ending::Unwound));
        spawn(move || {
            watch(1, second);
            panic!("on purpose");
        });
        assert_eq!(told.recv(), Ok(Ending::Unwound));
        may::go!(move || watch(1, third));
        assert_eq!(told.recv(), Ok(Ending::Unknown));
        assert!(told.recv().is_err(), "nobody tells twice");
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
