//! What the driver, the callers and the keeper share of one connection.
//! Uses: activity, block, cancel, clean_up, config, deadline, error, fence, keeper, net, news, number, promise, protocol, reset, standing, statement, ticket, types.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use may::io::WaitIoWaker;
use parking_lot::Mutex;

use super::activity::Asked;
use super::block::Block;
use super::cancel;
use super::clean_up::CleanUp;
use super::fence::Fence;
use super::filing::{Filing, Notices};
use super::lane::Lane;
use super::news::{News, Observer};
use super::number::{self, Home};
use super::plan::Knowledge;
use super::reset::Reset;
use super::standing::Standing;
use super::statement::Statements;
use super::ticket::{Asker, Ends, Over, Ticket};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, QueryContext, Result};
use crate::keeper::{self, Sweep};
use crate::net::{Address, Socket};
use crate::promise::{Claim, promise};
use crate::protocol::authenticate::Entered;
use crate::protocol::decode;
use crate::protocol::encode;
use crate::protocol::session::{Exchange, Fatal, PassedOver, Reply, Session, Status};

/// One connection: its socket belongs to the driver, its state to whoever holds the lock for a moment.
pub(crate) struct Link {
    pub(crate) socket: Socket,
    /// Wakes the driver.
    waker: WaitIoWaker,
    pub(crate) entered: Entered,
    /// Where it was entered: a cancel has to go to the same server.
    pub(super) address: Address,
    pub(crate) knowledge: Arc<Knowledge>,
    /// How it was made, for another to the same server.
    pub(crate) config: Arc<Config>,
    /// The longest message either way, in bytes.
    limit: usize,
    pub(super) state: Mutex<State>,
    pub(super) observer: OnceLock<Observer>,
    /// Who sent the last request.
    pub(super) user: AtomicUsize,
    portals: AtomicU64,
    /// Where the numbers of its transactions are at home, once that was asked.
    home: OnceLock<Home>,
    /// Whether there is a transaction block, for those who need not look what it is like.
    in_block: AtomicBool,
    /// The driver is to take a group.
    pub(super) called: AtomicBool,
}

/// How many bytes wait for what comes next at most.
const MOST_QUIET: usize = 64 * 1024;

pub(super) struct State {
    pub(super) session: Session<Ticket>,
    pub(super) statements: Statements,
    pub(super) fence: Fence,
    /// The driver has been woken and has not looked since.
    signalled: bool,
    /// Bytes that the driver has taken to send.
    taken: u64,
    /// Say goodbye when nothing is outstanding; at the deadline go without.
    pub(super) ending: Option<Deadline>,
    /// Bring the session back to idle until then.
    pub(super) clean_up: Option<CleanUp>,
    /// A round trip that begins from now on must be complete before it is lent: the clean-up makes it.
    pub(super) owes_round_trip: bool,
    /// The driver waits for the kernel to take bytes, until then.
    pub(super) write_deadline: Deadline,
    /// The transaction block under way.
    block: Option<Block>,
    /// The server broke the protocol or said farewell: it will be dead in a moment.
    pub(super) doomed: bool,
    /// Something was sent whose time was over before.
    pub(super) late: bool,
    pub(super) dead: Option<Error>,
    pub(super) standing: Standing,
    pub(super) asked: Asked,
    pub(super) reset: Reset,
    pub(super) lane: Lane,
}

impl Link {
    pub(crate) fn new(
        address: Address,
        socket: Socket,
        entered: Entered,
        knowledge: Arc<Knowledge>,
        config: Arc<Config>,
    ) -> Arc<Link> {
        let limit = config.get_max_message_size();
        let link = Arc::new(Link {
            waker: socket.waker(),
            socket,
            address,
            knowledge,
            limit,
            state: Mutex::new(State {
                session: Session::new(limit),
                statements: Statements::new(config.get_statement_cache_capacity()),
                fence: Fence::default(),
                signalled: false,
                taken: 0,
                ending: None,
                clean_up: None,
                owes_round_trip: false,
                write_deadline: Deadline::NEVER,
                block: None,
                doomed: false,
                late: false,
                dead: None,
                standing: Standing::new(config.get_target_session_attrs(), &entered),
                asked: Asked::default(),
                reset: Reset::default(),
                lane: Lane::default(),
            }),
            observer: OnceLock::new(),
            user: AtomicUsize::new(0),
            portals: AtomicU64::new(0),
            home: OnceLock::new(),
            in_block: AtomicBool::new(false),
            called: AtomicBool::new(false),
            entered,
            config,
        });
        keeper::watch(Arc::downgrade(&(link.clone() as Arc<dyn Sweep>)));
        link
    }

