//! The columns of a result: names and types in order, and what each type is read as. Uses: advice, error.

mod advice;

use std::any::type_name;

use maypole_sql::closest;
use postgres_types::{FromSql, Kind, Type, WasNull};

use crate::error::{Cause, Error, Result};

pub(crate) use self::advice::{crate_type, for_enum, rust_type, sql_type};

/// A column of a result: its name and its SQL type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: Box<str>,
    type_: Type,
    /// What its values are on the wire: the type itself, or text.
    wire: Type,
    counted: Counted,
}

/// Which values of a type begin with a number of elements.
///
/// The decoders of postgres-types reserve memory for as many elements as the value announces. So the number is
/// compared with the length of the value first: a broken server must not make us ask for gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    No,
    Array,
    Hstore,
}

/// What an error says behind the type of a value that is read from JSON.
pub(crate) const FROM_JSON: &str = " from JSON";

impl Column {
    pub(crate) fn new(name: impl Into<Box<str>>, type_: Type) -> Column {
        let counted = match type_.kind() {
            Kind::Array(_) => Counted::Array,
            _ if type_.name() == "hstore" => Counted::Hstore,
            _ => Counted::No,
        };
        Column { name: name.into(), wire: type_.clone(), type_, counted }
    }

    /// A column whose values come in text format, because its type has no binary form.
    pub(crate) fn in_text(name: impl Into<Box<str>>, type_: Type) -> Column {
        Column { name: name.into(), type_, wire: Type::TEXT, counted: Counted::No }
    }

    /// The name, as the server sent it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SQL type. A column of a domain has the domain's base type: that is what the server sends.
    pub fn type_(&self) -> &Type {
        &self.type_
    }

    /// What its values are on the wire: its type, or text if they come in text format.
    pub(crate) fn wire(&self) -> &Type {
        &self.wire
    }

    /// Whether values of this column can be read as `T` without loss.
    pub(crate) fn check<'a, T: FromSql<'a>>(&self) -> Result<()> {
        if T::accepts(&self.wire) { Ok(()) } else { Err(self.mismatch(&short_name(type_name::<T>()))) }
    }

    /// Whether `T` has a value for NULL.
    pub(crate) fn can_be_null<'a, T: FromSql<'a>>(&self) -> bool {
        T::from_sql_null(&self.wire).is_ok()
    }

    /// Reads a value as `T`, which `check` has accepted.
    #[inline]
    pub(crate) fn decode<'a, T: FromSql<'a>>(&self, raw: Option<&'a [u8]>) -> Result<T> {
        if self.counted != Counted::No && !raw.is_none_or(|raw| self.count_fits(raw)) {
            let cause = "it announces more elements than it has".into();
            return Err(self.undecodable(type_name::<T>(), false, cause));
        }
        T::from_sql_nullable(&self.wire, raw)
            .map_err(|cause| self.undecodable(type_name::<T>(), raw.is_none(), cause))
    }

    /// Whether the value is long enough for the number of elements it begins with.
    fn count_fits(&self, raw: &[u8]) -> bool {
        match self.counted {
            Counted::No => true,
            Counted::Array => array_dimensions(raw).is_some(),
            // Each pair has two lengths of four bytes.
            Counted::Hstore => raw.first_chunk().is_some_and(|count| {
                usize::try_from(i32::from_be_bytes(*count)).is_ok_and(|count| count <= raw.len() / 8)
            }),
        }
    }

    #[cold]
    pub(crate) fn mismatch(&self, rust: &str) -> Error {
        let Column { name, type_, .. } = self;
        if self.wire != self.type_ {
            return Error::shape(format!(
                "column \"{name}\" is {type_}, which has no binary form and comes as text, so that it can't be \
                 read as {rust}: use String"
            ));
        }
        Error::shape(format!(
            "column \"{name}\" is {type_}, which can't be read as {rust}: {}",
            advice::advice(type_, rust)
        ))
    }

    /// The error of a column that a value is to be read from as JSON, and that is none.
    #[cold]
    pub(crate) fn no_json(&self, rust: &str) -> Error {
        let Column { name, type_, .. } = self;
        let advice = advice::json_advice(&self.wire, rust);
        Error::shape(format!(
            "column \"{name}\" is {type_}, which can't be read as {rust}{FROM_JSON}: {advice}"
        ))
    }

