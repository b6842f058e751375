//! What runs concurrently in maypole outside of its pure cores, in all interleavings of a few steps that the memory model of C11
//! allows: the files themselves, with loom's locks, atomics and threads in the place of the real ones. `./dev loom` runs it.
//!
//! The rules of the pool need no loom: they are a value under one lock, and `src/pool/core/explore.rs` explores them.

mod coro;
mod deadlines;
mod promises;
mod sync;

#[allow(dead_code, reason = "the model does not use all of it")]
#[path = "../../src/promise.rs"]
mod promise;
#[path = "../../src/keeper/wake_time.rs"]
mod wake_time;

use std::time::Instant;

/// How often a thread may lose its turn in one history where it need not. Most bugs of concurrency need two (Musuvathi and
/// Qadeer, "Iterative context bounding", 2007); without a bound the largest model takes hours.
const PREEMPTIONS: usize = 3;

type Model = (&'static str, fn());

const MODELS: [Model; 8] = [
    ("a value always arrives", promises::a_value_always_arrives),
    ("a value arrives among stray wake-ups", promises::a_value_arrives_among_stray_wake_ups),
    (
        "a value that races the deadline is heard or dropped",
        promises::a_value_that_races_the_deadline_is_heard_or_dropped,
    ),
    (
        "a value that races the end of its waiter is dropped once",
        promises::a_value_that_races_the_end_of_its_waiter_is_dropped_once,
    ),
    (
        "a deadline is seen by the sweep or reported uncovered",
        deadlines::a_deadline_is_seen_by_the_sweep_or_reported_uncovered,
    ),
    ("two deadlines are seen or reported uncovered", deadlines::two_deadlines_are_seen_or_reported_uncovered),
    (
        "an earlier deadline wakes the keeper and a later one need not",
        deadlines::an_earlier_deadline_wakes_the_keeper_and_a_later_one_need_not,
    ),
    (
        "a deadline written while another passes is seen or reported uncovered",
        deadlines::a_deadline_written_while_another_passes_is_seen_or_reported_uncovered,
    ),
];

fn main() {
    for (name, model) in MODELS {
        let start = Instant::now();
        let histories = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = histories.clone();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        let histories = histories.load(std::sync::atomic::Ordering::Relaxed);
        println!("{name}: {histories} histories in {:?}", start.elapsed());
    }
}
