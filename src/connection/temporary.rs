//! x Uses: link.
use super::link::{Fitness, Link};
use crate::error::Error;
use std::sync::Arc;
impl Link {
    pub(crate) fn retire_lease(&self) -> Fitness {
        self.fitness()
    }
    pub(crate) fn revoke(self: &Arc<Self>, error: Error) {
        self.kill(error)
    }
}
