//! Start-up and authentication as a state machine: messages in, answers out. Uses: decode, error, secret.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use super::decode;
use super::frame::Violation;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The longest PBKDF2 that we let a server ask of us: about 28 ms of work (CVE-2026-42198).
pub(crate) const MAX_ITERATIONS: u32 = 100_000;

/// From this count on the hashing happens on a plain thread: 4,096, PostgreSQL's default, takes 1.2 ms.
pub(crate) const ITERATIONS_ON_COROUTINE: u32 = 8_192;

/// How many bytes a key to cancel with has: four in protocol 3.0, any number up to 256 in later ones.
const KEY: std::ops::RangeInclusive<usize> = 4..=256;

/// Who we are and what we may reveal.
pub(crate) struct Credentials<'c> {
    pub(crate) user: &'c str,
    pub(crate) password: Option<&'c Secret>,
    /// Whether nobody on the way can read along: a Unix socket, or TLS.
    pub(crate) private: bool,
}

/// What the start-up needs next.
pub(crate) enum Next {
    /// Send this.
    Send(BytesMut),
    /// Hash, and send what comes out: [`Exchange::update`] with the server's challenge.
    Hash(Scram, Vec<u8>),
    /// Nothing: read on.
    Read,
    /// The server waits for requests.
    Ready(Entered),
}

/// What is known once the server waits for requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) process: i32,
    /// What a cancel needs. A pooler may not tell it.
    pub(crate) key: Option<Secret>,
    pub(crate) server_version: String,
    /// Whether transactions are read-only unless they say otherwise. PostgreSQL 14 and later tell.
    pub(crate) default_transaction_read_only: Option<bool>,
    /// Whether it is a standby. PostgreSQL 14 and later tell.
    pub(crate) in_hot_standby: Option<bool>,
}

impl Entered {
    /// Takes a ParameterStatus.
    pub(crate) fn parameter(&mut self, body: &[u8]) {
        match decode::parameter_status(body) {
            Some(("server_version", version)) => self.server_version = version.to_owned(),
            Some(("default_transaction_read_only", value)) => {
                self.default_transaction_read_only = Some(value == "on");
            }
            Some(("in_hot_standby", value)) => self.in_hot_standby = Some(value == "on"),
            _ => {}
        }
    }
}

/// A SCRAM exchange: boxed, because it travels to a thread and back.
pub(crate) type Scram = Box<ScramSha256>;

/// A start-up under way.
pub(crate) struct Authenticate {
    stage: Stage,
    entered: Entered,
}

enum Stage {
    /// The start-up message was sent.
    Begun,
    /// A password was sent.
    Answered,
    /// The first SCRAM message was sent.
    Challenged(Scram),
    /// The proof is being computed.
    Hashing,
    /// The proof was sent: the server must prove itself too.
    Proved(Scram),
    /// The server's own proof was right.
    Trusted,
    /// AuthenticationOk has come.
    Entered,
}

/// The start-up message.
pub(crate) fn startup_message(parameters: &[(&str, &str)]) -> Result<BytesMut> {
    let mut message = BytesMut::new();
    frontend::startup_message(parameters.iter().copied(), &mut message)
        .map_err(|error| Error::config(format!("the start-up message cannot be sent: {error}")))?;
    Ok(message)
}

impl Authenticate {
    pub(crate) fn new() -> Authenticate {
        Authenticate { stage: Stage::Begun, entered: Entered::default() }
    }

    /// Whether the server has let us in: from then on messages may be long.
    pub(crate) fn is_entered(&self) -> bool {
        matches!(self.stage, Stage::Entered)
    }

    /// Takes one message of the server.
    pub(crate) fn message(&mut self, tag: u8, body: &[u8], who: &Credentials<'_>) -> Result<Next> {
        match (tag, &self.stage) {
            (b'E', _) => {
                let error = Error::database(decode::error_fields(body));
                Err(Error::authentication("the server refused the connection").caused_by(error))
            }
            // Negotiation of a protocol newer than 3.0, which we never ask for, would be 'v': refused below.
            (b'N', _) => Ok(Next::Read),
            (b'R', _) => self.authentication(body, who),
            (b'S', Stage::Entered) => {
                self.entered.parameter(body);
                Ok(Next::Read)
            }
            (b'K', Stage::Entered) => {
                let (process, key) = body
                    .split_first_chunk::<4>()
                    .filter(|(_, key)| KEY.contains(&key.len()))
                    .ok_or_else(|| violation("BackendKeyData is malformed"))?;
                self.entered.process = i32::from_be_bytes(*process);
                self.entered.key = Some(Secret::of_bytes(key));
                Ok(Next::Read)
            }
            (b'Z', Stage::Entered) if body == b"I" => Ok(Next::Ready(std::mem::take(&mut self.entered))),
            _ => {
                Err(violation(format!("message '{}' came during start-up", char::from(tag).escape_default())))
            }
        }
    }

