//! The tokens of a text of SQL, by the rules of PostgreSQL's own lexer (`src/backend/parser/scan.l`).
//! Uses: mistake.

use crate::mistake::Mistake;

/// A piece of the text that belongs together. Its place is in bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes, `U&` included.
    QuotedName,
    /// A string of any sort, with all the parts it is continued in.
    Text,
    Number,
    /// Also `=>`.
    Operator,
    /// `::`
    Cast,
    /// `:=`
    Assign,
    Colon,
    /// `$1`
    Numbered,
    Semicolon,
    Comma,
    Dot,
    OpenRound,
    CloseRound,
    OpenSquare,
    CloseSquare,
    /// What no SQL has outside of quotes.
    Other,
}

/// The tokens of the text. They tile it; if there is a mistake, they end before it.
pub(crate) fn tokens(source: &str) -> (Vec<Token>, Option<Mistake>) {
    if let Some(at) = source.find('\0') {
        let message = "the server takes no text with the character NUL in it: remove it";
        return (Vec::new(), Some(Mistake::new(at, 1, message)));
    }
    let mut found = Vec::new();
    let lexer = Lexer { source, bytes: source.as_bytes() };
    let mut start = 0;
    while start < source.len() {
        match lexer.token(start) {
            Ok((kind, end)) => {
                found.push(Token { kind, start, end });
                start = end;
            }
            Err(mistake) => return (found, Some(mistake)),
        }
    }
    (found, None)
}

struct Lexer<'s> {
    source: &'s str,
    bytes: &'s [u8],
}

type Lexed = Result<(Kind, usize), Mistake>;

