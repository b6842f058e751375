//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod asides;
mod askers;
mod catalogue;
mod kit;
mod limits;
mod parameters;
mod statements;
mod storm;
mod streams;
mod support;
mod terminals;
mod transactions;
mod unasked;
