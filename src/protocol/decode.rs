//! Replies read by whoever asked: whole messages in a shared buffer. Uses: error, frame.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::ParameterDescriptionBody;
use postgres_protocol::message::backend::{ERROR_RESPONSE_TAG, Message, RowDescriptionBody};
use postgres_types::Oid;

use super::frame::{self, HEADER};
use crate::error::{DbError, Error, Result};

/// The messages of a reply: tag, and where in the reply the body stands.
///
/// The session has checked the framing of all of them.
pub(crate) struct Messages<'r> {
    reply: &'r [u8],
    at: usize,
}

impl<'r> Messages<'r> {
    pub(crate) fn new(reply: &'r [u8]) -> Messages<'r> {
        Messages { reply, at: 0 }
    }

    /// Goes on where an earlier walk over the same reply stopped.
    pub(crate) fn resume(reply: &'r [u8], at: usize) -> Messages<'r> {
        Messages { reply, at }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }
}

impl Iterator for Messages<'_> {
    type Item = (u8, Range<usize>);

    #[inline]
    fn next(&mut self) -> Option<(u8, Range<usize>)> {
        let frame = frame::next(self.reply.get(self.at..)?, usize::MAX).ok()??;
        let body = self.at + HEADER..self.at + frame.length;
        self.at = body.end;
        Some((frame.tag, body))
    }
}

/// A column as RowDescription tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) type_oid: Oid,
    /// The column of a table that it is, as it stands there.
    pub(crate) origin: Option<Origin>,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) table: Oid,
    /// `attnum` of `pg_attribute`.
    pub(crate) attribute: i16,
}

/// The columns in the body of a RowDescription.
pub(crate) fn row_description(body: &[u8]) -> Result<Vec<Field>> {
    let Message::RowDescription(description) = whole(b'T', body)? else {
        return Err(malformed("RowDescription"));
    };
    fields(&description).map_err(|_| malformed("RowDescription"))
}

fn fields(description: &RowDescriptionBody) -> std::io::Result<Vec<Field>> {
    let mut all = Vec::new();
    let mut fields = description.fields();
    while let Some(field) = fallible_next(&mut fields)? {
        // Both are 0 for what is no column of a table (manual, "Message Formats", RowDescription).
        let origin = Origin { table: field.table_oid(), attribute: field.column_id() };
        all.push(Field {
            name: field.name().to_owned(),
            type_oid: field.type_oid(),
            origin: (origin.table != 0 && origin.attribute != 0).then_some(origin),
        });
    }
    Ok(all)
}

/// The values in the body of a DataRow whose columns are in text format.
pub(crate) fn text_row(body: &[u8]) -> Result<Vec<Option<String>>> {
    let Message::DataRow(row) = whole(b'D', body)? else {
        return Err(malformed("DataRow"));
    };
    let mut values = Vec::new();
    let mut ranges = row.ranges();
    while let Some(range) = fallible_next(&mut ranges).map_err(|_| malformed("DataRow"))? {
        let value = range.map(|range| row.buffer().get(range).ok_or_else(|| malformed("DataRow")));
        values.push(value.transpose()?.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
    Ok(values)
}

/// The types in the body of a ParameterDescription.
pub(crate) fn parameter_description(body: &[u8]) -> Result<Vec<Oid>> {
    let Message::ParameterDescription(description) = whole(b't', body)? else {
        return Err(malformed("ParameterDescription"));
    };
    oids(&description).map_err(|_| malformed("ParameterDescription"))
}

fn oids(description: &ParameterDescriptionBody) -> std::io::Result<Vec<Oid>> {
    let mut all = Vec::new();
    let mut parameters = description.parameters();
    while let Some(oid) = fallible_next(&mut parameters)? {
        all.push(oid);
    }
    Ok(all)
}

fn fallible_next<I: fallible_iterator::FallibleIterator>(
    iterator: &mut I,
) -> Result<Option<I::Item>, I::Error> {
    iterator.next()
}

/// Gives a body back its header, for postgres-protocol's parser. Only for messages that come rarely.
fn whole(tag: u8, body: &[u8]) -> Result<Message> {
    let mut message = BytesMut::with_capacity(body.len() + HEADER);
    let length = u32::try_from(body.len() + 4).map_err(|_| malformed("a message"))?;
    message.extend_from_slice(&[tag]);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    match Message::parse(&mut message) {
        Ok(Some(message)) => Ok(message),
        Ok(None) | Err(_) => Err(malformed("a message")),
    }
}

fn malformed(what: &str) -> Error {
    Error::protocol(format!("{what} is malformed"))
}

/// The fields of an ErrorResponse or a NoticeResponse. What is missing or malformed stays empty: an error must
/// be reported even if the server reports it badly.
pub(crate) fn error_fields(body: &[u8]) -> DbError {
    let mut error = DbError { code: "XX000".to_owned(), ..DbError::default() };
    for (field, value) in each_field(body) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b'V' => error.severity = text(),
            b'S' if error.severity.is_empty() => error.severity = text(),
            b'C' => error.code = text(),
            b'M' => error.message = text(),
            b'D' => error.detail = Some(text()),
            b'H' => error.hint = Some(text()),
            b'P' => error.position = text().parse().ok(),
            b'W' => error.context = Some(text()),
            b's' => error.schema = Some(text()),
            b't' => error.table = Some(text()),
            b'c' => error.column = Some(text()),
            b'd' => error.data_type = Some(text()),
            b'n' => error.constraint = Some(text()),
            b'R' => error.routine = Some(text()),
            _ => {}
        }
    }
    error
}

