//! Where the statements of a text are. Uses: lexer, mistake, tokens.

use std::ops::Range;

use crate::lexer::Kind;
use crate::mistake::Mistake;
use crate::tokens::Tokens;

/// Where each statement of a text is, in bytes, without its semicolon and what is around it.
///
/// Semicolons in brackets (`CREATE RULE`) and in the bodies of functions (`BEGIN ATOMIC … END`) separate no
/// statements. Between two semicolons there may be nothing, or comments only: that is no statement.
///
/// ```
/// let source = "INSERT INTO t VALUES (';'); -- one\n; SELECT 2";
/// let found: Vec<_> = maypole_sql::statements(source).unwrap().into_iter().map(|place| &source[place]).collect();
/// assert_eq!(found, ["INSERT INTO t VALUES (';')", "SELECT 2"]);
/// ```
///
/// # Errors
///
/// If a quote or a comment has no end, or the text holds the character NUL.
pub fn statements(source: &str) -> Result<Vec<Range<usize>>, Mistake> {
    let (tokens, mistake) = Tokens::of(source);
    if let Some(mistake) = mistake {
        return Err(mistake);
    }
    let place = |of: Range<usize>| Some(tokens.get(of.start)?.start..tokens.get(of.end.checked_sub(1)?)?.end);
    Ok(ranges(&tokens).into_iter().filter_map(place).collect())
}

/// The statements as ranges of tokens.
pub(crate) fn ranges(tokens: &Tokens<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut depth, mut blocks) = (0, 0_usize, 0_usize);
    for index in 0..tokens.len() {
        match tokens.kind(index) {
            Some(Kind::OpenRound | Kind::OpenSquare) => depth += 1,
            Some(Kind::CloseRound | Kind::CloseSquare) => depth = depth.saturating_sub(1),
            Some(Kind::Word) if depth == 0 && !tokens.is_name(index) => {
                if blocks == 0 {
                    let begins =
                        tokens.are_words(index, &["BEGIN", "ATOMIC"]) && creates_function(tokens, start);
                    blocks = usize::from(begins);
                } else if tokens.is_word(index, "CASE") {
                    blocks += 1;
                } else if tokens.is_word(index, "END") {
                    blocks -= 1;
                }
            }
            Some(Kind::Semicolon) if depth == 0 && blocks == 0 => {
                found.push(start..index);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(start..tokens.len());
    found.retain(|range| !range.is_empty());
    found
}

fn creates_function(tokens: &Tokens<'_>, start: usize) -> bool {
    let replace = if tokens.are_words(start + 1, &["OR", "REPLACE"]) { 2 } else { 0 };
    tokens.is_word(start, "CREATE") && tokens.is_one_of(start + 1 + replace, &["FUNCTION", "PROCEDURE"])
}
