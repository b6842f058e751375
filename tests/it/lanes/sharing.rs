//! Who shares a connection, and who does not.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use maypole::{Query, Result, query, select, spawn};

use crate::lanes::{rode, selects};
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::server::server;

#[test]
fn selects_of_many_coroutines_share_a_connection_and_each_gets_its_own_answer() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| who(1).unique().expect("an answer"));
    let before = test.pool.stats();
    let askers: Vec<_> = (0..200)
        .map(|asker| {
            spawn(move || {
                for round in 0..20 {
                    let question = asker * 100 + round;
                    let (answer, _, read_only) = who(question).unique().expect("an answer");
                    assert_eq!(answer, question, "somebody else's answer");
                    assert!(read_only, "it did not ride");
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers"));
    let stats = test.pool.stats();
    let (selects, groups) = (stats.selects - before.selects, stats.groups - before.groups);
    assert_eq!(selects, 4_000, "each rode once: {stats:?}");
    assert!(groups < selects / 2, "{selects} selects in {groups} groups");
    assert_eq!((stats.opened, stats.closed), (1, 0), "{stats:?}");
    test.finish();
}

#[test]
fn a_group_is_one_transaction_of_the_server() {
    selects!(DB);
    #[select(DB, "SELECT now()::text || :n::text")]
    fn at(n: i32) -> Query<String>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| at(1).value().expect("a time"));
    // How many fit one group is a matter of their running time, and the machine may be busy.
    eventually("several are in one group", || {
        let before = test.pool.stats();
        let times: HashSet<_> = test.together(10, |_| at(0).value().expect("a time")).into_iter().collect();
        let stats = test.pool.stats();
        let groups = usize::try_from(stats.groups - before.groups).expect("few");
        assert!(stats.selects - before.selects > 10 || times.len() == groups, "{times:?} in {groups} groups");
        groups < 5
    });
    test.finish();
}

#[test]
fn with_a_largest_group_of_one_each_select_has_a_transaction_of_its_own() {
    selects!(DB);
    #[select(DB, "SELECT now()::text || :n::text")]
    fn at(n: i32) -> Query<String>;
    let url = server().url();
    let test = DB.is(TestPool::built(&url, |builder| builder.limit(1).largest_group(1)));
    test.warm(|| at(1).value().expect("a time"));
    let before = test.pool.stats();
    let times: HashSet<_> = test.together(50, |_| at(0).value().expect("a time")).into_iter().collect();
    let stats = test.pool.stats();
    assert_eq!((stats.selects - before.selects, stats.groups - before.groups), (50, 50), "{stats:?}");
    assert_eq!(times.len(), 50);
    test.finish();
}

#[test]
fn a_group_is_no_larger_than_the_pool_allows() {
    selects!(DB);
    let url = server().url();
    let test = DB.is(TestPool::built(&url, |builder| builder.limit(1).largest_group(3)));
    test.warm(|| echo(1).value().expect("an answer"));
    let before = test.pool.stats();
    let answers = test.together(30, |n| echo(n).value().expect("an answer"));
    assert_eq!(answers, (0..30).collect::<Vec<_>>());
    let stats = test.pool.stats();
    let (selects, groups) = (stats.selects - before.selects, stats.groups - before.groups);
    assert!(selects == 30 && groups >= 10, "{selects} in {groups} groups of 3 at most");
    test.finish();
}

/// What is declared otherwise, or says where it runs, or is more than one answer.
#[test]
fn only_declared_selects_that_say_nothing_else_ride() {
    const MAY_WRITE: &str = "SELECT current_setting('transaction_read_only') = 'off'";
    selects!(DB);
    #[select(DB, "SELECT current_setting('transaction_read_only') = 'off'")]
    fn by_select() -> Query<bool>;
    #[query(DB, "SELECT current_setting('transaction_read_only') = 'off'")]
    fn by_query() -> Query<bool>;
    #[select(DB, exclusive, "SELECT current_setting('transaction_read_only') = 'off'")]
    fn by_exclusive() -> Query<bool>;
    let test = DB.is(TestPool::new(2));
    test.warm(|| by_select().value().expect("told"));
    type Asks = fn() -> Result<bool>;
    let stays: [(&str, Asks); 9] = [
        ("#[query]", || by_query().value()),
        ("exclusive", || by_exclusive().value()),
        ("ad hoc", || DB.query(MAY_WRITE, ()).value()),
        ("a stream", || by_select().iter().next().expect("a row")),
        ("each", || {
            let mut told = false;
            by_select().each(|row| {
                told = row;
                Ok(())
            })?;
            Ok(told)
        }),
        ("on a lease", || by_select().on(&DB.pool()?.connection()?).value()),
        ("on a connection", || {
            let lease = DB.pool()?.connection()?;
            let connection: &maypole::Connection = &lease;
            by_select().on(connection).value()
        }),
        ("in a transaction", || DB.transaction(|q| by_select().on(q).value())),
        ("in a savepoint", || DB.transaction(|q| q.savepoint(|q| by_select().on(q).value()))),
    ];
    for (what, run) in stays {
        for _ in 0..5 {
            // A lane before and after, so that there is a role to be undone.
            assert!(!by_select().value().expect("told"), "the select itself rides");
            let before = test.pool.stats().selects;
            assert!(in_coroutine(run).expect("told"), "{what} ran in a session that may only read");
            assert_eq!(test.pool.stats().selects, before, "{what} rode");
        }
    }
    test.finish();
}

/// The query's own transaction is nothing that others share, and forgetting `.on(q)` is still an error.
#[test]
fn a_select_beside_the_transaction_under_way_is_refused_as_ever() {
    selects!(DB);
    let test = DB.is(TestPool::new(2));
    test.warm(|| echo(1).value().expect("an answer"));
    let error = DB.transaction(|_| echo(1).value()).expect_err("it forgot .on(q)");
    assert!(error.to_string().contains(".on(q)"), "{error}");
    let answer = DB.transaction(|_| who(1).outside().unique()).expect("it said .outside()");
    assert_eq!(answer.0, 1);
    test.finish();
}

#[test]
fn without_lanes_every_select_leases() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(2).lanes(0)));
    for round in 0..3 {
        let answers = test.together(40, |n| who(n).unique().expect("an answer"));
        for (n, (answer, _, read_only)) in (0..40).zip(answers) {
            assert_eq!((answer, read_only), (n, false), "round {round}");
        }
    }
    let stats = test.pool.stats();
    assert_eq!((stats.selects, stats.groups, stats.lanes), (0, 0, 0), "{stats:?}");
    test.finish();
}

