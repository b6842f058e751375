//! How a statement becomes known to a session, with everything that can come between: a cancel, a time limit, a lost
//! connection, a panic, at each message. The same query and others work after it, and the server keeps no more statements
//! than it may.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maypole::{Connection, Database, Outcome, Query, Result, Row, query, select};

use crate::support::backend::{self, INT4};
use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, nth};
use crate::support::script::Script;
use crate::support::server::server;

/// Never opened: every call says where it runs.
static DB: Database = Database::named("introductions");

const CAPACITY: usize = 3;

/// The same ad hoc.
const TEXT: &str = "SELECT n * 2 FROM generate_series(1, $1) AS n";

#[select(DB, exclusive, "SELECT n * 2 FROM generate_series(1, :n) AS n")]
fn doubled(n: i32) -> Query<i32>;

/// What the server knows in this session: name and text.
fn known(connection: &Connection) -> BTreeMap<String, String> {
    let rows = connection.query("SELECT name, statement FROM pg_prepared_statements", ());
    rows.rows::<(String, String)>().expect("rows").into_iter().collect()
}

/// The ways to run the same query, which has not been seen before, or is known to the pool only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Errand,
    Lease,
    Transaction,
    Stream,
    StreamInTransaction,
}

const WAYS: [Way; 5] = [Way::Errand, Way::Lease, Way::Transaction, Way::Stream, Way::StreamInTransaction];

fn run(way: Way, pool: &maypole::Pool, declared: bool, limit: Option<Duration>) -> Result<Vec<i32>> {
    match way {
        Way::Errand if declared => doubled(3).on(pool).timeout(limit).rows(),
        Way::Errand => Database::from(pool.clone()).query(TEXT, (3,)).timeout(limit).rows(),
        Way::Lease => {
            let lease = pool.connection()?;
            if declared {
                doubled(3).on(&lease).timeout(limit).rows()
            } else {
                lease.query(TEXT, (3,)).timeout(limit).rows()
            }
        }
        Way::Stream => {
            let lease = pool.connection()?;
            if declared {
                doubled(3).on(&lease).timeout(limit).chunk(1).iter().collect()
            } else {
                lease.query(TEXT, (3,)).timeout(limit).chunk(1).iter().collect()
            }
        }
        Way::Transaction | Way::StreamInTransaction => pool.connection()?.transaction(|q| {
            if way == Way::Transaction {
                if declared {
                    doubled(3).on(q).timeout(limit).rows()
                } else {
                    q.query(TEXT, (3,)).timeout(limit).rows()
                }
            } else if declared {
                doubled(3).on(q).timeout(limit).chunk(1).iter().collect()
            } else {
                q.query(TEXT, (3,)).timeout(limit).chunk(1).iter().collect()
            }
        }),
    }
}

