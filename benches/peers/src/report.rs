//! The line of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::{Cost, Tally};
use crate::restart::Recovery;
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
    #[serde(default)]
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
    pub rss_mb: f64,
    /// What was offered at a fixed rate.
    #[serde(flatten)]
    pub offer: Option<Offer>,
    /// After a restart of the server.
    #[serde(flatten)]
    pub recovery: Option<Recovery>,
    /// How maypole's selects shared connections.
    #[serde(flatten)]
    pub lanes: Option<Lanes>,
    /// While many rows were read.
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
    /// What the CPU takes more than for the system it is compared with, both in turns in one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_turns_ns_per_op: Option<f64>,
    /// Operations before, in and after the time that counts, where the tables must tell of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_ops: Option<u64>,
    /// Operations that failed; wrong answers are among them.
    pub errors: u64,
    /// Answers that were not those to the question.
    #[serde(default, skip_serializing_if = "is_none")]
    pub wrong: u64,
    /// Tasks that never came to their end.
    #[serde(default, skip_serializing_if = "is_none")]
    pub hung: u64,
    /// The errors by what they said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, u64>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Operations that came at a fixed rate, whether those before were answered or not. Latencies are from when one was due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Offer {
    pub rate: f64,
    /// Due in the window, and not answered within a second from then.
    pub not_carried: u64,
    /// The slow ones that were answered.
    pub slow: u64,
}

/// What maypole's pool has counted, warm-up and all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Lanes {
    pub groups: u64,
    pub selects: u64,
    pub sent_again: u64,
    pub run_alone: u64,
}

/// The most memory that reading needed above what the process had before, for few rows and for many.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Peaks {
    pub few_rows: u64,
    pub few_peak_kib: u64,
    pub many_rows: u64,
    pub many_peak_kib: u64,
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
            p999_us: figure(all.latencies.quantile(0.999)),
            max_us: figure(all.latencies.max()),
            rss_mb: rounded(process::peak_bytes()? as f64 / 1e6),
            offer: None,
            recovery: None,
            lanes: None,
            peaks: None,
            in_turns_ns_per_op: None,
            all_ops: load.workload.changes_tables().then_some(all.all_ops),
            errors: all.errors,
            wrong: all.wrong,
            hung: 0,
            kinds: all.kinds.into_map(),
        })
    }

    /// One of a unit test.
    #[cfg(test)]
    pub fn of_test(system: &str, workload: &str) -> Report {
        let line = format!(
            "{{\"system\": \"{system}\", \"workload\": \"{workload}\", \"round\": 1, \"conns\": 8, \"tasks\": 1024, \"secs\": 4.0, \
             \"ops_per_s\": null, \"client_us_per_op\": null, \"p50_us\": null, \"p99_us\": null, \"max_us\": null, \"rss_mb\": 1.0, \
             \"errors\": 0}}"
        );
        serde_json::from_str(&line).unwrap()
    }

    /// Takes its speed: something was wrong that only came out at the end.
    pub fn void(&mut self) {
        self.errors += 1;
        for figure in [
            &mut self.ops_per_s,
            &mut self.client_us_per_op,
            &mut self.p50_us,
            &mut self.p99_us,
            &mut self.p999_us,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::{Failure, Window};
    use crate::workload::Workload;
    use crate::world::stored;

    #[test]
    fn a_run_with_a_wrong_answer_has_no_speed() {
        let load = Load::of_test(Workload::Select);
        let cost = Cost { wall: Duration::from_secs(1), cpu: Duration::from_millis(500) };
        let report = |answer: Result<(i32, i32)>| {
            let mut tally = Tally::new(&load, &Window::counting(), 0);
            for (id, answer) in [(7, Ok((7, stored(7)))), (8, answer)] {
                assert!(tally.goes_on());
                if tally.is_right::<Failure>(id, answer) {
                    tally.done();
                }
            }
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
    fn what_only_some_workloads_have_is_in_the_line_and_is_read_again() {
        let plain = Report::of_test("maypole", "select");
        let line = serde_json::to_string(&plain).unwrap();
        assert!(!line.contains("rate") && !line.contains("back_s") && !line.contains("groups"), "{line}");

        let full = Report {
            offer: Some(Offer { rate: 10.0, not_carried: 3, slow: 1 }),
            recovery: Some(Recovery { down_s: 0.5, back_s: None }),
            lanes: Some(Lanes { groups: 2, selects: 9, sent_again: 0, run_alone: 0 }),
            peaks: Some(Peaks { few_rows: 1, few_peak_kib: 2, many_rows: 3, many_peak_kib: 4 }),
            kinds: BTreeMap::from([("lost".to_owned(), 2)]),
            ..plain
        };
        let line = serde_json::to_string(&full).unwrap();
        assert!(line.contains("\"back_s\":null"), "{line}");
        let read: Report = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
        assert_eq!(read.offer.map(|offer| offer.not_carried), Some(3));
        assert_eq!(read.recovery.map(|recovery| recovery.back_s), Some(None));
    }

    #[test]
    fn figures_are_rounded_to_what_they_are_worth() {
        assert_eq!(rounded(123_456.789), 123_460.0);
        assert_eq!(rounded(0.0), 0.0);
    }
}
