//! The pool: who may use which connection now. Uses: core.

pub(crate) mod core;
