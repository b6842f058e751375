//! The tokens of a text that mean something: no white space, no comments. Uses: lexer, mistake.

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
}
