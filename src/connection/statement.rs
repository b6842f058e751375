//! Which statements a session has parsed. Uses: columns, error, from_row, plan.

use std::any::{Any, TypeId};
use std::sync::{Arc, OnceLock};

use postgres_types::Type;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::plan::Plan;
use crate::columns::Columns;
use crate::error::Result;
use crate::from_row::FromRow;

/// What the server told about a statement.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) params: Vec<Type>,
    pub(crate) columns: Arc<Columns>,
    /// Whether it returns rows at all: a SELECT of no columns does.
    pub(crate) returns_rows: bool,
    /// Whether a column comes in text format.
    pub(crate) has_text: bool,
    /// How its rows are read: as this type, by this plan.
    mapped: OnceLock<(TypeId, Box<dyn Any + Send + Sync>)>,
}

impl Statement {
    pub(crate) fn new(params: Vec<Type>, columns: Arc<Columns>, returns_rows: bool) -> Statement {
        let has_text = columns.has_text();
        Statement { params, columns, returns_rows, has_text, mapped: OnceLock::new() }
    }

    /// Finds out how its rows are read as `T`, unless that is known: then [`mapping`](Statement::mapping) has it. A statement
    /// whose rows are read as several types remembers the first.
    pub(crate) fn map<T: FromRow>(&self) -> Result<Option<T::Plan>> {
        if self.mapping::<T>().is_some() {
            return Ok(None);
        }
        let plan = T::plan(&self.columns)?;
        if self.mapped.get().is_some() {
            return Ok(Some(plan));
        }
        let Err((_, plan)) = self.mapped.set((TypeId::of::<T>(), Box::new(plan))) else { return Ok(None) };
        // Somebody was faster.
        Ok(plan.downcast().ok().map(|plan| *plan))
    }

    /// How its rows are read as `T`, if that was found out and kept.
    #[inline]
    pub(crate) fn mapping<T: FromRow>(&self) -> Option<&T::Plan> {
        // By the type of the row: other types may have plans of the same type.
        let (id, plan) = self.mapped.get()?;
        if *id == TypeId::of::<T>() { plan.downcast_ref() } else { None }
    }
}

/// The plans that a session has parsed: bounded, the least recently used goes first.
///
/// A statement is known from its ParseComplete on and survives a rollback, as it does on the server. Names
/// are never used twice, so a name that is closed late cannot hit a newer statement.
pub(crate) struct Statements {
    met: FxHashMap<usize, Met>,
    capacity: usize,
    /// Counts uses, for the least recent.
    uses: u64,
    /// Known to the server and no longer to us.
    to_close: Vec<String>,
}

struct Met {
    used: u64,
    /// Its ParseComplete has come. Before that, nobody knows whether the server has it.
    parsed: bool,
    /// What this session was told, where that is not what the plan says: another search_path, another schema.
    own: Option<Arc<Statement>>,
}

/// What stands before a request, so that the session knows its statement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// Names to close in the same exchange.
    pub(crate) closes: SmallVec<[String; CLOSES]>,
}

/// How many names one exchange closes at most.
pub(crate) const CLOSES: usize = 2;

impl Statements {
    pub(crate) fn new(capacity: usize) -> Statements {
        Statements { met: FxHashMap::default(), capacity, uses: 0, to_close: Vec::new() }
    }

    /// What this session was told about the plan, if it has parsed it; else how to introduce it, which is taken to be under
    /// way from now on.
    pub(crate) fn greet(&mut self, plan: &Plan) -> Result<Option<Arc<Statement>>, Introduction> {
        self.uses += 1;
        let mut closes = SmallVec::new();
        if !plan.name.is_empty() {
            match self.met.get_mut(&plan.number) {
                Some(met) if met.parsed => {
                    met.used = self.uses;
                    return Ok(met.own.clone());
                }
                // Nobody saw what became of it. To close a statement that is not there is no error.
                Some(_) => closes.push(plan.name.clone()),
                None => {
                    self.make_room();
                    // It was forgotten, and is met again before its turn to be closed.
                    if let Some(at) = self.to_close.iter().position(|name| *name == plan.name) {
                        closes.push(self.to_close.swap_remove(at));
                    }
                }
            }
            self.met.insert(plan.number, Met { used: self.uses, parsed: false, own: None });
        }
        closes.extend(self.to_close.drain(..self.to_close.len().min(CLOSES - closes.len())));
        Err(Introduction { closes })
    }

    fn make_room(&mut self) {
        while !self.met.is_empty() && self.met.len() >= self.capacity {
            let oldest = self.met.iter().min_by_key(|(_, met)| met.used).map(|(number, _)| *number);
            let Some(oldest) = oldest else { return };
            self.forget(oldest);
        }
    }

    /// The server has parsed it; `own` is what it told, where that is not what the plan says.
    pub(crate) fn meet(&mut self, number: usize, own: Option<Arc<Statement>>) {
        if let Some(met) = self.met.get_mut(&number) {
            met.parsed = true;
            met.own = own;
        }
    }

    /// Whether the session has parsed it, and what it was told, where that is not what the plan says.
    pub(crate) fn met(&self, number: usize) -> Option<Option<Arc<Statement>>> {
        self.met.get(&number).filter(|met| met.parsed).map(|met| met.own.clone())
    }

    /// It is used no more, or it may or may not be there: it is closed with the next that is introduced.
    pub(crate) fn forget(&mut self, number: usize) {
        if self.met.remove(&number).is_some() {
            self.to_close.push(super::plan::name(number));
        }
    }

