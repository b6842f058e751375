//! Prepared statements of one session. Uses: columns, plan.

use std::sync::Arc;

use postgres_types::Type;
use rustc_hash::FxHashMap;

use super::plan::{Plan, Plans};
use crate::columns::Columns;

/// A statement that the server has parsed for this session.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) name: String,
    pub(crate) params: Vec<Type>,
    pub(crate) columns: Arc<Columns>,
    /// Whether it returns rows at all: a SELECT of no columns does.
    pub(crate) returns_rows: bool,
}

/// The statements that a session knows, by their text: bounded, the least recently used goes first.
///
/// A statement is remembered from its ParseComplete on and survives a rollback, as it does on the server. Names
/// are never used twice, so a name that is closed late cannot hit a newer statement.
pub(crate) struct Statements {
    known: FxHashMap<Arc<str>, Known>,
    capacity: usize,
    /// Counts uses, for the least recent.
    uses: u64,
    names: u64,
    /// Known to the server and no longer to us.
    to_close: Vec<Closing>,
    /// The plans of the pool that the session has parsed.
    plans: FxHashMap<usize, String>,
    /// How many retired plans it has heard of.
    retired_seen: usize,
}

/// A name that is to be closed, once nobody uses its statement: a stream may still be reading, and a `ToSql` that
/// queries the same connection may have pushed out the statement that it is being encoded for.
struct Closing {
    name: String,
    statement: Option<Arc<Statement>>,
}

impl Closing {
    fn is_due(&self) -> bool {
        self.statement.as_ref().is_none_or(|statement| Arc::strong_count(statement) == 1)
    }
}

impl From<Arc<Statement>> for Closing {
    fn from(statement: Arc<Statement>) -> Closing {
        Closing { name: statement.name.clone(), statement: Some(statement) }
    }
}

struct Known {
    statement: Arc<Statement>,
    used: u64,
}

/// How many names one exchange closes at most.
pub(crate) const CLOSES: usize = 4;

impl Statements {
    pub(crate) fn new(capacity: usize) -> Statements {
        Statements {
            known: FxHashMap::default(),
            capacity,
            uses: 0,
            names: 0,
            to_close: Vec::new(),
            plans: FxHashMap::default(),
            retired_seen: 0,
        }
    }

    pub(crate) fn get(&mut self, sql: &str) -> Option<Arc<Statement>> {
        self.uses += 1;
        let known = self.known.get_mut(sql)?;
        known.used = self.uses;
        Some(known.statement.clone())
    }

    /// A name for the next statement, and the names to close in the same exchange.
    pub(crate) fn begin(&mut self) -> (String, Vec<String>) {
        while !self.known.is_empty() && self.known.len() >= self.capacity {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used).map(|(sql, _)| sql.clone());
            if let Some(known) = oldest.and_then(|sql| self.known.remove(&sql)) {
                self.to_close.push(known.statement.into());
            }
        }
        self.names += 1;
        let due = self.to_close.extract_if(.., |closing| closing.is_due()).take(CLOSES);
        (format!("s{}", self.names), due.map(|closing| closing.name).collect())
    }

    /// `None` if the session has parsed this plan; else the names to close in the exchange that parses it.
    pub(crate) fn greet(&mut self, plan: &Plan, plans: &Plans) -> Option<Vec<String>> {
        if self.plans.contains_key(&plan.number) {
            return None;
        }
        for retired in plans.retired_since(&mut self.retired_seen) {
            self.forget_plan(&retired);
        }
        let due = self.to_close.extract_if(.., |closing| closing.is_due()).take(CLOSES);
        Some(due.map(|closing| closing.name).collect())
    }

    /// The session has parsed it.
    pub(crate) fn meet(&mut self, plan: &Plan) {
        self.plans.insert(plan.number, plan.statement.name.clone());
    }

    /// It does not fit any more: it is closed with the next one that is parsed.
    pub(crate) fn forget_plan(&mut self, plan: &Plan) {
        self.to_close.extend(self.plans.remove(&plan.number).map(|name| Closing { name, statement: None }));
    }

    /// The session has forgotten what it had parsed.
    pub(crate) fn forget_plans(&mut self) {
        self.plans.clear();
    }

    /// Remembers it.
    pub(crate) fn insert(&mut self, sql: &str, statement: Arc<Statement>) {
        if self.capacity == 0 {
            self.to_close.push(statement.into());
            return;
        }
        self.uses += 1;
        let replaced = self.known.insert(sql.into(), Known { statement, used: self.uses });
        self.to_close.extend(replaced.map(|known| known.statement.into()));
    }

    /// Forgets it: the server knows it no more, or its plan does not fit any longer.
    pub(crate) fn forget(&mut self, sql: &str) {
        if let Some(known) = self.known.remove(sql) {
            // To close a statement that is not there is no error.
            self.to_close.push(known.statement.into());
        }
    }

    /// The server may know this, and nobody remembers it. To close one that is not there is no error.
    pub(crate) fn orphan(&mut self, name: String) {
        self.to_close.push(Closing { name, statement: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(name: String) -> Arc<Statement> {
        Arc::new(Statement {
            name,
            params: Vec::new(),
            columns: Arc::new(Columns::new(Vec::new())),
            returns_rows: false,
        })
    }

    #[test]
    fn the_least_recently_used_goes_first_and_is_closed() {
        let mut statements = Statements::new(2);
        for sql in ["one", "two"] {
            let (name, closes) = statements.begin();
            assert!(closes.is_empty());
            statements.insert(sql, statement(name));
        }
        assert!(statements.get("one").is_some());
        let (name, closes) = statements.begin();
        assert_eq!((name.as_str(), closes), ("s3", vec!["s2".to_owned()]));
        statements.insert("three", statement(name));
        assert!(statements.get("one").is_some() && statements.get("two").is_none());
    }

    #[test]
    fn a_statement_in_use_is_closed_when_that_is_over() {
        let mut statements = Statements::new(1);
        let (name, _) = statements.begin();
        let used = statement(name);
        statements.insert("one", used.clone());
        assert!(statements.begin().1.is_empty() && statements.get("one").is_none());
        assert_eq!(statements.begin().1, Vec::<String>::new());
        drop(used);
        assert_eq!(statements.begin().1, ["s1"]);
    }

    #[test]
    fn names_are_never_used_twice_and_orphans_are_closed() {
        let mut statements = Statements::new(8);
        let (first, _) = statements.begin();
        statements.orphan(first.clone());
        let (second, closes) = statements.begin();
        assert_ne!(first, second);
        assert_eq!(closes, vec![first]);
    }
}
