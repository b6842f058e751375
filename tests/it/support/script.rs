//! A fake server that follows a script, and fails the test if the client does not.
//! Uses: backend, flag, frame, listener, responder, script/session.
//!
//! ```ignore
//! let server = Script::new()
//!     .connection(|steps| {
//!         steps
//!             .expect_startup_and_accept()
//!             .expect(b'Q')
//!             .send([command_complete("SELECT 0"), ready(b'I')].concat())
//!             .hang_up()
//!     })
//!     .start();
//! // … a client works with server.url() …
//! server.finish();
//! ```

mod session;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::flag::Flag;
use super::frame::{Direction, name};
use super::listener::{Listener, Place, UNIX_PORT};
use super::responder::Answer;

/// How long a step waits for the client, and `finish` for the steps, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

type Check = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

#[derive(Clone)]
enum Step {
    Expect { tag: u8, what: Option<String>, check: Option<Check> },
    StartupAndAccept,
    Send(Vec<u8>),
    Drip(Vec<u8>, Duration),
    PauseUntil(Flag),
    Raise(Flag),
    MayClose,
    ExpectClose,
    HangUp,
    Reset,
    AnswerQueries(Arc<dyn Fn(&str) -> Answer + Send + Sync>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Expect { tag, what: None, .. } => write!(f, "expect {}", name(Direction::Frontend, *tag)),
            Step::Expect { tag, what: Some(what), .. } => {
                write!(f, "expect {} with {what}", name(Direction::Frontend, *tag))
            }
            Step::StartupAndAccept => f.write_str("expect Startup and accept"),
            Step::Send(bytes) => write!(f, "send {} bytes", bytes.len()),
            Step::Drip(bytes, _) => write!(f, "drip {} bytes", bytes.len()),
            Step::PauseUntil(_) => f.write_str("pause"),
            Step::Raise(_) => f.write_str("raise a flag"),
            Step::MayClose => f.write_str("the client may close"),
            Step::ExpectClose => f.write_str("expect the client to close"),
            Step::HangUp => f.write_str("hang up"),
            Step::Reset => f.write_str("reset"),
            Step::AnswerQueries(_) => f.write_str("answer queries"),
        }
    }
}

/// What happens on one connection, in order.
///
/// After the last step the connection stays open; the client may then say goodbye or close, and must not send
/// anything else.
#[derive(Clone, Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    fn then(mut self, step: Step) -> Steps {
        let ended = matches!(self.0.last(), Some(Step::AnswerQueries(_) | Step::HangUp | Step::Reset));
        assert!(!ended, "no step can follow {}", self.0[self.0.len() - 1]);
        self.0.push(step);
        self
    }

    /// Waits for a message with this tag; the untagged packets have tags in `frame`.
    pub(crate) fn expect(self, tag: u8) -> Steps {
        self.then(Step::Expect { tag, what: None, check: None })
    }

    /// Waits for a message with this tag whose body passes the check; `what` says it in words.
    pub(crate) fn expect_with(
        self,
        tag: u8,
        what: &str,
        check: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Steps {
        self.then(Step::Expect { tag, what: Some(what.to_owned()), check: Some(Arc::new(check)) })
    }

    /// Waits for messages with these tags, one after the other.
    pub(crate) fn expect_all(self, tags: &[u8]) -> Steps {
        tags.iter().fold(self, |steps, tag| steps.expect(*tag))
    }

    /// Declines encryption if asked, lets any user in without a password, and is ready for queries.
    pub(crate) fn expect_startup_and_accept(self) -> Steps {
        self.then(Step::StartupAndAccept)
    }

    /// Sends bytes, as a rule messages of `backend`.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Steps {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends bytes one at a time, with a pause after each.
    pub(crate) fn drip(self, bytes: impl Into<Vec<u8>>, pause: Duration) -> Steps {
        self.then(Step::Drip(bytes.into(), pause))
    }

    /// Does nothing until the test raises the flag.
    pub(crate) fn pause_until(self, flag: &Flag) -> Steps {
        self.then(Step::PauseUntil(flag.clone()))
    }

    /// Tells the test that the script got here.
    pub(crate) fn raise(self, flag: &Flag) -> Steps {
        self.then(Step::Raise(flag.clone()))
    }

    /// From here on the client may close, and then the steps that are left do not count.
    pub(crate) fn may_close(self) -> Steps {
        self.then(Step::MayClose)
    }

    /// Waits until the client closes, with or without a goodbye.
    pub(crate) fn expect_close(self) -> Steps {
        self.then(Step::ExpectClose)
    }

    /// Closes; what was sent before arrives.
    pub(crate) fn hang_up(self) -> Steps {
        self.then(Step::HangUp)
    }

    /// Closes with a reset, as a crashed machine does; on a Unix socket only closes.
    pub(crate) fn reset(self) -> Steps {
        self.then(Step::Reset)
    }

    /// From here on is a simple server, as long as the client likes: the function says what each statement is.
    pub(crate) fn answer_queries(self, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Steps {
        self.then(Step::AnswerQueries(Arc::new(answer)))
    }
}

/// The steps of each connection, in the order in which they are accepted.
pub(crate) struct Script {
    connections: Vec<Steps>,
    further: Option<Steps>,
    patience: Duration,
}

impl Script {
    /// A script without connections.
    pub(crate) fn new() -> Script {
        Script { connections: Vec::new(), further: None, patience: PATIENCE }
    }

    /// One more connection, which must come.
    pub(crate) fn connection(mut self, steps: impl FnOnce(Steps) -> Steps) -> Script {
        self.connections.push(steps(Steps::default()));
        self
    }

    /// Any number of connections after those, none included.
    pub(crate) fn any_further_connection(mut self, steps: impl FnOnce(Steps) -> Steps) -> Script {
        self.further = Some(steps(Steps::default()));
        self
    }

    /// How long a step waits for the client, and `finish` for the steps (ten seconds by default).
    pub(crate) fn patience(mut self, limit: Duration) -> Script {
        self.patience = limit;
        self
    }

    /// Listens on a port of 127.0.0.1.
    pub(crate) fn start(self) -> ScriptServer {
        ScriptServer::start(self, Listener::tcp().expect("a port to listen on"))
    }

    /// Listens on a Unix socket.
    pub(crate) fn start_unix(self) -> ScriptServer {
        ScriptServer::start(self, Listener::unix().expect("a socket file to listen on"))
    }
}

#[derive(Default)]
struct State {
    closing: bool,
    connections: Vec<Progress>,
    /// Sockets that were shut down and must not be closed yet.
    hung_up: Vec<Arc<Socket>>,
    /// What went wrong, in order.
    failures: Vec<String>,
}

struct Progress {
    /// Whether nothing is left that must happen.
    done: bool,
    socket: Weak<Socket>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    scripted: usize,
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().expect("no holder panics"));
        self.changed.notify_all();
        result
    }

    fn closing(&self) -> bool {
        self.state.lock().expect("no holder panics").closing
    }
}

