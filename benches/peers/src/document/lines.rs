//! The lines of many runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::Result;
use crate::machine::Machine;
use crate::median::median;
use crate::report::{Report, Weight};
use crate::workload::Workload;

/// What was read.
#[derive(Default)]
pub struct Lines {
    pub reports: Vec<Report>,
    pub weights: Vec<Weight>,
    pub machines: BTreeSet<String>,
}

/// The runs of one system on one workload.
pub struct Runs<'a> {
    pub system: &'a str,
    pub reports: Vec<&'a Report>,
}

impl Lines {
    pub fn read(files: &[PathBuf]) -> Result<Lines> {
        let mut lines = Lines::default();
        for file in files {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            for (number, line) in text.lines().enumerate() {
                let value: Value = serde_json::from_str(line)
                    .map_err(|error| format!("{}, line {}: {error}", file.display(), number + 1))?;
                lines.add(value)?;
            }
        }
        Ok(lines)
    }

    fn add(&mut self, value: Value) -> Result<()> {
        if value.get("cores").is_some() {
            self.machines.insert(serde_json::from_value::<Machine>(value)?.to_string());
        } else if value.get("bytes_each").is_some() {
            self.weights.push(serde_json::from_value(value)?);
        } else if value.get("ops_per_s").is_some() {
            self.reports.push(serde_json::from_value(value)?);
        }
        Ok(())
    }

    /// The runs of a workload by system, in the order in which these came first.
    pub fn of(&self, workload: Workload) -> Vec<Runs<'_>> {
        let mut all: Vec<Runs<'_>> = Vec::new();
        for report in self.reports.iter().filter(|report| report.workload == workload.name()) {
            match all.iter_mut().find(|runs| runs.system == report.system) {
                Some(runs) => runs.reports.push(report),
                None => all.push(Runs { system: &report.system, reports: vec![report] }),
            }
        }
        all
    }

    /// How many rounds most systems ran.
    pub fn rounds(&self) -> usize {
        let select = self.of(Workload::Select);
        select.iter().map(|runs| runs.reports.len()).max().unwrap_or(5)
    }
}

impl Runs<'_> {
    pub fn median(&self, figure: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        median(self.reports.iter().filter_map(|report| figure(report)).collect())
    }

    pub fn sum(&self, figure: impl Fn(&Report) -> u64) -> u64 {
        self.reports.iter().map(|report| figure(report)).sum()
    }
}
