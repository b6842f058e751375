//! Connections that die, and servers that are not as they should be.

use super::*;

/// A request that was provably not sent because an idle connection turned out dead goes to another.
#[test]
fn a_request_that_finds_its_connection_dead_before_it_was_sent_is_sent_on_another() {
    let test = TestPool::new(1);
    let mut client = test.client();
    let mut unsent = 0;
    let mut unknown = 0;
    for _ in 0..300 {
        let process = {
            let lease = test.pool.connection().expect("lent");
            lease.query("SELECT 1", ()).value::<i32>().map(|_| lease.process_id())
        };
        let Ok(process) = process else { continue };
        client.query(&format!("SELECT pg_terminate_backend({process})")).expect("terminated");
        if let Err(error) = test.db.query("SELECT 1", ()).value::<i32>() {
            match error.outcome() {
                maypole::Outcome::NotSent => unsent += 1,
                _ => unknown += 1,
            }
        }
    }
    println!("{unsent} not sent, {unknown} unknown");
    assert_eq!(unsent, 0);
    test.finish();
}

#[test]
fn the_longest_durations_are_for_ever() {
    let test = TestPool::built(&server().url(), |builder| {
        builder
            .limit(2)
            .max_lifetime(Duration::MAX)
            .idle_timeout(Duration::MAX)
            .ping_after_idle(Duration::MAX)
            .ping_timeout(Duration::MAX)
            .clean_up_timeout(Duration::MAX)
            .leak_warning(Duration::MAX)
            .max_hold(Duration::MAX)
            .acquire_timeout(Duration::MAX)
            .query_timeout(Duration::MAX)
    });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    assert_eq!(test.db.query("SELECT 1", ()).timeout(Duration::MAX).value::<i32>().expect("an answer"), 1);
    test.pool.warm(2, Duration::MAX).expect("warm");
    test.finish();
    assert_eq!(test.pool.close(Duration::MAX).cut, 0);
}

/// Lives, rests and pings of milliseconds under load: no borrower sees an error, and connects are paced.
#[test]
fn connections_of_short_lives_disturb_no_borrower() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let test = TestPool::built(&server().url(), |builder| {
        builder
            .limit(5)
            .max_lifetime(Duration::from_millis(200))
            .idle_timeout(Duration::from_millis(20))
            .ping_after_idle(Duration::from_millis(5))
            .min_idle(2)
            .acquire_timeout(Duration::from_secs(20))
    });
    let over = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..8)
        .map(|number: i32| {
            let (db, over, answers) = (Database::from(test.pool.clone()), over.clone(), answers.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(
                        db.query("SELECT $1::int", (number,)).value::<i32>().expect("an answer"),
                        number
                    );
                    db.transaction(|q| q.query("SELECT 1", ()).value::<i32>()).expect("committed");
                    db.query("SELECT generate_series(1, 30)", ())
                        .chunk(10)
                        .iter::<i32>()
                        .for_each(|row| assert!(row.is_ok(), "{row:?}"));
                    answers.fetch_add(1, Ordering::Relaxed);
                    if number % 2 == 0 {
                        rest(Duration::from_millis(7));
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let stats = test.pool.stats();
        assert_eq!(
            stats.lent + stats.idle + stats.opening + stats.cleaning + stats.free,
            stats.limit,
            "{stats:?}"
        );
        std::thread::sleep(Duration::from_micros(100));
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("no panic");
    }
    let stats = test.pool.stats();
    println!("{} rounds, {stats:?}", answers.load(Ordering::Relaxed));
    assert_eq!((stats.failed, stats.closes.broken), (0, 0), "{stats:?}");
    // 5 connections of 150 to 200 ms for 5 s, each opened once, and those that grew idle.
    assert!(stats.opened < 400, "{stats:?}");
    eventually("two are kept", || test.pool.stats().idle + test.pool.stats().cleaning >= 2);
    std::thread::sleep(Duration::from_millis(300));
    let before = test.pool.stats().opened;
    std::thread::sleep(Duration::from_secs(1));
    let stats = test.pool.stats();
    println!("at rest {} a second: {stats:?}", stats.opened - before);
    assert!(stats.opened - before < 30, "a storm at rest");
    test.pool.close(Duration::from_secs(10));
    eventually("no session remains", || test.sessions("") == 0);
}

/// The cause is told at once while nothing can be opened, and the first success ends that.
#[test]
fn a_database_that_is_missing_is_told_at_once_and_used_as_soon_as_it_is_there() {
    let past = server().url();
    let mut client = crate::support::client::Client::connect(&past).expect("the server answers");
    let (front, database) = past.rsplit_once('/').expect("a path");
    assert!(database.starts_with("postgres"), "{database}");
    let url = format!("{front}/missing_database{}", &database["postgres".len()..]);
    assert_ne!(url, past);
    let test = TestPool::of_server(&past, &url, Duration::from_secs(60), |builder, config| {
        builder.config(config).limit(3).acquire_timeout(Duration::from_secs(20))
    });
    let (mut longest, mut asked) = (Duration::ZERO, 0);
    test.db.query("SELECT 1", ()).value::<i32>().expect_err("missing");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let before = Instant::now();
        let error = test.db.query("SELECT 1", ()).value::<i32>().expect_err("missing");
        assert_eq!(error.sqlstate(), Some("3D000"), "{error:?}");
        longest = longest.max(before.elapsed());
        asked += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("{asked} asked, the longest waited {longest:?}; {:?}", test.pool.stats());
    client.query("CREATE DATABASE missing_database").expect("created");
    let start = Instant::now();
    while test.db.query("SELECT 1", ()).value::<i32>().is_err() {
        assert!(start.elapsed() < Duration::from_secs(8));
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("there after {:?}", start.elapsed());
    test.finish();
    test.pool.close(None);
    eventually("no session remains", || test.sessions("") == 0);
    client.query("DROP DATABASE missing_database").expect("dropped");
}
