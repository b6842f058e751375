//! PostgreSQL for Rust programs that run on green threads.

mod application;
mod columns;
mod config;
mod connection;
mod conninfo;
mod coro;
mod database;
mod deadline;
mod derived;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod from_row;
mod keeper;
mod net;
mod off_thread;
mod params;
mod pool;
mod promise;
mod protocol;
mod render;
mod row;
mod rows;
mod secret;
mod settings;
mod sql;
mod sqlstate;
mod suggest;
mod transaction;

pub use columns::{Column, Columns};
pub use config::{Config, SslMode};
pub use connection::Connection;
pub use coro::{JoinHandle, STACK_SIZE, spawn};
pub use database::Database;
pub use error::{DbError, Error, Outcome, Phase, Result};
pub use from_row::{FromRow, FromValue, Scalar};
pub use maypole_macros::FromRow;
pub use params::Params;
pub use pool::{Lease, Pool, PoolBuilder, Stats};
pub use postgres_types as types;
pub use postgres_types::{FromSql, ToSql};
pub use row::{Row, RowIndex, RowRef};
pub use rows::Rows;
pub use secret::Secret;
pub use sql::Sql;
pub use transaction::Tx;

/// What the code written by maypole's macros needs. Not for use by hand: it may change in any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::derived::{Field, Readable, field, plan};
    pub use crate::{Columns, FromRow, Result, RowRef};
}

// The derives write `::maypole`, in the tests of this crate too.
#[cfg(test)]
extern crate self as maypole;
