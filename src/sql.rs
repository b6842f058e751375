//! An ad-hoc query: lazy, untyped, run by its terminal. Uses: call, connection, error, from_row, params, row, rows, source.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::call::{Ask, Call, Runner};
use crate::connection::{Connection, Request};
use crate::error::{Error, Place, QueryContext, Result};
use crate::from_row::{FromRow, FromValue};
use crate::params::Params;
use crate::row::Row;
use crate::rows::Rows;
use crate::source::Source;

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
/// | [`run`](Sql::run) | the number of rows affected, of a statement that returns none |
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
    call: Call<'q>,
    text: &'q str,
    params: P,
    location: &'static Location<'static>,
}

impl<'q, P: Params> Sql<'q, P> {
    pub(crate) fn new(
        runner: Runner<'q>,
        text: &'q str,
        params: P,
        location: &'static Location<'static>,
    ) -> Sql<'q, P> {
        Sql { call: Call::new(runner), text, params, location }
    }

    /// Runs it outside of the transaction under way, on a connection of its own.
    ///
    /// Without this, a query of the same database that is made inside a transaction function is an error: it is more
    /// likely that the database was named instead of `q`.
    pub fn outside(mut self) -> Sql<'q, P> {
        self.call.outside = true;
        self
    }

    /// How long the reply may take, instead of the pool's query timeout; `None` is for ever. For a stream it counts for
    /// each chunk.
    ///
    /// When the time has passed the server is told to stop, and its word on that is waited for up to 250 ms more: the error
    /// tells whether the statement was stopped and had no effect ([`Outcome::RolledBack`](crate::Outcome::RolledBack)) or
    /// nobody knows. If it was faster than the cancel, its result is returned. A COMMIT is never told to stop.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Sql<'q, P> {
        self.call.timeout = Some(limit.into());
        self
    }

    /// How many rows a stream asks for at a time; one such chunk is asked for ahead of the one that is eaten.
    ///
    /// If not said: 256 at first, then as many as make up 64 KiB, 2,048 at most; and as many chunks ahead as make up 256 KiB,
    /// so that the server never waits for its client. So about 320 KiB of rows are held, in buffers of up to twice that; two
    /// rows if these are longer. Rows that are long all of a sudden come in what was asked for before: 10,240 at most.
    ///
    /// With a limit PostgreSQL does not use parallel plans (manual, "When Can Parallel Query Be Used?"). 0 asks for all
    /// rows at once: parallel plans become possible, and the whole result is held in memory.
    pub fn chunk(mut self, rows: u32) -> Sql<'q, P> {
        self.call.chunk = Some(rows);
        self
    }

    /// Runs it: exactly one row.
    ///
    /// # Errors
    ///
    /// [`is_no_results`](Error::is_no_results) and [`is_multiple_results`](Error::is_multiple_results), and whatever the
    /// server or the connection reports.
    pub fn unique<T: FromRow>(self) -> Result<T> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.unique(plan)))
    }

    /// Runs it: one row or none.
    ///
    /// # Errors
    ///
    /// If there are more, and whatever the server or the connection reports.
    pub fn optional<T: FromRow>(self) -> Result<Option<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.optional(plan)))
    }

    /// Runs it: the first row, if any. The others are read and thrown away; put LIMIT 1 into the query.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    pub fn first<T: FromRow>(self) -> Result<Option<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.first(plan)))
    }

    /// Runs it: all rows.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports; a result larger than the largest message (1 GiB) is refused: stream
    /// it.
    pub fn rows<T: FromRow>(self) -> Result<Vec<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.rows(plan)))
    }

    /// Runs it: the one column of exactly one row. NULL is a value: ask for an `Option` where it may occur.
    ///
    /// # Errors
    ///
    /// If there are more columns, no row or more rows; whatever the server or the connection reports.
    pub fn value<T: FromValue>(self) -> Result<T> {
        self.ask(|call, ask| call.values::<T, _>(ask, |answer| answer.value()))
    }

    /// Runs it: the one column of all rows.
    ///
    /// # Errors
    ///
    /// If there are more columns; whatever the server or the connection reports.
    pub fn flat<T: FromValue>(self) -> Result<Vec<T>> {
        self.ask(|call, ask| call.values::<T, _>(ask, |answer| answer.flat()))
    }

    /// Runs it: the number of rows that it inserted, changed or deleted.
    ///
    /// # Errors
    ///
    /// If it returns rows, other than of `void`: the error says what to use, and nothing was executed. Whatever the server
    /// or the connection reports.
    pub fn run(self) -> Result<u64> {
        self.ask(|call, ask| call.run(ask))
    }

    /// Sends it with whatever comes next in the transaction, without waiting for its answer: see
    /// [`Query::later`](crate::Query::later).
    ///
    /// # Errors
    ///
    /// If it is not in a transaction, or a parameter can't be encoded.
    pub fn later(self) -> Result<()> {
        self.ask(|call, ask| call.later(ask))
    }

    /// Runs it and calls the function for each row, in bounded memory. Stops at the first error, the function's included.
    ///
    /// # Errors
    ///
    /// Whatever the server, the connection or the function reports.
    #[track_caller]
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
    #[track_caller]
    pub fn iter<T: FromRow>(self) -> Rows<'q, T> {
        let site = Location::caller();
        self.with(|call, ask| call.stream(ask, site)).unwrap_or_else(Rows::failed)
    }

    fn ask<R>(&self, then: impl FnOnce(Call<'q>, &Ask<'_>) -> Result<R>) -> Result<R> {
        self.with(then)?
    }

    fn with<R>(&self, then: impl FnOnce(Call<'q>, &Ask<'_>) -> R) -> Result<R> {
        let Some(names) = self.params.names() else {
            let context = || self.context(&[]);
            let request = Request::new(Source::Text(self.text), &self.params);
            return Ok(then(self.call, &Ask { request, context: &context }));
        };
        let named =
            maypole_sql::name_parameters(self.text, names).map_err(|mistakes| self.refuse(&mistakes))?;
        let context = || self.context(&named.edits);
        let request = Request::new(Source::Named(&named, names), &self.params);
        Ok(then(self.call, &Ask { request, context: &context }))
    }

    fn context(&self, edits: &[maypole_sql::Edit]) -> QueryContext {
        QueryContext {
            sql: self.text.into(),
            name: None,
            place: Some(Place::of(self.location)),
            edits: edits.iter().map(|edit| (edit.sent, edit.source)).collect(),
            help: None,
        }
    }

    #[cold]
    fn refuse(&self, mistakes: &[maypole_sql::Mistake]) -> Error {
        let mistakes: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
        Error::parameter(mistakes.join("; ")).in_query(&self.context(&[]))
    }
}

impl<'q, P: Params> IntoIterator for Sql<'q, P> {
    type Item = Result<Row>;
    type IntoIter = Rows<'q, Row>;

    #[track_caller]
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
        Sql::new(Runner::Connection(self), sql, params, Location::caller())
    }

    /// Runs one statement; the number of rows affected.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    #[track_caller]
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<u64> {
        Sql::new(Runner::Connection(self), sql, params, Location::caller()).run()
    }
}
