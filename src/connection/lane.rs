//! A session as a lane: selects of many coroutines in one group, with one Sync.
//! Uses: coro, deadline, error, introduce, keeper, link, news, pace, plan, protocol, reset, statement, ticket.
//!
//! Strangers share a transaction here for as long as their group takes, so the session is told what it may do before the
//! first group, and told otherwise before the next lease uses it. Both travel in front of the request, as a reset does, and
//! like it they are transactions: what comes behind one that has failed does not run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use smallvec::SmallVec;

use super::link::{Fitness, Link, State};
use super::news::News;
use super::plan::Plan;
use super::statement::Statements;
use super::ticket::{Asker, Ends, Over, Ticket};
use super::{Introduced, introduce};
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome};
use crate::keeper;
use crate::protocol::decode::{self, Messages};
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{End, Exchange, Reply, Status, Step};

/// A select that travels in a group.
pub(crate) trait Rider: Send + Sync {
    fn plan(&self) -> &Arc<Plan>;
    /// Bind and Execute.
    fn request(&self) -> &[u8];
    /// Whether the server's clock is asked before and behind it.
    fn is_measured(&self) -> bool;
    /// How long its reply may take.
    fn limit(&self) -> Option<Duration>;
    /// Whether its caller still waits.
    fn is_wanted(&self) -> bool;
    /// Its deadline has passed: whom to wake.
    fn expire(&self) -> Option<Waiter>;
    /// It is over: whom to wake. `link` is the session that has answered. Called without locks; must not wait.
    fn land(self: Arc<Self>, landing: Landing, link: Option<&Arc<Link>>) -> Option<Waiter>;
}

/// What came of a member of a group.
pub(crate) enum Landing {
    Reply(Reply),
    /// One before it has failed, and the server passed it over: it was not executed.
    PassedOver,
    /// The session makes something else of its statement than others.
    Misfit,
    /// The session has ended; the outcome tells whether it may have been executed.
    Lost(Error),
}

impl Landing {
    pub(super) fn of(reply: Reply) -> Landing {
        match reply.end {
            End::Skipped => Landing::PassedOver,
            End::Failed => match farewell(&reply) {
                Some(error) => Landing::Lost(error),
                None => Landing::Reply(reply),
            },
            End::Complete | End::Copy => Landing::Reply(reply),
        }
    }
}

/// Why the server ended the session, if that is what the reply says.
fn farewell(reply: &Reply) -> Option<Error> {
    let mut errors = Messages::new(&reply.bytes).filter(|(tag, _)| *tag == b'E');
    let (_, body) = errors.find(|(_, body)| decode::is_fatal(&reply.bytes[body.clone()]))?;
    let error = Error::closed("the server ended the session", Outcome::Unknown);
    Some(error.caused_by(Error::database(decode::error_fields(&reply.bytes[body]))))
}

/// What is done about what leases have left in a session before it is a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traces {
    /// It is reset if something was seen that leaves traces.
    Reset,
    /// It is reset whatever was done.
    Assumed,
    /// As a reset would undo what was prepared for all, it is closed if something was seen that leaves traces.
    Spoil,
}

/// A member of a group that is out.
pub(super) struct Seat {
    pub(super) rider: Arc<dyn Rider>,
    knows: Knows,
}

/// What the session knew of a member's statement when it was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    Already,
    /// This member introduces it.
    Introduced,
    /// One before it in the same group did.
    Trusts,
}

impl Seat {
    /// What came of it, now that its reply is there.
    pub(super) fn landing(&self, reply: Reply, statements: &mut Statements, lane: &mut Lane) -> Landing {
        let plan = self.rider.plan();
        match self.knows {
            Knows::Introduced if reply.end == End::Skipped => {
                statements.passed_over(plan.number);
                Landing::PassedOver
            }
            _ if reply.end == End::Skipped => Landing::PassedOver,
            Knows::Already => Landing::of(reply),
            Knows::Introduced => match introduce::told(plan, &reply) {
                Introduced::AsPlanned => {
                    statements.meet(plan.number, None);
                    lane.introduced(plan.number);
                    Landing::of(reply)
                }
                Introduced::Refused => Landing::of(reply),
                Introduced::Otherwise => Landing::Misfit,
            },
            Knows::Trusts if lane.has_introduced(plan.number) => Landing::of(reply),
            Knows::Trusts => Landing::Misfit,
        }
    }
}

