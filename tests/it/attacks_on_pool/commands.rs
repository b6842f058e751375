//! Commands to the pool as a whole, at odd moments and in odd orders.

use super::*;

/// What one caller wants to be warm does not end what another wants.
#[test]
fn two_may_warm_a_pool_at_once() {
    let test = TestPool::new(6);
    let few = test.pool.clone();
    let many = test.pool.clone();
    let many = std::thread::spawn(move || many.warm(6, Duration::from_secs(5)));
    eventually("it has begun", || test.pool.stats().opened + test.pool.stats().opening as u64 > 0);
    few.warm(1, Duration::from_secs(5)).expect("warm");
    many.join().expect("no panic").expect("all are there");
    test.finish();
}

/// What can't be reached any more is not waited for.
#[test]
fn warming_more_than_a_lowered_limit_allows_ends() {
    let test = TestPool::new(6);
    let warming = test.pool.clone();
    let warming = std::thread::spawn(move || warming.warm(6, Duration::from_secs(8)));
    eventually("it has begun", || test.pool.stats().opened + test.pool.stats().opening as u64 > 0);
    test.pool.resize(2).expect("a number");
    let start = Instant::now();
    warming.join().expect("no panic").expect_err("it can't be");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    test.finish();
}

#[test]
fn a_pool_that_was_small_for_a_while_keeps_its_idle_connections_again() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(4).min_idle(3));
    eventually("three are kept", || test.pool.stats().idle == 3);
    test.pool.resize(1).expect("a number");
    eventually("one is left", || test.pool.stats().idle == 1);
    test.pool.resize(4).expect("a number");
    eventually("three are kept again", || test.pool.stats().idle == 3);
    test.finish();
}

/// Each closer hears what has become of the leases, whoever has cut them.
#[test]
fn two_that_close_a_pool_are_both_told_that_a_lease_was_cut() {
    let test = TestPool::new(2);
    let lease = test.pool.connection().expect("lent");
    let patient = test.pool.clone();
    let patient = std::thread::spawn(move || patient.close(Duration::from_secs(30)));
    eventually("it is closed", || test.pool.is_closed());
    let report = test.pool.close(Duration::from_millis(50));
    assert_eq!((report.finished, report.cut), (0, 1));
    let report = patient.join().expect("no panic");
    assert_eq!(report.finished, 0, "it did not come back: {report:?}");
    assert!(lease.query("SELECT 1", ()).value::<i32>().is_err());
    drop(lease);
    eventually("no session remains", || test.sessions("") == 0);
}