/// Whether an ErrorResponse has this SQLSTATE.
pub(crate) fn has_code(body: &[u8], code: &str) -> bool {
    each_field(body).any(|(kind, value)| kind == b'C' && value == code.as_bytes())
}

/// Whether an ErrorResponse announces the end of the session (field V, not translated, since 9.6).
pub(crate) fn is_fatal(body: &[u8]) -> bool {
    each_field(body).any(|(field, value)| field == b'V' && matches!(value, b"FATAL" | b"PANIC"))
}

fn each_field(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body.split(|byte| *byte == 0).filter_map(|field| field.split_first().map(|(tag, value)| (*tag, value)))
}

/// The first error in a reply.
pub(crate) fn reply_error(reply: &Bytes) -> Error {
    Messages::new(reply)
        .find(|(tag, _)| *tag == ERROR_RESPONSE_TAG)
        .map(|(_, body)| Error::database(error_fields(&reply[body])))
        .unwrap_or_else(|| Error::protocol("an error without its message"))
}

/// The two texts of a ParameterStatus.
pub(crate) fn parameter_status(body: &[u8]) -> Option<(&str, &str)> {
    let mut parts = body.split(|byte| *byte == 0);
    let name = std::str::from_utf8(parts.next()?).ok()?;
    let value = std::str::from_utf8(parts.next()?).ok()?;
    Some((name, value))
}

/// The tag of a CommandComplete.
pub(crate) fn command_tag(body: &[u8]) -> &str {
    std::str::from_utf8(body).map_or("", |text| text.trim_end_matches('\0'))
}

/// How many rows a statement touched, by its tag: `INSERT 0 5`, `UPDATE 3`, `SELECT 7`; none is 0.
pub(crate) fn affected_rows(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The bodies of the messages with this tag.
#[cfg(test)]
pub(crate) fn tests_only_bodies(reply: &[u8], tag: u8) -> Vec<&[u8]> {
    Messages::new(reply).filter(|(other, _)| *other == tag).map(|(_, body)| &reply[body]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_sqlstate_or_end_is_still_an_error() {
        let error = error_fields(b"SERROR\0Mno code here");
        assert_eq!((error.code(), error.message()), ("XX000", "no code here"));
        assert_eq!(error_fields(b"").code(), "XX000");
        assert_eq!(error_fields(b"VFATAL\0P9999999999999\0\0").position(), None);
    }

    #[test]
    fn tags_tell_the_rows() {
        for (tag, rows) in [("INSERT 0 5", 5), ("UPDATE 3", 3), ("CREATE TABLE", 0), ("", 0), ("SELECT 7", 7)]
        {
            assert_eq!(affected_rows(tag), rows, "{tag}");
        }
        assert_eq!(command_tag(b"COMMIT\0"), "COMMIT");
    }

    #[test]
    fn counts_that_disagree_are_errors() {
        assert!(row_description(b"\0\x02abc\0").is_err());
        assert!(row_description(b"").is_err());
        assert!(text_row(b"\0\x01\0\0\0\x05abc").is_err());
        assert!(text_row(b"\0\x02\0\0\0\x01a").is_err());
        let row = text_row(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff").expect("two values");
        assert_eq!(row, [Some("a".to_owned()), None]);
        assert!(parameter_description(b"\xff\xff\0\0\0\x17").is_err());
        assert_eq!(parameter_description(b"\0\x01\0\0\0\x17").expect("one"), vec![23]);
    }
}
