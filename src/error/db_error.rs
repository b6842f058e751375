//! An error as the server reports it. Uses: sqlstate.

use std::error::Error as StdError;
use std::fmt;

use crate::sqlstate::condition_name;

/// An error that the server reported.
///
/// The fields are those of the PostgreSQL manual, "Error and Notice Message Fields". `Display` leaves out the
/// detail, because the server puts values of rows there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbError {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) position: Option<u32>,
    pub(crate) context: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) data_type: Option<String>,
    pub(crate) constraint: Option<String>,
    pub(crate) routine: Option<String>,
}

impl DbError {
    /// `ERROR`, `FATAL` or `PANIC`, not translated.
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// The SQLSTATE: five characters.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about it, perhaps with values of rows.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What might help.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Where in the statement, in characters from 1.
    pub fn position(&self) -> Option<u32> {
        self.position
    }

    /// The call stack of functions in the server.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The schema concerned.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table concerned.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The column concerned.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// The data type concerned.
    pub fn data_type(&self) -> Option<&str> {
        self.data_type.as_deref()
    }

    /// The constraint concerned.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// The function of the server's source that reported it.
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}", self.message, self.code)?;
        if let Some(name) = condition_name(&self.code) {
            write!(f, " {name}")?;
        }
        f.write_str("]")
    }
}

impl StdError for DbError {}
