//! A session's part in a transaction: what is sent along, savepoints, COMMIT, and what has failed.
//! Uses: block, connection, deadline, error, introduce, link, number, promise, protocol, statement, ticket.

use std::borrow::Cow;

use super::block::{self, Block, Later, Terms};
use super::number::{self, Number};
use super::ticket::Ends;
use super::{Connection, check, stale};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, QueryContext, Result};
use crate::promise::Waited;
use crate::protocol::decode::{self, Messages};
use crate::protocol::encode;
use crate::protocol::session::{Reply, Status};

impl Connection {
    /// Runs a user's script; with an error comes how many characters went before it.
    pub(crate) fn run_script(&self, text: &str) -> Result<(), (Error, u32)> {
        self.flush().map_err(|error| (error, 0))?;
        if self.link.awaits_reset() && maypole_sql::ends_transactions(text) {
            let reset = self.sync(Deadline::after(self.timeout));
            reset.map_err(|error| (error.limited_to(self.timeout).with_outcome(Outcome::NotSent), 0))?;
        }
        self.stay_in_block(Deadline::after(self.timeout)).map_err(|error| (error, 0))?;
        let block = self.link.with_block(|block, _| block.company(true));
        let (before, number) = block.transpose().map_err(|error| (error, 0))?.unwrap_or_default();
        let commands = before.len();
        let mut sent = Cow::Borrowed(text);
        let mut ahead = 0;
        if !before.is_empty() || number {
            let before: String = before.iter().flat_map(|command| [command, "; "]).collect();
            // All of these are ASCII.
            ahead = u32::try_from(before.len()).unwrap_or(u32::MAX);
            let behind = if number { format!("\n;{}", self.link.ask_number()) } else { String::new() };
            sent = Cow::Owned(format!("{before}{text}{behind}"));
        }
        self.refuse_while_streaming().map_err(|error| (error, 0))?;
        self.link.note_script(text);
        if maypole_sql::nature(text).session.is_some() {
            self.link.note_traces();
        }
        let deadline = Deadline::after(self.timeout);
        let reply = self.ask_ending(Ends::of(text), encode::SIMPLE, deadline, |encoder| {
            encoder.query(&sent)?;
            // Not before it is known that it can be sent: the commands would be lost with it.
            self.link.with_block(|block, _| block.accompanied());
            Ok(())
        });
        let ran = reply.map_err(|error| error.limited_to(self.timeout)).and_then(|reply| {
            check(&reply)?;
            if number {
                self.link.learn_number(number::read_last_number(&reply.bytes));
            }
            self.refuse_ended(&reply, text, Some(commands))
        });
        ran.map_err(|error| (error, ahead))
    }

    /// Takes the answers to what was sent along before the request that has been answered now. The answer may be that to a
    /// chunk of a stream, which was asked for before.
    pub(super) fn collect(&self) {
        let later = self.link.with_block(|block, _| block.take_later()).unwrap_or_default();
        for Later { claim, plan, asked } in later {
            let reply = match claim.wait() {
                Waited::Value(Ok(reply)) => reply,
                // The connection is lost, or too late: whoever waits is told so.
                Waited::Value(Err(_)) | Waited::Overdue => continue,
            };
            if let Err(error) = check(&reply)
                && !error.is_passed_over()
            {
                if let Some(which) = stale(&error, &reply) {
                    self.link.forget(&plan, which);
                }
                self.link.with_block(|block, _| block.fail_later(error, asked));
            }
        }
    }

    /// Waits for the answers to what was sent along; its first error, if there is one. Asks for the number of the transaction in the
    /// same round trip, if that is wanted.
    pub(crate) fn flush(&self) -> Result<()> {
        let Some((true, number)) =
            self.link.with_block(|block, _| (block.count_later() > 0, block.lacks_number()))
        else {
            return Ok(());
        };
        let reply = if number {
            self.command(self.link.ask_number())
        } else {
            self.sync(Deadline::after(self.timeout))
        };
        let reply = reply.map_err(|error| error.limited_to(self.timeout))?;
        if number {
            self.link.learn_number(number::read_number(&reply.bytes));
        }
        let failed = self.link.with_block(|block, status| {
            // What is to be undone with the next request fails nothing else.
            let failed = status != Status::Transaction && !block.is_to_undo();
            block.failure().filter(|_| failed).map(Error::duplicate)
        });
        failed.flatten().map_or(Ok(()), Err)
    }

    /// Whether a transaction block is under way.
    pub(crate) fn is_in_block(&self) -> bool {
        self.link.is_in_block()
    }

    /// Whether something was sent along whose answer nobody has looked at.
    pub(crate) fn has_later(&self) -> bool {
        self.link.with_block(|block, _| block.count_later() > 0) == Some(true)
    }

    /// Commits in one round trip with what was sent along before: the tag of the answer.
    pub(crate) fn commit_with_later(&self) -> Result<String> {
        let reply = self.command("COMMIT").map_err(|error| error.limited_to(self.timeout))?;
        check(&reply)?;
        let tag = Messages::new(&reply.bytes).find(|(tag, _)| *tag == b'C');
        Ok(tag.map_or_else(String::new, |(_, body)| decode::command_tag(&reply.bytes[body]).to_owned()))
    }

    /// Sends a command of ours with a Sync: behind an error the server passes over it, and would never answer a simple query.
    fn command(&self, text: &str) -> Result<Reply> {
        self.ask_ending(Ends::of(text), encode::COMMAND, Deadline::after(self.timeout), |encoder| {
            encoder.command(text)?;
            encoder.sync();
            Ok(())
        })
    }

