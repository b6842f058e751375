//! Values as people and other programs read them, from PostgreSQL's binary form. Uses: columns.
//!
//! Nothing here can fail: the bytes come from a server that may be broken, and a row must print even so.

mod numeric;
mod time;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use postgres_types::{Kind, Type};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::columns::{Column, array_dimensions};

/// A value in the few forms that JSON and its kin know.
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float4(f32),
    Float8(f64),
    Text(Cow<'a, str>),
    Json(&'a RawValue),
    List(Vec<Value<'a>>),
}

/// Serialises columns and values as a map, in order.
pub(crate) fn serialize<'a, S: Serializer>(
    len: usize,
    entries: impl Iterator<Item = (&'a Column, Option<&'a [u8]>)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(len))?;
    for (column, raw) in entries {
        map.serialize_entry(column.name(), &Value::of(column.wire(), raw))?;
    }
    map.end()
}

/// Writes JSON on one line with a space after each colon and comma.
pub(crate) fn display(row: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut json = Vec::new();
    row.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Spaced)).map_err(|_| fmt::Error)?;
    f.write_str(&String::from_utf8_lossy(&json))
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float4(value) => serializer.serialize_f32(*value),
            Value::Float8(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Json(value) => value.serialize(serializer),
            Value::List(values) => serializer.collect_seq(values),
        }
    }
}

impl<'a> Value<'a> {
    fn of(type_: &Type, raw: Option<&'a [u8]>) -> Value<'a> {
        let Some(raw) = raw else { return Value::Null };
        Value::decode(type_, raw).unwrap_or_else(|| {
            // The beginning is enough to recognise it.
            const SHOWN: usize = 32;
            let (start, more) = if raw.len() > SHOWN { (&raw[..SHOWN], "…") } else { (raw, "") };
            Value::Text(format!("malformed {type_}: {}{more}", hex(start)).into())
        })
    }

    /// The value, unless its bytes are not what the type demands.
    pub(crate) fn decode(type_: &Type, raw: &'a [u8]) -> Option<Value<'a>> {
        match type_.kind() {
            Kind::Enum(_) => return text(raw),
            Kind::Domain(base) => return Value::decode(base, raw),
            Kind::Array(element) => return list(element, raw),
            _ => {}
        }
        Some(match *type_ {
            Type::BOOL => match raw {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            Type::INT2 => Value::Int(i16::from_be_bytes(*exactly(raw)?).into()),
            Type::INT4 => Value::Int(i32::from_be_bytes(*exactly(raw)?).into()),
            Type::INT8 => Value::Int(i64::from_be_bytes(*exactly(raw)?)),
            Type::OID | Type::XID | Type::CID => oid(raw)?,
            Type::REGCLASS | Type::REGTYPE | Type::REGPROC | Type::REGPROCEDURE | Type::REGOPER => oid(raw)?,
            Type::REGOPERATOR | Type::REGNAMESPACE | Type::REGROLE | Type::REGCOLLATION => oid(raw)?,
            Type::REGCONFIG | Type::REGDICTIONARY => oid(raw)?,
            Type::FLOAT4 => match f32::from_be_bytes(*exactly(raw)?) {
                value if value.is_finite() => Value::Float4(value),
                value => non_finite(value.into()),
            },
            Type::FLOAT8 => match f64::from_be_bytes(*exactly(raw)?) {
                value if value.is_finite() => Value::Float8(value),
                value => non_finite(value),
            },
            Type::NUMERIC => Value::Text(numeric::numeric(raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => text(raw)?,
            Type::XML | Type::REFCURSOR | Type::VOID => text(raw)?,
            Type::CHAR => Value::Text(char(raw)?.into()),
            Type::JSON => json(raw)?,
            Type::JSONB => match raw {
                // The version of the binary form.
                [1, text @ ..] => json(text)?,
                _ => return None,
            },
            Type::UUID => Value::Text(uuid(exactly(raw)?).into()),
            Type::DATE => Value::Text(time::date(i32::from_be_bytes(*exactly(raw)?))),
            Type::TIME => Value::Text(time::time(i64::from_be_bytes(*exactly(raw)?))?.into()),
            Type::TIMETZ => {
                let (time, zone) = raw.split_first_chunk()?;
                let zone = i32::from_be_bytes(*exactly(zone)?);
                Value::Text(time::timetz(i64::from_be_bytes(*time), zone)?.into())
            }
            Type::TIMESTAMP => Value::Text(time::timestamp(i64::from_be_bytes(*exactly(raw)?), "")),
            Type::TIMESTAMPTZ => Value::Text(time::timestamp(i64::from_be_bytes(*exactly(raw)?), "Z")),
            Type::INTERVAL => {
                let (micros, rest) = raw.split_first_chunk()?;
                let (days, months) = rest.split_first_chunk()?;
                let months = i32::from_be_bytes(*exactly(months)?);
                Value::Text(time::interval(i64::from_be_bytes(*micros), i32::from_be_bytes(*days), months))
            }
            Type::INET | Type::CIDR => Value::Text(address(raw)?.into()),
            Type::MACADDR => Value::Text(mac::<6>(exactly(raw)?).into()),
            Type::MACADDR8 => Value::Text(mac::<8>(exactly(raw)?).into()),
            // An extension's type: its name is all that is known of it.
            _ if type_.name() == "citext" => text(raw)?,
            _ => Value::Text(hex(raw).into()),
        })
    }
}

/// The bytes, if there are just so many.
fn exactly<const N: usize>(raw: &[u8]) -> Option<&[u8; N]> {
    raw.try_into().ok()
}

fn text(raw: &[u8]) -> Option<Value<'_>> {
    std::str::from_utf8(raw).ok().map(|text| Value::Text(text.into()))
}

fn json(raw: &[u8]) -> Option<Value<'_>> {
    serde_json::from_slice(raw).ok().map(Value::Json)
}

fn oid(raw: &[u8]) -> Option<Value<'_>> {
    Some(Value::Int(u32::from_be_bytes(*exactly(raw)?).into()))
}

fn non_finite(value: f64) -> Value<'static> {
    Value::Text(Cow::Borrowed(match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }))
}

