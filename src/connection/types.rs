//! Types that are not built in: enums, domains, composites, arrays and ranges of the database.
//! Uses: connection, deadline, error.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use postgres_types::{Field, Kind, Oid, Type};

use super::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// The types of one database, looked up once and shared by all sessions of a pool.
#[derive(Default)]
pub(crate) struct Types(Mutex<HashMap<Oid, Type>>);

/// Types nest; a catalogue that nests deeper than this is not followed.
const DEEPEST: usize = 64;

const TYPE: &str = "\
SELECT t.typname::text, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname::text, t.typrelid \
FROM pg_catalog.pg_type t \
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid \
WHERE t.oid = $1";

const LABELS: &str = "\
SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = $1 ORDER BY enumsortorder";

const ATTRIBUTES: &str = "\
SELECT attname::text, atttypid FROM pg_catalog.pg_attribute \
WHERE attrelid = $1 AND NOT attisdropped AND attnum > 0 ORDER BY attnum";

/// One row of `TYPE`.
type Described = (String, i8, Oid, Option<Oid>, Oid, String, Oid);

/// A type as the catalogue describes it, while the types that it is made of may not be known yet.
struct Shape {
    name: String,
    schema: String,
    form: Form,
}

enum Form {
    Simple,
    Pseudo,
    Enum(Vec<String>),
    Domain(Oid),
    Array(Oid),
    Range(Oid),
    Composite(Vec<(String, Oid)>),
}

impl Types {
    /// The type with this OID; asks the server if it is neither built in nor known yet.
    ///
    /// Not by recursion: a level would cost the caller's stack some kilobytes, and the server says how many there are.
    pub(super) fn resolve(&self, connection: &Connection, oid: Oid, deadline: Deadline) -> Result<Type> {
        let mut shapes = HashMap::new();
        // Each is a part of the one before it.
        let mut path = vec![oid];
        while let Some(&last) = path.last() {
            if self.known(last).is_some() {
                path.pop();
                continue;
            }
            let shape = match shapes.entry(last) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(ask(connection, last, deadline)?),
            };
            match shape.parts().into_iter().find(|part| self.known(*part).is_none()) {
                None => self.learn(last, shape),
                Some(part) if path.contains(&part) || path.len() >= DEEPEST => {
                    return Err(Error::shape(format!(
                        "the type {}.{} contains itself, or nests deeper than {DEEPEST} levels",
                        shape.schema, shape.name
                    )));
                }
                Some(part) => path.push(part),
            }
        }
        self.known(oid).ok_or_else(|| Error::shape(format!("the type with the OID {oid} is not known")))
    }

    /// The type if no question is needed.
    fn known(&self, oid: Oid) -> Option<Type> {
        Type::from_oid(oid).or_else(|| self.0.lock().get(&oid).cloned())
    }

    /// The type if no question is needed, else one that says no more than its OID.
    pub(super) fn known_or_unknown(&self, oid: Oid) -> Type {
        self.known(oid).unwrap_or_else(|| unknown().named(oid, Kind::Simple))
    }

    /// Remembers a type all of whose parts are known.
    fn learn(&self, oid: Oid, shape: &Shape) {
        let part = |oid: &Oid| self.known_or_unknown(*oid);
        let kind = match &shape.form {
            Form::Simple => Kind::Simple,
            Form::Pseudo => Kind::Pseudo,
            Form::Enum(labels) => Kind::Enum(labels.clone()),
            Form::Domain(base) => Kind::Domain(part(base)),
            Form::Array(element) => Kind::Array(part(element)),
            Form::Range(subtype) => Kind::Range(part(subtype)),
            Form::Composite(fields) => {
                let fields = fields.iter().map(|(name, oid)| Field::new(name.clone(), part(oid)));
                Kind::Composite(fields.collect())
            }
        };
        self.0.lock().insert(oid, shape.named(oid, kind));
    }
}

impl Shape {
    fn parts(&self) -> Vec<Oid> {
        match &self.form {
            Form::Simple | Form::Pseudo | Form::Enum(_) => Vec::new(),
            Form::Domain(part) | Form::Array(part) | Form::Range(part) => vec![*part],
            Form::Composite(fields) => fields.iter().map(|(_, part)| *part).collect(),
        }
    }

    fn named(&self, oid: Oid, kind: Kind) -> Type {
        Type::new(self.name.clone(), oid, kind, self.schema.clone())
    }
}

/// A type dropped since, or one that must not be asked for: what can be said.
fn unknown() -> Shape {
    Shape { name: "unknown".to_owned(), schema: "pg_catalog".to_owned(), form: Form::Simple }
}

/// Asks the catalogue about one type.
fn ask(connection: &Connection, oid: Oid, deadline: Deadline) -> Result<Shape> {
    let found = connection.run(TYPE, &(oid,), deadline)?.rows::<Described>()?;
    let Some((name, kind, element, range_of, base, schema, relation)) = found.into_iter().next() else {
        return Ok(unknown());
    };
    let form = match (kind.cast_unsigned(), range_of) {
        (b'e', _) => Form::Enum(connection.run(LABELS, &(oid,), deadline)?.rows()?),
        (b'p', _) => Form::Pseudo,
        _ if base != 0 => Form::Domain(base),
        _ if element != 0 => Form::Array(element),
        _ if relation != 0 => Form::Composite(connection.run(ATTRIBUTES, &(relation,), deadline)?.rows()?),
        (_, Some(subtype)) => Form::Range(subtype),
        (_, None) => Form::Simple,
    };
    Ok(Shape { name, schema, form })
}
