//! A select that fails, beside those that do not.

use maypole::{Outcome, Query, Result, Row, select};

use crate::lanes::{Lanes, selects};
use crate::support::eventually::eventually;
use crate::support::past::{numbers, run};
use crate::support::pool::TestPool;
use crate::support::server::server;

fn code<T>(result: Result<T>) -> Result<T, Option<String>> {
    result.map_err(|error| error.sqlstate().map(str::to_owned))
}

/// Asks together until some of those behind a failed one were sent again, and checks each round.
#[track_caller]
fn until_sent_again(test: &Lanes, mut round: impl FnMut()) {
    let before = test.pool.stats().sent_again;
    eventually("some were passed over by the server and sent again", || {
        round();
        test.pool.stats().sent_again > before
    });
}

#[test]
fn a_member_that_fails_gets_its_error_and_all_others_their_answers() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| divide(1).value().expect("an answer"));
    for zeros in [vec![0], vec![7], vec![19], vec![3, 4, 5], (0..20).step_by(2).collect(), (0..20).collect()]
    {
        let failing = zeros.clone();
        let round = || {
            let failing = failing.clone();
            let answers = test.together(20, move |n| {
                let by = if failing.contains(&n) { 0 } else { n + 1 };
                code(divide(by).value())
            });
            for (n, answer) in (0..20).zip(answers) {
                let expected =
                    if zeros.contains(&n) { Err(Some("22012".to_owned())) } else { Ok(5040 / (n + 1)) };
                assert_eq!(answer, expected, "{n} of {zeros:?}");
            }
        };
        // Nobody is behind the last.
        if zeros == [19] { round() } else { until_sent_again(&test, round) }
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}

/// With a Sync each, nobody is behind a member that fails.
#[test]
fn with_a_largest_group_of_one_a_member_that_fails_costs_nobody_anything() {
    selects!(DB);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).largest_group(1)));
    test.warm(|| divide(1).value().expect("an answer"));
    for _ in 0..10 {
        let answers = test.together(40, |n| code(divide(n % 4).value()));
        for (n, answer) in (0..40).zip(answers) {
            let expected = if n % 4 == 0 { Err(Some("22012".to_owned())) } else { Ok(5040 / (n % 4)) };
            assert_eq!(answer, expected, "{n}");
        }
    }
    let stats = test.pool.stats();
    assert_eq!((stats.sent_again, stats.opened, stats.closed), (0, 1, 0), "{stats:?}");
    test.finish();
}

#[test]
fn an_error_on_a_lane_says_what_it_says_on_a_lease() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| divide(1).value().expect("an answer"));
    let told = |error: maypole::Error| {
        (error.to_string(), error.sqlstate().map(str::to_owned), error.outcome(), error.query_name())
    };
    let shared = told(divide(0).value().expect_err("division by zero"));
    let lease = test.pool.connection().expect("lent");
    let alone = told(divide(0).on(&lease).value().expect_err("division by zero"));
    assert_eq!(shared, alone);
    assert_eq!((shared.2, shared.3), (Outcome::RolledBack, Some("divide")));
    drop(lease);
    test.finish();
}

/// The plan is known to the pool, the session is new, and the table is gone: the Parse fails, in the middle of a group.
#[test]
fn a_parse_that_fails_in_a_group_harms_nobody_else() {
    selects!(DB);
    #[select(DB, "SELECT id FROM lanes_dropped WHERE id = :id")]
    fn of_table(id: i32) -> Query<i32>;
    run("CREATE TABLE lanes_dropped AS SELECT generate_series(0, 99) AS id");
    let test = DB.is(TestPool::new(1));
    test.warm(|| of_table(1).value().expect("an answer"));
    test.warm(|| echo(1).value().expect("an answer"));
    run("DROP TABLE lanes_dropped");
    until_sent_again(&test, || {
        // A session that has parsed nothing yet.
        test.pool.clear();
        let answers = test.together(9, |n| code(if n == 4 { of_table(n).value() } else { echo(n).value() }));
        for (n, answer) in (0..9).zip(answers) {
            assert_eq!(answer, if n == 4 { Err(Some("42P01".to_owned())) } else { Ok(n) }, "{n}");
        }
    });
    run("CREATE TABLE lanes_dropped AS SELECT generate_series(0, 99) AS id");
    let answers = test.together(9, |n| code(of_table(n).value()));
    assert_eq!(answers, (0..9).map(Ok).collect::<Vec<_>>(), "the table is there again");
    test.finish();
    run("DROP TABLE lanes_dropped");
}

/// The server has the statement, and its plan does not fit any more: it is found out inside a group, and nobody sees it.
#[test]
fn a_migration_under_a_select_that_rides_is_seen_by_nobody() {
    selects!(DB);
    #[select(DB, "SELECT * FROM lanes_migrated WHERE id = :id")]
    fn of_table(id: i32) -> Query<Row>;
    run("CREATE TABLE lanes_migrated AS SELECT generate_series(0, 99) AS id");
    let test = DB.is(TestPool::new(1));
    test.warm(|| of_table(1).unique().expect("a row"));
    test.warm(|| echo(1).value().expect("an answer"));
    for round in 0..10 {
        run(&format!("ALTER TABLE lanes_migrated ADD COLUMN c{round} int4 DEFAULT {round}"));
        let answers = test.together(9, move |n| -> Result<i32> {
            if n % 3 != 1 {
                return echo(n).value();
            }
            let row = of_table(n).unique()?;
            assert_eq!(row.get::<i32>(&*format!("c{round}"))?, round, "the new column");
            row.get("id")
        });
        for (n, answer) in (0..9).zip(answers) {
            assert_eq!(answer.expect("an answer"), n);
        }
    }
    test.finish();
    run("DROP TABLE lanes_migrated");
}

