//! One value on its way from one place to one waiter. Explored with loom in `loom/`. Uses: coro, sync.

use std::sync::Arc;

use crate::coro::{self, Waiter};
use crate::sync::Mutex;

/// The sender's end. Whoever fills it wakes the one who waits.
pub(crate) struct Promise<T>(Arc<Mutex<State<T>>>);

/// The waiter's end. Dropping it, on whatever way out, tells the sender that nobody waits any more.
pub(crate) struct Claim<T>(Arc<Mutex<State<T>>>);

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
    let state = Arc::new(Mutex::new(State::Pending(None)));
    (Promise(state.clone()), Claim(state))
}

impl<T> Promise<T> {
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
}

impl<T> Claim<T> {
    /// Whether a wait would be over at once.
    pub(crate) fn is_settled(&self) -> bool {
        !matches!(*self.0.lock(), State::Pending(_))
    }

    /// Waits for the value. A cancel unwinds through here.
    pub(crate) fn wait(self) -> Waited<T> {
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
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let abandoned = std::mem::replace(&mut *self.0.lock(), State::Abandoned);
        // The value may run code of its own: not under the lock.
        drop(abandoned);
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
        while matches!(*late.0.lock(), State::Pending(None)) {
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
