//! From a row to a Rust value. Uses: columns, error, outline, row.

mod foreign;

use std::any::type_name;
use std::collections::HashMap;
use std::hash::BuildHasher;

use postgres_types::{FromSql, FromSqlOwned, Json};

use crate::columns::{Columns, short_name};
use crate::error::{Error, Result};
use crate::outline::Place;
use crate::row::{Row, RowRef};

/// What a row can be turned into.
///
/// * structs with `#[derive(FromRow)]`, by the names of the columns;
/// * tuples of 1 to 12 values, by position;
/// * one value, a [`Scalar`], if the result has one column;
/// * [`Row`], whatever the columns are;
/// * [`Serde`](crate::Serde) of a type with `serde::Deserialize`, as that type wants it.
///
/// It is strict both ways: each column must have its place, each place its column, and the types must fit without
/// loss. NULL needs an `Option`; else the error names the row, counted from 1, the field and the column.
///
/// ```
/// use maypole::FromRow;
///
/// #[derive(FromRow)]
/// struct Customer {
///     id: i32,
///     name: String,
///     #[maypole(rename = "type")]
///     kind: Option<String>,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a row can't be turned into `{Self}`",
    note = "a row becomes a struct with `#[derive(FromRow)]`, a tuple of 1 to 12 values, one value, or a `maypole::Row`",
    note = "a type that implements `serde::Deserialize` is read as `maypole::Serde<…>`",
    note = "for a type of your own that implements `FromSql`, write `impl maypole::Scalar for … {{}}`"
)]
pub trait FromRow: Sized + 'static {
    /// What is found out once for a result, so that its rows need no look-up of names. It may be kept for the next
    /// result of the same statement.
    type Plan: Send + Sync + 'static;

    /// Checks the number, names and types of the columns. Called once for each result.
    ///
    /// # Errors
    ///
    /// If the columns do not fit.
    fn plan(columns: &Columns) -> Result<Self::Plan>;

    /// Reads one row of the result the plan was made for; another plan's values come out wrong, or panic.
    ///
    /// # Errors
    ///
    /// If a value can't be read: NULL where there is no `Option`, or bytes that the type does not allow.
    fn from_row(plan: &Self::Plan, row: &RowRef<'_>) -> Result<Self>;

    /// What is expected of the columns, for checks that have no row. Not for use by hand: it may change in any version.
    #[doc(hidden)]
    fn outline(columns: &Columns) -> Vec<Place> {
        by_hand::<Self>(columns, Self::plan(columns).map(|_| ()))
    }
}

/// What is known of an implementation written by hand: whether it takes the columns.
fn by_hand<T>(columns: &Columns, checked: Result<()>) -> Vec<Place> {
    let rust = short_name(type_name::<T>());
    match checked {
        Ok(()) => (0..columns.len()).map(|position| Place::any(columns, position, &rust)).collect(),
        Err(error) => {
            let mut place = Place::at(0, rust.clone(), &rust);
            place.problem = Some(error.to_string());
            vec![place]
        }
    }
}

impl FromRow for Row {
    type Plan = ();

    fn plan(_: &Columns) -> Result<()> {
        Ok(())
    }

    fn from_row((): &(), row: &RowRef<'_>) -> Result<Row> {
        Ok(row.to_row())
    }
}

/// A type that stands for a whole row of one column.
///
/// The usual types of Rust are, and so are `Option` and `Vec` of them; types of chrono, uuid and others with the features
/// that are named after postgres-types' own (`with-chrono-0_4`, `with-uuid-1` …). For a type of your own that implements
/// `FromSql`:
///
/// ```
/// use postgres_types::{FromSql, Type};
///
/// struct Celsius(f64);
///
/// impl<'a> FromSql<'a> for Celsius {
///     fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
///         f64::from_sql(ty, raw).map(Celsius)
///     }
///     fn accepts(ty: &Type) -> bool {
///         <f64 as FromSql>::accepts(ty)
///     }
/// }
///
/// impl maypole::Scalar for Celsius {}
/// ```
// A list, because "everything that is FromSql" would leave no room for tuples and structs.
pub trait Scalar: FromSqlOwned + 'static {}

