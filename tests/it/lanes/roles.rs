//! The role of a lane: what its session is set to, and that nothing of it is left for a lease, nor the other way round.

use maypole::{Connection, Database, Query, Result, query, select};

use crate::lanes::selects;
use crate::support::past::run;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// Every setting of a session and what it would be reset to, but for those of the transaction, which has its own question.
const SETTINGS: &str = "SELECT string_agg(name || '=' || setting || ' ' || coalesce(reset_val, ''), E'\\n' ORDER BY name) \
                        FROM pg_settings WHERE name NOT IN ('transaction_read_only', 'transaction_isolation')";
const TRANSACTION: &str =
    "SELECT current_setting('transaction_read_only') || ' ' || current_setting('transaction_isolation')";

/// What [`role`] says in a lane.
const IN_A_LANE: &str = "on, on, read committed, 20ms";

macro_rules! role {
    ($database:ident) => {
        selects!($database);
        #[select(
            $database,
            "SELECT concat_ws(', ', current_setting('default_transaction_read_only'), current_setting('transaction_read_only'), \
             current_setting('transaction_isolation'), current_setting('lock_timeout'))"
        )]
        fn role() -> Query<String>;
    };
}

#[test]
fn a_lane_only_reads_and_waits_neither_for_ever_nor_for_a_lock() {
    role!(DB);
    #[select(DB, "SELECT setting::int8 FROM pg_settings WHERE name = 'statement_timeout'")]
    fn statement_timeout() -> Query<i64>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| role().value().expect("told"));
    test.warm(|| statement_timeout().value().expect("told"));
    assert_eq!(role().value().expect("told"), IN_A_LANE);
    assert!(statement_timeout().value().expect("told") > 0, "a statement could run for ever");
    test.finish();
}

/// What the session is set to for somebody who borrows it, in one of the ways to do so.
fn settings(db: &Database, way: usize) -> Result<(String, String)> {
    let both = |connection: &Connection| -> Result<(String, String)> {
        Ok((connection.query(SETTINGS, ()).value()?, connection.query(TRANSACTION, ()).value()?))
    };
    match way {
        0 => both(&*db.pool()?.connection()?),
        1 => Ok((db.query(SETTINGS, ()).value()?, db.query(TRANSACTION, ()).value()?)),
        2 => db.transaction(|q| Ok((q.query(SETTINGS, ()).value()?, q.query(TRANSACTION, ()).value()?))),
        _ => {
            let one = |sql| db.query(sql, ()).chunk(1).iter::<String>().collect::<Result<Vec<_>>>();
            Ok((one(SETTINGS)?.concat(), one(TRANSACTION)?.concat()))
        }
    }
}

const WAYS: usize = 4;

/// A lane and somebody who borrows, in turn, on one session.
macro_rules! a_borrower_finds_what_it_found_before {
    (fn $name:ident(), $test:expr, $expected:expr) => {
        #[test]
        fn $name() {
            role!(DB);
            let test = DB.is($test);
            let found: Vec<_> = (0..WAYS).map(|way| settings(&DB, way).expect("told")).collect();
            assert_eq!(found[0].1, $expected, "the session is what the test wants it to be");
            test.warm(|| role().value().expect("told"));
            for round in 0..5 {
                for (way, before) in found.iter().enumerate() {
                    assert_eq!(role().value().expect("told"), IN_A_LANE, "way {way}, round {round}");
                    let now = settings(&DB, way).expect("told");
                    let differs = |(a, b): &(&str, &str)| a != b;
                    let changed: Vec<_> = before.0.lines().zip(now.0.lines()).filter(differs).collect();
                    assert!(changed.is_empty(), "way {way}, round {round}: {changed:?}");
                    assert_eq!(now.1, before.1, "way {way}, round {round}");
                }
            }
            assert_eq!(
                (test.pool.stats().opened, test.pool.stats().closed),
                (1, 0),
                "one session all the while"
            );
            test.finish();
        }
    };
}

a_borrower_finds_what_it_found_before!(
    fn after_a_lane_a_session_is_as_it_was_opened(),
    TestPool::new(1),
    "off read committed"
);

a_borrower_finds_what_it_found_before!(
    fn after_a_lane_a_session_is_set_as_the_connection_string_says(),
    TestPool::at(
        &format!(
            "{}?options=-c%20lock_timeout%3D1234%20-c%20statement_timeout%3D77777%20-c%20default_transaction_isolation%3Dserializable",
            server().url()
        ),
        1
    ),
    "off serializable"
);

a_borrower_finds_what_it_found_before!(
    fn after_a_lane_a_session_is_set_as_after_connect_has_set_it(),
    TestPool::built(&server().url(), |builder| builder.limit(1).after_connect(|connection| {
        connection.script(
            "SET lock_timeout = '3s'; SET statement_timeout = '78s'; SET work_mem = '7MB';
             SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = on",
        )
    })),
    "on repeatable read"
);

