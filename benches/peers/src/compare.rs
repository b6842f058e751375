//! What a workload is there for: the differences of its systems.

use crate::count::Count;
use crate::median::median;
use crate::report::Report;
use crate::workload::Workload;

/// Client CPU in nanoseconds, instructions and allocations of an operation; what was not measured is none.
type Figures = [Option<f64>; 3];

/// The lines of a table, or none.
pub fn lines(case: Workload, reports: &[Report], counts: &[Count]) -> Vec<String> {
    let all = Figured { reports, counts };
    let minus = |mine: &str, base: &str| (format!("{mine} - {base}"), all.difference(mine, base));
    let mut rows = Vec::new();
    match case {
        Workload::Declared => {
            rows.push(minus("maypole-declared", "maypole-session"));
            rows.push(minus("maypole-declared-pool", "maypole-session-pool"));
        }
        Workload::Mapping => {
            let (derive, by_hand) = (minus("derive", "nothing"), minus("by-hand", "nothing"));
            let ratio = [0, 1, 2].map(|at| Some(derive.1[at]? / by_hand.1[at]?));
            rows.extend([derive, by_hand, ("ratio of these two".to_owned(), ratio)]);
        }
        _ => return Vec::new(),
    }
    let heads = ["client ns/op", "instructions/op", "allocations/op"].map(str::to_owned);
    let mut lines = vec![String::new(), line("", &heads)];
    lines.extend(rows.iter().map(|(name, figures)| line(name, &figures.map(text))));
    lines
}

struct Figured<'a> {
    reports: &'a [Report],
    counts: &'a [Count],
}

impl Figured<'_> {
    /// What one takes more than the other. Times are compared in turns where somebody has, else round by round: machines
    /// drift.
    fn difference(&self, mine: &str, base: &str) -> Figures {
        let of = |system: &str, round: u64| {
            let run = self.reports.iter().find(|report| report.system == system && report.round == round);
            run.and_then(|report| report.client_us_per_op)
        };
        let rounds = self.reports.iter().filter(|report| report.system == mine).map(|report| report.round);
        let times = rounds.filter_map(|round| Some((of(mine, round)? - of(base, round)?) * 1e3)).collect();
        let in_turns = self.reports.iter().filter(|report| report.system == mine);
        let in_turns = median(in_turns.filter_map(|report| report.in_turns_ns_per_op).collect());
        let counts = |figure: fn(&Count) -> f64| {
            let of = |system: &str| self.counts.iter().find(|count| count.system == system).map(figure);
            Some(of(mine)? - of(base)?)
        };
        [
            in_turns.or(median(times)),
            counts(|count| count.instructions_per_op),
            counts(|count| count.allocations_per_op),
        ]
    }
}

fn text(figure: Option<f64>) -> String {
    match figure {
        Some(figure) if figure.abs() >= 10.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
        None => "-".to_owned(),
    }
}

fn line(name: &str, cells: &[String; 3]) -> String {
    let [time, instructions, allocations] = cells;
    format!("{name:46}{time:>14}{instructions:>17}{allocations:>16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(system: &str, round: u64, microseconds: f64) -> Report {
        Report { round, client_us_per_op: Some(microseconds), ..Report::of_test(system, "declared") }
    }

    #[test]
    fn times_are_compared_in_turns_or_round_by_round() {
        let (mine, base) = ("maypole-declared", "maypole-session");
        let reports = [
            report(mine, 1, 10.1),
            report(base, 1, 10.0),
            report(mine, 2, 20.3),
            report(base, 2, 20.0),
            report(mine, 3, 30.0),
            report(base, 3, 30.0),
        ];
        let [time, instructions, _] = Figured { reports: &reports, counts: &[] }.difference(mine, base);
        assert!((time.unwrap() - 100.0).abs() < 1e-6);
        assert_eq!(instructions, None);
        let in_turns = Report { in_turns_ns_per_op: Some(7.0), ..report(mine, 4, 10.0) };
        let reports = [&reports[..], &[in_turns]].concat();
        assert_eq!(Figured { reports: &reports, counts: &[] }.difference(mine, base)[0], Some(7.0));
    }
}
