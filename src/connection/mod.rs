//! One session: what its owner may ask of it. Uses: answer, block, cancel, config, cursor, deadline, error, execute, introduce, link, plan, promise, protocol, statement.

mod activity;
mod answer;
mod attributes;
mod block;
mod cancel;
mod clean_up;
mod cursor;
mod describe;
mod driver;
mod execute;
mod fence;
mod filing;
mod introduce;
mod lane;
mod link;
mod news;
mod number;
mod open;
mod pace;
mod ping;
mod plan;
mod reset;
mod standing;
mod statement;
mod sweep;
mod ticket;
mod transaction;
mod types;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

pub(crate) use activity::Activity;
pub(crate) use answer::Answer;
pub(crate) use block::{Block, MOST_SAVEPOINTS, Terms};
pub(crate) use cursor::Cursor;
pub(crate) use describe::{Described, Planned};
pub(crate) use execute::{Fit, Request};
pub(crate) use introduce::{Introduced, Known};
pub(crate) use lane::{Landing, Rider, Traces};
pub(crate) use link::{Fitness, Link};
pub(crate) use news::{News, is_shutdown};
pub(crate) use number::{ASK_FATE, Number};
pub(crate) use open::open;
pub(crate) use pace::Gait;
pub(crate) use plan::{Knowledge, Plan};
pub(crate) use statement::Statement;
pub(crate) use ticket::Errand;
use ticket::{Ends, Ticket};

pub use cancel::CancelHandle;

use crate::config::Config;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Result};
use crate::promise::{Claim, Waited};
use crate::protocol::decode::{self, Messages};
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{End, Exchange, Reply, Status};

/// A session with the server, owned by one coroutine at a time.
///
/// A [`Lease`](crate::Lease) dereferences to it. It may move to another coroutine or thread, but is not shared: replies
/// belong to whoever asked.
///
/// ```
/// fn may_move<T: Send>() {}
/// may_move::<maypole::Connection>();
/// may_move::<maypole::Tx>();
/// ```
///
/// ```compile_fail
/// fn may_be_shared<T: Sync>() {}
/// may_be_shared::<maypole::Connection>();
/// ```
pub struct Connection {
    link: Arc<Link>,
    /// Where requests are encoded; taken out while in use, so that a `ToSql` may do as it likes.
    scratch: Cell<BytesMut>,
    /// A cursor without a transaction is open: any Sync would end it.
    streaming: Cell<bool>,
    /// What it runs is to find a session that may not write.
    reads: Cell<bool>,
    /// The catalogue is being asked about a type: what those questions return has no types to be asked for.
    resolving: Cell<bool>,
    /// How long a reply may take.
    timeout: Option<Duration>,
    _not_sync: PhantomData<Cell<()>>,
}

/// Room for a usual request, made at once instead of bit by bit.
const USUAL: usize = 256;

/// A scratch buffer that grew beyond this is not kept.
const KEEP: usize = 8 * 1024;

impl Connection {
    pub(crate) fn new(link: Arc<Link>, timeout: Option<Duration>) -> Connection {
        Connection {
            link,
            scratch: Cell::default(),
            streaming: Cell::new(false),
            reads: Cell::new(false),
            resolving: Cell::new(false),
            timeout,
            _not_sync: PhantomData,
        }
    }

    /// Another handle of the same session, for a scope within this one's.
    pub(crate) fn sibling(&self) -> Connection {
        Connection::new(self.link.clone(), self.timeout)
    }

    /// Waits until the replies that nobody waited for have come, so that the status is the present one.
    pub(crate) fn settle(&self, deadline: Deadline) -> Result<()> {
        self.refuse_while_streaming()?;
        if self.link.is_unsettled() {
            // Whatever goes wrong, nothing of what comes next was sent.
            let settled = self.sync(deadline);
            settled.map_err(|error| error.limited_to(self.timeout).with_outcome(Outcome::NotSent))?;
        }
        Ok(())
    }

