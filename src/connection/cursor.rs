//! A result read in chunks, in bounded memory. Uses: connection, deadline, error, execute, from_row, promise, protocol, row, ticket.

use std::time::Duration;

use bytes::Bytes;

use super::execute::{Fit, Portal, Request};
use super::ticket::Ends;
use super::{Connection, check};
use crate::deadline::Deadline;
use crate::error::{QueryContext, Result};
use crate::from_row::FromRow;
use crate::promise::{Claim, Waited};
use crate::protocol::decode::Messages;
use crate::protocol::encode;
use crate::protocol::session::Reply;
use crate::row::RowReader;

/// How many rows the first chunk has if nobody says.
const FIRST: i32 = 256;
/// How many bytes the later ones should have. A chunk costs a round trip; and two are held at a time.
const BYTES: usize = 256 * 1024;
/// How many rows they have at most.
const MOST: i32 = 8192;

/// How many rows the next chunk should have, after one of so many rows and bytes: not more than twice as many.
fn next_rows(rows: i32, bytes: usize) -> i32 {
    let a_row = (bytes / usize::try_from(rows).unwrap_or(1).max(1)).max(1);
    let fit = i32::try_from(BYTES / a_row).unwrap_or(MOST);
    fit.clamp(1, rows.saturating_mul(2).min(MOST))
}

/// A named portal and the rows of it that have arrived. The next chunk is asked for when the last one comes, before
/// it is eaten.
///
/// The connection is passed to each call, because a cursor may live beside the lease that it reads from. Named, because
/// the unnamed portal ends silently when somebody else uses it.
pub(crate) struct Cursor {
    reader: RowReader,
    portal: String,
    rows: i32,
    /// Somebody has said how many.
    fixed: bool,
    /// Without a transaction a Sync would end the portal: chunks are asked for with Flush.
    bare: bool,
    chunk: Bytes,
    at: usize,
    /// How many rows have been read.
    read: u64,
    next: Option<Claim<Result<Reply>>>,
    closed: bool,
    /// How long each chunk may take.
    limit: Option<Duration>,
}

impl Cursor {
    /// Starts the statement. `rows` is the size of a chunk, which is found if nobody says; 0 asks for all rows at once, which
    /// allows a parallel plan and holds the whole result in memory.
    pub(crate) fn open(
        connection: &Connection,
        request: Request<'_>,
        rows: Option<u32>,
        limit: Option<Duration>,
        fit: Fit<'_>,
    ) -> Result<Cursor> {
        let deadline = Deadline::after(limit);
        // Whether a transaction is open decides how the chunks are asked for.
        connection.settle(deadline)?;
        let bare = rows != Some(0) && !connection.in_transaction();
        let name = if rows == Some(0) { String::new() } else { connection.link.new_portal() };
        let fixed = rows.is_some();
        let rows = rows.map_or(FIRST, |rows| i32::try_from(rows).unwrap_or(i32::MAX));
        // Whatever fails, a cancel included, must close the portal.
        let mut guard = CloseOnDrop { portal: Some(name), bare, connection };
        let portal = Portal { name: guard.portal.as_deref().unwrap_or_default(), rows, bare };
        let (statement, reply) = connection.bind_and_execute(request, portal, deadline, fit)?;
        let mut cursor = Cursor {
            reader: RowReader::new(statement.columns.clone()),
            portal: guard.portal.take().unwrap_or_default(),
            rows,
            fixed,
            bare,
            chunk: Bytes::new(),
            at: 0,
            read: 0,
            next: None,
            closed: false,
            limit,
        };
        match cursor.receive(connection, reply) {
            Ok(()) => Ok(cursor),
            Err(error) => {
                cursor.close(connection);
                Err(error)
            }
        }
    }

    /// The next row; waits for the next chunk if need be.
    pub(crate) fn next<T: FromRow>(&mut self, connection: &Connection, plan: &T::Plan) -> Result<Option<T>> {
        loop {
            let mut messages = Messages::resume(&self.chunk, self.at);
            let row = messages.by_ref().find(|(tag, _)| *tag == b'D');
            self.at = messages.position();
            if let Some((_, body)) = row {
                let row = connection.believe(self.reader.read(&self.chunk, body))?;
                self.read += 1;
                return T::from_row(plan, &row).map(Some).map_err(|error| error.in_row(self.read));
            }
            let Some(claim) = self.next.take() else {
                self.finish(connection)?;
                return Ok(None);
            };
            let reply = connection.wait(claim)?;
            self.receive(connection, reply)?;
        }
    }