fn check_health(test: &TestPool, what: &str) {
    let lease = test.pool.connection().expect("lent");
    for declared in [true, false] {
        // On the lease that has seen it all.
        let result: Result<Vec<i32>> = lease.transaction(|q| {
            if declared { doubled(3).on(q).rows() } else { q.query(TEXT, (3,)).chunk(1).iter().collect() }
        });
        assert_eq!(result.unwrap_or_else(|error| panic!("{what}: {error:?}")), [2, 4, 6], "{what}");
    }
    for number in 0..4 {
        let text = format!("SELECT {number} + $1::int4");
        let answer = lease.transaction(|q| q.query(&text, (1,)).value::<i32>());
        assert_eq!(answer.unwrap_or_else(|error| panic!("{what}: {error:?}")), number + 1, "{what}");
    }
    // Two are closed with each that is introduced.
    let left = known(&lease);
    assert!(left.len() <= CAPACITY, "{what}: {left:?}");
    drop(lease);
    for declared in [true, false] {
        for way in WAYS {
            let rows = run(way, &test.pool, declared, None);
            assert_eq!(rows.unwrap_or_else(|error| panic!("{what}, then {way:?}: {error:?}")), [2, 4, 6]);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Cancelled,
    Late,
    Cut,
}

/// Unknown to the pool, and known to it but not to the session; a text that is forgotten is forgotten by both.
fn disturb(fate: Fate) {
    // At the same time: a reply that is late is waited for.
    std::thread::scope(|scope| {
        for (declared, fresh) in [(true, true), (true, false), (false, false)] {
            scope.spawn(move || {
                for way in WAYS {
                    disturb_one(fate, declared, fresh, way);
                }
            });
        }
    });
}

fn disturb_one(fate: Fate, declared: bool, fresh: bool, way: Way) {
    let proxy = Proxy::start(&server().url());
    let places = [
        (Frontend, b'P'),
        (Frontend, b'B'),
        (Frontend, b'S'),
        (Backend, b'1'),
        (Backend, b't'),
        (Backend, b'T'),
        (Backend, b'2'),
        (Backend, b'D'),
        (Backend, b'Z'),
    ];
    let start = || {
        TestPool::configured(
            &proxy.url(),
            |config| config.statement_cache_capacity(CAPACITY),
            |builder| builder.limit(1),
        )
    };
    let mut test = start();
    for (direction, tag) in places {
        let what = format!("{fate:?} {way:?} declared {declared}, {direction:?} {}", char::from(tag));
        if fresh {
            test.finish();
            test = start();
        }
        test.db.script("SELECT 1").expect("warm");
        if !fresh {
            for number in 0..=CAPACITY {
                let text = format!("SELECT {number}");
                test.db.query(&text, ()).value::<i32>().expect("an answer");
            }
        }
        // The statement of a transaction, not the BEGIN that goes with it.
        let behind = usize::from(
            matches!(way, Way::Transaction | Way::StreamInTransaction)
                && matches!(tag, b'P' | b'B' | b'1' | b'2'),
        );
        let rule = proxy.on(direction, tag, nth(1 + behind));
        let rule = if fate == Fate::Cut { rule.cut_before() } else { rule.hold() };
        let pool = test.pool.clone();
        let limit = (fate == Fate::Late).then_some(Duration::from_millis(60));
        let victim = maypole::spawn(move || run(way, &pool, declared, limit));
        rule.wait_hits(1);
        match fate {
            Fate::Cancelled => {
                cancel(&victim);
                assert!(victim.join().is_err(), "{what}");
            }
            Fate::Late => {
                let error = victim.join().expect("no panic").expect_err("late");
                assert!(error.is_timeout(), "{what}: {error:?}");
            }
            Fate::Cut => {
                // A connection that ends inside a retry is an error too.
                let error = victim.join().expect("no panic").expect_err("lost");
                assert!(error.is_closed(), "{what}: {error:?}");
            }
        }
        rule.release();
        check_health(&test, &what);
    }
    test.finish();
}

#[test]
fn an_introduction_may_be_cancelled_at_each_message() {
    disturb(Fate::Cancelled);
}

#[test]
fn an_introduction_may_be_late_at_each_message() {
    disturb(Fate::Late);
}

#[test]
fn a_connection_may_be_lost_at_each_message_of_an_introduction() {
    disturb(Fate::Cut);
}

/// Counts by a sequence, which no rollback takes back.
fn runs(test: &TestPool) -> i64 {
    test.db.query("SELECT last_value FROM introductions_runs", ()).value().expect("a count")
}

#[select(DB, exclusive, "SELECT introductions_raise(:code, :message)")]
fn raise(code: &str, message: &str) -> Query<i32>;

#[query(DB, "INSERT INTO introductions_raising VALUES (:code, :message)")]
fn insert_raising(code: &str, message: &str) -> Query;

#[query(DB, "INSERT INTO introductions_raising VALUES (:code, :message) RETURNING code")]
fn insert_raising_returning(code: &str, message: &str) -> Query<String>;

#[query(DB, "CALL introductions_procedure(:code, :message)")]
fn call_raising(code: &str, message: &str) -> Query;

/// The codes by which the server says that a statement is stale may be raised by anybody.
#[test]
fn what_was_executed_is_not_executed_again_whatever_a_function_raises() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE SEQUENCE introductions_runs; SELECT nextval('introductions_runs');
             CREATE TABLE introductions_raising (code text, message text);
             CREATE FUNCTION introductions_raise(code text, message text) RETURNS int4 LANGUAGE plpgsql AS
             $$ BEGIN PERFORM nextval('introductions_runs');
                RAISE EXCEPTION '%', message USING ERRCODE = code; END $$;
             CREATE FUNCTION introductions_trigger() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM introductions_raise(NEW.code, NEW.message); RETURN NEW; END $$;
             CREATE TRIGGER introductions_trigger BEFORE INSERT ON introductions_raising
                 FOR EACH ROW EXECUTE FUNCTION introductions_trigger();
             CREATE TABLE introductions_committed (n int4);
             CREATE PROCEDURE introductions_procedure(code text, message text) LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO introductions_committed VALUES (1); COMMIT;
                PERFORM introductions_raise(code, message); END $$",
        )
        .expect("made");
    let lookup = "cache lookup failed for type 123";
    let codes = [
        ("26000", "prepared statement \"q1\" does not exist"),
        ("XX000", lookup),
        ("0A000", "cached plan must not change result type"),
        ("42P01", "no table"),
        ("42P05", "there already"),
        ("42804", "wrong type"),
        ("42883", "no binary output function available for type x"),
        ("25P02", "aborted"),
    ];
    let mut committed = 0;
    for (code, message) in codes {
        let before = Cell::new(runs(&test));
        let check = |what: &str, error: maypole::Error| {
            assert_eq!(error.sqlstate(), Some(code), "{what}: {error:?}");
            assert_eq!(error.outcome(), Outcome::RolledBack, "{what}");
            let now = runs(&test);
            assert_eq!(now - before.replace(now), 1, "{what} {code}: executed once");
        };
        for round in 0..2 {
            let what = |what: &str| format!("{what}, round {round}");
            check(&what("select"), raise(code, message).on(&test.db).value().expect_err("raised"));
            check(&what("insert"), insert_raising(code, message).on(&test.db).run().expect_err("raised"));
            check(
                &what("insert returning"),
                insert_raising_returning(code, message).on(&test.db).value().expect_err("raised"),
            );
            let call = "CALL introductions_procedure($1, $2)";
            committed += 2;
            check(&what("call"), call_raising(code, message).on(&test.db).run().expect_err("raised"));
            check(&what("ad hoc"), test.db.query(call, (code, message)).run().expect_err("raised"));
            let lease = test.pool.connection().expect("lent");
            let on_lease = raise(code, message).on(&lease).value().expect_err("raised");
            let inside = lease.transaction(|q| raise(code, message).on(q).value()).expect_err("raised");
            assert_eq!(inside.sqlstate(), Some(code));
            let stream: Result<Vec<i32>> = raise(code, message).on(&lease).iter().collect();
            let streamed = stream.expect_err("raised");
            // None of it is a reason to lose what the session knows.
            lease.transaction(|q| doubled(1).on(q).rows().map(drop)).expect("known");
            drop(lease);
            assert_eq!(on_lease.sqlstate(), Some(code));
            assert_eq!(streamed.sqlstate(), Some(code));
            let now = runs(&test);
            assert_eq!(now - before.replace(now), 3, "a lease, a transaction, a stream: {code}");
        }
    }
    let count: i64 =
        test.db.query("SELECT count(*) FROM introductions_committed", ()).value().expect("a count");
    assert_eq!(count, committed, "each call once");
    let lease = test.pool.connection().expect("lent");
    let known = known(&lease);
    let texts: BTreeSet<_> = known.values().collect();
    assert_eq!(texts.len(), known.len(), "each once: {known:?}");
    drop(lease);
    test.finish();
}

