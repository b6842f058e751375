//! The values of a request, and how each travels. Uses: declared, error, params, source.

use bytes::{BufMut, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::types::array_from_sql;
use postgres_types::{Format, IsNull, Kind as Shape, ToSql, Type, WrongType};

use crate::declared::Kind;
use crate::error::{Cause, Error, Result};
use crate::params::Params;
use crate::source::{Place, Source};

/// The values of a request, and what they stand for.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) params: &'a dyn Params,
    pub(crate) source: Source<'a>,
}

/// What the message says of a value: 0 is text, 1 binary.
type FormatCode = i16;
const TEXT: FormatCode = 0;
const BINARY: FormatCode = 1;

impl Values<'_> {
    /// How many parameters of the statement they stand for.
    pub(super) fn len(&self) -> usize {
        self.source.count(self.params.len())
    }

    /// Writes the value of one parameter. The server says that they have these types.
    pub(super) fn write(
        &self,
        at: usize,
        types: &[Type],
        buffer: &mut BytesMut,
    ) -> Result<(IsNull, FormatCode)> {
        let type_ = types.get(at).unwrap_or(&Type::UNKNOWN);
        let place = self.source.place(at);
        let written = if place.null_test {
            self.write_null_test(place, types, buffer)
        } else {
            write_kind(self.params.get(place.value), place.kind, type_, buffer)
        };
        written.map_err(|cause| self.unwritten(at, type_, cause))
    }

    // Out of line, as what is rare below: each stack of a coroutine is cold when it runs, and a small frame touches less of it.
    #[cold]
    #[inline(never)]
    fn unwritten(&self, at: usize, type_: &Type, cause: Cause) -> Error {
        let name = self.source.name(at);
        let message = if cause.is::<WrongType>() {
            format!("parameter {name} does not convert to the type {type_} that the server expects")
        } else {
            format!("parameter {name} can't be sent as {type_}")
        };
        Error::parameter(message).caused_by(cause)
    }

    /// Any text will do for a value: only whether there is one is asked.
    #[inline(never)]
    fn write_null_test(
        &self,
        place: Place,
        types: &[Type],
        buffer: &mut BytesMut,
    ) -> Result<(IsNull, FormatCode), Cause> {
        // A value whose type only the server knows: another place where it stands tells the type.
        let twin = (0..self.len()).find(|at| {
            let other = self.source.place(*at);
            other.value == place.value && !other.null_test
        });
        let type_ = twin.and_then(|at| types.get(at));
        if type_.is_none() && place.kind == Kind::Open {
            return Err("it only stands before IS NULL, which does not tell its type: write a cast, (:x::type) IS NULL".into());
        }
        let start = buffer.len();
        let value = self.params.get(place.value);
        let (is_null, _) = write_kind(value, place.kind, type_.unwrap_or(&Type::UNKNOWN), buffer)?;
        buffer.truncate(start);
        Ok((is_null, TEXT))
    }
}

fn write_kind(
    value: &(dyn ToSql + Sync),
    kind: Kind,
    type_: &Type,
    buffer: &mut BytesMut,
) -> Result<(IsNull, FormatCode), Cause> {
    match kind {
        Kind::Typed(oid) => {
            // Built-in types only.
            let type_ = Type::from_oid(oid).unwrap_or(Type::UNKNOWN);
            Ok((value.to_sql_checked(&type_, buffer)?, format_code(value, &type_)))
        }
        Kind::Text => Ok((value.to_sql_checked(&Type::TEXT, buffer)?, TEXT)),
        Kind::TextArray => Ok((write_text_array(value, buffer)?, TEXT)),
        Kind::Open => write_open(value, type_, buffer),
    }
}

fn format_code(value: &(dyn ToSql + Sync), type_: &Type) -> FormatCode {
    match value.encode_format(type_) {
        Format::Text => TEXT,
        Format::Binary => BINARY,
    }
}

/// Writes a value as the type that the server expects. A domain travels as what it is made of, so whatever does not know
/// the domain itself is taken as that; and a text may be the text of anything.
#[inline(never)]
fn write_open(
    value: &(dyn ToSql + Sync),
    type_: &Type,
    buffer: &mut BytesMut,
) -> Result<(IsNull, FormatCode), Cause> {
    let start = buffer.len();
    let wrong = match value.to_sql_checked(type_, buffer) {
        Ok(is_null) => return Ok((is_null, format_code(value, type_))),
        Err(error) if error.is::<WrongType>() => error,
        Err(error) => return Err(error),
    };
    buffer.truncate(start);
    match type_.kind() {
        Shape::Domain(base) => return write_open(value, base, buffer),
        Shape::Array(element) if !has_rust_type(element) => {
            if let Ok(is_null) = write_text_array(value, buffer) {
                return Ok((is_null, TEXT));
            }
        }
        _ if !has_rust_type(type_) => {
            if let Ok(is_null) = value.to_sql_checked(&Type::TEXT, buffer) {
                return Ok((is_null, TEXT));
            }
        }
        _ => {}
    }
    buffer.truncate(start);
    Err(wrong)
}

