//! A transaction block under way on a session: what goes with the next request, and what has gone wrong in it.
//! Uses: deadline, declared, error, plan, promise, protocol.
//!
//! No request of its own begins a block or sets a savepoint: the commands go before the first statement that needs them,
//! under the same Sync. If one of them failed the server would pass over the statement, so nothing can run outside of the block.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::plan::Plan;
use crate::deadline::Deadline;
use crate::declared::Declared;
use crate::error::{Error, Outcome, QueryContext, Result, Within};
use crate::promise::Claim;
use crate::protocol::decode::{self, Messages};
use crate::protocol::session::{Exchange, Reply, Status};

/// How many savepoints can be open at once. Beyond 64 PostgreSQL itself becomes slow.
pub(crate) const MOST_SAVEPOINTS: u32 = 64;

/// A statement that was sent along, and whose answer comes with that of the next one that is waited for.
pub(super) struct Later {
    pub(super) claim: Claim<Result<Reply>>,
    pub(super) plan: Arc<Plan>,
    pub(super) asked: Asked,
}

/// What an error tells of a statement that was sent along, made only if it is needed.
pub(super) enum Asked {
    Declared(&'static Declared),
    AdHoc(QueryContext),
}

impl Asked {
    fn context(self) -> QueryContext {
        match self {
            Asked::Declared(declared) => declared.context(),
            Asked::AdHoc(context) => context,
        }
    }
}

/// How many statements can be sent along before one is waited for.
pub(super) const MOST_LATER: usize = 256;

/// A command that waits for the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Begin(Cow<'static, str>),
    Savepoint(u32),
    Release(u32),
    Undo(u32),
}

impl Command {
    fn text(self) -> Cow<'static, str> {
        match self {
            Command::Begin(text) => text,
            Command::Savepoint(level) => format!("SAVEPOINT {}", savepoint(level)).into(),
            Command::Release(level) => format!("RELEASE SAVEPOINT {}", savepoint(level)).into(),
            Command::Undo(level) => format!("ROLLBACK TO SAVEPOINT {}", savepoint(level)).into(),
        }
    }
}

fn savepoint(level: u32) -> String {
    format!("maypole_{level}")
}

/// What is asked of a transaction block.
pub(crate) struct Terms {
    /// The statement that begins it.
    pub(crate) begin: Cow<'static, str>,
    /// What errors say of it.
    pub(crate) name: Option<&'static str>,
    pub(crate) attempt: u32,
    pub(crate) of: u32,
    /// Until when it may wait for replies, and how long that was at first.
    pub(crate) deadline: Deadline,
    pub(crate) limit: Option<Duration>,
    /// Find out the number of the transaction.
    pub(crate) numbered: bool,
}

