//! Coroutines with a cap: at most so many at a time, joined and cancelled together. Uses: coro, error, keeper, maps, report.

mod maps;
mod report;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use may::coroutine_local;
use parking_lot::Mutex;

use crate::coro::{self, Coroutine, STACK_SIZE, Waiter};
use crate::error::{Error, Result};
use crate::keeper;
use report::End;
pub use report::{WorkerPanic, WorkersReport};

/// Makes a set of workers: at most `n` coroutines at a time.
///
/// A coroutine is cheap and not free. Its stack takes two of the process's memory maps, of which Linux allows 65,530: some
/// 32,000 coroutines, and the next one ends the process. With a set, whoever produces work waits until a worker has ended.
///
/// ```
/// # fn main() -> maypole::Result<()> {
/// let workers = maypole::workers(8)?;
/// for number in 0..1000 {
///     // Waits while 8 are at work.
///     workers.spawn(move || {
///         let _square = number * number;
///     })?;
/// }
/// let report = workers.join()?;
/// assert_eq!((report.finished, report.panicked), (1000, 0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// If `n` is 0, or more than the machine has memory maps for, next to those in use and those that other sets were promised:
/// the error tells how to raise the limit. Only Linux tells how many there are.
pub fn workers(n: usize) -> Result<Workers> {
    if n == 0 {
        return Err(Error::config("a set of workers needs at least 1"));
    }
    let set = Arc::new(Set { limit: n, state: Mutex::default() });
    maps::reserve(&set)?;
    Ok(Workers { set, stack: STACK_SIZE })
}

/// A set of coroutines with a cap, made by [`workers`]. A clone is another handle of the same set.
///
/// All functions may be called from coroutines and from plain threads. Dropping the handles changes nothing for the
/// workers, as with a [`JoinHandle`](crate::JoinHandle): they go on, and nobody hears of their panics any more.
///
/// # Workers that spawn workers
///
/// A worker may spawn into its own set through a clone. While it waits for a place it keeps its own, so if all wait that way none
/// ever ends: the last one gets an error instead. Work that makes more work is better collected and spawned from outside,
/// or tried with [`try_spawn`](Workers::try_spawn) and else done by the worker itself. Two full sets whose workers spawn into each
/// other wait for ever, which is not found out.
#[derive(Clone)]
pub struct Workers {
    set: Arc<Set>,
    stack: usize,
}

struct Set {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Places that are taken, those that were just handed over included.
    live: usize,
    /// How many have been started, which is the number of the last.
    started: u64,
    running: BTreeMap<u64, Coroutine>,
    /// Who waits for a place, by ticket and so in the order of coming. While there is anybody no place is free.
    waiting: BTreeMap<u64, Spawner>,
    /// How many of those are workers of the set themselves.
    waiting_workers: usize,
    /// Tickets that got a place and have not taken it yet.
    granted: BTreeSet<u64>,
    joining: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    cancelled: bool,
    /// Since the last join.
    report: WorkersReport,
}

struct Spawner {
    waiter: Waiter,
    is_worker: bool,
}

// The worker that the running coroutine is. When a stack overflows no destructor on it runs, but those of what is
// local to the coroutine do (rule M14): here the place is given back on whatever way out.
coroutine_local!(static WORKER: RefCell<Option<Worker>> = RefCell::default());

impl Workers {
    /// The same set through a handle that spawns with stacks of so many bytes. Default, and least: [`STACK_SIZE`].
    #[must_use = "the handle it is called on stays as it was"]
    pub fn stack_size(mut self, bytes: usize) -> Workers {
        self.stack = bytes.max(STACK_SIZE);
        self
    }

