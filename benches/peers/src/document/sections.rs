//! What the document says of each workload.

use super::lines::{Lines, Runs};
use super::markdown::{count, figure, table, times};
use super::plot::{self, Line, Plot};
use super::systems::sync;
use crate::report::Report;
use crate::workload::Workload;

/// Text and the plots below it.
pub struct Section {
    pub text: String,
    pub plots: Vec<Plot>,
}

type Figure = fn(&Report) -> Option<f64>;

/// A column and the figure in it.
const SPEED: (&str, Figure) = ("ops/s", |report| report.ops_per_s);
const COST: (&str, Figure) = ("client µs", |report| report.client_us_per_op);
const P50: (&str, Figure) = ("p50 µs", |report| report.p50_us);
const P99: (&str, Figure) = ("p99 µs", |report| report.p99_us);
const P999: (&str, Figure) = ("p99.9 µs", |report| report.p999_us);
const MEMORY: (&str, Figure) = ("MB", |report| Some(report.rss_mb));
const OFFERED: (&str, Figure) = ("offered/s", |report| Some(report.offer?.rate));
const NOT_CARRIED: (&str, Figure) = ("not carried", |report| Some(report.offer?.not_carried as f64));
const ROWS: (&str, Figure) = ("rows/s", |report| report.ops_per_s);
const ROW_COST: (&str, Figure) = ("client ns per row", |report| Some(report.client_us_per_op? * 1e3));
const FEW_PEAK: (&str, Figure) = ("peak KiB, 100,000 rows", |report| Some(report.peaks?.few_peak_kib as f64));
const MANY_PEAK: (&str, Figure) =
    ("peak KiB, 1,000,000 rows", |report| Some(report.peaks?.many_peak_kib as f64));
const BEFORE: (&str, Figure) = ("ops/s before", |report| report.ops_per_s);
const AWAY: (&str, Figure) = ("server away, s", |report| Some(report.recovery?.down_s));

/// How a workload is told.
struct Story {
    workload: Workload,
    title: &'static str,
    text: &'static str,
    columns: &'static [(&'static str, Figure)],
    /// Whether the column “Sync” makes sense.
    sync: bool,
    plots: &'static [(&'static str, &'static str, Figure)],
}

