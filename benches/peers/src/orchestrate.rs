//! Runs the systems in turn, each in a process of its own.

use maypole::embedded::Server;

use crate::arguments::Arguments;
use crate::books::Books;
use crate::machine::Machine;
use crate::report::Report;
use crate::systems::{self, System};
use crate::table::table;
use crate::workload::{Tables, Workload};
use crate::{Result, child, compare, count, events, readings, tpcb, world};

/// Tasks and connections of the scaling curves.
const SCALING_TASKS: [usize; 5] = [1, 8, 64, 1_024, 16_000];
const SCALING_CONNS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const QUICK_SCALING_TASKS: [usize; 2] = [1, 16_000];
const QUICK_SCALING_CONNS: [usize; 2] = [1, 8];

/// Measures everything that was asked for; whether all answers were right.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut fine = true;
    // What can be carried without lanes, once it is known.
    let mut closed = None;
    let mut told = false;
    let mut left = arguments.workloads.as_slice();
    // Workloads that find the same tables share a server.
    while let Some(first) = left.first() {
        let tables = first.tables();
        let many = left.iter().take_while(|case| case.tables() == tables).count();
        let mut server = start(tables, arguments)?;
        if !told {
            Machine::look(&server.tcp_url())?.print()?;
            told = true;
        }
        for case in &left[..many] {
            fine &= run_case(*case, arguments, &mut server, &mut closed)?;
        }
        left = &left[many..];
    }
    Ok(fine)
}

fn start(tables: Tables, arguments: &Arguments) -> Result<Server> {
    let server = Server::builder().setting("max_connections", (arguments.conns + 150).to_string()).start()?;
    let url = server.tcp_url();
    match tables {
        Tables::World => world::fill(&url)?,
        Tables::Events => events::fill(&url)?,
        Tables::Readings => readings::fill(&url)?,
        Tables::Tpcb => tpcb::fill(&url)?,
        Tables::Bulk => {}
    }
    Ok(server)
}

fn run_case(
    case: Workload,
    arguments: &Arguments,
    server: &mut Server,
    closed: &mut Option<f64>,
) -> Result<bool> {
    let chosen: Vec<&System> = systems::ALL
        .iter()
        .filter(|system| system.workloads.contains(&case))
        .filter(|system| {
            arguments.systems.is_empty() || arguments.systems.iter().any(|name| name == system.name)
        })
        .collect();
    let mut arguments = arguments.clone();
    match (case, case.share()) {
        (Workload::Scaling, _) => return scaling(&chosen, &arguments, server),
        (_, Some(share)) if arguments.rate.is_none() => {
            if closed.is_none() {
                *closed = closed_rate(&arguments, server)?;
            }
            let Some(closed) = closed else { return Ok(false) };
            arguments.rate = Some((*closed * share).round());
        }
        _ => {}
    }
    let (reports, mut fine) = rounds(case, &chosen, &arguments, server)?;
    print_table(case, &reports, &chosen, &arguments);
    let mut counts = Vec::new();
    if let Some(operations) = case.counted().filter(|_| arguments.counts && count::is_possible()) {
        for system in &chosen {
            let counted = count::of(system, case, operations, |under, operations| {
                let arguments = Arguments { under, operations: Some(operations), ..arguments.clone() };
                child::run(system, case, 1, &arguments, server)
            })?;
            fine &= counted.is_some();
            counts.extend(counted);
        }
    }
    compare::lines(case, &reports, &counts).iter().for_each(|line| eprintln!("{line}"));
    Ok(fine)
}

/// Runs all systems in each round: what they reported, and whether all was right.
fn rounds(
    case: Workload,
    chosen: &[&System],
    arguments: &Arguments,
    server: &mut Server,
) -> Result<(Vec<Report>, bool)> {
    let mut reports: Vec<Report> = Vec::new();
    let mut fine = true;
    // What something weighs does not change from round to round.
    let rounds = if case == Workload::Memory { 1 } else { arguments.rounds };
    for round in 1..=rounds {
        for system in chosen {
            let books = Books::open(case, &server.tcp_url())?;
            match child::run(system, case, round, arguments, server)? {
                Some(lines) if case == Workload::Memory => print!("{lines}"),
                // It can't run here, and has said why.
                Some(lines) if lines.is_empty() => {}
                Some(lines) => {
                    let mut report: Report = serde_json::from_str(&lines)?;
                    books.audit(&server.tcp_url(), &mut report)?;
                    report.print()?;
                    reports.push(report);
                }
                None => fine = false,
            }
        }
    }
    // Where the server goes away, or more comes than it can carry, something may fail.
    let right = |report: &Report| match (report.recovery, report.offer) {
        (None, None) => report.errors == 0,
        _ => report.wrong == 0 && report.hung == 0,
    };
    fine &= reports.iter().all(right);
    Ok((reports, fine))
}

fn print_table(case: Workload, reports: &[Report], chosen: &[&System], arguments: &Arguments) {
    let Some(any) = reports.first() else { return };
    let names: Vec<_> = chosen.iter().map(|system| system.name).collect();
    eprintln!(
        "\n{}: {} tasks, medians of {} rounds of {} s; ratios to {}\n{}",
        case.name(),
        any.tasks,
        arguments.rounds,
        arguments.seconds,
        names[0],
        table(reports, &names)
    );
    for report in reports {
        for (kind, count) in &report.kinds {
            eprintln!("{}, round {}: {count} times: {kind}", report.system, report.round);
        }
    }
}

/// Each number of tasks with each number of connections.
fn scaling(chosen: &[&System], arguments: &Arguments, server: &mut Server) -> Result<bool> {
    let (all_tasks, all_conns): (&[usize], &[usize]) = match arguments.quick {
        true => (&QUICK_SCALING_TASKS, &QUICK_SCALING_CONNS),
        false => (&SCALING_TASKS, &SCALING_CONNS),
    };
    let mut all_fine = true;
    for tasks in all_tasks {
        for conns in all_conns {
            let arguments = Arguments { tasks: Some(*tasks), conns: *conns, ..arguments.clone() };
            let (reports, fine) = rounds(Workload::Scaling, chosen, &arguments, server)?;
            eprint!("\n{conns} connections, ");
            print_table(Workload::Scaling, &reports, chosen, &arguments);
            all_fine &= fine;
        }
    }
    Ok(all_fine)
}

/// How many operations a second of the mixed kind can be carried without lanes.
fn closed_rate(arguments: &Arguments, server: &mut Server) -> Result<Option<f64>> {
    let case = Workload::MixedClosed;
    let chosen: Vec<&System> =
        systems::ALL.iter().filter(|system| system.workloads.contains(&case)).take(1).collect();
    let arguments = Arguments { rounds: arguments.rounds.min(3), ..arguments.clone() };
    let (reports, _) = rounds(case, &chosen, &arguments, server)?;
    Ok(crate::median::median(reports.iter().filter_map(|report| report.ops_per_s).collect()))
}
