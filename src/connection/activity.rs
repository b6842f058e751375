//! What a session is doing, and for whom. Uses: coro, link, plan, protocol, statement, ticket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::link::Link;
use super::plan::Plan;
use super::statement::Statements;
use super::ticket::Asker;
use crate::coro;
use crate::protocol::session::Status;

/// What a session is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// The [`identity`](crate::coro::identity) of whoever sent the last request and waits for its reply itself; 0 if that was
    /// nobody, or an errand, which whoever frees a connection sends for another.
    pub(crate) user: usize,
    /// Whether replies are outstanding.
    pub(crate) executing: bool,
    /// The status by the server's last word.
    pub(crate) status: Status,
    /// What was asked last: the name of the query, or else the start of its text. No values of parameters.
    pub(crate) statement: Option<String>,
}

/// How much of a text is told, in bytes.
const START: usize = 200;

/// What was asked last.
#[derive(Default)]
pub(super) struct Asked {
    /// The name of the query, if it has one, and its text.
    plan: Option<(Option<&'static str>, Arc<str>)>,
    /// The start of a script, unless a plan was asked for since. Its room is kept.
    script: String,
}

impl Asked {
    /// The same plan again costs a comparison, another one the count of an `Arc`.
    pub(super) fn plan(&mut self, plan: &Plan) {
        if !self.plan.as_ref().is_some_and(|(_, text)| Arc::ptr_eq(text, &plan.sql)) {
            self.plan = Some((plan.declared, plan.sql.clone()));
        }
    }

    fn script(&mut self, text: &str) {
        self.plan = None;
        self.script.clear();
        self.script.push_str(start(text));
    }

    fn told(&self) -> Option<String> {
        match &self.plan {
            Some((Some(name), _)) => Some((*name).to_owned()),
            Some((None, text)) => Some(start(text).to_owned()),
            None => Some(self.script.clone()).filter(|script| !script.is_empty()),
        }
    }
}

/// The start of a text, whole characters.
fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(START)]
}

impl Link {
    /// What it is doing, and for whom.
    pub(crate) fn activity(&self) -> Activity {
        let user = self.user.load(Ordering::Relaxed);
        let state = self.state.lock();
        Activity {
            user,
            executing: state.session.is_waiting(),
            status: state.session.status(),
            statement: state.asked.told(),
        }
    }

    /// The [`identity`](crate::coro::identity) of whoever sent the last request since it was lent; 0 as in [`Activity::user`].
    pub(crate) fn user(&self) -> usize {
        self.user.load(Ordering::Relaxed)
    }

    /// The lease has ended: whoever used it has nothing to do with the next one.
    pub(crate) fn forget_user(&self) {
        self.user.store(0, Ordering::Relaxed);
    }

    /// This one has ended: nobody else is to be taken for it.
    pub(crate) fn forget_user_if(&self, who: usize) {
        let _ = self.user.compare_exchange(who, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Remembers who sends a request: 2 to 3 ns (rule M29).
    pub(super) fn note_user(&self, asker: &Asker) {
        match asker {
            Asker::Caller(_) => self.user.store(coro::identity(), Ordering::Relaxed),
            Asker::Errand(_) | Asker::Rider(_) | Asker::Clock | Asker::Group { .. } => {
                self.user.store(0, Ordering::Relaxed)
            }
            Asker::Nobody | Asker::Reset | Asker::Fence => {}
        }
    }

    /// A script is about to be sent.
    pub(super) fn note_script(&self, text: &str) {
        self.state.lock().asked.script(text);
    }

    /// What the session knows, when a request that uses this plan is about to be sent.
    pub(super) fn with_statements_for<R>(&self, plan: &Plan, with: impl FnOnce(&mut Statements) -> R) -> R {
        let mut state = self.state.lock();
        state.asked.plan(plan);
        state.reset.note_plan(plan);
        with(&mut state.statements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sql: &str, declared: Option<&'static str>) -> Plan {
        Plan { declared, ..Plan::provisional(1, "q1".to_owned(), sql.into(), Vec::new()) }
    }

    #[test]
    fn the_last_statement_is_told_by_its_name_or_the_start_of_its_text() {
        let mut asked = Asked::default();
        assert_eq!(asked.told(), None);
        asked.script("COMMIT");
        assert_eq!(asked.told().as_deref(), Some("COMMIT"));
        asked.plan(&plan("SELECT 1", Some("one")));
        assert_eq!(asked.told().as_deref(), Some("one"));
        asked.plan(&plan("SELECT 2", None));
        assert_eq!(asked.told().as_deref(), Some("SELECT 2"));
        // A character that would be cut through is left out.
        asked.script(&format!("{}éé", "x".repeat(START - 1)));
        assert_eq!(asked.told(), Some("x".repeat(START - 1)));
    }
}
