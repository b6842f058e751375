//! A result that streams. Uses: connection, error, from_row, pool.

use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

use crate::connection::{Connection, Cursor, Request};
use crate::error::{Error, QueryContext, Result};
use crate::from_row::FromRow;
use crate::pool::Lease;

/// The rows of a query, one after the other, in bounded memory.
///
/// They are asked for in chunks, the next ones while the last is being eaten. About 320 KiB of them are held, however many
/// there are, or two rows if these are longer: see [`chunk`](crate::Query::chunk). An error is the last item. Dropping it
/// ends the query without reading the rest, and without waiting.
///
/// A statement that writes (`INSERT … RETURNING`) and streams outside a transaction is committed when the iterator has
/// returned `None`; if that fails, the last item is the error. Of one that is dropped before its end nobody is told.
#[must_use = "a stream that is dropped ends its query, and nobody hears whether it had failed: iterate over it"]
pub struct Rows<'q, T: FromRow>(State<'q, T>);

#[allow(clippy::large_enum_variant, reason = "there is one of it per stream, and it is not moved about")]
enum State<'q, T: FromRow> {
    Open(Open<'q, T>),
    Failed(Error),
    Over,
}

struct Open<'q, T: FromRow> {
    holder: Holder<'q>,
    cursor: Cursor,
    plan: T::Plan,
    timeout: Option<Duration>,
    context: QueryContext,
}

/// The connection that a query runs on.
pub(crate) enum Holder<'q> {
    /// Lent for this query, and given back with it.
    Lease(Lease),
    /// Somebody else's.
    Connection(&'q Connection),
}

impl Holder<'_> {
    pub(crate) fn connection(&self) -> &Connection {
        match self {
            Holder::Lease(lease) => lease,
            Holder::Connection(connection) => connection,
        }
    }
}

impl<'q, T: FromRow> Rows<'q, T> {
    pub(crate) fn open(
        holder: Holder<'q>,
        request: Request<'_>,
        chunk: Option<u32>,
        timeout: Option<Option<Duration>>,
        context: QueryContext,
    ) -> Result<Rows<'q, T>> {
        let connection = holder.connection();
        let timeout = timeout.unwrap_or(connection.timeout());
        let mut plan = None;
        let cursor = Cursor::open(connection, request, chunk, timeout, &mut |statement| {
            if !statement.returns_rows {
                return Err(Error::usage(
                    "the statement returns no rows: use run(), which tells how many it touched",
                ));
            }
            plan = Some(T::plan(&statement.columns)?);
            Ok(())
        });
        let mut cursor = cursor.map_err(|error| error.limited_to(timeout))?;
        let Some(plan) = plan else {
            cursor.close(connection);
            return Err(Error::usage("the result was not looked at"));
        };
        Ok(Rows(State::Open(Open { holder, cursor, plan, timeout, context })))
    }

    /// A stream that has failed before its first row.
    pub(crate) fn failed(error: Error) -> Rows<'q, T> {
        Rows(State::Failed(error))
    }
}

impl<T: FromRow> Iterator for Rows<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match &mut self.0 {
            State::Open(open) => match open.next() {
                Ok(Some(row)) => Some(Ok(row)),
                Ok(None) => {
                    self.0 = State::Over;
                    None
                }
                Err(error) => {
                    let error = error.limited_to(open.timeout).in_query(&open.context);
                    let error = open.holder.connection().note(error);
                    self.0 = State::Over;
                    Some(Err(error))
                }
            },
            State::Failed(_) => match std::mem::replace(&mut self.0, State::Over) {
                State::Failed(error) => Some(Err(error)),
                State::Open(_) | State::Over => None,
            },
            State::Over => None,
        }
    }
}

impl<T: FromRow> FusedIterator for Rows<'_, T> {}

impl<T: FromRow> Open<'_, T> {
    fn next(&mut self) -> Result<Option<T>> {
        self.cursor.next::<T>(self.holder.connection(), &self.plan)
    }
}

impl<T: FromRow> Drop for Open<'_, T> {
    fn drop(&mut self) {
        let connection = self.holder.connection();
        self.cursor.give_up(connection, &self.context);
        self.cursor.close(connection);
    }
}

impl<T: FromRow> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("open", &matches!(self.0, State::Open(_))).finish_non_exhaustive()
    }
}
