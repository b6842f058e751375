//! Opening a connection: every address in turn, start-up, authentication, whether it is one that was asked for; then its
//! coroutine drives it. Uses: attributes, config, coro, deadline, driver, error, keeper, link, net, off_thread, plan, protocol.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::attributes::{self, Verdict};
use super::driver;
use super::link::Link;
use super::plan::Knowledge;
use crate::config::{Config, Host, Target, TargetSessionAttrs};
use crate::coro;
use crate::deadline::Deadline;
use crate::error::{Cause, Error, Outcome, Phase, Result};
use crate::keeper;
use crate::net::{self, Address, Endpoint, Keepalive, Socket, TURN, TcpOptions};
use crate::off_thread::off_thread;
use crate::protocol::authenticate::{self, Authenticate, Credentials, Entered, Next};
use crate::protocol::decode;
use crate::protocol::encode::{Encoder, TERMINATE_BYTES};
use crate::protocol::frame::{self, HEADER, LIMIT_BEFORE_AUTHENTICATION};

/// The driver's stack in bytes: start-up with SCRAM and the user's logger run on it.
const STACK: usize = 64 * 1024;

/// The oldest server that we support.
const OLDEST_SERVER: u32 = 13;

/// Starts a coroutine that opens a connection, reports how that went, and drives it until it ends.
///
/// Nobody waits for the connect itself: `report` hears of it, and must not wait.
pub(crate) fn open(
    config: Arc<Config>,
    knowledge: Arc<Knowledge>,
    report: impl FnOnce(Result<Arc<Link>>) + Send + 'static,
) -> io::Result<()> {
    coro::spawn_named("maypole driver", STACK, move || match enter(config, knowledge) {
        Ok((link, input)) => {
            report(Ok(link.clone()));
            driver::drive(&link, input);
            // Not dropped here: see `Socket`.
            keeper::bury(link);
        }
        Err(error) => report(Err(error)),
    })?;
    Ok(())
}

fn enter(config: Arc<Config>, knowledge: Arc<Knowledge>) -> Result<(Arc<Link>, BytesMut)> {
    let deadline = Deadline::after(config.get_connect_timeout());
    let targets = config.targets()?;
    let count = targets.len();
    let mut last = Error::config("the configuration names no host");
    // Where a standby is preferred, another is kept until it is known that there is none: libpq would enter it twice.
    let mut second_choice = None;
    for (at, target) in targets.iter().enumerate() {
        let share = deadline.share(Instant::now(), count - at);
        let endpoint = endpoint(target);
        let found = net::addresses(&endpoint).map_err(|error| unreached(&endpoint, error));
        match found.and_then(|addresses| enter_any(&endpoint, &addresses, &config, share, &mut second_choice))
        {
            Ok(opened) => {
                if let Some(other) = second_choice {
                    other.dismiss();
                }
                return Ok(opened.link(knowledge, &config));
            }
            Err(error) => last = error,
        }
    }
    second_choice.map(|opened| opened.link(knowledge, &config)).ok_or(last)
}

/// A session whose start-up is over.
struct Opened {
    address: Address,
    socket: Socket,
    entered: Entered,
    /// What came behind the start-up.
    input: BytesMut,
}

impl Opened {
    fn link(self, knowledge: Arc<Knowledge>, config: &Arc<Config>) -> (Arc<Link>, BytesMut) {
        (Link::new(self.address, self.socket, self.entered, knowledge, config.clone()), self.input)
    }

    /// It is not needed.
    fn dismiss(self) {
        // Best effort: the session ends either way.
        let _ = self.socket.write(TERMINATE_BYTES);
        keeper::bury(self.socket);
    }
}

fn endpoint(target: &Target) -> Endpoint {
    match (&target.host, target.address, target.socket()) {
        (_, _, Some(path)) => Endpoint::Unix(path),
        (_, Some(address), None) => Endpoint::Tcp(address.to_string(), target.port),
        (Host::Tcp(name), None, None) => Endpoint::Tcp(name.clone(), target.port),
        (Host::Unix(path), None, None) => Endpoint::Unix(path.clone()),
    }
}

pub(super) fn tcp_options(config: &Config) -> TcpOptions {
    TcpOptions {
        keepalive: config.get_keepalives().map(|keepalives| Keepalive {
            idle: keepalives.idle,
            interval: keepalives.interval,
            retries: keepalives.count,
        }),
        user_timeout: config.get_tcp_user_timeout(),
    }
}