macro_rules! scalars {
    ($($type:ty),* $(,)?) => { $( impl Scalar for $type {} )* };
}

scalars!(bool, i8, i16, i32, i64, u32, f32, f64, String, Box<str>, Vec<u8>);
scalars!(serde_json::Value, std::net::IpAddr, std::time::SystemTime);

impl<T: serde::de::DeserializeOwned + 'static> Scalar for Json<T> {}
impl<T: Scalar> Scalar for Option<T> {}
impl<T: Scalar> Scalar for Vec<T> {}
impl<S: BuildHasher + Default + 'static> Scalar for HashMap<String, Option<String>, S> {}

impl<T: Scalar> FromRow for T {
    type Plan = ();

    fn plan(columns: &Columns) -> Result<()> {
        <T as FromValue>::check(columns)
    }

    #[inline]
    fn from_row((): &(), row: &RowRef<'_>) -> Result<T> {
        row.decode(0)
    }

    fn outline(columns: &Columns) -> Vec<Place> {
        vec![place::<T>(columns, 0, "value".into())]
    }
}

/// A single value, for the terminals that ask for a single column: everything that is `FromSql` and owned.
///
/// NULL is a value of its own: ask for an `Option` where it may occur.
pub trait FromValue: Sized {
    /// Checks that there is exactly one column and that its type fits. Called once for each result.
    ///
    /// # Errors
    ///
    /// If there is another number of columns, or the type does not fit.
    fn check(columns: &Columns) -> Result<()>;

    /// Reads the value of a row whose columns were checked.
    ///
    /// # Errors
    ///
    /// If the value can't be read: NULL where there is no `Option`, or bytes that the type does not allow.
    fn from_value(row: &RowRef<'_>) -> Result<Self>;

    /// What is expected of the columns, for checks that have no row. Not for use by hand: it may change in any version.
    #[doc(hidden)]
    fn outline(columns: &Columns) -> Vec<Place> {
        by_hand::<Self>(columns, Self::check(columns))
    }
}

impl<T: FromSqlOwned> FromValue for T {
    fn check(columns: &Columns) -> Result<()> {
        match columns.get(0) {
            Some(column) if columns.len() == 1 => column.check::<T>(),
            _ => Err(Error::shape(format!("one value is wanted, but {}", columns.summary()))),
        }
    }

    #[inline]
    fn from_value(row: &RowRef<'_>) -> Result<T> {
        row.decode(0)
    }

