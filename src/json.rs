//! Values of json columns as serde types, and what such a type makes of NULL. Uses: columns, error.

use std::any::type_name;
use std::fmt;

use postgres_types::{Type, WasNull};
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use crate::columns::{Column, short_name};
use crate::error::{Error, Result};

/// Whether it is a column of JSON.
pub(crate) fn check<T>(column: &Column) -> Result<()> {
    if matches!(*column.wire(), Type::JSON | Type::JSONB) {
        return Ok(());
    }
    Err(column.no_json(&short_name(type_name::<T>())))
}

/// Reads the value of a column that `check` has accepted.
pub(crate) fn read<T: DeserializeOwned>(column: &Column, raw: Option<&[u8]>) -> Result<T> {
    let undecodable = |null, cause| column.undecodable(type_name::<T>(), null, cause);
    match raw {
        None => null().ok_or_else(|| undecodable(true, WasNull.into())),
        Some(raw) => {
            let text = text(column.wire(), raw);
            let text =
                text.ok_or_else(|| undecodable(false, "it is of an unknown version of jsonb".into()))?;
            serde_json::from_slice(text).map_err(|cause| {
                let rust = short_name(type_name::<T>());
                let (name, type_) = (column.name(), column.type_());
                let reason = without_value(&cause.to_string());
                Error::shape(format!("column \"{name}\" ({type_}) can't be read as {rust}: {reason}"))
            })
        }
    }
}

/// A message of serde's without the value that it quotes, which is nobody's business: `invalid type: string "…", expected
/// i32 at line 1 column 8`.
pub(crate) fn without_value(message: &str) -> String {
    let quotes = ["invalid type", "invalid value", "unknown variant"];
    if !quotes.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    let end = message.rfind(", expected ").unwrap_or(message.len());
    match message[..end].find(['"', '`']) {
        Some(start) => format!("{}…{}", &message[..start], &message[end..]),
        None => message.to_owned(),
    }
}

/// The text of a JSON value; the binary form of `jsonb` has its version in front, and there is only version 1.
pub(crate) fn text<'a>(type_: &Type, raw: &'a [u8]) -> Option<&'a [u8]> {
    match raw {
        [1, text @ ..] if *type_ == Type::JSONB => Some(text),
        _ if *type_ == Type::JSONB => None,
        _ => Some(raw),
    }
}

/// The value that a type has for NULL: a type that asks for an option has one, and no other.
pub(crate) fn null<T: DeserializeOwned>() -> Option<T> {
    T::deserialize(Null).ok()
}

struct Null;

/// That there is no value for NULL; nobody reads it.
#[derive(Debug)]
struct NoValue;

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NULL")
    }
}

impl std::error::Error for NoValue {}

impl serde::de::Error for NoValue {
    fn custom<T: fmt::Display>(_: T) -> NoValue {
        NoValue
    }
}

impl<'de> Deserializer<'de> for Null {
    type Error = NoValue;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(NoValue::custom("NULL"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoValue> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoValue> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_a_type_that_asks_for_an_option_has_a_value_for_null() {
        #[derive(serde::Deserialize, Debug, PartialEq)]
        struct Wrapped(Option<i32>);

        assert_eq!(null::<Option<Vec<i32>>>(), Some(None));
        assert_eq!(null::<Wrapped>(), Some(Wrapped(None)));
        assert_eq!(null::<Value>(), None);
        assert_eq!(null::<Vec<i32>>(), None);
        assert_eq!(null::<()>(), None);
    }

    #[test]
    fn json_is_read_with_and_without_its_version() {
        let of = |type_| Column::new("doc", type_);
        assert_eq!(read::<Vec<u8>>(&of(Type::JSON), Some(b"[1, 2]")).unwrap(), [1, 2]);
        assert_eq!(read::<Option<Vec<u8>>>(&of(Type::JSONB), Some(b"\x01[1, 2]")).unwrap().unwrap(), [1, 2]);
        assert_eq!(read::<Option<Vec<u8>>>(&of(Type::JSONB), None).unwrap(), None);
        assert_eq!(
            read::<Vec<u8>>(&of(Type::JSONB), None).unwrap_err().to_string(),
            "column \"doc\" (jsonb) is NULL, which Vec<u8> can't hold: use Option<Vec<u8>>"
        );
        assert_eq!(
            read::<Vec<u8>>(&of(Type::JSONB), Some(b"[1, 2]")).unwrap_err().to_string(),
            "column \"doc\" (jsonb) can't be read as Vec<u8>"
        );
        assert_eq!(
            read::<Vec<u8>>(&of(Type::JSON), Some(br#"[1, "a \"secret\""]"#)).unwrap_err().to_string(),
            "column \"doc\" (json) can't be read as Vec<u8>: invalid type: string …, expected u8 at line 1 column 18"
        );
        assert_eq!(
            without_value("unknown variant `x`, expected one of `a`, `b`"),
            "unknown variant …, expected one of `a`, `b`"
        );
        assert_eq!(without_value("missing field `name`"), "missing field `name`");
        assert_eq!(
            check::<Vec<u8>>(&of(Type::TEXT)).unwrap_err().to_string(),
            "column \"doc\" is text, which can't be read as Vec<u8> from JSON: leave json out and use String, \
             or convert the column to jsonb in SQL"
        );
    }
}
