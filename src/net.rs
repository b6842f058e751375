//! Sockets: addresses, connecting, reading and writing without waiting. Uses: deadline, keeper, off_thread.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use may::io::{CoIo, WaitIo, WaitIoWaker};
use socket2::{Domain, SockAddr, Socket as RawSocket, TcpKeepalive, Type};

use crate::deadline::Deadline;
use crate::keeper;
use crate::off_thread::off_thread;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// The path of a Unix socket, file name included.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp(host, port) => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How TCP connections notice a silent network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpOptions {
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) user_timeout: Option<Duration>,
}

/// When and how often the kernel asks an idle peer whether it still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// `None` leaves each to the system.
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) retries: Option<u32>,
}

/// A connected stream socket. One coroutine at a time waits on it (rule M10): its driver.
///
/// Boxed, and given to [`keeper::bury`] instead of dropped by whoever waited on it: `subscribe` of may's `RawIoBlock`
/// reads the socket's event data through a reference for an instant after it made the waiting coroutine
/// runnable, so the data may neither move nor go within that instant.
pub(crate) struct Socket {
    /// Its place in the event loop.
    events: Box<CoIo<Arc<RawSocket>>>,
    /// The same, and last: it is closed when it has left the event loop. may's `CoIo` alone closes first. Somebody
    /// may have the number for another socket by then, which would be taken out of the event loop and never be woken.
    raw: Arc<RawSocket>,
}

/// What `Socket::wait` saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed its side, or the socket has failed: read on until the end.
    pub(crate) hung_up: bool,
}

/// A coroutine that has read for so long without finding the socket empty should [`give way`](Socket::give_way): a peer
/// that never stops sending would have the worker, its sockets and its other coroutines for itself.
pub(crate) const TURN: Duration = Duration::from_millis(2);

/// How long [`Socket::give_way`] waits if the peer has stopped sending meanwhile. Longer than the turns of several floods
/// together: who is woken by the clock and not by the event loop comes before the sockets again.
const PAUSE: Duration = Duration::from_millis(20);

// Linux numbers of epoll(7); may hands its event bits through.
const EPOLLIN: usize = 0x001;
const EPOLLOUT: usize = 0x004;
const EPOLLERR: usize = 0x008;
const EPOLLHUP: usize = 0x010;
const EPOLLRDHUP: usize = 0x2000;

impl Ready {
    fn from_bits(bits: usize) -> Ready {
        let hung_up = bits & (EPOLLERR | EPOLLHUP | EPOLLRDHUP) != 0;
        Ready { readable: hung_up || bits & EPOLLIN != 0, writable: hung_up || bits & EPOLLOUT != 0, hung_up }
    }

    /// Both together: events come once per change.
    pub(crate) fn and(self, other: Ready) -> Ready {
        Ready {
            readable: self.readable || other.readable,
            writable: self.writable || other.writable,
            hung_up: self.hung_up || other.hung_up,
        }
    }
}

impl Socket {
    /// Reads what there is; `WouldBlock` if nothing.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.raw).read(buffer)
    }

    /// Writes what the kernel takes; `WouldBlock` if nothing.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.raw).write(bytes)
    }

    /// Waits until something happens or somebody calls the waker. Knows no time limit and no cancel
    /// (rule M12): only the driver may call it, and only in its own coroutine.
    pub(crate) fn wait(&self) -> Ready {
        Ready::from_bits(self.events.wait_io())
    }

    /// Waits, though there is more to be read, until more arrives: the news of that comes through the worker's event loop,
    /// so that its other sockets have had their turn. A yield comes back before it (rule M16), and so does a pause
    /// if several floods take turns.
    #[allow(
        deprecated,
        reason = "there is no other way to forget what came before: it would end the wait at once"
    )]
    pub(crate) fn give_way(&self) -> Ready {
        let before = self.events.reset_io();
        let waker = self.waker();
        let _alarm = keeper::alarm(Deadline::after(PAUSE), move || waker.wakeup());
        let now = self.wait();
        now.and(Ready::from_bits(before))
    }

    /// Ends the present or the next `wait`.
    pub(crate) fn waker(&self) -> WaitIoWaker {
        self.events.waker()
    }

    /// Sends and receives nothing more; the driver sees the end.
    pub(crate) fn shut_down(&self) {
        // Fails only if the peer was faster.
        let _ = self.raw.shutdown(std::net::Shutdown::Both);
    }
}

