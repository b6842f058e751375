//! The test kit: what the integration tests stand on.
//!
//! Everything here is plain threads and std sockets and none of it uses maypole, except `server`, which
//! starts the real server, `own_server`, which starts one for a single test, and `pool` and `chaos`, which know what is tested. So a bug of the library cannot hide itself in its own tests.
//!
//! All waits of the kit block the thread they are called on: call them from the test's own thread, not from a
//! coroutine.

pub(crate) mod address;
pub(crate) mod backend;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod eventually;
pub(crate) mod exercise;
pub(crate) mod flag;
pub(crate) mod frame;
pub(crate) mod listener;
pub(crate) mod own_server;
pub(crate) mod past;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod responder;
pub(crate) mod rest;
pub(crate) mod scram;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod watchdog;