#[query(DB, "INSERT INTO introductions_moods (mood) VALUES (:mood)")]
fn insert_mood(mood: &str) -> Query;

/// The write took effect; what fails is only what comes behind it.
#[test]
fn a_write_whose_types_cannot_be_looked_up_any_more_was_done() {
    let made = TestPool::new(1);
    made.db
        .script(
            "CREATE TYPE introductions_mood AS ENUM ('happy');
             CREATE TABLE introductions_moods (mood introductions_mood)",
        )
        .expect("made");
    let proxy = Proxy::start(&server().url());
    for round in 1..=6 {
        let test = TestPool::at(&proxy.url(), 1);
        test.db.script("SELECT 1").expect("warm");
        let rule = proxy.on(Backend, b'Z', nth(1)).cut_after();
        match insert_mood("happy").on(&test.db).run() {
            Ok(count) => assert_eq!(count, 1),
            Err(error) => assert_eq!(error.outcome(), Outcome::Done, "{error:?}"),
        }
        rule.release();
        let count: i64 =
            made.db.query("SELECT count(*) FROM introductions_moods", ()).value().expect("a count");
        assert_eq!(count, round);
        test.finish();
    }
    made.finish();
}

#[select(DB, exclusive, "SELECT * FROM introductions_formats")]
fn formats() -> Query<Row>;

#[select(DB, exclusive, "SELECT * FROM introductions_formats")]
fn formats_as_numbers() -> Query<(i32, i32)>;

#[query(DB, "INSERT INTO introductions_formats SELECT * FROM introductions_formats RETURNING *")]
fn insert_formats() -> Query<Row>;

