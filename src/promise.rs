//! One value on its way from one place to one waiter. Explored with loom in `loom/`. Uses: coro, sync.

use std::sync::Arc;

use crate::coro::{self, Waiter};
use crate::sync::Mutex;

/// The place of the value, for one who sends it and one who waits for it. Whoever fills it wakes the one who waits.
pub(crate) struct Slot<T>(Mutex<State<T>>);

/// The sender's end of a slot of its own.
pub(crate) struct Promise<T>(Arc<Slot<T>>);

/// The waiter's end. Dropping it, on whatever way out, tells the sender that nobody waits any more.
pub(crate) struct Claim<T>(Arc<Slot<T>>);

enum State<T> {
    /// On its way; whom to wake.
    Pending(Option<Waiter>),
    /// There.
    Kept(T),
    /// The waiter's deadline passed first.
    Overdue,
    /// Nobody waits any more.
    Abandoned,
}

/// What a wait brought.
pub(crate) enum Waited<T> {
    Value(T),
    Overdue,
}

/// A promise and its claim.
pub(crate) fn promise<T>() -> (Promise<T>, Claim<T>) {
    let slot = Arc::new(Slot::new());
    (Promise(slot.clone()), Claim(slot))
}

impl<T> std::ops::Deref for Promise<T> {
    type Target = Slot<T>;

    fn deref(&self) -> &Slot<T> {
        &self.0
    }
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot(Mutex::new(State::Pending(None)))
    }

    /// Keeps it; returns whom to wake, once the caller holds no lock. Without anybody waiting the value is dropped.
    #[must_use = "the waiter must be woken"]
    pub(crate) fn keep(&self, value: T) -> Option<Waiter> {
        self.settle(State::Kept(value))
    }

    /// Tells the waiter that its deadline has passed; returns whom to wake.
    #[must_use = "the waiter must be woken"]
    pub(crate) fn expire(&self) -> Option<Waiter> {
        self.settle(State::Overdue)
    }

    /// Whether somebody still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*self.0.lock(), State::Pending(_))
    }

    fn settle(&self, outcome: State<T>) -> Option<Waiter> {
        let mut state = self.0.lock();
        let State::Pending(waiter) = &mut *state else { return None };
        let waiter = waiter.take();
        *state = outcome;
        waiter
    }

    /// Waits for the value, which is taken out. A cancel unwinds through here.
    pub(crate) fn wait(&self) -> Waited<T> {
        loop {
            {
                let mut state = self.0.lock();
                match &mut *state {
                    State::Pending(Some(_)) => {}
                    State::Pending(waiter @ None) => *waiter = Some(Waiter::current()),
                    State::Overdue | State::Abandoned => return Waited::Overdue,
                    State::Kept(_) => {
                        if let State::Kept(value) = std::mem::replace(&mut *state, State::Abandoned) {
                            return Waited::Value(value);
                        }
                    }
                }
            }
            coro::park();
        }
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&self) {
        let abandoned = std::mem::replace(&mut *self.0.lock(), State::Abandoned);
        // The value may run code of its own: not under the lock.
        drop(abandoned);
    }
}

impl<T> Claim<T> {
    /// Whether a wait would be over at once.
    pub(crate) fn is_settled(&self) -> bool {
        !self.0.is_wanted()
    }

    /// Waits for the value. A cancel unwinds through here.
    pub(crate) fn wait(self) -> Waited<T> {
        self.0.wait()
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coro::spawn;

    #[test]
    fn a_value_kept_before_and_after_the_wait_began_arrives() {
        let (early, claim) = promise();
        assert!(early.keep(1).is_none());
        assert!(matches!(claim.wait(), Waited::Value(1)));

        let (late, claim) = promise();
        let waiting = spawn(move || matches!(claim.wait(), Waited::Value(2)));
        while matches!(*late.0.0.lock(), State::Pending(None)) {
            std::thread::yield_now();
        }
        late.keep(2).inspect(Waiter::wake);
        assert!(waiting.join().expect("joined"));
    }

    #[test]
    fn what_nobody_waits_for_is_dropped_and_stray_wakes_do_no_harm() {
        let (promise_, claim) = promise::<Arc<()>>();
        drop(claim);
        let value = Arc::new(());
        assert!(!promise_.is_wanted());
        assert!(promise_.keep(value.clone()).is_none());
        assert_eq!(Arc::strong_count(&value), 1);

        let (overdue, claim) = promise::<()>();
        for _ in 0..5 {
            Waiter::current().wake();
        }
        let thread = std::thread::spawn(move || overdue.expire().inspect(Waiter::wake).is_some());
        assert!(matches!(claim.wait(), Waited::Overdue));
        thread.join().expect("joined");
    }
}
