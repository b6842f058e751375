//! Parameters that are a whole key by which rows are sorted or grouped. Uses: lexer, parameters,
//! tokens.

use crate::lexer::Kind;
use crate::parameters::Colon;
use crate::tokens::Tokens;

/// What is done by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `ORDER BY`
    Order,
    /// `GROUP BY`
    Group,
    /// `PARTITION BY`
    Partition,
}

impl Key {
    /// What is wrong with a parameter as a key, and what to do.
    pub(crate) fn mistake(self, parameter: &str) -> String {
        let (nothing, words, each) = match self {
            Key::Order => ("nothing is sorted by it", "ORDER BY", "order"),
            Key::Group => ("all rows fall into one group", "GROUP BY", "grouping"),
            Key::Partition => ("all rows fall into one partition", "PARTITION BY", "partitioning"),
        };
        format!(
            ":{parameter} is a value, not the name of a column, and the same for all rows, so {nothing}: write \
             `{words} CASE :{parameter} WHEN 'name' THEN name … END`, or one query for each {each}"
        )
    }
}

/// The parameters that are all of a key, casts and `COLLATE` aside, by their colons. In an expression they are none.
pub(crate) fn keys(tokens: &Tokens<'_>, colons: &[Colon<'_>]) -> Vec<(usize, Key)> {
    let mut found = Vec::new();
    let mut colons = colons.iter().filter(|colon| !colon.separates).map(|colon| colon.index).peekable();
    // The clause of keys that goes on here, and those that go on behind the brackets around.
    let (mut clause, mut around): (Option<Key>, Vec<Option<Key>>) = (None, Vec::new());
    for index in 0..tokens.len() {
        if colons.next_if_eq(&index).is_some() {
            let (first, behind) = with_brackets(tokens, index);
            let brackets = index - first;
            let of = around.len().checked_sub(brackets).map(|at| around.get(at).copied().unwrap_or(clause));
            if begins_key(tokens, first)
                && ends_key(tokens, behind)
                && let Some(key) = of.flatten()
            {
                found.push((index, key));
            }
            continue;
        }
        match tokens.kind(index) {
            Some(Kind::OpenRound | Kind::OpenSquare) => around.push(clause.take()),
            Some(Kind::CloseRound | Kind::CloseSquare) => clause = around.pop().flatten(),
            Some(Kind::Semicolon) => clause = None,
            Some(Kind::Word) => match begins_clause(tokens, index) {
                Some(key) => clause = Some(key),
                None if ends_clause(tokens, index) => clause = None,
                None => {}
            },
            _ => {}
        }
    }
    found
}

/// Where a parameter begins with its casts and all brackets around, `(:x::int)`, and the token behind.
fn with_brackets(tokens: &Tokens<'_>, colon: usize) -> (usize, usize) {
    let mut first = colon;
    let mut behind = behind_casts(tokens, colon + 2);
    while first > 0 && tokens.is(first - 1, Kind::OpenRound) && tokens.is(behind, Kind::CloseRound) {
        first -= 1;
        behind = behind_casts(tokens, behind + 1);
    }
    (first, behind)
}

/// Whether something that begins here can be a key: it is the first, or one follows another.
fn begins_key(tokens: &Tokens<'_>, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else { return false };
    // GROUP BY DISTINCT
    let again =
        tokens.is_one_of(before, &["ALL", "DISTINCT"]) && before > 0 && tokens.is_word(before - 1, "BY");
    again || tokens.is_word(before, "BY") || tokens.is(before, Kind::Comma)
}

/// Whether a key has ended before this token.
fn ends_key(tokens: &Tokens<'_>, index: usize) -> bool {
    match tokens.kind(index) {
        None | Some(Kind::Comma | Kind::Semicolon | Kind::CloseRound) => true,
        _ => tokens.is_one_of(index, &["ASC", "DESC", "USING", "NULLS"]) || ends_clause(tokens, index),
    }
}

/// The clause that begins with this word.
fn begins_clause(tokens: &Tokens<'_>, index: usize) -> Option<Key> {
    if tokens.follows_dot(index) || !tokens.is_word(index + 1, "BY") {
        return None;
    }
    match tokens.text(index).to_ascii_uppercase().as_str() {
        "ORDER" => Some(Key::Order),
        "GROUP" => Some(Key::Group),
        "PARTITION" => Some(Key::Partition),
        _ => None,
    }
}

/// Whether a clause of keys has ended before this word.
fn ends_clause(tokens: &Tokens<'_>, index: usize) -> bool {
    const BEHIND: &[&str] = &[
        "EXCEPT",
        "FETCH",
        "FOR",
        "GROUPS",
        "HAVING",
        "INTERSECT",
        "LIMIT",
        "OFFSET",
        "ON",
        "ORDER",
        "RANGE",
        "RETURNING",
        "ROWS",
        "SELECT",
        "UNION",
        "VALUES",
        "WINDOW",
    ];
    tokens.is_one_of(index, BEHIND) && !tokens.follows_dot(index)
}

/// The token behind the casts that begin here, and behind `COLLATE`.
fn behind_casts(tokens: &Tokens<'_>, mut at: usize) -> usize {
    let is_name = |at| matches!(tokens.kind(at), Some(Kind::Word | Kind::QuotedName));
    while tokens.is(at, Kind::Cast) || tokens.is_word(at, "COLLATE") {
        if !is_name(at + 1) {
            return at;
        }
        at += 2;
        while tokens.is(at, Kind::Dot) && is_name(at + 1) {
            at += 2;
        }
        at += usize::from(tokens.is_one_of(at, &["PRECISION", "VARYING"]));
        // varchar(10), int[]
        for (open, close) in [(Kind::OpenRound, Kind::CloseRound), (Kind::OpenSquare, Kind::CloseSquare)] {
            if tokens.is(at, open) {
                at += 1;
                at += usize::from(tokens.is(at, Kind::Number));
                at += usize::from(tokens.is(at, close));
            }
        }
    }
    at
}
