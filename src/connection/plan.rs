//! Statements that all sessions of a pool know, or can be told, under one name. Uses: columns, declared, pace, protocol, source, statement, ticket, types.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use postgres_types::{Oid, Type};
use rustc_hash::FxHashMap;

use super::pace::Pace;
use super::statement::Statement;
use super::ticket::Ends;
use super::types::Types;
use crate::columns::{Column, Columns};
use crate::declared::{Declared, Kind};
use crate::protocol::decode::{self, Messages};
use crate::source::Source;

/// What all sessions of a pool have in common.
pub(crate) struct Knowledge {
    pub(crate) types: Types,
    pub(crate) plans: Plans,
}

/// A statement whose parameters and columns are known before any session is at hand: its request can be encoded while
/// it still waits for one. A session that has not parsed it does so first.
pub(crate) struct Plan {
    pub(super) number: usize,
    /// What sessions call it; empty if they are to remember nothing.
    pub(crate) name: String,
    pub(super) sql: Arc<str>,
    /// The name of the declared query that it belongs to.
    pub(super) declared: Option<&'static str>,
    /// What the server is told of its parameters; 0 leaves it open.
    pub(super) types: Vec<Oid>,
    pub(crate) statement: Arc<Statement>,
    /// Why it can't run on whatever connection is free.
    pub(crate) session: Option<Cow<'static, str>>,
    /// Its answer has to be seen before anything else is sent: it may end the transaction, or take what is behind it for data.
    pub(super) alone: bool,
    /// Whether it ends a transaction.
    pub(super) ends: Ends,
    /// How long it takes.
    pub(crate) pace: Pace,
}

/// The name of a plan, on every session.
pub(super) fn name(number: usize) -> String {
    format!("q{number}")
}

impl Plan {
    /// One that the server has not been asked about.
    pub(super) fn provisional(number: usize, name: String, sql: Arc<str>, types: Vec<Oid>) -> Plan {
        // A type that is left open travels as text, and needs no other.
        let params = types.iter().map(|oid| Type::from_oid(*oid).unwrap_or(Type::TEXT)).collect();
        let columns = Arc::new(Columns::new(Vec::new()));
        let statement = Arc::new(Statement::new(params, columns, false));
        let ends = Ends::of(&sql);
        Plan {
            number,
            name,
            sql,
            declared: None,
            types,
            statement,
            session: None,
            alone: true,
            ends,
            pace: Pace::default(),
        }
    }

    /// The same for a session that is to tell what it makes of the types: nothing is written for them yet.
    pub(super) fn open(&self, source: Source<'_>) -> Plan {
        let open = Plan::provisional(self.number, self.name.clone(), self.sql.clone(), source.types());
        Plan { declared: self.declared, ..open }
    }

    /// Whether sessions are told a type that other schemas may have another of.
    pub(crate) fn takes_types_of_a_schema(&self) -> bool {
        self.types.iter().any(|oid| *oid != 0 && Type::from_oid(*oid).is_none())
    }

    /// Whether a session that has just parsed it was told what the plan says: the same parameters, the same columns.
    pub(super) fn is_described_by(&self, reply: &Bytes) -> bool {
        Messages::new(reply).all(|(tag, body)| match tag {
            b't' => decode::parameter_description(&reply[body]).is_ok_and(|types| {
                let told = types.iter().zip(&self.types);
                types.len() == self.types.len() && told.into_iter().all(|(is, said)| is == said || *said == 0)
            }),
            b'T' => decode::row_description(&reply[body]).is_ok_and(|fields| {
                let columns = &self.statement.columns;
                self.statement.returns_rows
                    && fields.len() == columns.len()
                    && fields.iter().zip(columns.iter()).all(|(field, column)| {
                        field.name == column.name() && field.type_oid == column.type_().oid()
                    })
            }),
            b'n' => !self.statement.returns_rows,
            _ => true,
        })
    }
}

/// The plans of a pool: those of declared queries for ever, those of other texts as long as they are used, bounded.
pub(crate) struct Plans {
    capacity: usize,
    /// Sessions remember nothing: a pooler stands between.
    unnamed: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the address of the declaration.
    declared: FxHashMap<usize, Arc<Plan>>,
    texts: FxHashMap<Arc<str>, Known>,
    /// Counts uses of texts, for the least recent.
    uses: u64,
    made: usize,
}

struct Known {
    plan: Arc<Plan>,
    used: u64,
}

/// How many texts are remembered if sessions remember none.
const FEWEST: usize = 64;

impl Knowledge {
    pub(crate) fn new(capacity: usize) -> Arc<Knowledge> {
        let plans = Plans {
            capacity: if capacity == 0 { FEWEST } else { capacity },
            unnamed: capacity == 0,
            inner: Mutex::default(),
        };
        Arc::new(Knowledge { types: Types::default(), plans })
    }

    /// It is not what the server says any more: nobody uses the plan from now on, and the types of the statement are looked
    /// up again.
    pub(crate) fn retire(&self, source: Source<'_>, plan: &Plan, statement: &Statement) {
        self.plans.retire(source, plan);
        let columns = statement.columns.iter().map(Column::type_);
        statement.params.iter().chain(columns).for_each(|type_| self.types.doubt(type_));
    }
}

