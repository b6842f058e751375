//! One connection of a script, on a thread of its own.
//! Uses: script, backend, flag, frame, responder.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::super::backend;
use super::super::flag::Flag;
use super::super::frame::{
    self, CANCEL_REQUEST, Direction, END, Fill, Frame, FrameReader, Framing, GSS_REQUEST, SSL_REQUEST,
    STARTUP,
};
use super::super::responder::{Answer, Next, Responder};
use super::{Progress, Shared, Step};

/// How often a waiting session looks whether the test is over.
const TICK: Duration = Duration::from_millis(5);

/// Runs the steps on a new thread.
pub(super) fn start(number: usize, steps: Vec<Step>, socket: Socket, shared: &Arc<Shared>) {
    let socket = Arc::new(socket);
    let weak = Arc::downgrade(&socket);
    let at = shared.with(|state| {
        state.connections.push(Progress { done: false, socket: weak, thread: None });
        state.connections.len() - 1
    });
    let session = Session {
        at,
        reader: FrameReader::new(Arc::clone(&socket)),
        socket,
        framing: Framing::Untagged,
        may_close: false,
        shared: Arc::clone(shared),
    };
    let thread = thread::Builder::new()
        .name(format!("script connection {number}"))
        .spawn(move || session.run(number, &steps))
        .expect("a test can start a thread");
    shared.with(|state| state.connections[at].thread = Some(thread));
}

struct Session {
    at: usize,
    socket: Arc<Socket>,
    reader: FrameReader,
    framing: Framing,
    may_close: bool,
    shared: Arc<Shared>,
}

/// Why the steps ended before the last.
enum End {
    /// The client closed, and it may.
    Allowed,
    /// What came instead of what the step wants.
    Wrong(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Wrong(format!("the socket failed: {error}"))
    }
}

