//! What a borrower leaves behind in a session is gone for the next one, at no round trip, if that was asked for
//! (requirement 18 of the pool).

use std::sync::Once;
use std::time::Duration;

use maypole::{Database, Pool, Result, SessionReset, Tx, spawn};

use crate::support::eventually::eventually;
use crate::support::frame::is_real_tag;
use crate::support::past::run;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Backend, Frontend, Proxy, every};
use crate::support::server::server;

const PATIENCE: Duration = Duration::from_secs(30);

/// Settings, a lock and a LISTEN.
const SETTINGS: &str = "SET work_mem = '7MB'; SET my.own = 'left'; SELECT set_config('statement_timeout', '77777', false); \
                        SELECT pg_advisory_lock(1818, hashtext(current_setting('application_name'))); LISTEN left_channel";

/// Things with a name.
const THINGS: &str = "CREATE TEMP TABLE left_table (id int4); CREATE TEMP SEQUENCE left_sequence; SELECT nextval('left_sequence')";

const CURSOR: &str = "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1";

/// What of all that is there, and who we are.
const LEFT: &str = "SELECT concat_ws(' ',
    CASE WHEN current_setting('work_mem') = '7MB' THEN 'SET' END,
    CASE WHEN current_setting('my.own', true) = 'left' THEN 'own' END,
    CASE WHEN current_setting('statement_timeout') = '77777ms' THEN 'set_config' END,
    CASE WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) THEN 'lock' END,
    CASE WHEN EXISTS (SELECT FROM pg_listening_channels()) THEN 'listen' END,
    CASE WHEN EXISTS (SELECT FROM pg_class WHERE relname = 'left_table' AND pg_table_is_visible(oid)) THEN 'table' END,
    CASE WHEN EXISTS (SELECT FROM pg_cursors WHERE name = 'left_cursor') THEN 'cursor' END,
    CASE WHEN session_user <> 'postgres' THEN session_user END,
    CASE WHEN current_user <> session_user THEN current_user END)";

fn lazy(url: &str, limit: usize) -> TestPool {
    let reset = |builder: maypole::PoolBuilder| builder.session_reset(SessionReset::Lazy);
    TestPool::built(url, |builder| reset(builder).limit(limit).acquire_timeout(PATIENCE))
}

/// Somebody who leaves things behind, and says what is there then.
type Leaver = (&'static str, fn(&TestPool) -> String);

fn by_a_lease(test: &TestPool) -> String {
    let lease = test.pool.connection().expect("lent");
    lease.script(SETTINGS).expect("set");
    lease.script(THINGS).expect("made");
    lease.script(&format!("BEGIN; {CURSOR}; COMMIT")).expect("declared");
    lease.script("SET ROLE pg_monitor").expect("another role");
    lease.query(LEFT, ()).value().expect("told")
}

/// Another user is more than another role.
fn by_a_lease_that_is_another_user(test: &TestPool) -> String {
    let lease = test.pool.connection().expect("lent");
    lease.script("SET SESSION AUTHORIZATION pg_read_all_data").expect("another user");
    lease.query(LEFT, ()).value().expect("told")
}

/// A query of its own borrows too. What is plain to see is refused, but not what a function does.
fn by_an_errand(test: &TestPool) -> String {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        run("CREATE FUNCTION leave_settings() RETURNS text LANGUAGE SQL AS \
             $$ SELECT set_config('work_mem', '7MB', false) || set_config('statement_timeout', '77777', false) $$");
    });
    test.db.query("SELECT leave_settings()", ()).value::<String>().expect("set");
    "SET set_config".to_owned()
}

fn by_a_transaction(test: &TestPool) -> String {
    let leave = |q: &Tx| -> Result<String> {
        q.script(SETTINGS)?;
        q.script(THINGS)?;
        q.script(CURSOR)?;
        q.script("SET ROLE pg_monitor")?;
        q.query(LEFT, ()).value()
    };
    test.db.transaction(leave).expect("committed")
}

