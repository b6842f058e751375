//! The command line.

use std::path::PathBuf;

use crate::systems;
use crate::workload::Workload;

pub const USAGE: &str = "\
usage: peers [options]
       peers --report FILE...

  --workload NAME   select, latency, queries20, update, tpcb, mixed, stream, borrow, bulk, memory, scaling, restart,
                    or all of these; declared or mapping (select)
  --restart         the server is restarted in the middle: the same as --workload restart
  --systems A,B     which systems (all that know the workload)
  --rounds N        how often each runs, interleaved (5)
  --seconds N       how long each measures, after half a second of warm-up (4)
  --connections N   connections of a pool (8)
  --shared N        connections of clients that are shared without a pool, and of the floor (4)
  --tasks N         coroutines or async tasks (1024; 256 for update, 64 for tpcb, 4096 for mixed)
  --rate N          operations a second offered by mixed, instead of 60 % and 200 % of what is measured first
  --under COMMAND   run each system under this: \"strace -f -c\", \"perf record -g -o FILE\"
  --no-counts       do not count instructions and allocations (declared and mapping do, where valgrind is)
  --quick           one short round of everything: shows that it runs, measures nothing
  --report FILE...  write docs/benchmarks.md and its plots from the lines of JSON in these files

Each run prints a line of JSON; the tables of medians go to standard error.";

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    pub role: Role,
    pub workloads: Vec<Workload>,
    pub systems: Vec<String>,
    pub rounds: u64,
    pub seconds: f64,
    pub conns: usize,
    pub shared: usize,
    /// As many as the workload wants, if not said.
    pub tasks: Option<usize>,
    pub rate: Option<f64>,
    pub quick: bool,
    /// Which round a child is in: the seed of its ids.
    pub round: u64,
    /// The words of a command that each child is run under.
    pub under: Vec<String>,
    /// Whether instructions and allocations are counted.
    pub counts: bool,
    /// How many operations a child does, if its time does not matter.
    pub operations: Option<u64>,
}

/// What this process does.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Orchestrator,
    /// Measures this system.
    Child(String),
    /// Writes the document.
    Report(Vec<PathBuf>),
    Help,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            role: Role::Orchestrator,
            workloads: Vec::new(),
            systems: Vec::new(),
            rounds: 5,
            seconds: 4.0,
            conns: 8,
            shared: 4,
            tasks: None,
            rate: None,
            quick: false,
            round: 0,
            under: Vec::new(),
            counts: true,
            operations: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => (arguments.quick, arguments.rounds, arguments.seconds) = (true, 1, 0.5),
                "--no-counts" => arguments.counts = false,
                "--restart" => arguments.workloads = vec![Workload::Restart],
                "--report" => {
                    let files: Vec<_> = words.by_ref().map(PathBuf::from).collect();
                    if files.is_empty() {
                        return Err("--report: which files?".to_owned());
                    }
                    arguments.role = Role::Report(files);
                }
                "-h" | "--help" => arguments.role = Role::Help,
                _ => {
                    let value =
                        words.next().ok_or_else(|| format!("{word}: unknown, or its value is missing"))?;
                    arguments.set(&word, value)?;
                }
            }
        }
        if arguments.workloads.is_empty() {
            let all = if arguments.quick { "all" } else { "select" };
            arguments.workloads = Workload::named(all).unwrap_or_default();
        }
        Ok(arguments)
    }

    fn set(&mut self, word: &str, value: String) -> Result<(), String> {
        match word {
            // `--workload select --restart` in either order.
            "--workload" if value == "select" && self.workloads == [Workload::Restart] => {}
            "--workload" => {
                let exactly = matches!(self.role, Role::Child(_)).then(|| Workload::exactly(&value));
                let found = exactly.map_or_else(|| Workload::named(&value), |one| one.map(|one| vec![one]));
                self.workloads = found.ok_or_else(|| format!("{value}: no such workload"))?;
            }
            "--systems" => {
                self.systems = value.split(',').map(str::to_owned).collect();
                let mut names: Vec<_> = systems::ALL.iter().map(|system| system.name).collect();
                names.sort_unstable();
                names.dedup();
                if let Some(unknown) = self.systems.iter().find(|name| !names.contains(&name.as_str())) {
                    return Err(format!("{unknown}: no such system; there are {}", names.join(", ")));
                }
            }
            "--rounds" => self.rounds = positive(word, &value)?,
            "--seconds" => self.seconds = finite(word, &value)?,
            "--rate" => self.rate = Some(finite(word, &value)?),
            "--connections" | "--conns" => self.conns = positive(word, &value)?,
            "--shared" => self.shared = positive(word, &value)?,
            "--tasks" => self.tasks = Some(positive(word, &value)?),
            "--round" => self.round = positive(word, &value)?,
            "--operations" => self.operations = Some(positive(word, &value)?),
            "--under" => self.under = value.split_whitespace().map(str::to_owned).collect(),
            "--child" => self.role = Role::Child(value),
            _ => return Err(format!("{word}: no such option")),
        }
        Ok(())
    }
}

fn positive<T: std::str::FromStr + PartialOrd + Default>(word: &str, value: &str) -> Result<T, String> {
    let number = value.parse().ok().filter(|number| *number > T::default());
    number.ok_or_else(|| format!("{word}: {value} is not a whole number above 0"))
}

fn finite(word: &str, value: &str) -> Result<f64, String> {
    let number = value.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| format!("{word}: {value} is not a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_the_rest_has_defaults() {
        let arguments = parse("--workload borrow --systems deadpool-postgres,maypole --seconds 0.5").unwrap();
        assert_eq!(arguments.workloads, [Workload::Borrow, Workload::BorrowContended]);
        assert_eq!(arguments.systems, ["deadpool-postgres", "maypole"]);
        assert_eq!((arguments.rounds, arguments.seconds, arguments.conns), (5, 0.5, 8));
        let counting = parse("--no-counts --operations 7").unwrap();
        assert_eq!((counting.counts, counting.operations), (false, Some(7)));
        assert_eq!(counting.workloads, [Workload::Select]);
    }

    #[test]
    fn quick_is_one_round_of_everything_unless_something_is_named() {
        let quick = parse("--quick").unwrap();
        assert_eq!((quick.rounds, quick.workloads), (1, Workload::named("all").unwrap()));
        assert_eq!(parse("--quick --workload latency").unwrap().workloads, [Workload::Latency]);
    }

    #[test]
    fn a_restart_can_be_asked_for_in_three_ways() {
        for line in ["--restart", "--workload select --restart", "--restart --workload select"] {
            assert_eq!(parse(line).unwrap().workloads, [Workload::Restart], "{line}");
        }
    }

    #[test]
    fn a_child_has_one_workload_where_a_person_means_several() {
        assert_eq!(parse("--child x --workload borrow").unwrap().workloads, [Workload::Borrow]);
    }

    #[test]
    fn a_report_takes_all_that_follows() {
        let files = vec![PathBuf::from("a.json"), PathBuf::from("b.json")];
        assert_eq!(parse("--report a.json b.json").unwrap().role, Role::Report(files));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--rounds 0",
            "--rounds",
            "--seconds -1",
            "--workload x",
            "--systems x",
            "--what 1",
            "--conns 1.5",
            "--report",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
