//! A bank under storm: transfers between accounts while sessions are killed, connections are cut at COMMIT, coroutines are
//! cancelled, and the server is restarted and crashed. No money is made or lost, and what was said of a transfer is what
//! happened to it.
//!
//! A process of its own: its coroutines would keep the workers of may from those of other tests for a minute.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use maypole::{Database, Error, Isolation, JoinHandle, Outcome, Result, TxOptions};

use support::chaos::Chaos;
use support::client::Client;
use support::own_server::OwnServer;
use support::pool::TestPool;
use support::proxy::{Backend, Frontend, Proxy, Rule, nth};
use support::random::Random;
use support::rest::rest;

const ACCOUNTS: usize = 100;
/// What is in each account at first.
const BALANCE: i64 = 1_000;
const WORKERS: usize = 64;
const CONNECTIONS: usize = 16;

/// How long the storm lasts if `MAYPOLE_STORM_SECS` does not say.
const SECONDS: u64 = 60;
/// How much longer than the storm the test may take.
const MORE: Duration = Duration::from_secs(120);
/// From one misfortune to the next it is at most so long, half of it on average.
const PAUSE: usize = 100;

const TRANSFER: TxOptions =
    TxOptions::new().name("transfer").isolation(Isolation::Serializable).retries(20).deadline(MORE);
const CONFIRMED: TxOptions = TRANSFER.confirm_commit();

/// What was said of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Its coroutine was cancelled.
    Nothing,
    Committed,
    RolledBack,
    Unknown,
}

/// A transfer, numbered by its place in the book.
struct Entry {
    confirmed: bool,
    said: Said,
}

struct Bank {
    db: Database,
    over: AtomicBool,
    /// How often the body of a transaction was called.
    calls: AtomicUsize,
    /// Commits whose answer was lost, and of which another connection told that they were rolled back.
    resolved: AtomicUsize,
    book: Mutex<Vec<Entry>>,
    /// Errors that nothing explains: there must be none.
    wrong: Mutex<Vec<String>>,
}

impl Bank {
    /// A transfer between two accounts at random, put down in the history by its number: one for all its attempts.
    fn transfer(&self, confirmed: bool, random: &mut Random) {
        let from = random.below(ACCOUNTS);
        let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let [from, to] = [from, to].map(|account| i32::try_from(account).expect("small"));
        let amount = i64::try_from(1 + random.below(10)).expect("small");
        let number = {
            let mut book = self.book.lock().expect("no holder panics");
            book.push(Entry { confirmed, said: Said::Nothing });
            book.len() - 1
        };
        let id = i64::try_from(number).expect("small");
        let options = if confirmed { CONFIRMED } else { TRANSFER };
        let result = self.db.transaction_with(&options, |q| -> Result<()> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let read = |account: i32| {
                q.query("SELECT balance FROM accounts WHERE id = $1", (account,)).value::<i64>()
            };
            let write = |account: i32, balance: i64| {
                q.query("UPDATE accounts SET balance = $2 WHERE id = $1", (account, balance)).run()
            };
            let (source, target) = (read(from)?, read(to)?);
            write(from, source - amount)?;
            write(to, target + amount)?;
            q.query("INSERT INTO history VALUES ($1, $2, $3, $4)", (id, from, to, amount)).run()?;
            Ok(())
        });
        let said = match &result {
            Ok(()) => Said::Committed,
            Err(error) => self.understand(error),
        };
        self.book.lock().expect("no holder panics")[number].said = said;
        if result.is_err() {
            // Who is refused at once, because the server is down, should not try again at once.
            rest(Duration::from_millis(5));
        }
    }

    /// What an error says, if a storm explains it.
    fn understand(&self, error: &Error) -> Said {
        let explained = match error.sqlstate() {
            // Others were faster, too often; a session was ended; the server stops, has crashed, or starts.
            Some(code) => matches!(code, "40001" | "40P01" | "57P01" | "57P02" | "57P03"),
            None => was_lost(error) || error.is_timeout(),
        };
        if error.to_string().contains("another connection told") {
            self.resolved.fetch_add(1, Ordering::Relaxed);
        }
        match error.outcome() {
            Outcome::NotSent | Outcome::RolledBack if explained => Said::RolledBack,
            Outcome::Unknown if explained => Said::Unknown,
            outcome => {
                let text = format!("{outcome:?}: {error:?}");
                self.wrong.lock().expect("no holder panics").push(text);
                Said::Unknown
            }
        }
    }
}

/// Whether the connection was lost, here or further down the chain of causes.
fn was_lost(error: &Error) -> bool {
    error.is_closed() || error.source().and_then(|cause| cause.downcast_ref()).is_some_and(was_lost)
}