    /// All that it has parsed may mean something else from now on.
    pub(crate) fn close_all_later(&mut self) {
        self.to_close.extend(self.met.drain().map(|(number, _)| super::plan::name(number)));
    }

    /// The same of those of which it was told otherwise than others.
    pub(crate) fn close_own_later(&mut self) {
        let own = self.met.extract_if(|_, met| met.own.is_some());
        self.to_close.extend(own.map(|(number, _)| super::plan::name(number)));
    }

    /// The session has forgotten what it had parsed, or some of it.
    pub(crate) fn forget_all(&mut self) {
        for met in self.met.values_mut() {
            met.parsed = false;
            met.own = None;
        }
    }

    /// All but the name that is in its own way.
    pub(crate) fn close_others_later(&mut self, introduction: &mut Introduction, own: &str) {
        self.to_close.extend(introduction.closes.iter().filter(|name| *name != own).cloned());
        introduction.closes.retain(|name| name == own);
    }

    /// Names to be closed by themselves: a few.
    pub(crate) fn take_closes(&mut self) -> SmallVec<[String; 6]> {
        self.to_close.drain(..self.to_close.len().min(6)).collect()
    }

    /// Whether an introduction has been sent, and nothing else that closes it since.
    pub(crate) fn is_greeted(&self, number: usize) -> bool {
        self.met.contains_key(&number)
    }

    /// The server has passed over the introduction of this plan. One of before may be there.
    pub(crate) fn passed_over(&mut self, number: usize) {
        if let Some(met) = self.met.get_mut(&number) {
            met.parsed = false;
        }
    }

    /// Names that an exchange would have closed that was never sent.
    pub(crate) fn close_later(&mut self, introduction: Introduction) {
        self.to_close.extend(introduction.closes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(number: usize) -> Plan {
        Plan::provisional(number, super::super::plan::name(number), "SELECT 1".into(), Vec::new())
    }

    #[test]
    fn what_was_passed_over_is_closed_before_it_is_introduced_again() {
        let mut statements = Statements::new(1);
        assert!(closes(&mut statements, 1).is_empty());
        assert_eq!(statements.greet(&plan(2)).expect_err("not met").closes[..], ["q1"]);
        assert!(statements.is_greeted(2) && !statements.is_greeted(1));
        // It is introduced, made to leave, introduced again, and that is passed over.
        statements.meet(2, None);
        statements.passed_over(2);
        assert_eq!(closes(&mut statements, 2), ["q2"]);
        assert!(statements.greet(&plan(2)).is_ok());
    }

    fn closes(statements: &mut Statements, number: usize) -> Vec<String> {
        let introduction = statements.greet(&plan(number)).expect_err("not met");
        statements.meet(number, None);
        introduction.closes.into_vec()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_is_closed() {
        let mut statements = Statements::new(2);
        assert!(closes(&mut statements, 1).is_empty());
        assert!(closes(&mut statements, 2).is_empty());
        assert!(statements.greet(&plan(1)).is_ok());
        assert_eq!(closes(&mut statements, 3), ["q2"]);
        assert!(statements.greet(&plan(1)).is_ok());
        assert_eq!(closes(&mut statements, 2), ["q3"]);
    }

    #[test]
    fn one_of_which_nobody_knows_is_closed_before_it_is_parsed_again() {
        let mut statements = Statements::new(8);
        assert!(statements.greet(&plan(1)).is_err_and(|introduction| introduction.closes.is_empty()));
        assert_eq!(closes(&mut statements, 1), ["q1"]);
        assert!(statements.greet(&plan(1)).is_ok());
    }

    #[test]
    fn what_is_forgotten_is_closed_with_the_next() {
        let mut statements = Statements::new(8);
        for number in 1..4 {
            closes(&mut statements, number);
        }
        for number in 1..4 {
            statements.forget(number);
        }
        assert_eq!(closes(&mut statements, 4), ["q1", "q2"]);
        assert_eq!(closes(&mut statements, 5), ["q3"]);
    }

    #[test]
    fn what_may_still_be_there_is_closed_before_it_is_parsed_again() {
        let mut statements = Statements::new(8);
        for number in 1..=5 {
            closes(&mut statements, number);
        }
        for number in 1..=4 {
            statements.forget(number);
        }
        assert!(
            closes(&mut statements, 4).contains(&"q4".to_owned()),
            "although others were forgotten before"
        );
        // Others may have been parsed again before somebody hears that the session had forgotten them.
        statements.forget_all();
        assert!(closes(&mut statements, 5).contains(&"q5".to_owned()));
    }

    #[test]
    fn each_row_type_has_a_mapping_of_its_own() {
        use crate::columns::Column;
        let columns = Columns::new(vec![Column::new("n", Type::INT4)]);
        let statement = Statement::new(Vec::new(), Arc::new(columns), true);
        assert!(statement.mapping::<i32>().is_none());
        assert!(statement.map::<i32>().expect("fits").is_none());
        assert!(statement.mapping::<i32>().is_some());
        // The plan of both is (): only the type tells that nobody has looked.
        assert!(statement.mapping::<(i32,)>().is_none());
        assert!(statement.map::<String>().is_err());
        assert!(statement.map::<(i32,)>().expect("fits").is_some());
    }

    #[test]
    fn a_statement_without_a_name_is_parsed_each_time() {
        let mut statements = Statements::new(0);
        let unnamed = Plan::provisional(1, String::new(), "SELECT 1".into(), Vec::new());
        for _ in 0..3 {
            assert!(statements.greet(&unnamed).is_err_and(|introduction| introduction.closes.is_empty()));
            statements.meet(1, None);
        }
    }
}
