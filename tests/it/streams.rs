//! Streams: in bounded memory, stopped early, given up, and never in anybody's way (reliability case 4).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use maypole::{Outcome, Result};

use crate::support::chaos::cancel;
use crate::support::client::Client;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

const HUNDRED: &str = "SELECT generate_series(1, 100)";

fn is_well(test: &TestPool) {
    assert_eq!(test.db.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
}

/// Runs a function that panics, in a coroutine: the panic must end it, and nothing else.
fn panics(test: &TestPool, act: impl FnOnce(&maypole::Pool, &maypole::Database) + Send + 'static) {
    let pool = test.pool.clone();
    let handle = maypole::spawn(move || act(&pool, &maypole::Database::from(pool.clone())));
    let panic = handle.join().expect_err("it panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the middle"));
    is_well(test);
}

/// Case 4: in a loop over a stream, on every kind of holder.
#[test]
fn a_panic_in_a_loop_over_a_stream_gives_its_connection_back() {
    let test = TestPool::new(1);
    panics(&test, |_, db| {
        for (at, row) in db.query(HUNDRED, ()).chunk(10).iter::<i32>().enumerate() {
            row.expect("a row");
            assert!(at < 15, "in the middle");
        }
    });
    panics(&test, |pool, _| {
        let lease = pool.connection().expect("lent");
        for (at, row) in lease.query(HUNDRED, ()).chunk(10).iter::<i32>().enumerate() {
            row.expect("a row");
            assert!(at < 15, "in the middle");
        }
    });
    panics(&test, |_, db| {
        let _ = db.transaction(|q| -> Result<()> {
            for (at, row) in q.query(HUNDRED, ()).chunk(10).iter::<i32>().enumerate() {
                row?;
                assert!(at < 15, "in the middle");
            }
            Ok(())
        });
    });
    test.finish();
}

/// Case 4: in the function that `each` calls, and while a whole result is read.
#[test]
fn a_panic_in_each_gives_its_connection_back() {
    let test = TestPool::new(1);
    panics(&test, |_, db| {
        let _ = db.query(HUNDRED, ()).chunk(10).each(|row: i32| {
            assert!(row < 15, "in the middle");
            Ok(())
        });
    });
    panics(&test, |_, db| {
        let _ = db.transaction(|q| {
            q.query(HUNDRED, ()).each(|row: i32| {
                assert!(row < 15, "in the middle");
                Ok(())
            })
        });
    });
    panics(&test, |_, db| {
        for row in db.query(HUNDRED, ()).rows::<i32>().expect("rows") {
            assert!(row < 15, "in the middle");
        }
    });
    test.finish();
}

/// Case 4: the panic is caught and the same lease used again at once, while its rollback is still on the way.
#[test]
fn a_lease_whose_transaction_panicked_can_be_used_again_at_once() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let lease = test.pool.connection().expect("lent");
    // Prepared, so that nothing that is asked for later waits for a reply of its own first.
    let warm: Result<Vec<i32>> = lease.query(HUNDRED, ()).iter::<i32>().collect();
    assert_eq!(warm.expect("rows").len(), 100);
    // The reply to ROLLBACK takes its time, so that what follows is asked before it is there.
    let slow = || proxy.on(Backend, b'Z', nth(2)).delay(Duration::from_millis(50));
    let panicking = || {
        lease.script("SELECT 1").expect("an answer");
        let _ = slow();
        let result = catch_unwind(AssertUnwindSafe(|| {
            lease.transaction(|q| -> Result<()> {
                q.script("SELECT 1")?;
                panic!("in the middle");
            })
        }));
        assert!(result.is_err(), "the panic goes through");
    };
    panicking();
    assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    panicking();
    assert_eq!(
        lease.transaction(|q| q.query("SELECT 2", ()).value::<i32>()).expect("no transaction is open"),
        2
    );
    panicking();
    let rows: Result<Vec<i32>> = lease.query(HUNDRED, ()).chunk(10).iter::<i32>().collect();
    assert_eq!(rows.expect("a stream outside a transaction").len(), 100);
    assert!(!lease.in_transaction());
    drop(lease);
    test.finish();
}

/// Case 4.
#[test]
fn a_stream_dropped_early_gives_its_connection_back_and_the_rest_is_not_read() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let rows = proxy.on(Backend, b'D', every()).watch();
    for taken in [0, 1, 9, 10, 11, 25] {
        let before = rows.hits();
        let stream = test.db.query("SELECT generate_series(1, 100000)", ()).chunk(10).iter::<i32>();
        let first: Result<Vec<i32>> = stream.take(taken).collect();
        assert_eq!(first.expect("rows"), (1..).take(taken).collect::<Vec<i32>>());
        is_well(&test);
        // The chunk that is being eaten, the one behind it, and the row of `is_well`.
        let most = (taken / 10 + 2) * 10 + 1;
        assert!(rows.hits() - before <= most, "{} rows for {taken}", rows.hits() - before);
    }
    test.finish();
}

