//! Of what a statement is made: its main command and those of its WITH. Uses: lexer, tokens.

use std::ops::Range;

use crate::lexer::Kind;
use crate::tokens::Tokens;

/// A statement: which tokens it has and which of them are the first words of commands.
pub(crate) struct Structure<'t, 's> {
    pub(crate) tokens: &'t Tokens<'s>,
    /// The tokens of the statement, at least one.
    pub(crate) place: Range<usize>,
    /// The first word of the main command, behind its WITH.
    pub(crate) main: usize,
    /// The first words of the main command and of all commands in WITH. If the statement breaks off, one may be behind it.
    pub(crate) commands: Vec<usize>,
    /// For each opening bracket of the statement, where the bracket closes.
    closing: Vec<usize>,
}

impl<'t, 's> Structure<'t, 's> {
    pub(crate) fn of(tokens: &'t Tokens<'s>, place: Range<usize>) -> Structure<'t, 's> {
        let closing = closing(tokens, &place);
        let main = place.start;
        let mut statement = Structure { tokens, place, main, commands: Vec::new(), closing };
        // A list instead of a recursion: coroutines have small stacks.
        let mut queries = vec![main];
        while let Some(start) = queries.pop() {
            let command = statement.command(start, &mut queries);
            statement.commands.push(command);
        }
        // If the statement breaks off in its WITH, there is no main command.
        let main = statement.commands.first().copied().filter(|main| statement.place.contains(main));
        statement.main = main.unwrap_or(statement.place.start);
        statement
    }

    /// The first word of the query that starts here, behind brackets and WITH. The queries in that WITH are added to the
    /// list.
    fn command(&self, mut at: usize, queries: &mut Vec<usize>) -> usize {
        let tokens = self.tokens;
        loop {
            while self.opens(at) {
                at += 1;
            }
            if !tokens.is_word(at, "WITH") {
                return at;
            }
            // RECURSIVE is a good name too.
            let named_recursive = tokens.is_word(at + 2, "AS") || tokens.is(at + 2, Kind::OpenRound);
            at += if tokens.is_word(at + 1, "RECURSIVE") && !named_recursive { 2 } else { 1 };
            loop {
                // name [(columns)] AS [NOT] [MATERIALIZED] (query)
                at += 1;
                if self.opens(at) {
                    at = self.behind(at);
                }
                at += 1;
                at += usize::from(tokens.is_word(at, "NOT"));
                at += usize::from(tokens.is_word(at, "MATERIALIZED"));
                if !self.opens(at) {
                    return at;
                }
                queries.push(at);
                at = self.behind(at);
                // SEARCH … SET name, CYCLE … USING name
                if tokens.is_word(at, "SEARCH") {
                    at = self.behind_word(at, "SET") + 1;
                }
                if tokens.is_word(at, "CYCLE") {
                    at = self.behind_word(at, "USING") + 1;
                }
                if !tokens.is(at, Kind::Comma) {
                    break;
                }
                at += 1;
            }
        }
    }

    fn opens(&self, at: usize) -> bool {
        self.place.contains(&at) && self.tokens.is(at, Kind::OpenRound)
    }

    /// The token behind the bracket that closes this one.
    fn behind(&self, open: usize) -> usize {
        self.closing(open) + 1
    }

    fn behind_word(&self, from: usize, word: &str) -> usize {
        (from..self.place.end).find(|index| self.tokens.is_word(*index, word)).unwrap_or(self.place.end) + 1
    }

    /// Whether the token belongs to the statement and is one of these words.
    pub(crate) fn has_one_of(&self, index: usize, words: &[&str]) -> bool {
        self.place.contains(&index) && self.tokens.is_one_of(index, words)
    }

    /// Where the bracket closes that this token opens.
    pub(crate) fn closing(&self, open: usize) -> usize {
        let inside = open.checked_sub(self.place.start);
        inside.and_then(|index| self.closing.get(index)).copied().unwrap_or(self.place.end)
    }

    /// The functions that are called, as far as their syntax tells, in order.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Call> {
        let tokens = self.tokens;
        self.place.clone().filter_map(move |at| {
            // INSERT INTO name (columns), AS name (columns)
            let no_call = at.checked_sub(1).is_some_and(|before| tokens.is_one_of(before, &["INTO", "AS"]));
            if !tokens.is(at + 1, Kind::OpenRound) || no_call {
                return None;
            }
            let schema = if tokens.follows_dot(at) { at.checked_sub(2) } else { None };
            let schema = schema.and_then(|index| tokens.name(index));
            Some(Call { at, schema, name: tokens.name(at)? })
        })
    }

    /// The tokens from here on that are in no brackets, or in those in which the first one is.
    pub(crate) fn outside_brackets(&self, from: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(from), |index| Some(self.closing(*index) + 1))
            .take_while(|index| *index < self.place.end)
    }
}

/// A function that is called.
pub(crate) struct Call {
    /// The token of its name; the bracket is the next.
    pub(crate) at: usize,
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// For each token of the statement where the bracket closes that it opens; itself, if it opens none.
fn closing(tokens: &Tokens<'_>, place: &Range<usize>) -> Vec<usize> {
    let mut closing: Vec<usize> = place.clone().collect();
    let mut open = Vec::new();
    for index in place.clone() {
        match tokens.kind(index) {
            Some(Kind::OpenRound | Kind::OpenSquare) => {
                // If it never closes, it reaches to the end.
                closing[index - place.start] = place.end - 1;
                open.push(index);
            }
            Some(Kind::CloseRound | Kind::CloseSquare) => {
                if let Some(opening) = open.pop() {
                    closing[opening - place.start] = index;
                }
            }
            _ => {}
        }
    }
    closing
}