fn address(declared: &'static Declared) -> usize {
    std::ptr::from_ref(declared).addr()
}

impl Plans {
    pub(crate) fn get(&self, source: Source<'_>) -> Option<Arc<Plan>> {
        let mut inner = self.inner.lock();
        match source {
            Source::Declared(declared) => inner.declared.get(&address(declared)).cloned(),
            Source::Text(_) | Source::Named(..) => {
                inner.uses += 1;
                let uses = inner.uses;
                let known = inner.texts.get_mut(source.text())?;
                known.used = uses;
                Some(known.plan.clone())
            }
        }
    }

    /// A plan to ask the server about.
    pub(super) fn provisional(&self, source: Source<'_>) -> Plan {
        let number = {
            let mut inner = self.inner.lock();
            inner.made += 1;
            inner.made
        };
        let name = if self.unnamed { String::new() } else { name(number) };
        let plan = Plan::provisional(number, name, source.text().into(), source.types());
        let declared = source.declared();
        let session = declared.and_then(|declared| declared.session.map(Cow::Borrowed));
        Plan { declared: declared.map(|declared| declared.name), session, ..plan }
    }

    /// Remembers what the server told about a provisional plan. If another session has been faster, both are right, and
    /// the other's stays.
    pub(super) fn learn(&self, source: Source<'_>, asked: &Plan, statement: Arc<Statement>) -> Arc<Plan> {
        // What travels as text fits whatever the server makes of it; what was encoded as the type of a session must have
        // that type on all.
        let types = statement.params.iter().enumerate().map(|(at, type_)| match source.place(at).kind {
            Kind::Open => type_.oid(),
            Kind::Typed(_) | Kind::Text | Kind::TextArray => asked.types.get(at).copied().unwrap_or(0),
        });
        let session = source.needs_session();
        let plan = Arc::new(Plan {
            number: asked.number,
            name: asked.name.clone(),
            sql: asked.sql.clone(),
            declared: asked.declared,
            types: types.collect(),
            statement,
            alone: session.is_some() || maypole_sql::copies(source.text()),
            session,
            ends: asked.ends,
            pace: Pace::default(),
        });
        let mut inner = self.inner.lock();
        match source {
            Source::Declared(declared) => {
                inner.declared.entry(address(declared)).or_insert_with(|| plan.clone());
            }
            Source::Text(_) | Source::Named(..) if inner.texts.contains_key(&plan.sql) => {}
            Source::Text(_) | Source::Named(..) => inner.remember(plan.clone(), self.capacity),
        }
        plan
    }

    /// It is not what the server says any more: nobody uses it from now on. Sessions close it when they need the room.
    fn retire(&self, source: Source<'_>, plan: &Plan) {
        let mut inner = self.inner.lock();
        match source {
            Source::Declared(declared) => {
                if inner.declared.get(&address(declared)).is_some_and(|known| known.number == plan.number) {
                    inner.declared.remove(&address(declared));
                }
            }
            Source::Text(_) | Source::Named(..) => {
                let text = source.text();
                if inner.texts.get(text).is_some_and(|known| known.plan.number == plan.number) {
                    inner.texts.remove(text);
                }
            }
        }
    }
}

impl Inner {
    fn remember(&mut self, plan: Arc<Plan>, capacity: usize) {
        while self.texts.len() >= capacity {
            let oldest = self.texts.iter().min_by_key(|(_, known)| known.used).map(|(text, _)| text.clone());
            let Some(oldest) = oldest else { return };
            self.texts.remove(&oldest);
        }
        self.uses += 1;
        self.texts.insert(plan.sql.clone(), Known { plan, used: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(plans: &Plans, text: &str) -> Arc<Plan> {
        let asked = plans.provisional(Source::Text(text));
        plans.learn(Source::Text(text), &asked, asked.statement.clone())
    }

    #[test]
    fn texts_are_bounded_and_the_least_recently_used_goes_first() {
        let knowledge = Knowledge::new(2);
        let plans = &knowledge.plans;
        learn(plans, "one");
        learn(plans, "two");
        assert!(plans.get(Source::Text("one")).is_some());
        learn(plans, "three");
        assert!(plans.get(Source::Text("two")).is_none());
        assert!(plans.get(Source::Text("one")).is_some());
    }

    #[test]
    fn a_retired_plan_is_made_anew_under_another_name() {
        let knowledge = Knowledge::new(8);
        let first = learn(&knowledge.plans, "one");
        knowledge.retire(Source::Text("one"), &first, &first.statement);
        assert!(knowledge.plans.get(Source::Text("one")).is_none());
        let second = learn(&knowledge.plans, "one");
        knowledge.retire(Source::Text("one"), &first, &first.statement);
        assert!(knowledge.plans.get(Source::Text("one")).is_some(), "the first was retired, not the second");
        assert_ne!(first.name, second.name);
    }
}
