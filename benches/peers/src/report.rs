//! The line of one run, and the table of the medians of many.

use serde::{Deserialize, Serialize};

use crate::meter::{Cost, Tally};
use crate::workload::Load;
use crate::{Result, process};

/// One run. A figure that was not taken, or not with right answers, is null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub system: String,
    pub workload: String,
    pub round: u64,
    pub conns: usize,
    pub tasks: usize,
    pub secs: f64,
    pub ops_per_s: Option<f64>,
    pub client_us_per_op: Option<f64>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub max_us: Option<f64>,
    pub rss_mb: f64,
    /// What the CPU takes more than for the system it is compared with, both in turns in one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_turns_ns_per_op: Option<f64>,
    /// Operations before, in and after the time that counts, where the tables must tell of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_ops: Option<u64>,
    /// Operations that failed; wrong answers are among them.
    pub errors: u64,
}

/// What something weighs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Weight {
    pub system: String,
    pub workload: String,
    pub what: String,
    pub count: usize,
    pub bytes_each: f64,
}

impl Report {
    pub fn new(system: &str, load: &Load, cost: Cost, tallies: Vec<Tally>) -> Result<Report> {
        let tasks = tallies.len();
        let all = tallies.into_iter().reduce(|mut all, one| {
            all.add(&one);
            all
        });
        let all = all.ok_or("no task has run")?;
        let fair = all.wrong == 0 && all.ops > 0;
        let figure = |figure: Option<f64>| figure.filter(|_| fair).map(rounded);
        let (ops, seconds) = (all.ops as f64, cost.wall.as_secs_f64());
        Ok(Report {
            system: system.to_owned(),
            workload: load.workload.name().to_owned(),
            round: load.round,
            conns: load.conns,
            tasks,
            secs: load.seconds,
            ops_per_s: figure(Some(ops / seconds)),
            client_us_per_op: figure(Some(cost.cpu.as_secs_f64() * 1e6 / ops)),
            p50_us: figure(all.latencies.quantile(0.5)),
            p99_us: figure(all.latencies.quantile(0.99)),
            max_us: figure(all.latencies.max()),
            rss_mb: rounded(process::peak_bytes()? as f64 / 1e6),
            in_turns_ns_per_op: None,
            all_ops: load.workload.changes_tables().then_some(all.all_ops),
            errors: all.errors,
        })
    }

    /// Takes its speed: something was wrong that only came out at the end.
    pub fn void(&mut self) {
        self.errors += 1;
        for figure in [
            &mut self.ops_per_s,
            &mut self.client_us_per_op,
            &mut self.p50_us,
            &mut self.p99_us,
            &mut self.max_us,
        ] {
            *figure = None;
        }
    }

    pub fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

impl Weight {
    /// Prints what each of so many weighs, by the resident memory before and after.
    pub fn print(system: &str, load: &Load, what: &str, count: usize, before: u64, after: u64) -> Result<()> {
        let weight = Weight {
            system: system.to_owned(),
            workload: load.workload.name().to_owned(),
            what: what.to_owned(),
            count,
            bytes_each: rounded((after as f64 - before as f64) / count as f64),
        };
        println!("{}", serde_json::to_string(&weight)?);
        Ok(())
    }
}

/// To five significant digits: no more is true.
pub fn rounded(number: f64) -> f64 {
    format!("{number:.4e}").parse().unwrap_or(number)
}

/// The medians of the rounds of each system, in the order of `systems`, and their ratio to the first of them.
pub fn table(reports: &[Report], systems: &[&str]) -> String {
    let median_of = |system: &str, figure: &dyn Fn(&Report) -> Option<f64>| {
        median(reports.iter().filter(|report| report.system == system).filter_map(figure).collect())
    };
    let text = |figure: Option<f64>| match figure {
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) if figure >= 1.0 => format!("{figure:.2}"),
        Some(figure) => format!("{figure:.4}"),
        None => "-".to_owned(),
    };
    let ratio = |mine: Option<f64>, theirs: Option<f64>| match (mine, theirs) {
        (Some(mine), Some(theirs)) if mine > 0.0 => format!("{:.2}", theirs / mine),
        _ => "-".to_owned(),
    };
    let first = systems.first().copied().unwrap_or_default();
    let heads = ["ops/s", "ratio", "client us/op", "ratio", "p50 us", "p99 us", "max us", "rss MB", "errors"];
    let mut lines = vec![row("system", &heads.map(str::to_owned))];
    for system in systems {
        let speed = |report: &Report| report.ops_per_s;
        let cost = |report: &Report| report.client_us_per_op;
        let errors: u64 =
            reports.iter().filter(|report| report.system == *system).map(|report| report.errors).sum();
        lines.push(row(
            system,
            &[
                text(median_of(system, &speed)),
                ratio(median_of(first, &speed), median_of(system, &speed)),
                text(median_of(system, &cost)),
                ratio(median_of(first, &cost), median_of(system, &cost)),
                text(median_of(system, &|report| report.p50_us)),
                text(median_of(system, &|report| report.p99_us)),
                text(median_of(system, &|report| report.max_us)),
                text(median_of(system, &|report| Some(report.rss_mb))),
                errors.to_string(),
            ],
        ));
    }
    lines.join("\n")
}

fn row(name: &str, cells: &[String; 9]) -> String {
    let [speed, speed_ratio, cost, cost_ratio, p50, p99, max, rss, errors] = cells;
    format!(
        "{name:20}{speed:>11}{speed_ratio:>7}{cost:>14}{cost_ratio:>7}{p50:>10}{p99:>10}{max:>10}{rss:>8}{errors:>8}"
    )
}

pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::Window;
    use crate::workload::Workload;
    use crate::world::stored;

    #[test]
    fn a_run_with_a_wrong_answer_has_no_speed() {
        let load = Load {
            workload: Workload::Select,
            conns: 1,
            tasks: 1,
            seconds: 1.0,
            round: 1,
            operations: None,
            url: String::new(),
        };
        let cost = Cost { wall: Duration::from_secs(1), cpu: Duration::from_millis(500) };
        let report = |answer: Result<(i32, i32)>| {
            let mut tally = Tally::new(Window::open_now(Duration::from_secs(60)), 0);
            tally.answered(7, Ok::<_, String>((7, stored(7))));
            tally.answered(8, answer);
            Report::new("test", &load, cost, vec![tally]).unwrap()
        };
        let figures = |report: &Report| (report.errors, report.ops_per_s, report.client_us_per_op);
        let mut void = report(Ok((8, stored(8))));
        assert!(void.p50_us.is_some());
        void.void();
        assert_eq!((figures(&void), void.p50_us), ((1, None, None), None));
        let report = |answer| figures(&report(answer));
        assert_eq!(report(Ok((8, stored(8)))), (0, Some(2.0), Some(250_000.0)));
        assert_eq!(report(Err("lost".into())), (1, Some(1.0), Some(500_000.0)));
        assert_eq!(report(Ok((9, stored(9)))), (1, None, None));
        assert_eq!(report(Ok((8, stored(8) + 1))), (1, None, None));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn figures_are_rounded_to_what_they_are_worth() {
        assert_eq!(rounded(123_456.789), 123_460.0);
        assert_eq!(rounded(0.0), 0.0);
    }
}