/// What is asked for as text because the plan says so may be something else on another session: `1234` is four bytes, as an
/// int4 is.
#[test]
fn a_column_that_came_as_text_is_not_read_as_binary() {
    for ad_hoc in [false, true] {
        let test = TestPool::new(2);
        test.db
            .script(
                "DROP SCHEMA IF EXISTS formats_a, formats_b CASCADE;
                 CREATE SCHEMA formats_a; CREATE SCHEMA formats_b;
                 CREATE TABLE formats_a.introductions_formats (x aclitem, y int4);
                 INSERT INTO formats_a.introductions_formats VALUES ('=r/postgres', 7);
                 CREATE TABLE formats_b.introductions_formats (x int4, y int4);
                 INSERT INTO formats_b.introductions_formats VALUES (1234, 7)",
            )
            .expect("made");
        let a = test.pool.connection().expect("lent");
        let b = test.pool.connection().expect("lent");
        a.script("SET search_path = formats_a").expect("set");
        b.script("SET search_path = formats_b").expect("set");
        let text = "SELECT * FROM introductions_formats";
        let ask = |connection: &Connection| -> Result<Row> {
            if ad_hoc { connection.query(text, ()).unique() } else { formats().on(connection).unique() }
        };
        assert_eq!(ask(&a).expect("a row").get::<i32>("y").expect("y"), 7);
        for round in 0..2 {
            let row = ask(&b).expect("a row");
            assert_eq!(row.to_string(), r#"{"x": 1234, "y": 7}"#, "{round}");
            assert_eq!(b.transaction(|_| ask(&b)).expect("a row").to_string(), row.to_string());
            assert_eq!(ask(&a).expect("a row").get::<&str>("x").expect("x"), "=r/postgres");
        }
        let streamed: Result<Vec<Row>> = b.query(text, ()).chunk(1).iter().collect();
        assert_eq!(streamed.expect("rows")[0].get::<i32>("x").expect("x"), 1234);
        assert_eq!(formats_as_numbers().on(&b).unique().expect("numbers"), (1234, 7));
        assert_eq!(insert_formats().on(&a).unique().expect("a row").get::<i32>("y").expect("y"), 7);
        assert_eq!(insert_formats().on(&b).unique().expect("a row").get::<i32>("x").expect("x"), 1234);
        drop((a, b));
        for _ in 0..8 {
            let rows =
                if ad_hoc { test.db.query(text, ()).rows::<Row>() } else { formats().on(&test.db).rows() };
            for row in rows.expect("rows") {
                let x = row.to_string();
                assert!(x.contains("1234") || x.contains("=r/postgres"), "{x}");
            }
        }
        test.finish();
    }
}

/// The same by a change of the schema: sessions that meet the statement only then.
#[test]
fn a_plan_of_yesterday_is_not_read_in_the_formats_of_today() {
    for (before, after) in [("aclitem", "int4"), ("int4", "aclitem")] {
        let test = TestPool::new(3);
        test.db
            .script(&format!(
                "DROP TABLE IF EXISTS introductions_changed; CREATE TABLE introductions_changed (x {before}, y int4);"
            ))
            .expect("made");
        let values = |type_: &str| if type_ == "int4" { "1234" } else { "'=r/postgres'" };
        let insert = |type_: &str| {
            test.db
                .script(&format!("INSERT INTO introductions_changed VALUES ({}, 7)", values(type_)))
                .expect("inserted");
        };
        insert(before);
        let sql = "SELECT * FROM introductions_changed";
        let first = test.pool.connection().expect("lent");
        first.query(sql, ()).unique::<Row>().expect("a row");
        test.db
            .script(&format!(
                "DROP TABLE introductions_changed; CREATE TABLE introductions_changed (x {after}, y int4);"
            ))
            .expect("made");
        insert(after);
        for _ in 0..4 {
            let row: Row = test.db.query(sql, ()).unique().expect("a row");
            assert!(row.to_string().contains(values(after).trim_matches('\'')), "{row}");
        }
        drop(first);
        for _ in 0..4 {
            let row: Row = test.db.query(sql, ()).unique().expect("a row");
            assert!(row.to_string().contains(values(after).trim_matches('\'')), "{row}");
        }
        test.finish();
    }
}

#[select(DB, exclusive, "SELECT introductions_read() WHERE :n > 0")]
fn read_wrongly(n: i32) -> Query<i32>;

/// It is found out too late for a select that nobody has asked about, and said.
#[test]
fn what_was_executed_and_cannot_be_read_was_done() {
    let test = TestPool::new(1);
    test.db.script("CREATE SEQUENCE introductions_read; CREATE FUNCTION introductions_read() RETURNS int8 LANGUAGE sql AS $$ SELECT nextval('introductions_read') $$").expect("made");
    let executed = |error: maypole::Error| {
        let now: i64 =
            test.db.query("SELECT last_value FROM introductions_read", ()).value().expect("a count");
        (error.outcome(), now)
    };
    assert_eq!(executed(read_wrongly(1).on(&test.db).run().expect_err("a row")), (Outcome::Done, 1));
    test.finish();
}

#[select(DB, exclusive, "SELECT :n + 1 FROM introductions_locked")]
fn locked(n: i32) -> Query<i32>;

/// To be refused for another reason than the statement itself is no reason to ask anew.
#[test]
fn an_introduction_that_waits_for_a_lock_in_vain_fails_once_and_costs_no_plan() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 2);
    test.db.script("CREATE TABLE introductions_locked AS SELECT 1 AS n").expect("made");
    let first = test.pool.connection().expect("lent");
    let second = test.pool.connection().expect("lent");
    second.script("SET lock_timeout = '50ms'").expect("set");
    let ad_hoc = "SELECT n FROM introductions_locked";
    assert_eq!(locked(1).on(&first).value().expect("known"), 2);
    assert_eq!(first.query(ad_hoc, ()).value::<i32>().expect("known"), 1);
    let parsed = || proxy.connection(1).count(Frontend, b'P') + proxy.connection(2).count(Frontend, b'P');
    let locker = TestPool::new(1);
    locker
        .db
        .transaction(|q| {
            q.script("LOCK introductions_locked")?;
            let before = parsed();
            let error = locked(1).on(&second).value().expect_err("locked");
            assert_eq!(error.sqlstate(), Some("55P03"), "{error:?}");
            assert_eq!(parsed() - before, 1, "asked once");
            let error = second.query(ad_hoc, ()).value::<i32>().expect_err("locked");
            assert_eq!(error.sqlstate(), Some("55P03"), "{error:?}");
            assert_eq!(parsed() - before, 2, "asked once");
            // As an errand.
            drop(second);
            let error = locked(1).on(&test.db).value().expect_err("locked");
            assert_eq!(error.sqlstate(), Some("55P03"), "{error:?}");
            assert_eq!(parsed() - before, 3, "asked once");
            Ok(())
        })
        .expect("committed");
    let before = parsed();
    assert_eq!(locked(1).on(&first).value().expect("known"), 2);
    assert_eq!(first.query(ad_hoc, ()).value::<i32>().expect("known"), 1);
    assert_eq!(parsed(), before, "still known where it was");
    assert_eq!(locked(1).on(&test.db).value().expect("an answer"), 2);
    drop(first);
    test.finish();
    locker.finish();
}