/// Somebody who looks at what was left behind.
type Finder = (&'static str, fn(&Pool) -> String);

const FINDERS: [Finder; 5] = [
    ("a lease", |pool| pool.connection().expect("lent").query(LEFT, ()).value().expect("told")),
    ("an errand", |pool| Database::from(pool.clone()).query(LEFT, ()).value().expect("told")),
    ("a stream", |pool| {
        let db = Database::from(pool.clone());
        let rows: Result<Vec<String>> = db.query(LEFT, ()).chunk(1).iter().collect();
        rows.expect("told").concat()
    }),
    ("a stream of a lease", |pool| {
        let lease = pool.connection().expect("lent");
        let rows: Result<Vec<String>> = lease.query(LEFT, ()).chunk(1).iter().collect();
        rows.expect("told").concat()
    }),
    ("a transaction", |pool| {
        let db = Database::from(pool.clone());
        db.transaction(|q| q.query(LEFT, ()).value()).expect("told")
    }),
];

#[test]
fn whatever_a_borrower_leaves_behind_the_next_one_finds_nothing_of_it() {
    const ALL: &str = "SET own set_config lock listen table cursor pg_monitor";
    // A LISTEN of a transaction is there when that is committed.
    let of_a_transaction = ALL.replace("listen ", "");
    let leavers: [(Leaver, &str); 4] = [
        (("a lease", by_a_lease), ALL),
        (("another user", by_a_lease_that_is_another_user), "pg_read_all_data"),
        (("an errand", by_an_errand), "SET set_config"),
        (("a transaction", by_a_transaction), &of_a_transaction),
    ];
    let test = lazy(&server().url(), 1);
    in_turn(&test, &leavers);
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (1, 0), "always the same session: {stats:?}");
    test.finish();
}

fn in_turn(test: &TestPool, leavers: &[(Leaver, &str)]) {
    for ((leaver, leave), left) in leavers {
        for (finder, find) in FINDERS {
            assert_eq!(leave(test), *left, "{leaver}");
            assert_eq!(find(&test.pool), "", "{finder} after {leaver}");
            let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
            assert_eq!(test.db.query(count, (&test.name,)).value::<i64>().expect("told"), 1);
        }
    }
    // The value of a sequence is of the session too.
    by_a_lease(test);
    let error = test.pool.connection().expect("lent").query("SELECT lastval()", ()).value::<i64>();
    assert_eq!(error.expect_err("no value yet").sqlstate(), Some("55000"));
}

/// The next one may have found it waiting: what was held for a request in the queue is reset as well.
#[test]
fn a_request_that_waited_for_the_session_finds_nothing_either() {
    let test = lazy(&server().url(), 1);
    let lease = test.pool.connection().expect("lent");
    lease.script(SETTINGS).expect("set");
    let finders = FINDERS.map(|(finder, find)| {
        let pool = test.pool.clone();
        (finder, spawn(move || find(&pool)))
    });
    eventually("all wait", || test.pool.stats().waiting == FINDERS.len());
    drop(lease);
    for (finder, found) in finders {
        assert_eq!(found.join().expect("no panic"), "", "{finder}");
    }
    test.finish();
}

#[test]
fn the_connection_string_stays_in_force_and_what_after_connect_set_does_not() {
    let url = format!("{}?options=-c%20work_mem%3D9MB", server().url());
    let test = TestPool::built(&url, |builder| {
        builder
            .session_reset(SessionReset::Lazy)
            .limit(1)
            .after_connect(|connection| connection.script("SET statement_timeout = '77777'"))
    });
    let shown = |name: &str| {
        let lease = test.pool.connection().expect("lent");
        lease.query("SELECT current_setting($1)", (name,)).value::<String>().expect("told")
    };
    test.pool.connection().expect("lent").script("SET work_mem = '7MB'").expect("set");
    assert_eq!((shown("work_mem"), shown("statement_timeout")), ("9MB".to_owned(), "0".to_owned()));
    test.finish();
}

#[test]
fn who_asked_for_no_reset_finds_what_was_left() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(PATIENCE));
    by_a_lease_that_is_another_user(&test);
    for (finder, find) in FINDERS {
        assert_eq!(find(&test.pool), "pg_read_all_data", "{finder}");
    }
    test.pool.connection().expect("lent").script("RESET SESSION AUTHORIZATION").expect("reset");
    by_an_errand(&test);
    assert_eq!(test.db.query(LEFT, ()).value::<String>().expect("told"), "SET set_config");
    test.finish();
}

/// How many messages of this kind the client sends meanwhile.
fn sent<R>(proxy: &Proxy, tag: u8, work: impl FnOnce() -> R) -> usize {
    let seen = proxy.on(Frontend, tag, every()).watch();
    work();
    let count = seen.hits();
    seen.release();
    count
}

#[test]
fn what_the_library_has_prepared_stays_prepared() {
    let proxy = Proxy::start(&server().url());
    let test = lazy(&proxy.url(), 1);
    let ask = |number: i64| {
        let lease = test.pool.connection().expect("lent");
        assert_eq!(lease.query("SELECT $1::bigint", (number,)).value::<i64>().expect("an answer"), number);
        drop(lease);
        let query = test.db.query("SELECT $1::bigint + 1", (number,));
        assert_eq!(query.value::<i64>().expect("an answer"), number + 1);
        let sum = test.db.transaction(|q| q.query("SELECT $1::bigint + 2", (number,)).value::<i64>());
        assert_eq!(sum.expect("an answer"), number + 2);
    };
    for number in 0..3 {
        ask(number);
    }
    let resets = sent(&proxy, b'Q', || {
        let parses = sent(&proxy, b'P', || (10..20).for_each(ask));
        assert_eq!(parses, 10, "BEGIN of ten transactions, and nothing else");
    });
    assert!(resets >= 30, "{resets} resets for 30 borrowers");
    // Settings do not make it useless either.
    test.pool
        .connection()
        .expect("lent")
        .query("SELECT set_config('work_mem', '7MB', false)", ())
        .value::<String>()
        .expect("set");
    assert_eq!(sent(&proxy, b'P', || (20..22).for_each(ask)), 2, "two BEGIN");
    // What may mean something else without the search path is prepared anew, and means the right thing.
    test.pool.connection().expect("lent").script("CREATE TEMP TABLE pg_class (id int4)").expect("made");
    ask(30);
    assert_eq!(test.pool.stats().opened, 1);
    test.finish();
}