    fn outline(columns: &Columns) -> Vec<Place> {
        vec![place::<T>(columns, 0, "value".into())]
    }
}

/// The place that takes the column at this position.
fn place<'a, T: FromSql<'a>>(columns: &Columns, position: usize, field: String) -> Place {
    let mut place = Place::at(position, field, type_name::<T>());
    match columns.get(position) {
        Some(column) => {
            place.column = Some(position);
            place.problem = column.check::<T>().err().map(|error| error.to_string());
            place.nullable = column.can_be_null::<T>();
        }
        None => place.problem = Some(format!("has no column, {}", columns.summary())),
    }
    place
}

/// Checks a place of a tuple. The number of columns is known to be right.
fn check_place<'a, T: FromSql<'a>>(columns: &Columns, position: usize) -> Result<()> {
    columns.get(position).map_or(Ok(()), |column| column.check::<T>())
}

macro_rules! tuple {
    ($count:literal: $($type:ident $position:tt)+) => {
        impl<$($type),+> FromRow for ($($type,)+)
        where
            $($type: for<'a> FromSql<'a> + 'static),+
        {
            type Plan = ();

            fn plan(columns: &Columns) -> Result<()> {
                if columns.len() != $count {
                    let s = if $count == 1 { "" } else { "s" };
                    return Err(Error::shape(format!(
                        "a tuple of {} value{s} is wanted, but {}",
                        $count,
                        columns.summary()
                    )));
                }
                $( check_place::<$type>(columns, $position)?; )+
                Ok(())
            }

            #[inline]
            fn from_row((): &(), row: &RowRef<'_>) -> Result<Self> {
                Ok(($( row.decode::<$type>($position)?, )+))
            }

            fn outline(columns: &Columns) -> Vec<Place> {
                vec![$( place::<$type>(columns, $position, concat!("tuple.", $position).into()) ),+]
            }
        }
    };
}

tuple!(1: A 0);
tuple!(2: A 0 B 1);
tuple!(3: A 0 B 1 C 2);
tuple!(4: A 0 B 1 C 2 D 3);
tuple!(5: A 0 B 1 C 2 D 3 E 4);
tuple!(6: A 0 B 1 C 2 D 3 E 4 F 5);
tuple!(7: A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuple!(8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuple!(9: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuple!(10: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuple!(11: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuple!(12: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use postgres_types::{ToSql, Type};

    use super::*;
    use crate::row::testing;

    fn customer() -> (Arc<Columns>, Bytes) {
        let columns = testing::columns(&[("id", Type::INT4), ("name", Type::TEXT)]);
        let body = testing::body(&columns, &[&52i32, &"Leonard Winter"]);
        (columns, body)
    }

    fn one<T: FromRow>(columns: &Arc<Columns>, body: &Bytes) -> Result<T> {
        let plan = T::plan(columns)?;
        testing::read(columns, body, |row| T::from_row(&plan, row))
    }

    #[test]
    fn a_row_becomes_a_tuple_by_position() {
        let (columns, body) = customer();
        let tuple: (i32, Option<String>) = one(&columns, &body).unwrap();
        assert_eq!(tuple, (52, Some("Leonard Winter".into())));
        assert_eq!(
            one::<(i32,)>(&columns, &body).unwrap_err().to_string(),
            "a tuple of 1 value is wanted, but the result has 2 columns, \"id\", \"name\""
        );
        assert_eq!(
            one::<(String, i32)>(&columns, &body).unwrap_err().to_string(),
            "column \"id\" is int4, which can't be read as String: use i32, or cast the column in SQL"
        );
    }

    #[test]
    fn twelve_columns_are_the_longest_tuple() {
        let columns = testing::columns(&vec![("x", Type::INT2); 12]);
        let body = testing::body(&columns, &[&7i16 as &(dyn ToSql + Sync); 12]);
        type Shorts = (i16, i16, i16, i16, i16, i16, i16, i16, i16, i16, i16, i16);
        assert_eq!(one::<Shorts>(&columns, &body).unwrap(), (7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7));
    }

    #[test]
    fn a_row_of_one_column_becomes_a_value() {
        let columns = testing::columns(&[("tags", Type::TEXT_ARRAY)]);
        let body = testing::body(&columns, &[&vec!["a", "b"]]);
        assert_eq!(one::<Vec<String>>(&columns, &body).unwrap(), ["a", "b"]);
        assert_eq!(one::<Option<Vec<Option<String>>>>(&columns, &body).unwrap().unwrap().len(), 2);
        let (columns, body) = customer();
        assert_eq!(
            one::<i32>(&columns, &body).unwrap_err().to_string(),
            "one value is wanted, but the result has 2 columns, \"id\", \"name\""
        );
    }

    #[test]
    fn json_becomes_a_value_or_a_type() {
        let columns = testing::columns(&[("doc", Type::JSONB)]);
        let body = testing::body(&columns, &[&serde_json::json!([1, 2])]);
        assert_eq!(one::<serde_json::Value>(&columns, &body).unwrap(), serde_json::json!([1, 2]));
        assert_eq!(one::<Json<Vec<u8>>>(&columns, &body).unwrap().0, [1, 2]);
        let error = one::<Json<String>>(&columns, &body).map(|json| json.0).unwrap_err();
        assert_eq!(error.to_string(), "column \"doc\" (jsonb) can't be read as Json<String>");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("expected a string"));
    }

    #[cfg(feature = "with-uuid-1")]
    #[test]
    fn a_type_of_another_crate_is_one_value_with_its_feature() {
        let columns = testing::columns(&[("key", Type::UUID)]);
        let body = testing::body(&columns, &[&uuid_1::Uuid::nil()]);
        assert_eq!(one::<uuid_1::Uuid>(&columns, &body).unwrap(), uuid_1::Uuid::nil());
        assert_eq!(one::<Option<uuid_1::Uuid>>(&columns, &body).unwrap(), Some(uuid_1::Uuid::nil()));
    }

    #[test]
    fn bytes_are_one_value_and_not_a_list() {
        let columns = testing::columns(&[("x", Type::BYTEA)]);
        let body = testing::body(&columns, &[&&[1u8, 2][..]]);
        assert_eq!(one::<Vec<u8>>(&columns, &body).unwrap(), [1, 2]);
    }

    #[test]
    fn the_outline_tells_places_types_and_null_without_a_row() {
        let (columns, _) = customer();
        let places = <(i32, Option<i32>, String)>::outline(&columns);
        let told: Vec<_> = places.iter().map(|p| (p.column, &*p.field, &*p.rust, p.nullable)).collect();
        assert_eq!(
            told,
            [
                (Some(0), "tuple.0", "i32", false),
                (Some(1), "tuple.1", "Option<i32>", true),
                (None, "tuple.2", "String", false)
            ]
        );
        assert_eq!(places[0].problem, None);
        assert!(places[1].problem.as_ref().unwrap().contains("is text, which can't be read as Option<i32>"));
        assert!(places[2].problem.as_ref().unwrap().starts_with("has no column, the result has 2 columns"));

        let value = <i32 as FromRow>::outline(&columns);
        assert_eq!((value.len(), value[0].column, value[0].nullable), (1, Some(0), false));
        assert_eq!(<i32 as FromValue>::outline(&columns), value);
        let all: Vec<_> = Row::outline(&columns).into_iter().map(|place| place.column).collect();
        assert_eq!(all, [Some(0), Some(1)]);
    }

    /// Takes what a pair takes.
    struct ByHand;

    impl FromRow for ByHand {
        type Plan = ();

        fn plan(columns: &Columns) -> Result<()> {
            <(i32, String)>::plan(columns)
        }

        fn from_row((): &(), _: &RowRef<'_>) -> Result<ByHand> {
            Ok(ByHand)
        }
    }

    #[test]
    fn the_outline_of_what_is_written_by_hand_is_what_its_plan_says() {
        let (columns, _) = customer();
        let places = ByHand::outline(&columns);
        assert_eq!(places.len(), 2);
        assert!(places.iter().all(|place| place.problem.is_none() && place.column.is_some()));
        let places = ByHand::outline(&testing::columns(&[("id", Type::INT4)]));
        assert_eq!((places.len(), places[0].column), (1, None));
        assert!(places[0].problem.as_ref().unwrap().starts_with("a tuple of 2 values is wanted"));
    }

    #[test]
    fn every_row_becomes_a_row() {
        let (columns, body) = customer();
        assert_eq!(one::<Row>(&columns, &body).unwrap().get::<i32>("id").unwrap(), 52);
    }

    #[test]
    fn a_value_wants_one_column_and_null_wants_an_option() {
        let (columns, _) = customer();
        let error = <i32 as FromValue>::check(&columns).unwrap_err().to_string();
        assert_eq!(error, "one value is wanted, but the result has 2 columns, \"id\", \"name\"");
        let error = <i32 as FromValue>::check(&testing::columns(&[])).unwrap_err().to_string();
        assert_eq!(error, "one value is wanted, but the result has no columns");

        let columns = testing::columns(&[("max", Type::INT4)]);
        let body = testing::body(&columns, &[&None::<i32>]);
        <i32 as FromValue>::check(&columns).unwrap();
        testing::read(&columns, &body, |row| {
            assert_eq!(Option::<i32>::from_value(row).unwrap(), None);
            assert_eq!(
                i32::from_value(row).unwrap_err().to_string(),
                "column \"max\" (int4) is NULL, which i32 can't hold: use Option<i32>"
            );
        });
    }
}
