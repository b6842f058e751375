//! The server is told to stop what nobody waits for any more, and nothing else is ever hit by that.

use std::time::{Duration, Instant};

use maypole::{Database, Error, Outcome, Phase, Result, TxOptions, spawn};

use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::frame::{CANCEL_REQUEST, END};
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Backend, Frontend, Proxy, every, nth};
use crate::support::server::server;

const SHORT: Duration = Duration::from_millis(250);
const SLEEP: &str = "SELECT pg_sleep($1)::text";
const ENDLESS: &str = "SELECT pg_sleep(60)::text";
/// Many times what the socket buffers hold, and what a clean-up drains before it cancels.
const HUGE: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 5000000)";

fn proxied(limit: usize) -> (Proxy, TestPool) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), limit);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    (proxy, test)
}

fn cancels(proxy: &Proxy) -> usize {
    proxy.all().count(Frontend, CANCEL_REQUEST)
}

fn running(test: &TestPool) -> usize {
    test.sessions("AND state = 'active'")
}

#[track_caller]
fn assert_stopped(error: &Error) {
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::RolledBack), "{error:?}");
    assert_eq!(error.sqlstate(), Some("57014"), "{error:?}");
    assert!(error.to_string().contains("250ms"), "which limit it was: {error}");
}

/// Reliability case 8, for every way to ask.
#[test]
fn a_statement_that_is_late_is_stopped_by_one_cancel_and_told_as_a_timeout() {
    type Way = fn(&Database) -> Result<()>;
    let ways: [(&str, Way); 8] = [
        ("an errand", |db| db.query(SLEEP, (60.0,)).timeout(SHORT).value::<String>().map(drop)),
        ("the same again", |db| db.query(SLEEP, (60.0,)).timeout(SHORT).value::<String>().map(drop)),
        ("a lease", |db| {
            db.pool()?.connection()?.query(SLEEP, (60.0,)).timeout(SHORT).value::<String>().map(drop)
        }),
        ("a stream", |db| {
            db.query(SLEEP, (60.0,)).timeout(SHORT).iter::<String>().try_for_each(|row| row.map(drop))
        }),
        ("a later chunk", |db| {
            let slow = "SELECT n FROM generate_series(1, 3) n, LATERAL (SELECT pg_sleep(n / 3 * 60)) s";
            db.query(slow, ()).chunk(1).timeout(SHORT).iter::<i32>().try_for_each(|row| row.map(drop))
        }),
        ("a transaction", |db| {
            db.transaction(|q| q.query(SLEEP, (60.0,)).timeout(SHORT).value::<String>()).map(drop)
        }),
        ("a stream in one", |db| {
            db.transaction(|q| {
                q.query(SLEEP, (60.0,)).chunk(1).timeout(SHORT).iter::<String>().collect::<Result<Vec<_>>>()
            })
            .map(drop)
        }),
        ("what was sent along", |db| {
            db.transaction(|q| {
                q.query(SLEEP, (60.0,)).later()?;
                q.query("SELECT 1", ()).timeout(SHORT).value::<i32>()
            })
            .map(drop)
        }),
    ];
    for (way, ask) in ways {
        let (proxy, test) = proxied(1);
        // What the server has not been asked about takes two exchanges.
        test.db.query(SLEEP, (0.0,)).value::<String>().expect("warm");
        let db = Database::from(test.pool.clone());
        let start = Instant::now();
        let error = in_coroutine(move || ask(&db)).expect_err(way);
        assert!(start.elapsed() >= SHORT, "{way}: not before its time");
        assert_stopped(&error);
        assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("an answer"), 2, "{way}");
        assert_eq!((cancels(&proxy), proxy.accepted()), (1, 2), "{way}");
        test.finish();
    }
}

#[test]
fn a_script_that_is_late_is_stopped_and_has_had_no_effect() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1).query_timeout(SHORT));
    test.db.script("CREATE TABLE late_scripts (id int)").expect("created");
    let error = test.db.script("INSERT INTO late_scripts VALUES (1); SELECT pg_sleep(60)").expect_err("late");
    assert_stopped(&error);
    let error = test
        .db
        .transaction(|q| q.script("INSERT INTO late_scripts VALUES (1); SELECT pg_sleep(60)"))
        .expect_err("late");
    assert_stopped(&error);
    assert_eq!(test.db.query("SELECT count(*) FROM late_scripts", ()).value::<i64>().expect("an answer"), 0);
    test.db.script("DROP TABLE late_scripts").expect("dropped");
    test.finish();
}

