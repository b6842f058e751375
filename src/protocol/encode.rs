//! Requests as bytes: all of a request or nothing of it. Uses: bind, columns, error, session.

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;
use postgres_types::Type;

use super::bind::Values;
use super::session::{Exchange, Step};
use crate::columns::{Column, Columns};
use crate::error::{Error, Result};

/// Bind and Execute, then Sync.
pub(crate) const STATEMENT: [Step; 3] = [Step::Bind, Step::Execute, Step::Sync];
/// Bind and Execute the first rows, without a Sync, which would end the portal.
pub(crate) const STATEMENT_FIRST: [Step; 2] = [Step::Bind, Step::Execute];
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) const EXECUTE: Exchange = Exchange::new(&STATEMENT);
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) const EXECUTE_FIRST: Exchange = Exchange::new(&STATEMENT_FIRST);
/// Execute the next rows of a portal.
pub(crate) const EXECUTE_NEXT: Exchange = Exchange::new(&[Step::Execute]);
/// The same inside a transaction.
pub(crate) const EXECUTE_NEXT_AND_SYNC: Exchange = Exchange::new(&[Step::Execute, Step::Sync]);
/// Close a portal or a statement, then Sync.
pub(crate) const CLOSE: Exchange = Exchange::new(&[Step::Close, Step::Sync]);
/// Close a portal or a statement, then Flush.
pub(crate) const CLOSE_NEXT: Exchange = Exchange::new(&[Step::Close]);
/// A command without parameters and without a name, then Sync.
pub(crate) const COMMAND: Exchange = Exchange::new(&[Step::Parse, Step::Bind, Step::Execute, Step::Sync]);
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
                return Err(beyond_limit(length, self.limit));
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

    /// Bind: the values by the server's types, each in the format it travels in; results in binary, or as text where a
    /// column has no other form.
    pub(crate) fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        types: &[Type],
        values: Values<'_>,
        columns: &Columns,
    ) -> Result<()> {
        let count = values.len();
        if types.len() != count {
            self.failed = true;
            return Err(miscounted(types.len(), count));
        }
        self.message(|buffer| {
            buffer.put_u8(b'B');
            let start = buffer.len();
            buffer.put_u32(0);
            c_string(portal, buffer)?;
            c_string(statement, buffer)?;
            let (count_, formats) = (number_of(count)?, buffer.len() + 2);
            buffer.put_u16(count_);
            buffer.put_bytes(0, 2 * count);
            buffer.put_u16(count_);
            for at in 0..count {
                let length_at = buffer.len();
                buffer.put_i32(-1);
                let (is_null, format) = values.write(at, types, buffer)?;
                if let postgres_types::IsNull::No = is_null {
                    let length = buffer.len() - length_at - 4;
                    let length = i32::try_from(length).map_err(|_| beyond_protocol("value", length))?;
                    buffer[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
                } else {
                    buffer.truncate(length_at + 4);
                }
                buffer[formats + 2 * at..formats + 2 * at + 2].copy_from_slice(&format.to_be_bytes());
            }
            if columns.has_text() {
                buffer.put_u16(number_of(columns.len())?);
                columns.iter().for_each(|column| buffer.put_i16(i16::from(is_binary(column))));
            } else {
                buffer.put_u16(1);
                buffer.put_i16(1);
            }
            let length = buffer.len() - start;
            let length = i32::try_from(length).map_err(|_| beyond_protocol("message", length))?;
            buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
            Ok(())
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

    /// A command without parameters and without a name: Parse, Bind, Execute.
    pub(crate) fn command(&mut self, text: &str) -> Result<()> {
        self.parse("", text, &[])?;
        // No portal name, no statement name, no parameters; all of the result in binary.
        self.buffer.put_slice(b"B\0\0\0\x0e\0\0\0\0\0\0\0\x01\0\x01");
        self.execute("", 0)
    }

    pub(crate) fn query(&mut self, sql: &str) -> Result<()> {
        self.message(|buffer| frontend::query(sql, buffer).map_err(|e| text("the statement", e)))
    }

    /// Messages that were written before.
    pub(crate) fn append(&mut self, messages: &[u8]) {
        self.buffer.put_slice(messages);
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

/// Types without a binary form come as text.
fn is_binary(column: &Column) -> bool {
    column.wire() == column.type_()
}

/// A number of parameters, if the protocol has room for so many.
pub(crate) fn number_of(parameters: usize) -> Result<u16> {
    u16::try_from(parameters).map_err(|_| too_many(parameters))
}

#[cold]
#[inline(never)]
fn too_many(parameters: usize) -> Error {
    Error::parameter(format!("{parameters} parameters are more than the protocol has room for (65,535)"))
}

#[cold]
#[inline(never)]
fn beyond_limit(length: usize, limit: usize) -> Error {
    Error::parameter(format!(
        "a message of {length} bytes is longer than the limit of {limit} (max_message_size); nothing of it was sent"
    ))
}

#[cold]
#[inline(never)]
fn beyond_protocol(what: &str, length: usize) -> Error {
    Error::parameter(format!("a {what} of {length} bytes is longer than the protocol has room for"))
}

#[cold]
#[inline(never)]
fn miscounted(parameters: usize, values: usize) -> Error {
    let s = if parameters == 1 { "" } else { "s" };
    let were = if values == 1 { "1 was".to_owned() } else { format!("{values} were") };
    Error::parameter(format!("the statement has {parameters} parameter{s}, {were} given"))
}

fn c_string(text: &str, buffer: &mut BytesMut) -> Result<()> {
    if text.contains('\0') {
        return Err(nul());
    }
    buffer.put_slice(text.as_bytes());
    buffer.put_u8(0);
    Ok(())
}

#[cold]
#[inline(never)]
fn nul() -> Error {
    Error::parameter("a name cannot be sent: it contains a NUL")
}

#[cold]
#[inline(never)]
fn text(what: &str, error: std::io::Error) -> Error {
    Error::parameter(format!("{what} cannot be sent: {error}"))
}

/// CancelRequest: the first and only message of a connection. The key has four bytes in protocol 3.0 and up to 256 in later
/// ones.
pub(crate) fn cancel_request(process: i32, key: &[u8]) -> BytesMut {
    let mut message = BytesMut::with_capacity(12 + key.len());
    // A key that the server has told us in one message is not longer than a message.
    message.put_u32(u32::try_from(12 + key.len()).unwrap_or(u32::MAX));
    message.put_u32(CANCEL_REQUEST_CODE);
    message.put_i32(process);
    message.put_slice(key);
    message
}

/// 1234 in the upper half, 5678 in the lower.
const CANCEL_REQUEST_CODE: u32 = 80_877_102;

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
    use crate::params::Params;
    use crate::source::Source;

    fn bind(encoder: &mut Encoder<'_>, types: &[Type], params: &dyn Params) -> Result<()> {
        encoder.bind("", "s1", types, Values { params, source: Source::Text("") }, &Columns::new(Vec::new()))
    }

    #[test]
    fn an_encoder_that_fails_half_way_leaves_nothing_in_the_buffer() {
        let mut buffer = BytesMut::from(&b"before"[..]);
        let mut encoder = Encoder::new(&mut buffer, 1000);
        encoder.parse("s1", "SELECT $1, $2, $3", &[]).expect("encodes");
        let types = [Type::INT4, Type::INT4, Type::INT4];
        let error = bind(&mut encoder, &types, &(1i32, "two", 3i32)).expect_err("a text is no int4");
        assert!(error.to_string().contains("$2"), "{error}");
        drop(encoder);
        assert_eq!(&buffer[..], b"before");
    }

    #[test]
    fn a_value_over_the_limit_is_refused_before_a_byte_is_sent() {
        let mut buffer = BytesMut::new();
        let mut encoder = Encoder::new(&mut buffer, 100);
        let error = bind(&mut encoder, &[Type::TEXT], &("x".repeat(200),)).expect_err("too long");
        assert!(error.to_string().contains("max_message_size"), "{error}");
        drop(encoder);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_cancel_request_takes_a_key_of_any_length() {
        let short = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd";
        assert_eq!(&cancel_request(7, b"abcd")[..], short);
        let long = cancel_request(7, &[9; 256]);
        assert_eq!((long.len(), &long[..4]), (268, &268u32.to_be_bytes()[..]));
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
        let error = bind(&mut Encoder::new(&mut buffer, 1000), &[Type::INT4], &(1i32, 2i32));
        let error = error.expect_err("two for one").to_string();
        assert!(error.contains("has 1 parameter, 2 were given"), "{error}");
    }
}
