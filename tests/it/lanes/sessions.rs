//! Lanes among sessions of all kinds: those that are to take writes, those that know few statements, those that are reset.

use maypole::{Query, SessionReset, query, select};

use crate::lanes::{Lanes, rode, selects};
use crate::support::past::run;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::server::server;

/// A lane is read-only because we say so: that is no server which takes no writes any more.
#[test]
fn lanes_of_a_pool_that_wants_to_write_are_not_taken_for_a_server_that_was_demoted() {
    selects!(DB);
    #[select(DB, "SELECT lanes_try(:n)")]
    fn try_to_write(n: i32) -> Query<i32>;
    #[query(DB, "INSERT INTO lanes_tried VALUES (:n)")]
    fn write(n: i32) -> Query;
    run("CREATE TABLE lanes_tried (n int4);
         CREATE FUNCTION lanes_try(n int4) RETURNS int4 LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO lanes_tried VALUES (n); RETURN n; END $$");
    let url = format!("{}?target_session_attrs=read-write", server().url());
    let test = DB.is(TestPool::at(&url, 1));
    test.warm(|| who(1).unique().expect("an answer"));
    for n in 0..10 {
        assert!(rode(who(n)));
        assert_eq!(write(n).run().expect("written"), 1);
        assert!(rode(who(n)));
        DB.transaction(|q| write(n).on(q).run()).expect("written");
        let answers = test.together(9, |n| if n == 4 { try_to_write(n).value() } else { echo(n).value() });
        for (n, answer) in (0..9).zip(answers) {
            match n {
                4 => assert_eq!(answer.expect_err("it only reads").sqlstate(), Some("25006")),
                _ => assert_eq!(answer.expect("an answer"), n),
            }
        }
    }
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (1, 0), "one session all the while: {stats:?}");
    test.finish();
    run("DROP FUNCTION lanes_try; DROP TABLE lanes_tried");
}

