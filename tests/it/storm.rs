//! Ten thousand leases under a storm of cancels: every answer matches its question, and nothing is lost
//! (reliability case 5).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use maypole::{Connection, Database, JoinHandle, Pool, Result, Row};

use crate::support::chaos::Chaos;
use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::random::Random;
use crate::support::server::server;

const LEASES: u64 = 10_000;
const WORKERS: usize = 64;

/// How much longer than it should the test may take until it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all workers share.
struct Storm {
    pool: Pool,
    db: Database,
    /// It goes on until then, if that is longer than so many leases take.
    until: Instant,
    done: AtomicUsize,
    /// Wrong answers and errors that nothing explains: there must be none.
    wrong: Mutex<Vec<String>>,
}

impl Storm {
    fn goes_on(&self) -> bool {
        self.pool.stats().lends < LEASES || Instant::now() < self.until
    }

    fn check<T: PartialEq + std::fmt::Debug>(&self, what: &str, answer: Result<T>, expected: &T) {
        if !answer.as_ref().is_ok_and(|answer| answer == expected) {
            self.wrong
                .lock()
                .expect("no holder panics")
                .push(format!("{what}: {answer:?}, not {expected:?}"));
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// One thing that a program may do; a cancel may end it at any wait.
    fn act(&self, random: &mut Random) {
        let constant = i32::try_from(random.below(1_000_000)).expect("small");
        let lease = || self.pool.connection();
        match random.below(10) {
            0 | 1 => self.check("query", self.db.query("SELECT $1::int4", (constant,)).value(), &constant),
            2 => {
                // Another text each time: prepared, evicted and closed all the while.
                let sql = format!("SELECT {constant} + $1::int4");
                self.check("prepare", self.db.query(&sql, (1,)).value(), &(constant + 1));
            }
            3 => self.check("stream", self.sum(random, constant, None), &sum(constant, 50)),
            4 => self.check("early drop", self.sum(random, constant, Some(13)), &sum(constant, 13)),
            5 => self.check("transaction", lease().and_then(|lease| transfer(&lease, constant)), &constant),
            6 => {
                let result = self.db.transaction(|q| -> Result<i32> {
                    q.query("INSERT INTO storm VALUES ($1, 1)", (constant,)).run()?;
                    q.query("SELECT 1 / ($1::int4 - $1::int4)", (constant,)).value()
                });
                let code = result.map_err(|error| error.sqlstate().map(str::to_owned));
                self.check("rollback", Ok(code), &Err(Some("22012".to_owned())));
            }
            7 => {
                let sql =
                    format!("SELECT 1; INSERT INTO storm VALUES ({constant}, 1), ({constant}, -1); SELECT 2");
                self.check("script", self.db.script(&sql), &());
            }
            8 => {
                let failed = self.db.query("SELECT $1::text::int4", ("no number",)).value::<i32>();
                let code = failed.map_err(|error| error.sqlstate().map(str::to_owned));
                self.check("error", Ok(code), &Err(Some("22P02".to_owned())));
            }
            _ => self.check(
                "several on one lease",
                lease().and_then(|lease| several(&lease, constant)),
                &constant,
            ),
        }
    }

    fn sum(&self, random: &mut Random, from: i32, rows: Option<usize>) -> Result<i64> {
        let chunk = u32::try_from(random.below(20)).expect("small");
        let sql = "SELECT n FROM generate_series($1::int4, $1::int4 + 49) n";
        let stream = self.db.query(sql, (from,)).chunk(chunk).iter::<i32>();
        stream.take(rows.unwrap_or(usize::MAX)).map(|row| row.map(i64::from)).sum()
    }
}

fn sum(from: i32, count: i64) -> i64 {
    (0..count).map(|at| i64::from(from) + at).sum()
}

/// Stores two rows whose sum is 0, and streams in between.
fn transfer(connection: &Connection, constant: i32) -> Result<i32> {
    connection.transaction(|q| {
        q.query("INSERT INTO storm VALUES ($1, $2)", (constant, constant)).run()?;
        let mut seen = 0;
        for row in q.query("SELECT $1::int4 FROM generate_series(1, 7)", (constant,)).chunk(3).iter::<i32>() {
            seen = row?;
            assert_eq!(q.query("SELECT $1::int4", (seen + 1,)).value::<i32>()?, constant + 1);
        }
        q.query("INSERT INTO storm VALUES ($1, $2)", (constant, -constant)).run()?;
        Ok(seen)
    })
}

fn several(connection: &Connection, constant: i32) -> Result<i32> {
    for step in 0..3 {
        let row: Row =
            connection.query("SELECT $1::int4 AS step, pg_backend_pid() AS process", (step,)).unique()?;
        assert_eq!((row.get::<i32>("step")?, row.get::<i32>("process")?), (step, connection.process_id()));
    }
    connection.query("SELECT $1::int4", (constant,)).value()
}

/// Tells the supervisor which worker is over, on whatever way out.
struct Tell(usize, mpsc::Sender<usize>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// A worker acts until enough was lent, or until it is cancelled.
fn worker(storm: &Arc<Storm>, mut random: Random, tell: Tell) -> JoinHandle<()> {
    let storm = storm.clone();
    maypole::spawn(move || {
        let _tell = tell;
        while storm.goes_on() {
            storm.act(&mut random);
        }
    })
}

/// Case 5; case 54 when `./dev storm` runs it, optimised in two ways, for as many seconds as `MAYPOLE_STORM_SECS` says.
#[test]
fn ten_thousand_leases_survive_a_storm_of_cancels() {
    let mut random = Random::new();
    let length = std::env::var("MAYPOLE_STORM_SECS").map_or(Duration::ZERO, |text| {
        Duration::from_secs(text.parse().expect("MAYPOLE_STORM_SECS is a number of seconds"))
    });
    let url = server().url();
    let test = TestPool::of_server(&url, &url, length + PATIENCE, |builder, config| {
        builder.config(config.statement_cache_capacity(20)).limit(8)
    });
    test.db.script("CREATE TABLE storm (id int4, amount int4)").expect("a table");
    let start = Instant::now();
    let storm = Arc::new(Storm {
        pool: test.pool.clone(),
        db: Database::from(test.pool.clone()),
        until: start + length,
        done: AtomicUsize::new(0),
        wrong: Mutex::default(),
    });
    let chaos = Chaos::default();
    let (tell, told) = mpsc::channel();
    let spawn = |number: usize, random: &mut Random| {
        let handle = worker(&storm, random.fork(), Tell(number, tell.clone()));
        chaos.expose(&handle);
        Some(handle)
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|number| spawn(number, &mut random)).collect();
    let seen = storm.clone();
    let cancelling = chaos.start(random.fork(), move || seen.done.load(Ordering::Relaxed));
    let (mut cancelled, mut running) = (0, WORKERS);
    while running > 0 {
        let number = told.recv().expect("we hold a sender");
        let over = workers[number].take().expect("it is told once").join();
        if let Err(panic) = over {
            // A cancel is not a text; a failed assertion is.
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            assert!(text.is_none(), "a worker panicked: {text:?}");
            cancelled += 1;
        }
        if storm.goes_on() {
            workers[number] = spawn(number, &mut random);
        } else {
            running -= 1;
        }
    }
    chaos.stop();
    cancelling.join().expect("the chaos does not panic");
    let done = storm.done.load(Ordering::Relaxed);
    println!(
        "{} leases in {:?}: {done} acts done, {cancelled} workers cancelled",
        test.pool.stats().lends,
        start.elapsed()
    );
    let wrong = storm.wrong.lock().expect("no holder panics");
    assert!(wrong.is_empty(), "{} wrong answers, such as {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    drop(wrong);
    assert!(cancelled > 100 && done > 1_000, "a storm: {cancelled} cancelled, {done} done");
    test.finish();
    // Whatever was cancelled, each transaction was stored as a whole or not at all.
    let mut client = Client::connect(&server().url()).expect("the server answers");
    assert_eq!(client.value("SELECT coalesce(sum(amount), 0) FROM storm").expect("a sum"), "0");
    assert_eq!(test.pool.stats().closed, 0, "no connection had to be given up");
}
