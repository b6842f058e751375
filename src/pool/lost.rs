//! Leases that nobody can give back any more, or that somebody has forgotten. Uses: connection, core, coro, error, inner, journal.
//!
//! A stack that overflows ends its coroutine without running destructors (rule M14), so a lease in it stays taken. But
//! what belongs to the coroutine itself is dropped, and tells the pool: if the coroutine overflowed, its leases are taken
//! back at once. If it was not started by [`spawn`](crate::spawn), it is not known how it ended, and a lease may have been handed to another coroutine
//! before: it is taken back if nobody else has used it when the leak warning is due.

use std::sync::Arc;

use super::core::{Held, Overlong};
use super::inner::{Inner, Pooled};
use super::journal;
use crate::coro::{self, Ending};
use crate::error::{Error, Outcome};

impl Inner {
    /// This coroutine has borrowed from the pool: the pool wants to know when it ends.
    pub(super) fn watch(this: &Arc<Inner>, who: usize) {
        coro::at_end(this.number, || {
            let weak = Arc::downgrade(this);
            move |ending| {
                if let Some(this) = weak.upgrade() {
                    Inner::ended(&this, who, ending);
                }
            }
        });
    }

    fn ended(this: &Arc<Inner>, who: usize, ending: Ending) {
        let left = this.core.lock().ended(who, ending == Ending::Unknown);
        if ending != Ending::Overflowed {
            // Its identity comes again: whoever has it from now on is another.
            left.iter().for_each(|(pooled, _)| pooled.link.forget_user_if(who));
        } else {
            let lost = left.into_iter().filter(|(pooled, _)| [0, who].contains(&pooled.link.user()));
            lost.for_each(|(pooled, held)| this.take_back(&pooled, held, "its coroutine's stack overflowed"));
        }
    }

    /// A lease has been held for longer than the leak warning allows.
    pub(super) fn report(this: &Arc<Inner>, overlong: &Overlong<Pooled>) {
        let Overlong { connection: pooled, held, doubtful } = overlong;
        let activity = pooled.link.activity();
        if *doubtful && activity.user == 0 {
            this.take_back(
                pooled,
                *held,
                "its coroutine ended without giving it back, and nobody else has used it",
            );
            return;
        }
        journal::leaked(&this.name, pooled.link.entered.process, held, &activity);
    }

    fn take_back(&self, pooled: &Pooled, held: Held, why: &str) {
        let site = journal::taken_at(&held);
        journal::lost(&self.name, pooled.link.entered.process, &held, why);
        // The pool hears of its death as of any other, and the slot is free.
        pooled.link.kill(Error::closed(format!("the lease was lost{site}: {why}"), Outcome::Unknown));
    }
}
