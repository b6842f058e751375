//! One value of a row, as serde takes it. Uses: columns, json, render.

use std::cell::Cell;

use postgres_types::{Kind, Type};
use serde::de::value::{SeqAccessDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, SeqAccess, Visitor};

use super::failure::Failure;
use crate::columns::array_dimensions;
use crate::{json, render};

/// A value in PostgreSQL's binary form; `None` is NULL.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) type_: &'a Type,
    pub(super) raw: Option<&'a [u8]>,
}

impl<'a> Value<'a> {
    /// The type under all domains.
    fn base(self) -> &'a Type {
        let mut type_ = self.type_;
        while let Kind::Domain(base) = type_.kind() {
            type_ = base;
        }
        type_
    }

    /// Whether it is a list of its own, and not one value.
    pub(super) fn is_list(self) -> bool {
        matches!(self.base().kind(), Kind::Array(_))
            || matches!(*self.base(), Type::JSON | Type::JSONB | Type::BYTEA)
    }

    /// The text, if it is JSON and not NULL.
    fn json(self) -> Option<&'a [u8]> {
        let is_json = matches!(*self.base(), Type::JSON | Type::JSONB);
        self.raw.filter(|_| is_json).and_then(|raw| json::text(self.base(), raw))
    }

    fn bytes(self) -> Option<&'a [u8]> {
        self.raw.filter(|_| *self.base() == Type::BYTEA)
    }

    /// The bytes, unless it is NULL.
    fn not_null(self) -> Result<Value<'a>, Failure> {
        if self.raw.is_some() { Ok(self) } else { Err(Failure::custom("it is NULL: use an Option")) }
    }

    fn malformed(self) -> Failure {
        Failure::custom(format!("its bytes are no {}", self.type_))
    }
}

/// Reads a whole text of JSON.
fn from_json<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'a>>) -> serde_json::Result<T>,
) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(text);
    read(&mut json).and_then(|value| json.end().map(|()| value)).map_err(Failure::custom)
}

/// Those that any value which is not NULL may be.
macro_rules! not_null {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.not_null()?.deserialize_any(visitor)
        }
    )* };
}

impl<'a> Deserializer<'a> for Value<'a> {
    type Error = Failure;

    not_null! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_map deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Some(raw) = self.raw else { return visitor.visit_unit() };
        if let Some(text) = self.json() {
            return from_json(text, |json| json.deserialize_any(visitor));
        }
        let base = self.base();
        if let Kind::Array(element) = base.kind() {
            return list(element, raw).ok_or_else(|| self.malformed())?.read(visitor);
        }
        match (base, raw.try_into(), raw.try_into()) {
            (&Type::FLOAT4, Ok(bytes), _) => return visitor.visit_f32(f32::from_be_bytes(bytes)),
            (&Type::FLOAT8, _, Ok(bytes)) => return visitor.visit_f64(f64::from_be_bytes(bytes)),
            _ => {}
        }
        match render::Value::decode(base, raw) {
            Some(render::Value::Bool(value)) => visitor.visit_bool(value),
            Some(render::Value::Int(value)) => visitor.visit_i64(value),
            Some(render::Value::Text(text)) => visitor.visit_str(&text),
            // Floats, JSON and lists are dealt with above, if they are well-formed.
            _ => Err(self.malformed()),
        }
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        if *self.base() == Type::FLOAT8 {
            return Err(Failure::custom("an f32 would lose digits: use f64"));
        }
        self.not_null()?.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        match (self.raw, self.json()) {
            (None, _) => visitor.visit_none(),
            (Some(_), Some(text)) => from_json(text, |json| json.deserialize_option(visitor)),
            (Some(_), None) => visitor.visit_some(self),
        }
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.bytes() {
            Some(bytes) => visitor.visit_bytes(bytes),
            None => self.not_null()?.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.bytes() {
            Some(bytes) => {
                let mut bytes = SeqDeserializer::new(bytes.iter().copied());
                let value = visitor.visit_seq(&mut bytes)?;
                bytes.end().map(|()| value)
            }
            None => self.not_null()?.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.json() {
            // serde_json has one of its own: RawValue.
            Some(text) => from_json(text, |json| json.deserialize_newtype_struct(name, visitor)),
            None => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Some(raw) = self.not_null()?.raw else { return Err(self.malformed()) };
        if let Some(text) = self.json() {
            return from_json(text, |json| json.deserialize_enum(name, variants, visitor));
        }
        match render::Value::decode(self.base(), raw) {
            Some(render::Value::Text(text)) => {
                let variant: StrDeserializer<'_, Failure> = (*text).into_deserializer();
                visitor.visit_enum(variant)
            }
            _ => Err(Failure::custom("an enum is read from text")),
        }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}

/// An array, if its header is possible.
fn list<'a>(element: &'a Type, raw: &'a [u8]) -> Option<List<'a>> {
    let (dimensions, rest) = array_dimensions(raw)?;
    Some(List { element, dimensions, rest })
}

struct List<'a> {
    element: &'a Type,
    dimensions: Vec<usize>,
    /// The elements, the last dimension running fastest.
    rest: &'a [u8],
}

impl<'a> List<'a> {
    fn read<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let rest = Cell::new(self.rest);
        let (left, inner) = match self.dimensions.split_first() {
            Some((left, inner)) => (*left, inner),
            None => (0, &[][..]),
        };
        let mut elements = Elements { element: self.element, left, inner, rest: &rest };
        let value = visitor.visit_seq(&mut elements)?;
        match (elements.left, rest.get()) {
            (0, []) => Ok(value),
            (0, _) => Err(Failure::custom("the array has more elements than are wanted")),
            (left, _) => Err(Failure::custom(format!("the array has {left} elements more than are wanted"))),
        }
    }
}

/// The elements of one dimension.
struct Elements<'a, 'r> {
    element: &'a Type,
    left: usize,
    /// The lengths of the dimensions inside.
    inner: &'r [usize],
    rest: &'r Cell<&'a [u8]>,
}

impl<'a> Elements<'a, '_> {
    fn next_raw(&self) -> Option<Option<&'a [u8]>> {
        let (length, after) = self.rest.get().split_first_chunk()?;
        let (raw, after) = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => after.split_at_checked(length).map(|(raw, after)| (Some(raw), after))?,
            Err(_) => (None, after),
        };
        self.rest.set(after);
        Some(raw)
    }
}

impl<'a> SeqAccess<'a> for Elements<'a, '_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if let Some((left, inner)) = self.inner.split_first() {
            let list = Elements { left: *left, inner, ..*self };
            return seed.deserialize(SeqAccessDeserializer::new(list)).map(Some);
        }
        let raw = self.next_raw().ok_or_else(|| Failure::custom("the array ends too early"))?;
        seed.deserialize(Value { type_: self.element, raw }).map(Some)
    }

    // Checked against the length of the value by `array_dimensions`.
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}
