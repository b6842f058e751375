//! Queries of a database wait for a connection with their requests already encoded (errands): whatever happens to their
//! callers, no connection is lost, and no answer reaches anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maypole::{Database, Outcome, Phase};

use crate::support::chaos::{Chaos, cancel};
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Proxy, nth};
use crate::support::random::Random;
use crate::support::server::server;

const ECHO: &str = "SELECT $1::bigint";

fn warm(test: &TestPool) {
    for number in 0..2 {
        assert_eq!(test.db.query(ECHO, (number,)).value::<i64>().expect("warm"), number);
    }
}

#[test]
fn an_errand_that_is_cancelled_in_the_queue_leaves_it_at_once() {
    let test = TestPool::new(1);
    warm(&test);
    let lease = test.pool.connection().expect("the only one");
    let db = Database::from(test.pool.clone());
    let victim = maypole::spawn(move || db.query(ECHO, (1i64,)).value::<i64>());
    eventually("it waits", || test.pool.stats().waiting == 1);
    cancel(&victim);
    assert!(victim.join().is_err(), "it was cancelled");
    assert_eq!(test.pool.stats().waiting, 0);
    drop(lease);
    test.finish();
}

#[test]
fn an_errand_cancelled_while_its_reply_is_on_the_way_gives_the_connection_back_with_it() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test);
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let db = Database::from(test.pool.clone());
    let victim = maypole::spawn(move || db.query(ECHO, (1i64,)).value::<i64>());
    held.wait_hits(1);
    cancel(&victim);
    assert!(victim.join().is_err(), "it was cancelled");
    let db = Database::from(test.pool.clone());
    let next = maypole::spawn(move || db.query(ECHO, (2i64,)).value::<i64>());
    eventually("the next waits", || test.pool.stats().waiting == 1);
    held.release();
    assert_eq!(next.join().expect("not cancelled").expect("an answer"), 2);
    assert_eq!(test.pool.stats().opened, 1, "the same session");
    test.finish();
}

#[test]
fn an_errand_whose_reply_never_comes_holds_its_connection_for_no_longer_than_a_clean_up() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    warm(&test);
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let query = test.db.query(ECHO, (1i64,)).timeout(Duration::from_millis(50));
    let error = query.value::<i64>().expect_err("held");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::Unknown), "{error:?}");
    let start = Instant::now();
    eventually("its session is given up", || test.pool.stats().free == 1);
    assert!(start.elapsed() > Duration::from_secs(1), "the reply had its time to come");
    held.release();
    assert_eq!(test.db.query(ECHO, (3i64,)).value::<i64>().expect("an answer"), 3);
    test.finish();
}

#[test]
fn errands_and_leases_are_served_in_the_order_in_which_they_came() {
    let test = TestPool::new(1);
    warm(&test);
    let order = Arc::new(AtomicUsize::new(0));
    let held = test.pool.connection().expect("the only one");
    let workers: Vec<_> = (0..20)
        .map(|number| {
            let (pool, order) = (test.pool.clone(), order.clone());
            let worker = maypole::spawn(move || {
                if number % 2 == 0 {
                    let _lease = pool.connection().expect("lent");
                    assert_eq!(order.fetch_add(1, Ordering::SeqCst), number);
                } else {
                    // The sequence is counted by the server's side of the errand: one session, one after the other.
                    let db = Database::from(pool);
                    let sql = "SELECT nextval('errand_order')";
                    assert_eq!(db.query(sql, ()).value::<i64>().expect("a value"), (number as i64 + 1) / 2);
                    order.fetch_add(1, Ordering::SeqCst);
                }
            });
            eventually("it waits", || test.pool.stats().waiting == number + 1);
            worker
        })
        .collect();
    held.script("CREATE SEQUENCE errand_order").expect("a sequence");
    drop(held);
    workers.into_iter().for_each(|worker| worker.join().expect("in order"));
    test.db.script("DROP SEQUENCE errand_order").expect("dropped");
    test.finish();
}

#[test]
fn errands_survive_what_other_borrowers_do_to_a_session_and_to_a_table() {
    let test = TestPool::new(2);
    test.db.script("CREATE TABLE errand_table AS SELECT 1 AS id").expect("a table");
    let sql = "SELECT * FROM errand_table";
    for _ in 0..4 {
        assert_eq!(test.db.query(sql, ()).unique::<i32>().expect("a row"), 1);
    }
    for forget in ["DEALLOCATE ALL", "DISCARD ALL"] {
        let leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
        leases.iter().for_each(|lease| lease.script(forget).expect("forgets"));
        drop(leases);
        assert_eq!(test.db.query(sql, ()).unique::<i32>().expect("a row"), 1);
    }
    test.db.script("ALTER TABLE errand_table ADD COLUMN name text DEFAULT 'one'").expect("altered");
    for _ in 0..4 {
        let row: (i32, String) = test.db.query(sql, ()).unique().expect("a row");
        assert_eq!(row, (1, "one".to_owned()));
    }
    test.db.script("DROP TABLE errand_table").expect("dropped");
    let error = test.db.query(sql, ()).rows::<maypole::Row>().expect_err("no table");
    assert_eq!(error.sqlstate(), Some("42P01"));
    test.finish();
}

