//! Which transactions the caller is inside of. Uses: nothing.
//!
//! A coroutine that runs a transaction function and queries the database beside it does by accident what is neither in the
//! transaction nor safe: with a pool of one it would wait for itself. So a transaction function leaves its mark on the
//! coroutine, or on the plain thread, that runs it. Coroutines that are spawned inside have marks of their own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use may::coroutine_local;
use smallvec::SmallVec;

/// A transaction under way: on which pool, and what it is called.
#[derive(Clone, Copy, Debug)]
struct Mark {
    pool: usize,
    name: Option<&'static str>,
}

coroutine_local!(static MARKS: RefCell<SmallVec<[Mark; 4]>> = RefCell::default());

/// How many marks there are in the whole process: as long as there are none nobody need look.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// The caller is inside of a transaction until this is dropped.
pub(crate) struct Inside(());

/// Marks the caller. What the pool is called is for the pool to say, as long as no other has the same name.
pub(crate) fn enter(pool: usize, name: Option<&'static str>) -> Inside {
    ALL.fetch_add(1, Ordering::Relaxed);
    MARKS.with(|marks| marks.borrow_mut().push(Mark { pool, name }));
    Inside(())
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Transactions nest, so the last is this one's.
        MARKS.with(|marks| marks.borrow_mut().pop());
        ALL.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The innermost transaction of this pool that the caller is inside of, by its name if it has one.
#[inline]
pub(crate) fn inside(pool: usize) -> Option<Option<&'static str>> {
    // The caller's own marks were made by the caller: no other order matters.
    if ALL.load(Ordering::Relaxed) == 0 {
        return None;
    }
    MARKS.with(|marks| marks.borrow().iter().rev().find(|mark| mark.pool == pool).map(|mark| mark.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coro::spawn;

    #[test]
    fn marks_belong_to_the_coroutine_or_thread_that_made_them() {
        let outer = enter(1, Some("outer"));
        let inner = enter(1, None);
        let _other = enter(2, Some("other"));
        assert_eq!(inside(1), Some(None));
        let elsewhere = spawn(|| (inside(1), std::panic::catch_unwind(|| drop(enter(1, Some("own"))))));
        assert!(matches!(elsewhere.join(), Ok((None, Ok(())))));
        assert!(std::thread::spawn(|| inside(1)).join().is_ok_and(|found| found.is_none()));
        drop(_other);
        drop(inner);
        assert_eq!(inside(1), Some(Some("outer")));
        drop(outer);
        assert_eq!(inside(1), None);
    }

    /// `cargo test --release --lib guard -- --nocapture` tells the figures.
    #[test]
    fn to_look_costs_nanoseconds() {
        fn each(what: &str, mut look: impl FnMut()) -> f64 {
            let times = 200_000;
            let best = (0..5)
                .map(|_| {
                    let start = std::time::Instant::now();
                    (0..times).for_each(|_| look());
                    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
                })
                .fold(f64::MAX, f64::min);
            println!("{what}: {best:.1} ns");
            best
        }
        let worst = spawn(|| {
            let looked = || {
                std::hint::black_box(inside(1));
            };
            let mut worst = each("nobody in a transaction", looked);
            let somebody = enter(2, None);
            worst = worst.max(each("in a coroutine", looked));
            worst = worst.max(each("entered and left", || drop(enter(1, None))));
            drop(somebody);
            worst
        });
        let worst = worst.join().expect("no panic");
        let _somebody = enter(2, None);
        let worst = worst.max(each("on a thread", || {
            std::hint::black_box(inside(1));
        }));
        assert!(worst < 2_000.0, "{worst} ns");
    }
}
