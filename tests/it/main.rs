//! The integration tests: one binary, one module per promise, on top of the kit in `support`.

mod kit;
mod support;
