//! A bit of everything, with a transcript: the same whatever is between us and the server. Uses: nothing of the kit.

use std::time::Duration;

use maypole::{Database, Error, Row};

/// Runs queries of all kinds, streams, transactions, scripts and failures, and tells how each went.
pub(crate) fn exercise(db: &Database) -> Vec<String> {
    let mut log = Vec::new();
    let mut note = |what: &str, how: String| log.push(format!("{what}: {how}"));

    let values = "SELECT $1::int, $2::text, $3::bytea, NULL::text, ARRAY[1, NULL, 3]";
    let row = db.query(values, (52, "Leonard Winter", &b"\x00\xff"[..])).unique::<Row>();
    note("row", told(&row));
    note("rows", told(&db.query("SELECT i, i * 2 FROM generate_series(1, 500) i", ()).rows::<(i32, i32)>()));
    note("flat", told(&db.query("SELECT i FROM generate_series(1, 3000) i", ()).flat::<i32>()));
    note("none", told(&db.query("SELECT 1 WHERE false", ()).optional::<i32>()));
    note("large", digest(&db.query("SELECT repeat('äö', 150000)", ()).value::<String>()));
    let up = "x".repeat(300_000);
    note("large both ways", digest(&db.query("SELECT $1::text", (&up,)).value::<String>()));
    note("empty statement", told(&db.query("", ()).run()));
    note("no columns", told(&db.query("SELECT", ()).rows::<Row>()));

    let streamed: Result<Vec<i32>, Error> =
        db.query("SELECT i FROM generate_series(1, 2000) i", ()).chunk(7).iter().collect();
    note("stream", told(&streamed));
    let some: Result<Vec<i32>, Error> =
        db.query("SELECT i FROM generate_series(1, 2000) i", ()).chunk(3).iter().take(10).collect();
    note("part of a stream", told(&some));
    let fails: Vec<String> = db
        .query("SELECT 10 / (5 - i) FROM generate_series(1, 9) i", ())
        .chunk(2)
        .iter::<i32>()
        .map(|item| told(&item))
        .collect();
    note("a stream that fails", fails.join(", "));

    note("no such table", told(&db.query("SELECT * FROM there_is_none", ()).rows::<maypole::Row>()));
    note("wrong parameter", told(&db.query("SELECT $1::int", ("text",)).rows::<maypole::Row>()));
    note("wrong count", told(&db.query("SELECT $1::int", ()).rows::<maypole::Row>()));
    note("wrong shape", told(&db.query("SELECT 1, 2", ()).value::<i32>()));
    note("two rows", told(&db.query("SELECT generate_series(1, 2)", ()).unique::<i32>()));
    note("script", told(&db.script("SELECT 1; SELECT 2; SET application_name = DEFAULT")));
    note("failing script", told(&db.script("SELECT 1; SELECT 1 / 0; SELECT 2")));
    note("notices", told(&db.script("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")));
    note("copy", told(&db.script("COPY (SELECT 1) TO STDOUT")));
    let slow = db.query("SELECT pg_sleep(0.4)", ()).timeout(Duration::from_millis(60)).run();
    note("too slow", told(&slow.map_err(|error| error.is_timeout())));

    let committed = db.transaction(|q| {
        q.script("CREATE TEMP TABLE exercise (id int PRIMARY KEY) ON COMMIT DROP")?;
        for id in 0..20 {
            q.query("INSERT INTO exercise VALUES ($1)", (id,)).run()?;
        }
        let mut sum = 0;
        for id in q.query("SELECT id FROM exercise ORDER BY id", ()).chunk(6).iter::<i32>() {
            sum += q.query("SELECT $1::int * 2", (id?,)).value::<i32>()?;
        }
        Ok(sum)
    });
    note("transaction", told(&committed));
    let failed = db.transaction(|q| {
        q.query("SELECT 1", ()).rows::<maypole::Row>()?;
        q.query("SELECT 1 / 0", ()).rows::<maypole::Row>()
    });
    note("failed transaction", told(&failed));
    let ignored = db.transaction(|q| {
        let _ = q.query("SELECT 1 / 0", ()).rows::<maypole::Row>();
        Ok(1)
    });
    note("failure ignored", told(&ignored));
    note("afterwards", told(&db.query("SELECT 'still here'", ()).value::<String>()));
    log
}

fn told<T: std::fmt::Debug, E: std::fmt::Debug>(result: &Result<T, E>) -> String {
    // Errors name the place in this file: the same each time.
    format!("{result:?}")
}

fn digest(result: &Result<String, Error>) -> String {
    match result {
        Ok(text) => {
            let sum = text.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            format!("{} bytes, {sum:x}", text.len())
        }
        Err(error) => format!("{error:?}"),
    }
}
