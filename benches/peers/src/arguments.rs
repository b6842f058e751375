//! The command line.

use crate::systems;
use crate::workload::Workload;

pub const USAGE: &str = "\
usage: peers [options]

  --workload NAME   select, latency, update, tpcb, declared, mapping, rows, borrow or memory (select)
  --systems A,B     which systems (all that know the workload)
  --rounds N        how often each runs, interleaved (5)
  --seconds N       how long each measures, after half a second of warm-up (4)
  --conns N         connections (8)
  --tasks N         coroutines or async tasks (256; 64 for tpcb)
  --under COMMAND   run each system under this: \"strace -f -c\", \"perf record -g -o FILE\"
  --no-counts       do not count instructions and allocations (declared and mapping do, where valgrind is)
  --quick           one round of one second: shows that everything runs, measures nothing";

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    pub role: Role,
    pub workload: Workload,
    pub systems: Vec<String>,
    pub rounds: u64,
    pub seconds: f64,
    pub conns: usize,
    /// As many as the workload wants, if not said.
    pub tasks: Option<usize>,
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
    Help,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            role: Role::Orchestrator,
            workload: Workload::Select,
            systems: Vec::new(),
            rounds: 5,
            seconds: 4.0,
            conns: 8,
            tasks: None,
            round: 0,
            under: Vec::new(),
            counts: true,
            operations: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => (arguments.rounds, arguments.seconds) = (1, 1.0),
                "--no-counts" => arguments.counts = false,
                "-h" | "--help" => arguments.role = Role::Help,
                _ => {
                    let value =
                        words.next().ok_or_else(|| format!("{word}: unknown, or its value is missing"))?;
                    arguments.set(&word, value)?;
                }
            }
        }
        Ok(arguments)
    }

    fn set(&mut self, word: &str, value: String) -> Result<(), String> {
        match word {
            "--workload" => {
                self.workload =
                    Workload::named(&value).ok_or_else(|| format!("{value}: no such workload"))?;
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
            "--seconds" => {
                let seconds =
                    value.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && seconds.is_finite());
                self.seconds = seconds.ok_or_else(|| format!("{word}: {value} is not a number above 0"))?;
            }
            "--conns" => self.conns = positive(word, &value)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_the_rest_has_defaults() {
        let arguments =
            parse("--workload borrow --systems deadpool-postgres,maypole-lease --seconds 0.5").unwrap();
        assert_eq!(arguments.workload, Workload::Borrow);
        assert_eq!(arguments.systems, ["deadpool-postgres", "maypole-lease"]);
        assert_eq!((arguments.rounds, arguments.seconds, arguments.conns), (5, 0.5, 8));
        assert_eq!(parse("--quick").unwrap().rounds, 1);
        let counting = parse("--no-counts --operations 7").unwrap();
        assert_eq!((counting.counts, counting.operations), (false, Some(7)));
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
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