    /// A name that no portal of this session has had.
    pub(super) fn new_portal(&self) -> String {
        format!("p{}", self.portals.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn status(&self) -> Status {
        self.state.lock().session.status()
    }

    /// A transaction block begins with the next request.
    pub(super) fn open_block(&self, block: Block) {
        self.state.lock().block = Some(block);
        self.in_block.store(true, Ordering::Relaxed);
    }

    /// What comes next is outside of it; what it was.
    pub(super) fn close_block(&self) -> Option<Block> {
        self.in_block.store(false, Ordering::Relaxed);
        self.state.lock().block.take()
    }

    /// Whether a block is under way. Only its owner asks, so it need not be asked under the lock.
    pub(crate) fn is_in_block(&self) -> bool {
        self.in_block.load(Ordering::Relaxed)
    }

    /// The block under way, if there is one, and the status by the server's last word.
    pub(super) fn with_block<R>(&self, with: impl FnOnce(&mut Block, Status) -> R) -> Option<R> {
        if !self.is_in_block() {
            return None;
        }
        let mut state = self.state.lock();
        let status = state.session.status();
        state.block.as_mut().map(|block| with(block, status))
    }

    /// How to ask for the number of a transaction here.
    pub(super) fn ask_number(&self) -> &'static str {
        number::ask_number(self.home.get())
    }

    /// What that was answered with.
    pub(super) fn learn_number(&self, (number, home): (Option<String>, Option<Home>)) {
        if let Some(home) = home {
            self.home.get_or_init(|| home);
        }
        self.with_block(|block, _| block.learn_number(number));
    }

    /// Where the numbers of its transactions are at home, if that was asked.
    pub(super) fn home(&self) -> Option<&Home> {
        self.home.get()
    }

    /// Whether replies are outstanding.
    pub(crate) fn is_waiting(&self) -> bool {
        let state = self.state.lock();
        state.session.is_waiting() || state.fence.is_holding()
    }

    /// Whether replies are outstanding that nobody waits for: they may change the status.
    pub(crate) fn is_unsettled(&self) -> bool {
        let state = self.state.lock();
        let mut waiting = state.session.waiting().chain(state.fence.tickets());
        waiting.any(|ticket| !ticket.is_wanted())
    }

    /// Why it died, if it has.
    pub(crate) fn death(&self) -> Option<Error> {
        self.state.lock().dead.as_ref().map(Error::duplicate)
    }

    /// Whether it has died, or will in a moment: whoever was answered last may be faster than its death.
    pub(crate) fn is_doomed(&self) -> bool {
        let state = self.state.lock();
        state.doomed || state.dead.is_some()
    }

    /// Whether it may be lent: alive, idle outside a transaction, nothing outstanding.
    pub(crate) fn fitness(&self) -> Fitness {
        self.state.lock().fitness()
    }

    pub(super) fn with_statements<R>(&self, with: impl FnOnce(&mut Statements) -> R) -> R {
        with(&mut self.state.lock().statements)
    }

    /// Queues a request and wakes the driver. The bytes are those of whole messages.
    pub(super) fn submit(
        &self,
        bytes: &[u8],
        exchange: Exchange,
        deadline: Deadline,
        ends: Ends,
    ) -> Result<Claim<Result<Reply>>> {
        let (slot, claim) = promise();
        self.post(bytes, exchange, Ticket::of(Asker::Caller(slot), deadline).that_ends(ends))?;
        Ok(claim)
    }

    /// Queues a request whose reply nobody waits for. Does not wait: may be called in `Drop`.
    pub(super) fn post_and_forget(&self, bytes: &[u8], exchange: Exchange) {
        // Dead, or passed over: there is nothing left to be done on that session.
        let _ = self.post(bytes, exchange, Ticket::nobodys());
    }

    pub(super) fn post(&self, bytes: &[u8], exchange: Exchange, ticket: Ticket) -> Result<()> {
        self.queue(bytes, exchange, ticket, true)
    }

    /// The same without waking the driver, unless much has piled up: it is sent with what comes next.
    pub(super) fn post_quietly(&self, bytes: &[u8], exchange: Exchange, ticket: Ticket) -> Result<()> {
        self.queue(bytes, exchange, ticket, false)
    }

    fn queue(&self, bytes: &[u8], exchange: Exchange, mut ticket: Ticket, now: bool) -> Result<()> {
        self.note_user(&ticket.asker);
        let mut state = self.state.lock();
        if let Some(block) = &state.block {
            ticket.deadline = ticket.deadline.min(block.deadline());
        }
        let deadline = ticket.deadline;
        if let Some(error) = &state.dead {
            let cause = error.duplicate();
            drop(state);
            return Err(Error::closed("the connection is closed", Outcome::NotSent).caused_by(cause));
        }
        let now = if state.fence.is_up() {
            // It is sent when no cancel can hit it any more.
            state.fence.hold(bytes, exchange, ticket);
            false
        } else if let Err(PassedOver(ticket)) = state.send(bytes, exchange, ticket) {
            let skipped = Reply::skipped(state.session.status());
            drop(state);
            let mut over = Over::default();
            over.add(ticket.asker, Ok(skipped));
            over.tell();
            return Ok(());
        } else {
            now || state.session.output().len() > MOST_QUIET
        };
        let asleep = now && !std::mem::replace(&mut state.signalled, true);
        let deadline = deadline.min(state.begin_turn());
        let covered = keeper::covers(deadline);
        drop(state);
        if asleep {
            self.waker.wakeup();
        }
        if !covered {
            keeper::nudge(deadline);
        }
        Ok(())
    }

    /// Asks the driver to say goodbye, at the latest at the deadline. Does not wait.
    pub(crate) fn end(&self, deadline: Deadline) {
        self.ask(deadline, |state| state.ending = Some(deadline));
    }

    /// Asks something of the driver. Does not wait.
    pub(super) fn ask(&self, deadline: Deadline, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.signalled = true;
        let covered = keeper::covers(deadline);
        drop(state);
        self.waker.wakeup();
        if !covered {
            keeper::nudge(deadline);
        }
    }

    /// Ends it at once, without a goodbye: whoever waits gets the error. Does not wait.
    pub(crate) fn kill(&self, error: Error) {
        let taken = self.state.lock().taken;
        self.die(error, taken);
        self.wake();
    }

    /// Makes the driver look again.
    pub(super) fn wake(&self) {
        self.waker.wakeup();
    }

    /// The caller has just stopped waiting for the reply of this query: if it fails, nobody else knows which it was.
    pub(super) fn give_up(&self, query: &QueryContext) {
        let mut state = self.state.lock();
        let State { session, block, fence, .. } = &mut *state;
        let given_up = |ticket: &&mut Ticket| {
            matches!(ticket.asker, Asker::Caller(_)) && !ticket.is_wanted() && ticket.query.is_none()
        };
        let mut waiting = session.waiting_mut().chain(fence.tickets_mut());
        let Some(ticket) = waiting.find(given_up) else { return };
        ticket.query = Some(Box::new(query.clone()));
        if ticket.failed.get()
            && let Some(block) = block
        {
            block.name_failure(query);
        }
    }

    /// Whether requests were sent that no Sync has closed yet.
    pub(super) fn is_unsynced(&self) -> bool {
        let state = self.state.lock();
        state.fence.is_unsynced().unwrap_or(state.session.is_unsynced())
    }

    /// The end: everybody who waits is told, each with whether its request had left.
    pub(super) fn die(&self, error: Error, sent: u64) {
        let mut over = Over::default();
        {
            let mut state = self.state.lock();
            if state.dead.is_some() {
                return;
            }
            let State { session, fence, block, .. } = &mut *state;
            let held = fence.abandon().map(|ticket| (ticket, false));
            for (ticket, left) in session.abandon(sent).chain(held) {
                let outcome = if left { Outcome::Unknown } else { Outcome::NotSent };
                let message = if left {
                    "the connection was lost before the reply came; the statement may have taken effect"
                } else {
                    "the connection was lost before the statement was sent"
                };
                let lost = if ticket.stopped {
                    let message = "the server was told to stop it, and then the connection was lost; the statement may have taken effect";
                    cancel::late(block.as_ref(), message, outcome)
                } else {
                    Error::closed(message, outcome)
                };
                over.add(ticket.asker, Err(lost.caused_by(error.duplicate())));
            }
            state.dead = Some(error.duplicate());
        }
        self.socket.shut_down();
        over.tell();
        if let Some(observer) = self.observer.get() {
            observer(News::Died(&error));
        }
    }

    /// It is dead, and nobody has been told.
    #[cfg(test)]
    pub(crate) fn die_unnoticed(&self) {
        self.state.lock().dead = Some(Error::closed("it has ended", Outcome::NotSent));
    }

    /// For the driver: what to do next, with the bytes to send moved over.
    pub(super) fn take_output(&self, writing: &mut BytesMut) -> Order {
        let mut state = self.state.lock();
        state.signalled = false;
        if state.dead.is_some() {
            return Order::Leave;
        }
        let cleaned = state.advance_clean_up();
        let State { session, taken, .. } = &mut *state;
        let output = session.output();
        *taken += output.len() as u64;
        encode::take(output, writing);
        let leaving = state.ending.is_some() && !state.session.is_waiting();
        drop(state);
        if let Some(done) = cleaned {
            done();
        }
        if leaving { Order::SayGoodbye } else { Order::Drive }
    }

    /// For the driver: feeds what has arrived.
    pub(super) fn feed(self: &Arc<Self>, input: &mut BytesMut, over: &mut Over) -> Result<(), Error> {
        let mut notices = Notices::default();
        let mut stop = false;
        let (result, demoted, unreset, late, turn) = {
            let mut state = self.state.lock();
            let State { session, block, fence, standing, reset, lane, statements, taken, .. } = &mut *state;
            let before = input.len();
            let taken = *taken;
            let notices = &mut notices;
            let mut filing = Filing { over, notices, block, fence, standing, reset, lane, statements, taken };
            let result = session.feed(input, &mut filing);
            // Whoever got its reply must not hand on a connection whose driver is about to leave it.
            let unreset = state.fail_reset(over).or_else(|| state.lane.contradiction());
            state.doomed = result.is_err() || unreset.is_some();
            if unreset.is_none() && (state.fence.is_up() || state.fence.is_holding()) {
                state.pass(over);
            }
            if state.clean_up.is_some() {
                stop = self.can_cancel() && state.drained(before - input.len());
            }
            let late = std::mem::take(&mut state.late);
            let turn = Some(state.begin_turn()).filter(|turn| !keeper::covers(*turn));
            (result, self.observer.get().is_some() && state.standing.take_news(), unreset, late, turn)
        };
        if let Some(deadline) = turn {
            keeper::nudge(deadline);
        }
        if late {
            keeper::nudge(Deadline::after(std::time::Duration::ZERO));
        }
        if stop {
            self.launch(None);
        }
        notices.log();
        if demoted {
            self.tell_demoted();
        }
        result.map_err(|fatal| match fatal {
            Fatal::Violation(violation) => Error::protocol(violation.to_string()),
            Fatal::Farewell(body) => Error::closed("the server ended the session", Outcome::NotSent)
                .caused_by(Error::database(decode::error_fields(&body))),
        })?;
        unreset.map_or(Ok(()), Err)
    }

    /// For the driver: the kernel takes no more bytes at the moment; by then it must have.
    pub(super) fn await_room(&self, deadline: Deadline) {
        let mut state = self.state.lock();
        state.write_deadline = deadline;
        let covered = keeper::covers(deadline);
        drop(state);
        if !covered {
            keeper::nudge(deadline);
        }
    }
}

/// What a returned connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    Clean,
    Dirty,
    Broken,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Drive,
    SayGoodbye,
    Leave,
}

impl State {
    /// The time of a request that was asked ahead begins when it is the first: its deadline, if that is now.
    fn begin_turn(&mut self) -> Deadline {
        self.session.waiting_mut().next().map_or(Deadline::NEVER, Ticket::begin)
    }

    pub(super) fn fitness(&self) -> Fitness {
        if self.doomed || self.dead.is_some() || self.ending.is_some() {
            Fitness::Broken
        } else if self.session.is_quiet()
            && self.session.status() == Status::Idle
            && !self.owes_round_trip
            && !self.fence.is_up()
        {
            Fitness::Clean
        } else {
            Fitness::Dirty
        }
    }
}