    /// Starts a worker; waits while as many as the cap are at work. Who waits longest is next.
    ///
    /// A panic ends this worker only, and is reported by [`join`](Workers::join).
    ///
    /// # Errors
    ///
    /// If the set was cancelled; if the caller is a worker of this set and all others wait to spawn too.
    ///
    /// # Panics
    ///
    /// If the system has no memory for another stack.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits leaves the queue; the place that it was just given goes to the next.
    pub fn spawn<F>(&self, function: F) -> Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let place = Set::wait_for_place(&self.set)?;
        self.start(place, None, function)
    }

    /// The same for a worker that the report calls by this name.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Workers::spawn).
    pub fn spawn_named<F>(&self, name: impl Into<String>, function: F) -> Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let place = Set::wait_for_place(&self.set)?;
        self.start(place, Some(name.into()), function)
    }

    /// Starts a worker if there is room, without waiting; else gives the function back.
    ///
    /// ```
    /// # fn main() -> maypole::Result<()> {
    /// # let workers = maypole::workers(2)?;
    /// if let Some(job) = workers.try_spawn(|| println!("at work"))? {
    ///     job(); // all are busy: the caller does it itself
    /// }
    /// # workers.join()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the set was cancelled.
    pub fn try_spawn<F>(&self, function: F) -> Result<Option<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let place = self.set.state.lock().take_place(self.set.limit)?;
        if !place {
            return Ok(Some(function));
        }
        self.start(Place(self.set.clone()), None, function)?;
        Ok(None)
    }

    /// Cancels all workers, and refuses new ones from now on, those that wait to be spawned included.
    ///
    /// A worker unwinds at its present or next wait; one that computes or blocks its thread goes on until then. Does not
    /// wait: [`join`](Workers::join) does. A worker that calls it is cancelled too.
    pub fn cancel(&self) {
        let (running, refused) = {
            let mut state = self.set.state.lock();
            state.cancelled = true;
            state.waiting_workers = 0;
            let running: Vec<Coroutine> = state.running.values().cloned().collect();
            (running, std::mem::take(&mut state.waiting))
        };
        refused.values().for_each(|spawner| spawner.waiter.wake());
        running.iter().for_each(coro::cancel);
    }

    /// Waits until every worker has ended, and tells how they ended since the last join.
    ///
    /// # Errors
    ///
    /// If the caller is a worker of this set, who would wait for itself.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits takes nothing from the report.
    pub fn join(&self) -> Result<WorkersReport> {
        if self.set.is_callers_own() {
            return Err(Error::usage("a worker can't join its own set: it would wait for itself"));
        }
        let mut joining = Joining { set: &self.set, ticket: None };
        loop {
            {
                let mut state = self.set.state.lock();
                if state.live == 0 {
                    return Ok(std::mem::take(&mut state.report));
                }
                if joining.ticket.is_none_or(|ticket| !state.joining.contains_key(&ticket)) {
                    let ticket = state.ticket();
                    state.joining.insert(ticket, Waiter::current());
                    joining.ticket = Some(ticket);
                }
            }
            coro::park();
        }
    }

    /// How many workers there are now, those about to begin included.
    pub fn live(&self) -> usize {
        self.set.state.lock().live
    }

    fn start(
        &self,
        place: Place,
        name: Option<String>,
        function: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let number = {
            let mut state = self.set.state.lock();
            state.started += 1;
            state.started
        };
        let worker = Worker { place, number, name, end: End::NotBegun };
        // Nobody joins the coroutine itself: the set is told when it is over.
        coro::spawn_named("maypole worker", self.stack, move || worker.run(function))
            .map(drop)
            .map_err(|error| Error::usage("another worker can't be started").caused_by(error))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.live();
        f.debug_struct("Workers").field("limit", &self.set.limit).field("live", &live).finish_non_exhaustive()
    }
}

impl State {
    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Takes a place if there is one.
    fn take_place(&mut self, limit: usize) -> Result<bool> {
        if self.cancelled {
            return Err(cancelled());
        }
        let free = self.live < limit;
        self.live += usize::from(free);
        Ok(free)
    }
}

