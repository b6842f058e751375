//! How a session is told of a plan: in the exchange that uses it first. Uses: block, deadline, error, link, plan, promise, protocol, statement, ticket.

use std::sync::Arc;

use bytes::BytesMut;
use smallvec::SmallVec;

use super::Stale;
use super::block::Commands;
use super::link::Link;
use super::plan::Plan;
use super::statement::Statement;
use super::ticket::{Asker, Errand, Ticket};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::promise::{Claim, promise};
use crate::protocol::decode::Messages;
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{Exchange, Reply, Step};

/// What a session knows of a plan when a request that uses it is sent.
pub(crate) enum Known {
    /// Nothing: it is introduced in the same exchange.
    Not,
    AsPlanned,
    /// It was told this instead.
    Otherwise(Arc<Statement>),
}

/// What came of introducing a plan to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Introduced {
    AsPlanned,
    /// It was parsed, and has other parameters or columns here.
    Otherwise,
    /// It was not parsed, or not described to the end: nothing was executed.
    Refused,
}

impl Link {
    /// Sends an errand's request. `sending` hears what the session knows of the plan before it is sent, because the answer
    /// may be there before this returns.
    pub(crate) fn send(
        &self,
        plan: &Plan,
        request: &[u8],
        deadline: Deadline,
        reads: bool,
        errand: Arc<dyn Errand>,
        sending: impl FnOnce(Known),
    ) -> Result<()> {
        let reads = reads && self.can_be_lane();
        let ticket = Ticket::of(Asker::Errand(errand), deadline).that_ends(plan.ends).that_reads(reads);
        self.introduce(plan, request, &encode::STATEMENT, false, sending, ticket)
    }

    /// The same for a caller that waits itself. `may_write` if that is not known to be otherwise.
    pub(super) fn submit_for(
        &self,
        plan: &Plan,
        request: &[u8],
        steps: &[Step],
        may_write: bool,
        reads: bool,
        deadline: Deadline,
    ) -> Result<(Known, Claim<Result<Reply>>)> {
        let (slot, claim) = promise();
        let ticket = Ticket::of(Asker::Caller(slot), deadline).that_ends(plan.ends).that_reads(reads);
        let mut known = Known::Not;
        self.introduce(plan, request, steps, may_write, |what| known = what, ticket)?;
        Ok((known, claim))
    }

    /// Sends a request that uses a plan. If this session has not parsed it, Parse and Describe go before: then the answer
    /// must be looked at with [`introduced`](Link::introduced).
    fn introduce(
        &self,
        plan: &Plan,
        request: &[u8],
        steps: &[Step],
        may_write: bool,
        sending: impl FnOnce(Known),
        ticket: Ticket,
    ) -> Result<()> {
        let mut introduction = match self.with_statements_for(plan, |statements| statements.greet(plan)) {
            Ok(None) => {
                sending(Known::AsPlanned);
                return self.post_in_block(request, Exchange::new(steps), may_write, ticket);
            }
            Ok(Some(own)) => {
                sending(Known::Otherwise(own));
                return self.post_in_block(request, Exchange::new(steps), may_write, ticket);
            }
            Err(introduction) => introduction,
        };
        if self.with_block(|block, _| block.may_pass_over()) == Some(true) {
            // If one of those before it fails the server passes over all of it: what is not in the way is closed another time.
            self.with_statements(|statements| statements.close_others_later(&mut introduction, &plan.name));
        }
        sending(Known::Not);
        let mut bytes = BytesMut::with_capacity(plan.sql.len() + request.len() + 64);
        let mut all: SmallVec<[Step; 8]> = SmallVec::new();
        if let Err(error) = write(plan, &introduction.closes, &mut bytes, &mut all, self.limit()) {
            self.with_statements(|statements| statements.close_later(introduction));
            return Err(error);
        }
        all.extend_from_slice(steps);
        bytes.extend_from_slice(request);
        self.post_in_block(&bytes, Exchange::new(&all), may_write, ticket)
    }

