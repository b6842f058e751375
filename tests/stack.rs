//! How much stack the operations need: each in a process of its own, because a stack that overflows takes its process
//! along, and because the footprint is printed past the test's capture.
//!
//! A coroutine whose stack has an odd number of words is filled with a pattern, and may prints how much of it was
//! used. The driver's stack is the library's own business; what it used is read off the pages of its mapping.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use maypole::types::Json;
use maypole::{Config, Database, Pool, Query, Row, STACK_SIZE, TxOptions, select};

use support::eventually::eventually;
use support::pool::prepare;
use support::server::server;
use support::watchdog::watchdog;

/// Which operation a child process runs, and on which server.
const OPERATION: &str = "MAYPOLE_TEST_OPERATION";
const URL: &str = "MAYPOLE_TEST_URL";

/// The stack on which an operation is measured: no operation needs so much.
const PLENTY: usize = 512 * 1024;

/// What a panic with its backtrace needs on top of whatever was going on (rule M15): a good part of the stack is free
/// for the user's own frames if an operation stays below this.
const COMFORT: usize = STACK_SIZE * 3 / 4;

type Operation = (&'static str, fn(&Database));

/// Never opened.
static DECLARED: Database = Database::named("declared");

#[select(
    DECLARED,
    "SELECT c.oid, a.attrelid
       FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = :name"
)]
fn joined(name: &str) -> Query<(u32, u32)>;

/// What a user may do in a coroutine.
const OPERATIONS: [Operation; 20] = [
    ("nothing", |_| {}),
    ("first use: a pool is made and a connection opened", |db| {
        db.query("SELECT 1", ()).rows::<maypole::Row>().expect("an answer");
    }),
    ("query", |db| {
        let pair = db.query("SELECT $1::int, $2::text", (1, "two")).unique::<(i32, String)>();
        assert_eq!(pair.expect("an answer").0, 1);
    }),
    ("row shown and serialised", |db| {
        let sql = "SELECT 1.5::float8, 12.75::numeric, now(), '{\"a\": [1, 2]}'::jsonb, ARRAY[[1, 2], [3, 4]], 'x'::bytea";
        let row: Row = db.query(sql, ()).unique().expect("an answer");
        assert!(format!("{row} {row:?}").len() < serde_json::to_string_pretty(&row).expect("JSON").len() * 3);
    }),
    ("json of 20 levels", |db| {
        let json = format!("{}{}", "[".repeat(20), "]".repeat(20));
        db.query(
            "SELECT $1::jsonb",
            (Json(serde_json::from_str::<serde_json::Value>(&json).expect("JSON")),),
        )
        .value::<serde_json::Value>()
        .expect("an answer");
    }),
    ("stream", |db| {
        let rows = db.query("SELECT i, i::text FROM generate_series(1, 1000) i", ()).iter::<(i32, String)>();
        assert_eq!(rows.filter(Result::is_ok).count(), 1000);
    }),
    ("transaction with a stream inside", |db| {
        let sum = db.transaction(|q| {
            let mut sum = 0;
            for id in q.query("SELECT generate_series(1, 50)", ()).chunk(7).iter::<i32>() {
                sum += q.query("SELECT $1::int", (id?,)).value::<i32>()?;
            }
            Ok(sum)
        });
        assert_eq!(sum.expect("committed"), 1275);
    }),
    ("declared queries checked", |db| {
        let lease = db.pool().expect("a pool").connection().expect("lent");
        let report = DECLARED.check_on(&lease).expect("a warning");
        assert!(report.to_string().contains("outer join"), "{report}");
        lease.transaction(|q| joined("relname").on(q).rows().map(drop)).expect_err("NULL");
    }),
    ("script", |db| db.script("SELECT 1; SELECT 2").expect("an answer")),
    ("error of the server, shown", |db| {
        let error =
            db.query("SELECT id, nmae FROM pg_class", ()).rows::<maypole::Row>().expect_err("no such column");
        assert!(format!("{error} {error:?}").contains('^'));
    }),
    ("transaction rolled back", |db| {
        db.transaction(|q| q.query("SELECT 1 / 0", ()).rows::<maypole::Row>()).expect_err("it fails");
    }),
    ("transaction retried, with savepoints and what is sent along", |db| {
        let attempts = std::cell::Cell::new(0);
        let options =
            TxOptions::new().retries(2).confirm_commit().deadline(Duration::from_secs(20)).name("tried");
        let done = db.transaction_with(&options, |q| {
            attempts.set(attempts.get() + 1);
            q.after_commit(|| ());
            q.query("SELECT $1::int", (1,)).later()?;
            q.savepoint(|q| q.savepoint(|q| q.query("SELECT 1 / 0", ()).value::<i32>()))
                .expect_err("it fails");
            q.script(if attempts.get() < 3 {
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"
            } else {
                "SELECT 1"
            })
        });
        done.expect("the third");
    }),
    ("transaction that fails for good, shown", |db| {
        let options = TxOptions::new().retries(1).name("tried");
        let error = db.transaction_with(&options, |q| {
            q.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
        });
        let error = error.expect_err("it fails");
        assert_eq!(error.earlier().len(), 1);
        assert!(format!("{error} {error:?}").contains("attempt 2 of 2"));
    }),
    ("query timeout", |db| {
        db.query("SELECT pg_sleep(5)", ()).timeout(Duration::from_millis(20)).run().expect_err("too slow");
    }),
    ("types of the catalogue, nested", |db| {
        // Each level is asked for by the one above it.
        let rows: Vec<Row> = db.query("SELECT NULL::deep40[]", ()).rows().expect("an answer");
        assert_eq!(rows.len(), 1);
    }),
    ("types of the catalogue, nested too deep", |db| {
        db.query("SELECT NULL::deep70[]", ()).rows::<maypole::Row>().expect_err("too deep");
    }),
    ("panic in a transaction", |db| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            db.transaction(|q| -> maypole::Result<()> {
                q.query("SELECT 1", ()).rows::<maypole::Row>()?;
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
    }),
    ("panic while a stream is read", |db| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            for row in db.query("SELECT generate_series(1, 10)", ()).iter::<i32>() {
                assert!(row.expect("a row") < 3, "on purpose");
            }
        }));
        assert!(panicked.is_err());
    }),
    ("configuration read", |_| {
        let config: Config =
            "postgres://me:secret@db1:5432,db2/shop?connect_timeout=2".parse().expect("good");
        assert!(format!("{config:?}").contains("db2"));
        assert!("postgres://me:sec ret@db1:x/shop?connect_timeout=y".parse::<Config>().is_err());
    }),
    ("pool debugged and closed", |db| {
        let pool = db.pool().expect("a pool");
        assert!(format!("{pool:?} {:?}", pool.stats()).contains("limit"));
        pool.start_closing();
        assert!(pool.connection().is_err());
    }),
];

