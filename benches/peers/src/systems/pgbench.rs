//! pgbench itself, with prepared statements, two threads and a client for each connection. It is one program of C without a
//! pool: how far the server lets anybody go, and what little a client may cost.
//!
//! Its clients never wait for a connection, so that its latencies are not those of the others, where many tasks share the
//! connections. They are in its log, which costs it half a microsecond for each transaction. What it takes for its start,
//! with a handshake per client, is measured with one transaction per client and subtracted: the others are measured when they
//! are warm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, process};

use maypole::Pool;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::System;
use crate::Result;
use crate::measure::{Cost, Tally, Window};
use crate::process::{children_cpu_time, children_peak_bytes};
use crate::report::{Report, rounded};
use crate::workload::{Load, Workload};

pub const SYSTEM: System = System { name: "pgbench", workloads: &[Workload::Tpcb], run };

fn run(name: &'static str, load: &Load) -> Result<()> {
    let program = program(&load.url)?;
    if !program.is_file() {
        eprintln!("peers: there is no {}: not measured", program.display());
        return Ok(());
    }
    let folder = Folder::new()?;
    let start = bench(&program, load, &["-t", "1"], &folder.0.join("start"))?;
    let seconds = load.seconds.ceil().to_string();
    let whole = bench(&program, load, &["-T", &seconds], &folder.0.join("whole"))?;
    let wall = Duration::from_secs_f64(whole.summary.processed as f64 / whole.summary.per_second);
    let cost = Cost { wall, cpu: whole.cpu.saturating_sub(start.cpu) };
    let mut report = Report::new(name, load, cost, whole.tallies)?;
    report.all_ops = report.all_ops.map(|all| all + start.summary.processed);
    report.rss_mb = rounded(children_peak_bytes()? as f64 / 1e6);
    report.print()
}

/// Where the server has it: beside its own programs.
fn program(url: &str) -> Result<PathBuf> {
    let pool = Pool::builder().url(url)?.limit(1).build()?;
    let folder: String =
        pool.connection()?.query("SELECT setting FROM pg_config WHERE name = 'BINDIR'", ()).value()?;
    Ok(Path::new(&folder).join("pgbench"))
}

/// One run of it.
struct Bench {
    summary: Summary,
    cpu: Duration,
    /// One of each client.
    tallies: Vec<Tally>,
}

fn bench(program: &Path, load: &Load, length: &[&str], log: &Path) -> Result<Bench> {
    let before = children_cpu_time()?;
    let mut command = Command::new(program);
    command.args(["-M", "prepared", "-n", "-c", &load.conns.to_string()]);
    command.args(["-j", &load.conns.min(2).to_string()]).args(length);
    command.arg(format!("--random-seed={}", load.round));
    command.arg("--log").arg("--log-prefix").arg(log);
    for (variable, value) in server(&load.url)? {
        command.env(variable, value);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let cpu = children_cpu_time()? - before;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pgbench failed: {}\n{messages}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let summary = Summary::parse(&text).ok_or_else(|| format!("what does pgbench say? {text}"))?;
    let tallies = tallies(load, log)?;
    let logged: u64 = tallies.iter().map(|tally| tally.ops).sum();
    if (logged, 0) != (summary.processed, summary.failed) {
        return Err(format!("pgbench has {logged} transactions in its log, and says: {text}").into());
    }
    Ok(Bench { summary, cpu, tallies })
}

/// The server in the variables of libpq; the command line is no place for a password.
fn server(url: &str) -> Result<Vec<(&'static str, String)>> {
    let config: Config = url.parse()?;
    let [Host::Tcp(host)] = config.get_hosts() else {
        return Err("one host, reached by TCP, is expected".into());
    };
    let port = config.get_ports().first().ok_or("a port is expected")?;
    let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec())?;
    Ok(vec![
        ("PGHOST", host.clone()),
        ("PGPORT", port.to_string()),
        ("PGUSER", config.get_user().unwrap_or_default().to_owned()),
        ("PGPASSWORD", password),
        ("PGDATABASE", config.get_dbname().unwrap_or_default().to_owned()),
        ("PGSSLMODE", "disable".to_owned()),
        ("PGGSSENCMODE", "disable".to_owned()),
    ])
}

/// What it prints at its end.
#[derive(Debug, PartialEq)]
struct Summary {
    processed: u64,
    failed: u64,
    per_second: f64,
}

impl Summary {
    fn parse(text: &str) -> Option<Summary> {
        let number = |key: &str| {
            let value = text.lines().rev().find_map(|line| line.strip_prefix(key))?;
            value.trim().split([' ', '/']).next()
        };
        Some(Summary {
            processed: number("number of transactions actually processed:")?.parse().ok()?,
            // Versions before 15 stop at the first.
            failed: number("number of failed transactions:").map_or(Some(0), |failed| failed.parse().ok())?,
            // Versions before 14 say it with and, last, without the time of connecting.
            per_second: number("tps =")?.parse().ok()?,
        })
    }
}

/// Reads the logs, of which each thread has written one: `client transaction microseconds …` (PostgreSQL's manual,
/// "Per-Transaction Logging").
fn tallies(load: &Load, log: &Path) -> Result<Vec<Tally>> {
    let mut tallies: Vec<_> =
        (0..load.conns).map(|client| Tally::new(load, &Window::of(0), client)).collect();
    let folder = log.parent().ok_or("the log has no folder")?;
    let prefix = format!("{}.", log.file_name().unwrap_or_default().to_string_lossy());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        for line in fs::read_to_string(entry.path())?.lines() {
            let strange = || format!("what does pgbench's log say? {line}");
            let (client, latency) = logged(line).ok_or_else(strange)?;
            tallies.get_mut(client).ok_or_else(strange)?.done_elsewhere(latency);
        }
    }
    Ok(tallies)
}

fn logged(line: &str) -> Option<(usize, Duration)> {
    let mut words = line.split(' ');
    let client = words.next()?.parse().ok()?;
    let microseconds = words.nth(1)?.parse().ok()?;
    Some((client, Duration::from_micros(microseconds)))
}

/// A folder for its logs, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let folder = env::temp_dir().join(format!("peers-pgbench.{}", process::id()));
        fs::create_dir(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_prints_is_read() {
        let newest = "scaling factor: 16\nnumber of transactions actually processed: 8/8\n\
                      number of failed transactions: 0 (0.000%)\nlatency average = 0.9 ms\n\
                      tps = 8521.5 (without initial connection time)\n";
        let parsed = |processed, per_second| Some(Summary { processed, failed: 0, per_second });
        assert_eq!(Summary::parse(newest), parsed(8, 8521.5));
        let old = "number of transactions actually processed: 12345\n\
                   tps = 8000.1 (including connections establishing)\n\
                   tps = 8100.2 (excluding connections establishing)\n";
        assert_eq!(Summary::parse(old), parsed(12345, 8100.2));
        assert_eq!(Summary::parse("tps = 1.0\n"), None);
    }

    #[test]
    fn a_line_of_its_log_is_a_client_and_a_latency() {
        assert_eq!(logged("3 17 1234 0 1758000000 123456"), Some((3, Duration::from_micros(1234))));
        assert_eq!(logged("3 17 failed 0 1758000000 123456"), None);
        assert_eq!(logged(""), None);
    }
}
