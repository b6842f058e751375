//! A coroutine that borrows while it holds a lease, and a lease that nobody can give back any more (reliability cases 27
//! and 30; requirements 6 and 8 of the pool).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maypole::{Database, Error, Phase, spawn};

use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::rest::rest;
use crate::support::server::server;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// Case 27, requirement 8: whoever is in a transaction can't have handed its connection to anybody, so nobody could ever give
/// one back, and there is nothing to wait for.
#[test]
fn borrowing_a_second_in_a_transaction_on_a_pool_of_one_is_an_error_at_once_that_names_the_first() {
    let test = TestPool::new(1);
    let (pool, db) = (test.pool.clone(), Database::from(test.pool.clone()));
    in_coroutine(move || {
        let before = line!();
        let answer = db.transaction(|q| {
            assert_eq!(q.query("SELECT 1", ()).value::<i32>()?, 1);
            let start = Instant::now();
            let error = pool.connection_within(None).expect_err("it would never end");
            assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
            names_the_own_lease(&error, (1, 1));
            let site = error
                .exhausted()
                .and_then(|pool| pool.own_lease)
                .and_then(|lease| lease.site)
                .expect("a site");
            assert_eq!((site.file(), site.line()), (file!(), before + 1), "where the transaction was begun");
            q.query("SELECT 27", ()).value::<i32>()
        });
        assert_eq!(answer.expect("the transaction goes on"), 27);
    });
    test.finish();
}

/// Case 27: a lease that has not been used may have been handed to another coroutine, which gives it back. So there is a
/// wait, and the error at its end names the lease.
#[test]
fn borrowing_a_second_while_the_first_was_not_used_is_a_timeout_that_names_the_first() {
    let test = TestPool::new(1);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let _lease = pool.connection().expect("lent");
        let limit = Duration::from_millis(50);
        let start = Instant::now();
        let error = pool.connection_within(limit).expect_err("all are lent");
        assert!(start.elapsed() >= limit && start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
        assert!(error.is_timeout(), "{error:?}");
        names_the_own_lease(&error, (1, 1));
    });
    test.finish();
}

/// Case 27: the same for a query of its own, which waits in the queue without a lease.
#[test]
fn a_query_of_its_own_beside_a_lease_is_a_timeout_that_names_the_lease() {
    let limit = Duration::from_millis(50);
    let test = TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit));
    let (pool, db) = (test.pool.clone(), Database::from(test.pool.clone()));
    in_coroutine(move || {
        // Known to the pool from now on, so that the next travels without a lease.
        db.query("SELECT 27", ()).value::<i32>().expect("an answer");
        let _lease = pool.connection().expect("lent");
        let error = db.query("SELECT 27", ()).value::<i32>().expect_err("all are lent");
        assert!(error.is_timeout(), "{error:?}");
        names_the_own_lease(&error, (1, 1));
        assert!(error.exhausted().expect("who holds what").waited >= limit, "{error:?}");
    });
    test.finish();
}

#[track_caller]
fn names_the_own_lease(error: &Error, lent_of: (usize, usize)) {
    let exhausted = error.exhausted().expect("who holds what");
    assert_eq!((exhausted.lent, exhausted.limit), lent_of, "{exhausted:?}");
    let own = exhausted.own_lease.as_ref().expect("its own lease");
    let site = own.site.expect("where it was borrowed");
    assert!(site.file().ends_with("pool_nesting.rs"), "{site}");
    assert!(error.to_string().contains(&format!("pool_nesting.rs:{}", site.line())), "{error}");
}

/// Case 27: two coroutines in transactions that want another connection each: the second to wait hears of it, and lets go; the
/// first is served.
#[test]
fn transactions_that_hold_all_and_want_more_do_not_wait_for_ever() {
    let test = TestPool::new(2);
    let begun = Arc::new(AtomicUsize::new(0));
    let greedy = || {
        let (pool, db, begun) = (test.pool.clone(), Database::from(test.pool.clone()), begun.clone());
        spawn(move || {
            db.transaction(|q| {
                q.query("SELECT 1", ()).value::<i32>()?;
                begun.fetch_add(1, Ordering::SeqCst);
                // Both hold one before either asks for another.
                while begun.load(Ordering::SeqCst) < 2 {
                    rest(Duration::from_millis(1));
                }
                pool.connection_within(None).map(drop)
            })
        })
    };
    let ends = [greedy(), greedy()].map(|worker| worker.join().expect("no panic"));
    let errors: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert_eq!(errors.len(), 1, "one is told, the other is served: {ends:?}");
    assert!(errors[0].is_pool() && errors[0].exhausted().is_some(), "{:?}", errors[0]);
    test.finish();
}

/// Case 27, requirement 6: where somebody else may give one back, it is a wait like any other, and the error at its end
/// tells of the own lease, of the oldest, and of where the connections are.
#[test]
fn a_timeout_says_where_the_connections_are_and_who_holds_them() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(2));
    let oldest = test.pool.connection().expect("lent");
    let pool = test.pool.clone();
    in_coroutine(move || {
        let _own = pool.connection().expect("lent");
        let limit = Duration::from_millis(50);
        let start = Instant::now();
        let error = pool.connection_within(limit).expect_err("all are lent");
        assert!(start.elapsed() >= limit && start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
        assert!(error.is_timeout() && error.phase() == Some(Phase::Queue), "{error:?}");
        let exhausted = error.exhausted().expect("who holds what");
        assert_eq!((exhausted.lent, exhausted.idle, exhausted.limit), (2, 0, 2));
        assert!(exhausted.waited >= limit, "{exhausted:?}");
        let oldest =
            exhausted.oldest_lease.as_ref().and_then(|held| held.site).expect("where it was borrowed");
        assert!(oldest.file().ends_with("pool_nesting.rs"), "{oldest}");
        names_the_own_lease(&error, (2, 2));
    });
    drop(oldest);
    test.finish();
}

/// Case 30: a stack that overflows runs no destructor (rule M14). The pool hears of it, closes the session, and has its slot
/// back.
#[cfg(target_os = "linux")]
#[test]
fn a_lease_whose_coroutine_overflowed_its_stack_is_taken_back() {
    #[allow(unconditional_recursion, reason = "on purpose")]
    fn deeper(depth: &mut [u8; 512]) -> u8 {
        let mut frame = std::hint::black_box([1_u8; 512]);
        frame[0] = depth[0];
        deeper(std::hint::black_box(&mut frame)).wrapping_add(frame[1])
    }
    let test = TestPool::new(2);
    for round in 1..=3 {
        let pool = test.pool.clone();
        let deep = spawn(move || {
            let lease = pool.connection().expect("lent");
            assert_eq!(lease.query("SELECT 30", ()).value::<i32>().expect("an answer"), 30);
            std::hint::black_box(deeper(&mut [0; 512]));
        });
        assert!(deep.join().is_err(), "it overflowed");
        eventually("the slot is free again", || test.pool.stats().lent == 0);
        let stats = test.pool.stats();
        assert_eq!((stats.closed, stats.free + stats.idle), (round, 2), "{stats:?}");
    }
    test.finish();
}