/// Types for which a text is more likely a mistake than meant.
pub(crate) fn has_rust_type(type_: &Type) -> bool {
    matches!(
        *type_,
        Type::BOOL
            | Type::CHAR
            | Type::INT2
            | Type::INT4
            | Type::INT8
            | Type::OID
            | Type::FLOAT4
            | Type::FLOAT8
            | Type::BYTEA
    )
}

/// Writes a list of texts as the text of an array, which may be an array of anything.
fn write_text_array(value: &(dyn ToSql + Sync), buffer: &mut BytesMut) -> Result<IsNull, Cause> {
    let mut binary = BytesMut::new();
    if let IsNull::Yes = value.to_sql_checked(&Type::TEXT_ARRAY, &mut binary)? {
        return Ok(IsNull::Yes);
    }
    let array = array_from_sql(&binary)?;
    let lengths: Vec<usize> =
        array.dimensions().map(|dimension| Ok(usize::try_from(dimension.len)?)).collect()?;
    let mut elements = array.values();
    // An empty list has no dimension, or one of length 0.
    if lengths.iter().product::<usize>() == 0 || lengths.is_empty() {
        buffer.put_slice(b"{}");
    } else {
        write_dimension(&lengths, &mut || elements.next(), buffer)?;
    }
    Ok(IsNull::No)
}

fn write_dimension<'a>(
    lengths: &[usize],
    next: &mut dyn FnMut() -> Result<Option<Option<&'a [u8]>>, Cause>,
    buffer: &mut BytesMut,
) -> Result<(), Cause> {
    let Some((length, inner)) = lengths.split_first() else { return Ok(()) };
    for at in 0..*length {
        buffer.put_u8(if at == 0 { b'{' } else { b',' });
        if !inner.is_empty() {
            write_dimension(inner, next, buffer)?;
            continue;
        }
        match next()?.flatten() {
            None => buffer.put_slice(b"NULL"),
            Some(text) => {
                buffer.put_u8(b'"');
                for &byte in text {
                    if matches!(byte, b'"' | b'\\') {
                        buffer.put_u8(b'\\');
                    }
                    buffer.put_u8(byte);
                }
                buffer.put_u8(b'"');
            }
        }
    }
    buffer.put_u8(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(value: &(dyn ToSql + Sync), type_: &Type) -> Result<(FormatCode, String), String> {
        let mut buffer = BytesMut::from(&b"x"[..]);
        let (_, format) = write_open(value, type_, &mut buffer).map_err(|error| {
            assert_eq!(&buffer[..], b"x", "what fails leaves nothing");
            error.to_string()
        })?;
        Ok((format, String::from_utf8_lossy(&buffer[1..]).into_owned()))
    }

    #[test]
    fn a_text_may_be_the_text_of_anything_but_a_number() {
        let mood = Type::new("mood".into(), 90_000, Shape::Enum(vec!["happy".into()]), "public".into());
        assert_eq!(open(&"happy", &mood), Ok((TEXT, "happy".into())));
        assert_eq!(open(&Some("{}"), &Type::JSONB), Ok((TEXT, "{}".into())));
        assert_eq!(open(&"a", &Type::TEXT), Ok((BINARY, "a".into())));
        assert!(open(&"1", &Type::INT4).is_err());
        assert!(open(&1i32, &mood).is_err());
        let domain = Type::new("d".into(), 90_001, Shape::Domain(mood), "public".into());
        assert_eq!(open(&"happy", &domain), Ok((TEXT, "happy".into())));
    }

    #[test]
    fn a_list_of_texts_may_be_the_text_of_any_array() {
        let uuids = Type::UUID_ARRAY;
        assert_eq!(open(&vec!["a", "b"], &uuids), Ok((TEXT, r#"{"a","b"}"#.into())));
        let hard = vec![Some("qu\"ote"), Some("back\\slash"), None, Some("NULL"), Some("a,b {c}"), Some("")];
        let literal = r#"{"qu\"ote","back\\slash",NULL,"NULL","a,b {c}",""}"#;
        assert_eq!(open(&hard, &uuids), Ok((TEXT, literal.into())));
        assert_eq!(open(&Vec::<&str>::new(), &uuids), Ok((TEXT, "{}".into())));
        assert!(open(&vec!["1"], &Type::INT4_ARRAY).is_err());
    }
}
