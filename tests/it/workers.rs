//! Coroutines with a cap (`maypole::workers`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use maypole::{Database, workers};

use crate::support::pool::{TestPool, in_coroutine, prepare};

/// How many are inside now, and the most that ever were.
#[derive(Default)]
struct Peak {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    fn inside(&self, work: impl FnOnce()) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        work();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn ten_thousand_jobs() {
    const JOBS: usize = 10_000;
    let workers = workers(100).expect("a hundred");
    let (peak, done) = (Arc::new(Peak::default()), Arc::new(Mutex::new(vec![0_u8; JOBS])));
    for job in 0..JOBS {
        let (peak, done) = (peak.clone(), done.clone());
        let work = move || {
            peak.inside(|| {
                may::coroutine::yield_now();
                done.lock().expect("no holder panics")[job] += 1;
                may::coroutine::yield_now();
            });
        };
        workers.spawn(work).expect("a place, in the end");
    }
    let report = workers.join().expect("all");
    assert_eq!((report.finished, report.cancelled, report.panicked), (JOBS as u64, 0, 0));
    assert!(done.lock().expect("no holder panics").iter().all(|times| *times == 1), "each once");
    let most = peak.most.load(Ordering::SeqCst);
    assert!(most <= 100 && most > 1, "{most} at a time");
    assert_eq!(workers.live(), 0);
}

#[test]
fn ten_thousand_jobs_of_a_thread_go_through_a_hundred_workers() {
    prepare();
    ten_thousand_jobs();
}

#[test]
fn ten_thousand_jobs_of_a_coroutine_go_through_a_hundred_workers() {
    prepare();
    in_coroutine(ten_thousand_jobs);
}

#[test]
fn a_panic_ends_one_worker_and_is_reported_with_its_number_and_name() {
    prepare();
    let workers = workers(3).expect("three");
    workers.spawn(|| {}).expect("a place");
    workers.spawn_named("import", || panic!("no such file: {}", "a.csv")).expect("a place");
    workers.spawn(|| panic!("plain")).expect("a place");
    workers.spawn(|| std::panic::panic_any(7)).expect("a place");
    workers.spawn(|| {}).expect("a place");
    let report = workers.join().expect("all");
    assert_eq!((report.finished, report.cancelled, report.panicked), (2, 0, 3));
    let mut panics: Vec<String> = report.panics.iter().map(ToString::to_string).collect();
    panics.sort();
    assert_eq!(
        panics,
        [
            "worker 2 (import): no such file: a.csv",
            "worker 3: plain",
            "worker 4: a panic whose payload is no text"
        ]
    );
    // What was told is not told again, and the set goes on.
    workers.spawn(|| {}).expect("a place");
    let report = workers.join().expect("all");
    assert_eq!((report.finished, report.panicked, report.panics.len()), (1, 0, 0));
}

#[test]
fn workers_share_the_connections_of_a_pool() {
    let test = TestPool::new(3);
    let db: Arc<Database> = Arc::new(test.pool.clone().into());
    let workers = workers(20).expect("twenty");
    let sum = Arc::new(AtomicUsize::new(0));
    for number in 1..=200_i32 {
        let (db, sum) = (db.clone(), sum.clone());
        let work = move || {
            let answer: i32 = db.query("SELECT $1::int", (number,)).value().expect("an answer");
            sum.fetch_add(usize::try_from(answer).expect("above zero"), Ordering::SeqCst);
        };
        workers.spawn(work).expect("a place");
    }
    assert_eq!(workers.join().expect("all").finished, 200);
    assert_eq!(sum.load(Ordering::SeqCst), 20_100);
    test.finish();
}

/// Cancelled in the pool's queue, in a query, anywhere: the pool is as good as before.
#[test]
fn cancelled_workers_leave_a_sound_pool() {
    let test = TestPool::new(2);
    for _ in 0..10 {
        let db: Arc<Database> = Arc::new(test.pool.clone().into());
        let workers = workers(8).expect("eight");
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..8 {
            let (db, begun) = (db.clone(), begun.clone());
            let work = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                loop {
                    let _ = db.query("SELECT pg_sleep(0.001)", ()).run();
                }
            };
            workers.spawn(work).expect("a place");
        }
        crate::support::eventually::eventually("all have begun", || begun.load(Ordering::SeqCst) == 8);
        workers.cancel();
        let report = workers.join().expect("all");
        assert_eq!((report.finished, report.cancelled, report.panicked), (0, 8, 0));
    }
    test.finish();
}

/// No destructor of the worker runs (rule M14), and its place is free all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_whose_stack_overflows_is_reported_and_gives_its_place_back() {
    #[allow(unconditional_recursion, reason = "on purpose")]
    fn deeper(depth: &mut [u8; 512]) -> u8 {
        let mut frame = std::hint::black_box([1_u8; 512]);
        frame[0] = depth[0];
        deeper(std::hint::black_box(&mut frame)).wrapping_add(frame[1])
    }
    prepare();
    let workers = workers(1).expect("one");
    let work = || {
        std::hint::black_box(deeper(&mut [0; 512]));
    };
    workers.spawn_named("deep", work).expect("a place");
    workers.spawn(|| {}).expect("the place of the first");
    let report = workers.join().expect("all");
    assert_eq!((report.finished, report.panicked), (1, 1));
    assert_eq!(
        report.panics[0].to_string(),
        "worker 1 (deep): its stack overflowed: give it more with stack_size"
    );
    // Given more, it would not: a quarter of a mebibyte is used here.
    let more = workers.stack_size(1 << 20);
    let used = || {
        let big = std::hint::black_box([1_u8; 256 * 1024]);
        assert_eq!(big[std::hint::black_box(5)], 1);
    };
    more.spawn(used).expect("a place");
    assert_eq!(more.join().expect("all").finished, 1);
}
