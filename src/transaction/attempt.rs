//! One attempt at a transaction, from BEGIN to its end. Uses: connection, deadline, error, fate, guard, options, protocol, transaction.

use std::time::{Duration, Instant};

use super::{End, Hook, Hooks, Tx, TxOptions, fate, own};
use crate::connection::{Block, Connection, Terms};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result, Within};
use crate::guard;
use crate::protocol::session::Status;

/// What an attempt needs.
pub(super) struct Attempt<'a> {
    pub(super) connection: &'a Connection,
    pub(super) options: &'a TxOptions,
    pub(super) end: End,
    pub(super) deadline: Deadline,
}

/// How it ended, and what is to be called now.
pub(super) enum Ended<R, E> {
    Done(R, Vec<Hook>),
    /// With what the connection saw of it, which decides whether it is tried again.
    Failed(E, Option<Error>, Vec<Hook>),
}

impl<R, E> Ended<R, E> {
    /// There was no attempt.
    pub(super) fn unmade(error: E) -> Ended<R, E> {
        Ended::Failed(error, None, Vec::new())
    }
}

impl Attempt<'_> {
    pub(super) fn make<R, E: From<Error> + 'static>(
        &self,
        terms: Terms,
        function: &mut dyn FnMut(&Tx) -> Result<R, E>,
    ) -> Ended<R, E> {
        if let Err(error) = self.begin(terms) {
            return Ended::unmade(error.into());
        }
        let mut open = Open { connection: self.connection, roll_back: true };
        let tx = Tx::new(self.connection.sibling(), self.options.isolation, self.end);
        let result = {
            let _inside = guard::enter(self.connection.pool_name(), self.options.name);
            function(&tx)
        };
        let ended = self.finish(result, tx.hooks.into_inner());
        // A cancel until here leaves a ROLLBACK behind: behind COMMIT, if that was sent, where it does nothing.
        open.roll_back = false;
        ended
    }

    /// Ends it as the function wants it.
    fn finish<R, E: From<Error> + 'static>(&self, result: Result<R, E>, hooks: Hooks) -> Ended<R, E> {
        let value = match result {
            Ok(value) => value,
            Err(error) => return self.give_up(error, hooks),
        };
        let ended = match self.end {
            End::Commit => self.commit(),
            End::RollBack => self.rehearse(),
        };
        match ended {
            Ok(()) if self.end == End::Commit => Ended::Done(value, hooks.committed()),
            Ok(()) => Ended::Done(value, hooks.rolled_back()),
            Err(error) => {
                let undone = matches!(error.outcome(), Outcome::RolledBack | Outcome::NotSent);
                let error = match self.look(|block| block.within()) {
                    Some(within) => error.in_transaction(within),
                    None => error,
                };
                let hooks = if undone { hooks.rolled_back() } else { Vec::new() };
                Ended::Failed(error.duplicate().into(), undone.then_some(error), hooks)
            }
        }
    }

    /// The function has failed.
    fn give_up<R, E: 'static>(&self, mut error: E, hooks: Hooks) -> Ended<R, E> {
        self.roll_back();
        let (mut failure, mut hooks) = (None, hooks.rolled_back());
        self.look(|block| {
            failure = block.last_failure().map(Error::duplicate);
            match own(&mut error) {
                // A statement of its own has ended it before: what was done may be there.
                _ if block.ended().is_some() => {
                    hooks.clear();
                    failure = None;
                }
                Some(error) => error.rolled_back(block.within()),
                None => {}
            }
        });
        Ended::Failed(error, failure, hooks)
    }

    fn look<R>(&self, look: impl FnOnce(&mut Block) -> R) -> Option<R> {
        self.connection.with_block(|block, _| look(block))
    }

    /// Until when an answer is waited for.
    fn limit(&self) -> Deadline {
        Deadline::after(self.connection.timeout()).min(self.deadline)
    }

    fn begin(&self, terms: Terms) -> Result<()> {
        self.connection.settle(self.limit())?;
        self.connection.refuse_dead()?;
        if self.connection.in_transaction() {
            return Err(Error::usage(
                "this connection is in a transaction already, and transactions do not nest: use savepoint()",
            ));
        }
        self.connection.open_block(terms);
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.look(|block| block.has_begun()) == Some(true)
    }

    fn commit(&self) -> Result<()> {
        if !self.has_begun() {
            return Ok(());
        }
        self.refuse_ended()?;
        if self.deadline.passed(Instant::now()) {
            self.roll_back();
            let detail = "its function returned too late, it was rolled back";
            return Err(Error::timeout(
                Phase::Transaction,
                self.options.deadline,
                detail,
                Outcome::RolledBack,
            ));
        }
        // Its number has to be known before COMMIT is sent.
        if self.look(|block| block.lacks_number() || block.is_to_undo()) == Some(true)
            && let Err(error) = self.connection.catch_up()
        {
            self.roll_back();
            return Err(if self.connection.is_lost() {
                lost_before(error)
            } else {
                error.with_outcome(Outcome::RolledBack)
            });
        }
        let error = match self.ask_for_commit() {
            Ok(tag) if tag == "COMMIT" => return Ok(()),
            // PostgreSQL's answer to COMMIT in a failed transaction (manual, COMMIT): no error, another tag.
            Ok(tag) if tag == "ROLLBACK" => return Err(self.swallowed()),
            Ok(tag) => Error::protocol(format!("COMMIT was answered with {tag:?}")),
            // What was sent along has failed, and COMMIT was passed over.
            Err(error) if error.is_passed_over() => {
                let failure = self.look(|block| block.failure().map(Error::duplicate)).flatten();
                self.roll_back();
                return Err(failure.unwrap_or(error));
            }
            Err(error) => error,
        };
        let outcome = match error.sqlstate() {
            // statement_completion_unknown, transaction_resolution_unknown.
            Some("40003" | "08007") => Outcome::Unknown,
            _ => error.outcome(),
        };
        match outcome {
            Outcome::RolledBack => {
                // What goes with COMMIT may have failed before it.
                self.roll_back();
                let message = "COMMIT failed, the transaction was rolled back";
                Err(Error::commit(message, outcome).caused_by(error))
            }
            Outcome::NotSent => Err(lost_before(error)),
            Outcome::Done | Outcome::Unknown => self.resolve(error),
        }
    }

    /// Sends COMMIT; the tag of its answer.
    fn ask_for_commit(&self) -> Result<String> {
        let connection = self.connection;
        if connection.has_later() {
            connection.commit_with_later()
        } else {
            connection.simple("COMMIT", Deadline::NEVER)
        }
    }

    /// Nobody knows, unless another connection can tell.
    fn resolve(&self, error: Error) -> Result<()> {
        let unknown = "no answer to COMMIT came: the transaction may or may not have been committed";
        let Some(number) = self.connection.number() else {
            return Err(Error::commit(unknown, Outcome::Unknown).caused_by(error));
        };
        match fate::look_up(self.connection, &number) {
            Ok(true) => {
                log::info!(
                    target: "maypole::transaction",
                    transaction = self.options.name.unwrap_or_default(), number = &*number.id;
                    "no answer to COMMIT came, and another connection told that the transaction was committed"
                );
                Ok(())
            }
            Ok(false) => {
                let message = "no answer to COMMIT came, and another connection told that the transaction was rolled back";
                Err(Error::commit(message, Outcome::RolledBack).caused_by(error))
            }
            Err(why) => {
                let message = format!("{unknown}; another connection can't tell either: {why}");
                Err(Error::commit(message, Outcome::Unknown).caused_by(error))
            }
        }
    }

    /// For tests: what COMMIT would have looked at is looked at, and nothing is kept.
    fn rehearse(&self) -> Result<()> {
        if !self.has_begun() {
            return Ok(());
        }
        self.refuse_ended()?;
        if let Err(error) = self.connection.catch_up() {
            self.roll_back();
            return Err(error);
        }
        let checked = self.connection.simple("SET CONSTRAINTS ALL IMMEDIATE", Deadline::NEVER);
        self.roll_back();
        match checked {
            Ok(_) => Ok(()),
            Err(error) if error.sqlstate() == Some("25P02") => Err(self.swallowed()),
            Err(error) if error.outcome() == Outcome::NotSent => Err(lost_before(error)),
            Err(error) => Err(Error::commit("COMMIT would fail", Outcome::RolledBack).caused_by(error)),
        }
    }

    /// A statement may have ended it, or BEGIN not been executed at all.
    fn refuse_ended(&self) -> Result<()> {
        if self.look(|block| block.ended().is_some()) == Some(true) {
            // It may have begun another.
            self.roll_back();
            let message = "the transaction did not end with its function: a statement has ended it";
            let outcome = self.look(|block| block.outcome()).unwrap_or(Outcome::Unknown);
            return Err(self.with_failure(Error::commit(message, outcome)));
        }
        match self.connection.stay_in_block(self.limit()) {
            Ok(()) => Ok(()),
            Err(error) if self.connection.is_lost() => Err(lost_before(error)),
            Err(error) if error.is_timeout() => {
                self.roll_back();
                Err(error.with_outcome(Outcome::RolledBack))
            }
            Err(_) => Err(self.swallowed()),
        }
    }

    /// The function returned `Ok`, and a statement had failed.
    fn swallowed(&self) -> Error {
        let message =
            "the transaction was rolled back: one of its statements had failed, and its function returned Ok";
        self.with_failure(Error::commit(message, Outcome::RolledBack))
    }

    fn with_failure(&self, error: Error) -> Error {
        match self.look(|block| block.failure().map(Error::duplicate)).flatten() {
            Some(failure) => error.caused_by(failure),
            None => error,
        }
    }

    /// Ends it; does not wait behind what nobody waits for, nor beyond the deadline. If that fails the connection is closed:
    /// in any case nothing is committed.
    fn roll_back(&self) {
        let connection = self.connection;
        if !self.has_begun() || connection.is_lost() {
            return;
        }
        if connection.is_waiting() || self.deadline.passed(Instant::now()) {
            connection.post_rollback();
        } else if connection.link().status() != Status::Idle
            && let Err(failed) = connection.simple("ROLLBACK", Deadline::NEVER)
            // Sent, and its answer is on its way.
            && !failed.is_timeout()
        {
            log::warn!(target: "maypole::transaction", "ROLLBACK failed, the connection is closed: {failed}");
            connection.kill(failed);
        }
    }
}

