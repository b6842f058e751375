//! Where one message of the server ends and the next begins. Uses: nothing.

use std::fmt;

/// The longest message accepted before the server has said who it is: libpq's limit too
/// (`MAX_ERRLEN`, PostgreSQL source, fe-connect.c).
pub(crate) const LIMIT_BEFORE_AUTHENTICATION: usize = 30_000;

/// A message that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    /// Tag and length word included.
    pub(crate) length: usize,
}

/// Bytes of the tag and the length word.
pub(crate) const HEADER: usize = 5;

/// The server broke the protocol; nothing it sends can be believed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first message in these bytes, or `None` while it is incomplete.
///
/// The announced length is checked against the limit before anybody makes room for it, because the header
/// may be hostile: five bytes can announce two gigabytes.
#[inline]
pub(crate) fn next(bytes: &[u8], limit: usize) -> Result<Option<Frame>, Violation> {
    let Some((tag, [a, b, c, d])) =
        bytes.first_chunk().map(|[tag, length @ ..]: &[u8; HEADER]| (*tag, *length))
    else {
        return Ok(None);
    };
    // It counts itself, not the tag.
    let announced = i32::from_be_bytes([a, b, c, d]);
    let length = match usize::try_from(announced) {
        Ok(length) if length >= HEADER - 1 && length < limit => length + 1,
        _ => return Err(refused(announced, limit)),
    };
    Ok((bytes.len() >= length).then_some(Frame { tag, length }))
}

#[cold]
fn refused(announced: i32, limit: usize) -> Violation {
    Violation(match usize::try_from(announced) {
        Ok(length) if length >= HEADER - 1 => format!(
            "a message of {} bytes was announced, the limit is {limit} (max_message_size)",
            length.saturating_add(1)
        ),
        _ => format!("invalid message length: {announced} bytes, and the shortest has 4"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_seen_once_it_is_whole() {
        let bytes = b"Z\0\0\0\x05I";
        for end in 0..bytes.len() {
            assert_eq!(next(&bytes[..end], 100), Ok(None));
        }
        assert_eq!(next(bytes, 100), Ok(Some(Frame { tag: b'Z', length: 6 })));
    }

    #[test]
    fn lengths_below_four_and_above_the_limit_are_refused_from_the_header_alone() {
        assert!(next(b"D\0\0\0\0", 100).is_err());
        assert!(next(b"D\0\0\0\x03", 100).is_err());
        assert!(next(b"D\xff\xff\xff\xff", usize::MAX).is_err());
        assert!(next(b"D\x7f\xff\xff\xff", 1 << 30).is_err());
        assert!(next(b"D\0\0\0\x64", 100).is_err());
        assert_eq!(next(b"D\0\0\0\x63", 100), Ok(None));
    }
}