/// What a session is as a lane.
#[derive(Default)]
pub(super) struct Lane {
    /// What it is once all that was sent has been done.
    role: Role,
    /// So much of what is sent in front of a group or a lease is under way.
    preparing: usize,
    flight: Option<Flight>,
    contradiction: Option<&'static str>,
}

/// A group that is out.
struct Flight {
    departed: Instant,
    /// Its statements, or some of them.
    plans: SmallVec<[Arc<Plan>; 2]>,
    /// The server's clock before and behind it, in microseconds.
    clock: SmallVec<[i64; 2]>,
    /// The numbers of the plans that its members have introduced as they were planned, even if the session keeps them no more.
    introduced: SmallVec<[usize; 4]>,
}

/// So many different statements of one group are remembered.
const DISTINCT: usize = 8;
/// What was in a group that took longer is measured again.
const SUSPICIOUS: Duration = Duration::from_millis(20);
const CLOCK: &str = "SELECT pg_catalog.clock_timestamp()";

/// What a session may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Whatever its borrower wants.
    #[default]
    Lease,
    /// A select that has it for itself: it may not write.
    Reader,
    /// Groups of selects: moreover none holds up others for long.
    Lane,
}

/// What a change of role is made of: it is a transaction, and no answer to it is waited for, so what was there before is kept in
/// settings of the session's own. The access mode is empty there if it is what would be there after a RESET, and that is done then, so that
/// a change of the server's configuration is seen; if not, it is the other one.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; ";
const COMMIT: &str = "COMMIT";
const KEEP: &str = "SELECT pg_catalog.set_config('maypole.read_only', CASE pg_catalog.current_setting('default_transaction_read_only') \
    WHEN pg_catalog.set_config('default_transaction_read_only', NULL, false) THEN '' \
    ELSE CASE pg_catalog.current_setting('default_transaction_read_only') WHEN 'on' THEN 'off' ELSE 'on' END END, false), \
    pg_catalog.set_config('maypole.isolation', pg_catalog.current_setting('default_transaction_isolation'), false), \
    pg_catalog.set_config('maypole.statement_timeout', pg_catalog.current_setting('statement_timeout'), false), \
    pg_catalog.set_config('maypole.lock_timeout', pg_catalog.current_setting('lock_timeout'), false); ";
/// With SET, whose tag tells [`Standing`](super::standing::Standing) that it is no change of the server's.
const ONLY_READ: &str = "SET default_transaction_read_only = on; ";
const MAY_WRITE: &str = "SELECT pg_catalog.set_config('default_transaction_read_only', \
    nullif(pg_catalog.current_setting('maypole.read_only'), ''), false); ";
/// No select is to hold up others for longer, and one that waits for a lock gives up soon: others of its group may hold what the
/// holder of that lock waits for, and then all would wait for the server to find the deadlock, for 1 s by default. What the session
/// itself limits to less stays.
const LIMITED: &str = "SET default_transaction_isolation = 'read committed'; \
    SELECT pg_catalog.set_config('statement_timeout', CASE WHEN pg_catalog.current_setting('statement_timeout')::pg_catalog.interval \
    BETWEEN '1 ms' AND '1 s' THEN pg_catalog.current_setting('statement_timeout') ELSE '1s' END, false), \
    pg_catalog.set_config('lock_timeout', CASE WHEN pg_catalog.current_setting('lock_timeout')::pg_catalog.interval \
    BETWEEN '1 ms' AND '20 ms' THEN pg_catalog.current_setting('lock_timeout') ELSE '20ms' END, false); ";