const STORIES: [Story; 13] = [
    Story {
        workload: Workload::Select,
        title: "select: one row by its key",
        text: "`SELECT id, randomnumber FROM world WHERE id = $1` on 10,000 rows, as fast as the tasks are answered.",
        columns: &[SPEED, COST, P50, P99, MEMORY],
        sync: true,
        plots: &[
            ("select", "select: queries a second", SPEED.1),
            ("select-cost", "select: client CPU per query, µs", COST.1),
        ],
    },
    Story {
        workload: Workload::Latency,
        title: "latency: the same query by one task",
        text: "Nobody to share with: one query at a time.",
        columns: &[SPEED, COST, P50, P99],
        sync: true,
        plots: &[("latency", "latency: median, µs", P50.1)],
    },
    Story {
        workload: Workload::Queries20,
        title: "queries20: twenty of them, one after the other",
        text: "An operation is twenty such queries, each asked when the one before is answered.",
        columns: &[SPEED, COST, P50, P99],
        sync: true,
        plots: &[("queries20", "queries20: operations of twenty queries a second", SPEED.1)],
    },
    Story {
        workload: Workload::Restart,
        title: "restart: select, and the server is restarted in the middle",
        text: "A restart in good order (`pg_ctl stop -m fast`, start). Seconds from when the server takes connections again until the throughput is \
               90 % of that before, looked at over a quarter of a second, so that 0.25 is the least; “never”: not within ten \
               seconds. A task whose query failed rests for 10 ms and goes on. “hung”: tasks that were not answered at all, with 35 seconds of \
               patience. Clients without a pool have nobody who opens their connections again.",
        columns: &[BEFORE, AWAY],
        sync: false,
        plots: &[],
    },
    Story {
        workload: Workload::Mixed60,
        title: "mixed: one of a thousand takes 20 ms, at a rate that can be carried",
        text: "0.1 % are `SELECT 1 FROM pg_sleep(0.02)`. Operations come at a fixed rate, whether those before are answered or not: 60 % of what \
               maypole carries with `lanes = 0` as fast as it can. Latencies of the fast ones, from when each was due. “Not carried”: not answered within \
               a second from then, in all rounds.",
        columns: &[OFFERED, SPEED, NOT_CARRIED, COST, P50, P99, P999],
        sync: true,
        plots: &[],
    },
    Story {
        workload: Workload::Mixed200,
        title: "mixed: the same at twice of what can be carried without lanes",
        text: "200 % of what maypole carries with `lanes = 0`.",
        columns: &[OFFERED, SPEED, NOT_CARRIED, COST, P50, P99, P999],
        sync: true,
        plots: &[],
    },
    Story {
        workload: Workload::Update,
        title: "update: read a row and change it",
        text: "A select and an update of the same row in one transaction, tried again after 40001 and 40P01. `maypole` sends what nobody waits \
               for along with COMMIT (`.later()`); `maypole-waiting` waits for each statement as the others do. After each run the table is audited.",
        columns: &[SPEED, COST, P50, P99],
        sync: false,
        plots: &[("update", "update: transactions a second", SPEED.1)],
    },
    Story {
        workload: Workload::Tpcb,
        title: "tpcb: pgbench's transaction",
        text: "The transaction that is like that of TPC-B, scale 16. `deadpool-pipelined` polls together what does not need each other's results; \
               `pgbench` is one program of C with a client for each connection, whose latencies are therefore not those of the others. After each \
               run the books are audited.",
        columns: &[SPEED, COST, P50, P99],
        sync: false,
        plots: &[("tpcb", "tpcb: transactions a second", SPEED.1)],
    },
    Story {
        workload: Workload::Stream,
        title: "stream: a million rows, one after the other",
        text: "One task reads rows of (int, text, timestamptz) into owned values: maypole by iteration, tokio-postgres by `query_raw`, sqlx by \
               `fetch`. Peak memory is what the process needed more than before it read anything.",
        columns: &[ROWS, ROW_COST, FEW_PEAK, MANY_PEAK],
        sync: false,
        plots: &[("stream", "stream: client CPU per row, ns", ROW_COST.1)],
    },
    Story {
        workload: Workload::StreamCollected,
        title: "stream-collected: the same into a list",
        text: "All rows are there at the end.",
        columns: &[ROWS, ROW_COST, MEMORY],
        sync: false,
        plots: &[],
    },
    Story {
        workload: Workload::Bulk,
        title: "bulk: 100,000 rows written",
        text: "One task, one transaction; what was written is added up each time. maypole has no COPY yet.",
        columns: &[ROWS, ROW_COST, MEMORY],
        sync: false,
        plots: &[("bulk", "bulk: rows a second", ROWS.1)],
    },
    Story {
        workload: Workload::Borrow,
        title: "borrow: a connection is borrowed and returned",
        text: "No query, and behind the pools of tokio no client either.",
        columns: &[SPEED, COST],
        sync: false,
        plots: &[],
    },
    Story {
        workload: Workload::BorrowContended,
        title: "borrow-contended: the same by 2,000 tasks on 50 connections",
        text: "Each yields once while it holds the connection: without that nobody would ever wait.",
        columns: &[SPEED, COST, P50, P99],
        sync: false,
        plots: &[],
    },
];

pub fn all(lines: &Lines) -> Vec<Section> {
    let mut sections: Vec<Section> = STORIES.iter().filter_map(|story| told(story, lines)).collect();
    sections.extend(scaling(lines));
    sections.extend(weights(lines));
    sections
}