/// Tries every address of a name, each with its share of the time left: one that accepts and then says nothing must not
/// use up the time of the others.
fn enter_any(
    endpoint: &Endpoint,
    addresses: &[Address],
    config: &Config,
    deadline: Deadline,
    second_choice: &mut Option<Opened>,
) -> Result<Opened> {
    let mut last = Error::connect(format!("{endpoint} has no address"));
    for (at, address) in addresses.iter().enumerate() {
        let share = deadline.share(Instant::now(), addresses.len() - at);
        match enter_at(endpoint, address, config, share) {
            Ok((opened, None)) => return Ok(opened),
            Ok((opened, Some(why))) => {
                let wanted = config.get_target_session_attrs();
                last = Error::connect(format!(
                    "{endpoint} is not what target_session_attrs={wanted} asks for: {why}"
                ));
                if wanted == TargetSessionAttrs::PreferStandby && second_choice.is_none() {
                    *second_choice = Some(opened);
                } else {
                    opened.dismiss();
                }
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreached(endpoint: &Endpoint, error: impl Into<Cause>) -> Error {
    Error::connect(format!("no connection to {endpoint}")).caused_by(error)
}

/// A session, and why it is not one that was asked for.
fn enter_at(
    endpoint: &Endpoint,
    address: &Address,
    config: &Config,
    deadline: Deadline,
) -> Result<(Opened, Option<&'static str>)> {
    let socket = net::connect(address, &tcp_options(config), deadline).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut && deadline.passed(Instant::now()) {
            return overdue(config, endpoint, "no answer");
        }
        unreached(endpoint, format!("{address}: {error}"))
    })?;
    let waker = socket.waker();
    let _alarm = keeper::alarm(deadline, move || waker.wakeup());
    let mut wire = Wire { socket, input: BytesMut::new(), deadline, turn: Instant::now() };
    let result = start_up(&mut wire, endpoint, config)
        .and_then(|mut entered| Ok((judge(&mut wire, &mut entered, endpoint, config)?, entered)));
    match result {
        Ok((unfit, entered)) => {
            Ok((Opened { address: address.clone(), socket: wire.socket, entered, input: wire.input }, unfit))
        }
        Err(error) => {
            keeper::bury(wire.socket);
            Err(error)
        }
    }
}

fn start_up(wire: &mut Wire, endpoint: &Endpoint, config: &Config) -> Result<Entered> {
    let who = Credentials {
        user: config.get_user(),
        password: config.get_password(),
        private: matches!(endpoint, Endpoint::Unix(_)),
    };
    let failed = |failure: Failure| failure.told(endpoint, config);
    let message = authenticate::startup_message(&config.startup_parameters())?;
    wire.send(message).map_err(failed)?;
    let mut authenticate = Authenticate::new();
    loop {
        let limit = if authenticate.is_entered() {
            config.get_max_message_size()
        } else {
            LIMIT_BEFORE_AUTHENTICATION
        };
        let (tag, body) = wire.message(limit).map_err(failed)?;
        match authenticate.message(tag, &body, &who)? {
            Next::Read => {}
            Next::Send(message) => wire.send(message).map_err(failed)?,
            Next::Hash(scram, challenge) => {
                let heavy = authenticate::iterations(&challenge)
                    .is_none_or(|count| count > authenticate::ITERATIONS_ON_COROUTINE);
                let scram = if heavy {
                    off_thread("maypole scram", move || authenticate::hash(scram, &challenge))
                        .map_err(|error| failed(Failure::Io(error)))??
                } else {
                    authenticate::hash(scram, &challenge)?
                };
                wire.send(authenticate.hashed(scram)?).map_err(failed)?;
            }
            Next::Ready(entered) => {
                check_version(&entered.server_version)?;
                return Ok(entered);
            }
        }
    }
}

/// Why a session is not one that was asked for, if it is not. A server that has not told is asked.
fn judge(
    wire: &mut Wire,
    entered: &mut Entered,
    endpoint: &Endpoint,
    config: &Config,
) -> Result<Option<&'static str>> {
    let wanted = config.get_target_session_attrs();
    let mut verdict = attributes::judge(wanted, entered);
    if let Verdict::Ask(question) = verdict {
        let limit = config.get_max_message_size();
        let answer =
            wire.ask(question.text(), entered, limit).map_err(|error| error.told(endpoint, config))?;
        verdict = question.answered(wanted, &answer);
    }
    match verdict {
        Verdict::Unfit(why) => Ok(Some(why)),
        Verdict::Fits | Verdict::Ask(_) => Ok(None),
    }
}

/// `15.18 (Debian …)`, `17beta1`; a server that does not say (a pooler may not) is taken as it is.
fn check_version(version: &str) -> Result<()> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        Ok(major) if major < OLDEST_SERVER => Err(Error::config(format!(
            "the server is PostgreSQL {major}; maypole needs {OLDEST_SERVER} or later"
        ))),
        _ => Ok(()),
    }
}

