//! One session: what its owner may ask of it. Uses: answer, columns, cursor, deadline, error, link, params, promise, protocol, statement.

mod answer;
mod cursor;
mod driver;
mod link;
mod open;
mod plan;
mod statement;
mod types;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_types::{Oid, Type};

pub(crate) use answer::Answer;
pub(crate) use cursor::{CHUNK, Cursor};
pub(crate) use link::{Errand, Fitness, Link, Sent};
pub(crate) use open::open;
pub(crate) use plan::{Knowledge, Plan};
pub(crate) use statement::Statement;

use crate::columns::{Column, Columns};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::params::Params;
use crate::promise::{Claim, Waited};
use crate::protocol::decode::{self, Messages};
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{End, Exchange, Reply, Status, Step};

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
        let mut bytes = BytesMut::new();
        // A constant text: it cannot fail.
        let _ = Encoder::new(&mut bytes, usize::MAX).query("ROLLBACK");
        self.link.post_and_forget(&bytes, encode::SIMPLE);
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

    /// Whether the session is in a transaction, a failed one included, by the server's last word.
    pub fn in_transaction(&self) -> bool {
        self.link.status() != Status::Idle
    }

    /// Runs several statements, separated by semicolons, in one round trip and atomically: PostgreSQL wraps them into
    /// one transaction unless they contain their own BEGIN and COMMIT. Results are thrown away.
    ///
    /// Never put values into the text: there is no escaping here. Use [`query`](Connection::query) with parameters.
    ///
    /// # Errors
    ///
    /// If a statement fails (then none has had an effect), the connection is lost, or the time limit passes.
    pub fn script(&self, text: &str) -> Result<()> {
        self.simple(text).map(|_| ())
    }

    /// Runs statements by the simple protocol; the last command tag.
    pub(crate) fn simple(&self, text: &str) -> Result<String> {
        self.refuse_while_streaming()?;
        let deadline = Deadline::after(self.timeout);
        let reply = self.ask(encode::SIMPLE, deadline, |encoder| encoder.query(text));
        let reply = reply.map_err(|error| error.limited_to(self.timeout))?;
        check(&reply)?;
        let tag = Messages::new(&reply.bytes).filter(|(tag, _)| *tag == b'C').last();
        Ok(tag.map_or_else(String::new, |(_, body)| decode::command_tag(&reply.bytes[body]).to_owned()))
    }

    /// Runs one statement and waits for the whole of its result.
    pub(crate) fn run(&self, sql: &str, params: &dyn Params, deadline: Deadline) -> Result<Answer> {
        self.refuse_while_streaming()?;
        self.with_statement(sql, deadline, |statement| {
            let reply = self.ask(encode::EXECUTE, deadline, |encoder| {
                encoder.bind("", &statement.name, &statement.params, params)?;
                encoder.execute("", 0)?;
                encoder.sync();
                Ok(())
            })?;
            check(&reply)?;
            Ok(Answer::new(self.link.clone(), statement.clone(), reply.bytes))
        })
    }

    /// Does something with the prepared statement of this text. If the server has forgotten it, or its plan does not
    /// fit any more, it is prepared once more; inside a transaction, which has failed by then, it is only forgotten.
    fn with_statement<R>(
        &self,
        sql: &str,
        deadline: Deadline,
        mut act: impl FnMut(&Arc<Statement>) -> Result<R>,
    ) -> Result<R> {
        let known = self.link.with_statements(|statements| statements.get(sql));
        let fresh = known.is_none();
        let statement = match known {
            Some(statement) => statement,
            None => self.prepare(sql, deadline)?,
        };
        match act(&statement) {
            Err(error) if stale(&error).is_some() => {
                self.link.with_statements(|statements| statements.forget(sql));
                if fresh || self.in_transaction() {
                    return Err(error);
                }
                act(&self.prepare(sql, deadline)?)
            }
            result => result,
        }
    }

    /// Parses and describes a statement, and remembers it.
    fn prepare(&self, sql: &str, deadline: Deadline) -> Result<Arc<Statement>> {
        let (name, closes) = self.link.with_statements(|statements| statements.begin());
        let mut orphans = Orphans { link: &self.link, names: closes };
        let mut steps = vec![Step::Close; orphans.names.len()];
        steps.extend([Step::Parse, Step::Describe, Step::Sync]);
        let claim = self.submit(Exchange::new(&steps), deadline, |encoder| {
            for close in &orphans.names {
                encoder.close_statement(close)?;
            }
            encoder.parse(&name, sql, &[])?;
            encoder.describe_statement(&name)?;
            encoder.sync();
            Ok(())
        })?;
        // Those are closed; from here on the server may know the new one.
        orphans.names = vec![name.clone()];
        let reply = self.wait(claim)?;
        check(&reply)?;
        let statement = Arc::new(self.describe(name, &reply, deadline)?);
        orphans.names.clear();
        self.link.with_statements(|statements| statements.insert(sql, statement.clone()));
        Ok(statement)
    }

    fn describe(&self, name: String, reply: &Reply, deadline: Deadline) -> Result<Statement> {
        let mut params = Vec::new();
        let mut columns = Vec::new();
        let mut returns_rows = false;
        for (tag, body) in Messages::new(&reply.bytes) {
            let body = &reply.bytes[body];
            match tag {
                b't' => params = self.believe(decode::parameter_description(body))?,
                b'T' => {
                    columns = self.believe(decode::row_description(body))?;
                    returns_rows = true;
                }
                _ => {}
            }
        }
        let resolve = |oid| self.resolve(oid, deadline);
        let params = params.into_iter().map(resolve).collect::<Result<_>>()?;
        let columns = columns.into_iter().map(|field| Ok(Column::new(field.name, resolve(field.type_oid)?)));
        let columns = Arc::new(Columns::new(columns.collect::<Result<_>>()?));
        Ok(Statement { name, params, columns, returns_rows })
    }

    /// The type with this OID. The server's own word on its catalogue is taken only in built-in types, or it could send us
    /// from question to question until our stack is used up.
    fn resolve(&self, oid: Oid, deadline: Deadline) -> Result<Type> {
        if self.resolving.replace(true) {
            return Ok(self.link.knowledge.types.known_or_unknown(oid));
        }
        /// Also if the caller is cancelled meanwhile.
        struct Resolved<'c>(&'c Cell<bool>);
        impl Drop for Resolved<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        let _resolved = Resolved(&self.resolving);
        self.link.knowledge.types.resolve(self, oid, deadline)
    }

    /// Sends a request and waits for its reply.
    fn ask(
        &self,
        exchange: Exchange,
        deadline: Deadline,
        encode: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Reply> {
        let claim = self.submit(exchange, deadline, encode)?;
        self.wait(claim)
    }

    fn submit(
        &self,
        exchange: Exchange,
        deadline: Deadline,
        encode: impl FnOnce(&mut Encoder<'_>) -> Result<()>,
    ) -> Result<Claim<Result<Reply>>> {
        let mut scratch = self.scratch.take();
        scratch.clear();
        scratch.reserve(USUAL);
        // User code encodes values here: no lock is held.
        encode(&mut Encoder::new(&mut scratch, self.link.limit()))?;
        let claim = self.link.submit(&scratch, exchange, deadline);
        if scratch.capacity() <= KEEP {
            self.scratch.set(scratch);
        }
        claim
    }

    fn wait(&self, claim: Claim<Result<Reply>>) -> Result<Reply> {
        match claim.wait() {
            Waited::Value(reply) => reply,
            Waited::Overdue => {
                let detail =
                    "the statement was sent and may still take effect; its reply will be thrown away";
                // How long the limit was is known to whoever made a deadline of it.
                Err(Error::timeout(Phase::Query, None, detail, Outcome::Unknown))
            }
        }
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

/// Statements that the server may know and that nobody remembers: closed with the next one that is prepared. In a guard,
/// because a cancel may hit at any wait.
struct Orphans<'c> {
    link: &'c Link,
    names: Vec<String>,
}

impl Drop for Orphans<'_> {
    fn drop(&mut self) {
        self.link.with_statements(|statements| self.names.drain(..).for_each(|name| statements.orphan(name)));
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
            let outcome = if failed { Outcome::RolledBack } else { Outcome::Done };
            let message = "COPY from or to the client cannot be run as a query: its data went nowhere";
            Err(Error::usage(message).with_outcome(outcome))
        }
        End::Skipped => Err(Error::usage("the statement was passed over after an earlier error")
            .with_outcome(Outcome::RolledBack)),
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

/// What a failure says of the statement: 26000; 0A000, and only from this routine (the code alone is too wide); or a type
/// in it is gone.
pub(crate) fn stale(error: &Error) -> Option<Stale> {
    let error = error.db_error()?;
    match error.code() {
        "26000" => Some(Stale::Session),
        "0A000" if error.routine() == Some("RevalidateCachedQuery") => Some(Stale::Plan),
        // A type it mentions was dropped. Messages of internal errors are not translated.
        "XX000" if error.message().starts_with("cache lookup failed") => Some(Stale::Plan),
        _ => None,
    }
}
