//! Builders for every message a server can send. Uses: nothing.

/// The type numbers the kit speaks.
pub(crate) const BOOL: u32 = 16;
pub(crate) const INT8: u32 = 20;
pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;

/// Any message: tag, length, body.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = announce(tag, number32(body.len() + 4));
    bytes.extend_from_slice(body);
    bytes
}

/// Only the header of a message: the tag, and any length at all, which counts itself.
pub(crate) fn announce(tag: u8, length: i32) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Any authentication request, by its code.
pub(crate) fn authentication(code: i32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), data].concat())
}

/// AuthenticationOk.
pub(crate) fn authentication_ok() -> Vec<u8> {
    authentication(0, b"")
}

/// The server wants Kerberos V5.
pub(crate) fn authentication_kerberos() -> Vec<u8> {
    authentication(2, b"")
}

/// The server wants the password as it is.
pub(crate) fn authentication_cleartext_password() -> Vec<u8> {
    authentication(3, b"")
}

/// The server wants the password hashed with `salt`.
pub(crate) fn authentication_md5_password(salt: [u8; 4]) -> Vec<u8> {
    authentication(5, &salt)
}

/// The server wants GSSAPI.
pub(crate) fn authentication_gss() -> Vec<u8> {
    authentication(7, b"")
}

/// The next GSSAPI or SSPI data.
pub(crate) fn authentication_gss_continue(data: &[u8]) -> Vec<u8> {
    authentication(8, data)
}

/// The server wants SSPI.
pub(crate) fn authentication_sspi() -> Vec<u8> {
    authentication(9, b"")
}

/// The server wants SASL and offers these mechanisms.
pub(crate) fn authentication_sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    for mechanism in mechanisms {
        text(&mut data, mechanism);
    }
    data.push(0);
    authentication(10, &data)
}

/// The server's challenge.
pub(crate) fn authentication_sasl_continue(data: &[u8]) -> Vec<u8> {
    authentication(11, data)
}

/// The server's proof.
pub(crate) fn authentication_sasl_final(data: &[u8]) -> Vec<u8> {
    authentication(12, data)
}

/// NegotiateProtocolVersion.
pub(crate) fn negotiate_protocol_version(minor: i32, unknown: &[&str]) -> Vec<u8> {
    let mut body = minor.to_be_bytes().to_vec();
    body.extend_from_slice(&number32(unknown.len()).to_be_bytes());
    for option in unknown {
        text(&mut body, option);
    }
    message(b'v', &body)
}

/// BackendKeyData.
pub(crate) fn backend_key_data(process: i32, key: i32) -> Vec<u8> {
    message(b'K', &[process.to_be_bytes(), key.to_be_bytes()].concat())
}

/// ParameterStatus.
pub(crate) fn parameter_status(name: &str, value: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, value);
    message(b'S', &body)
}

/// ReadyForQuery: `b'I'` idle, `b'T'` in a transaction, `b'E'` in a failed one.
pub(crate) fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

/// What an accepted client hears before its first query.
pub(crate) fn greeting() -> Vec<u8> {
    let mut bytes = authentication_ok();
    for (name, value) in [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("application_name", ""),
        ("is_superuser", "off"),
        ("session_authorization", "script"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "off"),
        ("in_hot_standby", "off"),
    ] {
        bytes.extend(parameter_status(name, value));
    }
    bytes.extend(backend_key_data(4711, 123_456_789));
    bytes.extend(ready(b'I'));
    bytes
}

/// RowDescription of columns in text format: name and type.
pub(crate) fn row_description(columns: &[(&str, u32)]) -> Vec<u8> {
    let columns: Vec<_> = columns.iter().map(|&(name, oid)| (name, oid, 0)).collect();
    row_description_with_formats(&columns)
}