/// The server is asked chunk by chunk: while nobody eats, no more than two are on our side.
#[test]
fn a_stream_holds_at_most_the_chunk_that_is_eaten_and_the_next() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    for inside in [false, true] {
        let asked = proxy.on(Frontend, b'E', every()).watch();
        let check = |stream: maypole::Rows<'_, i32>| {
            let mut count = 0;
            for row in stream {
                count += 1;
                assert_eq!(row.expect("a row"), count);
                let chunk = (usize::try_from(count).expect("small") - 1) / 10 + 1;
                // BEGIN goes with the first.
                let asked = asked.hits() - usize::from(inside);
                assert!(asked <= chunk + 1, "{asked} chunks asked for at row {count}");
            }
            assert_eq!(count, 100);
        };
        if inside {
            test.db
                .transaction(|q| {
                    check(q.query(HUNDRED, ()).chunk(10).iter());
                    Ok(())
                })
                .expect("committed");
        } else {
            check(test.db.query(HUNDRED, ()).chunk(10).iter());
        }
        // The last chunk is full, so it takes one more to see the end.
        assert_eq!(asked.hits() - usize::from(inside), 11);
        asked.release();
    }
    test.finish();
}

#[test]
fn all_sizes_of_chunks_bring_all_rows_in_order() {
    let test = TestPool::new(1);
    for chunk in [0, 1, 2, 99, 100, 101, 256, u32::MAX] {
        let numbers = (1..=100).collect::<Vec<i32>>();
        let rows: Result<Vec<i32>> = test.db.query(HUNDRED, ()).chunk(chunk).iter::<i32>().collect();
        assert_eq!(rows.expect("rows"), numbers, "chunk {chunk}");
        let rows = test.db.transaction(|q| q.query(HUNDRED, ()).chunk(chunk).iter::<i32>().collect());
        let rows: Vec<i32> = rows.expect("rows");
        assert_eq!(rows, numbers, "chunk {chunk} in a transaction");
        let none: Result<Vec<i32>> =
            test.db.query("SELECT 1 WHERE false", ()).chunk(chunk).iter::<i32>().collect();
        assert!(none.expect("no rows").is_empty());
    }
    test.finish();
}

/// `chunk(0)`: one request, all rows at once, no portal left behind.
#[test]
fn a_stream_without_chunks_asks_once() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let lease = test.pool.connection().expect("lent");
    let asked = proxy.on(Frontend, b'E', every()).watch();
    let mut stream = lease.query("SELECT generate_series(1, 5000)", ()).chunk(0).iter::<i32>();
    assert_eq!(stream.next().expect("a row").expect("no error"), 1);
    assert_eq!(asked.hits(), 1);
    // All rows are here: nothing on the session can disturb them.
    assert_eq!(lease.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7);
    assert_eq!(stream.map(|row| row.expect("no error")).last(), Some(5000));
    drop(lease);
    test.finish();
}

#[test]
fn inside_a_transaction_other_queries_and_streams_run_between_the_chunks() {
    let test = TestPool::new(1);
    test.db
        .transaction(|q| {
            let mut outer = 0;
            for row in q.query("SELECT generate_series(1, 20)", ()).chunk(3).iter::<i32>() {
                let row = row?;
                outer += 1;
                assert_eq!(row, outer);
                assert_eq!(q.query("SELECT $1::int4 * 2", (row,)).value::<i32>()?, row * 2);
                q.script("SELECT 1; SELECT 2")?;
                let inner: Result<Vec<i32>> =
                    q.query("SELECT generate_series(1, $1::int4)", (row,)).chunk(2).iter::<i32>().collect();
                assert_eq!(inner?, (1..=row).collect::<Vec<i32>>());
            }
            assert_eq!(outer, 20);
            Ok(())
        })
        .expect("committed");
    test.finish();
}

#[test]
fn a_lease_refuses_other_queries_while_it_streams_and_the_stream_goes_on() {
    let test = TestPool::new(2);
    let lease = test.pool.connection().expect("lent");
    let mut stream = lease.query(HUNDRED, ()).chunk(10).iter::<i32>();
    for row in 1..=100 {
        assert_eq!(stream.next().expect("a row").expect("no error"), row);
        let refusals = [
            lease.query("SELECT 1", ()).value::<i32>().expect_err("refused"),
            lease.script("SELECT 1").expect_err("refused"),
            lease.execute("SELECT 1", ()).expect_err("refused"),
            lease.query(HUNDRED, ()).iter::<i32>().next().expect("an item").expect_err("refused"),
            lease.transaction(|_| Ok(())).expect_err("refused"),
        ];
        for error in refusals {
            assert!(format!("{error:?}").contains("a stream is open on this connection"), "{error:?}");
            assert_eq!(error.outcome(), Outcome::NotSent);
        }
        is_well(&test);
    }
    assert!(stream.next().is_none());
    assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("the stream is over"), 1);
    drop(stream);
    drop(lease);
    test.finish();
}

