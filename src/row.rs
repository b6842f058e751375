//! One row of a result: the owned form, the borrowed form, and the reader that checks what the server sent.
//! Uses: columns, error, render.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use postgres_types::FromSql;
use serde::{Serialize, Serializer};
use smallvec::{SmallVec, smallvec};

use crate::columns::{Column, Columns};
use crate::error::{Error, Result};
use crate::render;

/// A row of a result.
///
/// It shares the buffer of the reply it came in: cloning it is cheap, and keeping one row keeps the whole reply
/// in memory. Values are read with [`get`](Row::get), by position or by name.
///
/// `Display`, `Debug` and `Serialize` show it as a map from column to value, in the order of the columns:
///
/// ```text
/// {"id": 52, "name": "Leonard Winter"}
/// ```
///
/// | SQL | shown as |
/// | --- | --- |
/// | NULL, `bool`, `int2` to `int8`, `oid` and its kin | null, true or false, number |
/// | `float4`, `float8` | number; NaN and the infinities as text |
/// | `numeric` | text, so that no digit is lost |
/// | texts, `"char"`, `citext`, `xml`, enums | text |
/// | `json`, `jsonb` | JSON, in the order and with the digits the server sent |
/// | `date`, `time`, `timestamp` … | text by RFC 3339, `timestamptz` in UTC |
/// | `interval` | text by ISO 8601: `P1Y2M3DT4H5M6.5S` |
/// | `uuid`, `inet`, `cidr`, `macaddr` | text, as PostgreSQL prints it |
/// | `bytea` and every other type | text: `\x` and the bytes of the binary form in hexadecimal |
/// | arrays | lists, nested for several dimensions |
///
/// Years after 9999 have more digits, years before 1 end in ` BC`, infinite times are `infinity` and `-infinity`,
/// all as PostgreSQL itself writes them in JSON. A value that is not what its type demands is shown as
/// text beginning with `malformed`; showing never fails. Columns of the same name are all shown and serialised, in
/// order. `json` is serialised as `serde_json`'s `RawValue`: verbatim by `serde_json`, other formats see that
/// type's wrapper.
#[derive(Clone)]
pub struct Row {
    columns: Arc<Columns>,
    body: Bytes,
}

impl Row {
    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The names and types of the columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The value of a column, asked for by position (from 0) or name.
    ///
    /// Values never change silently: an `int8` can't be read as `i32`, and NULL only as an `Option`.
    ///
    /// JSON is read into `serde_json::Value` by recursion, at up to 127 levels, and a level costs some 0.3 KiB of
    /// stack, 1.6 KiB in debug builds. On a coroutine's small stack, read deep documents as
    /// `Json<&serde_json::value::RawValue>`, which does not recurse.
    ///
    /// ```
    /// # fn greet(row: &maypole::Row) -> maypole::Result<String> {
    /// let id: i32 = row.get("id")?;
    /// let name = row.get::<Option<&str>>(1)?.unwrap_or("you");
    /// # Ok(format!("{id} {name}"))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such column, if its type or value can't be read as `T`, or if it is NULL and `T` is not an
    /// `Option`.
    pub fn get<'r, T: FromSql<'r>>(&'r self, index: impl RowIndex) -> Result<T> {
        let (position, column) = find(&self.columns, index)?;
        column.check::<T>()?;
        column.decode(Fields::of(&self.body).nth(position).flatten())
    }

    /// Each column with its value's bytes; `None` is NULL.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Column, Option<&[u8]>)> {
        self.columns.iter().zip(Fields::of(&self.body))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        render::serialize(self.len(), self.entries(), serializer)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::display(self, f)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::display(self, f)
    }
}

/// What a column can be asked for by: its position (`usize`, from 0) or its name (`&str`).
pub trait RowIndex: sealed::Sealed {
    /// The position of the column.
    ///
    /// # Errors
    ///
    /// If there is no such column, or if there are several of that name.
    fn position(&self, columns: &Columns) -> Result<usize>;
}

impl RowIndex for usize {
    fn position(&self, columns: &Columns) -> Result<usize> {
        if *self < columns.len() { Ok(*self) } else { Err(no_column(columns, *self)) }
    }
}

impl RowIndex for str {
    fn position(&self, columns: &Columns) -> Result<usize> {
        columns.position(self)
    }
}

