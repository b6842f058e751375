//! The schema changes while queries run: no answer is read wrongly, nothing hangs, and errors say what is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use maypole::types::{FromSql, ToSql};
use maypole::{Database, Error, Query, Result, Row, query, select};

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::random::Random;
use crate::support::server::server;

/// Never opened: every call says where it runs.
static DB: Database = Database::named("changes");

/// Each row carries what it says as text, made by the server: `{"n":1,"t":"a",…}` without the check itself.
const ROWS: &str = "SELECT s.*, to_jsonb(s)::text AS checked FROM changing_storm AS s WHERE id <= $1";

#[select(DB, "SELECT s.*, to_jsonb(s)::text AS checked FROM changing_storm AS s WHERE id <= :most")]
fn storm(most: i32) -> Query<Row>;

#[select(DB, "SELECT id, value::text || '!' FROM changing_storm WHERE id = :id")]
fn told(id: i32) -> Query<(i32, String)>;

#[select(DB, "SELECT value, value::text FROM changing_storm WHERE id = :id")]
fn as_number(id: i32) -> Query<(i32, String)>;

#[query(DB, "UPDATE changing_storm SET touched = touched + 1 WHERE id = :id RETURNING id, touched, value")]
fn touch(id: i32) -> Query<Row>;

fn check_row(row: &Row) {
    // A type that was dropped before it could be looked up: its bytes are shown.
    if row.columns().iter().any(|column| column.type_().name() == "unknown") {
        return;
    }
    let shown: serde_json::Value = serde_json::from_str(&row.to_string()).expect("a row is JSON");
    let mut shown = shown.as_object().expect("an object").clone();
    let checked = shown.remove("checked").expect("the check");
    let said: serde_json::Value =
        serde_json::from_str(checked.as_str().expect("a text")).expect("the server's JSON");
    assert_eq!(serde_json::Value::Object(shown), said, "read wrongly: {row}");
}

/// What may be said while the ground shakes.
fn excuse(error: &Error) {
    let fine = match error.sqlstate() {
        // Undefined, of another type, of another day.
        Some(code) => {
            code.starts_with("42")
                || matches!(code, "0A000" | "40P01" | "55P03" | "22P02" | "22003")
                || error.to_string().contains("cache lookup failed")
                || error.to_string().contains("could not open relation")
        }
        // The second time it is a type that was dropped before it could be looked up.
        None => ["column", "is not known yet"].iter().any(|fine| error.to_string().contains(fine)),
    };
    assert!(fine && error.sqlstate() != Some("42P05"), "{error:?}");
}