fn lost_before(error: Error) -> Error {
    let message = "the connection was lost before COMMIT, the transaction was rolled back";
    Error::commit(message, Outcome::NotSent).caused_by(error)
}

/// A block that is open until this is dropped. If the function is left by a panic or a cancel, the ROLLBACK is posted, and not
/// waited for.
struct Open<'c> {
    connection: &'c Connection,
    roll_back: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.connection.close_block().is_some_and(|block| block.has_begun()) && self.roll_back {
            self.connection.post_rollback();
        }
    }
}

/// A savepoint that is set: undone when its function is left by a panic, with the next request.
pub(super) struct Savepoint<'c> {
    connection: &'c Connection,
    level: u32,
    /// The deadline of what is around it.
    outer: Option<(Deadline, Option<Duration>)>,
    over: bool,
}

impl<'c> Savepoint<'c> {
    pub(super) fn set(connection: &'c Connection, options: &TxOptions) -> Savepoint<'c> {
        let deadline = Deadline::after(options.deadline);
        let set = connection.with_block(|block, _| {
            let level = block.level() + 1;
            block.set_savepoint(level);
            (level, block.tighten(deadline, options.deadline))
        });
        let (level, outer) = set.unzip();
        Savepoint { connection, level: level.unwrap_or_default(), outer, over: false }
    }

    /// The function returned `Ok`.
    pub(super) fn keep(self) -> Result<()> {
        if let Err(error) = self.connection.catch_up() {
            self.undo();
            return Err(error);
        }
        // What nobody waited for may have failed.
        self.connection.settle(Deadline::after(self.connection.timeout()))?;
        let failed = self.connection.has_failed();
        if !failed {
            self.end(|block, level| block.release_savepoint(level));
            return Ok(());
        }
        let failure = self.connection.with_block(|block, _| block.failure().map(Error::duplicate)).flatten();
        let within = self.undo();
        let message =
            "the savepoint was undone: one of its statements had failed, and its function returned Ok";
        let mut error = Error::commit(message, Outcome::RolledBack);
        if let Some(failure) = failure {
            error = error.caused_by(failure);
        }
        Err(match within {
            Some(within) => error.in_transaction(within),
            None => error,
        })
    }

    /// The function returned an error, or is taken to have done so.
    pub(super) fn undo(self) -> Option<Within> {
        let connection = self.connection;
        // Behind a failure of what was sent along the server would pass over what is to undo it. It is undone either way.
        let _ = connection.flush();
        self.end(Block::undo_savepoint);
        // If that fails, so will whatever comes next.
        if let Err(error) = connection.undo(Deadline::NEVER) {
            log::warn!(target: "maypole::transaction", "a savepoint could not be undone: {error}");
            connection.with_block(|block, _| block.not_undone());
        }
        connection.with_block(|block, _| block.within())
    }

    fn end(mut self, how: impl FnOnce(&mut Block, u32)) {
        self.over = true;
        self.connection.with_block(|block, _| {
            how(block, self.level);
            if let Some(outer) = self.outer {
                block.restore(outer);
            }
        });
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if !self.over {
            // The same, without waiting.
            self.connection.close_flight();
            self.connection.with_block(|block, _| {
                block.leave_savepoint(self.level);
                if let Some(outer) = self.outer {
                    block.restore(outer);
                }
            });
        }
    }
}