    fn authentication(&mut self, body: &[u8], who: &Credentials<'_>) -> Result<Next> {
        let (kind, rest) = body
            .split_first_chunk::<4>()
            .ok_or_else(|| violation("an authentication request is malformed"))?;
        let stage = std::mem::replace(&mut self.stage, Stage::Answered);
        match (u32::from_be_bytes(*kind), stage) {
            (0, Stage::Begun | Stage::Answered | Stage::Trusted) => {
                self.stage = Stage::Entered;
                Ok(Next::Read)
            }
            // A server that skips its own proof may be somebody else, who only wants ours.
            (0, _) => Err(Error::authentication("the server did not prove that it knows the password")),
            (3, Stage::Begun) => {
                if !who.private {
                    return Err(Error::authentication(
                        "the server asks for the password in clear text over TCP without TLS: refused; \
                         set the server's pg_hba.conf to scram-sha-256, or connect through a Unix socket",
                    ));
                }
                password_message(password(who)?.expose())
            }
            (5, Stage::Begun) => {
                let salt = *rest.first_chunk::<4>().ok_or_else(|| violation("the md5 salt is malformed"))?;
                let hash = md5_hash(who.user.as_bytes(), password(who)?.expose(), salt);
                password_message(hash.as_bytes())
            }
            (10, Stage::Begun) => {
                if !rest.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err(Error::authentication(
                        "the server offers no SASL mechanism that maypole knows (SCRAM-SHA-256)",
                    ));
                }
                let scram = ScramSha256::new(password(who)?.expose(), ChannelBinding::unsupported());
                let mut message = BytesMut::new();
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut message)
                    .map_err(|error| Error::authentication(error.to_string()))?;
                self.stage = Stage::Challenged(Box::new(scram));
                Ok(Next::Send(message))
            }
            (11, Stage::Challenged(scram)) => {
                let count = iterations(rest).ok_or_else(|| violation("the SCRAM challenge is malformed"))?;
                if count > MAX_ITERATIONS {
                    return Err(Error::authentication(format!(
                        "the server asks for {count} SCRAM iterations, at most {MAX_ITERATIONS} are accepted"
                    )));
                }
                self.stage = Stage::Hashing;
                Ok(Next::Hash(scram, rest.to_vec()))
            }
            (12, Stage::Proved(mut scram)) => {
                scram.finish(rest).map_err(|_| {
                    Error::authentication("the server could not prove that it knows the password")
                })?;
                self.stage = Stage::Trusted;
                Ok(Next::Read)
            }
            (kind @ (2 | 6 | 7 | 8 | 9), Stage::Begun) => Err(Error::authentication(format!(
                "the server asks for an authentication method that maypole does not have (number {kind}: \
                 Kerberos, GSSAPI, SSPI or SCM credentials); it has trust, password, md5 and scram-sha-256"
            ))),
            _ => Err(violation("an authentication request came out of turn")),
        }
    }

    /// Takes the exchange back after its hashing; what to send.
    pub(crate) fn hashed(&mut self, scram: Scram) -> Result<BytesMut> {
        let mut message = BytesMut::new();
        frontend::sasl_response(scram.message(), &mut message)
            .map_err(|error| Error::authentication(error.to_string()))?;
        self.stage = Stage::Proved(scram);
        Ok(message)
    }
}

/// The iteration count of a server's first SCRAM message: `r=…,s=…,i=4096` (RFC 5802, section 5.1).
pub(crate) fn iterations(challenge: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(challenge).ok()?;
    text.split(',').find_map(|part| part.strip_prefix("i="))?.parse().ok()
}

/// Computes the proof; `ITERATIONS_ON_COROUTINE` tells where this may run.
pub(crate) fn hash(mut scram: Scram, challenge: &[u8]) -> Result<Scram> {
    scram.update(challenge).map_err(|error| {
        Error::authentication(format!("the server's SCRAM challenge is refused: {error}"))
    })?;
    Ok(scram)
}

fn password<'c>(who: &Credentials<'c>) -> Result<&'c Secret> {
    who.password.ok_or_else(|| {
        Error::authentication("the server asks for a password and none is set (password, or PGPASSWORD)")
    })
}

fn password_message(password: &[u8]) -> Result<Next> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message)
        .map_err(|_| Error::authentication("the password contains a NUL"))?;
    Ok(Next::Send(message))
}

fn violation(message: impl Into<String>) -> Error {
    Error::protocol(Violation(message.into()).to_string())
}
