//! A thousand coroutines share ten connections: they look up customers and move money between accounts.
//!
//! `cargo run --release --example quickstart -- --workers 1000 --connections 10 --seconds 5`

#[path = "quickstart/queries.rs"]
mod queries;

use std::error::Error;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use queries::{ACCOUNTS, CUSTOMERS, DB, create_tables, get_customer, total, transfer};

/// What the workers have done.
#[derive(Default)]
struct Tally {
    lookups: AtomicU64,
    transfers: AtomicU64,
    wrong_answers: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(options) = Options::from_arguments(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    if std::env::var_os("MAYPOLE_SETTINGS").is_none() {
        // app.toml is looked for from the working directory upward; this program has its own.
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart"))?;
    }
    let pool = DB.configure(move |pool| pool.limit(options.connections))?;
    create_tables()?;
    let before = total().value()?;

    let start = Instant::now();
    let tally = Arc::new(Tally::default());
    let workers: Vec<_> = (0..options.workers)
        .map(|number| {
            let tally = tally.clone();
            maypole::spawn(move || work(&tally, number))
        })
        .collect();
    watch(&tally, start, options.seconds);
    tally.stop.store(true, Relaxed);
    let panics = workers.into_iter().map(maypole::JoinHandle::join).filter(Result::is_err).count();
    let seconds = start.elapsed().as_secs_f64();

    let after = total().value()?;
    let stats = pool.stats();
    let (lookups, transfers) = (tally.lookups.load(Relaxed), tally.transfers.load(Relaxed));
    let (wrong, errors) = (tally.wrong_answers.load(Relaxed), tally.errors.load(Relaxed));
    // A transfer is a BEGIN, a SELECT, two UPDATEs and a COMMIT.
    let queries = lookups + 5 * transfers;
    let rate = queries as f64 / seconds;
    let rows = [
        ("workers", options.workers.to_string()),
        ("queries", queries.to_string()),
        ("transfers", transfers.to_string()),
        ("seconds", format!("{seconds:.2}")),
        ("queries/s", format!("{rate:.0}")),
        ("waits for a connection", stats.waits.to_string()),
        ("most connections open", format!("{} of {}", stats.most, stats.limit)),
        ("errors", (errors + panics as u64).to_string()),
        ("wrong answers", wrong.to_string()),
        ("sum of balances before", before.to_string()),
        ("sum of balances after", after.to_string()),
    ];
    for (name, value) in rows {
        println!("{name:<24} {value:>14}");
    }
    let right = wrong == 0
        && errors == 0
        && panics == 0
        && before == after
        && stats.most <= options.connections
        && lookups > 0
        && transfers > 0;
    println!("{}", if right { "OK" } else { "FAILED" });
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One coroutine: nine look-ups, then a transfer, and again. It reads as if it blocked.
fn work(tally: &Tally, number: u64) {
    let mut random = Random(number);
    while !tally.stop.load(Relaxed) {
        let outcome = (0..9).try_for_each(|_| {
            let id = random.below(CUSTOMERS) + 1;
            let customer = get_customer(id).unique()?;
            tally.lookups.fetch_add(1, Relaxed);
            if customer.id != id || customer.name != format!("customer {id}") {
                tally.wrong_answers.fetch_add(1, Relaxed);
            }
            Ok(())
        });
        let outcome = outcome.and_then(|()| {
            let from = random.below(ACCOUNTS) + 1;
            let to = from % ACCOUNTS + 1;
            transfer(from, to, i64::from(random.below(20)))
        });
        match outcome {
            Ok(_) => tally.transfers.fetch_add(1, Relaxed),
            Err(error) => {
                let first = tally.errors.fetch_add(1, Relaxed) == 0;
                if first {
                    eprintln!("{error:?}");
                }
                return;
            }
        };
    }
}

/// Waits until the time is over; shows the progress if somebody looks.
fn watch(tally: &Tally, start: Instant, seconds: Duration) {
    let terminal = stderr().is_terminal();
    while start.elapsed() < seconds && tally.errors.load(Relaxed) == 0 {
        // This is the main thread and no coroutine: it may sleep.
        thread::sleep(Duration::from_millis(100).min(seconds.saturating_sub(start.elapsed())));
        if terminal {
            let (lookups, transfers) = (tally.lookups.load(Relaxed), tally.transfers.load(Relaxed));
            eprint!("\r{:5.1} s  {lookups} look-ups  {transfers} transfers ", start.elapsed().as_secs_f64());
            // Only a progress line.
            let _ = stderr().flush();
        }
    }
    if terminal {
        eprintln!();
    }
}

const USAGE: &str = "usage: quickstart [--workers N] [--connections N] [--seconds N]";

struct Options {
    workers: u64,
    connections: usize,
    seconds: Duration,
}

impl Options {
    /// `None` if help was asked for.
    fn from_arguments(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Option<Options>, Box<dyn Error>> {
        let mut options = Options { workers: 1000, connections: 10, seconds: Duration::from_secs(5) };
        while let Some(name) = arguments.next() {
            if matches!(name.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            if !matches!(name.as_str(), "--workers" | "--connections" | "--seconds") {
                return Err(format!("unknown option {name}\n{USAGE}").into());
            }
            let wrong = || format!("{name} needs a whole number of at least 1\n{USAGE}");
            let value = arguments.next().ok_or_else(wrong)?;
            let value: u32 = value.parse().ok().filter(|value| *value > 0).ok_or_else(wrong)?;
            match name.as_str() {
                "--workers" => options.workers = value.into(),
                "--connections" => options.connections = usize::try_from(value)?,
                _ => options.seconds = Duration::from_secs(value.into()),
            }
        }
        Ok(Some(options))
    }
}

/// A small random number generator (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i32) -> i32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unbiased_enough = (mixed >> 33) % u64::from(bound.unsigned_abs());
        i32::try_from(unbiased_enough).unwrap_or(0)
    }
}
