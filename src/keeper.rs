//! The one timer: a plain thread that watches every deadline. Uses: coro, deadline, sync, wake_time.
//!
//! Callers wait without a timer of may's, which would cost five times the wait itself (rule M26). What
//! has deadlines registers here once, and is swept when the earliest of them passes. A thread and not a
//! coroutine, because may runs timed-out coroutines on its single timer thread (rule M5), and because a
//! worker that a user blocks (rule M17) must not stop the deadlines of others.

mod wake_time;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::wake_time::WakeTime;
use crate::coro::{Waiter, park};
use crate::deadline::Deadline;
use crate::sync::AtomicU64;

/// Something that has deadlines.
pub(crate) trait Sweep: Send + Sync {
    /// Acts on what is overdue and tells when to come again. Must not wait.
    fn sweep(self: Arc<Self>, now: Instant) -> Deadline;
}

/// Two sweeps are at least this far apart.
const GRAIN: Duration = Duration::from_millis(2);

/// How long something buried stays: see [`bury`].
const BURIAL: Duration = Duration::from_millis(20);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
static KEEPER: Keeper = Keeper {
    wake_time: WakeTime::new(AtomicU64::new(WakeTime::NOTHING)),
    state: Mutex::new(State {
        running: false,
        nudged: false,
        wanted: None,
        swept: Vec::new(),
        alarms: Vec::new(),
        next_alarm: 0,
        buried: Vec::new(),
    }),
    changed: Condvar::new(),
};

struct Keeper {
    /// In nanoseconds since `EPOCH`.
    wake_time: WakeTime,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    running: bool,
    nudged: bool,
    /// The earliest deadline somebody nudged for. Kept until it passes even if its owner is done long before,
    /// so that a row of short operations nudges once per deadline and not once per operation.
    wanted: Option<Instant>,
    swept: Vec<Weak<dyn Sweep>>,
    alarms: Vec<Ringing>,
    next_alarm: u64,
    buried: Vec<(Instant, Box<dyn Any + Send>)>,
}

/// The number of an alarm, when it rings, and what it calls.
type Ringing = (u64, Instant, Box<dyn Fn() + Send>);

/// Sweeps this from now on, until its last owner drops it.
pub(crate) fn watch(swept: Weak<dyn Sweep>) {
    let mut state = KEEPER.state.lock();
    state.swept.push(swept);
    nudge_locked(&mut state);
}

/// Whether the keeper wakes no later than this deadline.
///
/// Ask while holding the lock under which the deadline was written and under which `sweep` reads it: then
/// either the keeper's sweep sees the deadline, or this sees that the keeper swept before. If it answers
/// `false`, release the lock and [`nudge`].
pub(crate) fn covers(deadline: Deadline) -> bool {
    deadline.left(*EPOCH).is_none_or(|left| KEEPER.wake_time.covers(nanoseconds(left)))
}

/// Makes the keeper cover this deadline.
pub(crate) fn nudge(deadline: Deadline) {
    let now = Instant::now();
    let Some(left) = deadline.left(now) else { return };
    let mut state = KEEPER.state.lock();
    let at = now + left;
    state.wanted = Some(state.wanted.map_or(at, |wanted| wanted.min(at)));
    nudge_locked(&mut state);
}

fn nudge_locked(state: &mut State) {
    state.nudged = true;
    if !state.running {
        let started = thread::Builder::new().name("maypole keeper".to_owned()).spawn(run);
        match started {
            Ok(_) => state.running = true,
            // The next nudge tries again; until then deadlines are late, nothing else is lost.
            Err(error) => log::error!("the keeper thread could not be started: {error}"),
        }
    }
    KEEPER.changed.notify_one();
}

/// Calls a function once when the deadline passes, unless the guard is dropped before.
pub(crate) fn alarm(deadline: Deadline, ring: impl Fn() + Send + 'static) -> Alarm {
    let now = Instant::now();
    let Some(left) = deadline.left(now) else { return Alarm(None) };
    let mut state = KEEPER.state.lock();
    let id = state.next_alarm;
    state.next_alarm += 1;
    state.alarms.push((id, now + left, Box::new(ring)));
    nudge_locked(&mut state);
    Alarm(Some(id))
}

/// Stops the caller until then.
///
/// Not may's `sleep`: that still uses the coroutine for an instant after it handed it to the timer, and if the timer is
/// faster and the coroutine ends soon, it uses freed memory.
pub(crate) fn pause(deadline: Deadline) {
    let over = Arc::new(AtomicBool::new(false));
    let (ring, waiter) = (over.clone(), Waiter::current());
    let _alarm = alarm(deadline, move || {
        ring.store(true, Ordering::Release);
        waiter.wake();
    });
    while !over.load(Ordering::Acquire) {
        park();
    }
}

/// An alarm that has not been called off.
pub(crate) struct Alarm(Option<u64>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            KEEPER.state.lock().alarms.retain(|(other, ..)| *other != id);
        }
    }
}

