//! Streams that set no size for their chunks: several are asked for ahead, and nobody notices but the server.

use std::time::Duration;

use maypole::{FromRow, Outcome, Result, Rows};

use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

/// Rows of a kilobyte: once the first 256 have been seen, 64 KiB of them make a chunk.
const WIDE: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)";
/// How many rows such a chunk has at most, and at least.
const CHUNK: std::ops::Range<usize> = 60..66;
/// How many chunks are ahead of the one that is eaten.
const AHEAD: usize = 4;

fn take<T: FromRow>(stream: &mut Rows<'_, T>, count: usize) {
    for at in 0..count {
        let row = stream.next().unwrap_or_else(|| panic!("there are only {at} rows"));
        row.expect("a row");
    }
}

fn is_well(test: &TestPool) {
    assert_eq!(test.db.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
}

#[test]
fn four_chunks_come_while_nobody_eats_and_no_more() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let sent = proxy.on(Backend, b'D', every()).watch();
    let check = |begun: usize, mut stream: Rows<'_, String>| {
        let mut eaten = 2_000;
        take(&mut stream, eaten);
        for _ in 0..5 * CHUNK.end {
            let held = sent.hits() - begun - eaten;
            assert!(held <= (AHEAD + 1) * CHUNK.end, "{held} rows are here that nobody has eaten");
            take(&mut stream, 1);
            eaten += 1;
        }
        let held = || sent.hits() - begun - eaten;
        eventually("what was asked for has come", || held() >= AHEAD * CHUNK.start);
        assert!(held() <= (AHEAD + 1) * CHUNK.end, "{} rows are here that nobody has eaten", held());
    };
    check(sent.hits(), test.db.query(WIDE, ()).iter());
    let inside = test.db.transaction(|q| {
        check(sent.hits(), q.query(WIDE, ()).iter());
        Ok(())
    });
    inside.expect("committed");
    test.finish();
}

/// The first chunks are held back on their way: the server has been asked for the next all the same.
#[test]
fn the_next_chunk_is_asked_for_before_the_last_one_has_come() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    is_well(&test);
    let asked = proxy.on(Frontend, b'E', every()).watch();
    let mut stream = test.db.query("SELECT generate_series(1, 100000)", ()).iter::<i32>();
    // Of 256, 512 and 1,024 rows; then all have 2,048.
    take(&mut stream, 256 + 512 + 1024 + 1);
    let held = proxy.connection(1).on(Backend, b's', nth(3)).hold();
    asked.wait_hits(1 + 1 + 2 + 3 + 1);
    held.release();
    take(&mut stream, 10_000);
    drop(stream);
    test.finish();
}

#[test]
fn a_stream_dropped_with_several_chunks_ahead_leaves_a_clean_session() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let sent = proxy.on(Backend, b'D', every()).watch();
    for taken in [0, 1, 256, 257, 1_000, 2_000] {
        let before = sent.hits();
        take(&mut test.db.query(WIDE, ()).iter::<String>(), taken);
        is_well(&test);
        let rest = sent.hits() - before - taken;
        assert!(rest <= 256 + (AHEAD + 1) * CHUNK.end, "{rest} rows were read for nobody");
        let inside = test.db.transaction(|q| {
            take(&mut q.query(WIDE, ()).iter::<String>(), taken);
            let mut other = q.query(WIDE, ()).iter::<String>();
            take(&mut other, taken);
            assert_eq!(q.query("SELECT 8", ()).value::<i32>()?, 8);
            take(&mut other, 1_000);
            Ok(())
        });
        inside.expect("committed");
        is_well(&test);
    }
    assert_eq!(test.pool.stats().opened, 1, "it is the same session");
    test.finish();
}

/// It is in the third chunk or later, of which several are under way.
#[test]
fn an_error_in_a_later_chunk_is_the_last_item() {
    let test = TestPool::new(1);
    for at in [257, 768, 769, 3_000, 9_999, 10_000] {
        let fails = format!("SELECT 100 / ({at} - n) FROM generate_series(1, 10000) n");
        let check = |mut stream: Rows<'_, i32>| {
            let items: Vec<_> = stream.by_ref().collect();
            let (last, rows) = items.split_last().expect("at least the error");
            let error = last.as_ref().expect_err("division by zero");
            assert_eq!(
                (error.sqlstate(), error.outcome()),
                (Some("22012"), Outcome::RolledBack),
                "{error:?}"
            );
            assert!(rows.iter().all(Result::is_ok));
            assert!(rows.len() < at, "{} rows before row {at}", rows.len());
            assert!(stream.next().is_none(), "nothing comes after an error");
        };
        let lease = test.pool.connection().expect("lent");
        check(lease.query(&fails, ()).iter());
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        drop(lease);
        let failed = test.db.transaction(|q| {
            check(q.query(&fails, ()).iter());
            Ok(())
        });
        assert_eq!(failed.expect_err("it can't be committed").sqlstate(), Some("22012"));
        is_well(&test);
    }
    test.finish();
}

