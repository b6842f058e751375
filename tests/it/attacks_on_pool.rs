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

fn lazy(limit: usize) -> TestPool {
    TestPool::built(&server().url(), |builder| {
        builder.limit(limit).session_reset(SessionReset::Lazy).acquire_timeout(Duration::from_secs(30))
    })
}

/// What is left behind in a session.
const LEFT: &str = "(SELECT current_setting('work_mem') || ' ' || current_setting('role') || ' ' || current_user || ' ' ||
    current_setting('search_path') || ' ' || (SELECT count(*) FROM pg_listening_channels()) || ' ' ||
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) || ' ' ||
    (SELECT count(*) FROM pg_cursors WHERE is_holdable) || ' ' ||
    (SELECT count(*) FROM pg_class WHERE relname IN ('left_behind') AND relpersistence = 't' AND relnamespace = pg_my_temp_schema()) || ' ' ||
    current_setting('default_transaction_read_only') || ' ' || current_setting('statement_timeout') || ' ' || current_setting('default_transaction_isolation'))";

/// Whatever a borrower leaves behind, by whatever way the next one asks.
#[test]
fn what_a_borrower_leaves_behind_is_gone_whatever_the_next_one_does() {
    type Way = fn(&Database) -> maypole::Result<String>;
    let ways: [(&str, Way); 9] = [
        ("an errand", |db| db.query(&format!("SELECT {LEFT}"), ()).value::<String>()),
        ("a lease", |db| db.pool()?.connection()?.query(&format!("SELECT {LEFT}"), ()).value::<String>()),
        ("a stream", |db| {
            let sql = format!("SELECT {LEFT}");
            let mut rows = db.query(&sql, ()).chunk(1).iter::<String>();
            rows.next().expect("a row")
        }),
        ("a transaction", |db| db.transaction(|q| q.query(&format!("SELECT {LEFT}"), ()).value::<String>())),
        ("a transaction that begins with a stream", |db| {
            db.transaction(|q| {
                let sql = format!("SELECT {LEFT}");
                let first = q.query(&sql, ()).chunk(1).iter::<String>().next();
                first.expect("a row")
            })
        }),
        ("a transaction that begins with what is sent along", |db| {
            db.transaction(|q| {
                q.query("SELECT 1", ()).later()?;
                q.query(&format!("SELECT {LEFT}"), ()).value::<String>()
            })
        }),
        ("a transaction that begins with a script", |db| {
            db.transaction(|q| {
                q.script("SELECT 1")?;
                q.query(&format!("SELECT {LEFT}"), ()).value::<String>()
            })
        }),
        ("a script that begins with COMMIT", |db| {
            let lease = db.pool()?.connection()?;
            lease.script("COMMIT; SELECT 1")?;
            lease.query(&format!("SELECT {LEFT}"), ()).value::<String>()
        }),
        ("a script that begins with ROLLBACK", |db| {
            let lease = db.pool()?.connection()?;
            lease.script("ROLLBACK; BEGIN; COMMIT; SELECT 1")?;
            lease.query(&format!("SELECT {LEFT}"), ()).value::<String>()
        }),
    ];
    let test = lazy(1);
    let fresh = test.db.query(&format!("SELECT {LEFT}"), ()).value::<String>().expect("an answer");
    println!("{fresh}");
    test.db.script("DROP ROLE IF EXISTS left_behind; CREATE ROLE left_behind").expect("created");
    let leave: [(&str, fn(&Lease) -> maypole::Result<()>); 5] = [
        ("settings and objects", |lease| {
            lease.script(
                "CREATE TEMP TABLE left_behind (id int); LISTEN left_behind; SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712);
                 SET work_mem = '77MB'; SET search_path = pg_catalog; SET statement_timeout = '50ms'",
            )?;
            lease.script("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 100); COMMIT")
        }),
        ("a role and read only", |lease| {
            lease.script(
                "CREATE TEMP TABLE left_behind (id int); SET ROLE left_behind; SET default_transaction_read_only = on; SET default_transaction_isolation = 'serializable'; SET default_transaction_deferrable = on",
            )
        }),
        ("a session authorization", |lease| lease.script("SET SESSION AUTHORIZATION left_behind; LISTEN x")),
        ("an open transaction", |lease| {
            lease.script("BEGIN; SET work_mem = '77MB'; CREATE TEMP TABLE left_behind (id int); LISTEN x")
        }),
        ("a failed one", |lease| {
            lease.script("SET work_mem = '77MB'; BEGIN; SAVEPOINT a")?;
            lease.script("SELECT 1/0").expect_err("a division by zero");
            Ok(())
        }),
    ];
    for (what, act) in leave {
        for (way, ask) in ways {
            for again in 0..2 {
                let pool = test.pool.clone();
                let db = Database::from(test.pool.clone());
                let left = in_coroutine(move || {
                    let lease = pool.connection().expect("lent");
                    act(&lease).expect(what);
                    drop(lease);
                    ask(&db)
                });
                match left {
                    Ok(left) => assert_eq!(left, fresh, "{what}, {way}, {again}"),
                    Err(error) => panic!("{what}, {way}, {again}: {error:?}"),
                }
            }
        }
    }
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (1, 0), "{stats:?}");
    test.finish();
    test.db.script("DROP ROLE left_behind").expect("dropped");
}

