//! What a pool writes to the log, with its keys. A process of its own, because a logger is one for all.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Mutex, Once};
use std::time::Duration;

use log::kv::{Key, Value, VisitSource};

use maypole::Pool;

use support::eventually::eventually;
use support::pool::{TestPool, prepare};
use support::server::server;

/// A record: its level, its text, and its keys with their values as text.
#[derive(Clone, Debug)]
struct Record {
    level: log::Level,
    text: String,
    keys: BTreeMap<String, String>,
}

static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        struct Keys(BTreeMap<String, String>);
        impl<'kvs> VisitSource<'kvs> for Keys {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
                self.0.insert(key.to_string(), value.to_string());
                Ok(())
            }
        }
        if record.target() != "maypole::pool" {
            return;
        }
        let mut keys = Keys(BTreeMap::new());
        record.key_values().visit(&mut keys).expect("nothing fails");
        let record = Record { level: record.level(), text: record.args().to_string(), keys: keys.0 };
        RECORDS.lock().expect("no holder panics").push(record);
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        prepare();
        log::set_logger(&Listener).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The records of this event of this pool.
fn records(pool: &str, event: &str) -> Vec<Record> {
    let records = RECORDS.lock().expect("no holder panics");
    let is =
        |record: &&Record, key: &str, value: &str| record.keys.get(key).is_some_and(|found| found == value);
    records.iter().filter(|record| is(record, "pool", pool) && is(record, "event", event)).cloned().collect()
}

/// The first record of this event, once it is there.
#[track_caller]
fn first(pool: &str, event: &str) -> Record {
    let page = include_str!("../docs/operating.md");
    let row = page
        .lines()
        .find(|line| line.starts_with(&format!("| `{event}` |")))
        .expect("on the page for operators");
    eventually(event, || !records(pool, event).is_empty());
    let record = records(pool, event).swap_remove(0);
    for key in record.keys.keys().filter(|key| !["event", "pool", "connection"].contains(&key.as_str())) {
        assert!(row.contains(&format!("`{key}`")), "{key} is not on the page for operators: {row}");
    }
    record
}

fn pool(name: &str, build: impl FnOnce(maypole::PoolBuilder) -> maypole::PoolBuilder) -> TestPool {
    listen();
    TestPool::built(&server().url(), |builder| build(builder.name(name).limit(1)))
}

#[test]
fn opening_closing_and_replacing_are_told_with_the_process_on_the_server() {
    let test = pool("cleared", |builder| builder);
    let process: i32 = test.db.query("SELECT pg_backend_pid()", ()).value().expect("an answer");
    let opened = first("cleared", "open");
    assert_eq!((opened.level, &opened.keys["connection"]), (log::Level::Debug, &process.to_string()));
    assert!(opened.keys.contains_key("milliseconds"));
    test.pool.clear();
    let renewed = first("cleared", "generation");
    assert_eq!((renewed.level, &*renewed.keys["generation"]), (log::Level::Info, "1"));
    assert_eq!(renewed.text, "pool cleared: all connections are replaced: the program asked for it");
    let closed = first("cleared", "close");
    assert_eq!((&closed.keys["connection"], &*closed.keys["cause"]), (&process.to_string(), "cleared"));
    test.finish();
}

#[test]
fn a_connection_that_the_server_ends_is_told_as_broken_or_cleared() {
    let test = pool("killed", |builder| builder);
    let process: i32 = test.db.query("SELECT pg_backend_pid()", ()).value().expect("an answer");
    let other = TestPool::built(&server().url(), |builder| builder.name("killer").limit(1));
    let killed: bool =
        other.db.query("SELECT pg_terminate_backend($1)", (process,)).value().expect("an answer");
    assert!(killed);
    let closed = first("killed", "close");
    assert_eq!(closed.keys["connection"], process.to_string());
    // The server says 57P01, as when it shuts down: the others are not trusted either.
    assert_eq!(first("killed", "generation").keys["cause"], "a server shuts down");
    test.finish();
    other.finish();
}

/// All hear of the same shutdown, idle or lent: it is told once.
#[test]
fn a_shutdown_that_many_sessions_hear_of_is_told_once() {
    let test = pool("shut down", |builder| builder.limit(5));
    let leases: Vec<_> = (0..5).map(|_| test.pool.connection().expect("lent")).collect();
    let mut leases = leases.into_iter();
    let out: Vec<_> = leases.by_ref().take(2).collect();
    drop(leases);
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
        test.name
    );
    test.client().query(&sql).expect("terminated");
    eventually("all have left", || test.pool.stats().closed == 5);
    drop(out);
    eventually("each is told", || records("shut down", "close").len() == 5);
    let told = records("shut down", "generation");
    assert_eq!(told.len(), 1, "{told:?}");
    test.finish();
    assert_eq!(records("shut down", "generation").len(), 1);
}

