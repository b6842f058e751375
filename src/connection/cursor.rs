//! A result read in chunks, in bounded memory. Uses: connection, deadline, error, execute, from_row, promise, protocol, row, ticket.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::execute::{Fit, Portal, Request};
use super::ticket::{Asker, Ticket};
use super::{Connection, check};
use crate::deadline::Deadline;
use crate::error::{QueryContext, Result};
use crate::from_row::FromRow;
use crate::promise::{Claim, Waited, promise};
use crate::protocol::decode::Messages;
use crate::protocol::encode;
use crate::protocol::session::Reply;
use crate::row::RowReader;

/// How many rows the first chunk has if nobody says.
const FIRST: i32 = 256;
/// How many bytes the later ones should have.
const BYTES: usize = 64 * 1024;
/// How many rows they have at most: what comes if all of a sudden the rows are long.
const MOST: i32 = 2048;
/// How many bytes are asked for ahead: what the server is busy with while its client, and the way to it, are slow for a
/// moment.
const AHEAD: usize = 256 * 1024;
/// How many chunks these are at most.
const MOST_AHEAD: usize = AHEAD / BYTES;

/// How much to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// How many rows make a chunk.
    rows: i32,
    /// How many chunks may be ahead of the one that is eaten.
    ahead: usize,
}

impl Pace {
    /// It begins slowly: many look at the first rows only.
    const FIRST: Pace = Pace { rows: FIRST, ahead: 1 };

    /// What comes behind a chunk of so many bytes. Chunks are at most twice as long as before, and one more ahead.
    fn next(self, bytes: usize) -> Pace {
        let a_row = (bytes / usize::try_from(self.rows).unwrap_or(1).max(1)).max(1);
        let fit = i32::try_from(BYTES / a_row).unwrap_or(MOST);
        let rows = fit.clamp(1, self.rows.saturating_mul(2).min(MOST));
        let chunk = a_row.saturating_mul(usize::try_from(rows).unwrap_or(1));
        Pace { rows, ahead: (AHEAD / chunk).clamp(1, MOST_AHEAD.min(self.ahead + 1)) }
    }
}

/// A named portal and the rows of it that have arrived. The next chunks are asked for before the last one is eaten, so that
/// the server never waits for us unless we are slower.
///
/// The connection is passed to each call, because a cursor may live beside the lease that it reads from. Named, because
/// the unnamed portal ends silently when somebody else uses it.
pub(crate) struct Cursor {
    reader: RowReader,
    portal: String,
    pace: Pace,
    /// Somebody has said how many rows make a chunk: so many, and one chunk ahead.
    fixed: bool,
    /// Without a transaction a Sync would end the portal: chunks are asked for with Flush.
    bare: bool,
    chunk: Bytes,
    at: usize,
    /// How many rows have been read.
    read: u64,
    /// Asked for and not yet eaten, in order.
    ahead: VecDeque<Claim<Result<Reply>>>,
    /// The last chunk has come; of what was asked for behind it, only whether it failed is of interest.
    complete: bool,
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
        let pace = Pace { rows, ..Pace::FIRST };
        // Whatever fails, a cancel included, must close the portal.
        let mut guard = CloseOnDrop { portal: Some(name), bare, connection };
        let portal = Portal { name: guard.portal.as_deref().unwrap_or_default(), rows, bare };
        let (statement, reply) = connection.bind_and_execute(request, portal, deadline, fit)?;
        let mut cursor = Cursor {
            reader: RowReader::new(statement.columns.clone()),
            portal: guard.portal.take().unwrap_or_default(),
            pace,
            fixed,
            bare,
            chunk: Bytes::new(),
            at: 0,
            read: 0,
            ahead: VecDeque::new(),
            complete: false,
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
                self.read += 1;
                return match self.reader.read(&self.chunk, body) {
                    Ok(row) => T::from_row(plan, &row).map(Some).map_err(|error| error.in_row(self.read)),
                    Err(error) => connection.believe(Err(error)),
                };
            }
            let Some(claim) = self.ahead.pop_front() else {
                self.finish(connection)?;
                return Ok(None);
            };
            let reply = connection.wait(claim)?;
            self.receive(connection, reply)?;
        }
    }

    /// Takes a chunk and asks for those behind it.
    fn receive(&mut self, connection: &Connection, reply: Reply) -> Result<()> {
        check(&reply)?;
        self.chunk = reply.bytes;
        self.at = 0;
        self.complete |= !is_suspended(&self.chunk);
        if self.complete {
            return Ok(());
        }
        if !self.fixed {
            self.pace = self.pace.next(self.chunk.len());
        }
        // A savepoint that was left by a panic is undone with the next request, and this one is none of a statement.
        connection.undo(Deadline::after(self.limit))?;
        while self.ahead.len() < self.pace.ahead {
            self.ask_ahead(connection)?;
        }
        Ok(())
    }

    fn ask_ahead(&mut self, connection: &Connection) -> Result<()> {
        let mut bytes = connection.take_scratch();
        let mut encoder = encode::Encoder::new(&mut bytes, connection.link.limit());
        encoder.execute(&self.portal, self.pace.rows)?;
        let exchange = if self.bare {
            encoder.flush();
            encode::EXECUTE_NEXT
        } else {
            encoder.sync();
            encode::EXECUTE_NEXT_AND_SYNC
        };
        drop(encoder);
        let (slot, claim) = promise();
        let ticket = Ticket::of(Asker::Caller(slot), Deadline::NEVER).in_its_turn(self.limit);
        let posted = connection.link.post(&bytes, exchange, ticket);
        connection.keep_scratch(bytes);
        posted?;
        self.ahead.push_back(claim);
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

    /// Nobody looks at the chunks that were asked for ahead: the error that one of them brought, if it did.
    pub(crate) fn give_up(&mut self, connection: &Connection, query: &QueryContext) {
        for claim in self.ahead.drain(..) {
            if !claim.is_settled() {
                drop(claim);
                connection.give_up(query);
            } else if let Waited::Value(Ok(reply)) = claim.wait()
                && let Err(error) = check(&reply)
            {
                connection.note(error.in_query(query));
            }
        }
    }

    /// Ends the portal without reading the rest; does not wait.
    pub(crate) fn close(&mut self, connection: &Connection) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.ahead.clear();
        close_portal(connection, &self.portal, self.bare);
    }
}

