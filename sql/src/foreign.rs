//! Parameters written as elsewhere: `?`, `@name`, `$name`, `{name}`. Uses: lexer, mistake, tokens.

use crate::lexer::Kind;
use crate::mistake::Mistake;
use crate::tokens::Tokens;

/// Where the text seems to have the parameter in the form of another library. It is the parameter at this position, from
/// 0: it is what the `?` at that position stands for.
pub(crate) fn foreign(tokens: &Tokens<'_>, name: &str, position: usize) -> Option<Mistake> {
    let mut found =
        (0..tokens.len()).filter(|index| tokens.is(*index, Kind::Word) && tokens.text(*index) == name);
    let named = found.find_map(|index| named(tokens, index));
    let (start, end) = named.or_else(|| question_marks(tokens).nth(position))?;
    let message = format!(
        "parameter :{name} is not used: write `:{name}` in place of `{}`",
        tokens.between(start, end)
    );
    Some(Mistake::new(start, end - start, message))
}

/// Where the name begins and ends, in bytes, if it is dressed up as a parameter.
fn named(tokens: &Tokens<'_>, name: usize) -> Option<(usize, usize)> {
    let before = name.checked_sub(1)?;
    let (sign, word) = (tokens.get(before)?, tokens.get(name)?);
    if tokens.text(before) == "{" && tokens.text(name + 1) == "}" {
        // `${name}`, `#{name}`
        let prefix = before
            .checked_sub(1)
            .filter(|prefix| matches!(tokens.text(*prefix), "$" | "#") && tokens.touches_next(*prefix));
        let first = tokens.get(prefix.unwrap_or(before))?;
        return Some((first.start, tokens.get(name + 1)?.end));
    }
    // `a <@ b` asks whether b contains a.
    let sigil =
        tokens.text(before) == "$" || (tokens.text(before).ends_with('@') && tokens.text(before) != "<@");
    (sigil && tokens.touches_next(before)).then(|| (sign.end - 1, word.end))
}

/// The question marks that stand for values. As an operator of PostgreSQL, `?` is between two values.
fn question_marks(tokens: &Tokens<'_>) -> impl Iterator<Item = (usize, usize)> {
    (0..tokens.len()).filter_map(|index| {
        let token = tokens.get(index).filter(|token| token.kind == Kind::Operator)?;
        let value = match tokens.text(index) {
            "?" => begins(tokens, index) || ends(tokens, index + 1),
            "@?" => false,
            // `id=?`
            longer => longer.ends_with('?'),
        };
        value.then(|| (token.end - 1, token.end))
    })
}

/// Whether no value can have ended before this token.
fn begins(tokens: &Tokens<'_>, index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| tokens.kind(before));
    matches!(before, None | Some(Kind::Operator | Kind::Comma | Kind::OpenRound | Kind::OpenSquare))
}

/// Whether no value can begin with this token.
fn ends(tokens: &Tokens<'_>, index: usize) -> bool {
    const BEHIND: &[&str] = &[
        "AND",
        "ELSE",
        "END",
        "FETCH",
        "FOR",
        "FROM",
        "GROUP",
        "HAVING",
        "IS",
        "LIMIT",
        "OFFSET",
        "OR",
        "ORDER",
        "RETURNING",
        "THEN",
        "UNION",
        "WHEN",
        "WHERE",
    ];
    match tokens.kind(index) {
        None | Some(Kind::Operator | Kind::Cast | Kind::Comma | Kind::Semicolon) => true,
        Some(Kind::CloseRound | Kind::CloseSquare) => true,
        _ => tokens.is_one_of(index, BEHIND),
    }
}