/// The name of the coroutine that is measured.
const MEASURED: &str = "measured";

#[test]
#[ignore = "the child process of the tests below"]
fn child() {
    let (Ok(wanted), Ok(url)) = (std::env::var(OPERATION), std::env::var(URL)) else { return };
    prepare();
    let _watchdog = watchdog(Duration::from_secs(60));
    let (measured, name) = wanted.split_once(": ").expect("how and what");
    let (_, operation) = *OPERATIONS.iter().find(|(known, _)| *known == name).expect("an operation");
    let pool = || Pool::builder().url(&url).expect("a good URL").limit(2).build().expect("a pool");
    let db = Database::from(pool());
    if !name.starts_with("first use") {
        // What happens once in a process is another operation.
        let warm = Database::from(db.pool().expect("a pool").clone());
        maypole::spawn(move || warm.query("SELECT 0", ()).rows::<maypole::Row>().expect("warm"))
            .join()
            .expect("no panic");
    }
    match measured {
        "on plenty of stack" => {
            let words = PLENTY / size_of::<usize>() + 1;
            let builder = may::coroutine::Builder::new().name(MEASURED.to_owned()).stack_size(words);
            // SAFETY: what is moved in is Send and 'static, and the stack is long enough.
            #[allow(unsafe_code)]
            let handle = unsafe { builder.spawn(move || operation(&db)) };
            handle.expect("a coroutine").join().expect("no panic");
            // It prints after whoever waits for it was told.
            std::thread::sleep(Duration::from_millis(200));
        }
        "on the documented stack" => maypole::spawn(move || operation(&db)).join().expect("no panic"),
        _ => panic!("{measured} is no way to measure"),
    }
    println!("done");
}

/// Runs an operation in a child; what it printed.
fn run(how: &str, name: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(OPERATION, format!("{how}: {name}"))
        .env(URL, server().tcp_url())
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("done"),
        "{name}, {how}: {}\n{text}\n{}",
        output.status,
        &errors[errors.len().saturating_sub(2000)..]
    );
    text
}

/// The most that a measured coroutine used, in bytes.
fn footprint(text: &str) -> usize {
    let line =
        text.lines().find(|line| line.contains(MEASURED)).unwrap_or_else(|| panic!("no footprint in {text}"));
    let words = line.rsplit("used size = ").next().and_then(|words| words.trim().parse::<usize>().ok());
    words.expect("a number of words") * size_of::<usize>()
}