    /// Sends a Sync and waits for its answer.
    fn sync(&self, deadline: Deadline) -> Result<Reply> {
        self.ask(encode::SYNC, deadline, |encoder| {
            encoder.sync();
            Ok(())
        })
    }

    /// Asks for a rollback and does not wait for it.
    pub(crate) fn post_rollback(&self) {
        // Else the server might pass over it.
        self.close_flight();
        self.post_simple("ROLLBACK");
    }

    /// What was sent along is over before whatever comes next. Does not wait.
    pub(crate) fn close_flight(&self) {
        if self.link.is_unsynced() {
            self.link.post_and_forget(encode::SYNC_BYTES, encode::SYNC);
        }
    }

    /// Sends a statement of our own by the simple protocol, and does not wait for what comes of it.
    fn post_simple(&self, text: &'static str) {
        let mut bytes = BytesMut::new();
        // A constant text: it cannot fail.
        let _ = Encoder::new(&mut bytes, usize::MAX).query(text);
        let _ = self.link.post(&bytes, encode::SIMPLE, Ticket::nobodys().that_ends(Ends::of(text)));
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The process number of the server's backend, as `pg_backend_pid()` tells it.
    pub fn process_id(&self) -> i32 {
        self.link.entered.process
    }

    /// The server's version, such as `15.4`.
    pub fn server_version(&self) -> &str {
        &self.link.entered.server_version
    }

    /// Whether the session is in a transaction, a failed one included, by the server's last word; and in a transaction
    /// function from its beginning, although BEGIN only goes out with the first statement.
    pub fn in_transaction(&self) -> bool {
        self.link.is_in_block() || self.link.status() != Status::Idle
    }

    /// Runs statements by the simple protocol; the last command tag. Not for what a user says.
    pub(crate) fn simple(&self, text: &str, deadline: Deadline) -> Result<String> {
        let reply = self.simple_reply(text, deadline)?;
        check(&reply)?;
        let tag = Messages::new(&reply.bytes).filter(|(tag, _)| *tag == b'C').last();
        Ok(tag.map_or_else(String::new, |(_, body)| decode::command_tag(&reply.bytes[body]).to_owned()))
    }

    /// The whole reply to statements by the simple protocol, an error included.
    fn simple_reply(&self, text: &str, deadline: Deadline) -> Result<Reply> {
        self.refuse_while_streaming()?;
        self.link.note_script(text);
        let deadline = Deadline::after(self.timeout).min(deadline);
        let reply = self.ask_ending(Ends::of(text), encode::SIMPLE, deadline, |encoder| encoder.query(text));
        reply.map_err(|error| error.limited_to(self.timeout))
    }

    /// Sends a request and waits for its reply.
    fn ask(
        &self,
        exchange: Exchange,
        deadline: Deadline,
        encode: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Reply> {
        self.ask_ending(Ends::Nothing, exchange, deadline, encode)
    }

    /// The same for a request that may end a transaction.
    fn ask_ending(
        &self,
        ends: Ends,
        exchange: Exchange,
        deadline: Deadline,
        encode: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Reply> {
        let claim = self.submit(ends, exchange, deadline, encode)?;
        self.wait(claim)
    }

    fn submit(
        &self,
        ends: Ends,
        exchange: Exchange,
        deadline: Deadline,
        encode: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Claim<Result<Reply>>> {
        let mut scratch = self.take_scratch();
        encode(&mut Encoder::new(&mut scratch, self.link.limit()))?;
        let claim = self.link.submit(&scratch, exchange, deadline, ends);
        self.keep_scratch(scratch);
        claim
    }

    fn take_scratch(&self) -> BytesMut {
        let mut scratch = self.scratch.take();
        scratch.clear();
        scratch.reserve(USUAL);
        scratch
    }

    fn keep_scratch(&self, scratch: BytesMut) {
        if scratch.capacity() <= KEEP {
            self.scratch.set(scratch);
        }
    }

    fn wait(&self, claim: Claim<Result<Reply>>) -> Result<Reply> {
        match claim.wait() {
            Waited::Value(Ok(mut reply)) => {
                if let Some(at) = reply.behind.take() {
                    self.link.learn_number(number::read_number(&reply.bytes[at..]));
                    reply.bytes.truncate(at);
                }
                if self.link.is_in_block() {
                    self.collect();
                }
                Ok(reply)
            }
            Waited::Value(Err(error)) => Err(error),
            Waited::Overdue => {
                let detail =
                    "the statement was sent and may still take effect; its reply will be thrown away";
                let late =
                    self.link.with_block(|block, _| cancel::late(Some(block), detail, Outcome::Unknown));
                Err(late.unwrap_or_else(|| cancel::late(None, detail, Outcome::Unknown)))
            }
        }
    }

    /// Closes it at once.
    pub(crate) fn kill(&self, why: Error) {
        self.link.kill(why);
    }

    /// What another connection to the same server is made of.
    pub(crate) fn origin(&self) -> (Arc<Config>, Arc<Knowledge>) {
        (self.link.config.clone(), self.link.knowledge.clone())
    }

    /// Which pool it belongs to: no other has the same name as long as it lives.
    pub(crate) fn pool_name(&self) -> usize {
        Arc::as_ptr(&self.link.knowledge).addr()
    }

    /// A reply that cannot be read closes the connection.
    fn believe<R>(&self, read: Result<R>) -> Result<R> {
        read.inspect_err(|error| self.link.kill(error.duplicate()))
    }

    fn refuse_while_streaming(&self) -> Result<()> {
        if self.streaming.get() {
            return Err(Error::usage(
                "a stream is open on this connection, and another query would end it: finish or drop the stream \
                 first, run it inside a transaction, or query through the database, which lends another connection",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("process_id", &self.process_id())
            .field("server_version", &self.server_version())
            .finish_non_exhaustive()
    }
}

/// The error that a reply brought, if it did.
pub(crate) fn check(reply: &Reply) -> Result<()> {
    match reply.end {
        End::Complete => Ok(()),
        End::Failed => Err(decode::reply_error(&reply.bytes)),
        End::Copy => {
            // One from the client was refused, and failed; one to the client ran, and its data was thrown away.
            let failed = Messages::new(&reply.bytes).any(|(tag, _)| tag == b'E');
            let message = "COPY from or to the client cannot be run as a query: its data went nowhere";
            let error = Error::usage(message);
            Err(if failed {
                error.with_outcome(Outcome::RolledBack).caused_by(decode::reply_error(&reply.bytes))
            } else {
                error.with_outcome(Outcome::Done)
            })
        }
        End::Skipped => Err(Error::passed_over()),
    }
}

/// Whether a statement must be prepared again, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// This session has forgotten it (26000).
    Session,
    /// Its plan would return other columns than it did, on any session.
    Plan,
}

/// What a failure says of the statement that a session had parsed before. Only if nothing was executed: a function may
/// raise any code, and what has run is not run again.
pub(crate) fn stale(error: &Error, reply: &Reply) -> Option<Stale> {
    let error = error.db_error()?;
    if Messages::new(&reply.bytes).any(|(tag, _)| tag == b'2') {
        return None;
    }
    match error.code() {
        "26000" => Some(Stale::Session),
        // Only from this routine: the code alone is too wide.
        "0A000" if error.routine() == Some("RevalidateCachedQuery") => Some(Stale::Plan),
        // A type it mentions was dropped. Messages of internal errors are not translated.
        "XX000" if error.message().starts_with("cache lookup failed") => Some(Stale::Plan),
        // A table has changed, and with the types of its first day the statement makes no sense any more.
        code if code.starts_with("42") && code != "42501" => Some(Stale::Plan),
        _ => None,
    }
}