/// Tells the test which worker is over, on whatever way out.
struct Tell(usize, mpsc::Sender<usize>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// Half of the workers have their commits confirmed.
fn worker(bank: &Arc<Bank>, mut random: Random, tell: Tell) -> JoinHandle<()> {
    let bank = bank.clone();
    maypole::spawn(move || {
        let confirmed = tell.0.is_multiple_of(2);
        while !bank.over.load(Ordering::Relaxed) {
            bank.transfer(confirmed, &mut random);
        }
        drop(tell);
    })
}

/// What has befallen the bank.
#[derive(Debug, Default)]
struct Misfortunes {
    killed: usize,
    cut: usize,
    cancelled: usize,
}

/// Where it comes from.
struct Storm {
    server: OwnServer,
    proxy: Proxy,
    chaos: Chaos,
    /// The application name of the bank's sessions.
    name: String,
    random: Random,
}

impl Storm {
    /// One misfortune after the other until the time is over; a restart at one third of it and a crash at two.
    fn rage(&mut self, length: Duration) -> Misfortunes {
        let start = Instant::now();
        let mut misfortunes = Misfortunes::default();
        let mut client = self.server.client();
        let (mut restarts, mut cut) = (0, None);
        while start.elapsed() < length {
            thread::sleep(Duration::from_millis(u64::try_from(self.random.below(PAUSE)).expect("small")));
            if restarts < 2 && start.elapsed() > length * (restarts + 1) / 3 {
                if restarts == 0 {
                    self.server.restart()
                } else {
                    self.server.crash()
                }
                client = self.server.client();
                restarts += 1;
                continue;
            }
            match self.random.below(3) {
                0 => {
                    misfortunes.killed +=
                        usize::from(terminate_one(&mut client, &self.name, &mut self.random));
                }
                1 => misfortunes.cancelled += usize::from(self.chaos.cancel_one(&mut self.random)),
                _ => misfortunes.cut += self.cut(&mut cut),
            }
        }
        assert_eq!(restarts, 2);
        misfortunes.cut += cut.map_or(0, |rule| end(&rule));
        misfortunes
    }

    /// The next COMMIT or ROLLBACK is lost, or its reply is. How often the rule of the last time has acted.
    fn cut(&mut self, rule: &mut Option<Rule>) -> usize {
        let before = rule.take().map_or(0, |rule| end(&rule));
        // Both are simple queries, and nothing else that the bank does is.
        let next = self.proxy.on(Frontend, b'Q', nth(1));
        *rule = Some(match self.random.below(3) {
            0 => next.cut_before(),
            1 => next.cut_after(),
            _ => self.proxy.on(Backend, b'C', nth(1 + self.random.below(20))).cut_before(),
        });
        before
    }
}

fn end(rule: &Rule) -> usize {
    rule.release();
    rule.hits()
}

#[test]
fn a_bank_under_storm_makes_and_loses_no_money_and_tells_the_truth() {
    let seconds = std::env::var("MAYPOLE_STORM_SECS").ok().map_or(SECONDS, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("MAYPOLE_STORM_SECS must be a number of seconds, not {text:?}"))
    });
    let length = Duration::from_secs(seconds);
    let mut random = Random::new();
    let server = OwnServer::start(|server| {
        // A commit that takes its time is more often the one that is hit.
        server.setting("commit_delay", "1000").setting("commit_siblings", "0")
    });
    // Space in each page for the next version of a row: no index entry is made, which others would have read past.
    server
        .client()
        .query(&format!(
            "CREATE TABLE accounts (id int4 PRIMARY KEY, balance int8 NOT NULL) WITH (fillfactor = 10);
             INSERT INTO accounts SELECT id, {BALANCE} FROM generate_series(0, {ACCOUNTS} - 1) id;
             ANALYZE accounts;
             CREATE TABLE history (number int8, source int4, target int4, amount int8)"
        ))
        .expect("a bank");
    let proxy = Proxy::start(&server.url());
    proxy.forget();
    let test = TestPool::of_server(&server.url(), &proxy.url(), length + MORE, |builder, config| {
        // Reading a whole table would be a conflict with every writer.
        let hook = |connection: &maypole::Connection| connection.script("SET enable_seqscan = off");
        builder.config(config).limit(CONNECTIONS).acquire_timeout(MORE).after_connect(hook)
    });
    let bank = Arc::new(Bank {
        db: Database::from(test.pool.clone()),
        over: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
        resolved: AtomicUsize::new(0),
        book: Mutex::default(),
        wrong: Mutex::default(),
    });

    let chaos = Chaos::default();
    let (tell, told) = mpsc::channel();
    let spawn = |number: usize, random: &mut Random| {
        let handle = worker(&bank, random.fork(), Tell(number, tell.clone()));
        chaos.expose(&handle);
        Some(handle)
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|number| spawn(number, &mut random)).collect();
    let mut storm =
        Storm { server, proxy, chaos: chaos.clone(), name: test.name.clone(), random: random.fork() };
    let seen = bank.clone();
    let storming = thread::spawn(move || {
        let misfortunes = storm.rage(length);
        seen.over.store(true, Ordering::Relaxed);
        (storm, misfortunes)
    });
    let mut running = WORKERS;
    while running > 0 {
        let number = told.recv().expect("we hold a sender");
        if let Err(panic) = workers[number].take().expect("it is told once").join() {
            // A cancel is not a text; a failed assertion is.
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            assert!(text.is_none(), "a worker panicked: {text:?}");
        }
        if bank.over.load(Ordering::Relaxed) {
            running -= 1;
        } else {
            workers[number] = spawn(number, &mut random);
        }
    }
    let (storm, misfortunes) = storming.join().expect("the storm does not panic");
    test.finish();
    audit(&bank, &storm.server, &misfortunes);
}

