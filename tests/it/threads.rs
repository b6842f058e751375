//! Plain threads may call everything that coroutines may (reliability case 53).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::exercise::exercise;
use crate::support::pool::{TestPool, in_coroutine};

/// Unparks a thread without end and for no reason, until it is dropped.
struct Hammer {
    over: Arc<AtomicBool>,
    blows: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Hammer {
    fn on(victim: thread::Thread) -> Hammer {
        Hammer::with(move || victim.unpark())
    }

    fn with(blow: impl Fn() + Send + 'static) -> Hammer {
        let (over, blows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (over.clone(), blows.clone());
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                blow();
                count.fetch_add(1, Ordering::Relaxed);
                // Often enough, and no core is taken from the others.
                thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        Hammer { over, blows, thread: Some(thread) }
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Case 53.
#[test]
fn stray_unparks_of_a_thread_change_no_result() {
    let test = TestPool::new(1);
    let undisturbed = exercise(&test.db);
    let hammer = Hammer::on(thread::current());
    assert_eq!(exercise(&test.db), undisturbed);
    // A wait that takes a while, in the queue: the hammer strikes many times while it lasts.
    let lent = test.pool.connection().expect("lent");
    let before = hammer.blows.load(Ordering::Relaxed);
    let limit = std::time::Duration::from_millis(50);
    assert!(test.pool.connection_within(limit).expect_err("it is lent").is_timeout());
    assert!(hammer.blows.load(Ordering::Relaxed) > before, "the hammer did not strike");
    // A join of a coroutine.
    let answer = maypole::spawn(move || lent.query("SELECT pg_sleep(0.05)", ()).run()).join();
    assert_eq!(answer.expect("no panic").expect("an answer"), 1);
    drop(hammer);
    test.finish();
}

/// Case 53, for coroutines: whoever has a handle may unpark it.
#[test]
fn stray_unparks_of_a_coroutine_change_no_result() {
    let test = TestPool::new(1);
    let undisturbed = exercise(&test.db);
    let db = maypole::Database::from(test.pool.clone());
    let disturbed = in_coroutine(move || {
        let me = may::coroutine::current();
        let hammer = Hammer::with(move || me.unpark());
        let transcript = exercise(&db);
        drop(hammer);
        transcript
    });
    assert_eq!(disturbed, undisturbed);
    test.finish();
}
