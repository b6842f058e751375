//! PostgreSQL for Rust programs that run on green threads.
//!
//! Coroutines of the [`may`] scheduler do the work: code reads as if it blocked, and thousands of workers share a few
//! connections. No async, no colours.
//!
//! ```no_run
//! use maypole::{Database, FromRow, Query, Result, query, select};
//!
//! static DB: Database = Database::named("database"); // a setting in app.toml; opens nothing until first use
//!
//! #[derive(Debug, FromRow)]
//! struct Customer {
//!     id: i32,
//!     name: String,
//! }
//!
//! /// The customer with this id.
//! #[select(DB, "SELECT id, name FROM customers WHERE id = :id")]
//! fn get_customer(id: i32) -> Query<Customer>;
//!
//! #[query(DB, "UPDATE accounts SET balance = balance + :amount WHERE id = :id")]
//! fn add(id: i32, amount: i64) -> Query;
//!
//! fn main() -> Result<()> {
//!     let workers: Vec<_> =
//!         (0..1000).map(|id| maypole::spawn(move || get_customer(id).unique())).collect();
//!     for worker in workers {
//!         println!("{:?}", worker.join().expect("the worker did not panic")?);
//!     }
//!     DB.transaction(|q| {
//!         add(1, -10).on(q).run()?;
//!         add(2, 10).on(q).run()
//!     })?;
//!     Ok(())
//! }
//! ```
//!
//! # The parts, from the top down
//!
//! * [`Database`]: a database by the name of its setting; queries and transactions start here.
//! * [`select`](macro@select), [`query`](macro@query): declare a query once, in SQL, and call it as a function.
//! * [`Query`]: a declared query that was called; [`Sql`]: an ad-hoc one. Both do nothing until one of their terminals
//!   (`unique`, `optional`, `first`, `rows`, `value`, `flat`, `run`, `each`, iteration) runs them. [`Rows`]: a result that
//!   streams in bounded memory.
//! * [`Report`]: what [`Database::check`] says of the declared queries.
//! * [`transaction`](macro@transaction): a function whose statements take effect together, retried when another client got in
//!   the way. [`Tx`]: a transaction under way, what such a function queries with. [`TxOptions`]: what it is asked to be.
//! * [`Pool`]: who may use which connection now. A coroutine borrows a connection; the [`Lease`] it holds gives it back.
//! * [`Connection`]: one session with the server. [`CancelHandle`]: stops what it runs.
//! * [`FromRow`], [`FromValue`], [`Row`], [`Serde`]: what rows become. [`Params`]: what stands for `$1, $2 …`.
//! * [`Config`]: where a server is and who we are there.
//! * [`Error`]: what went wrong, and what is known of the effects.
//! * [`spawn`]: starts a coroutine with a stack that suits maypole. [`workers`]: at most so many of them at a time.
//! * `embedded`: a private throw-away server, behind the feature of that name.
//!
//! # Rules of living on may
//!
//! Everything here may be called from coroutines and from plain threads. A coroutine must not block its worker (files,
//! `std::thread::sleep`, long computations), must not keep references into thread-locals across a wait, and needs a stack of
//! 64 KiB, which [`spawn`] gives it. Cancelling a coroutine, a panic in it, or a timeout leaves a session that is either
//! clean or closed, and never somebody else's answer.
//!
//! # Features
//!
//! * `embedded`: the throw-away server. Off by default; on in this package's own examples and tests.
//! * `metrics`: figures of the pool for the recorder of the `metrics` facade, named as OpenTelemetry names them. Off by default.
//! * `derive`: the derives of [`FromSql`] and [`ToSql`] for enums, composites and domains. Their code names
//!   `::postgres_types`, so that crate has to be among the program's dependencies too.
//! * `with-chrono-0_4`, `with-uuid-1` and the others of postgres-types under the same names, and `array-impls`: types of
//!   other crates as parameters, as fields, and as rows of one column. `with-serde_json-1` is always on.

#![warn(unreachable_pub)]

mod application;
mod call;
mod check;
mod columns;
mod config;
mod connection;
mod conninfo;
mod coro;
mod database;
mod deadline;
mod declared;
mod derived;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod from_row;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod guard;
mod json;
mod keeper;
mod net;
mod off_thread;
mod outline;
mod params;
mod pool;
mod promise;
mod protocol;
mod query;
mod random;
mod registry;
mod render;
mod row;
mod rows;
mod script;
mod secret;
mod serde_rows;
mod settings;
mod source;
mod sql;
mod sqlstate;
mod suggest;
mod sync;
mod transaction;
mod transaction_function;
mod workers;

pub use check::Report;
pub use columns::{Column, Columns};
pub use config::{Config, SslMode, TargetSessionAttrs};
pub use connection::{CancelHandle, Connection};
pub use coro::{JoinHandle, STACK_SIZE, spawn};
pub use database::Database;
pub use error::{DbError, Error, Exhausted, HeldLease, Outcome, Phase, Result};
pub use from_row::{FromRow, FromValue, Scalar};
pub use maypole_macros::{FromRow, query, select, transaction};
pub use params::{Named, Params};
pub use pool::{CloseReport, Closes, Lease, Pool, PoolBuilder, SessionReset, Stats};
pub use postgres_types as types;
pub use postgres_types::{FromSql, ToSql};
pub use query::{Executor, Query};
pub use row::{Row, RowIndex, RowRef};
pub use rows::Rows;
pub use secret::Secret;
pub use serde_rows::Serde;
pub use sql::Sql;
pub use transaction::{Isolation, Tx, TxOptions};
pub use workers::{WorkerPanic, Workers, WorkersReport, workers};

/// What the code written by maypole's macros needs. Not for use by hand: it may change in any version.
#[doc(hidden)]
pub mod __private {
    pub use serde::de::DeserializeOwned;

    pub use crate::database::query;
    pub use crate::declared::{
        Argument, Bindable, Certain, Declared, Kind, KindOf, OpenKind, Slot, argument,
    };
    pub use crate::derived::{
        Field, Finder, Flatten, Plan, Readable, field, json_field, nested, or_default, outline, own, plan,
        read,
    };
    pub use crate::outline::Place;
    pub use crate::params::strip_raw;
    pub use crate::registry::{Registered, ResultShape, Shaped, ValueShape};
    pub use crate::transaction_function::{Again, Fallible, again, returns, run, run_once, run_within};
    pub use crate::{Columns, FromRow, Result, RowRef};
    pub use inventory;
}

/// What the fuzz targets call. Not for use.
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod __fuzzing {
    pub use crate::fuzzing::{conninfo, rows, session};
}

// The derives write `::maypole`, in the tests of this crate too.
#[cfg(test)]
extern crate self as maypole;

/// The programs of the page for users are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/queries.md")]
mod page_of_queries {}

#[cfg(doctest)]
#[doc = include_str!("../docs/operating.md")]
mod page_of_operators {}

#[cfg(doctest)]
#[doc = include_str!("../docs/transactions.md")]
mod page_of_transactions {}
