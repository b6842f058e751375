//! Connection strings: from text to libpq's keywords and their values, without I/O. Uses: error, suggest.
//!
//! Both forms of the PostgreSQL manual, "Connection Strings": URLs and `keyword = value` pairs. No error quotes
//! any of the text, an unknown keyword included: what is malformed may be the password. This is stricter than
//! libpq in one point: an `@` or `?` that could make part of a password a host or a database is refused.

use crate::error::{Error, Result};
use crate::suggest::did_you_mean;

/// Every keyword of libpq 18 (`PQconninfoOptions`), and `ssl`, which drivers for Java use.
#[rustfmt::skip]
pub(crate) const KEYWORDS: &[&str] = &[
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "oauth_client_id", "oauth_client_secret", "oauth_issuer",
    "oauth_scope", "options", "passfile", "password", "port", "replication", "require_auth", "requirepeer",
    "scram_client_key", "scram_server_key", "service", "servicefile", "ssl", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey",
    "sslkeylogfile", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
    "target_session_attrs", "tcp_user_timeout", "user",
];

/// One keyword with its value. Has no `Debug`: the value may be the password.
pub(crate) struct Parameter {
    /// One of [`KEYWORDS`].
    pub(crate) key: &'static str,
    /// The value, decoded; empty means libpq's built-in default.
    pub(crate) value: String,
    pub(crate) place: Place,
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the connection string, from this byte on.
    Byte(usize),
    /// In this environment variable.
    Variable(&'static str),
}

impl Parameter {
    /// The error that this value is not usable; `what` must not quote it.
    pub(crate) fn wrong(&self, what: &str) -> Error {
        match self.place {
            Place::Byte(at) => wrong(self.key, at, what),
            Place::Variable(name) => {
                Error::config(format!("environment variable {name} ({}): {what}", self.key))
            }
        }
    }
}

fn wrong(key: &str, at: usize, what: &str) -> Error {
    Error::config(format!("connection string: {key} (byte {at}): {what}"))
}

/// Takes a connection string apart. The last one of several values of a keyword counts.
pub(crate) fn parse(text: &str) -> Result<Vec<Parameter>> {
    let url = Part { text, at: 0 }.trimmed();
    for scheme in ["postgres://", "postgresql://"] {
        if url.text.starts_with(scheme) {
            return parse_url(url.from(scheme.len()));
        }
    }
    let word = url.text.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(url.text.len());
    if url.text[..word].contains("://") {
        return Err(Error::config("connection string: a URL begins with postgres:// or postgresql://"));
    }
    parse_pairs(text)
}

/// A piece of the text that knows where it began.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    fn to(self, end: usize) -> Part<'a> {
        Part { text: &self.text[..end], at: self.at }
    }

    fn from(self, start: usize) -> Part<'a> {
        Part { text: &self.text[start..], at: self.at + start }
    }

    fn trimmed_start(self) -> Part<'a> {
        self.from(self.text.len() - self.text.trim_ascii_start().len())
    }

    fn trimmed(self) -> Part<'a> {
        let start = self.trimmed_start();
        start.to(start.text.trim_ascii_end().len())
    }

    /// The parts before and after the first of these separators, each one byte long.
    fn split(self, separators: &[char]) -> (Part<'a>, Option<Part<'a>>) {
        match self.text.find(separators) {
            Some(end) => (self.to(end), Some(self.from(end + 1))),
            None => (self, None),
        }
    }

    fn split_all(self, separator: char) -> impl Iterator<Item = Part<'a>> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (first, others) = rest?.split(&[separator]);
            rest = others;
            Some(first)
        })
    }

    fn wrong(self, key: &str, what: &str) -> Error {
        wrong(key, self.at, what)
    }

    /// The text with `%xx` replaced by the byte it stands for.
    fn decoded(self, key: &str) -> Result<String> {
        let mut bytes = Vec::with_capacity(self.text.len());
        let mut rest = self;
        while let (before, Some(after)) = rest.split(&['%']) {
            bytes.extend_from_slice(before.text.as_bytes());
            let code = after.text.get(..2).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                Some(0) => return Err(after.wrong(key, "%00 is not allowed")),
                Some(byte) => bytes.push(byte),
                None => {
                    let what = "two hexadecimal digits must follow a '%'; '%' itself is written %25";
                    return Err(wrong(key, after.at - 1, what));
                }
            }
            rest = after.from(2);
        }
        bytes.extend_from_slice(rest.text.as_bytes());
        String::from_utf8(bytes).map_err(|_| self.wrong(key, "is not UTF-8 once the %xx are decoded"))
    }
}

/// The parameters found so far.
#[derive(Default)]
struct Found(Vec<Parameter>);

impl Found {
    fn put(&mut self, key: &'static str, value: String, at: usize) {
        self.0.retain(|parameter| parameter.key != key);
        self.0.push(Parameter { key, value, place: Place::Byte(at) });
    }
}

