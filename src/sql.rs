//! An ad-hoc query: lazy, untyped, run by its terminal. Uses: connection, deadline, error, from_row, params, pool, row, rows.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::connection::{Answer, CHUNK, Connection};
use crate::deadline::Deadline;
use crate::error::{Error, QueryContext, Result};
use crate::from_row::{FromRow, FromValue};
use crate::params::Params;
use crate::pool::Pool;
use crate::row::Row;
use crate::rows::{Holder, Rows};

/// A query that has not run yet: its text, its parameters, and where it will run.
///
/// One of the terminals runs it and reports whatever can go wrong:
///
/// | terminal | result |
/// | --- | --- |
/// | [`unique`](Sql::unique) | exactly one row |
/// | [`optional`](Sql::optional) | one row or none |
/// | [`first`](Sql::first) | the first row, if any |
/// | [`rows`](Sql::rows) | all rows in a `Vec` |
/// | [`value`](Sql::value) | the one column of exactly one row |
/// | [`flat`](Sql::flat) | the one column of all rows in a `Vec` |
/// | [`run`](Sql::run) | the number of rows affected |
/// | [`iter`](Sql::iter), `for` | a stream in bounded memory |
/// | [`each`](Sql::each) | the same, as a call for each row |
///
/// The row type is inferred from the left side or named: a struct with `#[derive(FromRow)]`, a tuple, a scalar, or
/// [`Row`].
///
/// ```
/// # fn look(db: &maypole::Database) -> maypole::Result<()> {
/// let name: String = db.query("SELECT name FROM customers WHERE id = $1", (52,)).value()?;
/// let pairs: Vec<(i32, String)> = db.query("SELECT id, name FROM customers LIMIT 10", ()).rows()?;
/// for row in db.query("SELECT * FROM customers", ()) {
///     println!("{}", row?); // {"id": 52, "name": "Leonard Winter"}
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a query does nothing until a terminal runs it: unique(), optional(), first(), rows(), value(), flat(), \
              run(), each(), iter() or a for loop"]
pub struct Sql<'q, P> {
    executor: Executor<'q>,
    text: &'q str,
    params: P,
    /// `None` is the pool's own.
    timeout: Option<Option<Duration>>,
    chunk: u32,
    location: &'static Location<'static>,
}

