//! What is left behind in a session, and statements that are late.

use super::*;

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
    type Leave = fn(&Lease) -> maypole::Result<()>;
    let leave: [(&str, Leave); 5] = [
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
