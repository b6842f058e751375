//! Whether a statement reads and does nothing else. Uses: closest, commands, functions, mistake, structure.

use crate::closest::closest;
use crate::commands::{WITH_COLUMNS, WITHOUT_COLUMNS};
use crate::functions::{Effect, effect};
use crate::mistake::Mistake;
use crate::structure::Structure;

/// What in the statement does more than read, and so can't be in a `#[select]`.
pub(crate) fn does_more_than_read(statement: &Structure<'_, '_>) -> Option<Mistake> {
    let tokens = statement.tokens;
    let refused = |from: usize, to: usize, what: &str| {
        Some(
            tokens.mistake(from..to, format!("{what}, and a #[select] only reads: declare it with #[query]")),
        )
    };
    for command in &statement.commands {
        if statement.has_one_of(*command, &["SELECT", "VALUES", "TABLE"]) {
            continue;
        }
        let command = if statement.place.contains(command) { *command } else { statement.place.start };
        let word = tokens.text(command).to_uppercase();
        if tokens.is_one_of(command, &["INSERT", "UPDATE", "DELETE", "MERGE"]) {
            return refused(command, command + 1, &format!("{word} changes rows"));
        }
        let message = match meant(&word) {
            Some(meant) => format!("there is no command {word}, did you mean {meant}?"),
            None => {
                format!(
                    "a #[select] is a SELECT, VALUES, TABLE or WITH, not {word}: declare it with #[query]"
                )
            }
        };
        return Some(tokens.mistake(command..command + 1, message));
    }
    for index in statement.place.clone().filter(|index| !tokens.is_name(*index)) {
        if let Some(words) = locks_rows(statement, index) {
            return refused(index, index + words, "this locks rows");
        }
        if tokens.is_word(index, "INTO") {
            return refused(index, index + 1, "SELECT INTO makes a table");
        }
    }
    for call in statement.calls() {
        let name = &call.name;
        let what = match effect(call.schema.as_deref(), name) {
            None => continue,
            Some(Effect::Acts(acts)) => format!("{name} {acts}"),
            Some(Effect::Session) => format!("{name} needs a session"),
            Some(Effect::Transaction) => format!("{name} needs a transaction"),
            Some(Effect::Setting) => format!("{name} changes a setting"),
        };
        return refused(call.at, call.at + 1, &what);
    }
    None
}

/// The command that was meant by a word that is none.
fn meant(word: &str) -> Option<&'static str> {
    let known = || WITHOUT_COLUMNS.iter().chain(WITH_COLUMNS).copied();
    if known().any(|known| known == word) { None } else { closest(word, known()) }
}

/// How many words it are, if FOR UPDATE or the like begins here.
fn locks_rows(statement: &Structure<'_, '_>, index: usize) -> Option<usize> {
    const STRENGTHS: [&[&str]; 4] =
        [&["FOR", "UPDATE"], &["FOR", "SHARE"], &["FOR", "NO", "KEY", "UPDATE"], &["FOR", "KEY", "SHARE"]];
    STRENGTHS.iter().find(|words| statement.tokens.are_words(index, words)).map(|words| words.len())
}