/// The commands that go with a request.
pub(super) type Commands = SmallVec<[Cow<'static, str>; 2]>;

pub(crate) struct Block {
    within: Within,
    waiting: SmallVec<[Command; 2]>,
    /// How many savepoints it is inside of.
    level: u32,
    begun: bool,
    read_only: bool,
    deadline: Deadline,
    limit: Option<Duration>,
    numbered: bool,
    number: Option<String>,
    /// The first failure of those that make COMMIT a rollback.
    failure: Option<Error>,
    /// A failure that the end of a savepoint has undone, until something else is done.
    undone: Option<Error>,
    /// Somebody has ended it with a statement, and what is known of that.
    ended: Option<&'static str>,
    outcome: Outcome,
    /// What was sent along.
    later: Vec<Later>,
}

impl Block {
    pub(crate) fn new(terms: Terms) -> Block {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        let Terms { begin, name, attempt, of, deadline, limit, numbered } = terms;
        let id = BLOCKS.fetch_add(1, Ordering::Relaxed);
        let read_only = begin.contains(" READ ONLY");
        Block {
            within: Within { id, name, attempt, of },
            waiting: SmallVec::from_iter([Command::Begin(begin)]),
            level: 0,
            begun: false,
            read_only,
            deadline,
            limit,
            numbered,
            number: None,
            failure: None,
            undone: None,
            ended: None,
            outcome: Outcome::Done,
            later: Vec::new(),
        }
    }

    /// What errors say of it.
    pub(crate) fn within(&self) -> Within {
        self.within
    }

    /// How many savepoints it is inside of.
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// Whether it is read-only by its own wish.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether anything was sent.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Until when replies may be waited for.
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Another deadline for what comes now, if that is earlier; what it was before.
    pub(crate) fn tighten(
        &mut self,
        deadline: Deadline,
        limit: Option<Duration>,
    ) -> (Deadline, Option<Duration>) {
        let before = (self.deadline, self.limit);
        if self.deadline.min(deadline) != self.deadline {
            (self.deadline, self.limit) = (deadline, limit);
        }
        before
    }

    pub(crate) fn restore(&mut self, (deadline, limit): (Deadline, Option<Duration>)) {
        (self.deadline, self.limit) = (deadline, limit);
    }

    /// The number of the transaction, if it was wanted and is known.
    pub(super) fn number(&self) -> Option<&String> {
        self.number.as_ref()
    }

    /// What made it fail.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// What has made it fail, if nothing runs in it any more.
    pub(crate) fn failed_with(&self, status: Status) -> Option<Error> {
        // What undoes it may be on its way.
        let for_good = status == Status::Failed && !self.is_to_undo() && self.later.is_empty();
        self.failure.as_ref().filter(|_| for_good).map(Error::duplicate)
    }

    /// What made it fail, or a part of it last.
    pub(crate) fn last_failure(&self) -> Option<&Error> {
        self.failure.as_ref().or(self.undone.as_ref())
    }

    /// How it was ended by a statement, if it was.
    pub(crate) fn ended(&self) -> Option<&'static str> {
        self.ended
    }

    /// What is known of what was done in it, if a statement has ended it.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Nothing runs in it any more.
    pub(super) fn over(&self) -> Error {
        let how = self.ended.unwrap_or("the statement that was to begin it failed before BEGIN was executed");
        Error::usage(format!("the transaction is over: {how}"))
    }

    /// A request is about to be sent: the commands that go before it, and whether the number is to be asked for behind it.
    pub(super) fn accompany(&mut self, may_write: bool) -> Result<(Commands, bool)> {
        let company = self.company(may_write)?;
        self.accompanied();
        Ok(company)
    }

    /// The same for a request that may turn out not to be sent.
    pub(super) fn company(&self, may_write: bool) -> Result<(Commands, bool)> {
        if self.ended.is_some() {
            return Err(self.over());
        }
        let commands = self.waiting.iter().cloned().map(Command::text).collect();
        Ok((commands, may_write && self.lacks_number()))
    }

    /// It is sent.
    pub(super) fn accompanied(&mut self) {
        self.undone = None;
        self.begun = true;
        self.waiting.clear();
    }

    /// Whether the next request has something before it, under the same Sync, that may fail.
    pub(super) fn may_pass_over(&self) -> bool {
        // BEGIN does not.
        self.waiting.iter().any(|command| !matches!(command, Command::Begin(_))) || !self.later.is_empty()
    }

    /// A statement was sent along.
    pub(super) fn add_later(&mut self, later: Later) {
        self.later.push(later);
    }

    /// How many were sent along since one was waited for.
    pub(super) fn count_later(&self) -> usize {
        self.later.len()
    }

    /// Those whose answers are there. Others may not even be sent yet.
    pub(super) fn take_later(&mut self) -> Vec<Later> {
        // Answers come in order.
        let answered = self.later.iter().take_while(|later| later.claim.is_settled()).count();
        self.later.drain(..answered).collect()
    }

    /// One of them has failed, and those behind it were passed over.
    pub(super) fn fail_later(&mut self, error: Error, asked: Asked) {
        // It was seen as it came, unless the session has ended with it; and may have been undone since.
        if self.failure.is_some() || error.outcome() == Outcome::Unknown {
            self.fail(&error.in_query(&asked.context()));
        }
    }

    /// Whether the number of the transaction is still to be asked for.
    pub(crate) fn lacks_number(&self) -> bool {
        self.numbered && self.number.is_none()
    }

    /// What the question for the number was answered with.
    pub(super) fn learn_number(&mut self, number: Option<String>) {
        self.number = self.number.take().or(number);
    }

    /// How long it might have taken, if that has passed.
    pub(super) fn passed(&self, now: Instant) -> Option<Duration> {
        self.limit.filter(|_| self.deadline.passed(now))
    }

    /// A savepoint from here on.
    pub(crate) fn set_savepoint(&mut self, level: u32) {
        debug_assert!(self.waiting.len() < Exchange::MOST_BEFORE);
        self.level = level;
        self.waiting.push(Command::Savepoint(level));
    }

    /// It was not needed.
    pub(crate) fn release_savepoint(&mut self, level: u32) {
        self.level = level.saturating_sub(1);
        if self.unset_savepoint(level) {
            return;
        }
        // It takes those within it along.
        self.waiting.retain(|command| !matches!(command, Command::Release(within) if *within > level));
        self.waiting.push(Command::Release(level));
    }

    /// Back to where it was set.
    pub(crate) fn undo_savepoint(&mut self, level: u32) {
        // If nothing was sent since, what has failed had failed before.
        if self.leave_savepoint(level) {
            self.undone = self.failure.take();
        }
    }

    /// The same with the next request: until then a failure is one. Whether the server has to be told.
    pub(crate) fn leave_savepoint(&mut self, level: u32) -> bool {
        self.level = level.saturating_sub(1);
        let set = !self.unset_savepoint(level);
        if set {
            self.waiting.clear();
            self.waiting.extend([Command::Undo(level), Command::Release(level)]);
        }
        set
    }

    /// It could not be undone: what made it fail is still why nothing can be committed.
    pub(crate) fn not_undone(&mut self) {
        self.failure = self.undone.take().or(self.failure.take());
    }

    /// What the server must be told before COMMIT, which releases savepoints itself; or before the transaction goes on.
    pub(crate) fn take_undo(&mut self) -> Option<String> {
        if !self.is_to_undo() {
            return None;
        }
        let commands: Vec<_> = self.waiting.drain(..).map(Command::text).collect();
        Some(commands.join("; "))
    }

    /// Whether the server has to be told of a savepoint that was undone.
    pub(crate) fn is_to_undo(&self) -> bool {
        self.waiting.iter().any(|command| matches!(command, Command::Undo(_)))
    }

    /// Whether nothing was sent since it was set: then it need not be.
    fn unset_savepoint(&mut self, level: u32) -> bool {
        let at = self.waiting.iter().position(|command| *command == Command::Savepoint(level));
        at.inspect(|at| self.waiting.truncate(*at)).is_some()
    }

    /// A statement has failed in a way that makes COMMIT a rollback.
    pub(super) fn fail(&mut self, error: &Error) {
        let named = self.failure.as_ref().is_some_and(|first| {
            // It was seen as it came; by whom it was asked for is only known here.
            first.query().is_some() || error.db_error().is_none() || first.db_error() != error.db_error()
        });
        if !named {
            self.failure = Some(error.duplicate().in_transaction(self.within));
        }
    }

    /// The server has answered with an error, which may be looked at much later or never.
    pub(super) fn see_failure(&mut self, error: Error, query: Option<&QueryContext>) {
        if self.failure.is_none() {
            let error = match query {
                Some(query) => error.in_query(query),
                None => error,
            };
            self.failure = Some(error.in_transaction(self.within));
        }
    }

    /// It was this query that has failed first.
    pub(super) fn name_failure(&mut self, query: &QueryContext) {
        self.failure = self.failure.take().map(|error| error.in_query(query));
    }

    /// Something was done without an error: what had failed before was undone by a statement.
    pub(super) fn forgive(&mut self) {
        self.failure = None;
    }

    /// A statement that would end it was sent, and no answer came.
    pub(super) fn end_unseen(&mut self, error: &Error) {
        self.ended = Some("a statement that ends transactions was sent, and nobody knows what became of it");
        self.outcome = Outcome::Unknown;
        self.fail(error);
    }

    /// A statement has ended it.
    pub(super) fn end(&mut self, how: &'static str) -> Error {
        self.ended = Some(how);
        let error = Error::usage(format!("the transaction is over: {how}")).with_outcome(Outcome::Done);
        let error = error.in_transaction(self.within);
        self.fail(&error);
        error
    }
}

