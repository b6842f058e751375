//! Runs the systems in turn, each in a process of its own.

use std::env;
use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use maypole::embedded::Server;

use crate::arguments::Arguments;
use crate::books::Books;
use crate::report::{self, Report};
use crate::systems::{self, System};
use crate::workload::{URL_VARIABLE, Workload};
use crate::{Result, compare, count, events, readings, tpcb, world};

/// A run that takes so much longer than it should has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures everything that was asked for; whether all answers were right.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let server = Server::builder().setting("max_connections", (arguments.conns + 150).to_string()).start()?;
    let url = server.tcp_url();
    match arguments.workload {
        Workload::Mapping => readings::fill(&url)?,
        Workload::Rows | Workload::RowsCollected => events::fill(&url)?,
        Workload::Tpcb => tpcb::fill(&url)?,
        _ => world::fill(&url)?,
    }
    let mut fine = true;
    for case in arguments.workload.cases() {
        fine &= run_case(*case, arguments, &url)?;
    }
    Ok(fine)
}

fn run_case(case: Workload, arguments: &Arguments, url: &str) -> Result<bool> {
    let chosen: Vec<&System> = systems::ALL
        .iter()
        .filter(|system| system.workloads.contains(&case))
        .filter(|system| {
            arguments.systems.is_empty() || arguments.systems.iter().any(|name| name == system.name)
        })
        .collect();
    let mut reports: Vec<Report> = Vec::new();
    let mut fine = true;
    // What something weighs does not change from round to round.
    let rounds = if case == Workload::Memory { 1 } else { arguments.rounds };
    for round in 1..=rounds {
        for system in &chosen {
            let books = Books::open(case, url)?;
            match child(system, case, round, arguments, url)? {
                Some(lines) if case == Workload::Memory => print!("{lines}"),
                // It can't run here, and has said why.
                Some(lines) if lines.is_empty() => {}
                Some(lines) => {
                    let mut report: Report = serde_json::from_str(&lines)?;
                    books.audit(url, &mut report)?;
                    report.print()?;
                    reports.push(report);
                }
                None => fine = false,
            }
        }
    }
    let Some(any) = reports.first() else { return Ok(fine) };
    let names: Vec<_> = chosen.iter().map(|system| system.name).collect();
    eprintln!(
        "\n{}: {} connections, {} tasks, medians of {} rounds of {} s; ratios to {}\n{}",
        case.name(),
        any.conns,
        any.tasks,
        arguments.rounds,
        arguments.seconds,
        names[0],
        report::table(&reports, &names)
    );
    let mut counts = Vec::new();
    if let Some(operations) = case.counted().filter(|_| arguments.counts && count::is_possible()) {
        for system in &chosen {
            let counted = count::of(system, case, operations, |under, operations| {
                let arguments = Arguments { under, operations: Some(operations), ..arguments.clone() };
                child(system, case, 1, &arguments, url)
            })?;
            fine &= counted.is_some();
            counts.extend(counted);
        }
    }
    compare::lines(case, &reports, &counts).iter().for_each(|line| eprintln!("{line}"));
    Ok(fine && reports.iter().all(|report| report.errors == 0))
}

/// Runs one system once: its lines. `None` if it failed or hung; its own message says why.
fn child(
    system: &System,
    case: Workload,
    round: u64,
    arguments: &Arguments,
    url: &str,
) -> Result<Option<String>> {
    let own = env::current_exe()?.into_os_string();
    let mut words = arguments.under.iter().map(OsString::from).chain([own]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command.args(["--child", system.name, "--workload", case.name()]);
    let numbers = [
        ("--seconds", arguments.seconds.to_string()),
        ("--conns", arguments.conns.to_string()),
        ("--round", round.to_string()),
    ];
    for (name, value) in numbers {
        command.args([name, &value]);
    }
    if let Some(tasks) = arguments.tasks {
        command.args(["--tasks", &tasks.to_string()]);
    }
    if let Some(operations) = arguments.operations {
        command.args(["--operations", &operations.to_string()]);
    }
    let mut child = command.env(URL_VARIABLE, url).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + Duration::from_secs_f64(arguments.seconds * 2.0) + PATIENCE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            None => {
                child.kill()?;
                eprintln!("peers: {} hung in {} and was killed", system.name, case.name());
                break child.wait()?;
            }
        }
    };
    // A few lines: they fit into the pipe, so nobody had to read before.
    let mut lines = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut lines)?;
    }
    if !status.success() {
        eprintln!("peers: {} failed in {}: {status}", system.name, case.name());
        return Ok(None);
    }
    Ok(Some(lines))
}
