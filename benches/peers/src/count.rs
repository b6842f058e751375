//! Counts the instructions and allocations of an operation, under valgrind's callgrind.
//!
//! A system is run twice, with so many operations and with twice as many: the difference is free of what comes before and
//! after. Unlike times, these figures hardly move from run to run, so that a small difference of two systems can be seen: by
//! some thirty instructions where a server answers, because chance decides who waits for whom. The allocations are the calls
//! of the C library's functions: an allocator of ours that counts would slow down all other figures. Instructions of the
//! kernel are not among them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, process};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::report::{Report, rounded};
use crate::systems::System;
use crate::workload::Workload;

/// What an operation takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Count {
    pub system: String,
    pub workload: String,
    pub operations: u64,
    pub instructions_per_op: f64,
    pub allocations_per_op: f64,
}

/// Whether there is a valgrind.
pub fn is_possible() -> bool {
    let mut version = Command::new("valgrind");
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Counts, and prints what it found. `run` runs the system under a command, with so many operations, and returns its lines.
pub fn of(
    system: &System,
    case: Workload,
    operations: u64,
    mut run: impl FnMut(Vec<String>, u64) -> Result<Option<String>>,
) -> Result<Option<Count>> {
    let (Some(once), Some(twice)) = (totals(&mut run, operations)?, totals(&mut run, operations * 2)?) else {
        return Ok(None);
    };
    let per_op = |once: u64, twice: u64| rounded((twice as f64 - once as f64) / operations as f64);
    let count = Count {
        system: system.name.to_owned(),
        workload: case.name().to_owned(),
        operations,
        instructions_per_op: per_op(once.instructions, twice.instructions),
        allocations_per_op: per_op(once.allocations, twice.allocations),
    };
    println!("{}", serde_json::to_string(&count)?);
    Ok(Some(count))
}

/// Those of a whole process.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    instructions: u64,
    allocations: u64,
}

/// `None` if it failed, or gave wrong answers.
fn totals(
    run: &mut impl FnMut(Vec<String>, u64) -> Result<Option<String>>,
    operations: u64,
) -> Result<Option<Totals>> {
    let file = env::temp_dir().join(format!("peers-callgrind.{}", process::id()));
    let under = [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        // Else the change from one coroutine to another looks like a huge frame.
        "--max-stackframe=100000000000",
        "--compress-strings=no",
        &format!("--callgrind-out-file={}", file.display()),
    ];
    let lines = run(under.map(str::to_owned).to_vec(), operations);
    let read = read(&file);
    let _ = fs::remove_file(&file);
    let Some(lines) = lines? else { return Ok(None) };
    let report: Report = serde_json::from_str(&lines)?;
    if report.errors > 0 { Ok(None) } else { read.map(Some) }
}

fn read(file: &Path) -> Result<Totals> {
    let text = fs::read(file).map_err(|error| format!("callgrind has left nothing: {error}"))?;
    parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| "callgrind's file has no totals, or no calls of an allocator that we know".into())
}

/// See valgrind's manual, "Callgrind Format Specification".
fn parse(text: &str) -> Option<Totals> {
    let mut totals = Totals::default();
    let mut instructions = None;
    let mut callee = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && is_allocation(callee)
        {
            totals.allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
        } else if let Some(total) = line.strip_prefix("totals: ") {
            instructions = total.split(' ').next()?.parse().ok();
        }
    }
    totals.instructions = instructions?;
    // Every program allocates: if none is found, it is under a name that we don't know.
    (totals.allocations > 0).then_some(totals)
}

/// Whether this function is called for new memory. A block that grows or shrinks is no new one.
fn is_allocation(name: &str) -> bool {
    // A recursive call is told from the others by a number.
    matches!(name.split('\'').next(), Some("malloc" | "calloc" | "posix_memalign" | "aligned_alloc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_allocator_and_all_instructions_are_found() {
        let text = "version: 1\nevents: Ir\nfn=main\n16 400\ncfn=malloc\ncalls=3 50 \n16 300\ncfn=free\ncalls=3 60\n\
                    16 90\nfn=other\ncfn=calloc'2\ncalls=2 70\n17 5\ntotals: 1234\n";
        assert_eq!(parse(text), Some(Totals { instructions: 1234, allocations: 5 }));
        assert_eq!(parse("version: 1\n"), None);
        assert_eq!(parse("cfn=je_malloc\ncalls=3 50\ntotals: 1234\n"), None);
    }
}
