//! Where a query failed, drawn like a compiler's message. Uses: nothing.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Where and in which text a query failed.
#[derive(Clone)]
pub(crate) struct QueryContext {
    pub(crate) sql: Arc<str>,
    pub(crate) name: Option<&'static str>,
    pub(crate) location: Option<&'static Location<'static>>,
}

impl QueryContext {
    /// The place in the program, and the lines of SQL with a caret under the position.
    pub(super) fn excerpt(&self, f: &mut fmt::Formatter<'_>, position: Option<u32>) -> fmt::Result {
        if let Some(location) = self.location {
            write!(f, "\n  --> {}:{}", location.file(), location.line())?;
        }
        let Some(position) = position else {
            // Without a position the first lines are enough to recognise the statement.
            let mut lines = self.sql.trim().lines();
            for line in lines.by_ref().take(3) {
                let line: Vec<char> = line.trim_end().chars().collect();
                write!(f, "\n   | {}", Piece::around(&line, 0))?;
            }
            return if lines.next().is_some() { f.write_str("\n   | …") } else { Ok(()) };
        };
        let mut before = usize::try_from(position).unwrap_or(usize::MAX).saturating_sub(1);
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
