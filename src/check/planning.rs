//! Errors that the server finds only when it plans a statement. Uses: connection, declared, error, names, report.

use postgres_types::Type;

use super::names::sql_name;
use super::report::{Finding, Severity};
use crate::connection::Connection;
use crate::declared::{Declared, Slot};
use crate::error::{Error, Result};

/// How long the server may take for a plan, in milliseconds, unless the limit of the connection is less.
const LIMIT: u128 = 5_000;

/// Why the server can't plan a statement that it has parsed, and whose parameters have these types; none if it can, or if
/// it does not explain such a statement, or for a reason that may not be there when the statement runs.
///
/// The statement is explained in a transaction of one message: nothing is left of it, whether it succeeds, fails or is
/// cancelled. It has no parameters, so their places get subqueries that the planner does not look into.
///
/// # Errors
///
/// If the connection is lost, or the time limit passes.
pub(super) fn refusal(
    connection: &Connection,
    declared: &'static Declared,
    expected: &[Type],
) -> Result<Option<Finding>> {
    let Some(text) = explain(declared, expected) else { return Ok(None) };
    // What is not even parsed says nothing about the plan.
    if let Err(error) = connection.describe_text(&text, Vec::new()) {
        return unless_lost(error);
    }
    let limit = connection.timeout().map_or(LIMIT, |limit| (limit.as_millis() / 2).clamp(1, LIMIT));
    let script =
        format!("SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {limit}; {text}\n");
    match connection.text_rows(&script) {
        Ok(_) => Ok(None),
        Err(error) if is_about_the_statement(&error) => Ok(Some(finding(&error))),
        Err(error) => unless_lost(error),
    }
}

/// Whether an error certainly is one of the statement: of class 42, "syntax error or access rule violation", without
/// insufficient_privilege, and without duplicate_table: what SELECT INTO makes may be gone when it runs.
fn is_about_the_statement(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code.starts_with("42") && !matches!(code, "42501" | "42P07"))
}

/// What the server answers is no finding.
fn unless_lost(error: Error) -> Result<Option<Finding>> {
    if error.db_error().is_some() { Ok(None) } else { Err(error) }
}

/// The EXPLAIN of a statement; none if its parameters are not understood.
fn explain(declared: &Declared, expected: &[Type]) -> Option<String> {
    let mut text = String::from("EXPLAIN ");
    let mut end = 0;
    for used in maypole_sql::parameters(declared.source).named {
        let argument = declared.arguments.iter().position(|argument| argument.name == used.name)?;
        let its = |slot: &Slot| usize::from(slot.argument) == argument && !slot.null_test;
        let slot = declared.slots.iter().position(its);
        let type_ = slot.and_then(|slot| expected.get(slot)).unwrap_or(&Type::TEXT);
        text.push_str(declared.source.get(end..used.at)?);
        text.push_str(&format!("(SELECT CAST(NULL AS {}))", sql_name(type_)));
        end = used.at + 1 + used.name.len();
    }
    text.push_str(declared.source.get(end..)?);
    Some(text)
}

fn finding(error: &Error) -> Finding {
    let mut message = vec![format!("is refused when it runs: {error}")];
    if let Some(server) = error.db_error() {
        message.extend(server.hint().map(|hint| format!("hint: {hint}")));
        // "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        if server.code() == "42P10" {
            message.push("create a unique index on just these columns".to_owned());
            message.push("or name the columns of one that there is in ON CONFLICT".to_owned());
        }
    }
    Finding {
        severity: Severity::Error,
        name: String::new(),
        rust: String::new(),
        sql: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::{Argument, Kind};

    const WRITES: Declared = Declared {
        name: "writes",
        file: "src/a.rs",
        line: 1,
        lines_match: true,
        in_file: false,
        source: "INSERT INTO a VALUES (:x, ':x') ON CONFLICT (b) DO UPDATE SET b = :y WHERE :y IS NULL -- :x",
        text: "",
        edits: &[],
        arguments: &[
            Argument { name: "x", type_name: "i32", kind: Kind::Typed(23), accepts: None },
            Argument { name: "y", type_name: "&str", kind: Kind::Text, accepts: None },
        ],
        slots: &[
            Slot { argument: 0, null_test: false },
            Slot { argument: 1, null_test: false },
            Slot { argument: 1, null_test: true },
        ],
        select: false,
        columns: false,
        session: None,
        not_null: &[],
    };

    #[test]
    fn parameters_become_subqueries_of_their_types() {
        assert_eq!(
            explain(&WRITES, &[Type::INT4, Type::UUID, Type::TEXT]).as_deref(),
            Some(
                "EXPLAIN INSERT INTO a VALUES ((SELECT CAST(NULL AS int4)), ':x') ON CONFLICT (b) DO UPDATE SET \
                 b = (SELECT CAST(NULL AS uuid)) WHERE (SELECT CAST(NULL AS uuid)) IS NULL -- :x"
            )
        );
        assert_eq!(explain(&Declared { arguments: &[], ..WRITES }, &[]), None);
    }
}
