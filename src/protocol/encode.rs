//! Requests as bytes: all of a request or nothing of it. Uses: error, params, session.

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};
use postgres_types::{Format, Kind, ToSql, Type, WrongType};

use super::session::{Exchange, Step};
use crate::error::{Error, Result};
use crate::params::Params;

/// Bind and Execute, then Sync.
pub(crate) const EXECUTE: Exchange = Exchange::new(&[Step::Bind, Step::Execute, Step::Sync]);
/// Bind and Execute the first rows, without a Sync, which would end the portal.
pub(crate) const EXECUTE_FIRST: Exchange = Exchange::new(&[Step::Bind, Step::Execute]);
/// Execute the next rows of a portal.
pub(crate) const EXECUTE_NEXT: Exchange = Exchange::new(&[Step::Execute]);
/// The same inside a transaction.
pub(crate) const EXECUTE_NEXT_AND_SYNC: Exchange = Exchange::new(&[Step::Execute, Step::Sync]);
/// Close a portal or a statement, then Sync.
pub(crate) const CLOSE: Exchange = Exchange::new(&[Step::Close, Step::Sync]);
/// Only Sync.
pub(crate) const SYNC: Exchange = Exchange::new(&[Step::Sync]);
/// A simple query.
pub(crate) const SIMPLE: Exchange = Exchange::new(&[Step::Simple]);

/// Writes messages behind what is in the buffer; whatever fails leaves the buffer as it was.
pub(crate) struct Encoder<'b> {
    buffer: &'b mut BytesMut,
    start: usize,
    limit: usize,
    failed: bool,
}

impl<'b> Encoder<'b> {
    /// Messages longer than `limit` bytes are refused, before anything is sent.
    pub(crate) fn new(buffer: &'b mut BytesMut, limit: usize) -> Encoder<'b> {
        let start = buffer.len();
        Encoder { buffer, start, limit, failed: false }
    }

    fn message(&mut self, write: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
        let begin = self.buffer.len();
        let result = write(self.buffer).and_then(|()| {
            let length = self.buffer.len() - begin;
            if length > self.limit {
                return Err(Error::parameter(format!(
                    "a message of {length} bytes is longer than the limit of {} (max_message_size); \
                     nothing of it was sent",
                    self.limit
                )));
            }
            Ok(())
        });
        self.failed |= result.is_err();
        result
    }

    pub(crate) fn parse(&mut self, name: &str, sql: &str, types: &[u32]) -> Result<()> {
        self.message(|buffer| {
            frontend::parse(name, sql, types.iter().copied(), buffer).map_err(|e| text("the statement", e))
        })
    }

    pub(crate) fn describe_statement(&mut self, name: &str) -> Result<()> {
        self.message(|buffer| frontend::describe(b'S', name, buffer).map_err(|e| text("a name", e)))
    }

    /// Bind: the values by the server's types, in the format each value asks for; results in binary.
    pub(crate) fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        types: &[Type],
        params: &dyn Params,
    ) -> Result<()> {
        if types.len() != params.len() {
            self.failed = true;
            return Err(Error::parameter(format!(
                "the statement has {} parameter{}, {} given",
                types.len(),
                if types.len() == 1 { "" } else { "s" },
                match params.len() {
                    1 => "1 was".to_owned(),
                    n => format!("{n} were"),
                }
            )));
        }
        self.message(|buffer| {
            let formats =
                types.iter().enumerate().map(|(at, type_)| match params.get(at).encode_format(type_) {
                    Format::Text => 0,
                    Format::Binary => 1,
                });
            let mut wrong = None;
            let values = types.iter().enumerate();
            let result = frontend::bind(
                portal,
                statement,
                formats,
                values,
                |(at, type_), buffer| {
                    encode(params.get(at), type_, buffer).map(null).inspect_err(|_| wrong = Some((at, type_)))
                },
                Some(1),
                buffer,
            );
            match (result, wrong) {
                (Ok(()), _) => Ok(()),
                (Err(BindError::Conversion(cause)), Some((at, type_))) => {
                    let place = at + 1;
                    Err(Error::parameter(format!(
                        "parameter ${place} does not convert to the type {type_} that the server expects"
                    ))
                    .caused_by(cause))
                }
                (Err(BindError::Conversion(cause)), None) => {
                    Err(Error::parameter("a parameter does not convert").caused_by(cause))
                }
                (Err(BindError::Serialization(error)), _) => Err(text("the parameters", error)),
            }
        })
    }

