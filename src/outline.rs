//! What a row type expects of a result, told without a row. Uses: columns.

use crate::columns::{Columns, short_name};

/// A place of a row type that a column goes into. What is in no place is a column that nobody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The position of the column it takes, counted from 0.
    pub column: Option<usize>,
    /// The name or the position of the column it looks for.
    pub name: String,
    /// The place, as people write it: `Customer.name`.
    pub field: String,
    /// The Rust type, without paths.
    pub rust: String,
    /// Why no column, or not this one, can be read into it.
    pub problem: Option<String>,
    /// Whether it has a value for NULL.
    pub nullable: bool,
}

impl Place {
    /// A place that takes the column at this position, whatever it is.
    pub(crate) fn any(columns: &Columns, position: usize, field: &str) -> Place {
        Place {
            column: Some(position),
            name: columns.get(position).map_or_else(|| position.to_string(), |column| column.name().into()),
            field: field.into(),
            rust: "_".into(),
            problem: None,
            nullable: true,
        }
    }

    /// A place of a Rust type that goes by position.
    pub(crate) fn at(position: usize, field: String, rust: &str) -> Place {
        let rust = short_name(rust);
        Place { column: None, name: position.to_string(), field, rust, problem: None, nullable: false }
    }
}