    #[cold]
    pub(crate) fn undecodable(&self, rust: &str, null: bool, cause: Cause) -> Error {
        let Column { name, type_, .. } = self;
        let rust = short_name(rust);
        let what = format!("column \"{name}\" ({type_})");
        if !cause.is::<WasNull>() {
            Error::shape(format!("{what} can't be read as {rust}")).caused_by(cause)
        } else if null {
            Error::shape(format!("{what} is NULL, which {rust} can't hold: use Option<{rust}>"))
        } else {
            Error::shape(format!(
                "{what} holds a NULL inside, which {rust} can't: use Option for the elements"
            ))
        }
    }
}

/// The columns of a result, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Box<[Column]>);

impl Columns {
    pub(crate) fn new(columns: Vec<Column>) -> Columns {
        Columns(columns.into())
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one comes in text format.
    pub(crate) fn has_text(&self) -> bool {
        self.iter().any(|column| column.wire != column.type_)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Column> {
        self.0.iter()
    }

    /// The column at this position, counted from 0.
    pub fn get(&self, index: usize) -> Option<&Column> {
        self.0.get(index)
    }

    /// The position of the column with this name, upper and lower case told apart.
    ///
    /// # Errors
    ///
    /// If there is no such column; the error lists what there is. If the name occurs more than once.
    pub fn position(&self, name: &str) -> Result<usize> {
        let mut found = self.iter().enumerate().filter(|(_, column)| &*column.name == name);
        match (found.next(), found.next()) {
            (Some((position, _)), None) => Ok(position),
            (Some(_), Some(_)) => Err(Error::shape(format!(
                "the result has {} columns of the name \"{name}\": give each its own with AS, or ask by index",
                self.iter().filter(|column| &*column.name == name).count()
            ))),
            (None, _) => {
                let close = closest(name, self.iter().map(Column::name));
                let hint = close.map_or(String::new(), |close| format!(" (did you mean \"{close}\"?)"));
                Err(Error::shape(format!("there is no column \"{name}\"{hint}: {}", self.summary())))
            }
        }
    }

    /// What an error tells about the columns.
    pub(crate) fn summary(&self) -> String {
        const SHOWN: usize = 20;
        let mut names: Vec<_> =
            self.iter().take(SHOWN).map(|column| format!("\"{}\"", column.name)).collect();
        if self.len() > SHOWN {
            names.push("…".into());
        }
        match self.len() {
            0 => "the result has no columns".into(),
            1 => format!("the result has one column, {}", names.concat()),
            n => format!("the result has {n} columns, {}", names.join(", ")),
        }
    }
}

impl<'a> IntoIterator for &'a Columns {
    type Item = &'a Column;
    type IntoIter = std::slice::Iter<'a, Column>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The lengths of an array's dimensions and the bytes of its elements; none if the header is impossible.
pub(crate) fn array_dimensions(raw: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    // PostgreSQL's MAXDIM.
    const MOST: usize = 6;
    let (header, mut rest) = raw.split_first_chunk::<12>()?;
    let [a, b, c, d, ..] = *header;
    let count = usize::try_from(i32::from_be_bytes([a, b, c, d])).ok().filter(|count| *count <= MOST)?;
    let mut lengths = Vec::with_capacity(count);
    let mut elements = usize::from(count > 0);
    for _ in 0..count {
        let (dimension, after) = rest.split_first_chunk::<8>()?;
        let [a, b, c, d, ..] = *dimension;
        // An empty array has no dimensions at all.
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).ok().filter(|length| *length > 0)?;
        elements = elements.checked_mul(length)?;
        lengths.push(length);
        rest = after;
    }
    // Each element has a length of four bytes.
    (elements <= rest.len() / 4).then_some((lengths, rest))
}

/// A Rust type as people write it: without the paths.
pub(crate) fn short_name(path: &str) -> String {
    let mut short = String::with_capacity(path.len());
    // Where the path began that is being copied.
    let mut start = 0;
    for c in path.chars() {
        short.push(c);
        if !(c.is_alphanumeric() || c == '_' || c == ':') {
            start = short.len();
        } else if short[start..].ends_with("::") {
            short.truncate(start);
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Columns {
        Columns::new(names.iter().map(|name| Column::new(*name, Type::INT4)).collect())
    }

    #[test]
    fn a_missing_name_lists_what_there_is_and_suggests_the_nearest() {
        let columns = columns(&["id", "name"]);
        assert_eq!(columns.position("name").unwrap(), 1);
        assert_eq!(
            columns.position("nmae").unwrap_err().to_string(),
            "there is no column \"nmae\" (did you mean \"name\"?): the result has 2 columns, \"id\", \"name\""
        );
        assert_eq!(
            columns.position("zip_code").unwrap_err().to_string(),
            "there is no column \"zip_code\": the result has 2 columns, \"id\", \"name\""
        );
    }

    #[test]
    fn a_name_that_occurs_twice_is_not_guessed() {
        let error = columns(&["id", "name", "id"]).position("id").unwrap_err();
        assert!(error.to_string().starts_with("the result has 2 columns of the name \"id\""), "{error}");
    }

    #[test]
    fn a_long_list_of_columns_is_cut() {
        let names: Vec<String> = (0..300).map(|i| format!("c{i}")).collect();
        let columns = columns(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(columns.summary().starts_with("the result has 300 columns, \"c0\", "));
        assert!(columns.summary().ends_with("\"c19\", …"));
        assert_eq!(self::columns(&["a"]).summary(), "the result has one column, \"a\"");
        assert_eq!(self::columns(&[]).summary(), "the result has no columns");
    }

    #[test]
    fn types_are_named_without_their_paths() {
        assert_eq!(short_name(type_name::<Option<Vec<String>>>()), "Option<Vec<String>>");
        assert_eq!(short_name(type_name::<(i32, &[serde_json::Value])>()), "(i32, &[Value])");
    }

    #[test]
    fn a_type_that_loses_digits_is_refused_with_the_one_that_does_not() {
        let error = Column::new("n", Type::INT8).check::<i32>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "column \"n\" is int8, which can't be read as i32: use i64, or cast the column in SQL"
        );
        let error = Column::new("n", Type::INT8_ARRAY).check::<Vec<i32>>().unwrap_err();
        assert!(error.to_string().contains("read as Vec<i32>: use Vec<i64>,"), "{error}");
        assert!(Column::new("n", Type::NUMERIC).check::<f64>().unwrap_err().to_string().contains("Decimal"));
    }

    #[test]
    fn a_column_in_text_format_is_read_as_whatever_takes_text() {
        let column = Column::in_text("acl", Type::ACLITEM);
        assert_eq!(column.decode::<String>(Some(b"=r/me")).unwrap(), "=r/me");
        assert_eq!(column.decode::<Option<&str>>(None).unwrap(), None);
        column.check::<Option<Box<str>>>().unwrap();
        assert_eq!(
            column.check::<i32>().unwrap_err().to_string(),
            "column \"acl\" is aclitem, which has no binary form and comes as text, so that it can't be read as \
             i32: use String"
        );
        let list = Column::in_text("acl", Type::ACLITEM_ARRAY);
        assert_eq!(list.decode::<String>(Some(b"{=r/me}")).unwrap(), "{=r/me}");
        assert!(list.check::<Vec<String>>().is_err());
    }

    #[test]
    fn an_array_that_announces_more_than_it_has_is_refused_before_memory_is_reserved() {
        let mut raw = Vec::new();
        for word in [1, 0, 23, i32::MAX, 1] {
            raw.extend(i32::to_be_bytes(word));
        }
        let error = Column::new("n", Type::INT4_ARRAY).decode::<Vec<i32>>(Some(&raw)).unwrap_err();
        assert_eq!(error.to_string(), "column \"n\" (_int4) can't be read as Vec<i32>");

        let hstore = Type::new("hstore".into(), 90_000, Kind::Simple, "public".into());
        let column = Column::new("n", hstore);
        type Map = std::collections::HashMap<String, Option<String>>;
        assert!(column.decode::<Map>(Some(&i32::MAX.to_be_bytes())).is_err());
        assert_eq!(column.decode::<Map>(Some(&[0; 4])).unwrap(), Map::new());
    }

    #[test]
    fn the_dimensions_of_an_array_must_be_possible() {
        let array = |words: &[i32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        assert_eq!(array_dimensions(&array(&[0, 0, 23])), Some((vec![], &[][..])));
        let pair = array(&[2, 1, 23, 1, 1, 2, 1, -1, -1]);
        assert_eq!(array_dimensions(&pair), Some((vec![1, 2], &pair[28..])));
        for wrong in [&[1, 0, 23, 0, 1][..], &[-1, 0, 23], &[7, 0, 23], &[1, 0], &[1, 0, 23, 2, 1, -1]] {
            assert_eq!(array_dimensions(&array(wrong)), None, "{wrong:?}");
        }
    }
}
