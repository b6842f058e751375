//! Where a query failed, drawn like a compiler's message. Uses: nothing.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Which query failed, and where it is written.
#[derive(Clone)]
pub(crate) struct QueryContext {
    /// The text as it was written.
    pub(crate) sql: Arc<str>,
    /// The name of a declared query.
    pub(crate) name: Option<&'static str>,
    pub(crate) place: Option<Place>,
    /// From which character of the text that was sent on which character of this one is meant; both from 0.
    pub(crate) edits: Cow<'static, [(u32, u32)]>,
    /// What else would help, by the library's own knowledge.
    pub(crate) help: Option<String>,
}

/// Where a text stands.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) file: Cow<'static, str>,
    pub(crate) line: u32,
    /// Whether each line of the text is a line of the file.
    pub(crate) lines_match: bool,
    /// Whether the file holds nothing else, so that columns can be told too.
    pub(crate) whole_file: bool,
}

impl Place {
    /// A call in the program.
    pub(crate) fn of(location: &'static Location<'static>) -> Place {
        let file = Cow::Borrowed(location.file());
        Place { file, line: location.line(), lines_match: false, whole_file: false }
    }
}

impl QueryContext {
    /// Where in the text as it was written the server's position is, from 0. It counts characters of the text that it got,
    /// from 1 (manual, "Error and Notice Message Fields").
    fn source_position(&self, position: u32) -> usize {
        let sent = position.saturating_sub(1);
        let source = maypole_sql::source_character(&self.edits, sent);
        usize::try_from(source).unwrap_or(usize::MAX)
    }

    /// The place in the program, and the lines of SQL with a caret under the position.
    pub(super) fn excerpt(&self, f: &mut fmt::Formatter<'_>, position: Option<u32>) -> fmt::Result {
        let at = position.map(|position| self.source_position(position));
        if let Some(place) = &self.place {
            let before = || self.sql.chars().take(at.unwrap_or(0));
            let lines = if place.lines_match { before().filter(|c| *c == '\n').count() } else { 0 };
            write!(f, "\n  --> {}:{}", place.file, u64::from(place.line) + lines as u64)?;
            if place.whole_file && at.is_some() {
                let column = before().collect::<String>().chars().rev().take_while(|c| *c != '\n').count();
                write!(f, ":{}", column + 1)?;
            }
        }
        let Some(mut before) = at else {
            // Without a position the first lines are enough to recognise the statement.
            let mut lines = self.sql.trim().lines();
            for line in lines.by_ref().take(3) {
                let line: Vec<char> = line.trim_end().chars().collect();
                write!(f, "\n   | {}", Piece::around(&line, 0))?;
            }
            return if lines.next().is_some() { f.write_str("\n   | …") } else { Ok(()) };
        };
        for line in self.sql.split('\n') {
            let length = line.chars().count();
            if before <= length {
                let line: Vec<char> = line.trim_end().chars().collect();
                let at = before.min(line.len());
                let piece = Piece::around(&line, at);
                let (indent, width) = (piece.column(at), token_width(&line[at..piece.end]));
                return write!(f, "\n   | {piece}\n   | {:indent$}{:^<width$}", "", "");
            }
            before -= length + 1;
        }
        Ok(())
    }
}

/// What an error shows of a line, which may be of any length.
struct Piece<'l> {
    line: &'l [char],
    start: usize,
    end: usize,
}

impl Piece<'_> {
    /// The most characters shown. Also keeps widths below what formatting takes, 65,535.
    const MOST: usize = 120;

    fn around(line: &[char], at: usize) -> Piece<'_> {
        let start = if line.len() > Piece::MOST { at.saturating_sub(Piece::MOST / 2) } else { 0 };
        Piece { line, start, end: line.len().min(start + Piece::MOST) }
    }

    /// Where a character of the line is shown.
    fn column(&self, at: usize) -> usize {
        at - self.start + usize::from(self.start > 0)
    }
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = |cut: bool| if cut { "…" } else { "" };
        let shown: String = self.line[self.start..self.end].iter().collect();
        write!(f, "{}{shown}{}", dots(self.start > 0), dots(self.end < self.line.len()))
    }
}

/// How many characters the caret underlines: the word, the quoted name, or one character.
fn token_width(rest: &[char]) -> usize {
    let width = match rest.first() {
        Some(&quote @ ('"' | '\'')) => rest.iter().skip(1).position(|c| *c == quote).map_or(1, |at| at + 2),
        _ => rest.iter().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).count(),
    };
    width.max(1)
}