/// How a statement has ended the block that it ran in, by its command tags; `idle` if the session is outside of a
/// transaction now. A script may have several statements, behind so many commands of ours.
pub(super) fn ended_by(reply: &[u8], idle: bool, text: &str, script: Option<usize>) -> Option<&'static str> {
    let committed = "COMMIT was executed as a statement. What had been done is committed; a transaction commits when its \
                     function returns Ok";
    let rolled_back = "ROLLBACK was executed as a statement. What had been done is undone; a transaction rolls back when \
                       its function returns an error";
    let prepared =
        "PREPARE TRANSACTION was executed as a statement. What had been done waits for COMMIT PREPARED";
    // What returns rows ends nothing.
    let tags = Messages::new(reply).filter(|(tag, _)| matches!(tag, b'C' | b'D'));
    let mut how = None;
    // Commands return no rows.
    for (kind, body) in tags.skip(script.unwrap_or_default()) {
        if kind == b'D' {
            if !idle && script.is_none() {
                return None;
            }
            continue;
        }
        how = match decode::command_tag(&reply[body]) {
            "COMMIT" => Some(committed),
            "PREPARE TRANSACTION" => Some(prepared),
            // ROLLBACK TO SAVEPOINT has the same tag.
            "ROLLBACK" if idle || maypole_sql::ends_transactions(text) => Some(rolled_back),
            "BEGIN" | "START TRANSACTION" if how.is_none() => {
                Some("BEGIN was executed as a statement, and transactions do not nest; use savepoint()")
            }
            _ => how,
        };
    }
    how.or(idle.then_some("a statement has ended it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block::new(Terms {
            begin: "BEGIN".into(),
            name: None,
            attempt: 1,
            of: 1,
            deadline: Deadline::NEVER,
            limit: None,
            numbered: true,
        })
    }

    fn commands(block: &mut Block) -> Vec<String> {
        let (commands, _) = block.accompany(true).expect("goes on");
        commands.into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn begin_and_savepoints_go_before_the_first_statement_that_needs_them() {
        let mut block = block();
        block.set_savepoint(1);
        block.set_savepoint(2);
        block.release_savepoint(2);
        assert_eq!(
            commands(&mut block),
            ["BEGIN", "SAVEPOINT maypole_1"],
            "nothing was done inside the second"
        );
        assert!(commands(&mut block).is_empty());
        block.set_savepoint(2);
        assert_eq!(commands(&mut block), ["SAVEPOINT maypole_2"]);
        block.release_savepoint(2);
        block.release_savepoint(1);
        block.set_savepoint(1);
        assert_eq!(commands(&mut block), ["RELEASE SAVEPOINT maypole_1", "SAVEPOINT maypole_1"]);
    }

    #[test]
    fn a_savepoint_is_undone_on_the_server_only_if_it_knows_of_it() {
        let mut block = block();
        block.set_savepoint(1);
        block.undo_savepoint(1);
        assert_eq!(block.take_undo(), None);
        assert_eq!(commands(&mut block), ["BEGIN"]);
        block.set_savepoint(1);
        commands(&mut block);
        block.set_savepoint(2);
        block.undo_savepoint(1);
        let undo = "ROLLBACK TO SAVEPOINT maypole_1; RELEASE SAVEPOINT maypole_1";
        assert_eq!(block.take_undo().as_deref(), Some(undo));
        assert!(commands(&mut block).is_empty());
        block.set_savepoint(1);
        commands(&mut block);
        block.undo_savepoint(1);
        block.set_savepoint(1);
        assert_eq!(
            commands(&mut block).join("; "),
            format!("{undo}; SAVEPOINT maypole_1"),
            "or with the next"
        );
    }

    #[test]
    fn a_failure_that_was_undone_is_forgotten_with_the_next_statement() {
        let mut block = block();
        commands(&mut block);
        block.fail(&Error::no_results());
        block.fail(&Error::multiple_results());
        assert!(block.failure().is_some_and(Error::is_no_results), "the first");
        block.undo_savepoint(1);
        assert!(block.failure().is_none() && block.last_failure().is_some());
        commands(&mut block);
        assert!(block.last_failure().is_none());
    }

    fn tags(tags: &[&str]) -> Vec<u8> {
        let mut reply = Vec::new();
        for tag in tags {
            let length = u32::try_from(tag.len() + 5).expect("short");
            reply.push(b'C');
            reply.extend_from_slice(&length.to_be_bytes());
            reply.extend_from_slice(tag.as_bytes());
            reply.push(0);
        }
        reply
    }

    #[test]
    fn what_ends_a_block_is_told_by_tags() {
        let ended = |all: &[&str], idle, text: &str| {
            ended_by(&tags(all), idle, text, Some(0)).map(|how| how.split(' ').next())
        };
        assert_eq!(ended(&["INSERT 0 1"], false, "INSERT"), None);
        assert_eq!(ended(&["ROLLBACK"], false, "ROLLBACK TO a"), None);
        assert_eq!(ended(&["COMMIT"], true, "COMMIT"), Some(Some("COMMIT")));
        assert_eq!(ended(&["COMMIT"], false, "COMMIT AND CHAIN"), Some(Some("COMMIT")));
        assert_eq!(ended(&["ROLLBACK"], false, "rollback and chain"), Some(Some("ROLLBACK")));
        assert_eq!(ended(&["INSERT 0 1", "COMMIT", "BEGIN"], false, "…;…;…"), Some(Some("COMMIT")));
        assert_eq!(ended(&["BEGIN"], false, "BEGIN"), Some(Some("BEGIN")));
        assert_eq!(ended(&["PREPARE TRANSACTION"], true, "…"), Some(Some("PREPARE")));
    }
}
