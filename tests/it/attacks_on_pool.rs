//! What was tried to make the pool lose a slot, lend twice, kill what is used, or say what is not so.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use maypole::{Database, Lease, SessionReset, spawn};

use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::rest::rest;
use crate::support::server::server;

/// A lease that was handed to somebody else is given back by that one: whoever borrowed it may wait for another.
#[test]
fn a_coroutine_that_has_handed_its_lease_on_may_wait_for_another() {
    let test = TestPool::new(1);
    let (give, take) = may::sync::mpsc::channel::<Lease>();
    let pool = test.pool.clone();
    let holder = spawn(move || {
        let lease = take.recv().expect("handed on");
        rest(Duration::from_millis(100));
        drop(lease);
    });
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        give.send(lease).expect("it is waited for");
        pool.connection_within(Duration::from_secs(20)).expect("the other gives it back");
    });
    holder.join().expect("no panic");
    test.finish();
}

/// The identity of a thread comes again once it has ended.
#[test]
fn a_thread_is_not_taken_for_one_that_has_ended_and_has_handed_its_lease_on() {
    let test = TestPool::new(1);
    for _ in 0..20 {
        let pool = test.pool.clone();
        let lease = std::thread::spawn(move || {
            let lease = pool.connection().expect("lent");
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            lease
        })
        .join()
        .expect("no panic");
        let pool = test.pool.clone();
        let other = std::thread::spawn(move || {
            pool.connection_within(Duration::from_millis(30)).map(drop).expect_err("it is lent")
        });
        let error = other.join().expect("no panic");
        assert!(error.is_timeout(), "it holds nothing: {error:?}");
        assert!(error.exhausted().expect("details").own_lease.is_none(), "{error:?}");
        drop(lease);
    }
    test.finish();
}

/// The identity of a coroutine comes again once it has ended: whoever has it then and uses the lease is not the one that ended.
#[test]
fn a_lease_that_is_used_by_another_is_not_taken_back_although_its_borrower_has_ended() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).leak_warning(Duration::from_millis(150)).acquire_timeout(Duration::from_secs(30))
    });
    for _ in 0..5 {
        let (give, take) = mpsc::channel::<Lease>();
        let pool = test.pool.clone();
        let origin = may::go!(move || {
            let lease = pool.connection().expect("lent");
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            give.send(lease).expect("it is waited for");
        });
        origin.join().expect("no panic");
        let lease = take.recv().expect("handed on");
        let user = may::go!(move || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(500) {
                lease.query("SELECT pg_sleep(0.02)::text", ()).value::<String>()?;
            }
            Ok::<(), maypole::Error>(())
        });
        user.join().expect("no panic").expect("it is in use");
    }
    test.finish();
}

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

/// The next borrower does not pay for a limit that the last one has set.
#[test]
fn a_statement_timeout_that_was_left_behind_does_not_hit_the_reset() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).session_reset(SessionReset::Lazy).acquire_timeout(Duration::from_secs(30))
    });
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let tables: String =
            (0..300).map(|n| format!("CREATE TEMP TABLE left_{n} (id int PRIMARY KEY);")).collect();
        lease.script(&tables).expect("created");
        lease.script("SET statement_timeout = '3ms'").expect("set");
    });
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
    assert_eq!(test.pool.stats().closed, 0);
    test.finish();
}

/// Requirement 8: a request of its own beside a lease names the lease.
#[test]
fn a_query_beside_a_lease_names_the_lease_when_it_waits_in_vain() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).acquire_timeout(Duration::from_millis(200))
    });
    let db = Database::from(test.pool.clone());
    test.db.query("SELECT 1", ()).value::<i32>().expect("an answer");
    in_coroutine(move || {
        let lease = db.pool().expect("a pool").connection().expect("lent");
        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
        let error = db.query("SELECT 1", ()).value::<i32>().expect_err("all are lent");
        let exhausted = error.exhausted().expect("details");
        assert!(exhausted.own_lease.is_some(), "{error}");
        assert!(exhausted.waited >= Duration::from_millis(200), "{exhausted:?}");
    });
    test.finish();
}

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

/// The same where identities come again: those that start the users have the memory of those that ended.
#[test]
fn leases_that_are_used_by_others_are_not_taken_back_although_their_borrowers_have_ended() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(8).leak_warning(Duration::from_millis(150)).acquire_timeout(Duration::from_secs(30))
    });
    let pool = test.pool.clone();
    in_coroutine(move || {
        for _ in 0..3 {
            let origins: Vec<_> = (0..8)
                .map(|_| {
                    let pool = pool.clone();
                    may::go!(move || {
                        let lease = pool.connection().expect("lent");
                        assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
                        (lease, generator::get_local_data().addr())
                    })
                })
                .collect();
            let (leases, before): (Vec<Lease>, Vec<usize>) =
                origins.into_iter().map(|origin| origin.join().expect("no panic")).unzip();
            rest(Duration::from_millis(20));
            let users: Vec<_> = leases
                .into_iter()
                .zip(before.clone())
                .map(|(lease, _)| {
                    may::go!(move || {
                        let start = Instant::now();
                        let own = generator::get_local_data().addr();
                        while start.elapsed() < Duration::from_millis(500) {
                            if let Err(error) =
                                lease.query("SELECT pg_sleep(0.02)::text", ()).value::<String>()
                            {
                                return (own, Err(error));
                            }
                        }
                        (own, Ok(()))
                    })
                })
                .collect();
            for (user, before) in users.into_iter().zip(before) {
                let (own, result) = user.join().expect("no panic");
                println!("{before:x} {own:x}");
                result.expect("it is in use");
            }
        }
    });
    test.finish();
}

const TINY: Duration = Duration::from_millis(120);

