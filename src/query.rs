//! A declared query that was called and has not run yet. Uses: call, connection, declared, error, from_row, params, pool, rows, source.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use crate::call::{Ask, Call, Runner};
use crate::connection::{Connection, Request};
use crate::declared::Declared;
use crate::error::{QueryContext, Result};
use crate::from_row::{FromRow, FromValue};
use crate::params::Params;
use crate::pool::{Lease, Pool};
use crate::rows::Rows;
use crate::source::Source;

/// A declared query that was called and has not run yet: what a function with `#[select]` or `#[query]` returns.
///
/// One of the terminals runs it and reports whatever can go wrong:
///
/// | terminal | result |
/// | --- | --- |
/// | [`unique`](Query::unique) | exactly one row |
/// | [`optional`](Query::optional) | one row or none |
/// | [`first`](Query::first) | the first row, if any |
/// | [`rows`](Query::rows) | all rows in a `Vec` |
/// | [`value`](Query::value) | the one column of exactly one row |
/// | [`flat`](Query::flat) | the one column of all rows in a `Vec` |
/// | [`run`](Query::run) | the number of rows affected, of a statement that returns none |
/// | [`iter`](Query::iter), `for` | a stream in bounded memory |
/// | [`each`](Query::each) | the same, as a call for each row |
///
/// `T` is what a row becomes: a struct with `#[derive(FromRow)]`, a tuple, a value, or [`Row`](crate::Row). A statement that
/// returns no rows is a plain `Query`.
#[must_use = "a query does nothing until a terminal runs it: unique(), optional(), first(), rows(), value(), flat(), \
              run(), each(), iter() or a for loop"]
pub struct Query<'q, T = ()> {
    call: Call<'q>,
    declared: &'static Declared,
    params: Box<dyn Params + 'q>,
    row: PhantomData<fn() -> T>,
}

/// Where a query can run: a [`Database`](crate::Database) or a [`Pool`], which lend a connection for it; a
/// [`Connection`], a [`Lease`], a transaction ([`Tx`](crate::Tx)).
pub trait Executor: sealed::Sealed {}

pub(crate) mod sealed {
    use crate::call::Runner;

    pub trait Sealed {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn runner(&self) -> Runner<'_>;
    }
}

macro_rules! executors {
    ($($type:ty: |$this:ident| $runner:expr),* $(,)?) => { $(
        impl $crate::query::Executor for $type {}
        impl $crate::query::sealed::Sealed for $type {
            #[allow(private_interfaces)]
            fn runner(&self) -> Runner<'_> {
                let $this = self;
                $runner
            }
        }
    )* };
}
pub(crate) use executors;

executors! {
    Connection: |this| Runner::Connection(this),
    Lease: |this| Runner::Connection(this),
    Pool: |this| Runner::Lender(this),
}

impl<E: Executor + ?Sized> Executor for &E {}
impl<E: Executor + ?Sized> sealed::Sealed for &E {
    #[allow(private_interfaces)]
    fn runner(&self) -> Runner<'_> {
        (**self).runner()
    }
}

impl<'q, T> Query<'q, T> {
    pub(crate) fn new(
        runner: Runner<'q>,
        declared: &'static Declared,
        params: Box<dyn Params + 'q>,
    ) -> Query<'q, T> {
        Query { call: Call::new(runner), declared, params, row: PhantomData }
    }

    /// Runs it there: inside a transaction, on a borrowed connection, on another database.
    ///
    /// ```
    /// # use maypole::{Database, Query, Result, query};
    /// # static DB: Database = Database::named("database");
    /// # #[query(DB, "UPDATE customers SET name = :new WHERE name = :old")]
    /// # fn rename(old: &str, new: &str) -> Query;
    /// # fn both() -> Result<()> {
    /// DB.transaction(|q| {
    ///     rename("a", "b").on(q).run()?;
    ///     rename("c", "d").on(q).run()
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on<E: Executor + ?Sized>(mut self, executor: &'q E) -> Query<'q, T> {
        self.call.runner = executor.runner();
        self.call.outside = true;
        self
    }

    /// Runs it outside of the transaction under way, on a connection of its own.
    ///
    /// Without this, or [`on`](Query::on), a query of the same database that is called inside a transaction function is an
    /// error: it is more likely that `.on(q)` was forgotten.
    pub fn outside(mut self) -> Query<'q, T> {
        self.call.outside = true;
        self
    }

    /// How long the reply may take, instead of the pool's query timeout; `None` is for ever. For a stream it counts for
    /// each chunk.
    ///
    /// When the time has passed the server is told to stop, and its word on that is waited for up to 250 ms more: the error
    /// tells whether the statement was stopped and had no effect ([`Outcome::RolledBack`](crate::Outcome::RolledBack)) or
    /// nobody knows. If it was faster than the cancel, its result is returned. A COMMIT is never told to stop.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Query<'q, T> {
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
    pub fn chunk(mut self, rows: u32) -> Query<'q, T> {
        self.call.chunk = Some(rows);
        self
    }

    /// Runs it: the number of rows that it inserted, changed or deleted.
    ///
    /// # Errors
    ///
    /// If it returns rows, other than of `void`: the error says what to use. Found out before it has run wherever it may
    /// write. Whatever the server or the connection reports.
    pub fn run(self) -> Result<u64> {
        self.ask(|call, ask| call.run(ask))
    }

    /// Sends it with whatever comes next in the transaction, without waiting for its answer; rows it returns are thrown away.
    ///
    /// Statements whose results nobody looks at need no round trips of their own: several can go with the next one that is
    /// waited for, or with COMMIT. If one fails, the transaction has failed: the error, with the name of this query, comes from
    /// the next statement that is waited for, or from the transaction.
    ///
    /// ```
    /// # use maypole::{Database, Query, Result, query, select};
    /// # static DB: Database = Database::named("database");
    /// # #[query(DB, "UPDATE accounts SET balance = balance + :amount WHERE id = :id")]
    /// # fn add(id: i32, amount: i64) -> Query;
    /// # #[select(DB, "SELECT balance FROM accounts WHERE id = :id")]
    /// # fn balance(id: i32) -> Query<i64>;
    /// # fn pay() -> Result<i64> {
    /// DB.transaction(|q| {
    ///     add(1, -10).on(q).later()?;
    ///     add(2, 10).on(q).later()?;
    ///     balance(1).on(q).value() // one round trip for all three, and BEGIN
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If it is not in a transaction, or a parameter can't be encoded. The first time on a session it is waited for, as the
    /// server has to be told of it.
    pub fn later(self) -> Result<()> {
        self.ask(|call, ask| call.later(ask))
    }

    fn ask<R>(&self, then: impl FnOnce(Call<'q>, &Ask<'_>) -> R) -> R {
        let request = Request::new(Source::Declared(self.declared), &*self.params);
        let context = || -> QueryContext { self.declared.context() };
        then(self.call, &Ask { request, context: &context })
    }
}