impl<T: RowIndex + ?Sized> RowIndex for &T {
    fn position(&self, columns: &Columns) -> Result<usize> {
        T::position(self, columns)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for str {}
    impl<T: Sealed + ?Sized> Sealed for &T {}
}

fn find(columns: &Columns, index: impl RowIndex) -> Result<(usize, &Column)> {
    let position = index.position(columns)?;
    columns.get(position).map(|column| (position, column)).ok_or_else(|| no_column(columns, position))
}

#[cold]
fn no_column(columns: &Columns, position: usize) -> Error {
    Error::shape(format!("there is no column {position}, counted from 0: {}", columns.summary()))
}

/// A row inside the reply it came in, as a [`FromRow`](crate::FromRow) reads it.
pub struct RowRef<'a> {
    columns: &'a Arc<Columns>,
    reply: &'a Bytes,
    body: Range<usize>,
    fields: &'a [Field],
}

impl<'a> RowRef<'a> {
    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The names and types of the columns.
    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// The bytes of a value in PostgreSQL's binary form; `None` if it is NULL or there is no such column.
    #[inline]
    pub fn get_raw(&self, position: usize) -> Option<&'a [u8]> {
        let field = self.fields.get(position)?;
        self.reply.get(field.start..field.end)
    }

    /// The value of a column, asked for by position (from 0) or name, as [`Row::get`] does.
    ///
    /// # Errors
    ///
    /// See [`Row::get`].
    pub fn get<T: FromSql<'a>>(&self, index: impl RowIndex) -> Result<T> {
        let (position, column) = find(self.columns, index)?;
        column.check::<T>()?;
        column.decode(self.get_raw(position))
    }

    /// The value of a column whose type is known to fit.
    #[inline]
    pub(crate) fn decode<T: FromSql<'a>>(&self, position: usize) -> Result<T> {
        match self.columns.get(position) {
            Some(column) => column.decode(self.get_raw(position)),
            None => Err(no_column(self.columns, position)),
        }
    }

    /// The row on its own: two counted references, no copy.
    pub fn to_row(&self) -> Row {
        Row { columns: Arc::clone(self.columns), body: self.reply.slice(self.body.clone()) }
    }
}

impl fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_row().fmt(f)
    }
}

/// Where a value lies in the reply.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
}

impl Field {
    /// No slice begins after its end, so that looking it up yields nothing.
    const NULL: Field = Field { start: 1, end: 0 };
}

/// Reads the rows of one result. The places of the values are kept from row to row, so that a row costs no
/// allocation.
pub(crate) struct RowReader {
    columns: Arc<Columns>,
    fields: SmallVec<[Field; 8]>,
}

impl RowReader {
    pub(crate) fn new(columns: Arc<Columns>) -> RowReader {
        let fields = smallvec![Field::NULL; columns.len()];
        RowReader { columns, fields }
    }

    /// Checks the body of one DataRow message, which lies at `body` in the reply, and finds its values.
    ///
    /// The body is the number of columns (two bytes), then for each column the length of its value (four bytes, -1
    /// is NULL) and the value: see the PostgreSQL manual, "Message Formats".
    #[inline]
    pub(crate) fn read<'a>(&'a mut self, reply: &'a Bytes, body: Range<usize>) -> Result<RowRef<'a>> {
        // What follows the body in the reply is out of reach; places count from the start of the reply.
        let Some(bytes) = reply.get(..body.end) else { return Err(malformed("it ends after the reply")) };
        let Some(count) = bytes.get(body.start..).and_then(<[u8]>::first_chunk) else {
            return Err(malformed("it has no number of columns"));
        };
        if usize::from(u16::from_be_bytes(*count)) != self.fields.len() {
            return Err(malformed("its number of columns is not that of the description"));
        }
        let mut at = body.start + 2;
        for field in &mut self.fields {
            let Some(length) = bytes[at..].first_chunk() else { return Err(malformed("it ends too early")) };
            at += 4;
            *field = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) if length <= bytes.len() - at => {
                    let start = at;
                    at += length;
                    Field { start, end: at }
                }
                Ok(_) => return Err(malformed("a value goes on after its end")),
                Err(_) if *length == [0xff; 4] => Field::NULL,
                Err(_) => return Err(malformed("a value has a negative length")),
            };
        }
        if at != bytes.len() {
            return Err(malformed("bytes follow its last value"));
        }
        Ok(RowRef { columns: &self.columns, reply, body, fields: &self.fields })
    }
}

#[cold]
fn malformed(what: &str) -> Error {
    Error::protocol(format!("a row can't be read: {what}"))
}

/// The values of a body that `RowReader::read` has checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of(body: &'a [u8]) -> Fields<'a> {
        Fields(body.get(2..).unwrap_or_default())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (value, rest) = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => rest.split_at_checked(length).map(|(value, rest)| (Some(value), rest))?,
            Err(_) => (None, rest),
        };
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