#[test]
fn a_lease_goes_on_with_its_session_after_a_statement_was_stopped() {
    let (proxy, test) = proxied(1);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        for round in 0..3 {
            assert_stopped(&lease.query(ENDLESS, ()).timeout(SHORT).value::<String>().expect_err("late"));
            assert_eq!(
                lease.query("SELECT $1::int", (round,)).value::<i32>().expect("its own answer"),
                round
            );
            let rows: Result<Vec<i32>> =
                lease.query("SELECT generate_series(1, 5)", ()).chunk(2).iter().collect();
            assert_eq!(rows.expect("rows"), [1, 2, 3, 4, 5]);
        }
    });
    assert_eq!((cancels(&proxy), proxy.accepted()), (3, 4));
    test.finish();
}

#[test]
fn the_deadline_of_a_transaction_stops_what_runs_in_it() {
    let (proxy, test) = proxied(1);
    let options = TxOptions::new().deadline(SHORT);
    let error =
        test.db.transaction_with(&options, |q| q.query(ENDLESS, ()).value::<String>()).expect_err("late");
    assert_eq!(
        (error.phase(), error.outcome()),
        (Some(Phase::Transaction), Outcome::RolledBack),
        "{error:?}"
    );
    assert_eq!(error.sqlstate(), Some("57014"), "{error:?}");
    assert_eq!(cancels(&proxy), 1);
    test.finish();
}

#[test]
fn a_stopped_statement_can_be_undone_by_a_savepoint() {
    let (_proxy, test) = proxied(1);
    let answer = test.db.transaction(|q| {
        let stopped = q.savepoint(|q| q.query(ENDLESS, ()).timeout(SHORT).value::<String>());
        assert_stopped(&stopped.expect_err("late"));
        q.query("SELECT 7", ()).value::<i32>()
    });
    assert_eq!(answer.expect("it goes on"), 7);
    test.finish();
}

/// The server's word in the grace counts.
#[test]
fn a_statement_that_ends_before_the_cancel_arrives_has_its_result() {
    let (proxy, test) = proxied(1);
    let delayed = proxy.on(Frontend, CANCEL_REQUEST, every()).delay(Duration::from_millis(200));
    let start = Instant::now();
    let answer = test.db.query("SELECT 5, pg_sleep(0.3)::text", ()).timeout(SHORT).unique::<(i32, String)>();
    assert_eq!(answer.expect("as if nothing had been").0, 5);
    assert!(start.elapsed() >= SHORT);
    delayed.wait_hits(1);
    delayed.release();
    test.finish();
}

#[test]
fn what_the_server_or_somebody_else_stops_is_no_timeout_of_ours() {
    let (proxy, test) = proxied(1);
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        lease.script("SET statement_timeout = '50ms'").expect("set");
        let error = lease.query(ENDLESS, ()).value::<String>().expect_err("stopped");
        assert_eq!((error.sqlstate(), error.is_timeout()), (Some("57014"), false), "{error:?}");
        lease.script("RESET statement_timeout").expect("reset");
    });
    assert_eq!(cancels(&proxy), 0);
    test.finish();
}

/// Reliability case 9, requirement 21 of the pool.
#[test]
fn a_cancel_that_comes_late_hits_nobody() {
    const LATE: Duration = Duration::from_millis(500);
    let pools: Vec<_> = (0..10)
        .map(|_| {
            std::thread::spawn(|| {
                let (proxy, test) = proxied(1);
                let _late = proxy.on(Frontend, CANCEL_REQUEST, every()).delay(LATE);
                test.db.query(SLEEP, (0.0,)).value::<String>().expect("warm");
                for round in 0..10 {
                    let (start, before) = (Instant::now(), cancels(&proxy));
                    // As a rule it ends by itself, in the grace.
                    let _ =
                        test.db.query(SLEEP, (0.05,)).timeout(Duration::from_millis(10)).value::<String>();
                    let mut waited = None;
                    while start.elapsed() < LATE + Duration::from_millis(100) {
                        let next = test.db.query("SELECT $1::int, pg_sleep(0.005)::text", (round,));
                        let (answer, _): (i32, String) = next.unique().expect("nobody is hit");
                        assert_eq!(answer, round);
                        waited.get_or_insert(start.elapsed());
                    }
                    // A busy keeper may find it over.
                    let cancelled = cancels(&proxy) > before;
                    assert!(
                        !cancelled || waited >= Some(LATE),
                        "lent before the cancel had ended: {waited:?}"
                    );
                }
                test.finish();
                assert_eq!(test.pool.stats().opened, 1);
                cancels(&proxy)
            })
        })
        .collect();
    let cancels: usize = pools.into_iter().map(|pool| pool.join().expect("no victim")).sum();
    assert!(cancels >= 50, "of 100 rounds only {cancels} were late");
}