/// RowDescription: name, type and format (0 text, 1 binary) of each column.
pub(crate) fn row_description_with_formats(columns: &[(&str, u32, i16)]) -> Vec<u8> {
    let mut body = number16(columns.len()).to_be_bytes().to_vec();
    for &(name, oid, format) in columns {
        text(&mut body, name);
        body.extend_from_slice(&0_u32.to_be_bytes()); // no table
        body.extend_from_slice(&0_i16.to_be_bytes()); // no column of one
        body.extend_from_slice(&oid.to_be_bytes());
        let size: i16 = match oid {
            BOOL => 1,
            INT4 => 4,
            INT8 => 8,
            _ => -1,
        };
        body.extend_from_slice(&size.to_be_bytes());
        body.extend_from_slice(&(-1_i32).to_be_bytes()); // no type modifier
        body.extend_from_slice(&format.to_be_bytes());
    }
    message(b'T', &body)
}

/// DataRow; `None` is NULL.
pub(crate) fn data_row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = number16(values.len()).to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend_from_slice(&number32(value.len()).to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    message(b'D', &body)
}

/// CommandComplete with a tag like `SELECT 1`.
pub(crate) fn command_complete(tag: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, tag);
    message(b'C', &body)
}

/// EmptyQueryResponse.
pub(crate) fn empty_query_response() -> Vec<u8> {
    message(b'I', b"")
}

/// ErrorResponse with severity ERROR.
pub(crate) fn error(code: &str, text: &str) -> Vec<u8> {
    fields(b'E', &[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code), (b'M', text)])
}

/// ErrorResponse with severity FATAL.
pub(crate) fn fatal(code: &str, text: &str) -> Vec<u8> {
    fields(b'E', &[(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', text)])
}

/// NoticeResponse with severity NOTICE.
pub(crate) fn notice(text: &str) -> Vec<u8> {
    fields(b'N', &[(b'S', "NOTICE"), (b'V', "NOTICE"), (b'C', "00000"), (b'M', text)])
}

/// ErrorResponse (`b'E'`) or NoticeResponse (`b'N'`) with any fields.
pub(crate) fn fields(tag: u8, fields: &[(u8, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in fields {
        body.push(*kind);
        text(&mut body, value);
    }
    body.push(0);
    message(tag, &body)
}

/// NotificationResponse.
pub(crate) fn notification(process: i32, channel: &str, payload: &str) -> Vec<u8> {
    let mut body = process.to_be_bytes().to_vec();
    text(&mut body, channel);
    text(&mut body, payload);
    message(b'A', &body)
}

/// ParseComplete.
pub(crate) fn parse_complete() -> Vec<u8> {
    message(b'1', b"")
}

/// BindComplete.
pub(crate) fn bind_complete() -> Vec<u8> {
    message(b'2', b"")
}

/// CloseComplete.
pub(crate) fn close_complete() -> Vec<u8> {
    message(b'3', b"")
}

/// NoData.
pub(crate) fn no_data() -> Vec<u8> {
    message(b'n', b"")
}

/// PortalSuspended.
pub(crate) fn portal_suspended() -> Vec<u8> {
    message(b's', b"")
}

/// ParameterDescription.
pub(crate) fn parameter_description(types: &[u32]) -> Vec<u8> {
    let mut body = number16(types.len()).to_be_bytes().to_vec();
    for oid in types {
        body.extend_from_slice(&oid.to_be_bytes());
    }
    message(b't', &body)
}

/// CopyInResponse: overall format and the columns' formats.
pub(crate) fn copy_in_response(format: u8, columns: &[i16]) -> Vec<u8> {
    copy_response(b'G', format, columns)
}

/// CopyOutResponse: overall format and the columns' formats.
pub(crate) fn copy_out_response(format: u8, columns: &[i16]) -> Vec<u8> {
    copy_response(b'H', format, columns)
}

/// CopyData.
pub(crate) fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// CopyDone.
pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

fn copy_response(tag: u8, format: u8, columns: &[i16]) -> Vec<u8> {
    let mut body = vec![format];
    body.extend_from_slice(&number16(columns.len()).to_be_bytes());
    for column in columns {
        body.extend_from_slice(&column.to_be_bytes());
    }
    message(tag, &body)
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

fn number32(count: usize) -> i32 {
    i32::try_from(count).expect("the kit sends no message over 2 GiB")
}

fn number16(count: usize) -> i16 {
    i16::try_from(count).expect("the kit sends at most 32767 columns")
}