/// A fake server at work. The test fails if it is dropped while steps are left over.
pub(crate) struct ScriptServer {
    place: Place,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl ScriptServer {
    fn start(script: Script, listener: Listener) -> ScriptServer {
        let place = listener.place.clone();
        let shared = Arc::new(Shared {
            scripted: script.connections.len(),
            patience: script.patience,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let seen = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("script".to_owned())
            .spawn(move || accept(&listener, script, &seen))
            .expect("a test can start a thread");
        ScriptServer { place, shared, acceptor: Some(acceptor) }
    }

    /// Where to connect.
    pub(crate) fn url(&self) -> String {
        self.url_for("script")
    }

    /// Where to connect with another login, `user` or `user:password`.
    pub(crate) fn url_for(&self, login: &str) -> String {
        match &self.place {
            Place::Tcp(port) => format!("postgres://{login}@127.0.0.1:{port}/script"),
            Place::Unix(folder) => {
                format!("postgres://{login}@/script?host={}&port={UNIX_PORT}", folder.display())
            }
        }
    }

    /// Waits until all steps are done, and panics if they do not get done or something unexpected came.
    pub(crate) fn finish(mut self) {
        let failures = self.stop(self.shared.patience);
        assert!(failures.is_empty(), "the script was not followed:\n{}", failures.join("\n"));
    }

    fn stop(&mut self, limit: Duration) -> Vec<String> {
        let Some(acceptor) = self.acceptor.take() else { return Vec::new() };
        let end = Instant::now() + limit;
        let mut state = self.shared.state.lock().expect("no holder panics");
        while !(state.connections.len() >= self.shared.scripted && state.connections.iter().all(|c| c.done)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !state.failures.is_empty() {
                break;
            }
            state = self.shared.changed.wait_timeout(state, left).expect("no holder panics").0;
        }
        state.closing = true;
        drop(state);
        self.shared.changed.notify_all();
        self.place.poke();
        let mut failures = Vec::new();
        if acceptor.join().is_err() {
            failures.push("the accepting thread of the script panicked".to_owned());
        }
        // Nobody adds connections any more. What has arrived on them can still be read.
        let threads: Vec<_> = self.shared.with(|state| {
            for connection in &state.connections {
                if let Some(socket) = connection.socket.upgrade() {
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                }
            }
            state.connections.iter_mut().filter_map(|connection| connection.thread.take()).collect()
        });
        for thread in threads {
            if thread.join().is_err() {
                failures.push("a function of the script panicked".to_owned());
            }
        }
        self.shared.with(|state| state.failures.drain(..).chain(failures).collect())
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        // A test that fails already shall not wait for steps that will not come.
        let limit = if thread::panicking() { Duration::ZERO } else { self.shared.patience };
        let failures = self.stop(limit);
        if failures.is_empty() {
            return;
        }
        let report = format!("the script was not followed:\n{}", failures.join("\n"));
        if thread::panicking() {
            eprintln!("{report}");
        } else {
            panic!("{report}");
        }
    }
}

fn accept(listener: &Listener, script: Script, shared: &Arc<Shared>) {
    let mut scripted = script.connections.into_iter().enumerate();
    let mut count = 0;
    loop {
        let socket = listener.accept();
        if shared.closing() {
            // One of these is the poke that woke us.
            let late = listener.drain().map_or(0, |late| late.len());
            if late > 0 && script.further.is_none() {
                shared.with(|state| state.failures.push("a connection came at the end".to_owned()));
            }
            break;
        }
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                shared.with(|state| state.failures.push(format!("no connection can be accepted: {error}")));
                break;
            }
        };
        count += 1;
        let Some(steps) = scripted.next().map(|(_, steps)| steps).or_else(|| script.further.clone()) else {
            let all = count - 1;
            let failure = format!("connection {count} came, but the script has only {all}");
            shared.with(|state| state.failures.push(failure));
            continue;
        };
        session::start(count, steps.0, socket, shared);
    }
    for (at, steps) in scripted {
        let failure = format!("connection {} never came; its {} steps are left over", at + 1, steps.0.len());
        shared.with(|state| state.failures.push(failure));
    }
}