/// The same on one lease.
#[test]
fn the_next_statement_of_a_lease_is_not_sent_before_its_cancel_has_ended() {
    let (proxy, test) = proxied(1);
    let pool = test.pool.clone();
    let _late = proxy.on(Frontend, CANCEL_REQUEST, every()).delay(Duration::from_millis(200));
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        lease.query("SELECT pg_sleep(0.3)::text", ()).timeout(SHORT).value::<String>().expect("it ended");
        lease.query("SELECT pg_sleep(0.3)::text", ()).value::<String>().expect("not hit");
    });
    let seen = proxy.all().seen();
    let ended =
        seen.iter().position(|event| event.connection == 2 && (event.direction, event.tag) == (Backend, END));
    let asked = seen
        .iter()
        .rposition(|event| event.connection == 1 && (event.direction, event.tag) == (Frontend, b'B'));
    assert!(ended.is_some() && ended < asked, "{ended:?} {asked:?}");
    test.finish();
}

/// Reliability case 10.
#[test]
fn a_cancel_that_cannot_be_delivered_costs_the_session_and_not_its_slot() {
    let (proxy, test) = proxied(1);
    proxy.refuse();
    let error = test.db.query(ENDLESS, ()).timeout(SHORT).value::<String>().expect_err("late");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::Unknown), "{error:?}");
    assert!(error.to_string().contains("250ms"), "{error}");
    assert!(format!("{error:?}").contains("could not be delivered"), "{error:?}");
    eventually("the session is given up", || test.pool.stats().closed == 1);
    proxy.welcome();
    assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("a new connection"), 2);
    assert_eq!(test.pool.stats().opened, 2);
    let mut client = test.client();
    let name = &test.name;
    let end = format!(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
         WHERE application_name = '{name}' AND query LIKE '%pg_sleep%'"
    );
    client.value(&end).expect("terminated");
    test.finish();
}

/// One that is accepted and not answered counts as not delivered after two seconds.
#[test]
fn a_cancel_connection_that_does_not_end_costs_the_session() {
    let (proxy, test) = proxied(1);
    let held = proxy.on(Frontend, CANCEL_REQUEST, every()).hold();
    let start = Instant::now();
    let error =
        test.db.query("SELECT pg_sleep(1)::text", ()).timeout(SHORT).value::<String>().expect_err("late");
    assert_eq!((error.phase(), error.outcome()), (Some(Phase::Query), Outcome::Unknown), "{error:?}");
    eventually("the session is given up", || test.pool.stats().closed == 1);
    assert!(start.elapsed() >= Duration::from_secs(2));
    held.release();
    assert_eq!(test.db.query("SELECT 2", ()).value::<i32>().expect("a new connection"), 2);
    test.finish();
}

#[test]
fn a_coroutine_that_is_cancelled_in_a_long_statement_stops_it_on_the_server() {
    type Way = fn(&Database) -> Result<()>;
    let ways: [(&str, Way); 4] = [
        ("an errand", |db| db.query(ENDLESS, ()).value::<String>().map(drop)),
        ("a lease", |db| db.pool()?.connection()?.query(ENDLESS, ()).value::<String>().map(drop)),
        ("a stream", |db| db.query(ENDLESS, ()).iter::<String>().try_for_each(|row| row.map(drop))),
        ("a transaction", |db| db.transaction(|q| q.query(ENDLESS, ()).value::<String>()).map(drop)),
    ];
    for (way, ask) in ways {
        let (proxy, test) = proxied(1);
        // Errands are for plans that are known.
        test.db.query(ENDLESS, ()).timeout(Duration::from_millis(1)).value::<String>().expect_err("late");
        test.settled();
        let before = cancels(&proxy);
        let db = Database::from(test.pool.clone());
        let victim = spawn(move || ask(&db));
        eventually("it sleeps", || test.sessions("AND wait_event = 'PgSleep'") == 1);
        cancel(&victim);
        assert!(victim.join().is_err(), "it was cancelled");
        eventually("nothing runs", || running(&test) == 0);
        test.settled();
        assert_eq!(cancels(&proxy) - before, 1, "{way}");
        assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "{way}");
        test.finish();
    }
}

#[test]
fn a_big_result_that_nobody_wants_is_cut_short_within_the_budget() {
    let (proxy, test) = proxied(1);
    let sent = proxy.on(Backend, b'D', nth(20)).watch();
    let db = Database::from(test.pool.clone());
    let victim = spawn(move || db.pool()?.connection()?.query(HUGE, ()).rows::<String>().map(drop));
    sent.wait_hits(1);
    cancel(&victim);
    assert!(victim.join().is_err(), "it was cancelled");
    test.settled();
    assert_eq!(cancels(&proxy), 1);
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "in time");
    test.finish();
}

