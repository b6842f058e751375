//! A minimal blocking client, to test the kit with and to look at a server past the library.
//! Uses: address, frame.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use socket2::Socket;

use super::address::Address;
use super::frame::{Fill, Frame, FrameReader, Framing};

/// What a server answered to a simple query: the rows as text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// Why a plain client got no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server said so: SQLSTATE and message.
    Server { code: String, text: String },
    /// The connection ended.
    Ended,
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Failure::Ended,
            _ => Failure::Io(error),
        }
    }
}

/// One session over a std socket. Reads give up after ten seconds.
pub(crate) struct Client {
    socket: Arc<Socket>,
    reader: FrameReader,
    /// Every message that came since the session was ready, except those `query` has understood.
    pub(crate) aside: Vec<Frame>,
    /// Process and key, for a cancel request.
    pub(crate) key: Option<(i32, i32)>,
    /// The status of the last ReadyForQuery.
    pub(crate) status: u8,
}

impl Client {
    /// Opens a session: trust, password, md5 or SCRAM.
    pub(crate) fn connect(url: &str) -> Result<Client, Failure> {
        let address = Address::parse(url);
        let mut client = Client::connect_socket(&address)?;
        client.start(&address)?;
        Ok(client)
    }

    /// Opens only the socket.
    pub(crate) fn connect_socket(address: &Address) -> Result<Client, Failure> {
        let socket = Arc::new(address.connect()?);
        let reader = FrameReader::new(Arc::clone(&socket));
        reader.set_patience(Some(Duration::from_secs(10)))?;
        Ok(Client { socket, reader, aside: Vec::new(), key: None, status: 0 })
    }

    /// Says who it is and waits until the session is ready.
    pub(crate) fn start(&mut self, address: &Address) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        let names = [("user", address.user.as_str()), ("database", address.database.as_str())];
        frontend::startup_message(names, &mut out)?;
        self.send(&out)?;
        let password = address.password.as_deref().unwrap_or("").as_bytes();
        let mut scram = None;
        loop {
            let frame = self.receive()?;
            match frame.tag {
                b'R' => {
                    let mut out = BytesMut::new();
                    answer(&frame, &address.user, password, &mut scram, &mut out)?;
                    self.send(&out)?;
                }
                b'K' => self.key = Some((number(&frame.body()[..4]), number(&frame.body()[4..8]))),
                b'E' => return Err(server_failure(&frame)),
                b'Z' => {
                    self.status = frame.body()[0];
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok((&*self.socket).write_all(bytes)?)
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = self.reader.next(Framing::Tagged)? {
                return Ok(frame);
            }
            match self.reader.fill()? {
                Fill::Bytes => {}
                Fill::End => return Err(Failure::Ended),
                Fill::Quiet => return Err(Failure::Io(io::ErrorKind::TimedOut.into())),
            }
        }
    }

    /// Sends a simple query without waiting.
    pub(crate) fn send_query(&mut self, sql: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.send(&out)
    }

    /// Runs a simple query: the rows of its statements, one after the other.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Rows, Failure> {
        self.send_query(sql)?;
        self.receive_rows()
    }

    /// Reads to the next ReadyForQuery.
    pub(crate) fn receive_rows(&mut self) -> Result<Rows, Failure> {
        let mut rows = Rows::new();
        let mut failure = None;
        loop {
            let frame = self.receive()?;
            match frame.tag {
                b'D' => rows.push(row(frame.body())),
                b'E' => failure = Some(server_failure(&frame)),
                b'Z' => {
                    self.status = frame.body()[0];
                    return failure.map_or(Ok(rows), Err);
                }
                b'T' | b'C' | b'I' => {}
                _ => self.aside.push(frame),
            }
        }
    }

    /// Runs a query whose answer is one text.
    pub(crate) fn value(&mut self, sql: &str) -> Result<String, Failure> {
        let rows = self.query(sql)?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(first.unwrap_or_else(|| panic!("{sql} answered with no value")))
    }

    /// Limits how long a read waits; ten seconds at first.
    pub(crate) fn set_patience(&self, limit: Duration) -> io::Result<()> {
        self.reader.set_patience(Some(limit))
    }

    /// Reads once, whatever it is; nothing is the end.
    pub(crate) fn raw_read(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; 16 * 1024];
        let count = (&*self.socket).read(&mut chunk)?;
        chunk.truncate(count);
        Ok(chunk)
    }

    /// The size of each read so far.
    pub(crate) fn reads(&self) -> &[usize] {
        &self.reader.reads
    }

    /// Bytes of a message that is not whole yet.
    pub(crate) fn unfinished(&self) -> usize {
        self.reader.buffered()
    }

    /// Says goodbye and closes.
    pub(crate) fn terminate(mut self) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        self.send(&out)
    }
}

fn answer(
    request: &Frame,
    user: &str,
    password: &[u8],
    scram: &mut Option<ScramSha256>,
    out: &mut BytesMut,
) -> io::Result<()> {
    let (code, data) = request.body().split_at(4);
    match (number(code), scram) {
        (0, _) => Ok(()),
        (3, _) => frontend::password_message(password, out),
        (5, _) => {
            let salt = [data[0], data[1], data[2], data[3]];
            frontend::password_message(md5_hash(user.as_bytes(), password, salt).as_bytes(), out)
        }
        (10, scram) => {
            let started = scram.insert(ScramSha256::new(password, ChannelBinding::unsupported()));
            frontend::sasl_initial_response(SCRAM_SHA_256, started.message(), out)
        }
        (11, Some(scram)) => {
            scram.update(data)?;
            frontend::sasl_response(scram.message(), out)
        }
        (12, Some(scram)) => scram.finish(data),
        (other, _) => Err(io::Error::other(format!("the plain client does not know authentication {other}"))),
    }
}

fn server_failure(frame: &Frame) -> Failure {
    let field = |kind: u8| {
        let fields = frame.body().split(|&byte| byte == 0);
        let found = fields.filter_map(|field| field.split_first()).find(|(first, _)| **first == kind);
        found.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    };
    Failure::Server { code: field(b'C'), text: field(b'M') }
}

fn row(mut body: &[u8]) -> Vec<Option<String>> {
    let mut values = Vec::new();
    body = &body[2..];
    while body.len() >= 4 {
        let length = number(&body[..4]);
        body = &body[4..];
        values.push(usize::try_from(length).ok().map(|length| {
            let (value, rest) = body.split_at(length);
            body = rest;
            String::from_utf8_lossy(value).into_owned()
        }));
    }
    values
}

fn number(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
