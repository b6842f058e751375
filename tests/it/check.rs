//! Declared queries checked against the schema: what is told of each kind of mistake, and of which nothing.

mod advice;
mod clean;
mod mistakes;
mod nullability;
mod parameters;
mod sessions;

use maypole::Database;

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::server::server;

/// What is advised for a timestamptz: by the features that are on.
const TIMESTAMPTZ: &str = if cfg!(feature = "with-chrono-0_4") {
    "chrono::DateTime<chrono::Utc>"
} else if cfg!(any(feature = "with-jiff-0_1", feature = "with-jiff-0_2")) {
    "jiff::Timestamp"
} else if cfg!(any(feature = "with-time-0_2", feature = "with-time-0_3")) {
    "time::OffsetDateTime"
} else {
    "std::time::SystemTime"
};

/// The whole text of the error that the check of this database is.
fn refused(db: &Database, test: &TestPool) -> String {
    let lease = test.pool.connection().expect("lent");
    let error = db.check_on(&lease).expect_err("there are mistakes");
    assert_eq!(error.outcome(), maypole::Outcome::NotSent);
    error.to_string()
}

/// What is told of one query, each line without its indent.
#[track_caller]
fn told(report: &str, query: &str) -> Vec<String> {
    let block = report
        .split("\n\n")
        .find(|block| {
            block.starts_with(&format!("query {query}\n")) || block.starts_with(&format!("query {query} "))
        })
        .unwrap_or_else(|| panic!("{query} is not in the report:\n{report}"));
    // The widths of the table are those of all queries.
    block.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn make(sql: &str) {
    Client::connect(&server().url()).expect("up").query(sql).map(drop).expect("made");
}