/// Compares what was said with what is.
fn audit(bank: &Bank, server: &OwnServer, misfortunes: &Misfortunes) {
    let wrong = bank.wrong.lock().expect("no holder panics");
    assert!(wrong.is_empty(), "{} strange errors, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    let book = bank.book.lock().expect("no holder panics");
    let mut client = server.client();
    let mut history: HashMap<usize, usize> = HashMap::new();
    for row in client.query("SELECT number FROM history").expect("a history") {
        let number = row[0].as_deref().and_then(|number| number.parse().ok()).expect("a number");
        *history.entry(number).or_default() += 1;
    }

    let count = |confirmed: bool, said: Said| {
        book.iter().filter(|entry| entry.confirmed == confirmed && entry.said == said).count()
    };
    for confirmed in [false, true] {
        let [committed, rolled_back, unknown, cancelled] =
            [Said::Committed, Said::RolledBack, Said::Unknown, Said::Nothing]
                .map(|said| count(confirmed, said));
        println!(
            "{}: {committed} committed, {rolled_back} rolled back, {unknown} unknown, {cancelled} cancelled",
            if confirmed { "confirmed" } else { "plain" }
        );
    }
    let attempts = bank.calls.load(Ordering::Relaxed);
    let resolved = bank.resolved.load(Ordering::Relaxed);
    println!(
        "{} transfers in {attempts} attempts; {misfortunes:?}; {resolved} resolved as rolled back",
        book.len()
    );

    let mut lies = Vec::new();
    for (number, entry) in book.iter().enumerate() {
        let stored = history.remove(&number).unwrap_or(0);
        let true_word = match entry.said {
            Said::Committed => stored == 1,
            Said::RolledBack => stored == 0,
            Said::Unknown | Said::Nothing => stored <= 1,
        };
        if !true_word {
            lies.push(format!(
                "transfer {number} (confirmed: {}) is stored {stored} times, and said was {:?}",
                entry.confirmed, entry.said
            ));
        }
    }
    assert!(lies.is_empty(), "{} lies, such as {:#?}", lies.len(), &lies[..lies.len().min(5)]);
    assert!(history.is_empty(), "nobody has made the transfers {history:?}");

    let total = client.value("SELECT sum(balance) FROM accounts").expect("a sum");
    assert_eq!(total, (BALANCE * i64::try_from(ACCOUNTS).expect("small")).to_string());
    let of =
        |side: &str| format!("coalesce((SELECT sum(amount) FROM history WHERE {side} = accounts.id), 0)");
    let sql = format!(
        "SELECT id, balance FROM accounts WHERE balance <> {BALANCE} - {} + {}",
        of("source"),
        of("target")
    );
    let wrong = client.query(&sql).expect("an answer");
    assert!(wrong.is_empty(), "balances that the history does not explain: {wrong:?}");

    for confirmed in [false, true] {
        assert!(count(confirmed, Said::Committed) > 100, "work was done");
    }
    assert!(misfortunes.killed > 10 && misfortunes.cut > 10 && misfortunes.cancelled > 10, "a storm");
    assert!(count(false, Said::Unknown) > 0, "commits whose answer was lost are among them");
    assert!(attempts > book.len() / 2, "attempts were counted");
}

/// Ends one session with this application name, whichever, by `pg_terminate_backend`; whether there was one.
fn terminate_one(client: &mut Client, application: &str, random: &mut Random) -> bool {
    let sql =
        format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{application}' ORDER BY pid");
    let rows = client.query(&sql).expect("the server answers");
    let pids: Vec<&str> = rows.iter().filter_map(|row| row[0].as_deref()).collect();
    if pids.is_empty() {
        return false;
    }
    let pid = random.pick(&pids);
    client.value(&format!("SELECT pg_terminate_backend({pid})")).expect("the server answers") == "t"
}
