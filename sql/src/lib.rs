//! What can be said of SQL text without a server: its parameters, its statements, its nature.
//!
//! The macros of maypole read the SQL of declared queries with it when a program is compiled, and the library reads
//! texts with named parameters with it when the program runs. It follows the lexical structure of PostgreSQL
//! (chapter 4.1 of its manual), with `standard_conforming_strings` on, as it is by default. It does no I/O and
//! needs nothing.
//!
//! Two small things that the macros and the library both need stand here too: [`closest`] and [`parse_duration`].
//!
//! Uses: closest, duration, excerpt, mistake, named, nature, statements.

mod closest;
mod commands;
mod duration;
mod excerpt;
mod foreign;
mod functions;
mod keys;
mod lexer;
mod mistake;
mod named;
mod nature;
mod needs;
mod parameters;
mod reading;
mod statements;
mod structure;
mod tokens;

pub use closest::closest;
pub use duration::parse_duration;
pub use excerpt::Excerpt;
pub use mistake::Mistake;
pub use named::{Edit, Named, Slot, name_parameters, source_character};
pub use nature::{Nature, copies, ends_transactions, nature};
pub use parameters::{Parameters, Use, parameters};
pub use statements::statements;