/// The type "char": one byte, as PostgreSQL prints it.
fn char(raw: &[u8]) -> Option<String> {
    match *raw {
        [0] => Some(String::new()),
        [byte] if byte.is_ascii() => Some(char::from(byte).into()),
        [byte] => Some(format!("\\{byte:03o}")),
        _ => None,
    }
}

fn uuid(raw: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in raw.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, *byte);
    }
    text
}

fn mac<const N: usize>(raw: &[u8; N]) -> String {
    let mut text = String::with_capacity(3 * N);
    for byte in raw {
        if !text.is_empty() {
            text.push(':');
        }
        push_hex(&mut text, *byte);
    }
    text
}

/// An address of a host or a network: family, length of the prefix, whether it is a `cidr`, length, address.
fn address(raw: &[u8]) -> Option<String> {
    // The server's AF_INET, and the number after it for version 6, on whatever system it runs.
    const V4: u8 = 2;
    const V6: u8 = 3;
    let ([family, bits, is_cidr, length], address) = raw.split_first_chunk()?;
    if usize::from(*length) != address.len() {
        return None;
    }
    let (mut text, whole) = match *family {
        V4 => (Ipv4Addr::from(*exactly::<4>(address)?).to_string(), 32),
        V6 => (Ipv6Addr::from(*exactly::<16>(address)?).to_string(), 128),
        _ => return None,
    };
    if *bits > whole {
        return None;
    }
    if *is_cidr != 0 || *bits < whole {
        // Writing to a String does not fail.
        let _ = write!(text, "/{bits}");
    }
    Some(text)
}

/// An array: its dimensions, then the elements with the last dimension running fastest.
fn list<'a>(element: &Type, raw: &'a [u8]) -> Option<Value<'a>> {
    let (dimensions, mut rest) = array_dimensions(raw)?;
    let list = nested(element, &dimensions, &mut rest)?;
    rest.is_empty().then_some(list)
}

fn nested<'a>(element: &Type, dimensions: &[usize], rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let Some((length, inner)) = dimensions.split_first() else { return Some(Value::List(Vec::new())) };
    let values = (0..*length).map(|_| {
        if !inner.is_empty() {
            return nested(element, inner, rest);
        }
        let (length, after) = rest.split_first_chunk()?;
        let (value, after) = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => after.split_at_checked(length).map(|(value, after)| (Some(value), after))?,
            Err(_) => (None, after),
        };
        *rest = after;
        Some(Value::of(element, value))
    });
    values.collect::<Option<_>>().map(Value::List)
}

/// The bytes as PostgreSQL prints `bytea`.
fn hex(raw: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * raw.len());
    text.push_str("\\x");
    for byte in raw {
        push_hex(&mut text, *byte);
    }
    text
}

fn push_hex(text: &mut String, byte: u8) {
    for half in [byte >> 4, byte & 15] {
        text.push(char::from_digit(half.into(), 16).unwrap_or('?'));
    }
}

#[cfg(test)]
mod tests;
