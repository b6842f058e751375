//! The lock and the atomics of what `loom/` explores: it compiles the same files, with loom's own in this place. Uses: nothing.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use parking_lot::Mutex;
