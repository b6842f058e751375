//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod asides;
mod askers;
mod authentication;
mod catalogue;
mod closing;
mod declared;
mod errands;
mod framing;
mod hooks;
mod hostile;
mod kit;
mod limits;
mod parameters;
mod query_limits;
mod rows;
mod sizes;
mod slow_peers;
mod start_up;
mod statements;
mod storm;
mod streams;
mod support;
mod terminals;
mod threads;
mod transactions;
mod unasked;
