//! Leases that are handed on, lost, revoked and forgotten, and handles of them.

use super::*;

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

/// A request of its own has a limit of its own, which is not that of leases.
#[test]
fn a_query_of_its_own_is_no_lease_that_is_held_too_long() {
    let test =
        TestPool::built(&server().url(), |builder| builder.limit(1).max_hold(Duration::from_millis(100)));
    test.db.query("SELECT pg_sleep($1)::text", (0.0,)).value::<String>().expect("an answer");
    let result = test.db.query("SELECT pg_sleep($1)::text", (0.5,)).value::<String>();
    result.expect("nobody holds a lease");
    test.finish();
}
