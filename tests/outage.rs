//! The server is restarted under load, crashes, and is away for a while (reliability case 25): a process of its own,
//! because its processor time is measured.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use maypole::{Database, Error, JoinHandle, spawn};

use support::eventually::{eventually, eventually_within};
use support::own_server::OwnServer;
use support::pool::TestPool;
use support::proxy::Proxy;
use support::rest::rest;

const CONNECTIONS: usize = 8;
const WORKERS: usize = 32;

/// How long the server is away.
const AWAY: Duration = Duration::from_secs(6);

/// What programs do all the while.
struct Load {
    db: Database,
    over: AtomicBool,
    answers: AtomicUsize,
    /// Errors of queries that had been sent.
    lost: AtomicUsize,
    /// Errors of those that had to hear that there is no server.
    refused: AtomicUsize,
    /// Errors that nothing explains.
    odd: std::sync::Mutex<Vec<Error>>,
}

impl Load {
    fn start(test: &TestPool) -> (Arc<Load>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Load {
            db: Database::from(test.pool.clone()),
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            odd: std::sync::Mutex::default(),
        });
        let workers = (0..WORKERS)
            .map(|number| {
                let load = load.clone();
                spawn(move || load.work(i64::try_from(number).expect("small")))
            })
            .collect();
        (load, workers)
    }

    fn work(&self, first: i64) {
        let mut number = first;
        while !self.over.load(Ordering::SeqCst) {
            number += 1;
            match self.db.query("SELECT $1::bigint FROM pg_sleep(0.001)", (number,)).value::<i64>() {
                Ok(answer) => {
                    assert_eq!(answer, number, "the answer to another question");
                    self.answers.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => {
                    self.judge(error);
                    // As programs should: not again at once.
                    rest(Duration::from_millis(200));
                }
            }
        }
    }

    fn judge(&self, error: Error) {
        let ended = matches!(error.sqlstate(), Some("57P01" | "57P02" | "57P03"));
        if error.outcome() == maypole::Outcome::NotSent {
            self.refused.fetch_add(1, Ordering::SeqCst);
        } else if error.is_closed() || ended {
            self.lost.fetch_add(1, Ordering::SeqCst);
        } else {
            self.odd.lock().expect("no holder panics").push(error);
        }
    }

    fn errors(&self) -> (usize, usize) {
        (self.lost.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }

    /// Waits until everybody has been served again.
    fn recovers(&self, what: &str) -> Duration {
        let (start, before) = (Instant::now(), self.answers.load(Ordering::SeqCst));
        eventually_within(Duration::from_secs(20), what, || {
            self.answers.load(Ordering::SeqCst) > before + 10 * WORKERS
        });
        start.elapsed()
    }
}

/// User and system time of all threads of this process.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The name of the program stands in parentheses, and may hold blanks.
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // Linux shows hundredths of a second, whatever it counts in.
    Duration::from_millis(ticks * 10)
}

/// Case 25, in three acts on one pool: a restart in good order, a crash, and a server that is away for longer than
/// callers are let wait for it.
#[test]
fn a_server_that_is_restarted_under_load_costs_what_was_in_flight_and_nothing_else() {
    let mut server = OwnServer::start(|builder| builder);
    let proxy = Proxy::start(&server.url());
    proxy.forget();
    let test =
        TestPool::of_server(&server.url(), &proxy.url(), Duration::from_secs(120), |builder, config| {
            builder.config(config).limit(CONNECTIONS).acquire_timeout(Duration::from_secs(30))
        });
    let (load, workers) = Load::start(&test);
    load.recovers("the load is there");

    for crash in [false, true] {
        let (before, knocks, start) = (load.errors(), proxy.knocks(), Instant::now());
        if crash {
            server.crash();
        } else {
            server.restart();
        }
        let away = start.elapsed();
        let took = load.recovers("everybody is served again");
        let (lost, refused) = (load.errors().0 - before.0, load.errors().1 - before.1);
        let knocks = proxy.knocks() - knocks;
        println!(
            "{}: away for {away:?}, all served {took:?} later; {lost} queries lost, {refused} refused, {knocks} attempts to connect",
            if crash { "crash" } else { "restart" }
        );
        assert!(lost <= CONNECTIONS, "{lost} queries were in flight on {CONNECTIONS} connections");
        // Callers are told after two seconds without a server, and not before.
        assert!(refused == 0 || away > Duration::from_secs(2), "{refused} were refused after {away:?}");
        // Each connection once, and what the back-off allows: at least every half second, ten a second at the very most.
        assert!(
            knocks <= CONNECTIONS + 10 + 10 * usize::try_from(away.as_secs()).expect("small"),
            "{knocks}"
        );
    }

    let before = load.errors();
    proxy.slam();
    let knocks = proxy.knocks();
    proxy.all().cut();
    // The time in which everybody hears of it is not counted.
    eventually("callers are told", || load.errors().1 > before.1 + WORKERS);
    let (start, processor) = (Instant::now(), processor_time());
    thread::sleep(AWAY);
    let (away, processor) = (start.elapsed(), processor_time() - processor);
    let knocks = proxy.knocks() - knocks;
    let lost = load.errors().0 - before.0;
    println!(
        "away: {processor:?} of the processor in {away:?}, {knocks} attempts to connect, {lost} queries lost, {} refused",
        load.errors().1 - before.1
    );
    assert!(lost <= CONNECTIONS, "{lost}");
    assert!(processor < away / 10, "{processor:?} of processor time in {away:?}");
    let most = CONNECTIONS + 10 * usize::try_from(away.as_secs() + 2).expect("small");
    assert!((3..=most).contains(&knocks), "{knocks} attempts in {away:?}");
    proxy.welcome();
    let took = load.recovers("everybody is served again");
    println!("all served {took:?} after the server was back");

    load.over.store(true, Ordering::SeqCst);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    let odd = load.odd.lock().expect("no holder panics");
    assert!(odd.is_empty(), "{} errors that nothing explains, such as {:?}", odd.len(), odd.first());
    drop(odd);
    test.finish();
}