#[select(DB, exclusive, "SELECT :n + 1 FROM described_in_part")]
fn described_in_part(n: i32) -> Query<i32>;

/// The server may fail between the parameters and the columns: a type was dropped in that moment.
#[test]
fn a_statement_that_was_described_in_part_is_asked_for_again() {
    let script = Script::new()
        .connection(|steps| {
            let described = |end: Vec<u8>| {
                [backend::parse_complete(), backend::parameter_description(&[INT4]), end].concat()
            };
            let failed = backend::error("XX000", "cache lookup failed for type 16400");
            let whole = [
                backend::row_description(&[("n", INT4)]),
                backend::bind_complete(),
                backend::data_row(&[Some(&8i32.to_be_bytes())]),
                backend::command_complete("SELECT 1"),
                backend::ready(b'I'),
            ]
            .concat();
            steps
                .expect_startup_and_accept()
                .expect_all(b"PDBES")
                .send(described([failed, backend::ready(b'I')].concat()))
                .expect_all(b"CPDBES")
                .send([backend::close_complete(), described(whole)].concat())
        })
        .start();
    let test = TestPool::at(&script.url(), 1);
    let error = described_in_part(7).on(&test.db).value().expect_err("described in part");
    assert_eq!(error.sqlstate(), Some("XX000"));
    assert_eq!(described_in_part(7).on(&test.db).value().expect("an answer"), 8);
    eventually("all is back", || test.pool.stats().lent == 0);
    test.settled();
    test.pool.start_closing();
    eventually("nothing is left", || test.pool.is_drained());
    script.finish();
}