/// `max_hold` in the middle of whatever the holder does: it hears of it, the slot is free at once, and later uses fail.
#[test]
fn a_lease_that_is_revoked_fails_wherever_its_holder_is_and_its_slot_is_free() {
    type Way = fn(&Lease) -> maypole::Result<()>;
    let ways: [(&str, Way); 8] = [
        ("in a query", |lease| lease.query("SELECT pg_sleep(30)::text", ()).value::<String>().map(drop)),
        ("in a script", |lease| lease.script("SELECT 1; SELECT pg_sleep(30)")),
        ("in a stream", |lease| {
            let mut seen = 0;
            for row in lease.query("SELECT generate_series(1, 100000)", ()).chunk(10).iter::<i32>() {
                row?;
                seen += 1;
                if seen % 10 == 0 {
                    rest(Duration::from_millis(20));
                }
            }
            Ok(())
        }),
        ("between statements", |lease| {
            rest(TINY * 4);
            lease.query("SELECT 1", ()).value::<i32>().map(drop)
        }),
        ("in a transaction", |lease| {
            lease
                .transaction(|q| {
                    q.query("SELECT 1", ()).value::<i32>()?;
                    q.query("SELECT pg_sleep(30)::text", ()).value::<String>()
                })
                .map(drop)
        }),
        ("in a transaction, between statements", |lease| {
            lease.transaction(|q| {
                q.query("SELECT 1", ()).value::<i32>()?;
                rest(TINY * 4);
                Ok(())
            })
        }),
        ("in a transaction that swallows it", |lease| {
            lease.transaction(|q| {
                q.query("SELECT 1", ()).value::<i32>()?;
                let _ = q.savepoint(|q| q.query("SELECT pg_sleep(30)::text", ()).value::<String>());
                let _ = q.query("SELECT 2", ()).later();
                Ok(())
            })
        }),
        ("while it is cancelled", |lease| {
            let error = lease
                .query("SELECT pg_sleep(30)::text", ())
                .timeout(TINY)
                .value::<String>()
                .expect_err("late");
            rest(TINY * 4);
            lease.query("SELECT 1", ()).value::<i32>().map(drop).and(Err(error))
        }),
    ];
    for (way, act) in ways {
        let test = TestPool::built(&server().url(), |builder| {
            builder.limit(1).max_hold(TINY).acquire_timeout(Duration::from_secs(20))
        });
        let pool = test.pool.clone();
        in_coroutine(move || {
            let lease = pool.connection().expect("lent");
            let start = Instant::now();
            let error = act(&lease).expect_err(way);
            println!("{way}: {:?} {error:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(10), "{way}");
            let again = lease.query("SELECT 1", ()).value::<i32>().expect_err("it was taken away");
            assert!(again.is_closed(), "{again:?}");
            let again =
                lease.transaction(|q| q.query("SELECT 1", ()).value::<i32>()).expect_err("it was taken away");
            assert!(again.is_closed(), "{again:?}");
            assert!(lease.cancel_handle().cancel().is_err());
            // The slot is another's already.
            let other = pool.connection().expect("the slot is free");
            assert_eq!(other.query("SELECT 2", ()).value::<i32>().expect("an answer"), 2);
            drop(lease);
            assert_eq!(other.query("SELECT 3", ()).value::<i32>().expect("an answer"), 3, "{way}");
        });
        eventually("the server has stopped it", || test.sessions("AND state = 'active'") == 0);
        assert_eq!(test.pool.stats().lent, 0, "{way}");
        test.pool.resize(1).expect("a number");
        // The probe holds its leases no longer than that.
        test.finish();
    }
}

/// A revoked transaction is not run for ever again, and what it did is not there.
#[test]
fn a_transaction_that_is_revoked_is_told_that_it_was_rolled_back() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(2).max_hold(TINY).acquire_timeout(Duration::from_secs(20))
    });
    test.db.script("CREATE TABLE revoked_transactions (id int)").expect("created");
    let db = Database::from(test.pool.clone());
    in_coroutine(move || {
        let mut runs = 0;
        let start = Instant::now();
        let error = db
            .transaction(|q| {
                runs += 1;
                q.query("INSERT INTO revoked_transactions VALUES (1)", ()).run()?;
                q.query("SELECT pg_sleep(30)::text", ()).value::<String>()
            })
            .expect_err("revoked");
        println!("{runs} runs in {:?}: {error:?}", start.elapsed());
        assert!(error.is_closed() || error.is_pool(), "{error:?}");
        let error = db
            .transaction(|q| {
                q.query("INSERT INTO revoked_transactions VALUES (1)", ()).run()?;
                rest(TINY * 4);
                Ok(())
            })
            .expect_err("revoked before COMMIT");
        println!("{error:?} {:?}", error.outcome());
        assert!(
            matches!(error.outcome(), maypole::Outcome::RolledBack | maypole::Outcome::NotSent),
            "{error:?}"
        );
        assert_eq!(
            db.query("SELECT count(*) FROM revoked_transactions", ()).value::<i64>().expect("an answer"),
            0
        );
    });
    test.db.script("DROP TABLE revoked_transactions").expect("dropped");
    test.finish();
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
                        0 => db.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| assert_eq!(answer, number)),
                        1 => db.query("SELECT $1::int, pg_sleep(0.1)::text", (number,)).timeout(SHORT).run().map(drop),
                        2 => pool.connection().and_then(|lease| {
                            lease.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| assert_eq!(answer, number))
                        }),
                        3 => db.transaction(|q| {
                            q.query("SELECT $1::int", (number,)).later()?;
                            q.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| assert_eq!(answer, number))
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
                            lease.script("SET application_name = application_name; CREATE TEMP TABLE t (id int); SELECT 1")
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
