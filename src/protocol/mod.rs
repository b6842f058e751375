//! A PostgreSQL session as bytes in and events out: no I/O, no clock, no coroutine. Uses: error.

pub(crate) mod authenticate;
pub(crate) mod bind;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod frame;
pub(crate) mod session;
