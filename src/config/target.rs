//! Servers to try: hosts and ports. Uses: nothing.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A host name or an IP address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// One server to try: a host with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    /// Where to connect instead of asking for the addresses of a [`Host::Tcp`].
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Target {
    /// The socket's file, if the host is the folder of a Unix socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp(_) => None,
            Host::Unix(folder) => Some(socket(folder, self.port)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}", socket(folder, self.port).display()),
        }
    }
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

impl Host {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Host::Tcp(name) => name.as_bytes(),
            Host::Unix(folder) => folder.as_os_str().as_encoded_bytes(),
        }
    }

    /// Why this can't be a host. What can't is often a piece of a password, and must not reach a resolver's log.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let Host::Tcp(name) = self else { return None };
        if name.starts_with('@') {
            return Some("abstract Unix sockets are not supported by maypole");
        }
        let address = name.split('%').next().unwrap_or_default();
        if name.contains(':') && address.parse::<IpAddr>().is_err() {
            return Some("a ':' is only part of an IPv6 address; give the port by itself");
        }
        let strange = |c: char| c.is_whitespace() || c.is_control() || "@/\\'\"?#&=,[]".contains(c);
        name.contains(strange).then_some(
            "is neither a host name nor an address; a socket's folder begins with '/', and in the user and the \
             password of a URL special characters are written %xx",
        )
    }
}
