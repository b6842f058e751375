//! Where what a session brings forth goes: replies to those who wait, notices to the log. Uses: block, cancel, error, fence, lane, protocol, reset, standing, statement, ticket.

use super::block::Block;
use super::cancel;
use super::fence::Fence;
use super::lane::Lane;
use super::reset::Reset;
use super::standing::{READ_ONLY, Standing};
use super::statement::Statements;
use super::ticket::{Asker, Over, Ticket};
use crate::error::Error;
use crate::protocol::decode;
use crate::protocol::session::{End, Reply, Sink, Status};

/// Takes what a feed brings forth.
pub(super) struct Filing<'f> {
    pub(super) over: &'f mut Over,
    pub(super) notices: &'f mut Notices,
    pub(super) block: &'f mut Option<Block>,
    pub(super) fence: &'f mut Fence,
    pub(super) standing: &'f mut Standing,
    pub(super) reset: &'f mut Reset,
    pub(super) lane: &'f mut Lane,
    pub(super) statements: &'f mut Statements,
    pub(super) taken: u64,
}

impl Sink<Ticket> for Filing<'_> {
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if let Asker::Reset = ticket.asker {
            self.lane.prepared();
            return self.reset.answered(&reply);
        }
        if let Some(lost) = self.reset.lost() {
            return self.over.add(ticket.asker, Err(lost));
        }
        if let Asker::Rider(seat) = ticket.asker {
            let landing = seat.landing(reply, self.statements);
            return self.over.land(seat, landing);
        }
        if let Asker::Clock = ticket.asker {
            return self.lane.clock(&reply);
        }
        if let Asker::Group { last } = ticket.asker {
            self.over.landed |= last;
            return self.lane.landed(&reply);
        }
        if let Some(block) = self.block
            && reply.end == End::Complete
            && reply.status == Status::Transaction
        {
            block.forgive();
        }
        if let Asker::Fence = ticket.asker {
            self.fence.crossed(reply.end);
        }
        let stopped = if ticket.stopped { cancel::stopped(&reply, self.block.as_ref()) } else { None };
        self.over.add(ticket.asker, stopped.map_or(Ok(reply), Err));
    }

    fn wanted(&self, ticket: &Ticket) -> bool {
        ticket.is_wanted()
    }

    fn failed(&mut self, ticket: &Ticket, body: &[u8]) {
        if let Asker::Reset = ticket.asker {
            return self.reset.refused(body);
        }
        if decode::has_code(body, READ_ONLY) {
            self.standing.refused();
        }
        // Whoever waits for it names it, when it is looked at. By then others may have failed because of it.
        if let Some(block) = self.block
            && block.failure().is_none()
        {
            ticket.failed.set(true);
            block.see_failure(Error::database(decode::error_fields(body)), ticket.query.as_deref());
        }
    }

    fn notice(&mut self, body: &[u8]) {
        self.notices.keep(body);
    }

    fn notification(&mut self, _: &[u8]) {
        // Listening has an interface of its own; on a pooled connection there is nobody to tell.
    }

    fn parameter(&mut self, body: &[u8]) {
        if let Some((name, value)) = decode::parameter_status(body) {
            self.standing.parameter(name, value);
            self.lane.parameter(name, value);
        }
    }

    fn completed(&mut self, tag: &[u8]) {
        if !self.lane.is_prepared() {
            self.reset.completed(tag);
        }
        self.standing.completed(tag, self.block.as_ref().map(Block::is_read_only));
    }

    fn ready(&mut self, status: Status) {
        self.standing.ready(status);
    }

    fn has_left(&self, start: u64) -> bool {
        start < self.taken
    }
}

/// Notices, logged once no lock is held: the logger is user code.
#[derive(Default)]
pub(super) struct Notices(Vec<crate::error::DbError>);

impl Notices {
    /// One feed keeps at most so many; a server that floods us is not worth the memory.
    const MOST: usize = 64;

    fn keep(&mut self, body: &[u8]) {
        if self.0.len() < Notices::MOST && log::log_enabled!(target: "maypole::notice", log::Level::Info) {
            self.0.push(decode::error_fields(body));
        }
    }

    pub(super) fn log(self) {
        for notice in self.0 {
            log::info!(target: "maypole::notice", "{}: {notice}", notice.severity());
        }
    }
}