#[test]
fn a_lease_that_is_held_for_long_is_told_with_its_place_and_its_statement() {
    let test = pool("leaking", |builder| builder.leak_warning(Duration::from_millis(20)));
    let lease = test.pool.connection().expect("lent");
    let line = line!() - 1;
    lease.query("SELECT 'held'", ()).value::<String>().expect("an answer");
    let leak = first("leaking", "leak");
    assert_eq!(leak.level, log::Level::Warn);
    assert!(leak.keys["site"].contains(&format!("tests/journal.rs:{line}:")), "{leak:?}");
    assert_eq!((&*leak.keys["executing"], &*leak.keys["seconds"]), ("false", "0"));
    assert!(leak.text.contains("taken at tests/journal.rs"), "{leak:?}");
    drop(lease);
    test.finish();
}

#[test]
fn a_query_of_its_own_that_takes_long_is_told_without_a_place_of_ours() {
    let test = pool("slow", |builder| builder.leak_warning(Duration::from_millis(20)));
    test.db.query("SELECT pg_sleep(2)::text", ()).value::<String>().expect("an answer");
    let leak = first("slow", "leak");
    assert!(!leak.keys.get("site").is_some_and(|site| site.contains(".rs")), "{leak:?}");
    assert!(leak.text.contains("it is executing SELECT pg_sleep(2)"), "{leak:?}");
    test.finish();
}

#[test]
fn a_lease_that_is_revoked_is_told_with_its_place() {
    let test = pool("revoking", |builder| builder.max_hold(Duration::from_millis(20)));
    let lease = test.pool.connection().expect("lent");
    let revoked = first("revoking", "revoked");
    assert_eq!(revoked.level, log::Level::Warn);
    assert!(revoked.keys["site"].contains("tests/journal.rs"), "{revoked:?}");
    assert!(revoked.keys["cause"].contains("max_hold"), "{revoked:?}");
    let closed = first("revoking", "close");
    assert_eq!(
        (&closed.keys["connection"], &*closed.keys["cause"]),
        (&revoked.keys["connection"], "revoked")
    );
    let error = lease.query("SELECT 1", ()).value::<i32>().expect_err("it was revoked");
    let cause = std::error::Error::source(&error).expect("why").to_string();
    assert!(cause.starts_with("the lease taken at tests/journal.rs:"), "{cause}");
    assert!(cause.ends_with(" was revoked: it was held for longer than max_hold"), "{cause}");
    drop(lease);
    test.finish();
}

#[test]
fn a_server_that_is_not_there_is_told_in_one_line_with_the_reason() {
    listen();
    // Nobody listens on port 1.
    let pool = Pool::builder().url("postgres://me@127.0.0.1:1/x").expect("a URL").name("away").build();
    pool.expect("a pool").connection_within(Duration::from_millis(10)).map(drop).expect_err("there is none");
    let failed = first("away", "open_failed");
    assert!(failed.keys["cause"].starts_with("no connection to 127.0.0.1:1: "), "{failed:?}");
    assert!(failed.keys["cause"].contains("refused"), "{failed:?}");
    assert!(failed.text.ends_with(&failed.keys["cause"]) && !failed.text.contains('\n'), "{failed:?}");
}

#[test]
fn a_breaker_that_opens_is_told_once_with_the_cause() {
    listen();
    let wrong = server().tcp_url().replace(server().password(), "wrong");
    let pool = Pool::builder().url(&wrong).expect("a URL").name("broken").limit(1).build().expect("a pool");
    for _ in 0..3 {
        pool.connection().map(drop).expect_err("the password is wrong");
    }
    let failed = first("broken", "open_failed");
    assert_eq!((failed.level, &*failed.keys["sqlstate"]), (log::Level::Warn, "28P01"));
    assert!(failed.text.contains("password authentication failed"), "{failed:?}");
    let breaker = first("broken", "breaker");
    assert_eq!((breaker.level, &*breaker.keys["open"]), (log::Level::Error, "true"));
    assert!(breaker.text.contains("password authentication failed"), "{breaker:?}");
    let opened = records("broken", "breaker").iter().filter(|record| record.keys["open"] == "true").count();
    let closed = records("broken", "breaker").iter().filter(|record| record.keys["open"] == "false").count();
    assert!(opened == closed || opened == closed + 1, "in turn: {opened} and {closed}");
}
