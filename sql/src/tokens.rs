//! The tokens of a text that mean something: no white space, no comments. Uses: lexer, mistake.

use std::ops::Range;

use crate::lexer::{self, Kind, Token};
use crate::mistake::Mistake;

/// The tokens that mean something, in order. Asking for one that is not there answers "it is not that".
pub(crate) struct Tokens<'s> {
    source: &'s str,
    found: Vec<Token>,
}

impl<'s> Tokens<'s> {
    /// The tokens of the text, up to the first mistake of its lexical structure.
    pub(crate) fn of(source: &'s str) -> (Tokens<'s>, Option<Mistake>) {
        let (mut found, mistake) = lexer::tokens(source);
        found.retain(|token| !matches!(token.kind, Kind::Space | Kind::Comment));
        (Tokens { source, found }, mistake)
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Token> {
        self.found.get(index).copied()
    }

    pub(crate) fn kind(&self, index: usize) -> Option<Kind> {
        self.found.get(index).map(|token| token.kind)
    }

    pub(crate) fn is(&self, index: usize, kind: Kind) -> bool {
        self.kind(index) == Some(kind)
    }

    /// The text of a token.
    pub(crate) fn text(&self, index: usize) -> &'s str {
        self.found.get(index).map_or("", |token| &self.source[token.start..token.end])
    }

    /// The text between two places, in bytes.
    pub(crate) fn between(&self, start: usize, end: usize) -> &'s str {
        self.source.get(start..end).unwrap_or_default()
    }

    /// Whether the token is this word without quotes, in any case.
    pub(crate) fn is_word(&self, index: usize, word: &str) -> bool {
        self.is(index, Kind::Word) && self.text(index).eq_ignore_ascii_case(word)
    }

    /// Whether the token is one of these words without quotes, in any case.
    pub(crate) fn is_one_of(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(index, word))
    }

    /// Whether the tokens from here on are these words.
    pub(crate) fn are_words(&self, index: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is_word(index + offset, word))
    }

    /// Whether nothing is between this token and the next.
    pub(crate) fn touches_next(&self, index: usize) -> bool {
        self.get(index).zip(self.get(index + 1)).is_some_and(|(this, next)| this.end == next.start)
    }

    /// Whether a dot is before the token, so that it is a name, even if it looks like a keyword.
    pub(crate) fn follows_dot(&self, index: usize) -> bool {
        index.checked_sub(1).is_some_and(|before| self.is(before, Kind::Dot))
    }

    /// Whether the word is a name here, even if it looks like a keyword: `t.end`, `AS end`.
    pub(crate) fn is_name(&self, index: usize) -> bool {
        self.follows_dot(index) || index.checked_sub(1).is_some_and(|before| self.is_word(before, "AS"))
    }

    /// The name a token spells, as PostgreSQL keeps it: in lower case, unless quoted.
    ///
    /// Escapes of `U&"…"` are left as they are: nobody writes the names that are looked for with them.
    pub(crate) fn name(&self, index: usize) -> Option<String> {
        let text = self.text(index);
        match self.kind(index)? {
            Kind::Word => Some(text.to_ascii_lowercase()),
            Kind::QuotedName => {
                let quoted = text.trim_start_matches(['u', 'U', '&']);
                Some(quoted[1..quoted.len() - 1].replace("\"\"", "\""))
            }
            _ => None,
        }
    }

    /// A mistake that covers these tokens, as far as they are there.
    pub(crate) fn mistake(&self, place: Range<usize>, message: String) -> Mistake {
        let tokens = self.found.get(place.start..place.end.min(self.found.len())).unwrap_or_default();
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => Mistake::new(first.start, last.end - first.start, message),
            _ => Mistake::new(0, 0, message),
        }
    }
}
