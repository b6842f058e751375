//! What the code written by `#[derive(FromRow)]` calls. Uses: columns, error, json, outline, row.

mod finder;

use std::any::type_name;

use postgres_types::FromSqlOwned;
use serde::de::DeserializeOwned;

use crate::columns::{Column, Columns};
use crate::error::{Error, Result};
use crate::json;
use crate::outline::Place;
use crate::row::RowRef;

pub use finder::Finder;

/// The position of a column that is not there, for fields with a default. No result has so many columns.
const MISSING: u16 = u16::MAX;

/// What a field can be: everything that is `FromSql` and owned. A trait of its own, for the sake of its message.
#[diagnostic::on_unimplemented(
    message = "no column can be read into `{Self}`",
    label = "a field needs a type that implements `FromSql` and owns its value",
    note = "a struct that takes several columns is marked #[maypole(flatten)], a serde type in a json column \
            #[maypole(json)]"
)]
pub trait Readable: Sized + 'static {
    /// Whether the column's type fits.
    ///
    /// # Errors
    ///
    /// If it does not.
    fn check(column: &Column) -> Result<()>;

    /// Whether there is a value for the column's NULL.
    fn takes_null(column: &Column) -> bool;

    /// Reads the value of a column whose type fits.
    ///
    /// # Errors
    ///
    /// If the value can't be read.
    fn read(position: usize, row: &RowRef<'_>) -> Result<Self>;
}

impl<T: FromSqlOwned + 'static> Readable for T {
    fn check(column: &Column) -> Result<()> {
        column.check::<T>()
    }

    fn takes_null(column: &Column) -> bool {
        column.can_be_null::<T>()
    }

    #[inline]
    fn read(position: usize, row: &RowRef<'_>) -> Result<T> {
        row.decode(position)
    }
}

/// A struct that takes some columns of a row, with what it is made of.
///
/// `FromRow` of a derived struct is this, with all columns of the result to itself. A flattened struct shares them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be flattened",
    label = "flatten takes a struct with `#[derive(FromRow)]`, or an `Option` of one"
)]
pub trait Flatten: Sized + 'static {
    /// The struct's name.
    const NAME: &'static str;
    /// Whether columns without a field are ignored.
    const LAX: bool;
    /// The positions of its columns.
    type Plan: Send + Sync + 'static;

    /// Finds the column of each field. What is wrong is noted in the finder; the plan is of no use then.
    fn find(finder: &mut Finder<'_>) -> Self::Plan;

    /// Reads the values.
    ///
    /// # Errors
    ///
    /// If a value can't be read.
    fn read(plan: &Self::Plan, row: &RowRef<'_>) -> Result<Self>;

    /// Whether all its columns are NULL.
    fn is_null(plan: &Self::Plan, row: &RowRef<'_>) -> bool;
}

impl<T: Flatten> Flatten for Option<T> {
    const NAME: &'static str = T::NAME;
    const LAX: bool = T::LAX;
    type Plan = T::Plan;

    fn find(finder: &mut Finder<'_>) -> T::Plan {
        finder.optional::<T>()
    }

    #[inline]
    fn read(plan: &T::Plan, row: &RowRef<'_>) -> Result<Option<T>> {
        if T::is_null(plan, row) { Ok(None) } else { T::read(plan, row).map(Some) }
    }

    fn is_null(plan: &T::Plan, row: &RowRef<'_>) -> bool {
        T::is_null(plan, row)
    }
}

/// A field of a struct that a row is turned into.
pub struct Field {
    name: &'static str,
    column: &'static str,
    rust: fn() -> &'static str,
    check: fn(&Column) -> Result<()>,
    takes_null: fn(&Column) -> bool,
    default: bool,
}

impl Field {
    /// The field `name` of type `T`, which is read from the column of the name `column`.
    pub const fn of<T: Readable>(name: &'static str, column: &'static str) -> Field {
        Field {
            name,
            column,
            rust: type_name::<T>,
            check: T::check,
            takes_null: T::takes_null,
            default: false,
        }
    }

    /// The same for a type that is read from JSON.
    pub const fn json<T: DeserializeOwned>(name: &'static str, column: &'static str) -> Field {
        Field {
            name,
            column,
            rust: type_name::<T>,
            check: json::check::<T>,
            takes_null: |_| json::null::<T>().is_some(),
            default: false,
        }
    }

    /// The same field, whose column may be missing.
    pub const fn or_default(self) -> Field {
        Field { default: true, ..self }
    }
}

/// Finds the columns of a struct and all that is flattened into it; every column must have its field.
///
/// # Errors
///
/// One error that tells all that does not fit.
pub fn plan<T: Flatten>(columns: &Columns) -> Result<T::Plan> {
    // The first time nothing is written down: that everything fits is the rule.
    let mut finder = Finder::new::<T>(columns, None);
    let plan = T::find(&mut finder);
    if finder.fits() {
        return Ok(plan);
    }
    let mut finder = Finder::new::<T>(columns, Some(Vec::new()));
    T::find(&mut finder);
    Err(finder.refusal())
}

/// What the struct expects of each column.
pub fn outline<T: Flatten>(columns: &Columns) -> Vec<Place> {
    let mut finder = Finder::new::<T>(columns, Some(Vec::new()));
    T::find(&mut finder);
    finder.outline()
}

/// Reads a whole row.
///
/// # Errors
///
/// If a value can't be read; the error names the struct, the field and the column.
#[inline]
pub fn read<T: Flatten>(plan: &T::Plan, row: &RowRef<'_>) -> Result<T> {
    T::read(plan, row).map_err(|error| error.inside(T::NAME, "."))
}

/// Reads the value of a field.
///
/// # Errors
///
/// If the value can't be read.
#[inline]
pub fn field<T: Readable>(name: &'static str, position: u16, row: &RowRef<'_>) -> Result<T> {
    T::read(usize::from(position), row).map_err(|error| error.inside(name, ": "))
}

/// Reads the value of a field from JSON.
///
/// # Errors
///
/// If the value can't be read.
pub fn json_field<T: DeserializeOwned>(name: &'static str, position: u16, row: &RowRef<'_>) -> Result<T> {
    let position = usize::from(position);
    let value = match row.columns().get(position) {
        Some(column) => json::read(column, row.get_raw(position)),
        None => Err(Error::shape(format!("there is no column {position}: {}", row.columns().summary()))),
    };
    value.map_err(|error| error.inside(name, ": "))
}

/// Reads the value of a field whose column may be missing.
///
/// # Errors
///
/// If there is a value and it can't be read.
#[inline]
pub fn or_default<T: Default>(position: u16, read: impl FnOnce(u16) -> Result<T>) -> Result<T> {
    if position == MISSING { Ok(T::default()) } else { read(position) }
}

/// Reads a flattened struct.
///
/// # Errors
///
/// If a value can't be read.
#[inline]
pub fn nested<T: Flatten>(name: &'static str, plan: &T::Plan, row: &RowRef<'_>) -> Result<T> {
    T::read(plan, row).map_err(|error| error.inside(name, "."))
}

/// Whether all these columns are NULL, or missing.
pub fn are_null(positions: &[u16], row: &RowRef<'_>) -> bool {
    positions.iter().all(|position| row.get_raw(usize::from(*position)).is_none())
}

#[cfg(test)]
mod tests;
