//! Errors that the server finds only when it plans a statement. Uses: error, report.

use super::report::{Finding, Severity};
use crate::error::Error;

/// What to say of a statement that the server has parsed and can't plan; none if the reason may not be there when the
/// statement runs.
pub(super) fn finding(error: &Error) -> Option<Finding> {
    if !is_about_the_statement(error) {
        return None;
    }
    let mut message = vec![format!("is refused when it runs: {error}")];
    if let Some(server) = error.db_error() {
        message.extend(server.hint().map(|hint| format!("hint: {hint}")));
        // "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        if server.code() == "42P10" {
            message.push("create a unique index on just these columns".to_owned());
            message.push("or name the columns of one that there is in ON CONFLICT".to_owned());
        }
    }
    Some(Finding {
        severity: Severity::Error,
        name: String::new(),
        rust: String::new(),
        sql: String::new(),
        message,
    })
}

/// Whether an error certainly is one of the statement: of class 42, "syntax error or access rule violation", without
/// insufficient_privilege, and without duplicate_table: what SELECT INTO makes may be gone when it runs.
fn is_about_the_statement(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code.starts_with("42") && !matches!(code, "42501" | "42P07"))
}
