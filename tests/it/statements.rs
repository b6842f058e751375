//! Prepared statements: what the server knows and what we remember agree (reliability cases 47 and 48).

use std::collections::{BTreeMap, BTreeSet};

use maypole::{Connection, Result, Row};

use crate::support::chaos::cancel;
use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, nth};
use crate::support::random::Random;
use crate::support::server::server;

/// A pool whose sessions remember so many statements.
fn remembering(url: &str, capacity: usize) -> TestPool {
    TestPool::configured(url, |config| config.statement_cache_capacity(capacity), |builder| builder.limit(1))
}

/// What the server knows in this session: name and text.
fn known(connection: &Connection) -> BTreeMap<String, String> {
    let rows = connection.query("SELECT name, statement FROM pg_prepared_statements", ());
    rows.rows::<(String, String)>().expect("rows").into_iter().collect()
}

/// Changes the schema past the library.
fn elsewhere(sql: &str) {
    Client::connect(&server().url()).expect("the server answers").query(sql).expect("changed");
}

/// What makes a prepared statement useless, and what it was prepared from.
const SELECT: &str = "SELECT * FROM changing ORDER BY id";

/// Something that makes statements useless.
type Change = Box<dyn Fn(&Connection)>;

fn changes(test: &TestPool, change: &dyn Fn(&Connection), check: &dyn Fn(&Connection)) {
    let lease = test.pool.connection().expect("lent");
    check(&lease);
    change(&lease);
    check(&lease);
    check(&lease);
}

/// Each way in which a statement that we remember becomes useless; `prefix` keeps the tables of the tests apart.
fn ways(table: &'static str) -> Vec<(&'static str, Change)> {
    let alter = move |sql: &'static str| {
        let sql = sql.replace("changing", table);
        move |_: &Connection| elsewhere(&sql)
    };
    vec![
        ("a column more", Box::new(alter("ALTER TABLE changing ADD COLUMN more text DEFAULT 'more'"))),
        ("another type", Box::new(alter("ALTER TABLE changing ALTER COLUMN id TYPE int8"))),
        ("a column less", Box::new(alter("ALTER TABLE changing DROP COLUMN more"))),
        ("DEALLOCATE ALL", Box::new(|connection| connection.script("DEALLOCATE ALL").expect("done"))),
        ("DISCARD ALL", Box::new(|connection| connection.script("DISCARD ALL").expect("done"))),
    ]
}

/// Case 47, outside a transaction.
#[test]
fn a_statement_that_went_stale_is_prepared_anew() {
    let test = TestPool::new(1);
    elsewhere("CREATE TABLE stale_outside AS SELECT 1 AS id, 'a' AS name");
    let select = SELECT.replace("changing", "stale_outside");
    for (way, change) in ways("stale_outside") {
        println!("{way}");
        changes(&test, &change, &|lease| {
            let row: Row = lease.query(&select, ()).unique().expect("prepared anew");
            assert_eq!(row.get::<&str>("name").expect("a name"), "a");
        });
        changes(&test, &change_back(way, change), &|lease| {
            let rows: Result<Vec<Row>> = lease.query(&select, ()).chunk(1).iter::<Row>().collect();
            assert_eq!(rows.expect("prepared anew").len(), 1);
        });
    }
    assert_eq!(test.pool.stats().opened, 1, "no connection is given up for it");
    test.finish();
}

/// Columns can be added once only: the second use of those ways changes something else of the same kind.
fn change_back(way: &'static str, change: Change) -> Change {
    match way {
        "a column more" => Box::new(|_| elsewhere("ALTER TABLE stale_outside ADD COLUMN yet_more int4")),
        "another type" => Box::new(|_| elsewhere("ALTER TABLE stale_outside ALTER COLUMN id TYPE int4")),
        "a column less" => Box::new(|_| elsewhere("ALTER TABLE stale_outside DROP COLUMN yet_more")),
        _ => change,
    }
}

