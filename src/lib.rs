//! PostgreSQL for Rust programs that run on green threads.

mod deadline;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod secret;
mod sqlstate;

pub use error::{DbError, Error, Outcome, Phase, Result};
pub use secret::Secret;