#[test]
fn rows_are_read_rightly_whatever_becomes_of_their_table() {
    let test = TestPool::new(4);
    test.db
        .script(
            "CREATE TYPE changing_kind AS ENUM ('1', '2', '3');
             CREATE TABLE changing_storm (id int4, value int4, touched int4 DEFAULT 0);
             INSERT INTO changing_storm SELECT n, n FROM generate_series(1, 3) n",
        )
        .expect("made");
    let changes = [
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE int8",
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE text",
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE int4 USING value::text::int4",
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE int2 USING value::text::int2",
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE changing_kind USING value::text::changing_kind",
        "ALTER TABLE changing_storm ADD COLUMN IF NOT EXISTS more int8 DEFAULT 1234",
        "ALTER TABLE changing_storm ADD COLUMN IF NOT EXISTS front text DEFAULT 'front'",
        "ALTER TABLE changing_storm DROP COLUMN IF EXISTS more",
        "ALTER TABLE changing_storm DROP COLUMN IF EXISTS front",
        "ALTER TABLE changing_storm ALTER COLUMN value TYPE int4 USING value::text::int4;
         DROP TYPE changing_kind; CREATE TYPE changing_kind AS ENUM ('1', '2', '3')",
        "ALTER TABLE changing_storm RENAME TO changing_other;
         CREATE TABLE changing_storm AS SELECT touched, value::text AS value, id FROM changing_other;
         DROP TABLE changing_other",
        "ALTER TABLE changing_storm RENAME COLUMN value TO x; ALTER TABLE changing_storm RENAME COLUMN touched TO value;
         ALTER TABLE changing_storm RENAME COLUMN x TO touched;
         ALTER TABLE changing_storm ALTER COLUMN touched TYPE int4 USING touched::text::int4",
    ];
    let mut random = Random::new();
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let touches = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..400)
        .map(|_| {
            let (pool, mut random) = (test.pool.clone(), random.fork());
            let (over, answered, touches) = (over.clone(), answered.clone(), touches.clone());
            maypole::spawn(move || {
                let db = Database::from(pool.clone());
                while !over.load(Ordering::Relaxed) {
                    let id = i32::try_from(random.below(3)).expect("small") + 1;
                    let rows = |rows: Result<Vec<Row>>| -> Result<usize> {
                        rows.map(|rows| rows.iter().inspect(|row| check_row(row)).count())
                    };
                    let done = match random.below(9) {
                        0 => rows(storm(id).on(&db).rows()),
                        1 => rows(db.query(ROWS, (id,)).rows()),
                        2 => rows(storm(id).on(&db).chunk(1).iter().collect()),
                        3 => rows(db.query(ROWS, (id,)).chunk(1).iter().collect()),
                        4 => db.transaction(|q| rows(storm(id).on(q).rows())),
                        5 => db.transaction(|q| rows(q.query(ROWS, (id,)).chunk(1).iter().collect())),
                        6 => told(id).on(&db).rows().map(|told| {
                            told.iter().for_each(|(_, text)| assert!(text.ends_with('!'), "{text}"));
                            told.len()
                        }),
                        7 => as_number(id).on(&db).rows().map(|rows| {
                            rows.iter().for_each(|(number, text)| assert_eq!(number.to_string(), *text));
                            rows.len()
                        }),
                        _ => {
                            let touched = touch(id).on(&db).rows();
                            if touched.is_ok() {
                                touches.fetch_add(1, Ordering::Relaxed);
                            }
                            touched.map(|rows| rows.len())
                        }
                    };
                    match done {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => excuse(&error),
                    }
                }
            })
        })
        .collect();
    let mut elsewhere = Client::connect(&server().url()).expect("the server answers");
    let mut made = 0;
    for _ in 0..60 {
        let before = answered.load(Ordering::Relaxed);
        let change = format!("BEGIN; {}; COMMIT", random.pick(&changes));
        match elsewhere.query(&change) {
            Ok(_) => made += 1,
            Err(_) => drop(elsewhere.query("ROLLBACK").expect("rolled back")),
        }
        let start = std::time::Instant::now();
        while answered.load(Ordering::Relaxed) < before + 60 && start.elapsed().as_millis() < 300 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        if let Err(panic) = worker.join() {
            // Its message went to whatever test this worker of may belongs to.
            panic!("{:?}", panic.downcast_ref::<String>());
        }
    }
    println!(
        "{} answered, {made} changes, {} touches",
        answered.load(Ordering::Relaxed),
        touches.load(Ordering::Relaxed)
    );
    assert!(made > 20 && answered.load(Ordering::Relaxed) > 1000);
    test.finish();
}