/// Where a query runs.
#[derive(Clone, Copy)]
pub(crate) enum Executor<'q> {
    /// On a connection lent for it.
    Lender(&'q dyn Lender),
    /// On this one.
    Connection(&'q Connection),
}

/// Who has a pool.
pub(crate) trait Lender {
    fn pool(&self) -> Result<&Pool>;
}

impl<'q, P: Params> Sql<'q, P> {
    pub(crate) fn new(
        executor: Executor<'q>,
        text: &'q str,
        params: P,
        location: &'static Location<'static>,
    ) -> Sql<'q, P> {
        Sql { executor, text, params, timeout: None, chunk: CHUNK, location }
    }

    /// How long the reply may take, instead of the pool's query timeout; `None` is for ever. For a stream it counts for
    /// each chunk.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Sql<'q, P> {
        self.timeout = Some(limit.into());
        self
    }

    /// How many rows a stream asks for at a time, 256 if not said.
    ///
    /// With a limit PostgreSQL does not use parallel plans (manual, "When Can Parallel Query Be Used?"). 0 asks for all
    /// rows at once: parallel plans become possible, and the whole result is held in memory.
    pub fn chunk(mut self, rows: u32) -> Sql<'q, P> {
        self.chunk = rows;
        self
    }

    /// Runs it: exactly one row.
    ///
    /// # Errors
    ///
    /// [`is_no_results`](Error::is_no_results) and [`is_multiple_results`](Error::is_multiple_results), and whatever the
    /// server or the connection reports.
    pub fn unique<T: FromRow>(self) -> Result<T> {
        self.read(|answer| answer.unique())
    }

    /// Runs it: one row or none.
    ///
    /// # Errors
    ///
    /// If there are more, and whatever the server or the connection reports.
    pub fn optional<T: FromRow>(self) -> Result<Option<T>> {
        self.read(|answer| answer.optional())
    }

    /// Runs it: the first row, if any. The others are read and thrown away; put LIMIT 1 into the query.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    pub fn first<T: FromRow>(self) -> Result<Option<T>> {
        self.read(|answer| answer.first())
    }

    /// Runs it: all rows.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports; a result larger than the largest message (1 GiB) is refused: stream
    /// it.
    pub fn rows<T: FromRow>(self) -> Result<Vec<T>> {
        self.read(|answer| answer.rows())
    }

    /// Runs it: the one column of exactly one row. NULL is a value: ask for an `Option` where it may occur.
    ///
    /// # Errors
    ///
    /// If there are more columns, no row or more rows; whatever the server or the connection reports.
    pub fn value<T: FromValue>(self) -> Result<T> {
        self.read(|answer| answer.value())
    }

    /// Runs it: the one column of all rows.
    ///
    /// # Errors
    ///
    /// If there are more columns; whatever the server or the connection reports.
    pub fn flat<T: FromValue>(self) -> Result<Vec<T>> {
        self.read(|answer| answer.flat())
    }

    /// Runs it: the number of rows that it inserted, changed, deleted or returned.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    pub fn run(self) -> Result<u64> {
        self.answer().map(|answer| answer.affected())
    }

    /// Runs it and calls the function for each row, in bounded memory. Stops at the first error, the function's included.
    ///
    /// # Errors
    ///
    /// Whatever the server, the connection or the function reports.
    pub fn each<T: FromRow>(self, mut then: impl FnMut(T) -> Result<()>) -> Result<()> {
        for row in self.iter() {
            then(row?)?;
        }
        Ok(())
    }

    /// Runs it and streams the rows in bounded memory. Dropping the stream stops it without reading the rest.
    ///
    /// A query of a database streams on a connection of its own, lent until the stream ends. Inside a transaction other
    /// queries may run between; on a bare lease they are refused meanwhile.
    ///
    /// Errors come as items, the last item then.
    pub fn iter<T: FromRow>(self) -> Rows<'q, T> {
        let opened = self.hold().and_then(|holder| {
            let rows = Rows::open(holder, self.text, &self.params, self.chunk, self.timeout, self.location);
            rows.map_err(|error| self.explain(error))
        });
        opened.unwrap_or_else(Rows::failed)
    }

    fn hold(&self) -> Result<Holder<'q>> {
        match self.executor {
            Executor::Lender(lender) => Ok(Holder::Lease(lender.pool()?.connection()?)),
            Executor::Connection(connection) => Ok(Holder::Connection(connection)),
        }
    }

    fn answer(&self) -> Result<Answer> {
        let answer = match self.executor {
            // The connection is free for the next before anything is decoded.
            Executor::Lender(lender) => lender.pool().and_then(|pool| {
                pool.run(self.text, &self.params, self.timeout.unwrap_or(pool.query_timeout()))
            }),
            Executor::Connection(connection) => {
                let limit = self.timeout.unwrap_or(connection.timeout());
                let answer = connection.run(self.text, &self.params, Deadline::after(limit));
                answer.map_err(|error| error.limited_to(limit))
            }
        };
        answer.map_err(|error| self.explain(error))
    }

    fn read<R>(&self, read: impl FnOnce(&Answer) -> Result<R>) -> Result<R> {
        let answer = self.answer()?;
        read(&answer).map_err(|error| self.explain(error))
    }

    #[cold]
    fn explain(&self, error: Error) -> Error {
        error.in_query(&QueryContext { sql: self.text.into(), name: None, location: Some(self.location) })
    }
}

impl<'q, P: Params> IntoIterator for Sql<'q, P> {
    type Item = Result<Row>;
    type IntoIter = Rows<'q, Row>;

    fn into_iter(self) -> Rows<'q, Row> {
        self.iter()
    }
}

impl<P> fmt::Debug for Sql<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters may be secrets.
        f.debug_struct("Sql").field("text", &self.text).finish_non_exhaustive()
    }
}

impl Connection {
    /// A query on this connection, with the values of `$1, $2 …` as a tuple. Nothing happens until a terminal runs it.
    #[track_caller]
    pub fn query<'q, P: Params>(&'q self, sql: &'q str, params: P) -> Sql<'q, P> {
        Sql::new(Executor::Connection(self), sql, params, Location::caller())
    }

    /// Runs one statement; the number of rows affected.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    #[track_caller]
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<u64> {
        Sql::new(Executor::Connection(self), sql, params, Location::caller()).run()
    }
}