#[test]
fn no_more_connections_are_lanes_at_a_time_than_the_pool_allows() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(4).lanes(1)));
    test.pool.warm(4, None).expect("opened");
    test.warm(|| who(1).unique().expect("an answer"));
    let over = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..100)
        .map(|n| {
            let over = over.clone();
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(who(n).unique().expect("an answer").0, n);
                }
            })
        })
        .collect();
    let (enough, mut seen) = (test.pool.stats().selects + 5_000, 0);
    eventually("many have ridden", || {
        let stats = test.pool.stats();
        assert!(stats.lanes <= 1, "{stats:?}");
        seen += stats.lanes;
        stats.selects > enough
    });
    over.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers"));
    assert!(seen > 0, "the figure is never more than 0");
    test.finish();
}

#[test]
fn plain_threads_ride_too() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| who(1).unique().expect("an answer"));
    let leases = test.all();
    let threads: Vec<_> =
        (0..8).map(|n| std::thread::spawn(move || who(n).unique().expect("an answer"))).collect();
    eventually("all wait", || test.pool.stats().waiting == 8);
    drop(leases);
    for (n, thread) in (0..8).zip(threads) {
        let (answer, _, read_only) = thread.join().expect("no panic");
        assert_eq!((answer, read_only), (n, true));
    }
    assert!(rode(who(1)));
    test.finish();
}
