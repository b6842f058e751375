//! A listening socket, TCP or Unix, whose accepting thread can be woken. Uses: nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

/// Where a fake server or a proxy can be reached.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A folder of its own with the socket file of port 5432 in it; removed with the listener.
    Unix(PathBuf),
}

/// The port that names the socket file.
pub(crate) const UNIX_PORT: u16 = 5432;

impl Place {
    fn address(&self) -> io::Result<SockAddr> {
        match self {
            Place::Tcp(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into()),
            Place::Unix(folder) => SockAddr::unix(socket_file(folder, UNIX_PORT)),
        }
    }

    fn domain(&self) -> Domain {
        match self {
            Place::Tcp(_) => Domain::IPV4,
            Place::Unix(_) => Domain::UNIX,
        }
    }

    /// Makes a connection and drops it: whoever blocks in `accept` wakes up and looks around.
    pub(crate) fn poke(&self) {
        if let (Ok(socket), Ok(address)) = (Socket::new(self.domain(), Type::STREAM, None), self.address()) {
            // Nobody listening is fine: then nobody needs to be woken.
            let _ = socket.connect(&address);
        }
    }
}

/// The socket file PostgreSQL uses for a port.
pub(crate) fn socket_file(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// A bound socket that listens.
pub(crate) struct Listener {
    pub(crate) place: Place,
    socket: Socket,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn tcp() -> io::Result<Listener> {
        let socket = bound(&Place::Tcp(0))?;
        socket.listen(128)?;
        let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
        Ok(Listener { place: Place::Tcp(port), socket })
    }

    /// Listens on a socket file in a new folder.
    pub(crate) fn unix() -> io::Result<Listener> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("maypole-kit-{}-{count}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let place = Place::Unix(folder);
        let socket = bound(&place)?;
        socket.listen(128)?;
        Ok(Listener { place, socket })
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        let (socket, _) = self.socket.accept()?;
        socket.set_nonblocking(false)?;
        if matches!(self.place, Place::Tcp(_)) {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }

    /// The connections that have come and were not accepted.
    pub(crate) fn drain(&self) -> io::Result<Vec<Socket>> {
        self.socket.set_nonblocking(true)?;
        let mut found = Vec::new();
        loop {
            match self.socket.accept() {
                Ok((socket, _)) => found.push(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.socket.set_nonblocking(false)?;
        Ok(found)
    }

    /// Stops listening but keeps the port: whoever connects is refused.
    pub(crate) fn refuse(&mut self) -> io::Result<()> {
        // The old socket has to go first, so the port is free for an instant.
        self.socket = Socket::new(self.place.domain(), Type::STREAM, None)?;
        self.socket = bound(&self.place)?;
        Ok(())
    }

    /// Listens again.
    pub(crate) fn listen_again(&mut self) -> io::Result<()> {
        self.socket.listen(128)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Place::Unix(folder) = &self.place {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn bound(place: &Place) -> io::Result<Socket> {
    let socket = Socket::new(place.domain(), Type::STREAM, None)?;
    match place {
        // Connections of the past on the same port must not hinder.
        Place::Tcp(_) => socket.set_reuse_address(true)?,
        Place::Unix(folder) => drop(std::fs::remove_file(socket_file(folder, UNIX_PORT))),
    }
    socket.bind(&place.address()?)?;
    Ok(socket)
}