/// Types that contain each other, 70 deep: each level costs the library a question to the catalogue.
fn make_nested_types() {
    let mut sql = "CREATE TYPE deep0 AS (value int);".to_owned();
    for level in 1..=70 {
        let _ = write!(sql, "CREATE TYPE deep{level} AS (value deep{});", level - 1);
    }
    let mut client = support::client::Client::connect(&server().url()).expect("the server answers");
    client.query(&sql).expect("types");
}

#[test]
fn every_operation_fits_the_documented_stack() {
    make_nested_types();
    let mut table = String::new();
    let mut over = Vec::new();
    for (name, _) in OPERATIONS {
        let used = footprint(&run("on plenty of stack", name));
        let _ = writeln!(table, "{used:8} bytes: {name}");
        if used > COMFORT {
            over.push((name, used));
        }
        run("on the documented stack", name);
    }
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("stack used, of {STACK_SIZE} bytes, {build} build:\n{table}");
    assert!(over.is_empty(), "more than {COMFORT} bytes: {over:#?}\n{table}");
}

/// The bytes touched of each stack of exactly this size in this process. A stack that was never used to its end keeps
/// the pages that it never touched.
fn stacks(size: usize) -> Vec<usize> {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("Linux");
    let mut found = Vec::new();
    let mut fits = false;
    for line in smaps.lines() {
        if let Some((range, rest)) = line.split_once(' ')
            && let Some((from, to)) = range.split_once('-')
            && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            fits = to - from == size && rest.starts_with("rw-p 00000000 00:00 0");
        } else if let Some(rest) = line.strip_prefix("Rss:")
            && fits
        {
            let kib: usize = rest.trim().trim_end_matches(" kB").parse().expect("a number");
            found.push(kib * 1024);
        }
    }
    found
}

/// A user's logger that formats everything: it runs on the driver's stack.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("maypole") {
            eprintln!("{} {} {}", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

#[test]
#[ignore = "the child process of the test below"]
fn driver_child() {
    let Ok(url) = std::env::var(URL) else { return };
    prepare();
    let _watchdog = watchdog(Duration::from_secs(60));
    log::set_logger(&Logger).expect("the first logger");
    log::set_max_level(log::LevelFilter::Debug);
    // No coroutine of this process but the drivers has a stack of this size: the test runs on a plain thread.
    assert!(stacks(STACK_SIZE).is_empty());
    let pool = Pool::builder().url(&url).expect("a good URL").limit(3).build().expect("a pool");
    let db = Database::from(pool.clone());
    // SCRAM over TCP, notices through the logger, large messages both ways, errors.
    db.script("DO $$ BEGIN RAISE WARNING 'one'; RAISE NOTICE 'two'; END $$").expect("an answer");
    let length: i32 = db.query("SELECT length($1)", ("x".repeat(3_000_000),)).value().expect("an answer");
    assert_eq!(length, 3_000_000);
    db.query("SELECT repeat('x', 3000000)", ()).rows::<maypole::Row>().expect("an answer");
    db.query("SELECT generate_series(1, 5000)", ()).chunk(3).iter::<i32>().take(2000).for_each(drop);
    db.query("SELECT 1 / 0", ()).rows::<maypole::Row>().expect_err("it fails");
    let lease = pool.connection().expect("lent");
    let others: Vec<_> = (0..2).map(|_| pool.connection().expect("lent")).collect();
    let used = stacks(STACK_SIZE);
    assert_eq!(used.len(), 3, "one stack for each driver");
    println!("driver at work: {}", used.iter().max().expect("three"));
    drop(others);
    // The end of a session that owes an answer: the error goes through the observers.
    lease
        .query("SELECT pg_terminate_backend(pg_backend_pid())", ())
        .rows::<maypole::Row>()
        .expect_err("it ends");
    drop(lease);
    let nobody: Config = url.parse().expect("a good URL");
    let failing = Pool::builder().config(nobody.user("nobody")).build().expect("a pool");
    failing.connection().expect_err("no such role");
    pool.start_closing();
    eventually("the drivers have ended", || pool.is_drained());
    println!("done");
}

#[test]
fn the_driver_fits_its_stack_with_scram_and_the_users_logger() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "driver_child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(URL, server().tcp_url())
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("done"), "{}\n{text}\n{errors}", output.status);
    assert!(
        errors.contains("two") && errors.contains("could not be opened"),
        "the logger was used: {errors}"
    );
    let used = text.lines().find_map(|line| line.split("driver at work: ").nth(1));
    let used: usize = used.and_then(|used| used.parse().ok()).expect("a number");
    println!("the driver touched {used} of {STACK_SIZE} bytes of its stack");
    assert!(used <= COMFORT, "{used} bytes");
}
