//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod askers;
mod authentication;
mod closing;
mod framing;
mod hooks;
mod hostile;
mod kit;
mod limits;
mod sizes;
mod slow_peers;
mod start_up;
mod support;
mod threads;
