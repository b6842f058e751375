//! PostgreSQL for Rust programs that run on green threads.

mod deadline;
mod error;
mod pool;
mod secret;
mod sqlstate;

pub use error::{DbError, Error, Outcome, Phase, Result};
pub use secret::Secret;