/// A statement keeps its meaning: that which a session was told while another path or a temporary table was in force is told anew.
#[test]
fn a_prepared_statement_means_the_same_after_a_reset() {
    let test = lazy(1);
    test.db
        .script(
            "CREATE SCHEMA meaning_a; CREATE SCHEMA meaning_b; CREATE TABLE meaning_a.m (id int); CREATE TABLE meaning_b.m (id int);
             INSERT INTO meaning_a.m VALUES (1); INSERT INTO meaning_b.m VALUES (2); CREATE TABLE public.m (id int); INSERT INTO public.m VALUES (3)",
        )
        .expect("created");
    let pool = test.pool.clone();
    let db = Database::from(test.pool.clone());
    in_coroutine(move || {
        let ask = || db.query("SELECT id FROM m", ()).value::<i32>().expect("an answer");
        for round in 0..3 {
            assert_eq!(ask(), 3, "{round}");
            {
                let lease = pool.connection().expect("lent");
                lease.script("SET search_path = meaning_a").expect("set");
                assert_eq!(lease.query("SELECT id FROM m", ()).value::<i32>().expect("an answer"), 1);
            }
            assert_eq!(ask(), 3, "{round}");
            {
                let lease = pool.connection().expect("lent");
                lease
                    .query("SELECT set_config('search_path', 'meaning_b', false)", ())
                    .value::<String>()
                    .expect("set");
                assert_eq!(lease.query("SELECT id FROM m", ()).value::<i32>().expect("an answer"), 2);
            }
            assert_eq!(ask(), 3, "{round}");
            {
                let lease = pool.connection().expect("lent");
                lease.script("SELECT 4 AS id INTO TEMP m").expect("created");
                // PostgreSQL itself keeps a plan whose table is hidden later: another text.
                let sql = format!("SELECT id FROM m -- {round}");
                assert_eq!(lease.query(&sql, ()).value::<i32>().expect("an answer"), 4);
                drop(lease);
                assert_eq!(db.query(&sql, ()).value::<i32>().expect("an answer"), 3);
            }
            assert_eq!(ask(), 3, "{round}");
            db.transaction(|q| {
                q.script("SET LOCAL search_path = meaning_b")?;
                assert_eq!(q.query("SELECT id FROM m", ()).value::<i32>()?, 2);
                Ok(())
            })
            .expect("committed");
            assert_eq!(ask(), 3, "{round}");
        }
    });
    test.db
        .script("DROP SCHEMA meaning_a CASCADE; DROP SCHEMA meaning_b CASCADE; DROP TABLE public.m")
        .expect("dropped");
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

/// Whose 57014 it is, and that what comes next is not hit.
#[test]
fn the_servers_own_limits_are_told_from_ours() {
    let test =
        TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(Duration::from_secs(30)));
    let pool = test.pool.clone();
    let url = test.name.clone();
    let mut client = test.client();
    let cancelling = std::thread::spawn(move || {
        // Somebody else cancels what this pool runs, every few milliseconds.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let sql = format!(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = '{url}' AND state = 'active' AND query LIKE '%pg_sleep(11)%'"
            );
            client.query(&sql).expect("an answer");
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let start = Instant::now();
        let mut theirs = 0;
        while start.elapsed() < Duration::from_secs(1) {
            let error = lease
                .query("SELECT pg_sleep(11)::text", ())
                .timeout(Duration::from_secs(30))
                .value::<String>()
                .expect_err("cancelled");
            assert!(error.sqlstate() == Some("57014") && !error.is_timeout(), "{error:?}");
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            theirs += 1;
        }
        println!("{theirs}");
        drop(lease);
        let lease = pool.connection().expect("lent");
        lease.script("SET statement_timeout = '30ms'").expect("set");
        let error = lease
            .query("SELECT pg_sleep(12)::text", ())
            .timeout(Duration::from_secs(30))
            .value::<String>()
            .expect_err("cancelled");
        assert!(error.sqlstate() == Some("57014") && !error.is_timeout(), "{error:?}");
        lease.script("SET statement_timeout = 0").expect("set");
        lease.query("SELECT pg_sleep($1)::text", (0.0,)).value::<String>().expect("warm");
        for limit in
            [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(1), Duration::from_millis(7)]
        {
            for _ in 0..10 {
                let error = lease
                    .query("SELECT pg_sleep($1)::text", (1.0,))
                    .timeout(limit)
                    .value::<String>()
                    .expect_err("late");
                assert!(error.is_timeout(), "{error:?}");
                assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
                let error = lease
                    .transaction(|q| {
                        q.query("SELECT 1", ()).later()?;
                        let inner = q.savepoint(|q| {
                            q.query("SELECT 2", ()).later()?;
                            q.query("SELECT pg_sleep($1)::text", (1.0,)).timeout(limit).value::<String>()
                        });
                        let inner = inner.expect_err("late");
                        assert!(inner.is_timeout(), "{inner:?}");
                        assert_eq!(q.query("SELECT 3", ()).value::<i32>()?, 3);
                        q.query("SELECT pg_sleep($1)::text", (1.0,)).later()?;
                        q.query("SELECT 4", ()).timeout(limit).value::<i32>()
                    })
                    .expect_err("late");
                assert!(error.is_timeout(), "{error:?}");
                let error = lease
                    .query("SELECT n, pg_sleep(n)::text FROM generate_series(0, 5) n", ())
                    .chunk(1)
                    .timeout(limit.max(Duration::from_millis(5)))
                    .iter::<(i32, String)>()
                    .find_map(Result::err);
                assert!(error.expect("late").is_timeout());
            }
        }
    });
    cancelling.join().expect("no panic");
    assert_eq!(test.pool.stats().closed, 0, "{:?}", test.pool.stats());
    test.finish();
}

