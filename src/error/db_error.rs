//! An error as the server reports it. Uses: sqlstate.

use std::error::Error as StdError;
use std::fmt;

use crate::sqlstate::condition_name;

/// An error that the server reported.
///
/// The fields are those of the PostgreSQL manual, "Error and Notice Message Fields". `Display` and `Debug` leave out the
/// values that the server puts there: in the detail, in the context, and in messages about malformed values. The methods
/// leave out nothing.
#[derive(Clone, Default, PartialEq, Eq)]
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

    /// What stands around a value that the message quotes. Errors about data do: `invalid input syntax for type uuid: "…"`; the
    /// value may be a parameter, and may contain quotes itself.
    fn quoted_value(&self) -> Option<(&str, &str)> {
        if !self.code.starts_with("22") {
            return None;
        }
        let (before, rest) = self.message.split_once('"')?;
        let (_, after) = rest.rsplit_once('"')?;
        Some((before, after))
    }

    /// The detail as far as it can be shown without values of rows.
    pub(super) fn detail_without_values(&self) -> Option<String> {
        let detail = self.detail.as_deref()?;
        match self.code.get(..2)? {
            // Other clients in the way, limits, the state of the server, names of the schema.
            "25" | "40" | "42" | "53" | "55" | "57" => Some(detail.to_owned()),
            // `Key (id)=(52) already exists.` Which columns is worth knowing.
            "23" => {
                let (key, rest) = detail.split_once(")=(")?;
                let ends =
                    [") already exists.", ") is not present in table ", ") is still referenced from table "];
                let end = ends.iter().find_map(|end| rest.rfind(end).map(|at| &rest[at..]));
                Some(format!("{key})=(…{}", end.unwrap_or(")")))
            }
            _ => None,
        }
    }

    /// The function of the server's source that reported it.
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quoted_value() {
            Some((before, after)) => write!(f, "{before}\"…\"{after} [{}", self.code)?,
            None => write!(f, "{} [{}", self.message, self.code)?,
        }
        if let Some(name) = condition_name(&self.code) {
            write!(f, " {name}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DbError");
        shown.field("severity", &self.severity).field("message", &self.to_string());
        let fields = [
            ("detail", self.detail_without_values()),
            ("hint", self.hint.clone()),
            ("position", self.position.map(|position| position.to_string())),
            ("schema", self.schema.clone()),
            ("table", self.table.clone()),
            ("column", self.column.clone()),
            ("data_type", self.data_type.clone()),
            ("constraint", self.constraint.clone()),
            ("routine", self.routine.clone()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                shown.field(name, &value);
            }
        }
        shown.finish_non_exhaustive()
    }
}

impl StdError for DbError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str, detail: &str) -> DbError {
        DbError {
            code: code.into(),
            message: message.into(),
            detail: Some(detail.into()),
            ..DbError::default()
        }
    }

    #[test]
    fn a_value_that_the_message_quotes_is_not_shown() {
        let shown = |code, message| error(code, message, "").to_string();
        assert_eq!(
            shown("22P02", "invalid input syntax for type uuid: \"a \"b\" c\""),
            "invalid input syntax for type uuid: \"…\" [22P02 invalid_text_representation]"
        );
        assert_eq!(
            shown("22003", "value \"99\" is out of range for type integer"),
            "value \"…\" is out of range for type integer [22003 numeric_value_out_of_range]"
        );
        assert_eq!(shown("22012", "division by zero"), "division by zero [22012 division_by_zero]");
        assert!(shown("42P01", "relation \"x\" does not exist").contains("\"x\""));
    }

    #[test]
    fn a_detail_is_shown_without_values() {
        let shown = |code, detail| error(code, "", detail).detail_without_values();
        assert_eq!(
            shown("23505", "Key (a, b)=(1, x) y) already exists.").unwrap(),
            "Key (a, b)=(…) already exists."
        );
        let foreign = "Key (a)=(1) is not present in table \"t\".";
        assert_eq!(shown("23503", foreign).unwrap(), "Key (a)=(…) is not present in table \"t\".");
        assert_eq!(shown("23505", "Schlüssel (a)=(1) existiert bereits.").unwrap(), "Schlüssel (a)=(…)");
        assert_eq!(shown("23502", "Failing row contains (1, null)."), None);
        assert_eq!(shown("22P02", "Token \"x\" is invalid."), None);
        assert_eq!(shown("40P01", "Process 1 waits for …").unwrap(), "Process 1 waits for …");
    }
}
