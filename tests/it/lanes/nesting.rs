//! A select of a coroutine that holds a lease (reliability case 27, on lanes).

use std::time::Duration;

use maypole::{Phase, spawn};

use crate::lanes::selects;
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::server::server;

/// As for a lease: the error at the end of the wait says that the caller itself holds the connection, and where it borrowed it.
#[test]
fn a_select_beside_the_only_lease_is_a_timeout_that_names_the_lease() {
    selects!(DB);
    let limit = Duration::from_millis(50);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit)));
    test.pool.warm(1, Duration::from_secs(20)).expect("opened");
    test.warm(|| echo(1).value().expect("an answer"));
    let pool = test.pool.clone();
    in_coroutine(move || {
        let _lease = pool.connection().expect("lent");
        let line = line!() - 1;
        let error = echo(27).value().expect_err("it is lent");
        assert_eq!((error.is_timeout(), error.phase()), (true, Some(Phase::Queue)), "{error:?}");
        let exhausted = error.exhausted().expect("who holds what");
        assert!(exhausted.waited >= limit, "{exhausted:?}");
        let site = exhausted.own_lease.as_ref().and_then(|lease| lease.site).expect("its own lease");
        assert_eq!((site.file(), site.line()), (file!(), line));
        assert!(error.to_string().contains(&format!("nesting.rs:{line}")), "{error}");
    });
    test.finish();
}

/// Inside of a loop over a stream, which keeps its connection, there is another for the selects.
#[test]
fn selects_inside_of_streams_ride_on_what_is_left() {
    selects!(DB);
    let test = DB.is(TestPool::new(2));
    test.warm(|| who(1).unique().expect("an answer"));
    in_coroutine(|| {
        for row in DB.query("SELECT n FROM generate_series(0, 99) n", ()).chunk(7).iter::<i32>() {
            let n = row.expect("a row");
            let (answer, _, read_only) = who(n).unique().expect("an answer");
            assert_eq!((answer, read_only), (n, true));
        }
    });
    test.finish();
}

/// All connections are in the hands of those who wait for one more: each hears of it when its wait is over, and the pool goes on.
#[test]
fn streams_that_hold_all_connections_and_select_inside_end_with_an_error_and_not_never() {
    selects!(DB);
    let limit = Duration::from_millis(200);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(2).acquire_timeout(limit)));
    test.pool.warm(2, Duration::from_secs(20)).expect("opened");
    test.warm(|| echo(1).value().expect("an answer"));
    let greedy: Vec<_> = (0..2)
        .map(|n| {
            let pool = test.pool.clone();
            spawn(move || {
                let _lease = pool.connection().expect("lent");
                while pool.stats().lent < 2 {
                    crate::support::rest::rest(Duration::from_millis(1));
                }
                echo(n).value()
            })
        })
        .collect();
    let errors: Vec<_> =
        greedy.into_iter().filter_map(|greedy| greedy.join().expect("no panic").err()).collect();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.is_timeout()), "{errors:?}");
    eventually("all is back", || test.pool.stats().idle == 2);
    assert_eq!(echo(3).value().expect("an answer"), 3);
    test.finish();
}