    /// Sends Bind and Execute of a statement along with what comes next: no Sync, and the driver is left alone. How long its
    /// answer may take is for what comes next to say.
    pub(super) fn submit_later(&self, request: &[u8]) -> Result<Claim<Result<Reply>>> {
        let (slot, claim) = promise();
        let ticket = Ticket::of(Asker::Caller(slot), Deadline::NEVER);
        let exchange = Exchange::new(&encode::STATEMENT_FIRST);
        let commands: Option<Result<(Commands, bool)>> = self.with_block(|block, _| block.accompany(false));
        let (before, _) = commands.transpose()?.unwrap_or_default();
        if before.is_empty() {
            self.post_quietly(request, exchange, ticket)?;
        } else {
            let bytes = with_commands(&before, request, None);
            self.post_quietly(&bytes, exchange.with_commands(before.len(), false), ticket)?;
        }
        Ok(claim)
    }

    /// Posts a request with the commands that the transaction block sends along.
    fn post_in_block(
        &self,
        request: &[u8],
        exchange: Exchange,
        may_write: bool,
        ticket: Ticket,
    ) -> Result<()> {
        let commands: Option<Result<(Commands, bool)>> =
            self.with_block(|block, _| block.accompany(may_write));
        let (before, behind) = commands.transpose()?.unwrap_or_default();
        if before.is_empty() && !behind {
            return self.post(request, exchange, ticket);
        }
        let bytes = with_commands(&before, request, behind.then(|| self.ask_number()));
        self.post(&bytes, exchange.with_commands(before.len(), behind), ticket)
    }

    /// What came of an introduction. If it was parsed and is what the plan says, the session knows it from now on, whatever
    /// became of the rest.
    pub(crate) fn introduced(&self, plan: &Plan, reply: &Reply) -> Introduced {
        let told = told(plan, reply);
        if told == Introduced::AsPlanned {
            self.with_statements(|statements| statements.meet(plan.number, None));
        }
        told
    }

    /// This session has parsed the plan; `own` is what it was told, where that is not what the plan says.
    pub(super) fn meet(&self, plan: &Plan, own: Option<Arc<Statement>>) {
        self.with_statements(|statements| statements.meet(plan.number, own));
    }

    /// Whether this session has parsed it, and what it was told, where that is not what the plan says.
    pub(super) fn met(&self, plan: &Plan) -> Option<Option<Arc<Statement>>> {
        self.with_statements_for(plan, |statements| statements.met(plan.number))
    }

    /// What this session knows of a plan is not so, or may not be.
    pub(crate) fn forget(&self, plan: &Plan, stale: Stale) {
        self.with_statements(|statements| match stale {
            Stale::Session => statements.forget_all(),
            Stale::Plan => statements.forget(plan.number),
        });
    }
}

/// What the reply to an introduction tells.
pub(super) fn told(plan: &Plan, reply: &Reply) -> Introduced {
    // Both, and in this order: the front of a reply is missing if nobody waited for it when it came.
    let mut messages = Messages::new(&reply.bytes);
    let described =
        messages.any(|(tag, _)| tag == b'1') && messages.any(|(tag, _)| matches!(tag, b'T' | b'n'));
    match described {
        // Not forgotten: it may be there, from this introduction or from one that nobody waited for.
        false => Introduced::Refused,
        true if plan.is_described_by(&reply.bytes) => Introduced::AsPlanned,
        true => Introduced::Otherwise,
    }
}

/// The messages that introduce a plan.
pub(super) fn write(
    plan: &Plan,
    closes: &[String],
    bytes: &mut BytesMut,
    steps: &mut SmallVec<[Step; 8]>,
    limit: usize,
) -> Result<()> {
    let mut encoder = Encoder::new(bytes, limit);
    closes.iter().try_for_each(|name| {
        steps.push(Step::Close);
        encoder.close_statement(name)
    })?;
    encoder.parse(&plan.name, &plan.sql, &plan.types)?;
    encoder.describe_statement(&plan.name)?;
    steps.extend([Step::Parse, Step::Describe]);
    Ok(())
}

/// A request with commands before it, and one or none behind it.
fn with_commands(before: &Commands, request: &[u8], behind: Option<&str>) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(request.len() + 256);
    let mut encoder = Encoder::new(&mut bytes, usize::MAX);
    // Texts of ours: they can't fail.
    before.iter().for_each(|command| drop(encoder.command(command)));
    match (request.strip_suffix(encode::SYNC_BYTES), behind) {
        (Some(request), Some(behind)) => {
            encoder.append(request);
            let _ = encoder.command(behind);
            encoder.sync();
        }
        _ => encoder.append(request),
    }
    drop(encoder);
    bytes
}