impl<'q, T: FromRow> Query<'q, T> {
    /// Runs it: exactly one row.
    ///
    /// # Errors
    ///
    /// [`is_no_results`](crate::Error::is_no_results) and [`is_multiple_results`](crate::Error::is_multiple_results), and
    /// whatever the server or the connection reports.
    pub fn unique(self) -> Result<T> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.unique(plan)))
    }

    /// Runs it: one row or none.
    ///
    /// # Errors
    ///
    /// If there are more, and whatever the server or the connection reports.
    pub fn optional(self) -> Result<Option<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.optional(plan)))
    }

    /// Runs it: the first row, if any. The others are read and thrown away; put LIMIT 1 into the query.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports.
    pub fn first(self) -> Result<Option<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.first(plan)))
    }

    /// Runs it: all rows.
    ///
    /// # Errors
    ///
    /// Whatever the server or the connection reports; a result larger than the largest message (1 GiB) is refused: stream
    /// it.
    pub fn rows(self) -> Result<Vec<T>> {
        self.ask(|call, ask| call.rows::<T, _>(ask, |answer, plan| answer.rows(plan)))
    }

    /// Runs it and calls the function for each row, in bounded memory. Stops at the first error, the function's included.
    ///
    /// # Errors
    ///
    /// Whatever the server, the connection or the function reports.
    #[track_caller]
    pub fn each(self, mut then: impl FnMut(T) -> Result<()>) -> Result<()> {
        for row in self.iter() {
            then(row?)?;
        }
        Ok(())
    }

    /// Runs it and streams the rows in bounded memory. Dropping the stream stops it without reading the rest.
    ///
    /// It streams on a connection of its own, lent until the stream ends. Inside a transaction other queries may run between;
    /// on a bare lease they are refused meanwhile.
    ///
    /// Errors come as items, the last item then.
    #[track_caller]
    pub fn iter(self) -> Rows<'q, T> {
        let site = Location::caller();
        self.ask(|call, ask| call.stream(ask, site))
    }
}

impl<T: FromValue> Query<'_, T> {
    /// Runs it: the one column of exactly one row. NULL is a value: declare an `Option` where it may occur.
    ///
    /// # Errors
    ///
    /// If there are more columns, no row or more rows; whatever the server or the connection reports.
    pub fn value(self) -> Result<T> {
        self.ask(|call, ask| call.values::<T, _>(ask, |answer| answer.value()))
    }

    /// Runs it: the one column of all rows.
    ///
    /// # Errors
    ///
    /// If there are more columns; whatever the server or the connection reports.
    pub fn flat(self) -> Result<Vec<T>> {
        self.ask(|call, ask| call.values::<T, _>(ask, |answer| answer.flat()))
    }
}

impl<'q, T: FromRow> IntoIterator for Query<'q, T> {
    type Item = Result<T>;
    type IntoIter = Rows<'q, T>;

    #[track_caller]
    fn into_iter(self) -> Rows<'q, T> {
        self.iter()
    }
}

impl<T> fmt::Debug for Query<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters may be secrets.
        f.debug_struct("Query").field("name", &self.declared.name).finish_non_exhaustive()
    }
}
