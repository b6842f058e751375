//! What an attacker of the lanes has found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maypole::{Config, Query, TargetSessionAttrs, select, spawn};

use crate::lanes::{Here, Lanes, rode, selects};
use crate::support::eventually::{eventually, eventually_within};
use crate::support::own_server::OwnServer;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Backend, Proxy, nth};
use crate::support::server::server;

fn read_write(here: &Here, server: &OwnServer) -> Lanes {
    let url = server.url();
    here.is(TestPool::of_server(&url, &url, Duration::from_secs(120), |builder, config: Config| {
        builder.config(config.target_session_attrs(TargetSessionAttrs::ReadWrite)).limit(1)
    }))
}

/// A lane overrides the default of the server. When it ends, that counts again, and not what it was when the lane began.
#[test]
fn a_demotion_while_a_session_is_a_lane_is_noticed_when_it_is_lent() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let test = read_write(&DB, &server);
    test.warm(|| who(1).unique().expect("an answer"));
    server.take_writes(false);
    assert!(rode(who(5)), "reading goes on");
    let lease = test.pool.connection().expect("lent");
    assert_eq!(lease.query("SHOW default_transaction_read_only", ()).value::<String>().expect("told"), "on");
    drop(lease);
    eventually("it has left", || test.pool.stats().closes.cleared == 1);
    server.take_writes(true);
    eventually("it is served again", || echo(6).value().is_ok());
    test.finish();
}

#[test]
fn a_demotion_is_noticed_by_a_session_that_was_a_lane_before() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let test = read_write(&DB, &server);
    for _ in 0..3 {
        test.warm(|| who(1).unique().expect("an answer"));
        assert_eq!(DB.query("SELECT 31", ()).value::<i32>().expect("an answer"), 31);
    }
    assert_eq!(test.pool.stats().closed, 0);
    let lease = test.pool.connection().expect("lent");
    server.take_writes(false);
    eventually("it is told", || {
        assert_eq!(lease.query("SELECT 31", ()).value::<i32>().expect("reading goes on"), 31);
        lease.query("SHOW default_transaction_read_only", ()).value::<String>().expect("told") == "on"
    });
    drop(lease);
    eventually("it has left", || test.pool.stats().closes.cleared == 1);
    server.take_writes(true);
    eventually("it is served again", || echo(6).value().is_ok());
    test.finish();
}

/// What a lane always stops is not tried on a lane each time.
#[test]
fn a_select_that_takes_longer_than_a_lane_lets_it_is_tried_on_a_lane_once() {
    selects!(DB);
    #[select(DB, "SELECT :n::int4 FROM pg_sleep(1.1)")]
    fn sleep(n: i32) -> Query<i32>;
    let test = DB.is(TestPool::new(2));
    for n in 0..4 {
        assert_eq!(sleep(n).value().expect("an answer"), n);
    }
    assert_eq!(test.pool.stats().run_alone, 1, "{:?}", test.pool.stats());
    test.finish();
}

/// It waits for itself, and is told so as anybody is who asks for a lease.
#[test]
fn a_select_of_one_who_holds_all_there_is_says_so() {
    selects!(DB);
    let limit = Duration::from_millis(100);
    let test = DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(limit)));
    test.warm(|| echo(1).value().expect("an answer"));
    let pool = test.pool.clone();
    in_coroutine(move || {
        let lease = pool.connection().expect("lent");
        let error = echo(1).value().expect_err("it holds the only one");
        let exhausted = error.exhausted().expect("it says why");
        assert!(exhausted.own_lease.is_some(), "{error:?}");
        drop(lease);
    });
    test.finish();
}

