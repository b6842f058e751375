//! What the code written by `#[derive(FromRow)]` calls. Uses: columns, error, json, outline, row.

mod finder;

use std::any::type_name;

use postgres_types::FromSqlOwned;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

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

/// The positions of the columns of a struct and of all that is flattened into it, in the order they are looked for.
///
/// One type for all structs, because an associated type that names a flattened struct must not be more visible than that
/// struct. It allocates for structs of many columns only.
pub struct Plan(SmallVec<[u16; 28]>);

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
    /// How many positions it has in a plan.
    const COLUMNS: usize;

    /// Finds the column of each field of its own, then those of the flattened fields. What is wrong is noted in the
    /// finder.
    fn find(finder: &mut Finder<'_>);

    /// Reads the values; the plan begins with its positions.
    ///
    /// # Errors
    ///
    /// If a value can't be read.
    fn read(plan: &[u16], row: &RowRef<'_>) -> Result<Self>;
}

impl<T: Flatten> Flatten for Option<T> {
    const NAME: &'static str = T::NAME;
    const LAX: bool = T::LAX;
    const COLUMNS: usize = T::COLUMNS;

    fn find(finder: &mut Finder<'_>) {
        finder.optional::<T>();
    }

    #[inline]
    fn read(plan: &[u16], row: &RowRef<'_>) -> Result<Option<T>> {
        let is_null = |position: &u16| row.get_raw(usize::from(*position)).is_none();
        if plan.iter().all(is_null) { Ok(None) } else { T::read(plan, row).map(Some) }
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
pub fn plan<T: Flatten>(columns: &Columns) -> Result<Plan> {
    // The first time nothing is written down: that everything fits is the rule.
    let mut finder = Finder::new::<T>(columns, None);
    T::find(&mut finder);
    if finder.fits() {
        return Ok(finder.plan());
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
pub fn read<T: Flatten>(plan: &Plan, row: &RowRef<'_>) -> Result<T> {
    T::read(&plan.0, row).map_err(|error| error.inside(T::NAME, "."))
}

/// The positions of the struct's own columns, and those of what is flattened into it.
///
/// # Errors
///
/// If the plan is that of another struct.
#[inline]
pub fn own<const N: usize>(plan: &[u16]) -> Result<(&[u16; N], &[u16])> {
    plan.split_first_chunk().ok_or_else(foreign)
}

#[cold]
fn foreign() -> Error {
    Error::usage("the plan was made for another struct")
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

/// Reads a flattened struct, whose positions are the next.
///
/// # Errors
///
/// If a value can't be read.
#[inline]
pub fn nested<T: Flatten>(name: &'static str, positions: &mut &[u16], row: &RowRef<'_>) -> Result<T> {
    let (plan, rest) = positions.split_at_checked(T::COLUMNS).ok_or_else(foreign)?;
    *positions = rest;
    T::read(plan, row).map_err(|error| error.inside(name, "."))
}

#[cfg(test)]
mod tests;