    /// Execute: at most so many rows, 0 for all.
    pub(crate) fn execute(&mut self, portal: &str, rows: i32) -> Result<()> {
        self.message(|buffer| frontend::execute(portal, rows, buffer).map_err(|e| text("a name", e)))
    }

    pub(crate) fn close_statement(&mut self, name: &str) -> Result<()> {
        self.message(|buffer| frontend::close(b'S', name, buffer).map_err(|e| text("a name", e)))
    }

    pub(crate) fn close_portal(&mut self, name: &str) -> Result<()> {
        self.message(|buffer| frontend::close(b'P', name, buffer).map_err(|e| text("a name", e)))
    }

    pub(crate) fn query(&mut self, sql: &str) -> Result<()> {
        self.message(|buffer| frontend::query(sql, buffer).map_err(|e| text("the statement", e)))
    }

    pub(crate) fn sync(&mut self) {
        frontend::sync(self.buffer);
    }

    pub(crate) fn flush(&mut self) {
        frontend::flush(self.buffer);
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.buffer.truncate(self.start);
        }
    }
}

/// A domain travels as what it is made of, so whatever does not know the domain itself is taken as that.
fn encode(
    value: &(dyn ToSql + Sync),
    type_: &Type,
    buffer: &mut BytesMut,
) -> Result<postgres_types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
    let start = buffer.len();
    match (value.to_sql_checked(type_, buffer), type_.kind()) {
        (Err(error), Kind::Domain(base)) if error.is::<WrongType>() => {
            buffer.truncate(start);
            encode(value, base, buffer)
        }
        (result, _) => result,
    }
}

/// postgres-types and postgres-protocol each have a word for it.
fn null(is_null: postgres_types::IsNull) -> IsNull {
    match is_null {
        postgres_types::IsNull::Yes => IsNull::Yes,
        postgres_types::IsNull::No => IsNull::No,
    }
}

fn text(what: &str, error: std::io::Error) -> Error {
    Error::parameter(format!("{what} cannot be sent: {error}"))
}

/// The bytes of a Sync: for those who need no encoder.
pub(crate) const SYNC_BYTES: &[u8] = b"S\0\0\0\x04";

/// The bytes of Terminate.
pub(crate) const TERMINATE_BYTES: &[u8] = b"X\0\0\0\x04";

/// Takes the whole of a buffer out of it.
pub(crate) fn take(buffer: &mut BytesMut, into: &mut BytesMut) {
    if into.is_empty() {
        std::mem::swap(buffer, into);
    } else {
        into.put_slice(buffer);
        // Not emptied: it would keep its room, which may be large.
        *buffer = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_that_fails_half_way_leaves_nothing_in_the_buffer() {
        let mut buffer = BytesMut::from(&b"before"[..]);
        let mut encoder = Encoder::new(&mut buffer, 1000);
        encoder.parse("s1", "SELECT $1, $2, $3", &[]).expect("encodes");
        let types = [Type::INT4, Type::INT4, Type::INT4];
        let error = encoder.bind("", "s1", &types, &(1i32, "two", 3i32)).expect_err("a text is no int4");
        assert!(error.to_string().contains("$2"), "{error}");
        drop(encoder);
        assert_eq!(&buffer[..], b"before");
    }

    #[test]
    fn a_value_over_the_limit_is_refused_before_a_byte_is_sent() {
        let mut buffer = BytesMut::new();
        let mut encoder = Encoder::new(&mut buffer, 100);
        let error = encoder.bind("", "s1", &[Type::TEXT], &("x".repeat(200),)).expect_err("too long");
        assert!(error.to_string().contains("max_message_size"), "{error}");
        drop(encoder);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_nul_in_a_statement_is_refused() {
        let mut buffer = BytesMut::new();
        assert!(Encoder::new(&mut buffer, 1000).query("SELECT 1; \0 DROP TABLE x").is_err());
        assert!(Encoder::new(&mut buffer, 1000).parse("s1", "SELECT '\0'", &[]).is_err());
        assert!(buffer.is_empty());
    }

    #[test]
    fn the_number_of_parameters_must_fit() {
        let mut buffer = BytesMut::new();
        let error = Encoder::new(&mut buffer, 1000).bind("", "s1", &[Type::INT4], &(1i32, 2i32));
        let error = error.expect_err("two for one").to_string();
        assert!(error.contains("has 1 parameter, 2 were given"), "{error}");
    }
}