/// An idle connection is there: nobody has to wait for anything.
#[test]
fn who_does_not_want_to_wait_gets_a_seat_on_an_idle_connection() {
    selects!(DB);
    let test =
        DB.is(TestPool::built(&server().url(), |builder| builder.limit(1).acquire_timeout(Duration::ZERO)));
    test.pool.warm(1, Duration::from_secs(20)).expect("opened");
    for n in 0..2_000 {
        test.at_rest();
        assert_eq!(echo(n).value().expect("one is idle"), n);
    }
    test.at_rest();
    let lease = test.pool.connection().expect("lent");
    let start = Instant::now();
    let error = echo(1).value().expect_err("it is lent");
    assert!(error.is_timeout() && start.elapsed() < Duration::from_secs(3), "{error:?}");
    drop(lease);
    test.at_rest();
}

macro_rules! many_selects {
    ($database:ident: $($name:ident = $number:literal),*) => {
        $(
            #[select($database, $number)]
            fn $name(n: i32) -> Query<i32>;
        )*
        const MANY: &[fn(i32) -> Query<'static, i32>] = &[$($name),*];
    };
}

/// A member closes the statement of one before it, and one behind it uses that again.
#[test]
fn a_session_that_keeps_one_statement_answers_groups_of_several_without_leases() {
    selects!(DB);
    many_selects!(DB: m0 = "SELECT :n + 0", m1 = "SELECT :n + 1", m2 = "SELECT :n + 2");
    let one = |config: Config| config.statement_cache_capacity(1);
    let test = DB.is(TestPool::configured(&server().url(), one, |builder| builder.limit(1)));
    for select in MANY {
        test.warm(|| select(1).value().expect("an answer"));
    }
    for round in 0..20 {
        let leases = test.all();
        let ask = move |n: i32| {
            // Each kind twice in a row, then the next.
            let which = (n / 2 + round) % 3;
            MANY[usize::try_from(which).expect("small")](n).value().expect("an answer") - which
        };
        let askers = test.ask_while_all_are_lent(18, ask);
        let lends = test.pool.stats().lends;
        drop(leases);
        for (n, asker) in (0..18).zip(askers) {
            assert_eq!(asker.join().expect("no panic"), n);
        }
        assert_eq!(test.pool.stats().lends, lends, "a member of a group had to lease");
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0));
    test.finish();
}

/// Its caller has gone before its turn came again: it is not left in the queue, where it would keep the pool alive.
#[test]
fn who_has_gone_while_its_lane_died_is_not_seated_again() {
    selects!(DB);
    let server = OwnServer::start(|builder| builder);
    let url = server.url();
    let test = DB.is(TestPool::of_server(&url, &url, Duration::from_secs(120), |builder, config| {
        builder.config(config).limit(1).acquire_timeout(None)
    }));
    #[select(DB, "SELECT :n::int4 FROM pg_sleep(:seconds)")]
    fn sleep(n: i32, seconds: f64) -> Query<i32>;
    test.warm(|| sleep(1, 0.0).value().expect("an answer"));
    let process = who(1).unique().expect("an answer").1;
    test.at_rest();
    // A group of which only one still waits when its session ends.
    let leases = test.all();
    let askers = test.ask_while_all_are_lent(8, |n| {
        sleep(n, 0.9).timeout(Duration::from_millis(if n == 7 { 20_000 } else { 50 })).value()
    });
    drop(leases);
    eventually("the others have gone", || askers[..7].iter().all(maypole::JoinHandle::is_done));
    let waiting = test.pool.stats().waiting;
    let _ = server.client().query(&format!("SELECT pg_terminate_backend({process})"));
    eventually("it is seated again, and no other", || askers[7].is_done() || test.pool.stats().waiting <= 1);
    let _ = waiting;
    for (n, asker) in (0..8).zip(askers) {
        let answer = asker.join().expect("no panic");
        match n {
            7 => assert_eq!(answer.expect("an answer"), 7),
            _ => assert!(answer.expect_err("out of time").is_timeout()),
        }
    }
    assert!(test.pool.stats().sent_again <= 1, "{:?}", test.pool.stats());
    let _ = spawn(|| ()).join();
    test.finish();
}