const UNLIMITED: &str = "SELECT pg_catalog.set_config('default_transaction_isolation', pg_catalog.current_setting('maypole.isolation'), false), \
    pg_catalog.set_config('statement_timeout', pg_catalog.current_setting('maypole.statement_timeout'), false), \
    pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('maypole.lock_timeout'), false); ";

impl Role {
    /// What makes a session that is this that.
    fn change(self, to: Role) -> &'static [&'static str] {
        match (self, to) {
            (Role::Lease, Role::Reader) => &[BEGIN, KEEP, ONLY_READ, COMMIT],
            (Role::Lease, Role::Lane) => &[BEGIN, KEEP, ONLY_READ, LIMITED, COMMIT],
            (Role::Reader, Role::Lane) => &[BEGIN, LIMITED, COMMIT],
            (Role::Reader, Role::Lease) => &[BEGIN, MAY_WRITE, COMMIT],
            (Role::Lane, Role::Reader) => &[BEGIN, UNLIMITED, COMMIT],
            (Role::Lane, Role::Lease) => &[BEGIN, MAY_WRITE, UNLIMITED, COMMIT],
            (Role::Lease, Role::Lease) | (Role::Reader, Role::Reader) | (Role::Lane, Role::Lane) => &[],
        }
    }
}

impl Lane {
    /// Whether its session is not what its borrowers have made of it.
    pub(super) fn is_prepared(&self) -> bool {
        self.role != Role::Lease
    }

    /// What was sent in front has been done.
    pub(super) fn prepared(&mut self) {
        self.preparing = self.preparing.saturating_sub(1);
    }

    /// The server has told the time.
    pub(super) fn clock(&mut self, reply: &Reply) {
        let row = Messages::new(&reply.bytes).find(|(tag, _)| *tag == b'D');
        // One value: two bytes that count it, four for its length, and it.
        let value = row.and_then(|(_, body)| reply.bytes[body].last_chunk::<8>().copied());
        if let (Some(flight), Some(value)) = (&mut self.flight, value) {
            flight.clock.push(i64::from_be_bytes(value));
        }
    }

    fn introduced(&mut self, number: usize) {
        if let Some(flight) = &mut self.flight {
            flight.introduced.push(number);
        }
    }

    fn has_introduced(&self, number: usize) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.introduced.contains(&number))
    }

    /// A setting has changed. A select that changes one disarms the session.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let harmless = match name {
            "in_hot_standby" => true,
            "default_transaction_read_only" if value == "on" => true,
            _ => self.preparing > 0,
        };
        if self.is_prepared() && !harmless {
            self.contradiction = Some("a select has changed a setting of the session, which others share");
        }
    }

    /// The group is back.
    pub(super) fn landed(&mut self, reply: &Reply) {
        if reply.status != Status::Idle {
            self.contradiction =
                Some("a select that shares its session with others has left it in a transaction");
        }
    }

    /// Why the session is not to be used any more, if so.
    pub(super) fn contradiction(&self) -> Option<Error> {
        self.contradiction.map(|why| Error::closed(why, Outcome::NotSent))
    }

    /// What the last group has taught.
    fn learn(&mut self, now: Instant) {
        let Some(Flight { departed, plans, clock, .. }) = self.flight.take() else { return };
        if let ([before, after], [plan]) = (&clock[..], &plans[..]) {
            plan.pace.took(u32::try_from(after - before).unwrap_or(0));
        } else if now - departed > SUSPICIOUS {
            plans.iter().for_each(|plan| plan.pace.doubt());
        }
    }
}

