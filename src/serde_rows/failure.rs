//! What serde finds wrong with a row. Uses: columns.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::columns::Column;

/// A message, and the column it is about once that is known. Values are not quoted.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Name and type.
    pub(super) column: Option<String>,
}

impl Failure {
    #[cold]
    pub(super) fn at(mut self, column: &Column) -> Failure {
        self.column.get_or_insert_with(|| format!("\"{}\" ({})", column.name(), column.type_()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Failure {
        Failure { message: message.to_string(), column: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Failure {
        Failure::custom(format!("{} came, expected {expected}", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Failure {
        Failure::custom(format!("{} came that does not fit, expected {expected}", kind(found)))
    }
}

/// What came, without its value.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a floating point number",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "NULL",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}