/// What is undone in front of a group is no change that a select has made, whatever the session was used for before.
#[test]
fn a_reset_behind_a_select_that_had_the_session_for_itself_contradicts_nothing() {
    selects!(DB);
    // Too slow to share a connection.
    #[select(DB, "SELECT :n::int4 + 1 FROM pg_sleep(0.02)")]
    fn alone(n: i32) -> Query<i32>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| who(1).unique().expect("an answer"));
    for _ in 0..3 {
        assert_eq!(alone(1).value().expect("an answer"), 2);
    }
    for zone in ["Etc/GMT+5", "Etc/GMT-5", "Etc/GMT+7"] {
        let lease = test.pool.connection().expect("lent");
        lease.script(&format!("SET TimeZone = '{zone}'; SET DateStyle = 'German'")).expect("set");
        drop(lease);
        assert_eq!(alone(1).value().expect("an answer"), 2);
        assert!(rode(who(1)));
        assert!(rode(who(2)));
        assert_eq!(alone(2).value().expect("an answer"), 3);
        assert!(rode(who(2)));
    }
    let stats = test.pool.stats();
    assert_eq!((stats.opened, stats.closed), (1, 0), "{stats:?}");
    test.finish();
}

/// How long the storm rages.
const STORM: Duration = Duration::from_secs(8);

/// Sessions are killed and the server is restarted and crashes under a crowd. Whatever is answered is right, nobody hangs, and
/// what is not answered says that there was no connection.
#[test]
fn a_crowd_survives_a_server_that_is_restarted_and_whose_sessions_are_killed() {
    selects!(DB);
    #[select(DB, "SELECT repeat(:text, 3), :n::int4")]
    fn text(text: &str, n: i32) -> Query<(String, i32)>;
    #[select(DB, "SELECT i + :n::int4 FROM generate_series(1, :count::int4) AS i")]
    fn several(n: i32, count: i32) -> Query<i32>;
    let mut server = OwnServer::start(|builder| builder);
    let url = server.url();
    let test = DB.is(TestPool::of_server(&url, &url, STORM + Duration::from_secs(60), |builder, config| {
        builder.config(config).limit(6).acquire_timeout(Duration::from_secs(10))
    }));
    test.warm(|| echo(1).value().expect("an answer"));
    let over = Arc::new(AtomicBool::new(false));
    let (right, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..2_000)
        .map(|who| {
            let (over, right, failed) = (over.clone(), right.clone(), failed.clone());
            spawn(move || {
                let mut n = who * 100_000;
                while !over.load(Ordering::Relaxed) {
                    n += 1;
                    let answer = match n % 5 {
                        0 => text(&format!("x{n}"), n)
                            .unique()
                            .map(|got| got == (format!("x{n}").repeat(3), n)),
                        1 => several(n, n % 7)
                            .flat()
                            .map(|got| got == (1..=n % 7).map(|i| i + n).collect::<Vec<_>>()),
                        2 => DB.query("SELECT $1::int4", (n,)).value::<i32>().map(|got| got == n),
                        3 if n % 11 == 0 => match divide(0).value() {
                            Err(error) if error.sqlstate() == Some("22012") => Ok(true),
                            other => other.map(|_| false),
                        },
                        _ => echo(n).value().map(|got| got == n),
                    };
                    match answer {
                        Ok(true) => right.fetch_add(1, Ordering::Relaxed),
                        Ok(false) => panic!("the answer to another question"),
                        Err(error) => {
                            let known = ["57P01", "57P02", "57P03"];
                            let code = error.sqlstate();
                            assert!(code.is_none_or(|code| known.contains(&code)), "{error:?}");
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < STORM {
        round += 1;
        let before = right.load(Ordering::Relaxed);
        eventually_within(Duration::from_secs(20), "it goes on", || {
            right.load(Ordering::Relaxed) > before + 2_000
        });
        match round % 4 {
            0 => server.restart(),
            2 if round % 8 == 6 => server.crash(),
            _ => {
                let sql = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}' AND random() < 0.7",
                    test.name
                );
                let _ = server.client().query(&sql);
            }
        }
    }
    let before = right.load(Ordering::Relaxed);
    eventually_within(Duration::from_secs(20), "it goes on", || {
        right.load(Ordering::Relaxed) > before + 4_000
    });
    over.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("its own answers"));
    let stats = test.pool.stats();
    println!(
        "{} right, {} failed in {round} rounds: {stats:?}",
        right.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed)
    );
    assert!(stats.sent_again > 0, "{stats:?}");
    test.finish();
}

/// A connection that carries selects is there as much as one that is lent.
#[test]
fn a_pool_whose_connections_all_carry_selects_is_warm() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| divide(1).value().expect("an answer"));
    test.at_rest();
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    test.pool.warm(1, Duration::from_millis(300)).expect("it is there");
    held.release();
    assert_eq!(out.join().expect("no panic").expect("an answer"), 2520);
    test.finish();
}

#[test]
fn a_lane_that_is_cut_when_its_pool_is_closed_is_not_taken_for_a_lease_that_was() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 2));
    test.pool.warm(2, Duration::from_secs(20)).expect("opened");
    test.warm(|| divide(1).value().expect("an answer"));
    test.at_rest();
    let lease = test.pool.connection().expect("lent");
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let out = spawn(|| divide(2).value());
    held.wait_hits(1);
    let pool = test.pool.clone();
    let back = std::thread::spawn(move || {
        eventually("it is closed", || pool.is_closed());
        drop(lease);
    });
    let report = test.pool.close(Duration::from_millis(300));
    assert_eq!((report.finished, report.cut), (1, 1), "{report:?}");
    back.join().expect("no panic");
    out.join().expect("no panic").expect_err("cut");
    held.release();
}

