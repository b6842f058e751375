//! Types that are not built in: enums, domains, composites, arrays and ranges of the database.
//! Uses: connection, deadline, error, from_row.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use postgres_types::{Field, Kind, Oid, Type};

use super::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::from_row::FromRow;

/// The types of one database, looked up once and shared by all sessions of a pool.
#[derive(Default)]
pub(crate) struct Types(Mutex<Known>);

#[derive(Default)]
struct Known {
    types: HashMap<Oid, Type>,
    /// Those of them that are looked up again when a statement is described with them: they may have changed.
    doubted: HashSet<Oid>,
    /// Those that have no `send` function.
    without_binary_form: HashSet<Oid>,
}

/// Types nest; a catalogue that nests deeper than this is not followed.
const DEEPEST: usize = 64;

const TYPE: &str = "\
SELECT t.typname::text, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname::text, t.typrelid, t.typsend = 0 AS no_binary_form \
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
type Described = (String, i8, Oid, Option<Oid>, Oid, String, Oid, bool);

/// A type as the catalogue describes it, while the types that it is made of may not be known yet.
struct Shape {
    name: String,
    schema: String,
    form: Form,
    without_binary_form: bool,
}

enum Form {
    /// It is not in the catalogue: it was dropped since, or must not be asked for.
    Gone,
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
        // Not remembered: it may only be younger than the snapshot of this transaction.
        let mut gone = HashSet::new();
        while let Some(&last) = path.last() {
            if self.is_certain(last) || gone.contains(&last) {
                path.pop();
                continue;
            }
            let shape = match shapes.entry(last) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(ask(connection, last, deadline)?),
            };
            if matches!(shape.form, Form::Gone) {
                self.0.lock().doubted.remove(&last);
                gone.insert(last);
                continue;
            }
            match shape.parts().into_iter().find(|part| !self.is_certain(*part) && !gone.contains(part)) {
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
        Ok(self.known_or_unknown(oid))
    }

    /// The type if no question is needed.
    pub(super) fn known(&self, oid: Oid) -> Option<Type> {
        Type::from_oid(oid).or_else(|| self.0.lock().types.get(&oid).cloned())
    }

    /// Whether values of a known type can be had in binary. Whatever is made of a type without is without.
    pub(super) fn has_binary_form(&self, type_: &Type) -> bool {
        // Built-in ones: `SELECT oid FROM pg_type WHERE typsend = 0`.
        let without = matches!(*type_, Type::ACLITEM | Type::GTS_VECTOR)
            || Type::from_oid(type_.oid()).is_none()
                && self.0.lock().without_binary_form.contains(&type_.oid());
        !without
            && match type_.kind() {
                Kind::Array(part) | Kind::Domain(part) | Kind::Range(part) | Kind::Multirange(part) => {
                    self.has_binary_form(part)
                }
                Kind::Composite(fields) => fields.iter().all(|field| self.has_binary_form(field.type_())),
                _ => true,
            }
    }

    /// The type if no question is needed, else one that says no more than its OID.
    pub(super) fn known_or_unknown(&self, oid: Oid) -> Type {
        self.known(oid).unwrap_or_else(|| unknown().named(oid, Kind::Simple))
    }

    /// Looks it up again, and its parts, when a statement is described with it: an enum may have got a label, a composite an
    /// attribute. Until then it stays known as it was.
    pub(super) fn doubt(&self, type_: &Type) {
        let mut known = self.0.lock();
        if !known.types.contains_key(&type_.oid()) {
            return;
        }
        known.doubted.insert(type_.oid());
        drop(known);
        match type_.kind() {
            Kind::Array(part) | Kind::Domain(part) | Kind::Range(part) => self.doubt(part),
            Kind::Composite(fields) => fields.iter().for_each(|field| self.doubt(field.type_())),
            _ => {}
        }
    }

    fn is_certain(&self, oid: Oid) -> bool {
        self.known(oid).is_some() && !self.0.lock().doubted.contains(&oid)
    }

    /// Remembers a type all of whose parts are known.
    fn learn(&self, oid: Oid, shape: &Shape) {
        let part = |oid: &Oid| self.known_or_unknown(*oid);
        let kind = match &shape.form {
            Form::Gone | Form::Simple => Kind::Simple,
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
        let mut known = self.0.lock();
        known.doubted.remove(&oid);
        if shape.without_binary_form {
            known.without_binary_form.insert(oid);
        }
        known.types.insert(oid, shape.named(oid, kind));
    }
}

impl Shape {
    fn parts(&self) -> Vec<Oid> {
        match &self.form {
            Form::Gone | Form::Simple | Form::Pseudo | Form::Enum(_) => Vec::new(),
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
    Shape {
        name: "unknown".to_owned(),
        schema: "pg_catalog".to_owned(),
        form: Form::Gone,
        without_binary_form: false,
    }
}

/// Asks the catalogue about one type.
fn ask(connection: &Connection, oid: Oid, deadline: Deadline) -> Result<Shape> {
    let found: Vec<Described> = rows(connection, TYPE, oid, deadline)?;
    let Some((name, kind, element, range_of, base, schema, relation, without_binary_form)) =
        found.into_iter().next()
    else {
        return Ok(unknown());
    };
    let form = match (kind.cast_unsigned(), range_of) {
        (b'e', _) => Form::Enum(rows(connection, LABELS, oid, deadline)?),
        (b'p', _) => Form::Pseudo,
        _ if base != 0 => Form::Domain(base),
        _ if element != 0 => Form::Array(element),
        _ if relation != 0 => Form::Composite(rows(connection, ATTRIBUTES, relation, deadline)?),
        (_, Some(subtype)) => Form::Range(subtype),
        (_, None) => Form::Simple,
    };
    Ok(Shape { name, schema, form, without_binary_form })
}

fn rows<T: FromRow>(connection: &Connection, sql: &str, oid: Oid, deadline: Deadline) -> Result<Vec<T>> {
    let answer = connection.look_up(sql, &(oid,), deadline)?;
    answer.rows(&T::plan(answer.columns())?)
}
