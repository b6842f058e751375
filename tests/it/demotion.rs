//! A server stops taking writes while its sessions live (reliability case 31).

use std::time::Duration;

use maypole::{Config, Connection, Outcome, Result, TargetSessionAttrs, TxOptions, spawn};

use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::own_server::OwnServer;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Proxy, every};
use crate::support::server::server;

/// How long anything may take that a busy machine does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the test as a whole.
const LIMIT: Duration = Duration::from_secs(120);

fn pool(
    past: &str,
    url: &str,
    wanted: TargetSessionAttrs,
    build: impl FnOnce(maypole::PoolBuilder) -> maypole::PoolBuilder,
) -> TestPool {
    TestPool::of_server(past, url, LIMIT, |builder, config: Config| {
        let config = config.target_session_attrs(wanted).connect_timeout(PATIENCE);
        build(builder.config(config).limit(3).acquire_timeout(PATIENCE))
    })
}

/// The sessions of a pool of three, all open.
fn warm(test: &TestPool) -> Vec<i32> {
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    leases.iter().map(|lease| lease.process_id()).collect()
}

fn write(connection: &Connection) -> Result<()> {
    connection.script("CREATE TABLE IF NOT EXISTS demoted (id int4); INSERT INTO demoted VALUES (1)")
}

/// Nothing is lent while the server is read-only, and the error says why; then everything is new.
fn recovers(server: &OwnServer, test: &TestPool, old: &[i32]) {
    for _ in 0..3 {
        let why = test.why_not();
        assert!(
            why.contains("is not what target_session_attrs=read-write asks for: session is read-only"),
            "{why}"
        );
    }
    assert_eq!((test.pool.stats().lent, test.pool.stats().idle), (0, 0));
    server.take_writes(true);
    eventually("it is served again", || {
        test.pool.connection_within(Duration::from_millis(200)).is_ok_and(|lease| {
            assert!(!old.contains(&lease.process_id()), "an old session was lent");
            write(&lease).expect("it takes writes");
            true
        })
    });
    test.finish();
}

#[test]
fn a_demotion_that_the_server_tells_a_reader_of_replaces_all_sessions() {
    let server = OwnServer::start(|builder| builder);
    let test = pool(&server.url(), &server.url(), TargetSessionAttrs::ReadWrite, |builder| builder);
    let old = warm(&test);
    let out = test.pool.connection().expect("lent");
    server.take_writes(false);
    eventually("the idle ones have left", || {
        // The reader itself is served: it is told behind its answer.
        if let Ok(lease) = test.pool.connection_within(Duration::from_millis(20)) {
            assert_eq!(lease.query("SELECT 31", ()).value::<i32>().expect("reading goes on"), 31);
        }
        test.pool.stats().closes.cleared == 2
    });
    assert_eq!(out.query("SELECT 31", ()).value::<i32>().expect("a lease goes on"), 31);
    assert_eq!(write(&out).expect_err("read-only").sqlstate(), Some("25006"));
    drop(out);
    assert_eq!(test.pool.stats().closes.cleared, 3, "it is not lent again");
    recovers(&server, &test, &old);
}

#[test]
fn a_demotion_is_found_by_the_signs_of_life_of_a_pool_that_nobody_uses() {
    let server = OwnServer::start(|builder| builder);
    let test = pool(&server.url(), &server.url(), TargetSessionAttrs::ReadWrite, |builder| {
        builder.ping_after_idle(Duration::from_millis(100)).ping_timeout(PATIENCE)
    });
    let old = warm(&test);
    server.take_writes(false);
    eventually("all have left", || test.pool.stats().closes.cleared == 3);
    recovers(&server, &test, &old);
}