    /// Takes a chunk and asks for the one behind it.
    fn receive(&mut self, connection: &Connection, reply: Reply) -> Result<()> {
        check(&reply)?;
        let suspended = Messages::new(&reply.bytes).any(|(tag, _)| tag == b's');
        self.chunk = reply.bytes;
        self.at = 0;
        if suspended {
            if !self.fixed {
                self.rows = next_rows(self.rows, self.chunk.len());
            }
            // A savepoint that was left by a panic is undone with the next request, and this one is none of a statement.
            connection.undo(Deadline::after(self.limit))?;
            let exchange = if self.bare { encode::EXECUTE_NEXT } else { encode::EXECUTE_NEXT_AND_SYNC };
            let claim =
                connection.submit(Ends::Nothing, exchange, Deadline::after(self.limit), |encoder| {
                    encoder.execute(&self.portal, self.rows)?;
                    if self.bare {
                        encoder.flush()
                    } else {
                        encoder.sync()
                    }
                    Ok(())
                })?;
            self.next = Some(claim);
        }
        Ok(())
    }

    /// Ends it after the last row. Without a transaction the statement commits only now, at the Sync, and that may fail:
    /// a deferred constraint, a serialization failure, a lost connection.
    fn finish(&mut self, connection: &Connection) -> Result<()> {
        if !self.bare || self.closed {
            self.close(connection);
            return Ok(());
        }
        self.closed = true;
        connection.streaming.set(false);
        let reply = connection.sync(Deadline::after(self.limit))?;
        check(&reply)
    }

    /// Nobody looks at the chunk that was asked for ahead: the error that it brought, if it did.
    pub(crate) fn give_up(&mut self, connection: &Connection, query: &QueryContext) {
        let Some(claim) = self.next.take() else { return };
        if !claim.is_settled() {
            drop(claim);
            return connection.give_up(query);
        }
        if let Waited::Value(Ok(reply)) = claim.wait()
            && let Err(error) = check(&reply)
        {
            connection.note(error.in_query(query));
        }
    }

    /// Ends the portal without reading the rest; does not wait.
    pub(crate) fn close(&mut self, connection: &Connection) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.next = None;
        close_portal(connection, &self.portal, self.bare);
    }
}

/// Closes a portal whose cursor did not come into being.
struct CloseOnDrop<'c> {
    portal: Option<String>,
    bare: bool,
    connection: &'c Connection,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(portal) = &self.portal {
            // A bare one is there only while the connection streams.
            if !self.bare || self.connection.streaming.get() {
                close_portal(self.connection, portal, self.bare);
            }
        }
    }
}

/// Ends a portal without reading the rest; does not wait.
fn close_portal(connection: &Connection, name: &str, bare: bool) {
    if bare {
        connection.streaming.set(false);
        // Ends the implicit transaction and the portal with it.
        connection.link.post_and_forget(encode::SYNC_BYTES, encode::SYNC);
    } else if !name.is_empty() {
        let mut bytes = connection.take_scratch();
        let mut encoder = encode::Encoder::new(&mut bytes, usize::MAX);
        // A name of ours: it cannot fail.
        let _ = encoder.close_portal(name);
        encoder.sync();
        drop(encoder);
        connection.link.post_and_forget(&bytes, encode::CLOSE);
        connection.keep_scratch(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_while_rows_are_short_and_shrink_where_they_are_long() {
        assert_eq!(next_rows(256, 256 * 50), 512);
        assert_eq!(next_rows(4096, 4096 * 50), 5242, "what makes up 256 KiB");
        assert_eq!(next_rows(8192, 8192 * 10), 8192);
        assert_eq!(next_rows(256, 256 * 100_000), 2);
        assert_eq!(next_rows(2, 600_000), 1);
        assert_eq!(next_rows(1, 0), 2);
    }
}
