//! One attempt at a transaction, from BEGIN to its end. Uses: connection, deadline, error, fate, guard, options, transaction.

use std::time::{Duration, Instant};

use super::{End, Hook, Hooks, Tx, TxOptions, fate, own};
use crate::connection::{Block, Connection, Terms};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result, Within};
use crate::guard;

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
        let open = Open { connection: self.connection };
        let tx = Tx::new(self.connection.sibling(), 0, self.options.isolation);
        let result = {
            let _inside = guard::enter(self.connection.pool_name(), self.options.name);
            function(&tx)
        };
        let hooks = tx.hooks.into_inner();
        let block = open.close();
        let Some(mut block) = block else {
            return Ended::unmade(Error::usage("the transaction has been ended by somebody else").into());
        };
        match result {
            Ok(value) => self.finish(value, &mut block, hooks),
            Err(mut error) => {
                self.roll_back(&block);
                if let Some(error) = own(&mut error)
                    && block.ended().is_none()
                {
                    error.rolled_back(block.within());
                }
                Ended::Failed(error, block.last_failure().map(Error::duplicate), hooks.rollback)
            }
        }
    }

    fn begin(&self, terms: Terms) -> Result<()> {
        self.connection.settle(Deadline::after(self.connection.timeout()).min(self.deadline))?;
        if self.connection.in_transaction() {
            return Err(Error::usage(
                "this connection is in a transaction already, and transactions do not nest: use savepoint()",
            ));
        }
        self.connection.open_block(terms);
        Ok(())
    }

    fn finish<R, E: From<Error>>(&self, value: R, block: &mut Block, hooks: Hooks) -> Ended<R, E> {
        let ended = match self.end {
            End::Commit => self.commit(block),
            End::RollBack => self.undo(block),
        };
        match ended {
            Ok(()) if self.end == End::Commit => Ended::Done(value, hooks.commit),
            Ok(()) => Ended::Done(value, hooks.rollback),
            Err(error) => {
                let unknown = matches!(error.outcome(), Outcome::Unknown | Outcome::Done);
                let hooks = if unknown { Vec::new() } else { hooks.rollback };
                let failure = (!unknown).then(|| error.duplicate());
                Ended::Failed(error.in_transaction(block.within()).into(), failure, hooks)
            }
        }
    }

    fn commit(&self, block: &mut Block) -> Result<()> {
        if !block.has_begun() {
            return Ok(());
        }
        self.refuse_ended(block)?;
        if self.deadline.passed(Instant::now()) {
            self.roll_back(block);
            let detail = "its function returned too late, it was rolled back";
            return Err(Error::timeout(
                Phase::Transaction,
                self.options.deadline,
                detail,
                Outcome::RolledBack,
            ));
        }
        let text = match block.take_undo() {
            Some(undo) => format!("{undo}; COMMIT"),
            None => "COMMIT".to_owned(),
        };
        let error = match self.connection.simple(&text, self.deadline) {
            Ok(tag) if tag == "COMMIT" => return Ok(()),
            // PostgreSQL's answer to COMMIT in a failed transaction (manual, COMMIT): no error, another tag.
            Ok(_) => return Err(swallowed(block)),
            Err(error) => error,
        };
        let outcome = match error.sqlstate() {
            // statement_completion_unknown, transaction_resolution_unknown.
            Some("40003" | "08007") => Outcome::Unknown,
            _ => error.outcome(),
        };
        match outcome {
            Outcome::RolledBack => {
                let message = "COMMIT failed, the transaction was rolled back";
                Err(Error::commit(message, outcome).caused_by(error))
            }
            Outcome::NotSent => {
                let message = "the connection was lost before COMMIT, the transaction was rolled back";
                Err(Error::commit(message, outcome).caused_by(error))
            }
            Outcome::Done | Outcome::Unknown => self.resolve(block, error),
        }
    }

    /// Nobody knows, unless another connection can tell.
    fn resolve(&self, block: &Block, error: Error) -> Result<()> {
        let unknown = "no answer to COMMIT came: the transaction may or may not have been committed";
        let Some(number) = block.number() else {
            return Err(Error::commit(unknown, Outcome::Unknown).caused_by(error));
        };
        match fate::look_up(self.connection, number) {
            Ok(true) => {
                log::info!(
                    target: "maypole::transaction", transaction = self.options.name.unwrap_or(""), number = &*number.id;
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
    fn undo(&self, block: &mut Block) -> Result<()> {
        if !block.has_begun() {
            return Ok(());
        }
        self.refuse_ended(block)?;
        let mut text = block.take_undo().unwrap_or_default();
        if !text.is_empty() {
            text += "; ";
        }
        text += "SET CONSTRAINTS ALL IMMEDIATE";
        let checked = self.connection.simple(&text, self.deadline);
        self.roll_back(block);
        match checked {
            Ok(_) => Ok(()),
            Err(error) if error.sqlstate() == Some("25P02") => Err(swallowed(block)),
            Err(error) => Err(Error::commit("COMMIT would fail", Outcome::RolledBack).caused_by(error)),
        }
    }

    fn refuse_ended(&self, block: &Block) -> Result<()> {
        if block.ended().is_none() {
            return Ok(());
        }
        // It may have begun another.
        self.roll_back(block);
        let message = "the transaction did not end with its function: a statement has ended it";
        let error = Error::commit(message, Outcome::Done);
        Err(match block.failure() {
            Some(failure) => error.caused_by(failure.duplicate()),
            None => error,
        })
    }

    /// Ends it; does not wait behind what nobody waits for, nor beyond the deadline. If that fails the connection is closed:
    /// in any case nothing is committed.
    fn roll_back(&self, block: &Block) {
        let connection = self.connection;
        if !block.has_begun() || connection.is_lost() {
            return;
        }
        if connection.is_waiting() || self.deadline.passed(Instant::now()) {
            connection.post_rollback();
        } else if connection.in_transaction()
            && let Err(failed) = connection.simple("ROLLBACK", Deadline::NEVER)
        {
            log::warn!(target: "maypole::transaction", "ROLLBACK failed, the connection is closed: {failed}");
            connection.kill(failed);
        }
    }
}

/// The function returned `Ok`, and a statement had failed.
fn swallowed(block: &Block) -> Error {
    let message =
        "the transaction was rolled back: one of its statements had failed, and its function returned Ok";
    let error = Error::commit(message, Outcome::RolledBack);
    match block.failure() {
        Some(failure) => error.caused_by(failure.duplicate()),
        None => error,
    }
}

/// A block that is open: rolled back when its function is left by a panic or a cancel. Posts the ROLLBACK and does not wait.
struct Open<'c> {
    connection: &'c Connection,
}

impl Open<'_> {
    /// The function has returned.
    fn close(self) -> Option<Block> {
        let block = self.connection.close_block();
        std::mem::forget(self);
        block
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.connection.close_block().is_some_and(|block| block.has_begun()) {
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
    pub(super) fn set(connection: &'c Connection, level: u32, options: &TxOptions) -> Savepoint<'c> {
        let deadline = Deadline::after(options.deadline);
        let outer = connection.with_block(|block, _| {
            block.set_savepoint(level);
            block.tighten(deadline, options.deadline)
        });
        Savepoint { connection, level, outer, over: false }
    }

    /// The function returned `Ok`.
    pub(super) fn keep(self) -> Result<()> {
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
        self.end(Block::undo_savepoint);
        // If that fails, so will whatever comes next.
        if let Err(error) = connection.undo(Deadline::NEVER) {
            log::warn!(target: "maypole::transaction", "a savepoint could not be undone: {error}");
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
            self.connection.with_block(|block, _| {
                block.undo_savepoint(self.level);
                if let Some(outer) = self.outer {
                    block.restore(outer);
                }
            });
        }
    }
}
