//! Work that would block a worker of may. Uses: coro, promise.

use std::io;
use std::thread;

use crate::coro::Waiter;
use crate::promise::{Promise, Waited, promise};

/// Runs what would block a worker (names to addresses, long hashing) on a plain thread and waits for it.
///
/// # Errors
///
/// If the thread cannot be started, or the function panics.
pub(crate) fn off_thread<F, T>(name: &str, function: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Reports a panic of the function, so that nobody waits for ever. Harmless once the result is kept.
    struct Report<T>(Promise<Option<T>>);
    impl<T> Drop for Report<T> {
        fn drop(&mut self) {
            self.0.keep(None).inspect(Waiter::wake);
        }
    }

    let (result, claim) = promise();
    let report = Report(result);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let value = function();
        report.0.keep(Some(value)).inspect(Waiter::wake);
    })?;
    match claim.wait() {
        Waited::Value(Some(value)) => Ok(value),
        Waited::Value(None) | Waited::Overdue => {
            Err(io::Error::other(format!("the thread \"{name}\" panicked")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coro::spawn;

    #[test]
    fn work_off_the_coroutine_comes_back_and_its_panic_is_an_error() {
        let sum = spawn(|| off_thread("sum", || (1..=4).sum::<i32>())).join().expect("joined");
        assert_eq!(sum.expect("no error"), 10);
        assert!(off_thread("panic", || panic!("on purpose")).is_err());
    }
}
