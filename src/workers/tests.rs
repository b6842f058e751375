//! The queue of spawners, cancels at each moment, and what the report says. Uses: coro, workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::coro::{JoinHandle, spawn};

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

/// What workers wait for without blocking their thread.
#[derive(Clone, Default)]
struct Gate(Arc<(AtomicBool, Mutex<Vec<Waiter>>)>);

impl Gate {
    fn pass(&self) {
        self.0.1.lock().push(Waiter::current());
        while !self.0.0.load(Ordering::SeqCst) {
            coro::park();
        }
    }

    fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.lock().drain(..).for_each(|waiter| waiter.wake());
    }

    /// A worker of this set that waits for it.
    fn hold(&self, workers: &Workers) {
        let gate = self.clone();
        workers.spawn(move || gate.pass()).expect("there is room");
    }
}

/// Starts a coroutine that spawns a worker which adds this number to the list, and waits until it stands in the queue.
fn queue(workers: &Workers, number: usize, list: &Arc<Mutex<Vec<usize>>>) -> JoinHandle<Result<()>> {
    let before = workers.set.state.lock().waiting.len();
    let (set, list) = (workers.clone(), list.clone());
    let spawner = spawn(move || set.spawn(move || list.lock().push(number)));
    until("it waits", || workers.set.state.lock().waiting.len() == before + 1);
    spawner
}

fn idle(workers: &Workers) -> bool {
    let state = workers.set.state.lock();
    let nobody = state.waiting.is_empty() && state.granted.is_empty() && state.waiting_workers == 0;
    nobody && state.live == 0 && state.running.is_empty() && state.joining.is_empty()
}

#[test]
fn who_waits_longest_is_next() {
    let (workers, gate, list) = (workers(1).expect("one"), Gate::default(), Arc::default());
    gate.hold(&workers);
    let spawners: Vec<_> = (0..20).map(|number| queue(&workers, number, &list)).collect();
    assert!(workers.try_spawn(|| panic!("overtakes")).expect("not cancelled").is_some());
    gate.open();
    spawners.into_iter().for_each(|spawner| spawner.join().expect("no panic").expect("spawned"));
    assert_eq!(workers.join().expect("all").finished, 21);
    assert_eq!(*list.lock(), (0..20).collect::<Vec<_>>());
    assert!(idle(&workers));
}

#[test]
fn a_spawner_that_is_cancelled_leaves_the_queue_and_the_others_move_up() {
    let (workers, gate, list) = (workers(1).expect("one"), Gate::default(), Arc::default());
    gate.hold(&workers);
    let spawners: Vec<_> = (0..9).map(|number| queue(&workers, number, &list)).collect();
    for spawner in spawners.iter().step_by(2) {
        coro::cancel(spawner.coroutine());
    }
    until("they have left", || workers.set.state.lock().waiting.len() == 4);
    gate.open();
    for (number, spawner) in spawners.into_iter().enumerate() {
        assert_eq!(spawner.join().is_ok(), number % 2 == 1);
    }
    assert_eq!(workers.join().expect("all").finished, 5);
    assert_eq!(*list.lock(), [1, 3, 5, 7]);
    assert!(idle(&workers));
}

/// The place that was handed to a spawner which is cancelled in the same instant goes to the next.
#[test]
fn no_place_is_lost_when_a_cancel_meets_the_hand_over() {
    let workers = workers(2).expect("two");
    for round in 0..300 {
        let ran = Arc::new(AtomicUsize::new(0));
        let gates = [Gate::default(), Gate::default()];
        gates.iter().for_each(|gate| gate.hold(&workers));
        let spawners: Vec<_> = (0..6)
            .map(|_| {
                let (set, ran) = (workers.clone(), ran.clone());
                spawn(move || {
                    set.spawn(move || {
                        ran.fetch_add(1, Ordering::SeqCst);
                    })
                })
            })
            .collect();
        until("they wait", || workers.set.state.lock().waiting.len() == 6);
        let victims: Vec<_> = spawners.iter().take(4).map(|spawner| spawner.coroutine().clone()).collect();
        let killer = thread::spawn(move || {
            for _ in 0..round % 7 * 100 {
                std::hint::spin_loop();
            }
            victims.iter().for_each(coro::cancel);
        });
        gates.iter().for_each(Gate::open);
        killer.join().expect("no panic");
        let spawned = spawners.into_iter().filter_map(|spawner| spawner.join().ok()).count();
        let report = workers.join().expect("all");
        assert!(spawned >= 2, "the last two were not cancelled");
        // Who is cancelled between the hand-over and its return may have spawned.
        assert!(ran.load(Ordering::SeqCst) >= spawned);
        assert_eq!(report.finished, 2 + ran.load(Ordering::SeqCst) as u64);
        assert!(idle(&workers), "round {round}");
    }
}

#[test]
fn cancel_ends_all_and_refuses_who_waits_and_who_comes_later() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (workers, gate, list) = (workers(3).expect("three"), Gate::default(), Arc::default());
    let (entered, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..3 {
        let (gate, entered, held) = (gate.clone(), entered.clone(), Dropped(dropped.clone()));
        let work = move || {
            let _held = held;
            entered.fetch_add(1, Ordering::SeqCst);
            gate.pass();
        };
        workers.spawn(work).expect("there is room");
    }
    until("they wait", || entered.load(Ordering::SeqCst) == 3);
    let refused: Vec<_> = (0..2).map(|number| queue(&workers, number, &list)).collect();
    workers.cancel();
    workers.cancel();
    for refused in refused {
        let error = refused.join().expect("no panic").expect_err("cancelled");
        assert!(error.to_string().contains("was cancelled"), "{error}");
    }
    let report = workers.join().expect("all");
    assert_eq!((report.finished, report.cancelled, report.panicked), (0, 3, 0));
    assert_eq!(dropped.load(Ordering::SeqCst), 3, "their destructors ran");
    workers.spawn(|| panic!("it does not run")).expect_err("cancelled");
    assert!(workers.try_spawn(|| panic!("it does not run")).is_err());
    assert!(list.lock().is_empty() && idle(&workers));
}