fn told(story: &Story, lines: &Lines) -> Option<Section> {
    let all = lines.of(story.workload);
    let first = all.first()?;
    let mut heads = vec!["system"];
    heads.extend(story.sync.then_some("Sync"));
    heads.extend(story.columns.iter().map(|(head, _)| *head));
    let is_restart = story.workload == Workload::Restart;
    // Of what comes at a fixed rate, nobody does more than that.
    let is_compared = !is_restart && story.workload.share().is_none();
    heads.extend(is_restart.then_some(["s to 90 %", "hung", "wrong"]).iter().flatten());
    heads.extend(is_compared.then_some("maypole does"));
    heads.push("errors");
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|runs| {
            let mut cells = vec![runs.system.to_owned()];
            cells.extend(story.sync.then(|| sync(runs.system).to_owned()));
            cells.extend(story.columns.iter().map(|(head, of)| match *head {
                // Few of many would not show in a median.
                "not carried" => count(runs.sum(|report| report.offer.map_or(0, |offer| offer.not_carried))),
                _ => figure(runs.median(of)),
            }));
            if is_restart {
                cells.push(back(runs));
                cells.push(count(runs.sum(|report| report.hung)));
                cells.push(count(runs.sum(|report| report.wrong)));
            }
            if is_compared {
                cells.push(times(first.median(SPEED.1), runs.median(SPEED.1)));
            }
            cells.push(count(runs.sum(|report| report.errors)));
            cells
        })
        .collect();
    let mut text = format!("## {}\n\n{}\n\n{}\n\n", story.title, story.text, setting(&all));
    text += &table(if story.sync { 2 } else { 1 }, &heads, &rows);
    if is_restart {
        text += &kinds(&all);
    }
    let mut plots: Vec<Plot> = story
        .plots
        .iter()
        .filter_map(|(name, title, of)| plot::bars(name, title, &values(&all, *of)))
        .collect();
    if matches!(story.workload, Workload::Mixed60 | Workload::Mixed200) {
        let quantiles: [Figure; 3] = [P50.1, P99.1, P999.1];
        let of = |runs: &Runs<'_>| quantiles.iter().map(|of| runs.median(of).unwrap_or(0.0)).collect();
        let rows: Vec<(&str, Vec<f64>)> = all.iter().map(|runs| (runs.system, of(runs))).collect();
        let title = format!("{}: latency of the fast ones, µs", story.workload.name());
        plots.extend(plot::dots(story.workload.name(), &title, &["p50", "p99", "p99.9"], &rows));
    }
    Some(Section { text, plots })
}

fn values<'a>(all: &[Runs<'a>], of: Figure) -> Vec<(&'a str, f64)> {
    all.iter().filter_map(|runs| Some((runs.system, runs.median(of)?))).collect()
}

