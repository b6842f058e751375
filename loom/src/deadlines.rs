//! A deadline is written while the keeper sweeps, lies down to sleep, or sleeps. Its `WakeTime` is the library's own; the
//! steps around it are those of `keeper::run` and `keeper::nudge`, with numbers for moments.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::sync::AtomicU64;
use crate::wake_time::WakeTime;

/// No deadline.
const NEVER: u64 = 1_000;

/// What is swept, and by whom.
struct World {
    /// Of two pools, each under its own lock.
    deadlines: [Mutex<Vec<u64>>; 2],
    wake_time: WakeTime,
    bell: Mutex<Bell>,
    rung: Condvar,
    /// Time goes on until then, while the keeper sleeps.
    end_of_time: u64,
}

struct Bell {
    nudged: bool,
    wanted: u64,
    /// For the model: the sweeper shall end when it would sleep.
    over: bool,
    /// When it would have woken.
    sleeps_until: u64,
}

impl World {
    fn new(end_of_time: u64) -> Arc<World> {
        Arc::new(World {
            deadlines: [Mutex::new(Vec::new()), Mutex::new(Vec::new())],
            wake_time: WakeTime::new(AtomicU64::new(WakeTime::NOTHING)),
            bell: Mutex::new(Bell { nudged: false, wanted: NEVER, over: false, sleeps_until: 0 }),
            rung: Condvar::new(),
            end_of_time,
        })
    }

    /// As `keeper::run`.
    fn keep(&self) {
        let mut now = 0;
        loop {
            self.wake_time.sweeps();
            {
                let mut bell = self.bell.lock().expect("no panic");
                bell.nudged = false;
                bell.wanted = if bell.wanted > now { bell.wanted } else { NEVER };
            }
            let swept = self.deadlines.iter().filter_map(|deadlines| {
                let mut deadlines = deadlines.lock().expect("no panic");
                deadlines.retain(|deadline| *deadline > now);
                deadlines.iter().min().copied()
            });
            let swept = swept.min();
            let mut bell = self.bell.lock().expect("no panic");
            let next = swept.unwrap_or(NEVER).min(bell.wanted);
            self.wake_time.sleeps_until((next < NEVER).then_some(next));
            bell.sleeps_until = next;
            while !bell.nudged {
                if next <= self.end_of_time {
                    now = next;
                    break;
                }
                if bell.over {
                    return;
                }
                bell = self.rung.wait(bell).expect("no panic");
            }
        }
    }

    /// As whoever has a deadline.
    fn write(&self, pool: usize, deadline: u64) {
        let covered = {
            let mut written = self.deadlines[pool].lock().expect("no panic");
            written.push(deadline);
            self.wake_time.covers(deadline)
        };
        if !covered {
            let mut bell = self.bell.lock().expect("no panic");
            bell.wanted = bell.wanted.min(deadline);
            bell.nudged = true;
            self.rung.notify_one();
        }
    }

    /// The keeper ends when it has lain down and nobody has nudged it.
    fn end(&self) {
        self.bell.lock().expect("no panic").over = true;
        self.rung.notify_one();
    }
}

/// Whoever writes a deadline at whatever moment, the keeper does not sleep beyond it.
pub fn a_deadline_is_seen_by_the_sweep_or_reported_uncovered() {
    let world = World::new(0);
    let keeper = {
        let world = world.clone();
        thread::spawn(move || world.keep())
    };
    world.write(0, 30);
    world.end();
    keeper.join().expect("no panic");
    assert!(world.bell.lock().expect("no panic").sleeps_until <= 30);
}

/// Two of them, of two pools.
pub fn two_deadlines_are_seen_or_reported_uncovered() {
    let world = World::new(0);
    let keeper = {
        let world = world.clone();
        thread::spawn(move || world.keep())
    };
    let other = {
        let world = world.clone();
        thread::spawn(move || world.write(1, 20))
    };
    world.write(0, 30);
    other.join().expect("no panic");
    world.end();
    keeper.join().expect("no panic");
    assert!(world.bell.lock().expect("no panic").sleeps_until <= 20);
}

/// A second that comes earlier than what the keeper has lain down for.
pub fn an_earlier_deadline_wakes_the_keeper_and_a_later_one_need_not() {
    let world = World::new(0);
    let keeper = {
        let world = world.clone();
        thread::spawn(move || world.keep())
    };
    world.write(0, 30);
    world.write(0, 40);
    world.write(1, 10);
    world.end();
    keeper.join().expect("no panic");
    assert!(world.bell.lock().expect("no panic").sleeps_until <= 10);
}

/// A deadline passes, and while the keeper sees to that another is written.
pub fn a_deadline_written_while_another_passes_is_seen_or_reported_uncovered() {
    let world = World::new(10);
    world.deadlines[0].lock().expect("no panic").push(10);
    let keeper = {
        let world = world.clone();
        thread::spawn(move || world.keep())
    };
    world.write(0, 30);
    world.end();
    keeper.join().expect("no panic");
    assert!(world.bell.lock().expect("no panic").sleeps_until <= 30);
}
