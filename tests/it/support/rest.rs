//! Stopping a coroutine for a while. Uses: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Stops the calling coroutine, by a thread that wakes it: may's own `sleep` may use freed memory if the coroutine ends
/// soon (`pause` in src/keeper.rs).
pub(crate) fn rest(time: Duration) {
    let over = Arc::new(AtomicBool::new(false));
    let (flag, sleeper) = (over.clone(), may::coroutine::current());
    thread::spawn(move || {
        thread::sleep(time);
        flag.store(true, Ordering::SeqCst);
        sleeper.unpark();
    });
    while !over.load(Ordering::SeqCst) {
        may::coroutine::park();
    }
}
