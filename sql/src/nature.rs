//! What a statement does, as far as its text tells. Uses: lexer, mistake, statements, tokens.

use crate::mistake::Mistake;
use crate::statements::ranges;
use crate::tokens::Tokens;

/// What a statement does, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Why it can't be a `#[select]`, or nothing if it can.
    pub select: Option<Mistake>,
    /// What of it needs a session of its own, such as `LISTEN`, and why.
    pub session: Option<(String, Mistake)>,
    /// Whether it may return columns. If not, it certainly returns none.
    pub columns: bool,
}

/// What a statement does, as far as its text tells.
pub fn nature(source: &str) -> Nature {
    let (tokens, _) = Tokens::of(source);
    let mut nature = Nature { select: None, session: None, columns: true };
    for range in ranges(&tokens) {
        let word = tokens.text(range.start).to_ascii_uppercase();
        let place = tokens.get(range.start).map_or((0, 0), |token| (token.start, token.end - token.start));
        let mistake = |message: String| Mistake::new(place.0, place.1, message);
        if !tokens.is_one_of(range.start, &["SELECT", "VALUES", "TABLE", "WITH"]) {
            nature.select = Some(mistake(format!("a select can't be {word}: use #[query]")));
        }
        if tokens.is_one_of(range.start, &["LISTEN", "UNLISTEN", "SET", "RESET", "DISCARD"]) {
            nature.session = Some((word.clone(), mistake(format!("{word} needs a session: use .on(&conn)"))));
        }
    }
    nature
}
