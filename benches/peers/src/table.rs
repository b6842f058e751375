//! The medians of many runs, for people.

use crate::median::median;
use crate::report::Report;

/// One column.
struct Column {
    head: &'static str,
    width: usize,
    figure: fn(&Report) -> Option<f64>,
    /// Whether the ratio to the first system stands beside it.
    ratio: bool,
}

const fn column(head: &'static str, width: usize, ratio: bool, figure: fn(&Report) -> Option<f64>) -> Column {
    Column { head, width, figure, ratio }
}

const COLUMNS: [Column; 8] = [
    column("ops/s", 11, true, |report| report.ops_per_s),
    column("client us/op", 14, true, |report| report.client_us_per_op),
    column("p50 us", 10, false, |report| report.p50_us),
    column("p99 us", 10, false, |report| report.p99_us),
    column("p99.9 us", 10, false, |report| report.p999_us),
    column("max us", 10, false, |report| report.max_us),
    column("rss MB", 8, false, |report| Some(report.rss_mb)),
    column("conns", 6, false, |report| Some(report.conns as f64)),
];

/// Those that only some workloads have.
const MORE: [Column; 8] = [
    column("offered/s", 11, false, |report| report.offer.map(|offer| offer.rate)),
    column("not carried", 12, false, |report| report.offer.map(|offer| offer.not_carried as f64)),
    column("KiB, few", 10, false, |report| report.peaks.map(|peaks| peaks.few_peak_kib as f64)),
    column("KiB, many", 10, false, |report| report.peaks.map(|peaks| peaks.many_peak_kib as f64)),
    column("s away", 8, false, |report| report.recovery.map(|recovery| recovery.down_s)),
    column("s to 90 %", 10, false, |report| report.recovery.and_then(|recovery| recovery.back_s)),
    column("wrong", 6, false, |report| report.recovery.map(|_| report.wrong as f64)),
    column("hung", 6, false, |report| report.recovery.map(|_| report.hung as f64)),
];

/// The medians of the rounds of each system, in the order of `systems`, and their ratio to the first of them.
pub fn table(reports: &[Report], systems: &[&str]) -> String {
    let of = |system: &str, figure: fn(&Report) -> Option<f64>| {
        median(reports.iter().filter(|report| report.system == system).filter_map(figure).collect())
    };
    let more = MORE.iter().filter(|column| reports.iter().any(|report| (column.figure)(report).is_some()));
    let columns: Vec<&Column> = COLUMNS.iter().chain(more).collect();
    let mut head = format!("{:22}", "system");
    for column in &columns {
        head += &format!("{:>1$}", column.head, column.width);
        head += if column.ratio { "  ratio" } else { "" };
    }
    let mut lines = vec![head + "  errors"];
    let first = systems.first().copied().unwrap_or_default();
    for system in systems {
        let mut line = format!("{system:22}");
        for column in &columns {
            let mine = of(system, column.figure);
            line += &format!("{:>1$}", text(mine), column.width);
            if column.ratio {
                line += &format!("{:>7}", ratio(of(first, column.figure), mine));
            }
        }
        let runs = reports.iter().filter(|report| report.system == *system);
        lines.push(line + &format!("{:>8}", runs.map(|report| report.errors).sum::<u64>()));
    }
    lines.join("\n")
}

/// To three digits or so.
pub fn text(figure: Option<f64>) -> String {
    match figure {
        Some(0.0) => "0".to_owned(),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) if figure >= 1.0 => format!("{figure:.2}"),
        Some(figure) => format!("{figure:.4}"),
        None => "-".to_owned(),
    }
}

pub fn ratio(first: Option<f64>, other: Option<f64>) -> String {
    match (first, other) {
        (Some(first), Some(other)) if first > 0.0 => format!("{:.2}", other / first),
        _ => "-".to_owned(),
    }
}