/// Drops this a little later.
///
/// may's `RawIoBlock::subscribe` still reads the socket's data for an instant after it made the coroutine
/// runnable; a driver that ends at once would pull it away. So drivers do not drop their sockets: the keeper
/// does, when that instant is long over.
pub(crate) fn bury(thing: impl Any + Send) {
    let mut state = KEEPER.state.lock();
    state.buried.push((Instant::now(), Box::new(thing)));
    nudge_locked(&mut state);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn run() {
    let mut sweeps: Vec<Arc<dyn Sweep>> = Vec::new();
    loop {
        KEEPER.wake_time.sweeps();
        let mut rings = Vec::new();
        let mut dead = Vec::new();
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut earlier = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        {
            let mut state = KEEPER.state.lock();
            state.nudged = false;
            state.wanted = state.wanted.filter(|at| *at > now);
            state.swept.retain(|weak| weak.upgrade().is_some_and(|strong| (sweeps.push(strong), true).1));
            for (_, at, ring) in state.alarms.extract_if(.., |(_, at, _)| *at <= now) {
                rings.push((at, ring));
            }
            state.alarms.iter().for_each(|(_, at, _)| earlier(*at));
            dead.extend(state.buried.extract_if(.., |(since, _)| now - *since >= BURIAL));
            state.buried.iter().for_each(|(since, _)| earlier(*since + BURIAL));
        }
        guarded(|| drop(dead));
        for (_, ring) in &rings {
            guarded(ring);
        }
        for sweep in sweeps.drain(..) {
            if let Some(left) = guarded(|| sweep.sweep(now)).and_then(|next| next.left(now)) {
                earlier(now + left.max(GRAIN));
            }
        }
        let mut state = KEEPER.state.lock();
        next = next.into_iter().chain(state.wanted).min();
        KEEPER.wake_time.sleeps_until(next.map(|at| nanoseconds(at.saturating_duration_since(*EPOCH))));
        while !state.nudged {
            match next {
                Some(at) if at <= Instant::now() => break,
                Some(at) => drop(KEEPER.changed.wait_until(&mut state, at)),
                None => KEEPER.changed.wait(&mut state),
            }
        }
    }
}

/// A sweep may run code of the user, a logger, that panics. It must not take the deadlines of all others with it; the
/// panic itself has been reported by the panic hook.
fn guarded<R>(act: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_once_its_deadline_has_passed_and_not_before() {
        let rang = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let (flag, waiter) = (rang.clone(), Waiter::current());
        let _alarm = alarm(Deadline::after(Duration::from_millis(30)), move || {
            flag.store(true, Ordering::SeqCst);
            waiter.wake();
        });
        while !rang.load(Ordering::SeqCst) {
            park();
        }
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_sweep_that_panics_ends_no_other_deadline() {
        struct Panics(AtomicBool);
        impl Sweep for Panics {
            fn sweep(self: Arc<Self>, _: Instant) -> Deadline {
                self.0.store(true, Ordering::SeqCst);
                panic!("on purpose");
            }
        }
        let panics = Arc::new(Panics(AtomicBool::new(false)));
        watch(Arc::downgrade(&(panics.clone() as Arc<dyn Sweep>)));
        while !panics.0.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        drop(panics);
        let rang = Arc::new(AtomicBool::new(false));
        let (flag, waiter) = (rang.clone(), Waiter::current());
        let _alarm = alarm(Deadline::after(Duration::from_millis(5)), move || {
            flag.store(true, Ordering::SeqCst);
            waiter.wake();
        });
        while !rang.load(Ordering::SeqCst) {
            park();
        }
    }

    #[test]
    fn a_deadline_written_under_a_lock_is_swept_in_time() {
        struct One(Mutex<(Deadline, Option<Waiter>)>);
        impl Sweep for One {
            fn sweep(self: Arc<Self>, now: Instant) -> Deadline {
                let mut inner = self.0.lock();
                if inner.0.passed(now) {
                    inner.0 = Deadline::NEVER;
                    inner.1.take().inspect(Waiter::wake);
                }
                inner.0
            }
        }
        let one = Arc::new(One(Mutex::new((Deadline::NEVER, None))));
        watch(Arc::downgrade(&(one.clone() as Arc<dyn Sweep>)));
        for milliseconds in [40, 20, 5, 1, 0] {
            let deadline = Deadline::after(Duration::from_millis(milliseconds));
            let mut inner = one.0.lock();
            *inner = (deadline, Some(Waiter::current()));
            let covered = covers(deadline);
            drop(inner);
            if !covered {
                nudge(deadline);
            }
            while one.0.lock().1.is_some() {
                park();
            }
            assert!(deadline.passed(Instant::now()));
        }
    }

    #[test]
    fn what_is_buried_is_dropped_later() {
        struct Tell(Waiter, Arc<AtomicBool>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.1.store(true, Ordering::SeqCst);
                self.0.wake();
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        bury(Tell(Waiter::current(), dropped.clone()));
        while !dropped.load(Ordering::SeqCst) {
            park();
        }
        assert!(start.elapsed() >= BURIAL);
    }
}