/// Handles that are used by many, at the very moment at which the lease ends, hit nobody else.
#[test]
fn handles_of_a_lease_that_ends_hit_nobody_else() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let test = TestPool::new(2);
    let over = Arc::new(AtomicBool::new(false));
    let handles = Arc::new(std::sync::Mutex::new(Vec::<maypole::CancelHandle>::new()));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (over, handles) = (over.clone(), handles.clone());
            std::thread::spawn(move || {
                let mut sent = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    let handle = handles.lock().expect("no panic").last().cloned();
                    sent += u32::from(handle.is_some_and(|handle| handle.cancel().is_ok()));
                }
                sent
            })
        })
        .collect();
    let pool = test.pool.clone();
    let shown = handles.clone();
    let victim = spawn(move || {
        for round in 0..400 {
            let lease = pool.connection().expect("lent");
            shown.lock().expect("no panic").push(lease.cancel_handle());
            let result = lease.query("SELECT pg_sleep(0.002)::text", ()).value::<String>();
            if let Err(error) = result {
                assert_eq!(error.sqlstate(), Some("57014"), "{error:?}");
            }
            if round % 2 == 0 {
                let _ = lease.script("BEGIN");
            }
            drop(lease);
            shown.lock().expect("no panic").clear();
        }
    });
    let bystanders: Vec<_> = (0..3)
        .map(|_| {
            let (db, over) = (Database::from(test.pool.clone()), over.clone());
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(
                        db.query("SELECT 1, pg_sleep(0.001)::text", ())
                            .first()
                            .map(|row: Option<(i32, String)>| row.expect("a row").0)
                            .expect("never hit"),
                        1
                    );
                }
            })
        })
        .collect();
    victim.join().expect("no panic");
    over.store(true, Ordering::Relaxed);
    let sent: u32 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    for bystander in bystanders {
        bystander.join().expect("no panic");
    }
    println!("{sent} cancels, {:?}", test.pool.stats());
    test.finish();
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

/// A request that is held back while a cancel is under way, and given up meanwhile.
#[test]
fn a_statement_whose_time_was_over_before_it_was_sent_holds_up_nobody() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1));
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let sleep = "SELECT pg_sleep($1)::text";
        lease.query(sleep, (0.0,)).value::<String>().expect("warm");
        for round in 0..5 {
            lease
                .query(sleep, (30.0,))
                .timeout(Duration::from_millis(20))
                .value::<String>()
                .expect_err("late");
            // The fence is up.
            lease.query(sleep, (5.0,)).timeout(Duration::ZERO).value::<String>().expect_err("late");
            let start = Instant::now();
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "round {round}: it ran for {:?}",
                start.elapsed()
            );
        }
    });
    test.finish();
}