/// Case 47, inside a transaction: one error, which ends the transaction; then all is well.
#[test]
fn a_statement_that_went_stale_fails_once_inside_a_transaction() {
    let test = TestPool::new(1);
    elsewhere("CREATE TABLE stale_inside AS SELECT 1 AS id, 'a' AS name");
    let select = SELECT.replace("changing", "stale_inside");
    for stream in [false, true] {
        if stream {
            elsewhere("DROP TABLE stale_inside; CREATE TABLE stale_inside AS SELECT 1 AS id, 'a' AS name");
        }
        let ask = |connection: &Connection| -> Result<usize> {
            if stream {
                let rows: Result<Vec<Row>> = connection.query(&select, ()).chunk(1).iter::<Row>().collect();
                rows.map(|rows| rows.len())
            } else {
                connection.query(&select, ()).rows::<Row>().map(|rows| rows.len())
            }
        };
        for (way, change) in ways("stale_inside") {
            println!("{way}, stream {stream}");
            let lease = test.pool.connection().expect("lent");
            assert_eq!(ask(&lease).expect("prepared"), 1);
            change(&lease);
            let error = lease.transaction(|_| ask(&lease)).expect_err("once");
            assert!(matches!(error.sqlstate(), Some("26000" | "0A000")), "{error:?}");
            assert_eq!(lease.transaction(|_| ask(&lease)).expect("healthy"), 1);
            assert_eq!(ask(&lease).expect("healthy"), 1);
        }
    }
    assert_eq!(test.pool.stats().opened, 1, "no connection is given up for it");
    test.finish();
}

/// 0A000 means many things: only the one about plans makes us prepare again.
#[test]
fn a_feature_that_is_not_supported_is_no_reason_to_prepare_again() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    elsewhere(
        "CREATE FUNCTION not_supported() RETURNS int4 LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '0A000'; END $$",
    );
    for _ in 0..3 {
        let error = test.db.query("SELECT not_supported()", ()).value::<i32>().expect_err("no");
        assert_eq!(error.sqlstate(), Some("0A000"));
    }
    assert_eq!(proxy.all().count(Frontend, b'P'), 1, "prepared once");
    test.finish();
}

/// Case 48: bounded, the evicted closed on the server, names never used twice.
#[test]
fn what_is_forgotten_is_closed_on_the_server_and_no_name_comes_twice() {
    const CAPACITY: usize = 5;
    let test = remembering(&server().url(), CAPACITY);
    let mut random = Random::new();
    let mut ever: BTreeMap<String, String> = BTreeMap::new();
    let lease = test.pool.connection().expect("lent");
    for _ in 0..300 {
        let number = i32::try_from(random.below(20)).expect("small");
        let text = format!("SELECT {number} + $1::int4");
        assert_eq!(lease.query(&text, (1,)).value::<i32>().expect("an answer"), number + 1);
        let now = known(&lease);
        assert!(now.len() <= CAPACITY, "{now:?}");
        for (name, text) in now {
            let before = ever.insert(name.clone(), text.clone());
            assert!(before.is_none_or(|before| before == text), "{name} was another statement before");
        }
    }
    assert!(ever.len() > 100, "statements came and went");
    drop(lease);
    test.finish();
}

#[test]
fn a_pool_that_remembers_no_statement_leaves_none_on_the_server() {
    let test = remembering(&server().url(), 0);
    let lease = test.pool.connection().expect("lent");
    for number in 0..20 {
        assert_eq!(lease.query("SELECT $1::int4", (number,)).value::<i32>().expect("an answer"), number);
        assert!(known(&lease).len() <= 2, "{:?}", known(&lease));
    }
    drop(lease);
    test.finish();
}

/// A statement that is evicted while a stream of it is open.
#[test]
fn a_stream_survives_that_its_statement_is_forgotten() {
    for capacity in [0, 1, 2] {
        let test = remembering(&server().url(), capacity);
        test.db
            .transaction(|q| {
                let mut count = 0;
                for row in q.query("SELECT generate_series(1, 20)", ()).chunk(2).iter::<i32>() {
                    count += 1;
                    assert_eq!(row?, count);
                    let text = format!("SELECT {count} + 1");
                    assert_eq!(q.query(&text, ()).value::<i32>()?, count + 1);
                }
                assert_eq!(count, 20);
                Ok(())
            })
            .expect("committed");
        test.finish();
    }
}

