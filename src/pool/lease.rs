//! A borrowed connection. Uses: connection, pool.

use std::fmt;
use std::ops::Deref;

use super::Return;
use crate::connection::Connection;

/// A connection that is borrowed from a [`Pool`](crate::Pool), and goes back when this is dropped.
///
/// Dropping it never waits and does no I/O: a session that the server said is idle goes to the next borrower at once; one
/// that is in a transaction, or whose reply nobody waited for, is brought back to idle by its driver within 2 s, or closed.
pub struct Lease {
    connection: Connection,
    back: Return,
}

impl Lease {
    pub(super) fn new(connection: Connection, back: Return) -> Lease {
        Lease { connection, back }
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.back.give_back(self.connection.link());
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.connection).finish()
    }
}
