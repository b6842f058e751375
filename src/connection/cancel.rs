//! Telling the server to stop a statement: CancelRequest, by a connection of its own (PostgreSQL manual, "Canceling
//! Requests in Progress"). Uses: block, connection, coro, deadline, error, fence, keeper, link, net, open, promise, protocol.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::block::Block;
use super::link::{Link, State};
use super::open::tcp_options;
use super::{Connection, check};
use crate::coro;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use crate::keeper;
use crate::net::{self, Socket, TURN};
use crate::promise::{Promise, Waited, promise};
use crate::protocol::encode;
use crate::protocol::session::{End, Reply};

/// How long the server's word is waited for behind the deadline of a statement.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// How long a reply that nobody waits for is drained before the server is told to stop.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// How many bytes of it are.
pub(super) const MOST_DRAINED: usize = 64 * 1024;

/// How long connecting, sending and the server's closing may take together.
const LIMIT: Duration = Duration::from_secs(2);

/// The stack of its coroutine in bytes: the user's logger may run on it.
const STACK: usize = 64 * 1024;

/// Stops what its lease runs, from any coroutine or thread.
///
/// Made by [`Connection::cancel_handle`].
#[derive(Clone)]
pub struct CancelHandle {
    link: Weak<Link>,
    process: i32,
    epoch: u64,
}

impl CancelHandle {
    /// Tells the server to stop what the connection runs, and waits until that was delivered, at most 2 s. The statement
    /// then fails with SQLSTATE 57014, unless it was faster. If nothing runs, nothing is done.
    ///
    /// Only what the lease itself runs can be hit: whoever borrows the connection next, and the lease's own next
    /// statement, are sent to the server only when no cancel is under way any more.
    ///
    /// # Errors
    ///
    /// If the lease has ended, or its connection; if a COMMIT runs, which is never stopped; if the request can't be
    /// delivered, because then the connection is closed: nobody would know whom the cancel hits.
    ///
    /// # Cancel
    ///
    /// A coroutine that is cancelled while it waits here stops waiting; the statement is stopped all the same.
    pub fn cancel(&self) -> Result<()> {
        let over = || Error::usage("the lease that this handle was made of has ended: nothing was cancelled");
        let link = self.link.upgrade().ok_or_else(over)?;
        let (ended, claim) = promise();
        {
            let mut state = link.state.lock();
            if state.dead.is_some() || state.fence.epoch() != self.epoch {
                return Err(over());
            }
            if state.is_idle() {
                return Ok(());
            }
            if !link.can_cancel() {
                return Err(Error::usage("the server has told no key to cancel with: nothing was cancelled"));
            }
            if !state.may_stop(false) {
                return Err(Error::usage("a transaction is being ended, which is not cancelled"));
            }
            state.fence.begin();
        }
        link.launch(Some(ended));
        drop(link);
        match claim.wait() {
            Waited::Value(result) => result,
            // Nobody expires it.
            Waited::Overdue => Ok(()),
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").field("process_id", &self.process).finish_non_exhaustive()
    }
}

impl Connection {
    /// A handle by which others can stop what this connection runs, as long as it is lent to you.
    ///
    /// ```no_run
    /// # fn main() -> maypole::Result<()> {
    /// # let pool = maypole::Pool::builder().url("postgres://app@localhost/shop")?.build()?;
    /// let lease = pool.connection()?;
    /// let handle = lease.cancel_handle();
    /// let report = maypole::spawn(move || lease.query("SELECT pg_sleep(3600)::text", ()).value::<String>());
    /// // … somebody has lost patience …
    /// handle.cancel()?;
    /// let error = report.join().expect("no panic").expect_err("it was stopped");
    /// assert_eq!(error.sqlstate(), Some("57014"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            link: Arc::downgrade(self.link()),
            process: self.process_id(),
            epoch: self.link().state.lock().fence.epoch(),
        }
    }
}

impl Link {
    /// Whether the server has told what a cancel needs. Poolers may not.
    pub(super) fn can_cancel(&self) -> bool {
        self.entered.key.is_some()
    }

    /// Ends it at once with this error. What it runs is stopped, as far as that is possible: nobody waits for that. Does
    /// not wait.
    pub(crate) fn revoke(self: &Arc<Self>, error: Error) {
        let stop = {
            let mut state = self.state.lock();
            let stop = self.can_cancel() && state.may_stop(true);
            if stop {
                state.fence.begin();
            }
            stop
        };
        if stop {
            self.launch(None);
        }
        self.kill(error);
    }

    /// Sends the request for a cancel that the fence counts already, by a coroutine of its own. Does not wait.
    pub(super) fn launch(self: &Arc<Self>, ended: Option<Promise<Result<()>>>) {
        let (link, ended) = (self.clone(), Arc::new(ended));
        let tell = ended.clone();
        let deadline = Deadline::after(LIMIT);
        let launched = coro::spawn_named("maypole cancel", STACK, move || {
            let delivered = link.deliver(deadline);
            link.delivered(delivered, &tell);
        });
        if let Err(error) = launched {
            self.delivered(Err(error), &ended);
        }
    }