a_borrower_finds_what_it_found_before!(
    fn after_a_lane_a_session_is_set_as_its_user_is(),
    {
        run("CREATE ROLE lanes_user LOGIN PASSWORD 'tiger'; ALTER ROLE lanes_user SET lock_timeout = '7s';
             ALTER ROLE lanes_user SET default_transaction_isolation = 'serializable';
             ALTER ROLE lanes_user SET default_transaction_read_only = on; ALTER ROLE lanes_user SET statement_timeout = '79s'");
        let user = |config: maypole::Config| config.user("lanes_user").password("tiger");
        TestPool::configured(&server().tcp_url(), user, |builder| builder.limit(1))
    },
    "on serializable"
);

/// What of all that a borrower may leave behind is to be seen.
const LEFT: &str = "SELECT concat_ws(' ',
    CASE WHEN current_setting('work_mem') = '7MB' THEN 'SET' END,
    CASE WHEN EXISTS (SELECT FROM pg_listening_channels()) THEN 'LISTEN' END,
    CASE WHEN (SELECT name FROM lanes_meant) <> 'public' THEN 'another table' END,
    CASE WHEN current_user <> session_user OR session_user <> 'postgres' THEN 'another user' END)";

#[test]
fn a_session_is_reset_before_it_becomes_a_lane() {
    selects!(DB);
    #[select(
        DB,
        "SELECT concat_ws(' ',
            CASE WHEN current_setting('work_mem') = '7MB' THEN 'SET' END,
            CASE WHEN EXISTS (SELECT FROM pg_listening_channels()) THEN 'LISTEN' END,
            CASE WHEN (SELECT name FROM lanes_meant) <> 'public' THEN 'another table' END,
            CASE WHEN current_user <> session_user OR session_user <> 'postgres' THEN 'another user' END),
            current_setting('transaction_read_only') = 'on'"
    )]
    fn left() -> Query<(String, bool)>;
    #[query(DB, "SET work_mem = '7MB'")]
    fn set_work_mem() -> Query;
    run("CREATE PROCEDURE lanes_sets() LANGUAGE SQL AS $$ SET work_mem = '7MB' $$;
         CREATE SCHEMA lanes_other; CREATE TABLE lanes_other.lanes_meant AS SELECT 'other' AS name;
         CREATE TABLE public.lanes_meant AS SELECT 'public' AS name; GRANT SELECT ON lanes_meant TO pg_monitor");
    let test = DB.is(TestPool::new(1));
    test.warm(|| left().unique().expect("told"));
    type Leaves = fn(&Connection) -> Result<()>;
    let leave: [(&str, Leaves); 13] = [
        ("SET", |lease| lease.script("SET work_mem = '7MB'")),
        ("SET", |lease| lease.query("SET work_mem = '7MB'", ()).run().map(drop)),
        ("SET", |lease| set_work_mem().on(lease).run().map(drop)),
        ("SET", |lease| lease.transaction(|q| q.script("SET work_mem = '7MB'"))),
        ("SET", |lease| lease.script("CALL lanes_sets()")),
        ("SET", |lease| lease.query("CALL lanes_sets()", ()).run().map(drop)),
        ("SET", |lease| lease.script("DO 'BEGIN SET work_mem = ''7MB''; END'")),
        ("LISTEN", |lease| lease.script("LISTEN lanes_channel")),
        ("another table", |lease| lease.script("SET search_path = lanes_other, public")),
        ("another table", |lease| {
            lease.script("CREATE TEMP TABLE lanes_meant AS SELECT 'temporary' AS name")
        }),
        ("another table", |lease| lease.script("CREATE TEMP VIEW lanes_meant AS SELECT 'temporary' AS name")),
        ("another user", |lease| lease.script("SET ROLE pg_monitor")),
        ("SET another table", |lease| {
            lease.script("PREPARE lanes_left AS SELECT 1; SET work_mem = '7MB'")?;
            lease.script("CREATE TEMP TABLE lanes_meant AS SELECT 'temporary' AS name")
        }),
    ];
    for (what, leave) in leave {
        assert_eq!(left().unique().expect("told"), (String::new(), true), "before {what}");
        let lease = test.pool.connection().expect("lent");
        leave(&lease).expect("left behind");
        assert_eq!(lease.query(LEFT, ()).value::<String>().expect("told"), what, "the lease itself sees it");
        drop(lease);
        assert_eq!(left().unique().expect("told"), (String::new(), true), "after {what}");
    }
    test.finish();
    run(
        "DROP PROCEDURE lanes_sets; DROP TABLE public.lanes_meant, lanes_other.lanes_meant; DROP SCHEMA lanes_other",
    );
}

/// Whoever waits behind a lane with a request ready gets a session that may write, at no matter what.
#[test]
fn who_writes_beside_lanes_is_never_told_that_the_session_only_reads() {
    selects!(DB);
    #[query(DB, "INSERT INTO lanes_beside VALUES (:n) RETURNING n")]
    fn write(n: i32) -> Query<i32>;
    run("CREATE TABLE lanes_beside (n int4)");
    let test = DB.is(TestPool::new(2));
    test.warm(|| who(1).unique().expect("an answer"));
    for _ in 0..10 {
        let answers = test.together(60, |n| -> Result<i32> {
            match n % 6 {
                0 => write(n).value(),
                1 => DB.transaction(|q| write(n).on(q).value()),
                2 => DB.query("INSERT INTO lanes_beside VALUES ($1) RETURNING n", (n,)).value(),
                _ => who(n).unique().map(|(answer, ..)| answer),
            }
        });
        for (n, answer) in (0..60).zip(answers) {
            assert_eq!(answer.expect("an answer"), n);
        }
    }
    let stored: i64 = DB.query("SELECT count(*) FROM lanes_beside", ()).value().expect("counted");
    assert_eq!(stored, 300);
    test.finish();
    run("DROP TABLE lanes_beside");
}