/// The same without a fence: a cancel that comes before the statement.
#[test]
fn a_statement_whose_time_is_over_at_once_holds_up_nobody() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1));
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let sleep = "SELECT pg_sleep($1)::text";
        lease.query(sleep, (0.0,)).value::<String>().expect("warm");
        for round in 0..200 {
            lease.query(sleep, (5.0,)).timeout(Duration::ZERO).value::<String>().expect_err("late");
            let start = Instant::now();
            assert_eq!(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "round {round}: it ran for {:?}",
                start.elapsed()
            );
            // The fence is passed.
            std::hint::black_box(lease.query("SELECT 1", ()).value::<i32>().expect("an answer"));
        }
    });
    test.finish();
}

#[allow(unconditional_recursion, reason = "on purpose")]
fn deeper(depth: &mut [u8; 512]) -> u8 {
    let mut frame = std::hint::black_box([1_u8; 512]);
    frame[0] = depth[0];
    deeper(std::hint::black_box(&mut frame)).wrapping_add(frame[1])
}

/// A stack that overflows takes no lease with it that another uses, and every one that nobody does.
#[cfg(target_os = "linux")]
#[test]
fn a_stack_that_overflows_takes_with_it_only_what_is_its_own() {
    for own in [true, false] {
        let test = TestPool::built(&server().url(), |builder| {
            builder.limit(4).leak_warning(Duration::from_millis(200)).acquire_timeout(Duration::from_secs(20))
        });
        let (give, take) = mpsc::channel::<Lease>();
        let (go, gone) = may::sync::mpsc::channel::<()>();
        let pool = test.pool.clone();
        let work = move || {
            let kept = pool.connection().expect("lent");
            assert_eq!(kept.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            let _stream = kept.query("SELECT generate_series(1, 100)", ()).chunk(5).iter::<i32>().next();
            let moved = pool.connection().expect("lent");
            assert_eq!(moved.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            give.send(moved).expect("it is waited for");
            gone.recv().expect("go on");
            let _open = kept.transaction(|q| {
                q.query("SELECT 1", ()).value::<i32>()?;
                std::hint::black_box(deeper(&mut [0; 512]));
                Ok(())
            });
        };
        let deep = if own { spawn(work) } else { may::go!(work) };
        let moved = take.recv().expect("handed on");
        let (begin, begun) = mpsc::channel();
        let user = std::thread::spawn(move || {
            let start = Instant::now();
            assert_eq!(moved.query("SELECT 1", ()).value::<i32>().expect("an answer"), 1);
            begin.send(()).expect("it is waited for");
            while start.elapsed() < Duration::from_secs(1) {
                moved.query("SELECT pg_sleep(0.01)::text", ()).value::<String>().expect("it is in use");
            }
        });
        begun.recv().expect("it is used");
        go.send(()).expect("it is waited for");
        assert!(deep.join().is_err(), "it overflowed");
        eventually("its own lease is taken back", || test.pool.stats().lent <= 1);
        user.join().expect("no panic");
        let stats = test.pool.stats();
        assert_eq!((stats.lent, stats.closes.broken), (0, 1), "{own}: {stats:?}");
        test.finish();
    }
}

/// What is forgotten is revoked in the end, if there is a limit.
#[test]
fn leases_and_rows_that_are_forgotten_come_back_by_max_hold() {
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(3).max_hold(Duration::from_millis(200)).acquire_timeout(Duration::from_secs(20))
    });
    let pool = test.pool.clone();
    in_coroutine(move || {
        std::mem::forget(pool.connection().expect("lent"));
        let lease = pool.connection().expect("lent");
        let mut rows = lease.query("SELECT generate_series(1, 100)", ()).chunk(5).iter::<i32>();
        rows.next().expect("a row").expect("a row");
        std::mem::forget(rows);
        let error = lease.query("SELECT 1", ()).value::<i32>().expect_err("a stream is open");
        println!("{error:?}");
        drop(lease);
        let db = Database::from(pool.clone());
        let mut rows = db.query("SELECT generate_series(1, 100)", ()).chunk(5).iter::<i32>();
        rows.next().expect("a row").expect("a row");
        std::mem::forget(rows);
        eventually_in_coroutine(|| pool.stats().lent == 0);
    });
    let stats = test.pool.stats();
    assert_eq!(stats.closes.revoked, 2, "{stats:?}");
    test.finish();
}

fn eventually_in_coroutine(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10));
        rest(Duration::from_millis(5));
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
            spawn(move || db.query("SELECT $1::int", (number,)).value::<i32>().map(|answer| assert_eq!(answer, number)))
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
