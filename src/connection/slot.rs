//! Where a caller finds its reply. Uses: coro, error, protocol.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::coro::{self, Waiter};
use crate::error::{Error, Result};
use crate::protocol::session::Reply;

/// One outstanding reply: the driver fills it, one caller empties it.
pub(crate) struct Slot(Mutex<State>);

enum State {
    /// On its way; whom to wake.
    Pending(Option<Waiter>),
    /// There.
    Done(Result<Reply, Error>),
    /// Its deadline passed first.
    Overdue,
    /// Nobody waits any more: the driver throws the reply away.
    Abandoned,
}

/// What a wait brought.
pub(crate) enum Waited {
    Reply(Result<Reply>),
    Overdue,
}

impl Slot {
    pub(crate) fn new() -> Arc<Slot> {
        Arc::new(Slot(Mutex::new(State::Pending(None))))
    }

    /// Fills it; returns whom to wake once no lock is held.
    pub(crate) fn fill(&self, reply: Result<Reply>) -> Option<Waiter> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Pending(waiter) => {
                let waiter = waiter.take();
                *state = State::Done(reply);
                waiter
            }
            State::Done(_) | State::Overdue | State::Abandoned => None,
        }
    }

    /// Tells the caller that its deadline has passed; returns whom to wake.
    pub(crate) fn expire(&self) -> Option<Waiter> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Pending(waiter) => {
                let waiter = waiter.take();
                *state = State::Overdue;
                waiter
            }
            State::Done(_) | State::Overdue | State::Abandoned => None,
        }
    }

    /// Whether somebody still waits for the reply.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*self.0.lock(), State::Pending(_))
    }
}

/// The caller's end of a slot. Dropping it, on whatever way out, abandons the reply.
pub(crate) struct Claim(pub(crate) Arc<Slot>);

impl Claim {
    /// Waits for the reply. A cancel unwinds through here.
    pub(crate) fn wait(self) -> Waited {
        loop {
            {
                let mut state = self.0.0.lock();
                match &mut *state {
                    State::Pending(Some(_)) => {}
                    State::Pending(waiter @ None) => *waiter = Some(Waiter::current()),
                    State::Overdue | State::Abandoned => return Waited::Overdue,
                    State::Done(_) => {
                        let State::Done(reply) = std::mem::replace(&mut *state, State::Abandoned) else {
                            continue;
                        };
                        return Waited::Reply(reply);
                    }
                }
            }
            coro::park();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        *self.0.0.lock() = State::Abandoned;
    }
}
