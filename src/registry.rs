//! Every declared query of the program. Uses: columns, database, declared, error, from_row, outline.

use std::any::type_name;
use std::marker::PhantomData;

use crate::columns::Columns;
use crate::database::Database;
use crate::declared::Declared;
use crate::error::Result;
use crate::from_row::{FromRow, FromValue};
use crate::outline::Place;

/// A declared query, as its declaration registers it.
pub struct Registered {
    /// What is known of it.
    pub declared: fn() -> &'static Declared,
    /// Where it runs.
    pub database: fn() -> &'static Database,
    /// What its rows become.
    pub shape: fn() -> ResultShape,
}

inventory::collect!(Registered);

/// What the rows of a declared query become.
#[derive(Clone, Copy)]
pub struct ResultShape(pub(crate) Option<Shape>);

/// A type that rows become.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Its name, with paths.
    pub(crate) rust: fn() -> &'static str,
    /// Whether the columns fit.
    pub(crate) check: fn(&Columns) -> Result<()>,
    /// What it expects of each column.
    pub(crate) outline: fn(&Columns) -> Vec<Place>,
}

impl ResultShape {
    /// The statement returns no rows.
    pub const NONE: ResultShape = ResultShape(None);
}

/// Asks what the rows of a `Query<T>` become: `Shaped::<T>::shape`. A function of its own answers for types that are
/// [`FromRow`]; for those that are only values the one of [`ValueShape`] is found.
#[derive(Debug)]
pub struct Shaped<T>(PhantomData<T>);

impl<T: FromRow> Shaped<T> {
    /// What its rows become.
    pub fn shape() -> ResultShape {
        ResultShape(Some(Shape {
            rust: type_name::<T>,
            check: |columns| T::plan(columns).map(drop),
            outline: T::outline,
        }))
    }
}

/// For types that are values and no rows. That all other types have it too, and only its function asks for more, makes
/// the compiler say what is wrong with them.
pub trait ValueShape {
    /// What was asked for.
    type Row;

    /// What its rows become.
    fn shape() -> ResultShape
    where
        Self::Row: Value;
}

impl<T> ValueShape for Shaped<T> {
    type Row = T;

    fn shape() -> ResultShape
    where
        T: Value,
    {
        ResultShape(Some(Shape { rust: type_name::<T>, check: T::fits, outline: T::places }))
    }
}

/// What can be the one value of a row. A trait of its own, for the sake of its message.
#[diagnostic::on_unimplemented(
    message = "a row can't be turned into `{Self}`",
    note = "a row becomes a struct with `#[derive(FromRow)]`, a tuple of 1 to 12 values, one value, or a `maypole::Row`"
)]
pub trait Value: Sized {
    /// Whether the columns are one of a type that fits.
    ///
    /// # Errors
    ///
    /// If they are not.
    fn fits(columns: &Columns) -> Result<()>;

    /// What is expected of the columns.
    fn places(columns: &Columns) -> Vec<Place>;
}

impl<T: FromValue> Value for T {
    fn fits(columns: &Columns) -> Result<()> {
        T::check(columns)
    }

    fn places(columns: &Columns) -> Vec<Place> {
        T::outline(columns)
    }
}

/// All that are declared for this database. Databases of the same setting share a pool, and their queries.
pub(crate) fn of(database: &Database) -> impl Iterator<Item = &'static Registered> {
    let name = database.setting();
    inventory::iter::<Registered>
        .into_iter()
        .filter(move |registered| (registered.database)().setting() == name)
}
