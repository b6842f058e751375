//! The transaction in which something failed. Uses: nothing.

use std::fmt;

/// The transaction in which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Within {
    /// Told apart from all others.
    pub(crate) id: u64,
    pub(crate) name: Option<&'static str>,
    /// Which attempt it was, from 1.
    pub(crate) attempt: u32,
    /// How many there could be.
    pub(crate) of: u32,
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "transaction {name}")?,
            None => f.write_str("a transaction")?,
        }
        if self.of > 1 {
            write!(f, ", attempt {} of {}", self.attempt, self.of)?;
        }
        Ok(())
    }
}
