//! Operations that come at a fixed rate, whether those before were answered or not.
//!
//! Each operation is due at its time and belongs to one of many tasks, in turn. A task that is behind goes on with its next
//! operation at once, and its latency is counted from when it was due: so nobody looks better by being slow (others call
//! the contrary "coordinated omission").

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Cost, Window};
use crate::world::Ids;
use crate::{Result, process};

pub struct OpenLoop {
    rate: f64,
    seed: u64,
    slots: Vec<Slot>,
    times: OnceLock<Times>,
    over: AtomicBool,
}

#[derive(Clone, Copy)]
struct Times {
    start: Instant,
    from: Instant,
    until: Instant,
}

/// What the pacer and one task share.
#[derive(Default)]
struct Slot {
    /// How many operations of this task are due.
    released: AtomicU64,
    /// Whether the task waits and has to be woken.
    parked: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// An operation that is due.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub due: Instant,
    pub slow: bool,
    /// Whether it was due in the time that counts.
    pub counts: bool,
}

/// What a task has to do next.
#[derive(Debug)]
pub enum Next {
    Due(Arrival),
    /// Wait until it is woken, which it will be.
    Wait,
    Over,
}

/// One of so many operations takes 20 ms.
pub const SLOW_ONE_OF: i32 = 1_000;

/// What is not answered so long after it was due was not carried.
pub const CARRIED_WITHIN: Duration = Duration::from_secs(1);

/// The pacer looks so often.
const LOOK: Duration = Duration::from_micros(200);

impl OpenLoop {
    pub fn new(rate: f64, tasks: usize, seed: u64) -> OpenLoop {
        let slots = (0..tasks).map(|_| Slot::default()).collect();
        OpenLoop { rate, seed, slots, times: OnceLock::new(), over: AtomicBool::new(false) }
    }

    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How this task is woken.
    pub fn wakes_by(&self, task: usize, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.slots[task].wake.set(Box::new(wake));
    }

    /// What this task, that has done so many operations, has to do next.
    pub fn next(&self, task: usize, done: u64) -> Next {
        let slot = &self.slots[task];
        if let Some(next) = self.ready(slot, task, done) {
            return next;
        }
        slot.parked.store(true, Ordering::SeqCst);
        match self.ready(slot, task, done) {
            // Nobody has seen that it is parked, so nobody will wake it.
            Some(next) if slot.parked.swap(false, Ordering::SeqCst) => next,
            _ => Next::Wait,
        }
    }

    fn ready(&self, slot: &Slot, task: usize, done: u64) -> Option<Next> {
        if self.over.load(Ordering::SeqCst) {
            return Some(Next::Over);
        }
        if slot.released.load(Ordering::SeqCst) <= done {
            return None;
        }
        let times = self.times.get()?;
        let number = done * self.slots.len() as u64 + task as u64;
        let due = times.start + Duration::from_secs_f64(number as f64 / self.rate);
        let slow = Ids::new(self.seed ^ number << 20).between(1, SLOW_ONE_OF) == 1;
        Some(Next::Due(Arrival { due, slow, counts: due >= times.from && due < times.until }))
    }

    /// Releases the operations when they are due, until the window is over and what was due in it had its time. What it cost,
    /// and how many were due in the window.
    pub fn pace(&self, window: &Window) -> Result<(Cost, u64)> {
        let start = Instant::now();
        let from = start + window.warm_up_time();
        let until = from + window.length();
        let _ = self.times.set(Times { start, from, until });
        let mut released = 0;
        self.release_until(&mut released, start, from);
        let (begun, before, first) = (Instant::now(), process::cpu_time()?, released);
        window.begin();
        self.release_until(&mut released, start, until);
        let cost = Cost { wall: begun.elapsed(), cpu: process::cpu_time()? - before };
        window.end();
        thread::sleep(CARRIED_WITHIN);
        self.over.store(true, Ordering::SeqCst);
        self.slots.iter().for_each(Slot::wake_if_parked);
        Ok((cost, released - first))
    }

    fn release_until(&self, released: &mut u64, start: Instant, end: Instant) {
        loop {
            let now = Instant::now().min(end);
            let due = ((now - start).as_secs_f64() * self.rate).ceil() as u64;
            for number in *released..due {
                let slot = &self.slots[(number % self.slots.len() as u64) as usize];
                slot.released.fetch_add(1, Ordering::SeqCst);
                slot.wake_if_parked();
            }
            *released = due.max(*released);
            if now == end {
                return;
            }
            thread::sleep(LOOK.min(end - now));
        }
    }
}

impl Slot {
    fn wake_if_parked(&self) {
        if self.parked.swap(false, Ordering::SeqCst)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_operation_is_released_once_and_in_time_order() {
        let (rate, tasks) = (2_000.0, 3);
        let open = Arc::new(OpenLoop::new(rate, tasks, 1));
        let (sender, receiver) = mpsc::channel();
        let threads: Vec<_> = (0..tasks)
            .map(|task| {
                let (open, sender) = (open.clone(), sender.clone());
                thread::spawn(move || {
                    let me = thread::current();
                    open.wakes_by(task, move || me.unpark());
                    let mut done = 0;
                    loop {
                        match open.next(task, done) {
                            Next::Over => return done,
                            Next::Wait => thread::park(),
                            Next::Due(arrival) => {
                                assert!(Instant::now() >= arrival.due - Duration::from_millis(1));
                                sender.send(arrival).unwrap();
                                done += 1;
                            }
                        }
                    }
                })
            })
            .collect();
        let (_, in_window) = open.pace(&Window::new(Duration::from_millis(200))).unwrap();
        let done: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        drop(sender);
        let arrivals: Vec<_> = receiver.iter().collect();
        assert_eq!(arrivals.len() as u64, done);
        assert_eq!(in_window, 400);
        assert_eq!(arrivals.iter().filter(|arrival| arrival.counts).count(), 400);
    }
}
