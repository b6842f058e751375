//! What errors say. Uses: error.

use super::*;

fn undefined_column() -> Error {
    Error::database(DbError {
        severity: "ERROR".into(),
        code: "42703".into(),
        message: "column \"nmae\" does not exist".into(),
        detail: Some("a value".into()),
        hint: Some("Perhaps you meant to reference the column \"customers.name\".".into()),
        position: Some(12),
        ..DbError::default()
    })
}

fn query(sql: &str) -> QueryContext {
    QueryContext { sql: sql.into(), name: None, place: None, edits: Default::default(), help: None }
}

#[test]
fn a_failing_query_prints_like_a_compiler_error() {
    let context =
        QueryContext { name: Some("get_customer"), ..query("SELECT id, nmae FROM customers WHERE id = :id") };
    assert_eq!(
        undefined_column().in_query(&context).to_string(),
        "query get_customer failed: column \"nmae\" does not exist [42703 undefined_column]\n   \
         | SELECT id, nmae FROM customers WHERE id = :id\n   \
         |            ^^^^\n   \
         = detail: a value\n   \
         = hint: Perhaps you meant to reference the column \"customers.name\"."
    );
}

#[test]
fn the_caret_finds_its_line_and_counts_characters_not_bytes() {
    let context = query("SELECT 'äöü'\n  , nmae");
    let mut error = undefined_column();
    if let Kind::Database(e) = &mut error.0.kind {
        e.position = Some(18);
        (e.hint, e.detail) = (None, None);
    }
    assert!(error.in_query(&context).to_string().ends_with("\n   |   , nmae\n   |     ^^^^"));
}

#[test]
fn of_a_line_of_any_length_a_piece_is_shown() {
    let before = "x".repeat(70_000);
    let shown = |sql: &str, position: u32| {
        let context = query(sql);
        let mut error = undefined_column();
        if let Kind::Database(e) = &mut error.0.kind {
            e.position = Some(position);
            (e.hint, e.detail) = (None, None);
        }
        let text = error.in_query(&context).to_string();
        text.lines().skip(1).map(|line| line[5..].to_owned()).collect::<Vec<_>>()
    };
    let lines = shown(&format!("{before} nmae, {before}"), 70_002);
    assert_eq!(lines[0], format!("…{} nmae, {}…", "x".repeat(59), "x".repeat(54)));
    assert_eq!(lines[1], format!("{}^^^^", " ".repeat(61)));
    // A word beyond the piece, a place in the blanks behind a line, and one behind everything.
    assert_eq!(shown(&before, 1)[1], "^".repeat(120));
    assert_eq!(shown(&format!("x{}", " ".repeat(70_000)), 69_000), ["x", " ^"]);
    assert_eq!(shown("x", 4_000_000_000), ["x", " ^"]);
    let context = query(&before);
    assert!(Error::no_results().in_query(&context).to_string().len() < 300);
}

#[test]
fn the_server_error_is_found_through_the_chain() {
    let outer = Error::commit("rolled back", Outcome::RolledBack).caused_by(undefined_column());
    assert_eq!(outer.sqlstate(), Some("42703"));
    assert_eq!(outer.duplicate().sqlstate(), Some("42703"));
    assert!(format!("{outer:?}").contains("detail: a value"), "of this class it holds no values of rows");
}

#[test]
fn an_error_is_one_pointer() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}
