//! PostgreSQL for Rust programs that run on green threads.

mod coro;
mod deadline;
mod error;
mod keeper;
mod net;
mod params;
mod protocol;
mod secret;
mod sqlstate;

pub use coro::{JoinHandle, STACK_SIZE, spawn};
pub use error::{DbError, Error, Outcome, Phase, Result};
pub use params::Params;
pub use postgres_types::ToSql;
pub use secret::Secret;
