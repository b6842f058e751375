//! Statements that all sessions of a pool know, or can be told, under one name. Uses: protocol, statement, types.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use postgres_types::Oid;
use rustc_hash::FxHashMap;

use super::statement::Statement;
use super::types::Types;
use crate::protocol::decode::{self, Messages};

/// What all sessions of a pool have in common.
pub(crate) struct Knowledge {
    pub(crate) types: Types,
    pub(crate) plans: Plans,
}

/// A statement whose parameters and columns are known before any session is at hand: its request can be encoded while
/// it still waits for one. A session that has not parsed it does so first.
pub(crate) struct Plan {
    pub(super) number: usize,
    pub(super) sql: Arc<str>,
    pub(super) types: Vec<Oid>,
    pub(crate) statement: Arc<Statement>,
}

impl Plan {
    /// Whether a session that has just parsed it was told what the plan says: the same parameters, the same columns.
    pub(crate) fn is_described_by(&self, reply: &Bytes) -> bool {
        Messages::new(reply).all(|(tag, body)| match tag {
            b't' => decode::parameter_description(&reply[body]).is_ok_and(|types| types == self.types),
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

/// The plans of a pool, by their text: bounded; what does not fit is prepared per session.
pub(crate) struct Plans {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: FxHashMap<Arc<str>, Arc<Plan>>,
    made: usize,
    /// Plans that do not fit any longer, in the order in which that was seen.
    retired: Vec<Arc<Plan>>,
}

impl Knowledge {
    pub(crate) fn new(capacity: usize) -> Arc<Knowledge> {
        let plans = Plans { capacity, inner: Mutex::default() };
        Arc::new(Knowledge { types: Types::default(), plans })
    }
}

impl Plans {
    pub(crate) fn get(&self, sql: &str) -> Option<Arc<Plan>> {
        self.inner.lock().known.get(sql).cloned()
    }

    /// Makes a plan of what one session was told about the statement.
    pub(crate) fn learn(&self, sql: &str, statement: &Statement) {
        let mut inner = self.inner.lock();
        if inner.known.len() >= self.capacity || inner.known.contains_key(sql) {
            return;
        }
        inner.made += 1;
        let number = inner.made;
        let sql: Arc<str> = sql.into();
        let statement = Arc::new(Statement { name: format!("q{number}"), ..statement.clone() });
        let types = statement.params.iter().map(postgres_types::Type::oid).collect();
        inner.known.insert(sql.clone(), Arc::new(Plan { number, sql, types, statement }));
    }

    /// It returns other columns than it did: nobody uses it any more, and sessions close it.
    pub(crate) fn retire(&self, plan: &Arc<Plan>) {
        let mut inner = self.inner.lock();
        if inner.known.get(&plan.sql).is_some_and(|known| Arc::ptr_eq(known, plan)) {
            inner.known.remove(&plan.sql);
            inner.retired.push(plan.clone());
        }
    }

    /// The plans that were retired since a session last asked.
    pub(super) fn retired_since(&self, seen: &mut usize) -> Vec<Arc<Plan>> {
        let inner = self.inner.lock();
        let new = inner.retired.get(*seen..).unwrap_or_default().to_vec();
        *seen = inner.retired.len();
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Columns;

    #[test]
    fn plans_are_bounded_and_a_retired_one_is_made_anew_under_another_name() {
        let knowledge = Knowledge::new(1);
        let columns = Arc::new(Columns::new(Vec::new()));
        let statement = Statement { name: "s1".into(), params: Vec::new(), columns, returns_rows: false };
        knowledge.plans.learn("one", &statement);
        knowledge.plans.learn("two", &statement);
        assert!(knowledge.plans.get("two").is_none());
        let first = knowledge.plans.get("one").expect("learnt");
        knowledge.plans.retire(&first);
        knowledge.plans.retire(&first);
        assert!(knowledge.plans.get("one").is_none());
        let mut seen = 0;
        assert_eq!(knowledge.plans.retired_since(&mut seen).len(), 1);
        assert_eq!(knowledge.plans.retired_since(&mut seen).len(), 0);
        knowledge.plans.learn("one", &statement);
        let second = knowledge.plans.get("one").expect("learnt again");
        assert_ne!(first.statement.name, second.statement.name);
    }
}
