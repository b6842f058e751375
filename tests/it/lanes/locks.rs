//! Selects that meet locks: waiting for one is nothing that strangers do together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use maypole::{Query, select, spawn};

use crate::lanes::{Lanes, selects};
use crate::support::client::{Client, Failure};
use crate::support::eventually::{eventually, eventually_within};
use crate::support::past::run;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// Sessions of the test that wait for a lock.
fn waiting_for_a_lock(test: &Lanes) -> usize {
    test.sessions("AND wait_event_type = 'Lock'")
}

#[test]
fn a_select_that_meets_a_lock_waits_for_it_alone_and_holds_up_nobody() {
    selects!(DB);
    #[select(DB, "SELECT n FROM lanes_locked WHERE n = :n")]
    fn locked(n: i32) -> Query<i32>;
    run("CREATE TABLE lanes_locked AS SELECT generate_series(0, 9) AS n");
    let test = DB.is(TestPool::new(2));
    test.pool.warm(2, None).expect("opened");
    for round in 0..3 {
        // What has waited for a lock is slow for a while.
        test.warm(|| locked(1).value().expect("an answer"));
        test.warm(|| echo(1).value().expect("an answer"));
        let alone = test.pool.stats().run_alone;
        let mut client = Client::connect(&server().url()).expect("up");
        client.query("BEGIN; LOCK TABLE lanes_locked IN ACCESS EXCLUSIVE MODE").expect("locked");
        let leases = test.all();
        let waits = test.ask_while_all_are_lent(1, |_| locked(7).value());
        let others = test.ask_while_all_are_lent(9, |n| echo(n).value());
        drop(leases);
        for (n, other) in (0..9).zip(others) {
            assert_eq!(other.join().expect("no panic").expect("not held up"), n, "round {round}");
        }
        eventually("it is run again alone, and waits for the lock", || {
            test.pool.stats().run_alone > alone && waiting_for_a_lock(&test) == 1
        });
        assert!(!waits[0].is_done());
        // For as long as it takes, which is longer than a lane would.
        thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(waiting_for_a_lock(&test), 1);
        assert_eq!(echo(5).value().expect("an answer"), 5, "and another goes on meanwhile");
        client.query("COMMIT").expect("released");
        for waits in waits {
            assert_eq!(waits.join().expect("no panic").expect("the lock is gone"), 7);
        }
    }
    test.finish();
    run("DROP TABLE lanes_locked");
}

/// Somebody locks two tables, one after the other, and selects of strangers read them in the other order inside one group: each
/// waits for the other, though none of them reads more than one table.
fn deadlock_of_strangers(
    test: &Lanes,
    tables: [&'static str; 2],
    read: impl Fn(i32) -> maypole::Result<i32> + Clone + Send + 'static,
) {
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let locking = {
        let over = over.clone();
        thread::spawn(move || {
            let mut client = Client::connect(&server().url()).expect("up");
            let [first, second] = tables;
            while !over.load(Ordering::Relaxed) {
                let locks = format!(
                    "BEGIN; LOCK TABLE {second} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.005);
                     LOCK TABLE {first} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.005)"
                );
                match client.query(&locks) {
                    Ok(_) => {}
                    // It may be the victim itself.
                    Err(Failure::Server { code, .. }) if code == "40P01" => {}
                    Err(failure) => panic!("{failure}"),
                }
                client.query("ROLLBACK").expect("over");
                thread::sleep(std::time::Duration::from_millis(3));
            }
        })
    };
    let askers: Vec<_> = (0..20)
        .map(|n| {
            let (over, answered, read) = (over.clone(), answered.clone(), read.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(read(n).expect("nobody hears of locks"), n);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    eventually_within(std::time::Duration::from_secs(40), "enough met the locks", || {
        let failed = askers.iter().any(|asker| asker.is_done());
        failed || test.pool.stats().run_alone >= 30 && answered.load(Ordering::Relaxed) >= 200
    });
    over.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers and no error"));
    locking.join().expect("no panic");
    test.finish();
}

/// The lane's patience ends before the server looks for deadlocks: 55P03.
#[test]
fn strangers_that_would_wait_in_a_circle_never_hear_of_it() {
    selects!(DB);
    #[select(DB, "SELECT n FROM lanes_circle_a WHERE n = :n")]
    fn a(n: i32) -> Query<i32>;
    #[select(DB, "SELECT n FROM lanes_circle_b WHERE n = :n")]
    fn b(n: i32) -> Query<i32>;
    for table in ["lanes_circle_a", "lanes_circle_b"] {
        run(&format!("CREATE TABLE {table} AS SELECT generate_series(0, 99) AS n"));
    }
    let test = DB.is(TestPool::new(2));
    test.warm(|| a(1).value().expect("an answer"));
    test.warm(|| b(1).value().expect("an answer"));
    deadlock_of_strangers(&test, ["lanes_circle_a", "lanes_circle_b"], |n| {
        if n % 2 == 0 { a(n).value() } else { b(n).value() }
    });
    run("DROP TABLE lanes_circle_a, lanes_circle_b");
}

/// The server looks for deadlocks at once, and the lane is the victim: 40P01.
#[test]
fn strangers_that_are_the_victim_of_a_deadlock_never_hear_of_it() {
    selects!(DB);
    #[select(DB, "SELECT n FROM lanes_victim_a WHERE n = :n")]
    fn a(n: i32) -> Query<i32>;
    #[select(DB, "SELECT n FROM lanes_victim_b WHERE n = :n")]
    fn b(n: i32) -> Query<i32>;
    for table in ["lanes_victim_a", "lanes_victim_b"] {
        run(&format!("CREATE TABLE {table} AS SELECT generate_series(0, 99) AS n"));
    }
    let url = format!("{}?options=-c%20deadlock_timeout%3D1ms", server().url());
    let test = DB.is(TestPool::at(&url, 2));
    test.warm(|| a(1).value().expect("an answer"));
    test.warm(|| b(1).value().expect("an answer"));
    deadlock_of_strangers(&test, ["lanes_victim_a", "lanes_victim_b"], |n| {
        if n % 2 == 0 { a(n).value() } else { b(n).value() }
    });
    run("DROP TABLE lanes_victim_a, lanes_victim_b");
}

/// An error that the user asked for by its SQLSTATE is no lock: it is shown, or the statement was run again alone and it is shown
/// then.
#[test]
fn a_select_that_raises_such_an_error_itself_shows_it_in_the_end() {
    selects!(DB);
    #[select(DB, "SELECT lanes_raise(:code, :n)")]
    fn raise(code: &str, n: i32) -> Query<i32>;
    run("CREATE FUNCTION lanes_raise(code text, n int4) RETURNS int4 LANGUAGE plpgsql AS
         $$ BEGIN IF code <> '' THEN RAISE 'as asked' USING ERRCODE = code; END IF; RETURN n; END $$");
    let test = DB.is(TestPool::new(1));
    test.warm(|| raise("", 1).value().expect("an answer"));
    for code in ["40P01", "55P03", "57014", "40001", "P0001"] {
        let answers = test.together(7, move |n| raise(if n == 3 { code } else { "" }, n).value());
        for (n, answer) in (0..7).zip(answers) {
            match n {
                3 => assert_eq!(answer.expect_err("raised").sqlstate(), Some(code)),
                _ => assert_eq!(answer.expect("an answer"), n, "{code}"),
            }
        }
    }
    test.finish();
    run("DROP FUNCTION lanes_raise");
}
