//! How a session comes back to idle by itself. Uses: cancel, deadline, link, protocol, ticket.

use bytes::BytesMut;

use super::cancel::PATIENCE;
use super::link::{Link, State};
use super::ticket::{Ends, Ticket};
use crate::deadline::Deadline;
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::Status;

/// A clean-up under way.
pub(super) struct CleanUp {
    /// If it takes longer the connection dies.
    pub(super) deadline: Deadline,
    /// Why it died then.
    pub(super) overdue: &'static str,
    /// From when on the server is told to stop what is outstanding; that it was, once.
    pub(super) stop: Deadline,
    pub(super) stopped: bool,
    /// Bytes that came since it began.
    pub(super) drained: usize,
    rolled_back: bool,
    done: Box<dyn FnOnce() + Send>,
}

impl CleanUp {
    pub(super) fn new(
        deadline: Deadline,
        overdue: &'static str,
        done: impl FnOnce() + Send + 'static,
    ) -> CleanUp {
        CleanUp {
            deadline,
            overdue,
            stop: Deadline::NEVER,
            stopped: false,
            drained: 0,
            rolled_back: false,
            done: Box::new(done),
        }
    }
}

impl Link {
    /// Asks the driver to bring the session back to idle: finish what is outstanding, which the server is told to stop if it
    /// takes long or is much; roll back. Then `done` is called; if it takes beyond the deadline the connection dies instead.
    /// Does not wait.
    pub(crate) fn clean_up(&self, deadline: Deadline, done: impl FnOnce() + Send + 'static) {
        let mut clean_up = CleanUp::new(deadline, "its clean-up took too long", done);
        clean_up.stop = Deadline::after(PATIENCE);
        self.ask(deadline.min(clean_up.stop), |state| state.clean_up = Some(clean_up));
    }
}

impl State {
    /// Takes the next step of a clean-up: finish what is outstanding, close the sequence, then the transaction, then the round
    /// trip that is owed. Returns what to call after the last.
    pub(super) fn advance_clean_up(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let clean_up = self.clean_up.as_mut()?;
        if self.session.is_waiting() || self.fence.is_up() {
            return None;
        }
        let ticket = Ticket::nobodys();
        if self.session.is_unsynced() {
            let _ = self.session.submit(encode::SYNC_BYTES, encode::SYNC, ticket);
        } else if self.session.status() != Status::Idle {
            if !std::mem::replace(&mut clean_up.rolled_back, true) {
                let mut rollback = BytesMut::new();
                // A constant text: it cannot fail.
                let _ = Encoder::new(&mut rollback, usize::MAX).query("ROLLBACK");
                let _ = self.session.submit(&rollback, encode::SIMPLE, ticket.that_ends(Ends::Rollback));
            }
        } else if std::mem::take(&mut self.owes_round_trip) {
            let _ = self.session.submit(encode::SYNC_BYTES, encode::SYNC, ticket);
        } else {
            return self.clean_up.take().map(|clean_up| clean_up.done);
        }
        None
    }
}
