//! How each system was used.

use super::lines::Lines;
use super::markdown::table;

/// How its selects travel: the honesty rule.
pub fn sync(system: &str) -> &'static str {
    match system {
        "maypole" | "floor" => "per group",
        _ => "per query",
    }
}

/// A system, the packages whose versions matter, and how it is used.
const USED: [(&str, &[&str], &str); 12] = [
    (
        "maypole",
        &[],
        "`#[select]` functions: selects of many coroutines share the pool's connections in groups of up to 64, one Sync a group; \
         all settings at their defaults but the limit",
    ),
    (
        "maypole-ungrouped",
        &[],
        "the same with `largest_group = 1`: shared connections, a Sync for each query",
    ),
    ("maypole-lease", &[], "the same with `lanes = 0`: each select borrows a connection"),
    (
        "deadpool-postgres",
        &["deadpool-postgres", "tokio-postgres"],
        "`prepare_cached`, `RecyclingMethod::Fast`, its default, which asks the server nothing",
    ),
    (
        "bb8-postgres",
        &["bb8", "bb8-postgres"],
        "a statement prepared once for each connection, kept beside the client; without the round trip before each use that is on by default",
    ),
    (
        "sqlx",
        &["sqlx"],
        "`query_as` on the pool, whose connections keep statements prepared; without the round trip before each use that is on by \
         default (the one after each use can't be switched off)",
    ),
    (
        "r2d2-postgres",
        &["r2d2", "postgres"],
        "64 threads (more only cost more), statements kept beside each connection; without the round trip before each use that is on \
         by default",
    ),
    (
        "tokio-postgres",
        &["tokio-postgres"],
        "no pool: 4 clients, as many as do best here, shared by all tasks, a statement prepared once for each; it pipelines; nobody opens a \
         lost connection again",
    ),
    (
        "xitca-postgres",
        &["xitca-postgres"],
        "no pool: shared in the same way, `query` on a prepared statement as its README shows it",
    ),
    (
        "floor",
        &[],
        "no client at all: requests encoded beforehand in groups of 32, 4 blocking sockets, 2 threads, answers read where they must \
         lie and checked",
    ),
    (
        "floor-coroutines",
        &[],
        "one coroutine of may for each connection, one query at a time, encoded beforehand",
    ),
    ("floor-blocking", &[], "one thread for each connection, one query at a time, encoded beforehand"),
];

pub fn section(lines: &Lines) -> String {
    let is_there = |system: &str| lines.reports.iter().any(|report| report.system == system);
    let used = USED.iter().filter(|(system, _, _)| is_there(system));
    let rows: Vec<Vec<String>> = used
        .map(|(system, packages, how)| {
            let versions: Vec<String> = packages.iter().filter_map(|package| version(package)).collect();
            vec![(*system).to_owned(), versions.join(", "), (*how).to_owned()]
        })
        .collect();
    format!("## How each is used\n\n{}", table(3, &["system", "versions", "how"], &rows))
}

/// The version that this program was built with.
fn version(package: &str) -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(format!("{package} {}", rest.split('"').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_version() {
        for package in USED.iter().flat_map(|(_, packages, _)| *packages) {
            assert!(version(package).is_some(), "{package}");
        }
    }
}
