//! maypole beside other PostgreSQL clients.
//!
//! One process measures one system on one workload. Without `--child` this program is the orchestrator: it starts a server,
//! fills it, and runs itself once per system and round, interleaved, because machines drift. Only ratios within one such
//! run mean anything. Each run prints a line of JSON; the table of medians goes to standard error. Lines that were kept
//! become `docs/benchmarks.md` by `--report`.

mod arguments;
mod books;
mod bulk;
mod child;
mod compare;
mod count;
mod document;
mod events;
mod machine;
mod measure;
mod median;
mod orchestrate;
mod process;
mod readings;
mod report;
mod restart;
mod session;
mod systems;
mod table;
mod tpcb;
mod transaction;
mod update;
mod workload;
mod world;

use std::process::ExitCode;

use arguments::{Arguments, Role};

/// Whatever goes wrong here ends the process with a message.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.role {
        Role::Help => {
            println!("{}", arguments::USAGE);
            Ok(true)
        }
        Role::Orchestrator => orchestrate::run(&arguments),
        Role::Child(system) => systems::run(system, &arguments),
        Role::Report(files) => document::write(files),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
