//! A promise is kept, runs out, and is abandoned, at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;

use crate::coro::Waiter;
use crate::promise::{Waited, promise};

/// Tells when it is dropped.
struct Value(Arc<AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whoever waits is woken, whenever the value comes. (loom fails if everybody is parked.)
pub fn a_value_always_arrives() {
    let (sender, claim) = promise();
    let waiting = thread::spawn(move || assert!(matches!(claim.wait(), Waited::Value(7))));
    sender.keep(7).inspect(Waiter::wake);
    assert!(!sender.is_wanted());
    waiting.join().expect("no panic");
}

/// Wake-ups that mean nothing, of others that know the waiter, neither end the wait nor use up the one that counts.
pub fn a_value_arrives_among_stray_wake_ups() {
    let (sender, claim) = promise();
    let waiting = thread::spawn(move || assert!(matches!(claim.wait(), Waited::Value(7))));
    let waiter = Waiter::of(&waiting);
    let straying = thread::spawn(move || waiter.wake());
    sender.keep(7).inspect(Waiter::wake);
    straying.join().expect("no panic");
    waiting.join().expect("no panic");
}

/// The reply and the end of the time limit at the same time: one of them is heard, the other changes nothing, the value is
/// there once or dropped once.
pub fn a_value_that_races_the_deadline_is_heard_or_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (sender, claim) = promise();
    let sender = Arc::new(sender);
    let value = Value(dropped.clone());
    let seen = dropped.clone();
    let waiting = thread::spawn(move || {
        if let Waited::Value(value) = claim.wait() {
            assert_eq!(seen.load(Ordering::SeqCst), 0);
            drop(value);
        }
    });
    let expiring = {
        let sender = sender.clone();
        thread::spawn(move || drop(sender.expire().inspect(Waiter::wake)))
    };
    sender.keep(value).inspect(Waiter::wake);
    expiring.join().expect("no panic");
    waiting.join().expect("no panic");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

/// The waiter goes away, cancelled for instance, while the value or the end of its time comes: nobody is woken for nothing,
/// and the value is dropped once.
pub fn a_value_that_races_the_end_of_its_waiter_is_dropped_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (sender, claim) = promise();
    let value = Value(dropped.clone());
    let sending = thread::spawn(move || {
        assert!(sender.keep(value).is_none(), "nobody has begun to wait");
        assert!(!sender.is_wanted());
        assert!(sender.expire().is_none());
    });
    drop(claim);
    sending.join().expect("no panic");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