macro_rules! many_selects {
    ($database:ident: $($name:ident = $number:literal),*) => {
        $(
            #[select($database, $number)]
            fn $name(n: i32) -> Query<i32>;
        )*
        const MANY: &[fn(i32) -> Query<'static, i32>] = &[$($name),*];
    };
}

/// The session of a pool that may keep three statements has those, and some that are to be closed with the next it is told of.
fn keeps_few_statements(test: &Lanes) {
    let lease = test.pool.connection().expect("lent");
    let count = "SELECT count(*)::int4 FROM pg_prepared_statements";
    let kept = lease.query(count, ()).value::<i32>().expect("counted");
    assert!(kept <= 3 + 12, "{kept} statements are there");
}

/// Statements are introduced, evicted and closed inside of groups.
#[test]
fn more_selects_than_a_session_keeps_statements_share_it_all_the_same() {
    selects!(DB);
    many_selects!(DB: m0 = "SELECT :n + 0", m1 = "SELECT :n + 1", m2 = "SELECT :n + 2", m3 = "SELECT :n + 3", m4 = "SELECT :n + 4",
        m5 = "SELECT :n + 5", m6 = "SELECT :n + 6", m7 = "SELECT :n + 7", m8 = "SELECT :n + 8", m9 = "SELECT :n + 9");
    let few = |config: maypole::Config| config.statement_cache_capacity(3);
    let test = DB.is(TestPool::configured(&server().url(), few, |builder| builder.limit(1)));
    for _ in 0..20 {
        let answers = test.together(40, |n| {
            let which = n % 10;
            MANY[usize::try_from(which).expect("small")](n).value().expect("an answer") - which
        });
        assert_eq!(answers, (0..40).collect::<Vec<_>>());
    }
    assert!(test.pool.stats().selects > 400, "they rode: {:?}", test.pool.stats());
    keeps_few_statements(&test);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}

/// What is to be closed with an introduction that the server passes over is still to be closed.
#[test]
fn statements_are_closed_though_the_server_passes_over_members_of_groups() {
    selects!(DB);
    many_selects!(DB: m0 = "SELECT :n + 0", m1 = "SELECT :n + 1", m2 = "SELECT :n + 2", m3 = "SELECT :n + 3", m4 = "SELECT :n + 4",
        m5 = "SELECT :n + 5", m6 = "SELECT :n + 6", m7 = "SELECT :n + 7", m8 = "SELECT :n + 8", m9 = "SELECT :n + 9");
    let few = |config: maypole::Config| config.statement_cache_capacity(3);
    let test = DB.is(TestPool::configured(&server().url(), few, |builder| builder.limit(1)));
    test.warm(|| divide(1).value().expect("an answer"));
    for round in 0..50 {
        let answers = test.together(20, move |n| {
            if n % 7 == round % 7 {
                return divide(n % 2).value();
            }
            let which = (n + round) % 10;
            Ok(MANY[usize::try_from(which).expect("small")](n).value()? - which)
        });
        for (n, answer) in (0..20).zip(answers) {
            match answer {
                Ok(answer) if n % 7 == round % 7 => assert_eq!((answer, n % 2), (5040, 1)),
                Ok(answer) => assert_eq!(answer, n),
                Err(error) => {
                    assert_eq!((n % 7, n % 2, error.sqlstate()), (round % 7, 0, Some("22012")), "{error:?}")
                }
            }
        }
    }
    assert!(test.pool.stats().sent_again > 0, "members were passed over");
    // A name that is still taken would be an error here.
    let sum =
        DB.transaction(|q| MANY.iter().map(|select| select(1).on(q).value()).sum::<maypole::Result<i32>>());
    assert_eq!(sum.expect("nothing is in the way"), 55);
    keeps_few_statements(&test);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}

#[test]
fn selects_of_a_pool_that_keeps_no_statements_are_answered() {
    selects!(DB);
    let none = |config: maypole::Config| config.statement_cache_capacity(0);
    let test = DB.is(TestPool::configured(&server().url(), none, |builder| builder.limit(1)));
    for _ in 0..10 {
        let answers = test.together(20, |n| if n % 2 == 0 { echo(n).value() } else { divide(n).value() });
        for (n, answer) in (0..20).zip(answers) {
            assert_eq!(answer.expect("an answer"), if n % 2 == 0 { n } else { 5040 / n });
        }
    }
    test.finish();
}

/// The first use of a select, by many at once, on sessions that have never seen it.
#[test]
fn a_select_that_nobody_has_used_yet_may_be_used_by_many_at_once() {
    selects!(DB);
    let test = DB.is(TestPool::new(3));
    let answers = test.together(100, |n| if n % 2 == 0 { echo(n).value() } else { divide(n).value() });
    for (n, answer) in (0..100).zip(answers) {
        assert_eq!(answer.expect("an answer"), if n % 2 == 0 { n } else { 5040 / n });
    }
    test.finish();
}

/// A pool that resets what borrowers leave: a lane leaves nothing, and finds nothing.
#[test]
fn lanes_and_leases_that_are_reset_take_turns_on_a_session() {
    selects!(DB);
    #[select(DB, "SELECT current_setting('work_mem') || ' ' || current_setting('transaction_read_only')")]
    fn memory() -> Query<String>;
    let test =
        DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).session_reset(SessionReset::Lazy)));
    test.warm(|| memory().value().expect("told"));
    let usual = memory().value().expect("told");
    assert!(usual.ends_with(" on") && !usual.starts_with("7MB"), "{usual}");
    for _ in 0..10 {
        let pool = test.pool.clone();
        let seen = in_coroutine(move || {
            let lease = pool.connection().expect("lent");
            let seen: String = lease.query("SELECT current_setting('work_mem')", ()).value().expect("told");
            lease.script("SET work_mem = '7MB'; SET default_transaction_read_only = on").expect("set");
            seen
        });
        assert_ne!(seen, "7MB", "of the borrower before");
        assert_eq!(memory().value().expect("told"), usual);
        assert_eq!(
            DB.query("SHOW default_transaction_read_only", ()).value::<String>().expect("told"),
            "off"
        );
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}