    /// In a transaction block: it must be there, or what comes next would run without it. BEGIN goes with the first request, which
    /// may have failed before BEGIN was executed, and may not be answered yet.
    pub(crate) fn stay_in_block(&self, deadline: Deadline) -> Result<()> {
        // What was sent along is under the same Sync as what comes next: if it fails, that is passed over.
        let lost = || {
            self.link.with_block(|block, status| {
                block.has_begun() && block.count_later() == 0 && status == Status::Idle
            })
        };
        if lost() != Some(true) {
            return Ok(());
        }
        self.settle(deadline)?;
        if lost() != Some(true) {
            return Ok(());
        }
        let over = self.link.with_block(|block, _| block.over());
        Err(over.unwrap_or_else(|| Error::usage("the transaction is over")))
    }

    /// A statement in a transaction must not have ended it.
    pub(super) fn refuse_ended(&self, reply: &Reply, text: &str, script: Option<usize>) -> Result<()> {
        if !self.link.is_in_block() {
            return Ok(());
        }
        match block::ended_by(&reply.bytes, reply.status == Status::Idle, text, script) {
            Some(how) => {
                Err(self.link.with_block(|block, _| block.end(how)).unwrap_or_else(|| Error::usage(how)))
            }
            None => Ok(()),
        }
    }

    /// Begins a transaction block with the next request.
    pub(crate) fn open_block(&self, terms: Terms) {
        self.link.open_block(Block::new(terms));
    }

    /// What comes next is outside of the block; what it was.
    pub(crate) fn close_block(&self) -> Option<Block> {
        self.link.close_block()
    }

    /// Waits for what was sent along, and undoes what was left to the next request by a panic.
    pub(crate) fn catch_up(&self) -> Result<()> {
        self.flush()?;
        self.undo(Deadline::NEVER).map_err(|error| {
            // What failed before the savepoint is why there is none.
            let first = self.link.with_block(|block, _| block.failure().map(Error::duplicate));
            first.flatten().unwrap_or(error)
        })
    }

    /// Tells the server what a savepoint that failed has undone, so that what is open outside of it can go on.
    pub(crate) fn undo(&self, deadline: Deadline) -> Result<()> {
        match self.link.with_block(|block, _| block.take_undo()).flatten() {
            Some(undo) => self.simple(&undo, deadline).map(drop),
            None => Ok(()),
        }
    }

    /// An error if it has died: its status is that of its last day.
    pub(crate) fn refuse_dead(&self) -> Result<()> {
        match self.link.death() {
            Some(why) => Err(Error::closed("the connection is closed", Outcome::NotSent).caused_by(why)),
            None => Ok(()),
        }
    }

    /// Whether it has died.
    pub(crate) fn is_lost(&self) -> bool {
        self.link.death().is_some()
    }

    /// Whether replies are outstanding.
    pub(crate) fn is_waiting(&self) -> bool {
        self.link.is_waiting()
    }

    /// Whether COMMIT would be a rollback now.
    pub(crate) fn has_failed(&self) -> bool {
        self.is_lost()
            || self.link.with_block(|block, status| match status {
                Status::Failed => true,
                Status::Idle => block.has_begun(),
                Status::Transaction => block.ended().is_some(),
            }) == Some(true)
    }

    /// The number of the transaction under way, if it was wanted and is known.
    pub(crate) fn number(&self) -> Option<Number> {
        let id = self.link.with_block(|block, _| block.number().cloned()).flatten()?;
        Some(Number { id, home: self.link.home()?.clone() })
    }

    /// Looks at the block under way.
    pub(crate) fn with_block<R>(&self, with: impl FnOnce(&mut Block, Status) -> R) -> Option<R> {
        self.link.with_block(with)
    }

    /// A statement of this session has failed: whether COMMIT would be a rollback now, the transaction remembers why.
    #[cold]
    pub(crate) fn note(&self, error: Error) -> Error {
        let dead = self.link.is_in_block() && self.link.is_doomed();
        if let Some(query) = error.query()
            && error.is_timeout()
            && !dead
        {
            self.give_up(query);
        }
        let may_have_ended = error.outcome() == Outcome::Unknown
            && error.query().is_some_and(|query| maypole_sql::ends_transactions(&query.sql));
        let noted = self.link.with_block(|block, status| {
            let within = block.within();
            if may_have_ended {
                block.end_unseen(&error);
            }
            // What was never sent is not to blame, whatever the status.
            let failed = status == Status::Failed || status == Status::Idle && block.has_begun();
            if dead || failed && error.db_error().is_some() {
                block.fail(&error);
            }
            (within, block.failure().map(Error::duplicate))
        });
        match noted {
            // Something that was sent along before is to blame.
            Some((_, Some(first))) if error.is_passed_over() => first,
            // "current transaction is aborted": why it is.
            Some((within, Some(first)))
                if error.sqlstate() == Some("25P02") && first.db_error() != error.db_error() =>
            {
                error.in_transaction(within).caused_by(first)
            }
            Some((within, _)) => error.in_transaction(within),
            None => error,
        }
    }

    /// Nobody waits for the reply of this query any more, and it may fail yet.
    pub(crate) fn give_up(&self, query: &QueryContext) {
        if self.link.is_in_block() {
            self.link.give_up(query);
        }
    }
}
