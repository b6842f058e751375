//! Types that are not built in: enums, domains, composites, arrays and ranges of the database.
//! Uses: connection, deadline, error.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use postgres_types::{Field, Kind, Oid, Type};

use super::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// The types of one database, looked up once and shared by all sessions of a pool.
#[derive(Default)]
pub(crate) struct Types(Mutex<HashMap<Oid, Type>>);

/// Types nest; a catalogue that nests deeper than this is not followed.
const DEEPEST: usize = 16;

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

impl Types {
    pub(crate) fn new() -> Arc<Types> {
        Arc::new(Types::default())
    }

    /// The type with this OID; asks the server if it is neither built in nor known yet.
    pub(super) fn resolve(&self, connection: &Connection, oid: Oid, deadline: Deadline) -> Result<Type> {
        self.resolve_within(connection, oid, deadline, DEEPEST)
    }

    fn resolve_within(
        &self,
        connection: &Connection,
        oid: Oid,
        deadline: Deadline,
        deeper: usize,
    ) -> Result<Type> {
        if let Some(known) = Type::from_oid(oid) {
            return Ok(known);
        }
        if let Some(known) = self.0.lock().get(&oid) {
            return Ok(known.clone());
        }
        let type_ = self.ask(connection, oid, deadline, deeper)?;
        self.0.lock().insert(oid, type_.clone());
        Ok(type_)
    }

    fn ask(&self, connection: &Connection, oid: Oid, deadline: Deadline, deeper: usize) -> Result<Type> {
        let Some(deeper) = deeper.checked_sub(1) else {
            return Err(Error::protocol("the catalogue's types nest too deep"));
        };
        let found = connection.run(TYPE, &(oid,), deadline)?.rows::<Described>()?;
        let Some((name, kind, element, range_of, base, schema, relation)) = found.into_iter().next() else {
            // A type dropped since: say what can be said.
            return Ok(Type::new("unknown".into(), oid, Kind::Simple, "pg_catalog".into()));
        };
        let kind = match kind.cast_unsigned() {
            b'e' => Kind::Enum(connection.run(LABELS, &(oid,), deadline)?.rows::<String>()?),
            b'p' => Kind::Pseudo,
            _ if base != 0 => Kind::Domain(self.resolve_within(connection, base, deadline, deeper)?),
            _ if element != 0 => Kind::Array(self.resolve_within(connection, element, deadline, deeper)?),
            _ if relation != 0 => {
                let attributes = connection.run(ATTRIBUTES, &(relation,), deadline)?;
                let attributes = attributes.rows::<(String, Oid)>()?;
                let fields = attributes.into_iter().map(|(name, oid)| {
                    Ok(Field::new(name, self.resolve_within(connection, oid, deadline, deeper)?))
                });
                Kind::Composite(fields.collect::<Result<_>>()?)
            }
            _ => match range_of {
                Some(subtype) => Kind::Range(self.resolve_within(connection, subtype, deadline, deeper)?),
                None => Kind::Simple,
            },
        };
        Ok(Type::new(name, oid, kind, schema))
    }
}
