//! Several statements in one text, or in a file. Uses: connection, error, off_thread.

use std::borrow::Cow;
use std::panic::Location;
use std::path::Path;

use crate::connection::Connection;
use crate::error::{Error, Place, QueryContext, Result};
use crate::off_thread::off_thread;

/// A text of several statements and where it stands.
pub(crate) struct Script<'a> {
    text: Cow<'a, str>,
    place: Place,
}

impl<'a> Script<'a> {
    /// In the program.
    pub(crate) fn here(text: &'a str, location: &'static Location<'static>) -> Script<'a> {
        Script { text: Cow::Borrowed(text), place: Place::of(location) }
    }

    /// In a file. Read on a thread of its own: files block.
    pub(crate) fn read(path: &Path) -> Result<Script<'static>> {
        let shown = path.display().to_string();
        let path = path.to_owned();
        let text = off_thread("maypole script", move || std::fs::read_to_string(path));
        let text = text.and_then(|read| read).map_err(|cause| {
            Error::usage(format!("the script {shown} can't be read: {cause}")).caused_by(cause)
        })?;
        let place = Place { file: Cow::Owned(shown), line: 1, lines_match: true, whole_file: true };
        Ok(Script { text: Cow::Owned(text), place })
    }

    pub(crate) fn run(&self, connection: &Connection) -> Result<()> {
        connection.run_script(&self.text).map_err(|(error, ahead)| {
            connection.note(error.in_query(&QueryContext {
                sql: (*self.text).into(),
                name: None,
                place: Some(self.place.clone()),
                edits: Cow::Owned(vec![(ahead, 0)]),
                help: None,
            }))
        })
    }
}

impl Connection {
    /// Runs several statements, separated by semicolons, in one round trip and atomically: PostgreSQL wraps them into
    /// one transaction unless they contain their own BEGIN and COMMIT. Results are thrown away.
    ///
    /// Never put values into the text: there is no escaping here. Use [`query`](Connection::query) with parameters.
    ///
    /// # Errors
    ///
    /// If a statement fails (then none has had an effect), the connection is lost, or the time limit passes.
    #[track_caller]
    pub fn script(&self, text: &str) -> Result<()> {
        Script::here(text, Location::caller()).run(self)
    }

    /// Runs the statements in a file, as [`script`](Connection::script) does; an error shows the file's own line and column.
    ///
    /// # Errors
    ///
    /// If the file can't be read, and as for `script`.
    pub fn script_file(&self, path: impl AsRef<Path>) -> Result<()> {
        Script::read(path.as_ref())?.run(self)
    }
}
