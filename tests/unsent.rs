//! A request whose idle connection has ended without anybody having noticed is sent on another: a process of its own with a
//! single worker, because the driver must not have its turn before the request is queued.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use support::eventually::eventually;
use support::pool::{TestPool, in_coroutine};

/// Ends all idle sessions of the pool and comes back when the server has none of them left. This coroutine keeps the only
/// worker busy meanwhile, on purpose: no driver hears of it.
fn end_sessions_unnoticed(test: &TestPool) {
    let mut client = test.client();
    let mine = format!("application_name = '{}'", test.name);
    client
        .query(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))
        .expect("it may");
    while test.sessions("") > 0 {
        std::thread::yield_now();
    }
}

fn with_one_worker(act: impl FnOnce(&TestPool) + Send + 'static) {
    may::config().set_workers(1);
    let test = TestPool::new(2);
    in_coroutine(move || {
        act(&test);
        eventually("the pool is at rest", || test.pool.stats().lent == 0);
        test.finish();
    });
}

/// Requirement 11 of the pools nobody has (research, section 6): one retry of a request that was provably not sent.
#[test]
fn a_request_that_was_not_sent_because_its_connection_had_ended_is_sent_on_another() {
    with_one_worker(|test| {
        let ask = |number: i32| test.db.query("SELECT $1::int4", (number,)).value::<i32>();
        // Known from now on, so that the next is an errand.
        assert_eq!(ask(1).expect("an answer"), 1);
        for number in 2..12 {
            let opened = test.pool.stats().opened;
            end_sessions_unnoticed(test);
            assert_eq!(test.pool.stats().idle, 1, "the pool has noticed already");
            assert_eq!(ask(number).expect("on another connection"), number);
            assert_eq!(test.pool.stats().opened, opened + 1);
        }
        // The same for what takes a lease: a stream, and a statement that is not known yet.
        end_sessions_unnoticed(test);
        assert_eq!(test.pool.stats().idle, 1, "the pool has noticed already");
        let rows = test.db.query("SELECT generate_series(1, 3)", ()).iter::<i32>();
        assert_eq!(rows.collect::<maypole::Result<Vec<_>>>().expect("on another connection"), [1, 2, 3]);
        end_sessions_unnoticed(test);
        assert_eq!(
            test.db.query("SELECT 'new'", ()).value::<String>().expect("on another connection"),
            "new"
        );
        // But a lease is one session: nothing that is done on it goes to another.
        let lease = test.pool.connection().expect("a connection");
        assert_eq!(lease.query("SELECT 5", ()).value::<i32>().expect("it lives"), 5);
        end_sessions_unnoticed(test);
        let error = lease.query("SELECT 6", ()).value::<i32>().expect_err("its session is gone");
        assert!(error.is_closed(), "{error:?}");
        let error = lease.query("SELECT 7", ()).value::<i32>().expect_err("and stays so");
        assert_eq!(error.outcome(), maypole::Outcome::NotSent, "{error:?}");
    });
}