#[test]
fn a_cancel_that_meets_the_start_of_workers_ends_each_once() {
    for round in 0..200 {
        let workers = workers(8).expect("eight");
        let canceller = workers.clone();
        let killer = thread::spawn(move || {
            for _ in 0..round * 50 {
                std::hint::spin_loop();
            }
            canceller.cancel();
        });
        let gate = Gate::default();
        let mut spawned = 0;
        loop {
            let gate = gate.clone();
            match workers.spawn(move || gate.pass()) {
                Ok(()) => spawned += 1,
                Err(_) => break,
            }
        }
        killer.join().expect("no panic");
        let report = workers.join().expect("all");
        assert_eq!((report.finished, report.cancelled, report.panicked), (0, spawned, 0), "round {round}");
        assert!(idle(&workers));
    }
}

#[test]
fn the_last_of_all_workers_that_would_wait_to_spawn_is_told() {
    let workers = workers(2).expect("two");
    let (errors, ran) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let gate = Gate::default();
    for _ in 0..2 {
        let (set, errors, ran, gate) = (workers.clone(), errors.clone(), ran.clone(), gate.clone());
        let work = move || {
            gate.pass();
            let child = move || {
                ran.fetch_add(1, Ordering::SeqCst);
            };
            if let Err(error) = set.spawn(child) {
                errors.lock().push(error.to_string());
            }
        };
        workers.spawn(work).expect("there is room");
    }
    gate.open();
    let report = workers.join().expect("all");
    assert_eq!(
        (report.finished, ran.load(Ordering::SeqCst)),
        (3, 1),
        "one waited, and had its place from the other"
    );
    assert_eq!(errors.lock().len(), 1);
    assert!(errors.lock()[0].contains("every worker of the set (2)"), "{:?}", errors.lock());
    assert!(idle(&workers));
}

#[test]
fn a_worker_can_spawn_while_there_is_room_and_join_other_sets_only() {
    let (outer, inner) = (workers(2).expect("two"), workers(1).expect("one"));
    let (again, other) = (outer.clone(), inner.clone());
    let work = move || {
        again.spawn(|| {}).expect("there is room");
        assert!(again.join().expect_err("its own").to_string().contains("wait for itself"));
        other.spawn(|| {}).expect("there is room");
        assert_eq!(other.join().expect("another").finished, 1);
    };
    outer.spawn(work).expect("there is room");
    let report = outer.join().expect("all");
    assert_eq!((report.finished, &report.panics[..]), (2, &[][..]));
}

#[test]
fn all_joiners_are_woken_and_one_of_them_has_the_report() {
    let (workers, gate) = (workers(2).expect("two"), Gate::default());
    gate.hold(&workers);
    gate.hold(&workers);
    let coroutines: Vec<_> = (0..3).map(|_| workers.clone()).map(|set| spawn(move || set.join())).collect();
    let threads: Vec<_> =
        (0..3).map(|_| workers.clone()).map(|set| thread::spawn(move || set.join())).collect();
    until("all wait", || workers.set.state.lock().joining.len() == 6);
    coro::cancel(coroutines[0].coroutine());
    until("it has left", || workers.set.state.lock().joining.len() == 5);
    for _ in 0..3 {
        threads.iter().for_each(|joiner| joiner.thread().unpark());
        coroutines[1].coroutine().unpark();
    }
    gate.open();
    let joined = coroutines.into_iter().filter_map(|joiner| joiner.join().ok());
    let reports: Vec<_> = joined.chain(threads.into_iter().filter_map(|joiner| joiner.join().ok())).collect();
    assert_eq!(reports.len(), 5);
    assert_eq!(reports.into_iter().map(|report| report.expect("not a worker").finished).sum::<u64>(), 2);
    assert!(idle(&workers));
}

#[test]
fn dropped_handles_leave_the_workers_at_work() {
    let (gate, done) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    {
        let workers = workers(1).expect("one");
        let (gate, done) = (gate.clone(), done.clone());
        let work = move || {
            gate.pass();
            done.fetch_add(1, Ordering::SeqCst);
        };
        workers.spawn(work).expect("there is room");
    }
    assert_eq!(done.load(Ordering::SeqCst), 0);
    gate.open();
    until("it has gone on", || done.load(Ordering::SeqCst) == 1);
}

#[test]
fn promises_of_other_sets_count_until_they_are_gone() {
    let Err(error) = workers(1_000_000_000) else { panic!("there is no such machine") };
    assert!(error.is_config() && error.to_string().contains("sysctl -w vm.max_map_count="), "{error}");
    let text = error.to_string();
    let room: usize = text
        .rsplit_once("at most ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .expect("a number");
    // Other tests have sets and maps of their own: some room is left to them.
    let first = workers(room * 2 / 3).expect("as many as the error says");
    workers(room * 2 / 3).expect_err("the same again");
    drop(first);
    workers(room * 2 / 3).expect("the first is gone");
    workers(0).expect_err("nobody would work");
}