fn overdue(config: &Config, endpoint: &Endpoint, what: &str) -> Error {
    let limit = config.get_connect_timeout();
    Error::timeout(Phase::Connect, limit, format!("{what} from {endpoint}"), Outcome::NotSent)
}

enum Failure {
    Io(io::Error),
    Overdue,
    Refused(Error),
}

impl Failure {
    fn told(self, endpoint: &Endpoint, config: &Config) -> Error {
        match self {
            Failure::Io(error) => {
                Error::connect(format!("the connection to {endpoint} was lost")).caused_by(error)
            }
            Failure::Overdue => overdue(config, endpoint, "the server did not finish the start-up"),
            Failure::Refused(error) => error,
        }
    }
}

/// The socket during start-up: this coroutine alone, one message at a time.
struct Wire {
    socket: Socket,
    input: BytesMut,
    deadline: Deadline,
    /// When it last gave others a turn.
    turn: Instant,
}

impl Wire {
    fn send(&mut self, mut message: BytesMut) -> Result<(), Failure> {
        while !message.is_empty() {
            match self.socket.write(&message) {
                Ok(count) => message.advance(count),
                Err(error) => self.wait_after(error)?,
            }
        }
        Ok(())
    }

    /// Asks a question of ours, which is answered with one value.
    fn ask(&mut self, text: &str, entered: &mut Entered, limit: usize) -> Result<String, Failure> {
        let mut message = BytesMut::new();
        Encoder::new(&mut message, limit).query(text).map_err(Failure::Refused)?;
        self.send(message)?;
        let mut answer = None;
        loop {
            let (tag, body) = self.message(limit)?;
            match tag {
                b'D' => {
                    answer = decode::text_row(&body).map_err(Failure::Refused)?.into_iter().next().flatten()
                }
                b'S' => entered.parameter(&body),
                b'E' => {
                    let error = Error::database(decode::error_fields(&body));
                    let refused = Error::connect(format!("the server refused to answer {text}"));
                    return Err(Failure::Refused(refused.caused_by(error)));
                }
                b'T' | b'C' | b'N' => {}
                b'Z' => {
                    let silent =
                        || Failure::Refused(Error::protocol(format!("{text} was answered with nothing")));
                    return answer.ok_or_else(silent);
                }
                _ => {
                    let tag = char::from(tag).escape_default();
                    let message = format!("message '{tag}' came in answer to {text}");
                    return Err(Failure::Refused(Error::protocol(message)));
                }
            }
        }
    }

    fn message(&mut self, limit: usize) -> Result<(u8, BytesMut), Failure> {
        loop {
            let whole = frame::next(&self.input, limit)
                .map_err(|violation| Failure::Refused(Error::protocol(violation.to_string())))?;
            if let Some(frame) = whole {
                let mut message = self.input.split_to(frame.length);
                message.advance(HEADER);
                return Ok((frame.tag, message));
            }
            // A peer that never stops sending, and never comes to an end, is not found waiting.
            if self.deadline.passed(Instant::now()) {
                return Err(Failure::Overdue);
            }
            let mut chunk = [0; 512];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    if self.turn.elapsed() > TURN {
                        self.socket.give_way();
                        self.turn = Instant::now();
                    }
                }
                Err(error) => self.wait_after(error)?,
            }
        }
    }

    fn wait_after(&mut self, error: io::Error) -> Result<(), Failure> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock if self.deadline.passed(Instant::now()) => Err(Failure::Overdue),
            io::ErrorKind::WouldBlock => {
                self.socket.wait();
                self.turn = Instant::now();
                Ok(())
            }
            _ => Err(Failure::Io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Reliability case 36, for the addresses of one name.
    #[test]
    fn an_address_that_is_dead_or_deaf_leaves_the_others_their_share() {
        let here = |listener: &TcpListener| Address::Tcp(listener.local_addr().expect("its address"));
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (deaf, alive) = (listen(), listen());
        let dead = here(&listen());
        let addresses = vec![dead, here(&deaf), here(&alive)];
        let server = thread::spawn(move || {
            let (mut socket, _) = alive.accept().expect("a connection");
            let _ = socket.read(&mut [0; 1024]).expect("the start-up");
            // AuthenticationOk, ReadyForQuery.
            socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").expect("the client reads");
        });
        let limit = Duration::from_millis(400);
        let config = Config::new().user("me").connect_timeout(limit);
        let start = Instant::now();
        let entered = coro::spawn(move || {
            let endpoint = Endpoint::Tcp("name".to_owned(), 5432);
            enter_any(&endpoint, &addresses, &config, Deadline::after(limit), &mut None).map(Opened::dismiss)
        });
        entered.join().expect("no panic").expect("the third address");
        assert!(start.elapsed() >= limit / 3, "the deaf one had its share: {:?}", start.elapsed());
        server.join().expect("no panic");
    }
}