impl Session {
    fn run(mut self, number: usize, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            if matches!(step, Step::Reset) {
                return self.reset();
            }
            match self.step(step) {
                Ok(()) => {}
                Err(End::Allowed) => return self.done(),
                Err(End::Wrong(came)) => {
                    let left = steps.len() - index - 1;
                    let after =
                        if left > 0 { format!("; {left} more steps are left over") } else { String::new() };
                    let place =
                        format!("connection {number}, step {} of {} ({step})", index + 1, steps.len());
                    return self.fail(format!("{place}: {came}{after}"));
                }
            }
        }
        self.done();
        if !matches!(steps.last(), Some(Step::HangUp | Step::AnswerQueries(_))) {
            self.linger(number);
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), End> {
        match step {
            Step::Expect { tag, check, .. } => {
                let frame = self.receive()?;
                if frame.tag != *tag {
                    return self.wrong(&frame);
                }
                match check {
                    Some(check) if !check(frame.body()) => {
                        Err(End::Wrong(format!("the body is another one: {frame:?}")))
                    }
                    _ => Ok(()),
                }
            }
            Step::StartupAndAccept => loop {
                let frame = self.receive()?;
                match frame.tag {
                    SSL_REQUEST | GSS_REQUEST => self.send(b"N")?,
                    STARTUP => return self.send(&backend::greeting()),
                    // As a server does that has nothing to stop.
                    CANCEL_REQUEST => {
                        self.step(&Step::HangUp)?;
                        return Err(End::Allowed);
                    }
                    _ => return self.wrong(&frame),
                }
            },
            Step::Send(bytes) => self.send(bytes),
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    self.send(&[*byte])?;
                    thread::sleep(*pause);
                }
                Ok(())
            }
            Step::PauseUntil(flag) => self.pause(flag),
            Step::Raise(flag) => {
                flag.raise();
                Ok(())
            }
            Step::MayClose => {
                self.may_close = true;
                Ok(())
            }
            Step::ExpectClose => loop {
                let frame = self.receive()?;
                match frame.tag {
                    END if self.shared.closing() => return self.wrong(&frame),
                    END => return Ok(()),
                    b'X' => {}
                    _ => return self.wrong(&frame),
                }
            },
            Step::HangUp => {
                // Not dropped yet: closing with unread bytes would be a reset and could overtake what we sent.
                let _ = self.socket.shutdown(Shutdown::Both);
                let socket = Arc::clone(&self.socket);
                self.shared.with(|state| state.hung_up.push(socket));
                Ok(())
            }
            Step::Reset => Ok(()),
            Step::AnswerQueries(answer) => self.answer_queries(answer),
        }
    }

    fn answer_queries(&mut self, answer: &Arc<dyn Fn(&str) -> Answer + Send + Sync>) -> Result<(), End> {
        self.done();
        self.may_close = true;
        let mut responder = Responder::new(Arc::clone(answer));
        loop {
            let frame = self.receive_patiently(None)?;
            if frame.tag == END {
                return Ok(());
            }
            let next = responder.take(&frame);
            if next == Next::Flush || responder.out.len() > 8 * 1024 {
                let out = std::mem::take(&mut responder.out);
                self.send(&out)?;
            }
            match next {
                Next::Collect | Next::Flush => {}
                Next::End => return Ok(()),
                Next::HangUp => return self.step(&Step::HangUp),
                Next::Unexpected(came) => return Err(End::Wrong(came)),
            }
        }
    }

    fn reset(self) {
        let Session { at, socket, reader, shared, .. } = self;
        // With this option closing is a reset, and dropping the last handle closes.
        let _ = socket.set_linger(Some(Duration::ZERO));
        drop((reader, socket));
        shared.with(|state| state.connections[at].done = true);
    }

    /// After the last step: the client may say goodbye and close.
    fn linger(&mut self, number: usize) {
        loop {
            match self.receive_patiently(None) {
                Ok(frame) if frame.tag == END => return,
                Ok(frame) if frame.tag == b'X' => {}
                Ok(frame) => {
                    let came = frame::name(Direction::Frontend, frame.tag);
                    return self
                        .fail(format!("connection {number}, after the last step: {came} came: {frame:?}"));
                }
                Err(End::Allowed) => return,
                Err(End::Wrong(came)) => {
                    return self.fail(format!("connection {number}, after the last step: {came}"));
                }
            }
        }
    }

    fn pause(&mut self, flag: &Flag) -> Result<(), End> {
        let start = Instant::now();
        while !flag.wait(TICK) {
            if self.shared.closing() {
                return Err(End::Wrong("the test ended, and the flag was not raised".to_owned()));
            }
            if start.elapsed() > self.shared.patience {
                let limit = self.shared.patience;
                return Err(End::Wrong(format!("the flag was not raised within {limit:?}")));
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match (&*self.socket).write_all(bytes) {
            Ok(()) => Ok(()),
            Err(_) if self.may_close => Err(End::Allowed),
            Err(error) => Err(End::Wrong(format!("the client has closed ({error})"))),
        }
    }

    fn receive(&mut self) -> Result<Frame, End> {
        self.receive_patiently(Some(self.shared.patience))
    }

    fn receive_patiently(&mut self, limit: Option<Duration>) -> Result<Frame, End> {
        self.reader.set_patience(limit)?;
        loop {
            if let Some(frame) = self.reader.next(self.framing)? {
                if matches!(frame.tag, STARTUP | CANCEL_REQUEST) {
                    self.framing = Framing::Tagged;
                }
                return Ok(frame);
            }
            match self.reader.fill()? {
                Fill::Bytes => {}
                Fill::End if self.reader.buffered() > 0 && !self.may_close => {
                    let count = self.reader.buffered();
                    return Err(End::Wrong(format!("the client closed {count} bytes into a message")));
                }
                Fill::End => return Ok(Frame::end()),
                Fill::Quiet => {
                    if let Some(limit) = limit {
                        return Err(End::Wrong(format!("nothing came within {limit:?}")));
                    }
                }
            }
        }
    }

    fn wrong(&self, frame: &Frame) -> Result<(), End> {
        match frame.tag {
            END if self.shared.closing() => {
                Err(End::Wrong("left over: the test ended, and nothing came".to_owned()))
            }
            END if self.may_close => Err(End::Allowed),
            END => Err(End::Wrong("the client closed".to_owned())),
            tag => Err(End::Wrong(format!("{} came: {frame:?}", frame::name(Direction::Frontend, tag)))),
        }
    }

    fn done(&self) {
        self.shared.with(|state| state.connections[self.at].done = true);
    }

    fn fail(&self, failure: String) {
        // The client shall not wait for us.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.shared.with(|state| {
            state.failures.push(failure);
            state.connections[self.at].done = true;
        });
    }
}
