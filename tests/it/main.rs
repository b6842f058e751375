//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod askers;
mod kit;
mod statements;
mod streams;
mod support;
mod transactions;
mod unasked;