/// Nothing says before that its reply is too long.
#[test]
fn a_reply_that_is_too_long_for_its_session_costs_none_of_its_company_their_answers() {
    selects!(DB);
    #[select(DB, "SELECT repeat('x', :n)")]
    fn long(n: i32) -> Query<String>;
    let small = |config: Config| config.max_message_size(40_000);
    let test = DB.is(TestPool::configured(&server().url(), small, |builder| builder.limit(2)));
    test.warm(|| long(3).value().expect("an answer"));
    test.warm(|| echo(3).value().expect("an answer"));
    for round in 0..10 {
        let answers = test.together(20, move |n| {
            if n == round { long(100_000).value().map(|text| text.len()) } else { echo(n).value().map(|_| 0) }
        });
        for (n, answer) in (0..20).zip(answers) {
            match answer {
                Ok(length) => assert!(n != round && length == 0, "{n}: {length}"),
                Err(error) => {
                    assert_eq!(n, round, "{error:?}");
                    assert!(format!("{error:?}").contains("max_message_size"), "{error:?}");
                }
            }
        }
    }
    test.finish();
}

#[select(NOTHING, "SELECT")]
fn nothing() -> Query<()>;

static NOTHING: Here = Here::new();

#[test]
fn selects_of_no_columns_of_nulls_and_of_no_rows_share_a_group() {
    #[select(
        NOTHING,
        "SELECT NULLIF(:n::int4, 3), NULL::text FROM generate_series(1, :n::int4) AS i WHERE i = :n::int4"
    )]
    fn nulls(n: i32) -> Query<(Option<i32>, Option<String>)>;
    let test = NOTHING.is(TestPool::new(1));
    test.warm(|| nothing().run().expect("an answer"));
    test.warm(|| nulls(1).rows().expect("an answer"));
    for _ in 0..5 {
        let before = test.pool.stats().selects;
        test.together(20, |n| {
            assert_eq!(nothing().run().expect("an answer"), 1);
            let expected = if n == 0 { vec![] } else { vec![((n != 3).then_some(n), None)] };
            assert_eq!(nulls(n).rows().expect("an answer"), expected);
        });
        assert!(test.pool.stats().selects >= before + 40);
    }
    test.finish();
}
