//! What the code written by `#[derive(FromRow)]` calls. Uses: columns, error, row.

use std::any::type_name;

use postgres_types::FromSqlOwned;

use crate::columns::{Column, Columns, closest, short_name};
use crate::error::{Error, Result};
use crate::row::RowRef;

/// What a field can be: everything that is `FromSql` and owned. A trait of its own, for the sake of its message.
#[diagnostic::on_unimplemented(
    message = "no column can be read into `{Self}`",
    label = "a field needs a type that implements `FromSql` and owns its value"
)]
pub trait Readable: Sized {
    /// Whether the column's type fits.
    ///
    /// # Errors
    ///
    /// If it does not.
    fn check(column: &Column) -> Result<()>;

    /// Reads the value of a column whose type fits.
    ///
    /// # Errors
    ///
    /// If the value can't be read.
    fn read(position: usize, row: &RowRef<'_>) -> Result<Self>;
}

impl<T: FromSqlOwned> Readable for T {
    fn check(column: &Column) -> Result<()> {
        column.check::<T>()
    }

    #[inline]
    fn read(position: usize, row: &RowRef<'_>) -> Result<T> {
        row.decode(position)
    }
}

/// A field of a struct that a row is turned into.
pub struct Field {
    name: &'static str,
    column: &'static str,
    rust: fn() -> &'static str,
    check: fn(&Column) -> Result<()>,
}

impl Field {
    /// The field `name` of type `T`, which is read from the column of the name `column`.
    pub const fn of<T: Readable>(name: &'static str, column: &'static str) -> Field {
        Field { name, column, rust: type_name::<T>, check: T::check }
    }
}

/// Finds the column of each field; every column must have its field.
///
/// # Errors
///
/// One error that tells all that does not fit.
pub fn plan<const N: usize>(name: &str, fields: &[Field; N], columns: &Columns) -> Result<[u16; N]> {
    let mut positions = [0; N];
    let mut problems = Vec::new();
    for (position, field) in positions.iter_mut().zip(fields) {
        match field.find(columns) {
            Ok(found) => *position = found,
            Err(problem) => problems.push(problem),
        }
    }
    for column in columns {
        let taken = fields.iter().any(|field| field.column == column.name());
        if !taken {
            problems.push(unwanted(column, fields, columns));
        }
    }
    if problems.is_empty() {
        return Ok(positions);
    }
    Err(Error::shape(format!("the columns do not fit {name}: {}", problems.join("; "))))
}

impl Field {
    /// The position of the field's column, or what is wrong.
    fn find(&self, columns: &Columns) -> Result<u16, String> {
        let of_name = |column: &&Column| column.name() == self.column;
        if !columns.iter().any(|column| of_name(&column)) {
            let field = format!("field `{}` ({}) has no column", self.name, short_name((self.rust)()));
            let renamed = if self.name == self.column { "" } else { &format!(" \"{}\"", self.column) };
            let hint = match closest(self.column, columns.iter().map(Column::name)) {
                Some(close) => format!(", did you mean \"{close}\"?"),
                None => format!(", {}", columns.summary()),
            };
            return Err(format!("{field}{renamed}{hint}"));
        }
        let at_field = |error: Error| format!("field `{}`: {error}", self.name);
        let position = columns.position(self.column).map_err(at_field)?;
        columns.get(position).map_or(Ok(()), self.check).map_err(at_field)?;
        u16::try_from(position).map_err(|_| format!("column {position} is one too many"))
    }
}

/// What to say of a column without a field.
fn unwanted(column: &Column, fields: &[Field], columns: &Columns) -> String {
    let name = column.name();
    let lonely = |field: &&Field| !columns.iter().any(|column| column.name() == field.column);
    match closest(name, fields.iter().filter(lonely).map(|field| field.column)) {
        Some(close) => {
            format!("column \"{name}\" ({}) has no field, did you mean \"{close}\"?", column.type_())
        }
        None => format!(
            "column \"{name}\" ({}) has no field: add one, or leave the column out of the query",
            column.type_()
        ),
    }
}

/// Reads the value of a field; `name` is that of the struct and the field.
///
/// # Errors
///
/// If the value can't be read.
#[inline]
pub fn field<T: Readable>(name: &'static str, position: u16, row: &RowRef<'_>) -> Result<T> {
    T::read(usize::from(position), row).map_err(|error| at(name, error))
}

#[cold]
fn at(name: &str, error: Error) -> Error {
    let text = format!("{name}: {error}");
    match std::error::Error::source(&error) {
        Some(cause) => Error::shape(text).caused_by(cause.to_string()),
        None => Error::shape(text),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use postgres_types::{FromSql, Type};

    use crate::row::testing;
    use crate::{Columns, FromRow, Result};

    #[derive(FromRow, Debug, PartialEq)]
    struct Customer {
        id: i32,
        name: String,
        #[maypole(rename = "Since when")]
        since: Option<i16>,
        r#type: Vec<Option<i32>>,
    }

    fn described() -> Arc<Columns> {
        testing::columns(&[
            ("type", Type::INT4_ARRAY),
            ("Since when", Type::INT2),
            ("name", Type::TEXT),
            ("id", Type::INT4),
        ])
    }

    fn one<T: FromRow>(columns: &Arc<Columns>, body: &Bytes) -> Result<T> {
        let plan = T::plan(columns)?;
        testing::read(columns, body, |row| T::from_row(&plan, row))
    }

    fn refusal<T: FromRow>(columns: &[(&str, Type)]) -> String {
        T::plan(&testing::columns(columns)).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn fields_find_their_columns_by_name_in_any_order() {
        let columns = described();
        let body = testing::body(&columns, &[&vec![Some(1), None], &None::<i16>, &"Leonard Winter", &52i32]);
        let customer: Customer = one(&columns, &body).unwrap();
        let expected =
            Customer { id: 52, name: "Leonard Winter".into(), since: None, r#type: vec![Some(1), None] };
        assert_eq!(customer, expected);
    }

    #[test]
    fn null_without_an_option_names_struct_and_field() {
        let columns = described();
        let body = testing::body(&columns, &[&vec![Some(1)], &None::<i16>, &None::<&str>, &52i32]);
        assert_eq!(
            one::<Customer>(&columns, &body).unwrap_err().to_string(),
            "Customer.name: column \"name\" (text) is NULL, which String can't hold: use Option<String>"
        );
    }

    #[derive(FromRow)]
    #[expect(dead_code, reason = "only its plan is made")]
    struct Pair {
        id: i32,
        name: String,
    }

    #[test]
    fn a_column_without_a_field_is_refused() {
        assert_eq!(
            refusal::<Pair>(&[("id", Type::INT4), ("name", Type::TEXT), ("age", Type::INT2)]),
            "the columns do not fit Pair: column \"age\" (int2) has no field: add one, or leave the column out of \
             the query"
        );
    }

    #[test]
    fn a_field_without_a_column_is_refused() {
        assert_eq!(
            refusal::<Pair>(&[("id", Type::INT4)]),
            "the columns do not fit Pair: field `name` (String) has no column, the result has one column, \"id\""
        );
        assert!(
            refusal::<Customer>(&[]).contains("field `since` (Option<i16>) has no column \"Since when\",")
        );
    }

    #[test]
    fn a_misspelt_name_is_refused_from_both_sides() {
        assert_eq!(
            refusal::<Pair>(&[("id", Type::INT4), ("nmae", Type::TEXT)]),
            "the columns do not fit Pair: field `name` (String) has no column, did you mean \"nmae\"?; \
             column \"nmae\" (text) has no field, did you mean \"name\"?"
        );
    }

    #[test]
    fn a_type_that_does_not_fit_is_refused_before_any_row() {
        assert_eq!(
            refusal::<Pair>(&[("id", Type::INT8), ("name", Type::TEXT)]),
            "the columns do not fit Pair: field `id`: column \"id\" is int8, which can't be read as i32: use i64, or \
             cast the column in SQL"
        );
    }

    #[test]
    fn two_columns_of_a_fields_name_are_refused() {
        let error = refusal::<Pair>(&[("id", Type::INT4), ("id", Type::INT4), ("name", Type::TEXT)]);
        assert!(error.contains("field `id`: the result has 2 columns of the name \"id\""), "{error}");
    }

    #[derive(FromRow)]
    struct Keyed<K: Copy, V>
    where
        V: Default,
    {
        key: K,
        value: Option<V>,
    }

    #[test]
    fn a_struct_may_be_generic() {
        let columns = testing::columns(&[("key", Type::INT4), ("value", Type::TEXT)]);
        let body = testing::body(&columns, &[&1i32, &None::<&str>]);
        let keyed: Keyed<i32, String> = one(&columns, &body).unwrap();
        assert_eq!((keyed.key, keyed.value.unwrap_or_default()), (1, String::new()));
    }

    #[derive(FromRow)]
    struct Nothing {}

    #[test]
    fn a_struct_without_fields_wants_no_columns() {
        Nothing::plan(&testing::columns(&[])).unwrap();
        assert!(refusal::<Nothing>(&[("id", Type::INT4)]).contains("\"id\" (int4) has no field"));
    }

    #[test]
    fn a_plan_and_a_row_that_do_not_belong_together_are_an_error() {
        let plan = Pair::plan(&testing::columns(&[("id", Type::INT4), ("name", Type::TEXT)])).unwrap();
        let columns = testing::columns(&[("id", Type::INT4)]);
        let body = testing::body(&columns, &[&1i32]);
        let error = testing::read(&columns, &body, |row| Pair::from_row(&plan, row).map(|_| ())).unwrap_err();
        assert!(error.to_string().starts_with("Pair.name: there is no column 1"), "{error}");
    }

    /// Fails in its own words.
    #[derive(Debug)]
    struct Picky;

    impl<'a> FromSql<'a> for Picky {
        fn from_sql(_: &Type, _: &'a [u8]) -> Result<Picky, Box<dyn std::error::Error + Sync + Send>> {
            Err("not today".into())
        }

        fn accepts(_: &Type) -> bool {
            true
        }
    }

    #[derive(FromRow, Debug)]
    struct Choice {
        #[expect(dead_code, reason = "can't be read")]
        choice: Picky,
    }

    #[test]
    fn the_cause_of_a_value_that_cannot_be_read_is_kept() {
        let columns = testing::columns(&[("choice", Type::INT4)]);
        let body = testing::body(&columns, &[&1i32]);
        let error = one::<Choice>(&columns, &body).unwrap_err();
        assert_eq!(error.to_string(), "Choice.choice: column \"choice\" (int4) can't be read as Picky");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "not today");
    }
}
