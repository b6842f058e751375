//! Who waits for which reply. Uses: coro, deadline, error, lane, promise, protocol.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Landing, Seat};
use super::link::Link;
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{QueryContext, Result};
use crate::promise::Promise;
use crate::protocol::session::Reply;

/// What a caller files with its request.
pub(super) struct Ticket {
    pub(super) asker: Asker,
    pub(super) deadline: Deadline,
    /// How long its reply may take once all before it have come: it was asked for ahead.
    limit: Option<Duration>,
    /// Whether it ends a transaction.
    pub(super) ends: Ends,
    /// It is to find a session that may not write.
    pub(super) reads: bool,
    /// Its deadline has passed, and the server was told to stop it.
    pub(super) stopped: bool,
    /// For an errand whose caller has given up.
    pub(super) drain: Option<Drain>,
    /// What it was, once its caller has given up.
    pub(super) query: Option<Box<QueryContext>>,
    /// It is what has made the transaction fail.
    pub(super) failed: Cell<bool>,
}

/// Whether a request ends a transaction: what may be done to it by a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It does not: it may be stopped.
    Nothing,
    /// Only that: it would have to be sent again.
    Rollback,
    /// COMMIT or PREPARE TRANSACTION, alone or among others. Stopped half way it may be durable here and not on the standby.
    Commit,
}

impl Ends {
    /// Of what is sent by the simple protocol, or by a command of ours.
    pub(super) fn of(text: &str) -> Ends {
        match text {
            "ROLLBACK" => Ends::Rollback,
            text if maypole_sql::ends_transactions(text) => Ends::Commit,
            _ => Ends::Nothing,
        }
    }
}

/// How long a reply that nobody waits for may hold its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// From when on the server is told to stop.
    pub(super) stop: Deadline,
    /// The reply must have come by then.
    pub(super) end: Deadline,
}

/// Where a reply goes.
pub(super) enum Asker {
    /// It is thrown away.
    Nobody,
    /// It is that to a reset, which must not fail.
    Reset,
    /// It tells that a round trip has been made.
    Fence,
    Caller(Promise<Result<Reply>>),
    Errand(Arc<dyn Errand>),
    /// It is that to a member of a group.
    Rider(Seat),
    /// It tells the time around a member of a group.
    Clock,
    /// It is the end of a group. Whether it is the last of those that are out.
    Group {
        last: bool,
    },
}

/// A request that owns the connection it is on: when its reply is there, the connection goes back. Nobody else would
/// bring it back, so its clean-up has begun when its caller has given up.
pub(crate) trait Errand: Send + Sync {
    /// Whether its caller still waits.
    fn is_wanted(&self) -> bool;
    /// Its deadline has passed: whom to wake.
    fn expire(&self) -> Option<Waiter>;
    /// It is over. Called without locks; must not wait.
    fn finish(self: Arc<Self>, reply: Result<Reply>);
}

impl Ticket {
    pub(super) fn of(asker: Asker, deadline: Deadline) -> Ticket {
        Ticket {
            asker,
            deadline,
            limit: None,
            ends: Ends::Nothing,
            reads: false,
            stopped: false,
            drain: None,
            query: None,
            failed: Cell::new(false),
        }
    }

    /// The same for a request that may end a transaction.
    pub(super) fn that_ends(self, ends: Ends) -> Ticket {
        Ticket { ends, ..self }
    }

    /// The same for a request that is asked ahead: its time begins when it is the first.
    pub(super) fn in_its_turn(self, limit: Option<Duration>) -> Ticket {
        Ticket { limit, ..self }
    }

    /// All before it are over: its deadline, if its time begins now.
    pub(super) fn begin(&mut self) -> Deadline {
        let Some(limit) = self.limit.take() else { return Deadline::NEVER };
        self.deadline = self.deadline.min(Deadline::after(limit));
        self.deadline
    }

    /// The same for one that is to find a session that may not write.
    pub(super) fn that_reads(self, reads: bool) -> Ticket {
        Ticket { reads, ..self }
    }

    pub(super) fn nobodys() -> Ticket {
        Ticket::of(Asker::Nobody, Deadline::NEVER)
    }

    /// Whether it belongs to a round trip of the fence.
    pub(super) fn is_fence(&self) -> bool {
        matches!(self.asker, Asker::Fence)
    }

    pub(super) fn is_wanted(&self) -> bool {
        match &self.asker {
            Asker::Nobody | Asker::Reset | Asker::Fence | Asker::Group { .. } => false,
            Asker::Clock => true,
            Asker::Caller(promise) => promise.is_wanted(),
            Asker::Errand(errand) => errand.is_wanted(),
            Asker::Rider(seat) => seat.rider.is_wanted(),
        }
    }

    pub(super) fn expire(&self) -> Option<Waiter> {
        match &self.asker {
            Asker::Nobody | Asker::Reset | Asker::Fence | Asker::Clock | Asker::Group { .. } => None,
            Asker::Caller(promise) => promise.expire(),
            Asker::Errand(errand) => errand.expire(),
            Asker::Rider(seat) => seat.rider.expire(),
        }
    }
}

/// What is to be done for those whose requests are over, once no lock is held.
#[derive(Default)]
pub(super) struct Over {
    woken: Vec<Waiter>,
    errands: Vec<(Arc<dyn Errand>, Result<Reply>)>,
    riders: Vec<(Seat, Landing)>,
    /// A group is back as a whole.
    pub(super) landed: bool,
}

impl Over {
    pub(super) fn add(&mut self, asker: Asker, reply: Result<Reply>) {
        match asker {
            Asker::Nobody | Asker::Reset | Asker::Fence | Asker::Clock | Asker::Group { .. } => {}
            Asker::Rider(seat) => {
                let landing = match reply {
                    Ok(reply) => Landing::of(reply),
                    Err(error) => Landing::Lost(error),
                };
                self.riders.push((seat, landing));
            }
            Asker::Caller(promise) => self.woken.extend(promise.keep(reply)),
            Asker::Errand(errand) => self.errands.push((errand, reply)),
        }
    }

    /// What came of a member of a group.
    pub(super) fn land(&mut self, seat: Seat, landing: Landing) {
        self.riders.push((seat, landing));
    }

    /// What came of the members of groups is decided, and not told yet. `link` is what answered, `None` if nothing did.
    pub(super) fn settle(&mut self, link: Option<&Arc<Link>>) {
        let waiters = self.riders.drain(..).filter_map(|(seat, landing)| seat.rider.land(landing, link));
        self.woken.extend(waiters);
    }

    /// Errands first: they make the next request ready.
    pub(super) fn tell(&mut self) {
        self.settle(None);
        self.errands.drain(..).for_each(|(errand, reply)| errand.finish(reply));
        self.woken.drain(..).for_each(|waiter| waiter.wake());
    }
}
