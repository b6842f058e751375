//! What a statement needs to be run on: any session, one of its own, or a transaction.
//! Uses: functions, lexer, mistake, structure.

use crate::functions::{Effect, effect};
use crate::lexer::Kind;
use crate::mistake::Mistake;
use crate::structure::{Call, Structure};

/// What in the statement needs a session or a transaction, and what to do about it.
pub(crate) fn need(statement: &Structure<'_, '_>) -> Option<(String, Mistake)> {
    command(statement).or_else(|| function(statement)).or_else(|| temporary_schema(statement))
}

type Need = Option<(String, Mistake)>;

/// Something that lasts as long as the session, or is part of it.
fn session(statement: &Structure<'_, '_>, words: usize, from: usize) -> Need {
    let name = name(statement, from, words);
    let message = format!(
        "{name} belongs to the session it runs in, and each query may get another one: run it with .on(&conn)"
    );
    Some((name, statement.tokens.mistake(from..from + words, message)))
}

fn transaction(statement: &Structure<'_, '_>, words: usize, from: usize) -> Need {
    let name = name(statement, from, words);
    let message = format!("{name} makes no sense outside of a transaction: run it with .on(&tx)");
    Some((name, statement.tokens.mistake(from..from + words, message)))
}

fn name(statement: &Structure<'_, '_>, from: usize, words: usize) -> String {
    let words: Vec<_> =
        (from..from + words).map(|index| statement.tokens.text(index).to_uppercase()).collect();
    words.join(" ")
}

fn command(statement: &Structure<'_, '_>) -> Need {
    let (tokens, main) = (statement.tokens, statement.main);
    let first = tokens.text(main).to_ascii_uppercase();
    match first.as_str() {
        "SET" if tokens.is_one_of(main + 1, &["LOCAL", "TRANSACTION", "CONSTRAINTS"]) => {
            transaction(statement, 2, main)
        }
        "SET" | "RESET" | "DISCARD" | "LISTEN" | "UNLISTEN" | "EXECUTE" | "DEALLOCATE" | "DECLARE"
        | "FETCH" | "MOVE" | "CLOSE" | "LOAD" => session(statement, 1, main),
        "PREPARE" if !tokens.is_word(main + 1, "TRANSACTION") => session(statement, 1, main),
        "LOCK" | "SAVEPOINT" | "RELEASE" => transaction(statement, 1, main),
        "ROLLBACK" if tokens.is_word(main + 1, "TO") => transaction(statement, 2, main),
        "ROLLBACK"
            if tokens.is_one_of(main + 1, &["WORK", "TRANSACTION"]) && tokens.is_word(main + 2, "TO") =>
        {
            transaction(statement, 3, main)
        }
        // These end the transaction of another session, from any.
        "COMMIT" | "ROLLBACK" if tokens.is_word(main + 1, "PREPARED") => None,
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "PREPARE" => {
            let message = format!(
                "{first} would begin or end a transaction behind maypole's back: use DB.transaction(|q| …)"
            );
            Some((first, tokens.mistake(main..main + 1, message)))
        }
        "CREATE" => {
            // CREATE [OR REPLACE] [GLOBAL | LOCAL] TEMP …
            let temporary = (main + 1..main + 5)
                .take_while(|index| {
                    statement.has_one_of(*index, &["OR", "REPLACE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY"])
                })
                .find(|index| tokens.is_one_of(*index, &["TEMP", "TEMPORARY"]))?;
            session(statement, 1, temporary).map(|(_, mistake)| ("CREATE TEMP".into(), mistake))
        }
        "SELECT" => {
            // SELECT … INTO [LOCAL | GLOBAL] TEMP …
            let into = statement
                .outside_brackets(main)
                .find(|index| tokens.is_word(*index, "INTO") && !tokens.is_name(*index))?;
            let temporary = into + 1 + usize::from(statement.has_one_of(into + 1, &["LOCAL", "GLOBAL"]));
            statement.has_one_of(temporary, &["TEMP", "TEMPORARY"]).then_some(())?;
            session(statement, temporary + 1 - into, into)
        }
        _ => None,
    }
}

/// Statements whose functions are called when they run. Others only mention functions.
const CALLING: &[&str] =
    &["SELECT", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE", "CALL", "EXPLAIN", "COPY"];

fn function(statement: &Structure<'_, '_>) -> Need {
    if !statement.has_one_of(statement.main, CALLING) {
        return None;
    }
    statement.calls().find_map(|call| {
        let found = match effect(call.schema.as_deref(), &call.name)? {
            Effect::Acts(_) => None,
            Effect::Setting if !is_for_session(statement, &call) => None,
            Effect::Setting | Effect::Session => session(statement, 1, call.at),
            Effect::Transaction => transaction(statement, 1, call.at),
        };
        found.map(|(_, mistake)| (call.name, mistake))
    })
}

/// Whether this `set_config` says for certain that it means the session: its last argument is false.
fn is_for_session(statement: &Structure<'_, '_>, call: &Call) -> bool {
    let last = statement.closing(call.at + 1).saturating_sub(1);
    let text = statement.tokens.text(last).to_ascii_lowercase();
    match statement.tokens.kind(last) {
        Some(Kind::Word) => text == "false",
        Some(Kind::Text) => matches!(text.as_str(), "'false'" | "'f'" | "'off'" | "'no'" | "'0'"),
        _ => false,
    }
}

/// `pg_temp.t` is a table of the session.
fn temporary_schema(statement: &Structure<'_, '_>) -> Need {
    let tokens = statement.tokens;
    let found = statement.place.clone().find(|index| {
        tokens.is(index + 1, Kind::Dot)
            && !tokens.follows_dot(*index)
            && tokens.name(*index).as_deref() == Some("pg_temp")
    })?;
    session(statement, 1, found).map(|(_, mistake)| ("pg_temp".into(), mistake))
}