impl Link {
    /// Has the driver tell that it is [ready](News::Ready) for a group. Does not wait.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.wake();
    }

    /// For the driver: it has come for a group, or its last group is back.
    pub(super) fn board(self: &Arc<Self>) {
        if let Some(observer) = self.observer.get() {
            observer(News::Ready(self));
        }
    }

    /// Whether the server tells what a lane relies on: PostgreSQL 14 or later, and no pooler that hides it.
    pub(crate) fn can_be_lane(&self) -> bool {
        self.entered.default_transaction_read_only.is_some()
    }

    /// Learns from the group that is back. Then the next may be sent.
    pub(crate) fn learn(&self, now: Instant) {
        self.state.lock().lane.learn(now);
    }

    /// For the driver: queues selects in groups of so many, which it sends at once. If it does not, because the session can't be a lane or has ended, no
    /// member is on its way.
    pub(crate) fn depart<R: Rider + 'static>(
        &self,
        riders: Vec<Arc<R>>,
        largest: usize,
        traces: Traces,
        now: Instant,
    ) -> bool {
        let mut over = Over::default();
        let mut deadline = Deadline::NEVER;
        let (covered, spoilt) = {
            let mut state = self.state.lock();
            let spoilt = state.unfit(traces);
            if !self.can_be_lane() || spoilt.is_some() {
                for rider in riders {
                    let landing = if spoilt.is_some() { Landing::PassedOver } else { Landing::Misfit };
                    over.land(Seat { rider, knows: Knows::Already }, landing);
                }
            } else {
                let mut group = Group { flight: Flight::new(now), introduced: SmallVec::new() };
                state.become_lane(traces == Traces::Assumed);
                for (count, rider) in riders.into_iter().enumerate() {
                    if count > 0 && count % largest == 0 {
                        state.end_group(false);
                    }
                    let limit = Deadline::counted(rider.limit(), now);
                    deadline = deadline.min(limit);
                    let measured = rider.is_measured();
                    if measured {
                        state.ask_clock();
                    }
                    group.seat(&mut state, rider, limit, self.limit(), &mut over);
                    if measured {
                        state.ask_clock();
                    }
                }
                state.end_group(true);
                state.lane.flight = Some(group.flight);
            }
            (keeper::covers(deadline), spoilt)
        };
        if !covered {
            keeper::nudge(deadline);
        }
        over.tell();
        let departed = spoilt.is_none() && self.can_be_lane();
        if let Some(why) = spoilt {
            self.kill(Error::closed(why, Outcome::NotSent));
        }
        departed
    }
}

/// A group that is being written.
struct Group {
    flight: Flight,
    /// The numbers of the plans that it introduces.
    introduced: SmallVec<[usize; 4]>,
}

impl Flight {
    fn new(now: Instant) -> Flight {
        Flight { departed: now, plans: SmallVec::new(), clock: SmallVec::new(), introduced: SmallVec::new() }
    }
}

impl Group {
    fn seat<R: Rider + 'static>(
        &mut self,
        state: &mut State,
        rider: Arc<R>,
        deadline: Deadline,
        limit: usize,
        over: &mut Over,
    ) {
        if !rider.is_wanted() {
            return;
        }
        let plan = rider.plan();
        if self.flight.plans.len() < DISTINCT
            && !self.flight.plans.iter().any(|other| Arc::ptr_eq(other, plan))
        {
            state.asked.plan(plan);
            self.flight.plans.push(plan.clone());
        }
        // Unless another has made it leave since.
        if self.introduced.contains(&plan.number) && state.statements.is_greeted(plan.number) {
            return self.send(state, rider, Knows::Trusts, deadline);
        }
        let mut introduction = match state.statements.greet(plan) {
            Ok(None) => return self.send(state, rider, Knows::Already, deadline),
            Ok(Some(_)) => return over.land(Seat { rider, knows: Knows::Already }, Landing::Misfit),
            Err(introduction) => introduction,
        };
        state.statements.close_others_later(&mut introduction, &plan.name);
        let mut bytes = BytesMut::with_capacity(plan.sql.len() + rider.request().len() + 64);
        let mut steps: SmallVec<[Step; 8]> = SmallVec::new();
        if introduce::write(plan, &introduction.closes, &mut bytes, &mut steps, limit).is_err() {
            state.statements.close_later(introduction);
            return over.land(Seat { rider, knows: Knows::Already }, Landing::Misfit);
        }
        if !plan.name.is_empty() {
            self.introduced.push(plan.number);
        }
        steps.extend_from_slice(&encode::STATEMENT_FIRST);
        bytes.extend_from_slice(rider.request());
        let seat = Seat { rider, knows: Knows::Introduced };
        let ticket = Ticket::of(Asker::Rider(seat), deadline).that_ends(Ends::Commit);
        let _ = state.session.submit(&bytes, Exchange::new(&steps), ticket);
    }

    fn send<R: Rider + 'static>(&self, state: &mut State, rider: Arc<R>, knows: Knows, deadline: Deadline) {
        const SEAT: Exchange = Exchange::new(&encode::STATEMENT_FIRST);
        // No cancel is aimed at it: it would hit a stranger.
        let request = Arc::clone(&rider);
        let ticket = Ticket::of(Asker::Rider(Seat { rider, knows }), deadline).that_ends(Ends::Commit);
        let _ = state.session.submit(request.request(), SEAT, ticket);
    }
}

