//! The first use of a database by the name of its setting: by many coroutines at once, on one worker, with and without
//! a file. A process of its own, because the working directory is one for all, and one test, because first happens
//! once.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{env, fs, thread};

use maypole::{Database, Error, spawn};

use support::pool::TestPool;
use support::server::server;
use support::watchdog::watchdog;

/// A folder that is the working directory while it lives.
struct Folder(PathBuf);

impl Folder {
    fn enter() -> Folder {
        let folder = env::temp_dir().join(format!("maypole-first-use-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        env::set_current_dir(&folder).expect("the folder");
        Folder(folder)
    }

    fn write(&self, text: &str) {
        // In one step: others read meanwhile.
        fs::write(self.0.join("new"), text).expect("a file");
        fs::rename(self.0.join("new"), self.0.join("app.toml")).expect("a file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = env::set_current_dir("/");
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings() -> String {
    let url = server().tcp_url();
    format!(
        "[default]\n\
         named = {{ url = \"{url}\", limit = 3, application_name = \"first use\" }}\n\
         configured = \"{url}\"\n\
         late = \"{url}\"\n\
         hammered = \"{url}\"\n\
         wrong = {{ url = \"{url}\", limit = 0 }}\n\
         started = \"embedded\"\n\
         [production]\n\
         named = \"postgres://nowhere.invalid/shop\"\n"
    )
}

/// One worker only: an initialiser that waits on it would never be woken.
#[test]
fn first_use() {
    may::config().set_worker_pin(false);
    may::config().set_workers(1);
    let _watchdog = watchdog(Duration::from_secs(120));
    let folder = Folder::enter();
    without_a_file_it_fails_and_does_not_remember();
    folder.write("[default]\nnamed = ");
    malformed_is_another_error();
    folder.write(&settings());
    many_coroutines_at_once_share_one_pool();
    wrong_settings_are_told_and_healed(&folder);
    failures_are_told_to_those_who_waited_and_to_nobody_else(&folder);
    folder.write(&settings());
    configuring_comes_before_the_first_use();
    configuring_at_the_same_time_as_others_is_an_error_or_has_its_effect(&folder);
    the_embedded_server_is_started_once();
}

static NAMED: Database = Database::named("named");
static SAME: Database = Database::named("named");

fn without_a_file_it_fails_and_does_not_remember() {
    for coroutine in [false, true, true] {
        let ask = || NAMED.query("SELECT 1", ()).value::<i32>().expect_err("no settings");
        let error = if coroutine { spawn(ask).join().expect("no panic") } else { ask() };
        assert!(error.is_config() && error.to_string().contains("there is no app.toml"), "{error:?}");
    }
    // All that ask at once hear of it.
    let asking: Vec<_> =
        (0..50).map(|_| spawn(|| NAMED.pool().map(drop).expect_err("no settings"))).collect();
    for asking in asking {
        assert!(asking.join().expect("no panic").is_config());
    }
}

fn malformed_is_another_error() {
    let error = NAMED.pool().map(drop).expect_err("malformed");
    assert!(error.is_config() && error.to_string().contains("line 2"), "{error}");
}

fn many_coroutines_at_once_share_one_pool() {
    let workers: Vec<_> = (0..200)
        .map(|number| {
            spawn(move || {
                let db = if number % 2 == 0 { &NAMED } else { &SAME };
                assert_eq!(db.query("SELECT $1::int", (number,)).value::<i32>().expect("an answer"), number);
            })
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                assert_eq!(
                    NAMED.query("SELECT $1::int", (number,)).value::<i32>().expect("an answer"),
                    number
                );
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let (one, other) = (NAMED.pool().expect("a pool").stats(), SAME.pool().expect("a pool").stats());
    assert_eq!((one.limit, one.lends), (3, 204), "the settings were read, and each lent once from one pool");
    assert_eq!(one, other);
    let name = NAMED.query("SHOW application_name", ()).value::<String>().expect("an answer");
    assert_eq!(name, "first use");
}

fn wrong_settings_are_told_and_healed(folder: &Folder) {
    static WRONG: Database = Database::named("wrong");
    static MISSING: Database = Database::named("nmaed");
    let error = WRONG.pool().map(drop).expect_err("a limit of 0");
    assert!(error.is_config() && error.to_string().contains("limit"), "{error}");
    let error = MISSING.pool().map(drop).expect_err("no such setting");
    assert!(error.to_string().contains("there is no setting \"nmaed\""), "{error}");
    folder.write(&settings().replace("limit = 0", "limit = 2"));
    assert_eq!(WRONG.pool().expect("healed").stats().limit, 2);
}

/// A start that fails tells those who waited for it. Those who come an instant later have a start of their own, and must
/// not hear of the old one's end.
fn failures_are_told_to_those_who_waited_and_to_nobody_else(folder: &Folder) {
    static HAMMERED: Database = Database::named("hammered");
    folder.write("[default]\n");
    let failures = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let failures = failures.clone();
            spawn(move || {
                for _ in 0..300 {
                    let error: Error = match HAMMERED.pool() {
                        Ok(_) => return,
                        Err(error) => error,
                    };
                    assert!(error.is_config(), "the cause, and not the end of some thread: {error:?}");
                    failures.fetch_add(1, Ordering::SeqCst);
                }
                HAMMERED.pool().map(drop).expect_err("not before the file is there");
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    assert_eq!(failures.load(Ordering::SeqCst), 2400);
    folder.write(&settings());
    assert_eq!(HAMMERED.query("SELECT 1", ()).value::<i32>().expect("healed"), 1);
}

fn configuring_comes_before_the_first_use() {
    static CONFIGURED: Database = Database::named("configured");
    let pool = spawn(|| {
        CONFIGURED.configure(|pool| {
            pool.limit(2).after_connect(|connection| connection.script("SET application_name = 'configured'"))
        })
    });
    assert_eq!(pool.join().expect("no panic").expect("the first").stats().limit, 2);
    let name = CONFIGURED.query("SHOW application_name", ()).value::<String>().expect("an answer");
    assert_eq!(name, "configured");
    let error = CONFIGURED.configure(|pool| pool.limit(9)).map(drop).expect_err("too late");
    assert!(error.to_string().contains("has been started already"), "{error}");
    assert_eq!(CONFIGURED.pool().expect("a pool").stats().limit, 2);
    assert!(NAMED.configure(|pool| pool).is_err());
    // A change that panics, or that makes no sense, is an error, and not remembered.
    static LATE: Database = Database::named("late");
    assert!(LATE.configure(|pool| pool.limit(0)).map(drop).expect_err("no sense").is_config());
    let error = LATE.configure(|_| panic!("on purpose")).map(drop).expect_err("it panics");
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(LATE.configure(|pool| pool.limit(7)).expect("in the end").stats().limit, 7);
}

/// Whoever configures gets what it asked for, or hears that it came too late: never a pool of others without a word.
fn configuring_at_the_same_time_as_others_is_an_error_or_has_its_effect(folder: &Folder) {
    // Each name is the first use of a database of its own.
    let names: Vec<&'static str> =
        (0..50).map(|number| &*Box::leak(format!("race{number}").into_boxed_str())).collect();
    let url = server().tcp_url();
    let entries = names.iter().map(|name| format!("{name} = {{ url = \"{url}\", limit = 1 }}\n"));
    let entries: String = ["[default]\n".to_owned()].into_iter().chain(entries).collect();
    folder.write(&settings().replacen("[default]\n", &entries, 1));
    let mut had_effect = 0;
    for (round, name) in names.iter().enumerate() {
        let db: &'static Database = Box::leak(Box::new(Database::named(name)));
        let both = Arc::new(Barrier::new(2));
        let other = both.clone();
        let asking = thread::spawn(move || {
            other.wait();
            db.pool().expect("a pool").stats().limit
        });
        both.wait();
        (0..round * 400).for_each(|_| std::hint::spin_loop());
        let configured = db.configure(|pool| pool.limit(5)).map(|pool| pool.stats().limit);
        let used = asking.join().expect("no panic");
        match configured {
            Ok(limit) => {
                assert_eq!((limit, used), (5, 5), "it was told that all went well");
                had_effect += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("has been started already"), "{error}");
                assert_eq!(used, 1);
            }
        }
    }
    println!("configuring came first {had_effect} times of {}", names.len());
}

fn the_embedded_server_is_started_once() {
    static STARTED: Database = Database::named("started");
    let workers: Vec<_> = (0..20)
        .map(|_| spawn(|| STARTED.query("SELECT pg_postmaster_start_time()::text", ()).value::<String>()))
        .collect();
    let mut times: Vec<String> =
        workers.into_iter().map(|worker| worker.join().expect("no panic").expect("an answer")).collect();
    times.dedup();
    assert_eq!(times.len(), 1, "more than one server: {times:?}");
    // Another server than that of the tests.
    let ours = TestPool::new(1).db.query("SELECT pg_postmaster_start_time()::text", ()).value::<String>();
    assert_ne!(ours.expect("an answer"), times[0]);
}