impl Set {
    fn wait_for_place(this: &Arc<Set>) -> Result<Place> {
        let is_worker = this.is_callers_own();
        let ticket = {
            let mut state = this.state.lock();
            if state.take_place(this.limit)? {
                return Ok(Place(this.clone()));
            }
            if is_worker && state.waiting_workers + 1 == this.limit {
                return Err(Error::usage(format!(
                    "every worker of the set ({}) waits to spawn another one, so that none would ever end: \
                     use try_spawn, spawn from outside of the set, or give it more workers",
                    this.limit
                )));
            }
            let ticket = state.ticket();
            state.waiting_workers += usize::from(is_worker);
            state.waiting.insert(ticket, Spawner { waiter: Waiter::current(), is_worker });
            ticket
        };
        let waiting = Waiting { set: this, ticket };
        loop {
            coro::park();
            let mut state = this.state.lock();
            if state.waiting.contains_key(&ticket) {
                continue;
            }
            let granted = state.granted.remove(&ticket);
            let refused = state.cancelled;
            drop(state);
            drop(waiting);
            // If it was cancelled meanwhile the place is given back here.
            let place = granted.then(|| Place(this.clone()));
            return place.filter(|_| !refused).ok_or_else(cancelled);
        }
    }

    /// A place becomes free: it goes to who waits longest.
    fn free(&self) {
        let (next, joiners) = {
            let mut state = self.state.lock();
            match state.waiting.pop_first() {
                Some((ticket, spawner)) => {
                    state.granted.insert(ticket);
                    state.waiting_workers -= usize::from(spawner.is_worker);
                    (Some(spawner.waiter), BTreeMap::new())
                }
                None => {
                    state.live -= 1;
                    let over = state.live == 0;
                    (None, if over { std::mem::take(&mut state.joining) } else { BTreeMap::new() })
                }
            }
        };
        next.iter().chain(joiners.values()).for_each(Waiter::wake);
    }

    /// Whether the caller is one of its workers.
    fn is_callers_own(&self) -> bool {
        let same = |worker: &Worker| std::ptr::eq(Arc::as_ptr(&worker.place.0), self);
        WORKER.with(|own| own.borrow().as_ref().is_some_and(same))
    }
}

/// A spawner in the queue: leaves it on whatever way out.
struct Waiting<'s> {
    set: &'s Set,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.set.state.lock();
            if let Some(spawner) = state.waiting.remove(&self.ticket) {
                state.waiting_workers -= usize::from(spawner.is_worker);
            }
            state.granted.remove(&self.ticket)
        };
        if granted {
            self.set.free();
        }
    }
}

/// A joiner: forgotten on whatever way out.
struct Joining<'s> {
    set: &'s Set,
    ticket: Option<u64>,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.set.state.lock().joining.remove(&ticket);
        }
    }
}

/// The right to be one of the workers.
struct Place(Arc<Set>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// One worker. When it is dropped the set is told how it ended, and then the place is free.
struct Worker {
    place: Place,
    number: u64,
    name: Option<String>,
    end: End,
}

impl Worker {
    fn run(mut self, function: impl FnOnce()) {
        let set = self.place.0.clone();
        {
            let mut state = set.state.lock();
            if state.cancelled {
                self.end = End::Cancelled;
            } else {
                state.running.extend(coro::current().map(|coroutine| (self.number, coroutine)));
                // Unless it tells otherwise.
                self.end = End::Lost;
            }
        }
        if self.end == End::Cancelled {
            drop(function);
            return;
        }
        // Nothing that must be dropped is on this stack while the function runs.
        drop(set);
        WORKER.with(|own| *own.borrow_mut() = Some(self));
        let result = catch_unwind(AssertUnwindSafe(function));
        let end = match &result {
            Ok(()) => End::Finished,
            Err(unwound) if coro::is_cancel(&**unwound) => End::Cancelled,
            Err(unwound) => End::panicked(&**unwound),
        };
        let cancelled = end == End::Cancelled;
        WORKER.with(|own| {
            if let Some(worker) = &mut *own.borrow_mut() {
                worker.end = end;
            }
        });
        if let (true, Err(unwound)) = (cancelled, result) {
            resume_unwind(unwound);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, End::NotBegun);
        let mut state = self.place.0.state.lock();
        // Its last handle waits until may is through with the coroutine's last park, which may be further down on this very stack.
        let coroutine = state.running.remove(&self.number);
        state.report.add(self.number, self.name.take(), end);
        drop(state);
        keeper::bury(coroutine);
    }
}

fn cancelled() -> Error {
    Error::usage("the set of workers was cancelled: it starts no more")
}

#[cfg(test)]
mod tests;
