//! What keeps a cancel away from whatever comes next: the fence. Uses: deadline, link, protocol, reset, ticket.
//!
//! A CancelRequest names a session and not a statement. From the moment it is decided until its connection has ended and
//! one round trip has been made after that, nothing further is sent on the session: requests that come meanwhile are held
//! back. PostgreSQL passes the signal on before it closes the cancel connection, and forgets one that finds nothing to stop
//! when it reads the next message (`ProcessInterrupts`, `DoingCommandRead`).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::link::{Fitness, Link, State};
use super::ticket::{Asker, Ends, Over, Ticket};
use crate::deadline::Deadline;
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{End, Exchange, PassedOver, Reply};

/// How far the cancels of a session are, and whose they are.
#[derive(Default)]
pub(super) struct Fence {
    /// Counts the leases: a handle of an earlier one cancels nothing.
    epoch: u64,
    /// Cancel connections that have not ended.
    cancels: u32,
    /// One has ended, and no round trip has begun since.
    owed: bool,
    /// Round trips under way.
    crossings: u32,
    /// What came meanwhile, in order.
    held: VecDeque<Held>,
}

/// A request that waits until the fence is passed.
pub(super) struct Held {
    bytes: Bytes,
    exchange: Exchange,
    pub(super) ticket: Ticket,
}

impl Fence {
    /// Whether a cancel may still hit what is sent now.
    pub(super) fn is_up(&self) -> bool {
        self.cancels > 0 || self.owed || self.crossings > 0
    }

    /// Whether a cancel connection is open.
    pub(super) fn is_cancelling(&self) -> bool {
        self.cancels > 0
    }

    /// A cancel is decided.
    pub(super) fn begin(&mut self) {
        self.cancels += 1;
    }

    /// Its connection has ended.
    pub(super) fn ended(&mut self) {
        self.cancels = self.cancels.saturating_sub(1);
        // A round trip that began before says nothing of this one.
        self.owed = true;
    }

    /// Whether a round trip is due.
    pub(super) fn is_owed(&self) -> bool {
        self.owed && self.cancels == 0
    }

    /// It has begun.
    pub(super) fn crossing(&mut self) {
        self.owed = false;
        self.crossings += 1;
    }

    /// It is over. One that the server has passed over was none.
    pub(super) fn crossed(&mut self, end: End) {
        self.crossings = self.crossings.saturating_sub(1);
        self.owed |= end == End::Skipped;
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The lease is over: its handles cancel nothing any more.
    pub(super) fn end_epoch(&mut self) {
        self.epoch += 1;
    }

    pub(super) fn hold(&mut self, bytes: &[u8], exchange: Exchange, ticket: Ticket) {
        self.held.push_back(Held { bytes: Bytes::copy_from_slice(bytes), exchange, ticket });
    }

    /// Whether something waits to be sent.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether what waits to be sent ends without a Sync; nothing if nothing waits.
    pub(super) fn is_unsynced(&self) -> Option<bool> {
        self.held.back().map(|held| !held.exchange.is_closed())
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.held.iter().map(|held| &held.ticket)
    }

    pub(super) fn tickets_mut(&mut self) -> impl Iterator<Item = &mut Ticket> {
        self.held.iter_mut().map(|held| &mut held.ticket)
    }

    /// Gives up what waits to be sent.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = Ticket> {
        self.held.drain(..).map(|held| held.ticket)
    }
}

impl State {
    /// Begins the round trip, if one is due and the server would answer it: behind a COPY that begins it would be taken for
    /// data, so it waits for the replies that are outstanding, unless these wait for a Sync.
    pub(super) fn cross(&mut self) {
        if !self.fence.is_owed() || self.session.is_waiting() && !self.session.is_open() {
            return;
        }
        self.fence.crossing();
        let ticket = || Ticket::of(Asker::Fence, Deadline::NEVER);
        if !self.session.is_open() {
            let _ = self.session.submit(encode::SYNC_BYTES, encode::SYNC, ticket());
            return;
        }
        // A Sync would end the open portal, or what was sent along before: no portal has this name.
        let mut bytes = BytesMut::new();
        let mut encoder = Encoder::new(&mut bytes, usize::MAX);
        // A name of ours: it cannot fail.
        let _ = encoder.close_portal("maypole_fence");
        encoder.flush();
        drop(encoder);
        if let Err(PassedOver(ticket)) = self.session.submit(&bytes, encode::CLOSE_NEXT, ticket()) {
            // Behind an error only a Sync is answered, and whoever has failed is about to send one anyway.
            let _ = self.session.submit(encode::SYNC_BYTES, encode::SYNC, ticket);
        }
    }

    /// The server has answered: goes on with the fence, and sends what was held back once it is passed.
    pub(super) fn pass(&mut self, over: &mut Over) {
        self.cross();
        if self.fence.is_up() {
            return;
        }
        while let Some(Held { bytes, exchange, ticket }) = self.fence.held.pop_front() {
            // It is sent all the same: what comes behind may build on it. But nobody waits until it is done.
            self.late |= matches!(ticket.asker, Asker::Caller(_)) && !ticket.is_wanted();
            if let Err(PassedOver(ticket)) = self.send(&bytes, exchange, ticket) {
                over.add(ticket.asker, Ok(Reply::skipped(self.session.status())));
            }
        }
    }

    /// Whether no answer is outstanding but to a round trip of the fence.
    pub(super) fn is_idle(&self) -> bool {
        self.session.waiting().all(Ticket::is_fence)
    }

    /// Whether the server may be told to stop what runs. `clean_up` if nobody goes on with the session: then a ROLLBACK that
    /// waits behind may be hit too, and is sent again.
    pub(super) fn may_stop(&self, clean_up: bool) -> bool {
        let mut waiting =
            self.session.waiting().filter(|ticket| !ticket.is_fence()).map(|ticket| ticket.ends);
        !self.doomed
            && self.dead.is_none()
            && waiting.next() == Some(Ends::Nothing)
            && waiting.all(|ends| ends == Ends::Nothing || clean_up && ends == Ends::Rollback)
    }
}

impl Link {
    /// Ends the lease: the answer of [`fitness`](Link::fitness), and from now on its cancel handles do nothing.
    pub(crate) fn retire_lease(&self) -> Fitness {
        let mut state = self.state.lock();
        state.fence.end_epoch();
        state.fitness()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_up_until_a_round_trip_behind_the_last_cancel() {
        let mut fence = Fence::default();
        assert!(!fence.is_up());
        fence.begin();
        fence.begin();
        fence.ended();
        assert!(fence.is_up() && !fence.is_owed(), "another is under way");
        fence.ended();
        assert!(fence.is_owed());
        fence.crossing();
        assert!(fence.is_up() && !fence.is_owed());
        fence.crossed(End::Failed);
        assert!(!fence.is_up(), "a late 57014 is thrown away");
    }

    #[test]
    fn a_round_trip_that_began_before_a_cancel_had_ended_does_not_count() {
        let mut fence = Fence::default();
        fence.begin();
        fence.ended();
        fence.crossing();
        fence.begin();
        fence.ended();
        fence.crossed(End::Complete);
        assert!(fence.is_up() && fence.is_owed());
        fence.crossing();
        fence.crossed(End::Skipped);
        assert!(fence.is_owed(), "it was passed over");
        fence.crossing();
        fence.crossed(End::Complete);
        assert!(!fence.is_up());
    }
}