/// Sessions whose statements somebody has thrown away, with errands of several plans in the queue at that moment.
#[test]
fn sessions_that_forget_while_errands_wait_show_nothing_of_it() {
    let test = TestPool::new(2);
    let texts: Vec<String> = (0..6).map(|number| format!("SELECT {number} + $1::int4")).collect();
    for round in 0..40 {
        let leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
        let workers: Vec<_> = (0..24)
            .map(|number: usize| {
                let (pool, text) = (test.pool.clone(), texts[number % texts.len()].clone());
                let expected = i32::try_from(number % texts.len()).expect("small") + 1;
                maypole::spawn(move || {
                    let db = Database::from(pool);
                    for _ in 0..2 {
                        let answer = if number.is_multiple_of(5) {
                            db.transaction(|q| q.query(&text, (1,)).value::<i32>())
                        } else {
                            db.query(&text, (1,)).value::<i32>()
                        };
                        match answer {
                            Ok(answer) => assert_eq!(answer, expected),
                            // Only a transaction can't hide it.
                            Err(error) => {
                                assert!(
                                    number.is_multiple_of(5) && error.sqlstate() == Some("26000"),
                                    "{error:?}"
                                );
                            }
                        }
                    }
                })
            })
            .collect();
        crate::support::eventually::eventually("they wait", || test.pool.stats().waiting == 24);
        let forget = if round % 2 == 0 { "DISCARD ALL" } else { "DEALLOCATE ALL" };
        leases.iter().for_each(|lease| lease.script(forget).expect("forgets"));
        drop(leases);
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
    test.finish();
}

#[select(DB, "SELECT * FROM changing_streams")]
fn streamed() -> Query<Row>;

/// A stream can't ask about types while it is open.
#[test]
fn a_stream_may_be_what_meets_the_types_of_a_session_first() {
    let test = TestPool::new(2);
    test.db
        .script(
            "CREATE SCHEMA streams_a; CREATE TABLE streams_a.changing_streams AS SELECT 1 AS n;
             CREATE SCHEMA streams_b; CREATE TYPE streams_b.mood AS ENUM ('sad');
             CREATE TABLE streams_b.changing_streams AS SELECT 'sad'::streams_b.mood AS mood",
        )
        .expect("made");
    let a = test.pool.connection().expect("lent");
    let b = test.pool.connection().expect("lent");
    a.script("SET search_path = streams_a").expect("set");
    b.script("SET search_path = streams_b").expect("set");
    assert_eq!(streamed().on(&a).rows().expect("rows").len(), 1);
    let rows: Result<Vec<Row>> = streamed().on(&b).chunk(1).iter().collect();
    assert_eq!(rows.expect("rows")[0].to_string(), r#"{"mood": "sad"}"#);
    drop((a, b));
    test.finish();
}

/// Each schema has a type of the same name: what one session was told of a parameter is not what another takes.
#[test]
fn sessions_whose_types_differ_write_inside_transactions_too() {
    let test = TestPool::new(2);
    for schema in ["types_a", "types_b"] {
        test.db
            .script(&format!(
                "CREATE SCHEMA {schema}; CREATE TYPE {schema}.mood AS ENUM ('{schema}');
                 CREATE TABLE {schema}.changing_moods (mood {schema}.mood, moods {schema}.mood[])"
            ))
            .expect("made");
    }
    let a = test.pool.connection().expect("lent");
    let b = test.pool.connection().expect("lent");
    let both = [(&a, "types_a"), (&b, "types_b")];
    for (lease, schema) in both {
        lease.script(&format!("SET search_path = {schema}")).expect("set");
    }
    let sql = "INSERT INTO changing_moods VALUES ($1, $2) RETURNING mood::text";
    for round in 0..3 {
        for (lease, schema) in both {
            let told = lease
                .transaction(|q| q.query(sql, (schema, [schema].as_slice())).value::<String>())
                .unwrap_or_else(|error| panic!("{schema}, {round}: {error:?}"));
            assert_eq!(told, schema);
            let streamed: Result<Vec<String>> = lease.transaction(|q| {
                let sql = "UPDATE changing_moods SET mood = $1 RETURNING mood::text";
                q.query(sql, (schema,)).chunk(1).iter().collect()
            });
            assert!(streamed.expect("rows").iter().all(|told| told == schema));
            let told = lease.query(sql, (schema, [schema].as_slice())).value::<String>().expect("a row");
            assert_eq!(told, schema);
        }
    }
    drop((a, b));
    test.finish();
}

/// An enum of the program, ahead of the database.
#[derive(Clone, Copy, Debug, PartialEq, FromSql, ToSql)]
#[postgres(name = "changing_level")]
enum Level {
    #[postgres(name = "low")]
    Low,
    #[postgres(name = "high")]
    High,
}

impl maypole::Scalar for Level {}

#[select(DB, "SELECT :level::changing_level")]
fn leveled(level: Level) -> Query<Level>;

/// A program may start before the migration that it needs.
#[test]
fn an_enum_that_gets_a_label_is_that_enum_from_then_on() {
    for through in ["errand", "lease", "transaction", "stream"] {
        let test = TestPool::new(1);
        test.db
            .script("DROP TYPE IF EXISTS changing_level; CREATE TYPE changing_level AS ENUM ('low')")
            .expect("made");
        let read = "SELECT 'low'::changing_level";
        let write = "SELECT $1::changing_level::text";
        let all = |pool: &maypole::Pool| -> [Result<()>; 3] {
            let db = Database::from(pool.clone());
            match through {
                "errand" => [
                    db.query(read, ()).value::<Level>().map(drop),
                    db.query(write, (Level::Low,)).value::<String>().map(drop),
                    leveled(Level::Low).on(&db).value().map(drop),
                ],
                "lease" => {
                    let lease = pool.connection().expect("lent");
                    [
                        lease.query(read, ()).value::<Level>().map(drop),
                        lease.query(write, (Level::Low,)).value::<String>().map(drop),
                        leveled(Level::Low).on(&lease).value().map(drop),
                    ]
                }
                "transaction" => [
                    db.transaction(|q| q.query(read, ()).value::<Level>().map(drop)),
                    db.transaction(|q| q.query(write, (Level::Low,)).value::<String>().map(drop)),
                    db.transaction(|q| leveled(Level::Low).on(q).value().map(drop)),
                ],
                _ => [
                    db.query(read, ()).each(|_: Level| Ok(())),
                    db.query(write, (Level::Low,)).each(|_: String| Ok(())),
                    leveled(Level::Low).on(&db).each(|_| Ok(())),
                ],
            }
        };
        for _ in 0..2 {
            for result in all(&test.pool) {
                let error = result.expect_err("it has one label");
                assert!(
                    error.sqlstate().is_none() && error.outcome() == maypole::Outcome::NotSent,
                    "{error:?}"
                );
            }
        }
        test.db.script("ALTER TYPE changing_level ADD VALUE 'high'").expect("added");
        for _ in 0..2 {
            for result in all(&test.pool) {
                result.unwrap_or_else(|error| panic!("{through}: {error:?}"));
            }
        }
        assert_eq!(leveled(Level::High).on(&test.db).value().expect("a level"), Level::High);
        test.finish();
    }
}