impl State {
    /// Why nobody is to travel here any more, if so.
    fn unfit(&self, traces: Traces) -> Option<&'static str> {
        if self.fitness() != Fitness::Clean {
            return Some("its session is in doubt");
        }
        let spoilt = traces == Traces::Spoil && self.has_traces();
        spoilt.then_some("a lease has changed what after_connect had prepared for declared selects")
    }

    /// The next request is to find a lane: clean of what a lease has left behind, and without a way to do harm.
    fn become_lane(&mut self, lazy: bool) {
        self.order_reset(lazy);
        self.prepare(Role::Lane);
        let names = self.statements.take_closes();
        if names.is_empty() {
            return;
        }
        // With a Sync of their own: in a group they might be passed over.
        let mut bytes = BytesMut::new();
        let mut steps: SmallVec<[Step; 8]> = SmallVec::new();
        let mut encoder = Encoder::new(&mut bytes, usize::MAX);
        for name in &names {
            // A name of ours: it cannot fail.
            let _ = encoder.close_statement(name);
            steps.push(Step::Close);
        }
        encoder.sync();
        drop(encoder);
        steps.push(Step::Sync);
        let _ = self.session.submit(&bytes, Exchange::new(&steps), Ticket::nobodys());
    }

    /// What comes behind finds a session of this role.
    pub(super) fn take_role(&mut self, role: Role) {
        let before = std::mem::replace(&mut self.lane.role, role);
        if before == Role::Lease && role != Role::Lease {
            self.standing.only_reads();
        }
        let change = before.change(role);
        if !change.is_empty() {
            self.send_in_front(&change.concat());
        }
    }

    /// The Sync behind the members of a group.
    fn end_group(&mut self, last: bool) {
        let ticket = Ticket::of(Asker::Group { last }, Deadline::NEVER).that_ends(Ends::Commit);
        let _ = self.session.submit(encode::SYNC_BYTES, encode::SYNC, ticket);
    }

    fn ask_clock(&mut self) {
        let mut bytes = BytesMut::with_capacity(96);
        // A constant text: it cannot fail.
        let _ = Encoder::new(&mut bytes, usize::MAX).command(CLOCK);
        let ticket = Ticket::of(Asker::Clock, Deadline::NEVER).that_ends(Ends::Commit);
        const ASK: Exchange = Exchange::new(&[Step::Parse, Step::Bind, Step::Execute]);
        let _ = self.session.submit(&bytes, ASK, ticket);
    }

    /// What changes the session for those who come behind it.
    pub(super) fn send_in_front(&mut self, text: &str) {
        let mut bytes = BytesMut::with_capacity(text.len() + 8);
        // A constant text: it cannot fail.
        let _ = Encoder::new(&mut bytes, usize::MAX).query(text);
        // No cancel is aimed at it: the session would be lost for nothing.
        let ticket = Ticket::of(Asker::Reset, Deadline::NEVER).that_ends(Ends::Commit);
        self.lane.preparing += 1;
        let _ = self.session.submit(&bytes, encode::SIMPLE, ticket);
    }
}