/// One place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The addresses of an endpoint, in the order to try them. Looking up a name blocks, so it happens on a plain thread
/// (rules M15, M17, M19).
pub(crate) fn addresses(endpoint: &Endpoint) -> io::Result<Vec<Address>> {
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
        Endpoint::Tcp(host, port) => (host.clone(), *port),
    };
    if let Ok(address) = host.parse() {
        return Ok(vec![Address::Tcp(SocketAddr::new(address, port))]);
    }
    off_thread("maypole resolver", move || {
        (host.as_str(), port).to_socket_addrs().map(|found| found.map(Address::Tcp).collect())
    })?
}

/// Connects to one address. Call it in a coroutine that nobody cancels.
pub(crate) fn connect(address: &Address, options: &TcpOptions, deadline: Deadline) -> io::Result<Socket> {
    match address {
        Address::Unix(path) => connect_unix(path, deadline),
        Address::Tcp(address) => connect_tcp(*address, options, deadline),
    }
}

fn connect_tcp(address: SocketAddr, options: &TcpOptions, deadline: Deadline) -> io::Result<Socket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = options.keepalive {
        let mut probes = TcpKeepalive::new();
        if let Some(idle) = keepalive.idle {
            probes = probes.with_time(idle);
        }
        if let Some(interval) = keepalive.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(retries) = keepalive.retries {
            probes = probes.with_retries(retries);
        }
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(options.user_timeout)?;
    establish(socket, &address.into(), deadline)
}

fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    loop {
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        match establish(socket, &address, deadline) {
            // The server's queue of connections is full, and a Unix socket cannot wait for room (unix(7)).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if deadline.passed(Instant::now()) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                keeper::pause(Deadline::after(RETRY).min(deadline));
            }
            result => return result,
        }
    }
}

fn establish(socket: RawSocket, address: &SockAddr, deadline: Deadline) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    let under_way = match socket.connect(address) {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => true,
        Err(error) => return Err(error),
    };
    let raw = Arc::new(socket);
    let socket = Socket { events: Box::new(CoIo::new(raw.clone()).map_err(io::Error::from)?), raw };
    match if under_way { await_connected(&socket, deadline) } else { Ok(()) } {
        Ok(()) => Ok(socket),
        Err(error) => {
            keeper::bury(socket);
            Err(error)
        }
    }
}

fn await_connected(socket: &Socket, deadline: Deadline) -> io::Result<()> {
    let waker = socket.waker();
    let _alarm = keeper::alarm(deadline, move || waker.wakeup());
    loop {
        if let Some(error) = socket.raw.take_error()? {
            return Err(error);
        }
        if socket.raw.peer_addr().is_ok() {
            return Ok(());
        }
        if deadline.passed(Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.wait();
    }
}

/// How long to wait for room in a full queue of connections.
const RETRY: Duration = Duration::from_millis(5);

/// Linux's number of "the connection is being established".
const EINPROGRESS: i32 = 115;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::coro::spawn;

    /// How many sockets each worker opens, and how many workers there are: enough to meet the keeper closing others.
    const ROUNDS: usize = 1_000;
    const WORKERS: usize = 8;
    /// The end of a stream is on its way for microseconds.
    const LATE: Duration = Duration::from_secs(5);

    /// Opens a socket, and waits until the peer has closed.
    fn await_end(address: &Address) -> io::Result<()> {
        let options = TcpOptions { keepalive: None, user_timeout: None };
        let deadline = Deadline::after(LATE);
        let socket = connect(address, &options, deadline)?;
        let waker = socket.waker();
        let _alarm = keeper::alarm(deadline, move || waker.wakeup());
        let result = loop {
            match socket.read(&mut [0]) {
                _ if deadline.passed(Instant::now()) => break Err(io::ErrorKind::TimedOut.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drop(socket.wait()),
                read => break read.map(drop),
            }
        };
        keeper::bury(socket);
        result
    }

    #[test]
    fn a_socket_that_is_closed_takes_no_other_out_of_the_event_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address");
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let server = thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                drop(listener.accept().expect("a connection"));
            }
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| spawn(move || (0..ROUNDS).try_for_each(|_| await_end(&Address::Tcp(port)))))
            .collect();
        for worker in workers {
            worker.join().expect("no panic").expect("it is told of the end");
        }
        over.store(true, Ordering::SeqCst);
        // Wakes the server.
        drop(TcpStream::connect(port));
        server.join().expect("no panic");
    }
}
