//! Where a query failed, drawn like a compiler's message. Uses: nothing.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use maypole_sql::Excerpt;

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
    fn source_position(&self, position: u32) -> u32 {
        maypole_sql::source_character(&self.edits, position.saturating_sub(1))
    }

    /// The place in the program, and the lines of SQL with a caret under the position.
    pub(super) fn excerpt(&self, f: &mut fmt::Formatter<'_>, position: Option<u32>) -> fmt::Result {
        let at = position.map(|position| self.source_position(position));
        // Without a position the first lines are enough to recognise the statement.
        let excerpt =
            at.map_or_else(|| Excerpt::of_beginning(&self.sql), |at| Excerpt::of_character(&self.sql, at));
        if let Some(place) = &self.place {
            let lines = if place.lines_match { excerpt.line() } else { 0 };
            write!(f, "\n  --> {}:{}", place.file, place.line.saturating_add(lines))?;
            if let (true, Some(at)) = (place.whole_file, at) {
                let before: Vec<char> =
                    self.sql.chars().take(usize::try_from(at).unwrap_or(usize::MAX)).collect();
                let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
                write!(f, ":{column}")?;
            }
        }
        write!(f, "\n{excerpt}")
    }
}
