//! `docs/benchmarks.md` and its plots, from the lines of many runs.

mod lines;
mod markdown;
mod plot;
mod sections;
mod systems;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use lines::Lines;

/// What stands behind this in the document was written by hand, and stays.
const BY_HAND: &str =
    "<!-- Written by hand from here on; what stands above is made by ./dev bench --report. -->";

/// Writes them.
pub fn write(files: &[PathBuf]) -> Result<bool> {
    let lines = Lines::read(files)?;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots)?;
    let path = docs.join("benchmarks.md");
    let by_hand = match fs::read_to_string(&path) {
        Ok(text) => text.split_once(BY_HAND).map(|(_, rest)| rest.to_owned()),
        Err(_) => None,
    };
    let mut text = head(&lines);
    for section in sections::all(&lines) {
        text += &section.text;
        for plot in section.plots {
            fs::write(plots.join(format!("{}.svg", plot.name)), &plot.svg)?;
            text += &format!("![{}](benchmarks/{}.svg)\n\n", plot.title, plot.name);
        }
    }
    text += &systems::section(&lines);
    text += &format!("{BY_HAND}{}", by_hand.unwrap_or_else(|| "\n".to_owned()));
    fs::write(&path, text)?;
    eprintln!("peers: wrote docs/benchmarks.md and docs/benchmarks/");
    Ok(true)
}

fn head(lines: &Lines) -> String {
    let machines: Vec<String> = lines.machines.iter().map(|machine| format!("* {machine}\n")).collect();
    format!(
        "# Benchmarks\n\n\
         maypole beside other PostgreSQL clients for Rust. Made by\n\n\
         ```\n\
         ./dev bench --workload all --rounds {} > lines.json\n\
         ./dev bench --report lines.json\n\
         ```\n\n\
         Each system runs in a process of its own, one after the other, in several interleaved rounds; the tables show medians. The server \
         runs on the same machine and shares its cores with the client, so **only the ratios within one table mean anything**. \
         All use TCP on the loopback, prepared statements, no TLS, two worker threads, the same number of connections, and \
         the same code that checks each answer, counts it, and times one of eight. A run with a wrong answer has no speed. “client µs” is \
         the CPU that the client process takes, user and system, divided by the operations: the figure that the server beside it \
         disturbs the least. “maypole does” is how many times as much maypole does in the same time.\n\n{}\n\
         ## Two rules of honesty\n\n\
         * Grouping the queries of strangers under one Sync is what the TechEmpower benchmarks have banned \
         (TechEmpower/FrameworkBenchmarks #7019): done blindly, it puts strangers into one transaction and skips the innocent after an \
         error. maypole does it with selects that the program *declared* to be free of side effects; the server enforces \
         that, and what was skipped is sent again. Each table has `maypole-ungrouped` beside `maypole`: the same without \
         groups, a Sync for each query. The column “Sync” says which is which.\n\
         * A benchmark of something that does not survive is worth nothing (TechEmpower/FrameworkBenchmarks #8790): so there is \
         the workload “restart”.\n\n",
        lines.rounds(),
        machines.concat(),
    )
}