/// How much of it, and how often.
fn setting(all: &[Runs<'_>]) -> String {
    let Some(any) = all.first().and_then(|runs| runs.reports.first()) else { return String::new() };
    let conns = if any.conns == 1 { "1 connection".to_owned() } else { format!("{} connections", any.conns) };
    let tasks = if any.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", any.tasks) };
    let others = all.iter().filter(|runs| runs.reports.iter().any(|report| report.conns != any.conns));
    let others: Vec<String> =
        others.map(|runs| format!("{} has {}", runs.system, runs.reports[0].conns)).collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let rounds = all.iter().map(|runs| runs.reports.len()).max().unwrap_or(0);
    format!(
        "{tasks}, {conns}{others}, {rounds} rounds of {} s: `./dev bench --workload {} --rounds {rounds} --seconds {}`.",
        any.secs,
        Workload::exactly(&any.workload).map_or("", Workload::asked_for),
        any.secs
    )
}

/// The median of the seconds, if it always came back.
fn back(runs: &Runs<'_>) -> String {
    let back = |report: &Report| report.recovery?.back_s;
    let never = runs.reports.iter().filter(|report| back(report).is_none()).count();
    match never {
        0 => figure(runs.median(back)),
        all if all == runs.reports.len() => "never".to_owned(),
        some => format!("{}; never in {some} of {}", figure(runs.median(back)), runs.reports.len()),
    }
}

fn kinds(all: &[Runs<'_>]) -> String {
    let mut text = "The errors by name, in all rounds:\n\n".to_owned();
    for runs in all {
        let mut kinds = std::collections::BTreeMap::new();
        for (kind, times) in runs.reports.iter().flat_map(|report| &report.kinds) {
            *kinds.entry(kind.as_str()).or_insert(0) += times;
        }
        let kinds: Vec<String> =
            kinds.iter().map(|(kind, times)| format!("{} × “{kind}”", count(*times))).collect();
        let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join("; ") };
        text += &format!("* {}: {kinds}\n", runs.system);
    }
    text + "\n"
}

fn scaling(lines: &Lines) -> Option<Section> {
    let all = lines.of(Workload::Scaling);
    let runs = all.first()?;
    let mut conns: Vec<usize> = runs.reports.iter().map(|report| report.conns).collect();
    let mut tasks: Vec<usize> = runs.reports.iter().map(|report| report.tasks).collect();
    conns.sort_unstable();
    conns.dedup();
    tasks.sort_unstable();
    tasks.dedup();
    let of = |tasks: usize, conns: usize, figure: Figure| {
        let reports = runs.reports.iter().filter(|report| (report.tasks, report.conns) == (tasks, conns));
        Runs { system: runs.system, reports: reports.copied().collect() }.median(figure)
    };
    let mut text = "## scaling: select by maypole with other numbers of tasks and connections\n\n".to_owned();
    let heads: Vec<String> = conns.iter().map(|conns| format!("{conns} conn.")).collect();
    let mut table_heads = vec!["tasks"];
    table_heads.extend(heads.iter().map(String::as_str));
    for (title, (_, of_report)) in [("Client CPU per query, µs:", COST), ("Queries a second:", SPEED)] {
        let rows: Vec<Vec<String>> = tasks
            .iter()
            .map(|tasks| {
                let cells = conns.iter().map(|conns| figure(of(*tasks, *conns, of_report)));
                std::iter::once(count(*tasks as u64)).chain(cells).collect()
            })
            .collect();
        text += &format!("{title}\n\n{}", table(0, &table_heads, &rows));
    }
    let lines_of = |figure: Figure| -> Vec<Line> {
        let line = |conns: &usize| Line {
            label: format!("{conns} connection{}", if *conns == 1 { "" } else { "s" }),
            points: tasks
                .iter()
                .filter_map(|tasks| Some((*tasks as f64, of(*tasks, *conns, figure)?)))
                .collect(),
        };
        conns.iter().map(line).collect()
    };
    let plots = [
        plot::curves("scaling-cost", "scaling: client CPU per query, µs", "tasks", &lines_of(COST.1)),
        plot::curves("scaling", "scaling: queries a second", "tasks", &lines_of(SPEED.1)),
    ];
    Some(Section { text, plots: plots.into_iter().flatten().collect() })
}

/// What something weighs.
fn weights(lines: &Lines) -> Option<Section> {
    let rows: Vec<Vec<String>> = lines
        .weights
        .iter()
        .map(|weight| {
            vec![weight.system.clone(), weight.what.clone(), figure(Some(weight.bytes_each / 1024.0))]
        })
        .collect();
    let text = "## memory: what waiting tasks and idle connections weigh\n\nResident memory of the client, for each of 5,000 \
                tasks that wait for a connection, and for each of 100 idle connections.\n\n";
    let text = format!("{text}{}", table(2, &["system", "what", "KiB each"], &rows));
    (!rows.is_empty()).then_some(Section { text, plots: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::Recovery;

    fn section(reports: Vec<Report>) -> Section {
        let lines = Lines { reports, ..Lines::default() };
        let mut sections = all(&lines);
        assert_eq!(sections.len(), 1);
        sections.remove(0)
    }

    #[test]
    fn a_table_has_the_medians_and_what_maypole_does_more() {
        let report = |system: &str, speed| Report {
            ops_per_s: Some(speed),
            client_us_per_op: Some(2.0),
            ..Report::of_test(system, "select")
        };
        let Section { text, plots } = section(vec![
            report("maypole", 200_000.0),
            report("deadpool-postgres", 25_000.0),
            report("maypole", 300_000.0),
            report("deadpool-postgres", 25_000.0),
        ]);
        assert!(text.contains("| maypole | per group | 250,000 |"), "{text}");
        assert!(text.contains("| deadpool-postgres | per query | 25,000 |"), "{text}");
        assert!(text.contains("| 10 × | 0 |"), "{text}");
        assert_eq!(plots.len(), 2);
    }

    #[test]
    fn who_never_comes_back_is_named() {
        let report = |back_s| Report {
            recovery: Some(Recovery { down_s: 0.1, back_s }),
            ..Report::of_test("tokio-postgres", "restart")
        };
        assert!(section(vec![report(None), report(None)]).text.contains("| never |"));
        let sometimes = section(vec![report(None), report(Some(0.5))]).text;
        assert!(sometimes.contains("| 0.50; never in 1 of 2 |"), "{sometimes}");
    }
}