/// Whether the reply to an Execute says that there may be more rows.
fn is_suspended(reply: &[u8]) -> bool {
    const SUSPENDED: &[u8] = b"s\0\0\0\x04";
    const READY: usize = 6;
    // It is the last message, but for ReadyForQuery. No other that can be here ends like it.
    let without_ready = &reply[..reply.len().saturating_sub(READY)];
    reply.ends_with(SUSPENDED)
        || without_ready.ends_with(SUSPENDED)
        // What comes unasked may stand between.
        || Messages::new(reply).any(|(tag, _)| tag == b's')
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

    fn pace(rows: i32, ahead: usize) -> Pace {
        Pace { rows, ahead }
    }

    #[test]
    fn chunks_grow_while_rows_are_short_and_shrink_where_they_are_long() {
        assert_eq!(Pace::FIRST.next(256 * 50), pace(512, 2));
        assert_eq!(pace(1024, 3).next(1024 * 50), pace(1310, 4), "what makes up 64 KiB");
        assert_eq!(pace(2048, 4).next(2048 * 10), pace(2048, 4));
        assert_eq!(pace(256, 4).next(256 * 100_000), pace(1, 2));
        assert_eq!(pace(2, 2).next(2_000_000), pace(1, 1));
        assert_eq!(pace(1, 1).next(0), pace(2, 2));
    }

    #[test]
    fn what_is_asked_for_ahead_of_rows_that_are_alike_is_bounded() {
        for row in [1, 10, 45, 1000, 10_000, 60_000, 70_000, 1_000_000] {
            let mut pace = Pace::FIRST;
            for _ in 0..20 {
                let rows = usize::try_from(pace.rows).expect("positive");
                pace = pace.next(rows * row);
            }
            let rows = usize::try_from(pace.rows).expect("positive");
            assert!(rows * row * pace.ahead <= AHEAD.max(row), "{pace:?} of {row} bytes");
            assert!(rows * pace.ahead <= 8192, "{pace:?}");
        }
    }

    #[test]
    fn a_reply_is_suspended_whatever_came_unasked_in_it() {
        let row = b"D\0\0\0\x06\0\0";
        let (ready, unasked) = (b"Z\0\0\0\x05T", b"S\0\0\0\x08a\0b\0");
        for suspended in [true, false] {
            let end: &[u8] = if suspended { b"s\0\0\0\x04" } else { b"C\0\0\0\x0dSELECT 1\0" };
            let replies: [&[&[u8]]; 4] =
                [&[row, end], &[row, end, ready], &[end, unasked, ready], &[unasked, end, ready]];
            for reply in replies {
                assert_eq!(is_suspended(&reply.concat()), suspended, "{reply:?}");
            }
        }
        assert!(!is_suspended(b""));
    }
}
