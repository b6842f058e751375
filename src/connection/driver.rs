//! The one coroutine that touches the socket. Uses: deadline, error, link, net, protocol, ticket.
//!
//! It is never cancelled (its handle goes nowhere) and waits only in `Socket::wait`. It writes what callers queued,
//! reads what the server sends, and so notices the end of an idle connection before anybody borrows it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::link::{Link, Order};
use super::ticket::Over;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome};
use crate::net::{Ready, TURN};
use crate::protocol::encode::TERMINATE_BYTES;

/// What one read asks for at first; replies that fill it make it grow.
const READ: usize = 8 * 1024;
/// What one read asks for at most.
const READ_MOST: usize = 64 * 1024;
/// An idle connection keeps no other buffer beyond this: with the one for reading, at most 14 KiB.
const KEEP: usize = 2 * 1024;
/// The server takes no bytes for so long: it is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Drives the connection until it ends. `input` holds what arrived behind the start-up.
pub(super) fn drive(link: &Arc<Link>, input: BytesMut) {
    let mut driver = Driver {
        link,
        input,
        input_room: 0,
        writing: BytesMut::new(),
        writing_room: 0,
        sent: 0,
        chunk: vec![0; READ],
        over: Over::default(),
        ready: Ready { readable: true, writable: true, hung_up: false },
        stuck: None,
        broken: None,
        turn: None,
    };
    let error = driver.run();
    link.die(error, driver.sent);
}

struct Driver<'l> {
    link: &'l Arc<Link>,
    /// Arrived and not yet a whole reply.
    input: BytesMut,
    /// The most room that `input` has had. Its capacity does not tell: what was read from its front counts no more, and
    /// is held all the same.
    input_room: usize,
    /// Taken from the session and not yet taken by the kernel.
    writing: BytesMut,
    /// The most room that `writing` has had.
    writing_room: usize,
    /// Bytes that the kernel has taken.
    sent: u64,
    chunk: Vec<u8>,
    over: Over,
    /// What the socket is ready for: events come once per change (epoll's edge-triggered mode).
    ready: Ready,
    /// The kernel has taken nothing since `WRITE_LIMIT` before this.
    stuck: Option<Deadline>,
    /// Writing failed: the server may have said why before it closed, so what it sent is read to the end.
    broken: Option<io::Error>,
    /// Since when it has read without finding the socket empty.
    turn: Option<Instant>,
}

impl Driver<'_> {
    /// Returns why the connection ended.
    fn run(&mut self) -> Error {
        if !self.input.is_empty()
            && let Err(error) = self.feed()
        {
            return error;
        }
        loop {
            // Before the output is taken: a caller whose reply is read here may have the next request ready by then.
            if self.ready.readable
                && let Err(error) = self.read()
            {
                return error;
            }
            if self.link.called.swap(false, Ordering::AcqRel) {
                self.link.board();
            }
            let order = self.link.take_output(&mut self.writing);
            self.writing_room = self.writing_room.max(self.writing.capacity());
            if order == Order::Leave {
                return Error::closed("the connection was closed", Outcome::NotSent);
            }
            self.write();
            if order == Order::SayGoodbye && self.writing.is_empty() {
                // Best effort: the session ends either way.
                let _ = self.link.socket.write(TERMINATE_BYTES);
                return Error::closed("the connection was closed by this program", Outcome::NotSent);
            }
            if self.ready.readable {
                let now = Instant::now();
                if now - *self.turn.get_or_insert(now) > TURN {
                    self.ready = self.ready.and(self.link.socket.give_way());
                    self.turn = None;
                }
                continue;
            }
            if !self.writing.is_empty() && self.stuck.is_none() {
                let deadline = Deadline::after(WRITE_LIMIT);
                self.stuck = Some(deadline);
                self.link.await_room(deadline);
            }
            if self.input.is_empty() {
                self.shrink();
            }
            self.ready = self.ready.and(self.link.socket.wait());
            self.turn = None;
        }
    }

    fn write(&mut self) {
        let before = self.sent;
        while self.ready.writable && !self.writing.is_empty() {
            match self.link.socket.write(&self.writing) {
                Ok(count) => {
                    self.writing.advance(count);
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = Some(error);
                    self.ready = Ready { readable: true, writable: false, hung_up: true };
                }
            }
        }
        if self.sent > before && self.stuck.take().is_some() {
            self.link.await_room(Deadline::NEVER);
        }
        if self.writing.is_empty() && self.writing_room > KEEP {
            self.writing = BytesMut::new();
            self.writing_room = 0;
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        match self.link.socket.read(&mut self.chunk) {
            Ok(0) => return Err(Error::closed("the server closed the connection", Outcome::NotSent)),
            Ok(count) => {
                // Less than asked for: nothing is left (epoll(7), "Questions and answers", 9), unless the end
                // of the stream waits behind it.
                self.ready.readable = self.ready.hung_up || count == self.chunk.len();
                if self.input.capacity() - self.input.len() < count {
                    self.input.reserve(count.max(KEEP));
                    self.input_room = self.input_room.max(self.input.capacity());
                }
                self.input.extend_from_slice(&self.chunk[..count]);
                if count == self.chunk.len() && count < READ_MOST {
                    self.chunk = vec![0; count * 2];
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ready.readable = false;
                return self.broken.take().map_or(Ok(()), |error| Err(lost(&error)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(lost(&error)),
        }
        self.feed()
    }

    fn feed(&mut self) -> Result<(), Error> {
        let result = self.link.feed(&mut self.input, &mut self.over);
        self.over.settle(Some(self.link));
        // The next group first: whoever is woken finds the connection where it is then.
        if std::mem::take(&mut self.over.landed) && result.is_ok() {
            self.link.board();
        }
        self.over.tell();
        result
    }

    /// Nothing is left to be read: gives back what a large reply made grow.
    fn shrink(&mut self) {
        if self.chunk.len() > READ {
            self.chunk = vec![0; READ];
        }
        // The room behind the last reply is a part of that reply's allocation, and keeps the whole alive.
        if self.input_room > KEEP {
            self.input = BytesMut::new();
            self.input_room = 0;
        }
    }
}

fn lost(error: &io::Error) -> Error {
    Error::closed("the connection was lost", Outcome::NotSent).caused_by(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::Config;
    use crate::connection::{Connection, Knowledge, open};

    /// Reliability cases 12 and 34: no query timeout ends this, and the callers must not wait for ever.
    #[test]
    fn a_server_that_takes_no_bytes_is_given_up_at_the_write_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let (over, is_over) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            // AuthenticationOk, ReadyForQuery; and then no more.
            let _ = socket.read(&mut [0; 1024]).expect("the start-up");
            socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").expect("the client reads");
            let _ = is_over.recv();
        });
        let config = Config::new().host("127.0.0.1").port(port).user("me");
        let (report, reported) = mpsc::channel();
        open(Arc::new(config), Knowledge::new(8), move |result| {
            report.send(result).expect("it is waited for")
        })
        .expect("a coroutine");
        let link = reported.recv().expect("a report").expect("a connection");
        let connection = Connection::new(link, None);
        let start = Instant::now();
        // More than the system's buffers take.
        let error = connection.script(&"-".repeat(64 << 20)).expect_err("nobody reads");
        assert!(start.elapsed() >= WRITE_LIMIT, "{:?}", start.elapsed());
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(format!("{error:?}").contains("took no bytes for too long"), "{error:?}");
        over.send(()).expect("the server waits");
        server.join().expect("no panic");
    }
}
