//! PostgreSQL for Rust programs that run on green threads.

mod config;
mod conninfo;
mod deadline;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod secret;
mod settings;
mod sqlstate;
mod suggest;

pub use config::{Config, SslMode};
pub use error::{DbError, Error, Outcome, Phase, Result};
pub use secret::Secret;