#[test]
fn a_write_is_executed_once_even_if_its_result_has_changed_shape() {
    let test = TestPool::new(2);
    test.db.script("CREATE TABLE errand_writes (id int)").expect("a table");
    let sql = "INSERT INTO errand_writes VALUES ($1) RETURNING *";
    for id in 0..3 {
        assert_eq!(test.db.query(sql, (id,)).unique::<i32>().expect("a row"), id);
    }
    test.db.script("ALTER TABLE errand_writes ADD COLUMN at int DEFAULT 7").expect("altered");
    // A session that has not seen the statement yet, and one that has.
    let first = test.pool.connection().expect("lent");
    let row: (i32, i32) = test.db.query(sql, (3,)).unique().expect("a row");
    assert_eq!(row, (3, 7));
    drop(first);
    for id in 4..8 {
        assert_eq!(test.db.query(sql, (id,)).unique::<(i32, i32)>().expect("a row"), (id, 7));
    }
    assert_eq!(test.db.query("SELECT count(*) FROM errand_writes", ()).value::<i64>().expect("a count"), 8);
    test.db.script("DROP TABLE errand_writes").expect("dropped");
    test.finish();
}

#[test]
fn a_session_that_is_terminated_under_an_errand_tells_it_why() {
    let test = TestPool::new(1);
    warm(&test);
    let db = Database::from(test.pool.clone());
    for _ in 0..2 {
        let db = Database::from(test.pool.clone());
        assert_eq!(db.query("SELECT pg_sleep($1)::text", (0.0f64,)).value::<String>().expect("slept"), "");
    }
    let sleeper =
        maypole::spawn(move || db.query("SELECT pg_sleep($1)::text", (60.0f64,)).rows::<maypole::Row>());
    eventually("it sleeps", || test.sessions("AND query LIKE '%pg_sleep%' AND state = 'active'") == 1);
    let other = TestPool::new(1);
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    assert_eq!(other.db.query(sql, (test.name.as_str(),)).value::<i64>().expect("terminated"), 1);
    let error = sleeper.join().expect("no panic").expect_err("terminated");
    assert_eq!(error.sqlstate(), Some("57P01"), "{error:?}");
    assert_eq!(test.db.query(ECHO, (5i64,)).value::<i64>().expect("an answer"), 5);
    test.finish();
    other.finish();
}

#[test]
fn thousands_of_errands_with_chaos_get_their_own_answers_and_lose_no_connection() {
    let test = TestPool::new(4);
    warm(&test);
    let mut random = Random::new();
    let chaos = Chaos::default();
    let answered = Arc::new(AtomicUsize::new(0));
    let seen = answered.clone();
    let killer = chaos.start(random.fork(), move || seen.load(Ordering::Relaxed));
    for _ in 0..10 {
        let workers: Vec<_> = (0..64)
            .map(|number| {
                let (db, mut random) = (Database::from(test.pool.clone()), random.fork());
                let answered = answered.clone();
                let worker = maypole::spawn(move || {
                    for _ in 0..20 {
                        let number = i64::from_ne_bytes(random.next().to_ne_bytes());
                        let limit = random.one_in(10).then_some(Duration::from_millis(1));
                        let mut query = db.query(ECHO, (number,));
                        if let Some(limit) = limit {
                            query = query.timeout(limit);
                        }
                        match query.value::<i64>() {
                            Ok(answer) => assert_eq!(answer, number, "the answer to another question"),
                            Err(error) => assert!(limit.is_some() && error.is_timeout(), "{error:?}"),
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
                // The others must get through, whatever happens around them.
                if number % 2 == 0 {
                    chaos.expose(&worker);
                }
                worker
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                let wrong = panic.downcast_ref::<String>().cloned();
                assert!(wrong.is_none(), "{wrong:?}");
            }
        }
    }
    chaos.stop();
    let cancelled = killer.join().expect("no panic");
    println!("{} answered, {cancelled} cancelled", answered.load(Ordering::Relaxed));
    assert!(cancelled > 0 && answered.load(Ordering::Relaxed) >= 10 * 32 * 20);
    test.finish();
}
