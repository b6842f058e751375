//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod askers;
mod kit;
mod limits;
mod slow_peers;
mod support;
