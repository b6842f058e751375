//! The connection strings of the kit itself, read without the library's help. Uses: listener.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::socket_file;

/// A `postgres://` address taken apart: enough for the addresses that test servers give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    /// A name, or a folder if it starts with a slash.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?host=…&port=…`; panics on anything else.
    pub(crate) fn parse(url: &str) -> Address {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .unwrap_or_else(|| panic!("the kit reads only postgres:// addresses"));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decode(password))),
            None => (login, None),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None => (place, "5432"),
        };
        let mut address = Address {
            user: decode(user),
            password,
            host: decode(host),
            port: port.parse().expect("a port number"),
            database: decode(database),
        };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "host" => address.host = decode(value),
                "port" => address.port = value.parse().expect("a port number"),
                "user" => address.user = decode(value),
                "password" => address.password = Some(decode(value)),
                "dbname" => address.database = decode(value),
                _ => {}
            }
        }
        address
    }

    /// The same login at another port of 127.0.0.1, as a connection string.
    pub(crate) fn url_at(&self, port: u16) -> String {
        let password = self.password.as_ref().map(|text| format!(":{}", encode(text))).unwrap_or_default();
        format!("postgres://{}{password}@127.0.0.1:{port}/{}", encode(&self.user), encode(&self.database))
    }

    /// Opens a socket to it.
    pub(crate) fn connect(&self) -> io::Result<Socket> {
        if self.host.starts_with('/') {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.connect(&SockAddr::unix(socket_file(&PathBuf::from(&self.host), self.port))?)?;
            return Ok(socket);
        }
        let found: Option<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.next();
        let address = found.ok_or_else(|| io::Error::other("the host has no address"))?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, code.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("an address is UTF-8")
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