/// A COMMIT that was cancelled may be durable here and not on the standby.
#[test]
fn a_commit_is_never_the_target_of_a_cancel() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::built(&proxy.url(), |builder| builder.limit(1).query_timeout(SHORT));
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    type Way = fn(&maypole::Tx) -> Result<()>;
    let ways: [(&str, Way); 2] =
        [("alone", |_| Ok(())), ("with what was sent along", |q| q.query("SELECT 2", ()).later())];
    for (way, last) in ways {
        let mut held = None;
        let error = test.db.transaction(|q| {
            q.query("SELECT 2", ()).value::<i32>()?;
            held = Some(proxy.connection(1).on(Backend, b'Z', nth(1)).hold());
            last(q)
        });
        let error = error.expect_err("no answer to COMMIT");
        assert_eq!(error.outcome(), Outcome::Unknown, "{way}: {error:?}");
        // Long enough for a clean-up to lose its patience.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(cancels(&proxy), 0, "{way}");
        held.expect("held").release();
        test.settled();
    }
    let held = proxy.connection(1).on(Backend, b'Z', nth(1)).hold();
    let error = test.db.script("BEGIN; SELECT 1; COMMIT").expect_err("no answer");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    held.release();
    test.settled();
    assert_eq!((cancels(&proxy), proxy.accepted()), (0, 1));
    test.finish();
}

#[test]
fn a_handle_stops_what_its_lease_runs_and_nothing_after_that() {
    let (proxy, test) = proxied(1);
    let lease = test.pool.connection().expect("lent");
    let handle = lease.cancel_handle();
    handle.cancel().expect("nothing runs");
    assert_eq!(cancels(&proxy), 0);
    let (back, ended) = std::sync::mpsc::channel();
    let asked = spawn(move || {
        let error = lease.query(ENDLESS, ()).value::<String>().expect_err("stopped");
        assert_eq!((error.sqlstate(), error.is_timeout()), (Some("57014"), false), "{error:?}");
        assert_eq!(lease.query("SELECT 3", ()).value::<i32>().expect("an answer"), 3);
        back.send(lease).expect("it is waited for");
    });
    eventually("it sleeps", || test.sessions("AND wait_event = 'PgSleep'") == 1);
    let other = handle.clone();
    in_coroutine(move || other.cancel()).expect("delivered");
    asked.join().expect("no panic");
    assert_eq!(cancels(&proxy), 1);
    drop(ended.recv().expect("the lease"));
    let error = handle.cancel().expect_err("the lease has ended");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("has ended"), "{error}");
    let next = test.pool.connection().expect("the same session");
    assert!(handle.cancel().is_err() && next.cancel_handle().cancel().is_ok());
    assert_eq!(cancels(&proxy), 1);
    let shown = format!("{handle:?}");
    assert!(shown.contains("process_id") && !shown.contains("key"), "{shown}");
    drop(next);
    test.finish();
}

/// Whoever waits for the delivery may be cancelled: it goes on.
#[test]
fn a_handle_whose_caller_is_cancelled_stops_the_statement_all_the_same() {
    let (proxy, test) = proxied(1);
    let lease = test.pool.connection().expect("lent");
    let handle = lease.cancel_handle();
    let held = proxy.on(Frontend, CANCEL_REQUEST, every()).hold();
    let asked = spawn(move || lease.query(ENDLESS, ()).value::<String>().expect_err("stopped"));
    eventually("it sleeps", || test.sessions("AND wait_event = 'PgSleep'") == 1);
    let stopper = spawn(move || handle.cancel());
    held.wait_hits(1);
    cancel(&stopper);
    assert!(stopper.join().is_err(), "it was cancelled");
    held.release();
    assert_eq!(asked.join().expect("no panic").sqlstate(), Some("57014"));
    test.finish();
}

#[test]
fn a_handle_does_not_stop_a_commit() {
    let (proxy, test) = proxied(1);
    let lease = test.pool.connection().expect("lent");
    let handle = lease.cancel_handle();
    let committing = proxy.on(Frontend, b'Q', nth(1)).watch();
    // The first reply is that to the query.
    let held = proxy.connection(1).on(Backend, b'Z', nth(2)).hold();
    let asked = spawn(move || lease.transaction(|q| q.query("SELECT 1", ()).value::<i32>()));
    committing.wait_hits(1);
    let error = handle.cancel().expect_err("COMMIT runs");
    assert!(error.to_string().contains("not cancelled"), "{error}");
    held.release();
    assert_eq!(asked.join().expect("no panic").expect("committed"), 1);
    assert_eq!(cancels(&proxy), 0);
    test.finish();
}