    /// The cancel connection has ended.
    fn delivered(&self, delivered: io::Result<()>, tell: &Option<Promise<Result<()>>>) {
        let result = delivered.map_err(|error| {
            let message =
                "a request to cancel could not be delivered, and may still arrive: the connection is closed";
            Error::closed(message, Outcome::Unknown).caused_by(error)
        });
        match &result {
            Ok(()) => {
                {
                    let mut state = self.state.lock();
                    state.fence.ended();
                    state.cross();
                }
                self.wake();
                // What could not be stopped while this was under way may be now.
                keeper::nudge(Deadline::after(Duration::ZERO));
            }
            Err(error) => self.kill(error.duplicate()),
        }
        if let Some(waiter) = tell.as_ref().and_then(|promise| promise.keep(result)) {
            waiter.wake();
        }
    }

    /// Connects to where the session was opened, sends the request, and waits until the server closes: it has passed the
    /// signal on by then.
    fn deliver(&self, deadline: Deadline) -> io::Result<()> {
        let Some(key) = &self.entered.key else { return Ok(()) };
        let message = encode::cancel_request(self.entered.process, key.expose());
        let socket = net::connect(&self.address, &tcp_options(&self.config), deadline)?;
        // Whatever protects the session has to protect the key too: here.
        let waker = socket.waker();
        let _alarm = keeper::alarm(deadline, move || waker.wakeup());
        let result = converse(&socket, &message, deadline);
        // Not dropped here: see `Socket`.
        keeper::bury(socket);
        result
    }
}

fn converse(socket: &Socket, mut message: &[u8], deadline: Deadline) -> io::Result<()> {
    let mut turn = Instant::now();
    loop {
        let done = if message.is_empty() {
            // The server answers nothing; whatever it may say is not ours to know.
            match socket.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                // It has closed, and been asked for something that it had not read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                read => read.map(drop),
            }
        } else {
            socket.write(message).map(|count| message = &message[count..])
        };
        if deadline.passed(Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match done {
            Ok(()) if turn.elapsed() > TURN => drop(socket.give_way()),
            Ok(()) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => drop(socket.wait()),
            Err(error) => return Err(error),
        }
        turn = Instant::now();
    }
}

impl State {
    /// Bytes of a reply that nobody waits for have come: whether the server is to be told to stop.
    pub(super) fn drained(&mut self, count: usize) -> bool {
        let Some(clean_up) = &mut self.clean_up else { return false };
        clean_up.drained = clean_up.drained.saturating_add(count);
        clean_up.drained > MOST_DRAINED && self.stop_for_clean_up()
    }

    /// Counts the one cancel of a clean-up, if it is to be sent.
    pub(super) fn stop_for_clean_up(&mut self) -> bool {
        let may = self.may_stop(true) && !self.fence.is_cancelling();
        let Some(clean_up) = &mut self.clean_up else { return false };
        let stop = may && !std::mem::replace(&mut clean_up.stopped, true);
        if stop {
            self.fence.begin();
        }
        stop
    }
}

/// The error of a statement whose deadline has passed and that the server has then stopped, if that is what it says.
pub(super) fn stopped(reply: &Reply, block: Option<&Block>) -> Option<Error> {
    let cause = match reply.end {
        End::Failed => check(reply).err()?,
        // What was sent along before it was hit.
        End::Skipped => block?.failure()?.duplicate(),
        End::Complete | End::Copy => return None,
    };
    (cause.sqlstate() == Some("57014"))
        .then(|| late(block, "the server stopped it", Outcome::RolledBack).caused_by(cause))
}

/// The error of a statement whose deadline has passed. How long the limit was is known to whoever made a deadline of it.
pub(super) fn late(block: Option<&Block>, detail: &str, outcome: Outcome) -> Error {
    let passed = block.and_then(|block| block.passed(Instant::now()));
    let phase = if passed.is_some() { Phase::Transaction } else { Phase::Query };
    Error::timeout(phase, passed, detail, outcome)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::Config;
    use crate::connection::{Knowledge, open};

    /// Requirement 23 of the pool: it does not wait for the server, and whoever waits hears why.
    #[test]
    fn a_session_that_is_revoked_ends_at_once_and_what_it_ran_is_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let (asked, is_asked) = mpsc::channel();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut chunk = [0; 1024];
            let _ = socket.read(&mut chunk).expect("the start-up");
            // AuthenticationOk, BackendKeyData with a key of five bytes, ReadyForQuery.
            let greeting = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0d\0\0\0\x07abcdeZ\0\0\0\x05I";
            socket.write_all(greeting).expect("the client reads");
            assert!(socket.read(&mut chunk).expect("a statement") > 0);
            asked.send(()).expect("it is waited for");
            // Nothing is answered.
            let (mut cancel, _) = listener.accept().expect("another connection");
            let mut request = [0; 17];
            cancel.read_exact(&mut request).expect("a whole request");
            assert_eq!(&request, b"\0\0\0\x11\x04\xd2\x16\x2e\0\0\0\x07abcde");
        });
        let config = Config::new().host("127.0.0.1").port(port).user("me");
        let (report, reported) = mpsc::channel();
        open(Arc::new(config), Knowledge::new(8), move |result| {
            report.send(result).expect("it is waited for")
        })
        .expect("a coroutine");
        let link = reported.recv().expect("a report").expect("a connection");
        let connection = Connection::new(link.clone(), None);
        let handle = connection.cancel_handle();
        let waiting = coro::spawn(move || connection.script("SELECT 1").expect_err("revoked"));
        is_asked.recv().expect("asked");
        link.revoke(Error::pool("it was held for too long"));
        let error = waiting.join().expect("no panic");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(format!("{error:?}").contains("held for too long"), "{error:?}");
        assert!(handle.cancel().is_err(), "the session is over");
        server.join().expect("the request came");
    }
}
