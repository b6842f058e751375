//! Messages of the wire protocol as frames, in both directions. Uses: nothing.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

// What has no tag on the wire gets one here, below every real tag.

/// The first packet of a session.
pub(crate) const STARTUP: u8 = 0;
/// The question whether the server speaks TLS.
pub(crate) const SSL_REQUEST: u8 = 1;
/// The question whether the server speaks GSS encryption.
pub(crate) const GSS_REQUEST: u8 = 2;
/// The only packet of a cancel connection.
pub(crate) const CANCEL_REQUEST: u8 = 3;
/// The server's single byte after one of the two questions.
pub(crate) const ANSWER_BYTE: u8 = 4;
/// Some bytes of an encrypted session.
pub(crate) const OPAQUE: u8 = 5;
/// The end of the stream, orderly or not.
pub(crate) const END: u8 = 6;

const FIRST_REAL_TAG: u8 = 8;

/// Whether the tag stands on the wire.
pub(crate) fn is_real_tag(tag: u8) -> bool {
    tag >= FIRST_REAL_TAG
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The client.
    Frontend,
    /// The server.
    Backend,
}

/// The protocol's name of a message, for reports.
pub(crate) fn name(direction: Direction, tag: u8) -> String {
    let known = match (direction, tag) {
        (_, STARTUP) => "Startup",
        (_, SSL_REQUEST) => "SSLRequest",
        (_, GSS_REQUEST) => "GSSENCRequest",
        (_, CANCEL_REQUEST) => "CancelRequest",
        (_, ANSWER_BYTE) => "the answer byte",
        (_, OPAQUE) => "encrypted bytes",
        (_, END) => "the end of the stream",
        (_, b'c') => "CopyDone",
        (_, b'd') => "CopyData",
        (Direction::Frontend, b'B') => "Bind",
        (Direction::Frontend, b'C') => "Close",
        (Direction::Frontend, b'D') => "Describe",
        (Direction::Frontend, b'E') => "Execute",
        (Direction::Frontend, b'f') => "CopyFail",
        (Direction::Frontend, b'H') => "Flush",
        (Direction::Frontend, b'p') => "a password or SASL message",
        (Direction::Frontend, b'P') => "Parse",
        (Direction::Frontend, b'Q') => "Query",
        (Direction::Frontend, b'S') => "Sync",
        (Direction::Frontend, b'X') => "Terminate",
        (Direction::Backend, b'1') => "ParseComplete",
        (Direction::Backend, b'2') => "BindComplete",
        (Direction::Backend, b'3') => "CloseComplete",
        (Direction::Backend, b'A') => "NotificationResponse",
        (Direction::Backend, b'C') => "CommandComplete",
        (Direction::Backend, b'D') => "DataRow",
        (Direction::Backend, b'E') => "ErrorResponse",
        (Direction::Backend, b'G') => "CopyInResponse",
        (Direction::Backend, b'H') => "CopyOutResponse",
        (Direction::Backend, b'I') => "EmptyQueryResponse",
        (Direction::Backend, b'K') => "BackendKeyData",
        (Direction::Backend, b'n') => "NoData",
        (Direction::Backend, b'N') => "NoticeResponse",
        (Direction::Backend, b'R') => "an authentication request",
        (Direction::Backend, b's') => "PortalSuspended",
        (Direction::Backend, b'S') => "ParameterStatus",
        (Direction::Backend, b't') => "ParameterDescription",
        (Direction::Backend, b'T') => "RowDescription",
        (Direction::Backend, b'Z') => "ReadyForQuery",
        _ => return format!("a message with the unknown tag {:?}", char::from(tag)),
    };
    known.to_owned()
}

/// One message, whole.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    /// As it stood on the wire, with tag and length.
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    /// What comes after tag and length, or after the code of an untagged packet.
    pub(crate) fn body(&self) -> &[u8] {
        match self.tag {
            STARTUP | SSL_REQUEST | GSS_REQUEST | CANCEL_REQUEST => &self.bytes[8..],
            ANSWER_BYTE | OPAQUE | END => &self.bytes,
            _ => &self.bytes[5..],
        }
    }

    /// The stream's end.
    pub(crate) fn end() -> Frame {
        Frame { tag: END, bytes: Vec::new() }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        let shown = &body[..body.len().min(80)];
        let more = if shown.len() < body.len() { "…" } else { "" };
        write!(f, "{:?} \"{}{more}\"", char::from(self.tag), shown.escape_ascii())
    }
}

/// How the next bytes of a stream are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Length and code, as before a session has started.
    Untagged,
    /// Tag and length.
    Tagged,
    /// One byte.
    Byte,
    /// Whatever is there.
    Opaque,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes,
    /// The read timeout passed.
    Quiet,
    /// The peer has closed, or the connection was reset.
    End,
}

/// A socket read frame by frame.
pub(crate) struct FrameReader {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    /// The size of each read that brought something.
    pub(crate) reads: Vec<usize>,
}

impl FrameReader {
    pub(crate) fn new(socket: Arc<Socket>) -> FrameReader {
        FrameReader { socket, buffer: Vec::new(), reads: Vec::new() }
    }

    /// Bytes that were read and are not yet part of a frame handed out.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Limits how long one `fill` waits.
    pub(crate) fn set_patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(limit)
    }

    /// Reads once.
    pub(crate) fn fill(&mut self) -> io::Result<Fill> {
        let mut chunk = vec![0; 16 * 1024];
        let read = loop {
            match (&*self.socket).read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Ok(Fill::End),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                self.reads.push(count);
                Ok(Fill::Bytes)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Fill::Quiet),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ok(Fill::End),
                io::ErrorKind::NotConnected => Ok(Fill::End),
                _ => Err(error),
            },
        }
    }

    /// The first byte that was read and not handed out.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.buffer.first().copied()
    }

    /// The next frame, if all of it has been read.
    pub(crate) fn next(&mut self, framing: Framing) -> io::Result<Option<Frame>> {
        let (tag, size) = match framing {
            Framing::Byte if !self.buffer.is_empty() => (ANSWER_BYTE, 1),
            Framing::Opaque if !self.buffer.is_empty() => (OPAQUE, self.buffer.len()),
            Framing::Byte | Framing::Opaque => return Ok(None),
            Framing::Untagged => {
                let Some(length) = self.number_at(0) else { return Ok(None) };
                let Some(code) = self.number_at(4) else { return Ok(None) };
                (untagged(code), size_of(length, 0, 8)?)
            }
            Framing::Tagged => {
                let Some(length) = self.number_at(1) else { return Ok(None) };
                (self.buffer[0], size_of(length, 1, 5)?)
            }
        };
        if self.buffer.len() < size {
            return Ok(None);
        }
        let rest = self.buffer.split_off(size);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        Ok(Some(Frame { tag, bytes }))
    }

    fn number_at(&self, at: usize) -> Option<i32> {
        let four = self.buffer.get(at..at + 4)?;
        Some(i32::from_be_bytes(four.try_into().ok()?))
    }
}

fn untagged(code: i32) -> u8 {
    match code {
        80_877_102 => CANCEL_REQUEST,
        80_877_103 => SSL_REQUEST,
        80_877_104 => GSS_REQUEST,
        _ => STARTUP,
    }
}

fn size_of(length: i32, before: usize, least: usize) -> io::Result<usize> {
    match usize::try_from(length) {
        Ok(length) if length + before >= least => Ok(length + before),
        _ => Err(io::Error::other(format!("a message announces the impossible length {length}"))),
    }
}