/// Case 48: what the server refused to parse is asked again next time, and can succeed then.
#[test]
fn a_statement_that_failed_to_parse_is_not_remembered() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    for _ in 0..2 {
        let error = lease.query("SELECT id FROM comes_later", ()).flat::<i32>().expect_err("not there");
        assert_eq!(error.sqlstate(), Some("42P01"));
    }
    lease.transaction(|q| q.query("SELECT id FROM comes_later", ()).flat::<i32>()).expect_err("not there");
    elsewhere("CREATE TABLE comes_later AS SELECT 5 AS id");
    assert_eq!(lease.query("SELECT id FROM comes_later", ()).flat::<i32>().expect("there"), [5]);
    let texts: Vec<_> = known(&lease).into_values().filter(|text| text.contains("comes_later")).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    drop(lease);
    test.finish();
}

/// Case 48: a statement whose preparation was cancelled, at any message, is not left on the server.
#[test]
fn a_statement_that_was_cancelled_while_it_was_prepared_is_not_left_behind() {
    const VICTIM: &str = "SELECT 'the victim of a cancel'";
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    for tag in [b'1', b't', b'T', b'Z'] {
        let held = proxy.on(Backend, tag, nth(1)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            lease.query(VICTIM, ()).value::<String>()
        });
        held.wait_hits(1);
        cancel(&victim);
        assert!(victim.join().is_err(), "it was cancelled");
        held.release();
        let lease = test.pool.connection().expect("lent");
        // Names are closed together with the next statement that is prepared.
        let text = format!("SELECT {tag}");
        lease.query(&text, ()).value::<i32>().expect("an answer");
        let texts: BTreeSet<_> = known(&lease).into_values().collect();
        assert!(!texts.contains(VICTIM), "{texts:?}");
    }
    assert_eq!(test.db.query(VICTIM, ()).value::<String>().expect("next time"), "the victim of a cancel");
    test.finish();
}

/// The same with the cancel as close as can be to the arrival of the reply.
#[test]
fn a_cancel_that_races_the_reply_leaves_no_statement_behind() {
    let proxy = Proxy::start(&server().url());
    let test = remembering(&proxy.url(), 1);
    for round in 0..150 {
        let held = proxy.on(Backend, b'Z', nth(1)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            lease.query(&format!("SELECT 'victim {round}'"), ()).value::<String>()
        });
        held.wait_hits(1);
        held.release();
        cancel(&victim);
        let _ = victim.join();
    }
    let lease = test.pool.connection().expect("lent");
    // One exchange closes four; cancels may have left some for later.
    for round in 0..80 {
        lease.query(&format!("SELECT {round}"), ()).value::<i32>().expect("an answer");
    }
    let known = known(&lease);
    assert!(known.len() <= 1, "{known:?}");
    drop(lease);
    test.finish();
}

/// The names that an exchange would have closed are closed with another, if it could not be sent.
#[test]
fn a_statement_that_cannot_be_sent_costs_no_name_that_was_to_be_closed() {
    let test = remembering(&server().url(), 1);
    let lease = test.pool.connection().expect("lent");
    for round in 0..10 {
        lease.query(&format!("SELECT {round}"), ()).value::<i32>().expect("an answer");
        lease.query("SELECT '\0'", ()).value::<String>().expect_err("a NUL cannot be sent");
    }
    lease.query("SELECT 'last'", ()).value::<String>().expect("an answer");
    lease.query("SELECT 'and least'", ()).value::<String>().expect("an answer");
    let known = known(&lease);
    assert!(known.len() <= 1, "{known:?}");
    drop(lease);
    test.finish();
}

/// Case 20 in small: what was prepared inside a transaction is known after its rollback.
#[test]
fn a_statement_survives_the_rollback_of_the_transaction_it_was_prepared_in() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let lease = test.pool.connection().expect("lent");
    let error = lease.transaction(|q| {
        q.query("SELECT 1", ()).value::<i32>()?;
        q.query("SELECT 1 / 0", ()).value::<i32>()
    });
    error.expect_err("division by zero");
    let before = proxy.all().count(Frontend, b'P');
    assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    assert_eq!(proxy.all().count(Frontend, b'P'), before, "not prepared again");
    drop(lease);
    test.finish();
}