/// All that happens to a pool, at once; afterwards ledger and server agree.
#[test]
fn a_pool_that_is_told_everything_at_once_under_load_loses_nothing() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use crate::support::chaos::Chaos;
    use crate::support::random::Random;

    const SHORT: Duration = Duration::from_millis(30);
    for (round, tiny) in [false, true, true].into_iter().enumerate() {
        let test = TestPool::built(&server().url(), |builder| {
            let builder =
                builder.limit(6).acquire_timeout(Duration::from_secs(20)).session_reset(SessionReset::Lazy);
            if tiny {
                builder
                    .max_lifetime(Duration::from_millis(50))
                    .idle_timeout(Duration::from_millis(20))
                    .ping_after_idle(Duration::from_millis(5))
                    .max_hold(Duration::from_millis(400))
                    .leak_warning(Duration::from_millis(100))
                    .min_idle(2)
            } else {
                builder
            }
        });
        let over = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let chaos = Chaos::default();
        let mut random = Random::new();
        let worker = |mut random: Random| {
            let (db, over, done) = (Database::from(test.pool.clone()), over.clone(), done.clone());
            spawn(move || {
                let pool = db.pool().expect("a pool");
                while !over.load(Ordering::Relaxed) {
                    let number = i32::try_from(random.below(1_000_000)).expect("small");
                    let result = match random.below(9) {
                        0 => db
                            .query("SELECT $1::int", (number,))
                            .value::<i32>()
                            .map(|answer| assert_eq!(answer, number)),
                        1 => db
                            .query("SELECT $1::int, pg_sleep(0.1)::text", (number,))
                            .timeout(SHORT)
                            .run()
                            .map(drop),
                        2 => pool.connection().and_then(|lease| {
                            lease
                                .query("SELECT $1::int", (number,))
                                .value::<i32>()
                                .map(|answer| assert_eq!(answer, number))
                        }),
                        3 => db.transaction(|q| {
                            q.query("SELECT $1::int", (number,)).later()?;
                            q.query("SELECT $1::int", (number,))
                                .value::<i32>()
                                .map(|answer| assert_eq!(answer, number))
                        }),
                        4 => db
                            .query("SELECT generate_series(1, $1::int)", (2_000,))
                            .chunk(100)
                            .iter::<i32>()
                            .take(random.below(400))
                            .try_for_each(|row| row.map(drop)),
                        5 => pool.connection_within(Duration::from_millis(1 + random.next() % 10)).map(drop),
                        6 => pool.connection().and_then(|lease| {
                            let handle = lease.cancel_handle();
                            let cancelling = spawn(move || handle.cancel().is_ok());
                            let result = lease.query("SELECT $1::int", (number,)).value::<i32>();
                            drop(lease);
                            let _ = cancelling.join();
                            result.map(|answer| assert_eq!(answer, number))
                        }),
                        7 => pool.connection().and_then(|lease| {
                            lease.script("SET work_mem = '1MB'; CREATE TEMP TABLE t (id int); SELECT 1")
                        }),
                        _ => pool.connection().and_then(|lease| {
                            lease.query("SELECT $1::int", (number,)).value::<i32>()?;
                            rest(Duration::from_micros(random.next() % 5_000));
                            lease.script("BEGIN")
                        }),
                    };
                    if let Err(error) = result {
                        let told = format!("{error:?}");
                        assert!(!told.contains("already exists"), "not reset: {told}");
                        if error.sqlstate() == Some("57014") {
                            assert!(
                                error.is_timeout()
                                    || told.contains("canceling statement due to user request"),
                                "{told}"
                            );
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let spawned = |random: &mut Random| {
            let handle = worker(random.fork());
            chaos.expose(&handle);
            handle
        };
        let mut workers: Vec<_> = (0..16).map(|_| spawned(&mut random)).collect();
        let seen = done.clone();
        let cancelling = chaos.start(random.fork(), move || seen.load(Ordering::Relaxed) / 40);
        let mut client = test.client();
        let start = Instant::now();
        let mut told = 0;
        while start.elapsed() < Duration::from_secs(6) {
            match random.below(8) {
                0 => {
                    test.pool.pause();
                    std::thread::sleep(Duration::from_micros(random.next() % 10_000));
                    test.pool.resume();
                }
                1 | 2 => test.pool.resize(1 + random.below(8)).expect("a number"),
                3 => test.pool.clear(),
                4 => drop(test.pool.warm(1, Duration::from_millis(50))),
                5 => {
                    let name = &test.name;
                    let sql = format!(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' LIMIT 1"
                    );
                    client.query(&sql).expect("an answer");
                }
                6 => {
                    let name = &test.name;
                    let sql = format!(
                        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
                    );
                    client.query(&sql).expect("an answer");
                }
                _ => std::thread::sleep(Duration::from_micros(random.next() % 20_000)),
            }
            for _ in 0..50 {
                let stats = test.pool.stats();
                let sum = stats.lent + stats.idle + stats.opening + stats.cleaning + stats.free;
                assert!(sum >= stats.limit, "{stats:?}");
            }
            workers.retain_mut(|worker| !worker.is_done());
            while workers.len() < 16 {
                workers.push(spawned(&mut random));
            }
            told += 1;
        }
        over.store(true, Ordering::Relaxed);
        chaos.stop();
        cancelling.join().expect("no panic");
        test.pool.resize(6).expect("a number");
        for worker in workers {
            if let Err(panic) = worker.join() {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied());
                assert!(text.is_none(), "a worker panicked: {text:?}");
            }
        }
        println!(
            "round {round}: {} done, {told} commands, {:?}",
            done.load(Ordering::Relaxed),
            test.pool.stats()
        );
        if tiny {
            eventually("nothing is out", || {
                let stats = test.pool.stats();
                stats.lent + stats.waiting == 0 && stats.idle + stats.cleaning >= 1
            });
            test.pool.close(Duration::from_secs(10));
            eventually("no session remains", || test.sessions("") == 0);
        } else {
            test.finish();
        }
    }
}

/// A pool is closed while everything is under way; whoever waits for that is told the truth in time, and nothing remains.
#[test]
fn a_pool_that_is_closed_while_everything_is_under_way_leaves_nothing() {
    use crate::support::chaos::cancel;
    for round in 0..6_u64 {
        let test = TestPool::built(&server().url(), |builder| {
            builder
                .limit(8)
                .max_connecting(4)
                .ping_after_idle(Duration::from_millis(3))
                .acquire_timeout(Duration::from_secs(20))
        });
        let mut leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
        let holder = leases.pop().expect("two");
        // A clean-up, an errand that runs, callers that wait, pings and opens.
        leases.pop().expect("two").script("BEGIN").expect("begun");
        let askers: Vec<_> = (0..20)
            .map(|number| {
                let db = Database::from(test.pool.clone());
                spawn(move || {
                    db.query("SELECT pg_sleep($1)::text", (if number % 2 == 0 { 0.01 } else { 20.0 },))
                        .value::<String>()
                        .map(drop)
                })
            })
            .collect();
        let pool = test.pool.clone();
        let streaming = spawn(move || {
            let lease = pool.connection()?;
            lease
                .query("SELECT generate_series(1, 100000000)", ())
                .chunk(10)
                .iter::<i32>()
                .try_for_each(|row| row.map(drop))
        });
        std::thread::sleep(Duration::from_millis(round * 7));
        let (first, second) = (test.pool.clone(), test.pool.clone());
        let limit = Duration::from_millis(300);
        let closing = spawn(move || {
            let report = first.close(limit);
            drop(holder);
            report
        });
        let cancelled = spawn(move || second.close(None));
        std::thread::sleep(Duration::from_millis(20));
        cancel(&cancelled);
        assert!(cancelled.join().is_err(), "it waits for leases");
        let start = Instant::now();
        let report = closing.join().expect("no panic");
        println!("{report:?}, {:?}", test.pool.stats());
        assert!(report.cut >= 1 && start.elapsed() < Duration::from_secs(3), "{report:?}");
        let mut failed = 0;
        for asker in askers {
            failed += usize::from(asker.join().expect("no panic").is_err());
        }
        assert!(failed >= 10);
        streaming.join().expect("no panic").expect_err("it is endless");
        assert!(test.pool.close(None).cut == 0 && test.pool.is_drained());
        eventually("no session remains", || test.sessions("") == 0);
        let stats = test.pool.stats();
        assert_eq!((stats.free, stats.waiting), (stats.limit, 0), "{stats:?}");
    }
}

/// The last handle of a pool is dropped while leases, clean-ups, opens and errands live.
#[test]
fn a_pool_whose_handles_are_dropped_goes_with_its_last_lease() {
    for round in 0..5_u64 {
        let name = format!("dropped pool {round}");
        let config: maypole::Config = server().url().parse().expect("a good URL");
        crate::support::pool::prepare();
        let pool = maypole::Pool::builder()
            .config(config.application_name(&name))
            .limit(4)
            .min_idle(2)
            .ping_after_idle(Duration::from_millis(3))
            .build()
            .expect("a pool");
        let lease = pool.connection().expect("lent");
        pool.connection().expect("lent").script("BEGIN").expect("begun");
        let db = Database::from(pool.clone());
        let errand = spawn(move || db.query("SELECT pg_sleep(0.2)::text", ()).value::<String>().map(drop));
        let handle = lease.cancel_handle();
        std::thread::sleep(Duration::from_millis(round * 3));
        drop(pool);
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("it lives"), 1);
        lease.transaction(|q| q.query("SELECT 1", ()).value::<i32>()).expect("it lives");
        errand.join().expect("no panic").expect("an answer");
        drop(lease);
        handle.cancel().expect_err("it has ended");
        let mut client =
            crate::support::client::Client::connect(&server().url()).expect("the server answers");
        eventually("no session remains", || {
            client
                .value(&format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'"))
                .expect("a count")
                == "0"
        });
    }
}

/// Commands in odd orders.
#[test]
fn commands_in_any_order_leave_a_pool_that_is_what_it_was_told_last() {
    let test = TestPool::new(3);
    test.pool.pause();
    test.pool.pause();
    test.pool.resize(5).expect("a number");
    test.pool.clear();
    let waiting: Vec<_> = (0..10)
        .map(|number: i32| {
            let db = Database::from(test.pool.clone());
            spawn(move || {
                db.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| assert_eq!(answer, number))
            })
        })
        .collect();
    eventually("they wait", || test.pool.stats().waiting == 10);
    assert_eq!(test.pool.stats().opening, 0);
    let error = test.pool.warm(2, Duration::from_millis(30)).expect_err("paused");
    assert!(error.is_timeout(), "{error:?}");
    test.pool.resize(2).expect("a number");
    test.pool.resume();
    test.pool.resume();
    for waiter in waiting {
        waiter.join().expect("no panic").expect("an answer");
    }
    test.finish();
    // Paused while all are lent, cleared, shrunk, and given back.
    let leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
    test.pool.pause();
    test.pool.resize(1).expect("a number");
    leases[0].script("BEGIN").expect("begun");
    drop(leases);
    eventually("one is left", || test.sessions("") == 1 && test.pool.stats().idle == 1);
    test.pool.clear();
    eventually("none is left", || test.sessions("") == 0);
    test.pool.resize(4).expect("a number");
    let pool = test.pool.clone();
    let waiter = spawn(move || pool.connection_within(None).map(drop).expect_err("closed"));
    eventually("it waits", || test.pool.stats().waiting == 1);
    // Closing while paused.
    let report = test.pool.close(Duration::from_secs(5));
    assert_eq!((report.finished, report.cut), (0, 0));
    waiter.join().expect("no panic");
    test.pool.resume();
    test.pool.resize(6).expect("a number");
    test.pool.clear();
    test.pool.warm(1, Duration::from_secs(5)).expect_err("closed");
    test.pool.connection().expect_err("closed");
    assert!(test.pool.is_drained());
    eventually("no session remains", || test.sessions("") == 0);
}

/// Workers that end in every way, while others spawn, cancel and join: nobody waits for ever, and each is reported once.
#[test]
fn workers_that_end_in_every_way_are_each_reported_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let test = TestPool::new(2);
    for round in 0..30 {
        let workers = maypole::workers(4).expect("a set");
        let begun = Arc::new(AtomicUsize::new(0));
        let spawners: Vec<_> = (0..3)
            .map(|spawner: usize| {
                let (workers, pool, begun) = (workers.clone(), test.pool.clone(), begun.clone());
                std::thread::spawn(move || {
                    let mut spawned = 0_usize;
                    for number in 0..40 {
                        let (pool, begun, inner) = (pool.clone(), begun.clone(), workers.clone());
                        let result = workers.spawn(move || {
                            begun.fetch_add(1, Ordering::SeqCst);
                            let lease = pool.connection().expect("lent");
                            match (number + spawner) % 10 {
                                0 => panic!("on purpose"),
                                1 => drop(lease.script("BEGIN")),
                                2 => {
                                    // Who waits for a place must hold nothing that those who have one wait for.
                                    drop(lease);
                                    drop(inner.spawn(|| ()));
                                }
                                3 => drop(inner.join()),
                                4 => drop(inner.try_spawn(|| ())),
                                5 if number == 35 => drop(std::hint::black_box(deeper(&mut [0; 512]))),
                                _ => drop(lease.query("SELECT 1", ()).value::<i32>()),
                            }
                        });
                        spawned += usize::from(result.is_ok());
                    }
                    spawned
                })
            })
            .collect();
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(round));
            workers.cancel();
            workers.cancel();
        }
        let spawned: usize = spawners.into_iter().map(|spawner| spawner.join().expect("no panic")).sum();
        let first = workers.join().expect("joined");
        let second = workers.join().expect("joined");
        assert_eq!(workers.live(), 0);
        assert_eq!((second.finished, second.panicked), (0, 0), "{second:?}");
        if round == 0 || round == 29 {
            println!("{spawned} spawned, {first:?}");
        }
        drop(workers);
    }
    test.finish();
}

/// Whoever closes a pool and is told that nothing is left finds it so.
#[test]
fn a_pool_that_says_that_it_is_drained_stays_so() {
    for round in 0..150_u64 {
        let test = TestPool::new(2);
        let leases: Vec<_> = (0..2).map(|_| test.pool.connection().expect("lent")).collect();
        let dropping: Vec<_> = leases
            .into_iter()
            .map(|lease| {
                let pool = test.pool.clone();
                std::thread::spawn(move || {
                    while !pool.is_closed() {
                        std::hint::spin_loop();
                    }
                    (0..round * 200).for_each(|_| std::hint::spin_loop());
                    drop(lease);
                })
            })
            .collect();
        test.pool.close(None);
        assert!(test.pool.is_drained(), "round {round}");
        dropping.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(test.pool.is_drained(), "round {round}");
    }
}