/// As from a server before PostgreSQL 14, or a pooler: the word that tells of the setting is held back.
#[test]
fn a_demotion_that_a_refused_write_tells_of_replaces_all_sessions() {
    let server = OwnServer::start(|builder| builder);
    let proxy = Proxy::start(&server.url());
    let test = pool(&server.url(), &proxy.url(), TargetSessionAttrs::ReadWrite, |builder| builder);
    let old = warm(&test);
    let out = test.pool.connection().expect("lent");
    let held = proxy.on(Backend, b'S', every()).hold();
    server.take_writes(false);
    let pool = test.pool.clone();
    let writing = spawn(move || {
        let lease = pool.connection().expect("lent");
        loop {
            if let Err(error) = write(&lease) {
                return error;
            }
        }
    });
    held.wait_hits(1);
    eventually("the idle one has left", || test.pool.stats().closes.cleared == 1);
    let why = test.pool.connection_within(Duration::ZERO).expect_err("the others are out");
    assert!(why.is_timeout(), "{why:?}");
    held.release();
    let error = writing.join().expect("no panic");
    assert_eq!((error.sqlstate(), error.outcome()), (Some("25006"), Outcome::RolledBack), "{error:?}");
    eventually("the writer's has left", || test.pool.stats().closes.cleared == 2);
    drop(out);
    assert_eq!(test.pool.stats().closes.cleared, 3, "it is not lent again");
    recovers(&server, &test, &old);
}

#[test]
fn who_takes_any_session_keeps_those_there_are() {
    let server = OwnServer::start(|builder| builder);
    let test = pool(&server.url(), &server.url(), TargetSessionAttrs::Any, |builder| builder);
    let old = warm(&test);
    server.take_writes(false);
    let leases: Vec<_> = (0..3).map(|_| test.pool.connection().expect("lent")).collect();
    for lease in &leases {
        eventually("its writes are refused", || {
            write(lease).is_err_and(|error| error.sqlstate() == Some("25006"))
        });
        assert!(old.contains(&lease.process_id()));
    }
    drop(leases);
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (3, 0), "{stats:?}");
    test.finish();
}

/// Each of these asks for what it gets.
#[test]
fn a_write_refused_in_a_transaction_that_is_read_only_by_its_own_wish_is_no_demotion() {
    let url = server().url();
    let test = pool(&url, &url, TargetSessionAttrs::ReadWrite, |builder| builder.limit(1));
    test.db.script("CREATE TABLE own_wish (id int4)").expect("made");
    const INSERT: &str = "INSERT INTO own_wish VALUES (1)";
    let refused = |result: Result<()>| {
        let error = result.expect_err("read-only");
        assert_eq!(error.sqlstate(), Some("25006"), "{error:?}");
    };
    let process = test.pool.connection().expect("lent").process_id();
    refused(test.db.transaction_with(&TxOptions::new().read_only(), |q| q.script(INSERT)));
    refused(test.db.transaction_with(&TxOptions::new().read_only(), |q| q.query(INSERT, ()).run().map(drop)));
    refused(test.db.transaction(|q| {
        q.script("SET TRANSACTION READ ONLY")?;
        q.script(INSERT)
    }));
    {
        let lease = test.pool.connection().expect("lent");
        for begin in ["BEGIN READ ONLY", "START TRANSACTION READ ONLY", "BEGIN; SET TRANSACTION READ ONLY"] {
            lease.script(begin).expect("begun");
            refused(lease.script(INSERT));
            lease.script("ROLLBACK").expect("rolled back");
            lease.script(begin).expect("begun");
            refused(lease.query(INSERT, ()).run().map(drop));
            lease.script("ROLLBACK").expect("rolled back");
        }
        refused(lease.script(&format!("BEGIN READ ONLY; {INSERT}")));
        lease.script("ROLLBACK").expect("rolled back");
        lease.script("SET default_transaction_read_only = on").expect("set");
        refused(lease.script(INSERT));
        lease.script("SET default_transaction_read_only = off").expect("set");
    }
    let stats = test.pool.stats();
    assert_eq!((stats.closes.cleared, stats.closed, stats.opened), (0, 0, 1), "{stats:?}");
    let lease = test.pool.connection().expect("lent");
    assert_eq!(lease.process_id(), process);
    lease.script(INSERT).expect("it takes writes");
    drop(lease);
    test.finish();
    let mut client = Client::connect(&url).expect("the server answers");
    client.query("DROP TABLE own_wish").expect("dropped");
}