/// It fails in a chunk that nobody looks at, and neither is that the first of them.
#[test]
fn a_stream_that_fails_far_ahead_of_where_it_was_dropped_is_found_at_commit() {
    let test = TestPool::new(1);
    // Chunks of 256, 512, 1,024 and 2,048 rows. When the fourth is taken, four of 2,048 are ahead.
    let fails = "SELECT 100 / (9000 - n) FROM generate_series(1, 100000) n";
    let failed = test.db.transaction(|q| {
        take(&mut q.query(fails, ()).iter::<i32>(), 256 + 512 + 1024 + 1);
        Ok(())
    });
    let error = failed.expect_err("it can't be committed");
    assert_eq!(error.sqlstate(), Some("22012"), "{error:?}");
    assert!(format!("{error:?}").contains("9000 - n"), "it names the query: {error:?}");
    is_well(&test);
    test.finish();
}

/// When the last chunk comes, others have been asked for behind it: what they say is not taken for rows, nor for an error.
#[test]
fn whatever_returns_rows_can_be_asked_for_more_than_it_has() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE ahead (id int4 PRIMARY KEY)").expect("a table");
    let mut expected = 0;
    for count in [256, 768, 769, 1_791, 1_792, 1_793, 5_000, 10_000] {
        let numbers = (1..=count).collect::<Vec<i32>>();
        let asked = [
            format!("SELECT generate_series(1, {count})"),
            format!(
                "INSERT INTO ahead SELECT n + {expected} FROM generate_series(1, {count}) n RETURNING id - {expected}"
            ),
            format!(
                "WITH moved AS (UPDATE ahead SET id = -id WHERE id > {expected} RETURNING id) SELECT -id - {expected} FROM moved"
            ),
            "DELETE FROM ahead WHERE id < 0 RETURNING -id".to_owned(),
        ];
        for (at, sql) in asked.iter().enumerate() {
            let rows: Result<Vec<i32>> = test.db.query(sql, ()).iter().collect();
            let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            let base = if at == 3 { expected } else { 0 };
            assert!(
                rows.iter().map(|row| row - base).eq(numbers.iter().copied()),
                "{sql}: {} rows",
                rows.len()
            );
        }
        expected += count;
        let fetched = test.db.transaction(|q| {
            q.script(&format!("DECLARE fetched CURSOR FOR SELECT generate_series(1, {count})"))?;
            q.query("FETCH ALL FROM fetched", ()).iter::<i32>().collect::<Result<Vec<_>>>()
        });
        assert_eq!(fetched.expect("committed"), numbers);
    }
    // Another session sees what is durable.
    let mut client = Client::connect(&server().url()).expect("the server answers");
    assert_eq!(client.value("SELECT count(*) FROM ahead").expect("a count"), "0");
    test.finish();
}

/// The time of a chunk that was asked for ahead begins when those before it have come.
#[test]
fn a_limit_counts_for_each_chunk_also_if_several_are_asked_for() {
    const LIMIT: Duration = Duration::from_millis(2_500);
    /// Rows of two kilobytes: in each chunk of 32 there is one that takes 0.75 s, so that four take longer than the limit.
    const SLOW: &str = "SELECT repeat('x', 2000) FROM generate_series(0, 255 + 9 * 32) n, \
                        LATERAL (SELECT pg_sleep(CASE WHEN n > 255 AND n % 32 = 0 THEN 0.75 ELSE 0 END)) s";
    let test = TestPool::new(2);
    let both = [false, true].map(|inside| {
        let db = maypole::Database::from(test.pool.clone());
        maypole::spawn(move || -> Result<usize> {
            let count = |rows: Rows<'_, String>| rows.map(|row| row.map(drop)).collect::<Result<Vec<_>>>();
            if inside {
                db.transaction(|q| count(q.query(SLOW, ()).timeout(LIMIT).iter())).map(|rows| rows.len())
            } else {
                count(db.query(SLOW, ()).timeout(LIMIT).iter()).map(|rows| rows.len())
            }
        })
    });
    for rows in both {
        let rows = rows.join().expect("no panic").expect("no chunk took longer than the limit");
        assert_eq!(rows, 256 + 9 * 32);
    }
    test.finish();
}

/// The same chunk, if it does not come.
#[test]
fn a_chunk_asked_for_far_ahead_that_does_not_come_in_time_is_the_last_item() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    is_well(&test);
    let held = proxy.connection(1).on(Backend, b's', nth(20)).hold();
    let mut stream = test.db.query(WIDE, ()).timeout(Duration::from_millis(500)).iter::<String>();
    let rows = stream.by_ref().take_while(Result::is_ok).count();
    assert!(rows > 256 + 15 * CHUNK.start, "{rows} rows");
    assert!(stream.next().is_none(), "nothing comes after an error");
    drop(stream);
    held.release();
    test.finish();
}
