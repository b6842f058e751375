//! A sign of life from a session that has been idle. Uses: clean_up, deadline, link.

use super::clean_up::CleanUp;
use super::link::Link;
use crate::deadline::Deadline;

impl Link {
    /// Asks the server for a sign of life: one bare Sync, which executes nothing. Then `done` is called; if none has come by
    /// the deadline the connection dies. For a session that is idle. Does not wait.
    ///
    /// What the end of a socket tells the driver sees without asking. This finds what neither side can see, such as a firewall
    /// that has forgotten the connection; and what the server says only when it is asked, such as a setting that was changed.
    pub(crate) fn ping(&self, deadline: Deadline, done: impl FnOnce() + Send + 'static) {
        let ping = CleanUp::new(deadline, "it gave no sign of life", done);
        self.ask(deadline, |state| {
            state.owes_round_trip = true;
            state.clean_up = Some(ping);
        });
    }
}