impl Lexer<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn starts(&self, at: usize, with: &str) -> bool {
        self.bytes[at..].starts_with(with.as_bytes())
    }

    /// The first place from here on where the byte is not of this sort.
    fn skip(&self, from: usize, of_sort: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        rest.iter().position(|byte| !of_sort(*byte)).map_or(self.bytes.len(), |length| from + length)
    }

    /// The token that begins here: what it is and where it ends.
    fn token(&self, at: usize) -> Lexed {
        let here = self.bytes[at];
        let next = self.byte(at + 1);
        let one = |kind| Ok((kind, at + 1));
        match here {
            _ if is_space(here) => Ok((Kind::Space, self.skip(at, is_space))),
            b'-' if next == Some(b'-') => Ok((Kind::Comment, self.skip(at, |b| !is_line_end(b)))),
            b'/' if next == Some(b'*') => self.comment(at),
            b'\'' => self.text(at, 1, false),
            b'"' => self.quoted_name(at, 1),
            b'e' | b'E' if next == Some(b'\'') => self.text(at, 2, true),
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if next == Some(b'\'') => self.text(at, 2, false),
            b'u' | b'U' if self.starts(at + 1, "&'") => self.text(at, 3, false),
            b'u' | b'U' if self.starts(at + 1, "&\"") => self.quoted_name(at, 3),
            b'$' => self.dollar(at),
            _ if is_word_start(here) => Ok((Kind::Word, self.skip(at, is_word))),
            b'0'..=b'9' => Ok((Kind::Number, self.number(at))),
            b'.' if next.is_some_and(|b| b.is_ascii_digit()) => Ok((Kind::Number, self.number(at))),
            b'.' if next == Some(b'.') => Ok((Kind::Other, at + 2)),
            b'.' => one(Kind::Dot),
            b':' if next == Some(b':') => Ok((Kind::Cast, at + 2)),
            b':' if next == Some(b'=') => Ok((Kind::Assign, at + 2)),
            b':' => one(Kind::Colon),
            b';' => one(Kind::Semicolon),
            b',' => one(Kind::Comma),
            b'(' => one(Kind::OpenRound),
            b')' => one(Kind::CloseRound),
            b'[' => one(Kind::OpenSquare),
            b']' => one(Kind::CloseSquare),
            _ if is_operator(here) => Ok((Kind::Operator, self.operator(at))),
            _ => one(Kind::Other),
        }
    }

    fn comment(&self, start: usize) -> Lexed {
        let (mut at, mut depth) = (start + 2, 1);
        while depth > 0 {
            if at >= self.bytes.len() {
                return Err(Mistake::new(start, 2, "the comment has no end: close it with */"));
            }
            match () {
                () if self.starts(at, "*/") => (at, depth) = (at + 2, depth - 1),
                () if self.starts(at, "/*") => (at, depth) = (at + 2, depth + 1),
                () => at += 1,
            }
        }
        Ok((Kind::Comment, at))
    }

    fn text(&self, start: usize, opening: usize, escapes: bool) -> Lexed {
        let mut at = start + opening;
        loop {
            at = match self.byte(at) {
                None => return Err(Mistake::new(start, opening, "the string has no end: close it with '")),
                Some(b'\'') if self.byte(at + 1) == Some(b'\'') => at + 2,
                Some(b'\'') => match self.continuation(at + 1) {
                    Some(next) => next,
                    None => return Ok((Kind::Text, at + 1)),
                },
                Some(b'\\') if escapes => at + 2,
                Some(_) => at + 1,
            };
        }
    }

    /// Behind the quote that continues a string which has ended here: it must be on a later line, with nothing but
    /// white space and line comments between.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut on_later_line = false;
        loop {
            match self.byte(at)? {
                b'\'' => return on_later_line.then_some(at + 1),
                b'-' if self.byte(at + 1) == Some(b'-') => at = self.skip(at, |b| !is_line_end(b)),
                byte if is_space(byte) => {
                    on_later_line |= is_line_end(byte);
                    at += 1;
                }
                _ => return None,
            }
        }
    }

    fn quoted_name(&self, start: usize, opening: usize) -> Lexed {
        let mut at = start + opening;
        loop {
            at = match self.byte(at) {
                None => {
                    return Err(Mistake::new(start, opening, "the quoted name has no end: close it with \""));
                }
                Some(b'"') if self.byte(at + 1) == Some(b'"') => at + 2,
                Some(b'"') => return Ok((Kind::QuotedName, at + 1)),
                Some(_) => at + 1,
            };
        }
    }

    /// `$1`, `$$text$$`, `$tag$text$tag$`.
    fn dollar(&self, start: usize) -> Lexed {
        let after = start + 1;
        if self.byte(after).is_some_and(|b| b.is_ascii_digit()) {
            return Ok((Kind::Numbered, self.skip(after, |b| b.is_ascii_digit())));
        }
        let tag = match self.byte(after) {
            Some(byte) if is_word_start(byte) => self.skip(after, |b| is_word(b) && b != b'$'),
            _ => after,
        };
        if self.byte(tag) != Some(b'$') {
            return Ok((Kind::Other, after));
        }
        let delimiter = &self.source[start..=tag];
        match self.source[tag + 1..].find(delimiter) {
            Some(length) => Ok((Kind::Text, tag + 1 + length + delimiter.len())),
            None => {
                let message = format!("the string has no end: close it with {delimiter}");
                Err(Mistake::new(start, delimiter.len(), message))
            }
        }
    }

    /// Where the number ends. Underscores and other bases are of PostgreSQL 16; older ones refuse them.
    fn number(&self, start: usize) -> usize {
        let digits = |from: usize, of_base: fn(u8) -> bool| self.skip(from, |b| of_base(b) || b == b'_');
        let decimal = |b: u8| b.is_ascii_digit();
        if self.byte(start) == Some(b'0') {
            let of_base: Option<fn(u8) -> bool> = match self.byte(start + 1) {
                Some(b'x' | b'X') => Some(|b| b.is_ascii_hexdigit()),
                Some(b'o' | b'O') => Some(|b| matches!(b, b'0'..=b'7')),
                Some(b'b' | b'B') => Some(|b| matches!(b, b'0' | b'1')),
                _ => None,
            };
            if let Some(of_base) = of_base {
                let end = digits(start + 2, of_base);
                if end > start + 2 {
                    return end;
                }
            }
        }
        let mut at = digits(start, decimal);
        if self.byte(at) == Some(b'.') && self.byte(at + 1) != Some(b'.') {
            at = match self.byte(at + 1) {
                Some(b) if b.is_ascii_digit() => digits(at + 1, decimal),
                _ => at + 1,
            };
        }
        if matches!(self.byte(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
            if self.byte(at + 1 + sign).is_some_and(decimal) {
                at = digits(at + 1 + sign, decimal);
            }
        }
        at
    }

    /// Where the operator ends: a comment ends it, and a sign at its end belongs to what follows unless the operator
    /// has a character that no operator of standard SQL has.
    fn operator(&self, start: usize) -> usize {
        let run = &self.bytes[start..self.skip(start, is_operator)];
        let comment = run.windows(2).position(|two| matches!(two, b"--" | b"/*"));
        let mut run = &run[..comment.unwrap_or(run.len())];
        if !run.iter().any(|b| b"~!@#^&|`?%".contains(b)) {
            while let [shorter @ .., b'+' | b'-'] = run
                && !shorter.is_empty()
            {
                run = shorter;
            }
        }
        start + run.len()
    }
}

/// White space, as PostgreSQL 16 sees it; older ones don't know the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Any character beyond ASCII is a letter, even if it is none.
fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

#[cfg(test)]
mod tests;
