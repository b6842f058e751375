//! PostgreSQL for Rust programs that run on green threads.

mod columns;
mod deadline;
mod derived;
mod error;
mod from_row;
mod render;
mod row;
mod secret;
mod sqlstate;

pub use columns::{Column, Columns};
pub use error::{DbError, Error, Outcome, Phase, Result};
pub use from_row::{FromRow, FromValue, Scalar};
pub use maypole_macros::FromRow;
pub use row::{Row, RowIndex, RowRef};
pub use secret::Secret;

/// What the code written by maypole's macros needs. Not for use by hand: it may change in any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::derived::{Field, Readable, field, plan};
    pub use crate::{Columns, FromRow, Result, RowRef};
}

// The derives write `::maypole`, in the tests of this crate too.
#[cfg(test)]
extern crate self as maypole;
