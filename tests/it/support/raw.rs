//! A server that is a function, for what no script can say. Uses: backend, frame, listener, responder.

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use socket2::Socket;

use super::backend::{self, INT8};
use super::frame::{
    CANCEL_REQUEST, END, Fill, Frame, FrameReader, Framing, GSS_REQUEST, SSL_REQUEST, STARTUP,
};
use super::listener::{Listener, Place, UNIX_PORT};
use super::responder::{Answer, Next, Responder};

/// A server at work; each connection is served by a call of the function, on a thread of its own. Dropping it closes
/// everything, and fails the test if the function has panicked.
pub(crate) struct Raw {
    place: Place,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    closing: AtomicBool,
    accepted: AtomicUsize,
    sockets: Mutex<Vec<Arc<Socket>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Raw {
    /// Listens on a port of 127.0.0.1.
    pub(crate) fn start(serve: impl Fn(Peer) + Send + Sync + 'static) -> Raw {
        Raw::at(Listener::tcp().expect("a port to listen on"), serve)
    }

    /// Listens on a Unix socket.
    pub(crate) fn start_unix(serve: impl Fn(Peer) + Send + Sync + 'static) -> Raw {
        Raw::at(Listener::unix().expect("a socket file to listen on"), serve)
    }

    /// Listens here.
    pub(crate) fn at(listener: Listener, serve: impl Fn(Peer) + Send + Sync + 'static) -> Raw {
        let place = listener.place.clone();
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let serve: Arc<dyn Fn(Peer) + Send + Sync> = Arc::new(serve);
        let acceptor = thread::spawn(move || {
            while let Ok(socket) = listener.accept() {
                if seen.closing.load(Ordering::SeqCst) {
                    return;
                }
                let socket = Arc::new(socket);
                seen.sockets.lock().expect("no holder panics").push(Arc::clone(&socket));
                let number = seen.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let serve = Arc::clone(&serve);
                let peer = Peer::new(number, socket);
                let thread = thread::spawn(move || serve(peer));
                seen.threads.lock().expect("no holder panics").push(thread);
            }
        });
        Raw { place, shared, acceptor: Some(acceptor) }
    }

    /// Where to connect.
    pub(crate) fn url(&self) -> String {
        self.url_for("raw")
    }

    /// Where to connect with another login, `user` or `user:password`.
    pub(crate) fn url_for(&self, login: &str) -> String {
        match &self.place {
            Place::Tcp(port) => format!("postgres://{login}@127.0.0.1:{port}/raw"),
            Place::Unix(folder) => {
                format!("postgres://{login}@/raw?host={}&port={UNIX_PORT}", folder.display())
            }
        }
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        match self.place {
            Place::Tcp(port) => port,
            Place::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.place.poke();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for socket in self.shared.sockets.lock().expect("no holder panics").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *self.shared.threads.lock().expect("no holder panics"));
        let panics = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        if panics > 0 && !thread::panicking() {
            panic!("{panics} connections of the raw server panicked");
        }
    }
}

/// The server's side of one connection. What fails here is the end of the connection.
pub(crate) struct Peer {
    /// The first connection is 1.
    pub(crate) number: usize,
    socket: Arc<Socket>,
    reader: FrameReader,
    framing: Framing,
}

impl Peer {
    fn new(number: usize, socket: Arc<Socket>) -> Peer {
        let reader = FrameReader::new(Arc::clone(&socket));
        Peer { number, socket, reader, framing: Framing::Untagged }
    }

    /// Reads the start-up packet; whether one came. Declines encryption.
    pub(crate) fn startup(&mut self) -> bool {
        while let Some(frame) = self.receive() {
            match frame.tag {
                SSL_REQUEST | GSS_REQUEST if self.send(b"N") => {}
                STARTUP => return true,
                CANCEL_REQUEST => {
                    // As a server does that has nothing to stop.
                    let _ = self.socket.shutdown(std::net::Shutdown::Both);
                    return false;
                }
                _ => return false,
            }
        }
        false
    }

    /// Reads the start-up packet and lets the client in.
    pub(crate) fn enter(&mut self) -> bool {
        self.startup() && self.send(&backend::greeting())
    }

    /// Sends bytes; whether they went out.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        (&*self.socket).write_all(bytes).is_ok()
    }

    /// The next message; nothing at the end of the stream.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            match self.reader.next(self.framing) {
                Ok(Some(frame)) => {
                    if frame.tag == STARTUP {
                        self.framing = Framing::Tagged;
                    }
                    return (frame.tag != END).then_some(frame);
                }
                Ok(None) => self.fill()?,
                Err(_) => return None,
            }
        }
    }

    /// Reads up to a message with this tag; nothing at the end of the stream.
    pub(crate) fn receive_to(&mut self, tag: u8) -> Option<Frame> {
        loop {
            let frame = self.receive()?;
            if frame.tag == tag {
                return Some(frame);
            }
        }
    }

    /// Waits until some bytes of the next message are there.
    pub(crate) fn await_bytes(&mut self) -> Option<()> {
        if self.reader.buffered() == 0 { self.fill() } else { Some(()) }
    }

    /// Answers queries, as long as the client likes. `change` may do to each answer what it likes before it is sent;
    /// if it returns false the connection ends behind it.
    pub(crate) fn serve(
        &mut self,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
        mut change: impl FnMut(&mut Vec<u8>) -> bool,
    ) {
        let mut responder = Responder::new(Arc::new(answer));
        while let Some(frame) = self.receive() {
            match responder.take(&frame) {
                Next::Collect => {}
                Next::Flush => {
                    let mut out = std::mem::take(&mut responder.out);
                    let goes_on = change(&mut out);
                    if !self.send(&out) || !goes_on {
                        break;
                    }
                }
                Next::HangUp | Next::End | Next::Unexpected(_) => break,
            }
        }
        self.hang_up();
    }

    /// Answers the preparation of one statement with a text parameter and a text column, lets the function do the rest
    /// of the exchange, and reads to its end.
    pub(crate) fn serve_until_bind(&mut self, then: impl FnOnce(&mut Peer)) {
        let prepared = [
            backend::parse_complete(),
            backend::parameter_description(&[backend::TEXT]),
            backend::row_description(&[("text", backend::TEXT)]),
            backend::ready(b'I'),
        ];
        if self.receive_to(b'S').is_some() && self.send(&prepared.concat()) {
            then(self);
            self.receive_to(b'S');
        }
    }

    /// Closes; what was sent arrives.
    pub(crate) fn hang_up(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn fill(&mut self) -> Option<()> {
        matches!(self.reader.fill(), Ok(Fill::Bytes)).then_some(())
    }
}

/// Whatever the statement: one `bigint` in, the same out.
pub(crate) fn echo(_: &str) -> Answer {
    Answer::rows(&[INT8], &[("int8", INT8)], |values| vec![values.to_vec()])
}