/// What a function of the user's does inside, nobody sees before.
#[test]
fn a_select_that_writes_says_how_to_declare_it_and_leaves_nothing() {
    selects!(DB);
    #[select(DB, "SELECT lanes_write(:n)")]
    fn write(n: i32) -> Query<i32>;
    run("CREATE TABLE lanes_written (n int4);
         CREATE FUNCTION lanes_write(n int4) RETURNS int4 LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO lanes_written VALUES (n); RETURN n; END $$");
    let test = DB.is(TestPool::new(1));
    test.warm(|| echo(1).value().expect("an answer"));
    // The very first time, too.
    let error = write(1).value().expect_err("it writes");
    assert_eq!((error.sqlstate(), error.query_name()), (Some("25006"), Some("write")), "{error:?}");
    assert!(error.to_string().contains("declare it with #[query]"), "{error}");
    assert_eq!(error.outcome(), Outcome::RolledBack, "{error:?}");
    for _ in 0..5 {
        let answers = test.together(9, |n| if n == 4 { write(n).value() } else { echo(n).value() });
        for (n, answer) in (0..9).zip(answers) {
            match n {
                4 => {
                    let error = answer.expect_err("it writes");
                    assert_eq!(error.sqlstate(), Some("25006"), "{error:?}");
                    assert!(error.to_string().contains("declare it with #[query]"), "{error}");
                }
                _ => assert_eq!(answer.expect("an answer"), n),
            }
        }
    }
    assert_eq!(numbers("SELECT count(*) FROM lanes_written"), [0], "what it wrote was kept");
    assert_eq!(test.pool.stats().closed, 0, "a refused write is no reason to close the session");
    test.finish();
    run("DROP FUNCTION lanes_write; DROP TABLE lanes_written");
}

/// What is too slow for a lane is run again alone; it may not write there either.
#[test]
fn a_select_that_writes_at_its_end_is_refused_on_a_connection_of_its_own_too() {
    selects!(DB);
    #[select(DB, "SELECT lanes_write_late(:seconds)")]
    fn write_late(seconds: f64) -> Query<i32>;
    run("CREATE TABLE lanes_written_late (n int4);
         CREATE FUNCTION lanes_write_late(seconds float8) RETURNS int4 LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_sleep(seconds); INSERT INTO lanes_written_late VALUES (1); RETURN 1; END $$");
    let test = DB.is(TestPool::new(1));
    for seconds in [0.0, 0.05, 1.2, 0.05, 0.05] {
        let error = write_late(seconds).value().expect_err("it writes");
        assert_eq!(error.sqlstate(), Some("25006"), "{error:?}");
        assert!(error.to_string().contains("declare it with #[query]"), "{error}");
    }
    assert_eq!(numbers("SELECT count(*) FROM lanes_written_late"), [0], "what it wrote was kept");
    test.finish();
    run("DROP FUNCTION lanes_write_late; DROP TABLE lanes_written_late");
}

/// A function that takes the role away: the server reports it, and the session is given up. The others are answered.
#[test]
fn a_select_that_disarms_its_lane_costs_the_session() {
    selects!(DB);
    #[select(DB, "SELECT lanes_disarm(:n)")]
    fn disarm(n: i32) -> Query<i32>;
    run("CREATE FUNCTION lanes_disarm(n int4) RETURNS int4 LANGUAGE SQL AS
         $$ SELECT set_config('default_transaction_read_only', 'off', false); SELECT n $$");
    let test = DB.is(TestPool::new(1));
    test.warm(|| who(1).unique().expect("an answer"));
    // The first time it may have a session for itself.
    let _ = disarm(1).value();
    for _ in 0..5 {
        let closed = test.pool.stats().closed;
        let old = who(1).unique().expect("an answer").1;
        // Its own answer may be lost with the session. It has been sent once more then, and has closed the next.
        let _ = disarm(1).value();
        eventually("the session is closed", || test.pool.stats().closed > closed);
        let (_, process, read_only) = who(1).unique().expect("an answer");
        assert!(process != old, "a lane that was disarmed was used again");
        assert!(read_only, "it is a lane");
    }
    for _ in 0..5 {
        let answers = test.together(9, |n| if n == 4 { disarm(n).value() } else { echo(n).value() });
        for (n, answer) in (0..9).zip(answers) {
            match answer {
                Ok(answer) => assert_eq!(answer, n),
                Err(error) => assert!(n == 4 && error.is_closed(), "{n}: {error:?}"),
            }
        }
    }
    test.finish();
    run("DROP FUNCTION lanes_disarm");
}
