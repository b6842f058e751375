//! x Uses: link.
use super::link::{Fitness, Link};
use crate::deadline::Deadline;
use crate::error::Error;
use std::sync::Arc;
pub(crate) struct Activity {
    pub(crate) user: usize,
    pub(crate) executing: bool,
    pub(crate) statement: Option<String>,
}
impl Link {
    pub(crate) fn user(&self) -> usize {
        0
    }
    pub(crate) fn activity(&self) -> Activity {
        Activity { user: 0, executing: false, statement: None }
    }
    pub(crate) fn retire_lease(&self) -> Fitness {
        self.fitness()
    }
    pub(crate) fn revoke(self: &Arc<Self>, error: Error) {
        self.kill(error)
    }
    pub(crate) fn ping(&self, deadline: Deadline, done: impl FnOnce() + Send + 'static) {
        self.clean_up(deadline, done)
    }
}
pub(crate) fn is_shutdown(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("57P01" | "57P02" | "57P03"))
}