/// A statement that was parsed while a name meant something else.
#[test]
fn a_statement_that_was_prepared_under_another_search_path_means_the_right_table_afterwards() {
    run(
        "CREATE SCHEMA reset_a; CREATE TABLE reset_a.reset_meant AS SELECT 'a' AS name; CREATE TABLE public.reset_meant AS SELECT 'public' AS name",
    );
    let test = lazy(&server().url(), 1);
    const NAME: &str = "SELECT name FROM reset_meant";
    for round in 0..3 {
        let lease = test.pool.connection().expect("lent");
        lease.script("SET search_path = reset_a").expect("set");
        assert_eq!(lease.query(NAME, ()).value::<String>().expect("told"), "a", "round {round}");
        drop(lease);
        assert_eq!(test.db.query(NAME, ()).value::<String>().expect("told"), "public", "round {round}");
        // A text of its own: a statement that the server knows already keeps its table when another comes to hide it.
        let name = format!("{NAME} -- {round}");
        let lease = test.pool.connection().expect("lent");
        lease.script("CREATE TEMP TABLE reset_meant AS SELECT 'temporary' AS name").expect("made");
        assert_eq!(lease.query(&name, ()).value::<String>().expect("told"), "temporary", "round {round}");
        drop(lease);
        let found = test.db.transaction(|q| q.query(&name, ()).value::<String>()).expect("told");
        assert_eq!(found, "public", "round {round}");
    }
    test.finish();
    run("DROP TABLE public.reset_meant, reset_a.reset_meant; DROP SCHEMA reset_a");
}

/// The request is on its way before anything of the reset's answer has come.
#[test]
fn a_reset_costs_no_round_trip() {
    let proxy = Proxy::start(&server().url());
    let test = lazy(&proxy.url(), 1);
    for (finder, find) in FINDERS {
        // Both have been prepared by now.
        find(&test.pool);
        by_an_errand(&test);
        let (resets, binds) =
            (proxy.on(Frontend, b'Q', every()).watch(), proxy.on(Frontend, b'B', every()).watch());
        let held = proxy.on(Backend, ANY, every()).hold();
        let pool = test.pool.clone();
        let looking = spawn(move || find(&pool));
        resets.wait_hits(1);
        binds.wait_hits(1);
        held.release();
        assert_eq!(looking.join().expect("no panic"), "", "{finder}");
        resets.release();
        binds.release();
    }
    test.finish();
}

#[test]
fn nothing_is_sent_for_a_session_on_which_nothing_ran() {
    let proxy = Proxy::start(&server().url());
    let test = lazy(&proxy.url(), 1);
    let pool = test.pool.clone();
    let borrow = move || {
        in_coroutine({
            let pool = pool.clone();
            move || (0..5).for_each(|_| drop(pool.connection().expect("lent")))
        })
    };
    test.pool.warm(1, PATIENCE).expect("warm");
    let ask = || assert_eq!(test.db.query("SELECT 18", ()).value::<i32>().expect("an answer"), 18);
    assert_eq!(sent(&proxy, ANY, &borrow), 0, "nothing ran since it was opened");
    assert_eq!(sent(&proxy, b'Q', ask), 0, "a session that is new needs none");
    assert_eq!(sent(&proxy, ANY, &borrow), 0, "a reset waits for a request");
    assert_eq!(sent(&proxy, b'Q', ask), 1, "one for all who did nothing");
    assert_eq!(sent(&proxy, b'Q', ask), 1);
    let all = proxy.all().seen();
    assert!(all.iter().any(|event| is_real_tag(event.tag)));
    test.finish();
}

/// As the manual says: only what was left in the session itself, not what was prepared in it.
#[test]
fn what_a_borrower_has_prepared_by_sql_stays() {
    let test = lazy(&server().url(), 1);
    test.pool.connection().expect("lent").script("PREPARE left_statement AS SELECT 18").expect("prepared");
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_statement' AND from_sql";
    assert_eq!(test.db.query(count, ()).value::<i64>().expect("told"), 1);
    test.finish();
}