/// `[user[:password]@][host[:port],…][/dbname][?keyword=value&…]`
fn parse_url(url: Part<'_>) -> Result<Vec<Parameter>> {
    let mut found = Found::default();
    let mut rest = url;
    // As in libpq, an '@' ends user and password only if no '/' comes before it.
    if let Some(end) = url.text.find(['@', '/']).filter(|end| url.text[*end..].starts_with('@')) {
        parse_credentials(url.to(end), &mut found)?;
        rest = url.from(end + 1);
    }
    let hosts_end = rest.text.find(['/', '?']).unwrap_or(rest.text.len());
    parse_hosts(rest.to(hosts_end), &mut found)?;
    rest = rest.from(hosts_end);
    if rest.text.starts_with('/') {
        let (name, query) = rest.from(1).split(&['?']);
        if let (_, Some(after)) = name.split(&['@']) {
            let what = "an '@' is written %40 here; in user and password also '/' is written %2F";
            return Err(wrong("dbname", after.at - 1, what));
        }
        if !name.text.is_empty() {
            found.put("dbname", name.decoded("dbname")?, name.at);
        }
        rest = query.unwrap_or(name.from(name.text.len()));
    } else if rest.text.starts_with('?') {
        rest = rest.from(1);
    }
    parse_query(rest, &mut found)?;
    Ok(found.0)
}

fn parse_credentials(part: Part<'_>, found: &mut Found) -> Result<()> {
    if let (_, Some(after)) = part.split(&['?']) {
        // It may be part of a password, or a URL without user whose query has an '@': never guess.
        let what = "a '?' before the '@' is written %3F; an '@' in a parameter's value %40";
        return Err(wrong("user and password", after.at - 1, what));
    }
    let (user, password) = part.split(&[':']);
    if !user.text.is_empty() {
        found.put("user", user.decoded("user")?, user.at);
    }
    if let Some(password) = password {
        found.put("password", password.decoded("password")?, password.at);
    }
    Ok(())
}

fn parse_hosts(part: Part<'_>, found: &mut Found) -> Result<()> {
    if let (_, Some(after)) = part.split(&['@']) {
        let what = "a second '@'; in user and password it is written %40";
        return Err(wrong("host", after.at - 1, what));
    }
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for item in part.split_all(',') {
        let (host, port) = match item.text.strip_prefix('[') {
            Some(inner) => {
                let Some(end) = inner.find(']') else {
                    return Err(item.wrong("host", "the '[' of an IPv6 address has no ']'"));
                };
                let port = item.from(end + 2);
                if end == 0 || !(port.text.is_empty() || port.text.starts_with(':')) {
                    return Err(item.wrong("host", "an IPv6 address is written [::1] or [::1]:5432"));
                }
                (item.from(1).to(end), port.split(&[':']).1)
            }
            None => item.split(&[':']),
        };
        hosts.push(host.decoded("host")?);
        ports.push(port.map(|port| port.decoded("port")).transpose()?.unwrap_or_default());
    }
    for (key, items) in [("host", hosts), ("port", ports)] {
        if items.iter().any(|item| !item.is_empty()) {
            found.put(key, items.join(","), part.at);
        }
    }
    Ok(())
}

fn parse_query(part: Part<'_>, found: &mut Found) -> Result<()> {
    let mut pairs = part.split_all('&').peekable();
    while let Some(pair) = pairs.next() {
        if pair.text.is_empty() && pairs.peek().is_none() {
            break;
        }
        let (key, value) = pair.split(&['=']);
        let Some(value) = value else {
            return Err(pair.wrong("parameter", "a keyword without '=' and value"));
        };
        let key = keyword(&key.decoded("parameter")?, key.at)?;
        if let (_, Some(after)) = value.split(&['=']) {
            return Err(wrong(key, after.at - 1, "a second '='; in a value it is written %3D"));
        }
        found.put(key, value.decoded(key)?, value.at);
    }
    Ok(())
}

/// `keyword = value …`, values with spaces in single quotes, `\` before a quote or a backslash.
fn parse_pairs(text: &str) -> Result<Vec<Parameter>> {
    let mut found = Found::default();
    let mut rest = Part { text, at: 0 }.trimmed_start();
    while !rest.text.is_empty() {
        let (key, value) = rest.split(&['=']);
        let Some(value) = value else {
            return Err(key.wrong("keyword", "no '=' after it; a value with spaces needs 'quotes'"));
        };
        let key = key.trimmed();
        if key.text.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err(key.wrong("keyword", "no '=' after it; a value with spaces needs 'quotes'"));
        }
        let key = keyword(key.text, key.at)?;
        let value = value.trimmed_start();
        let (decoded, length) = match value.text.strip_prefix('\'') {
            Some(inner) => match unescape(inner, |c| c == '\'') {
                (decoded, Some(end)) => (decoded, end + 2),
                (_, None) => return Err(value.wrong(key, "the quote that begins here has no end")),
            },
            None => {
                let (decoded, end) = unescape(value.text, |c| c.is_ascii_whitespace());
                (decoded, end.unwrap_or(value.text.len()))
            }
        };
        found.put(key, decoded, value.at);
        rest = value.from(length);
        if rest.text.starts_with(|c: char| !c.is_ascii_whitespace()) {
            return Err(
                rest.wrong(key, "a space must follow the closing quote; a quote inside is written \\'")
            );
        }
        rest = rest.trimmed_start();
    }
    Ok(found.0)
}

/// The text up to the first character that ends it, without backslashes, and where that is.
fn unescape(text: &str, ends: impl Fn(char) -> bool) -> (String, Option<usize>) {
    let mut decoded = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => decoded.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if ends(character) => return (decoded, Some(at)),
            _ => decoded.push(character),
        }
    }
    (decoded, None)
}

/// The keyword itself; an unknown one is not quoted, because it may be a piece of a password.
fn keyword(word: &str, at: usize) -> Result<&'static str> {
    KEYWORDS.iter().copied().find(|known| *known == word).ok_or_else(|| {
        let hint = did_you_mean(word, KEYWORDS.iter().copied());
        Error::config(format!("connection string: no such keyword (byte {at}){hint}"))
    })
}

#[cfg(test)]
mod tests;
