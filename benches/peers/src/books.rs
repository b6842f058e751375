//! What the tables say about a run that changes them.

use crate::report::Report;
use crate::workload::Workload;
use crate::{Result, tpcb, update};

/// What must be known of the tables before a run.
pub enum Books {
    /// Nobody changes them.
    Closed,
    Update,
    Tpcb(tpcb::Totals),
}

impl Books {
    /// Makes the tables ready: each run finds the same.
    pub fn open(case: Workload, url: &str) -> Result<Books> {
        Ok(match case {
            Workload::Update => {
                update::ready(url)?;
                Books::Update
            }
            Workload::Tpcb => Books::Tpcb(tpcb::ready(url)?),
            _ => Books::Closed,
        })
    }

    /// Takes the speed from a run whose work the tables do not show.
    pub fn audit(self, url: &str, report: &mut Report) -> Result<()> {
        let committed = report.all_ops.unwrap_or(0);
        let wrong = match self {
            Books::Closed => None,
            Books::Update => update::audit(url, committed)?,
            Books::Tpcb(before) => tpcb::audit(url, before, committed, report.errors)?,
        };
        if let Some(wrong) = wrong {
            eprintln!("peers: {} is wrong in {}: {wrong}", report.system, report.workload);
            report.void();
        }
        Ok(())
    }
}
