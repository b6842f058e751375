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
                write!(f, "\n   | {}", line.trim_end())?;
            }
            return if lines.next().is_some() { f.write_str("\n   | …") } else { Ok(()) };
        };
        let mut before = usize::try_from(position).unwrap_or(usize::MAX).saturating_sub(1);
        for line in self.sql.split('\n') {
            let length = line.chars().count();
            if before <= length {
                let rest: Vec<char> = line.chars().skip(before).collect();
                let width = token_width(&rest);
                write!(f, "\n   | {}\n   | {:before$}{:^<width$}", line.trim_end(), "", "")?;
                return Ok(());
            }
            before -= length + 1;
        }
        Ok(())
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
