//! Rows of types that implement `serde::Deserialize`. Uses: columns, error, from_row, json, render, row.

mod failure;
mod value;

use std::any::type_name;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
    Visitor,
};

use crate::columns::{Column, Columns, short_name};
use crate::error::{Error, Result};
use crate::from_row::FromRow;
use crate::json;
use crate::row::RowRef;
use failure::Failure;
use value::Value;

/// Reads rows into a type that implements `serde::Deserialize`, for programs that have such types already.
///
/// Structs and maps go by the names of the columns, tuples and lists by position, anything else is the value of the one
/// column. It is serde that decides what is left out: columns without a field are ignored unless the type says
/// `deny_unknown_fields`. Fields are looked up by name for each row; a `#[derive(FromRow)]` does that once, refuses
/// what does not fit before the first row, and is faster.
///
/// | SQL | what serde is given |
/// | --- | --- |
/// | NULL | none; unit where any value is taken |
/// | `bool`, `int2` to `int8`, `oid`, `float4`, `float8` | boolean, integer (checked for its range), float |
/// | `json`, `jsonb` | what the JSON holds: structs, maps, lists … |
/// | arrays | lists, nested for several dimensions |
/// | `bytea` | bytes or a list of bytes where they are asked for, else the text `\x…` |
/// | enums | text, or the variant of an enum |
/// | everything else | the text that a [`Row`](crate::Row) shows: `uuid`, `date`, `timestamptz`, `numeric` … |
///
/// ```
/// use maypole::Serde;
///
/// #[derive(serde::Deserialize)]
/// struct Customer {
///     id: i32,
///     name: String,
///     tags: Vec<String>,
/// }
///
/// # fn look(db: &maypole::Database) -> maypole::Result<()> {
/// for row in db.query("SELECT id, name, tags FROM customers", ()).rows::<Serde<Customer>>()? {
///     let Serde(customer) = row;
///     println!("{} {}", customer.id, customer.name);
/// }
/// # Ok(())
/// # }
/// ```
///
/// An error names the column and what was expected, and quotes no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Serde<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRow for Serde<T> {
    type Plan = ();

    /// Takes every result: what a type expects is known to serde only.
    fn plan(_: &Columns) -> Result<()> {
        Ok(())
    }

    fn from_row((): &(), row: &RowRef<'_>) -> Result<Serde<T>> {
        T::deserialize(Whole(row)).map(Serde).map_err(|failure| refusal::<T>(&failure))
    }
}

#[cold]
fn refusal<T>(failure: &Failure) -> Error {
    let (rust, message) = (short_name(type_name::<T>()), json::without_value(&failure.message));
    Error::shape(match &failure.column {
        Some(column) => format!("column {column} can't be read into {rust}: {message}"),
        None => format!("the columns do not fit {rust}: {message}"),
    })
}

/// A whole row.
#[derive(Clone, Copy)]
struct Whole<'a>(&'a RowRef<'a>);

impl<'a> Whole<'a> {
    /// The one value of a row of one column.
    fn value(self) -> Result<Entry<'a>, Failure> {
        match self.entry(0) {
            Some(entry) if self.0.len() == 1 => Ok(entry),
            _ => Err(Failure::custom(format!("one value is wanted, but {}", self.0.columns().summary()))),
        }
    }

    fn entry(self, position: usize) -> Option<Entry<'a>> {
        let column = self.0.columns().get(position)?;
        Some(Entry { column, value: Value { type_: column.wire(), raw: self.0.get_raw(position) } })
    }
}

/// A column and its value in this row.
struct Entry<'a> {
    column: &'a Column,
    value: Value<'a>,
}

impl<'a> Entry<'a> {
    /// Reads the value; an error names the column.
    fn read<T>(self, read: impl FnOnce(Value<'a>) -> Result<T, Failure>) -> Result<T, Failure> {
        read(self.value).map_err(|failure| failure.at(self.column))
    }
}

/// Those that ask for one value.
macro_rules! one_value {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.value()?.read(|value| value.$method(visitor))
        }
    )* };
}

impl<'a> Deserializer<'a> for Whole<'a> {
    type Error = Failure;

    one_value! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(Entries { row: self, next: 0 })
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        // A row of one list is that list.
        match self.value() {
            Ok(entry) if entry.value.is_list() => entry.read(|value| value.deserialize_seq(visitor)),
            _ => visitor.visit_seq(Entries { row: self, next: 0 }),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        if self.0.len() != len {
            let summary = self.0.columns().summary();
            return Err(Failure::custom(format!("a tuple of {len} is wanted, but {summary}")));
        }
        visitor.visit_seq(Entries { row: self, next: 0 })
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let is_null = (0..self.0.len()).all(|position| self.0.get_raw(position).is_none());
        if is_null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.value()?.read(|value| value.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}

/// The values of a row one after the other, as a map by name or as a list.
struct Entries<'a> {
    row: Whole<'a>,
    next: usize,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.row.entry(self.next) else { return Ok(None) };
        let name: StrDeserializer<'_, Failure> = entry.column.name().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|failure| failure.at(entry.column))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let value = self.next_element_seed(seed)?;
        value.ok_or_else(|| Failure::custom("a value was asked for after the last"))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.row.0.len() - self.next)
    }
}

impl<'a> SeqAccess<'a> for Entries<'a> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some(entry) = self.row.entry(self.next) else { return Ok(None) };
        self.next += 1;
        entry.read(|value| seed.deserialize(value)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.row.0.len() - self.next)
    }
}

#[cfg(test)]
mod tests;