/// Case 4: a stream that is forgotten keeps its portal open for as long as its lease is out, and no longer.
#[test]
fn a_forgotten_stream_disturbs_nobody() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let mut stream = lease.query(HUNDRED, ()).chunk(10).iter::<i32>();
    assert_eq!(stream.next().expect("a row").expect("no error"), 1);
    std::mem::forget(stream);
    lease.query("SELECT 1", ()).value::<i32>().expect_err("it is still open, as far as anybody knows");
    drop(lease);
    is_well(&test);
    test.db
        .transaction(|q| {
            let mut stream = q.query(HUNDRED, ()).chunk(10).iter::<i32>();
            assert_eq!(stream.next().expect("a row")?, 1);
            std::mem::forget(stream);
            assert_eq!(q.query("SELECT 2", ()).value::<i32>()?, 2);
            Ok(())
        })
        .expect("committed");
    test.finish();
}

#[test]
fn an_error_in_the_middle_is_the_last_item_and_the_connection_goes_on() {
    const FAILS: &str = "SELECT 100 / (50 - n) FROM generate_series(1, 100) n";
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    for chunk in [0, 1, 7, 49, 50, 256] {
        let mut stream = lease.query(FAILS, ()).chunk(chunk).iter::<i32>();
        let items: Vec<_> = stream.by_ref().collect();
        let (last, rows) = items.split_last().expect("at least the error");
        let error = last.as_ref().expect_err("division by zero");
        assert_eq!(error.sqlstate(), Some("22012"));
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert!(error.to_string().contains(FAILS), "it names the query: {error}");
        assert!(rows.iter().all(Result::is_ok));
        assert!(stream.next().is_none(), "nothing comes after an error");
        drop(stream);
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    }
    drop(lease);
    test.finish();
}

/// The effects of a streamed statement are made durable at its end: if that fails, the stream says so.
#[test]
fn a_stream_that_writes_reports_what_fails_at_its_end() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TABLE stream_parent (id int4 PRIMARY KEY);
             CREATE TABLE stream_child (id int4 REFERENCES stream_parent DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("tables");
    for chunk in [0, 2, 256] {
        let insert = "INSERT INTO stream_child SELECT generate_series(1, 5) RETURNING id";
        let items: Vec<Result<i32>> = test.db.query(insert, ()).chunk(chunk).iter().collect();
        let error = items.last().expect("items").as_ref().expect_err("no parent has this id");
        assert_eq!(error.sqlstate(), Some("23503"), "{error:?}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert_eq!(
            test.db.query("SELECT count(*) FROM stream_child", ()).value::<i64>().expect("a count"),
            0
        );
    }
    test.db.script("INSERT INTO stream_parent SELECT generate_series(1, 5)").expect("parents");
    let items: Result<Vec<i32>> = test
        .db
        .query("INSERT INTO stream_child SELECT generate_series(1, 5) RETURNING id", ())
        .chunk(2)
        .iter()
        .collect();
    assert_eq!(items.expect("rows"), [1, 2, 3, 4, 5]);
    // Another session sees them: they are durable once the stream has ended.
    let mut client = Client::connect(&server().url()).expect("the server answers");
    assert_eq!(client.value("SELECT count(*) FROM stream_child").expect("a count"), "5");
    test.finish();
}

#[test]
fn each_can_stop_with_an_error_of_its_own() {
    let test = TestPool::new(1);
    let mut seen = 0;
    let error = test.db.query(HUNDRED, ()).chunk(10).each(|row: i32| {
        seen = row;
        if row == 15 { Err(maypole::Error::user(std::io::Error::other("enough"))) } else { Ok(()) }
    });
    let error = error.expect_err("enough").into_user::<std::io::Error>().expect("the user's own");
    assert_eq!((seen, error.to_string().as_str()), (15, "enough"));
    is_well(&test);
    test.finish();
}

/// A stream belongs to nobody's thread: it goes on where its coroutine goes on.
#[test]
fn a_coroutine_cancelled_between_two_rows_of_a_stream_gives_its_connection_back() {
    let test = TestPool::new(1);
    let (pool, (started, seen)) = (test.pool.clone(), std::sync::mpsc::channel());
    let victim = maypole::spawn(move || {
        let db = maypole::Database::from(pool);
        for row in db.query(HUNDRED, ()).chunk(10).iter::<i32>() {
            row.expect("a row");
            let _ = started.send(());
            may::coroutine::park();
        }
    });
    seen.recv().expect("a row was seen");
    cancel(&victim);
    assert!(victim.join().is_err());
    in_coroutine({
        let db = maypole::Database::from(test.pool.clone());
        move || assert_eq!(db.query("SELECT 7", ()).value::<i32>().expect("an answer"), 7)
    });

    test.finish();
}
