//! A proxy between a client and a real server that works on messages, not on bytes.
//! Uses: address, frame, listener, proxy/link, proxy/rules.
//!
//! ```ignore
//! let proxy = Proxy::start(&server().tcp_url());
//! let held = proxy.on(Backend, b'Z', nth(2)).hold();
//! // … a client works with proxy.url() …
//! held.wait_hits(1);
//! held.release();
//! ```

mod link;
mod rules;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::Socket;

pub(crate) use super::frame::Direction::{self, Backend, Frontend};
pub(crate) use rules::{ANY, every, from, nth};

use super::address::Address;
use super::frame::name;
use super::listener::{Listener, Place};
use link::Link;
use rules::{Action, Filter, RuleBook, When};

/// How long a test waits for something to happen in the proxy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that came to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The first connection is 1.
    pub(crate) connection: usize,
    pub(crate) direction: Direction,
    pub(crate) tag: u8,
}

/// What the accepting thread does with who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Nobody listens on the port.
    Refuse,
    /// Accepted and closed.
    Slam,
}

struct State {
    rules: RuleBook,
    seen: Vec<Event>,
    forgetful: bool,
    links: Vec<Link>,
    threads: Vec<JoinHandle<()>>,
    gate: Gate,
    /// The gate as it is in fact: the accepting thread needs a moment to stop and start listening.
    gate_now: Gate,
    stopping: bool,
    /// Connections that came, whatever became of them.
    knocks: usize,
}

impl State {
    fn is_over(&self, link: usize) -> bool {
        self.stopping || self.links[link].cut
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until the state has what is asked for; whether it has within the limit.
    fn wait(&self, limit: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while !condition(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).expect("no holder panics").0;
        }
        true
    }
}

/// A proxy at work on a port of 127.0.0.1. Dropping it closes everything.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    upstream: Address,
    /// Where new connections go.
    target: Arc<Mutex<Address>>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to the server at this address, which may be a Unix socket. It changes nothing yet.
    pub(crate) fn start(upstream: &str) -> Proxy {
        let upstream = Address::parse(upstream);
        let listener = Listener::tcp().expect("a port to listen on");
        let Place::Tcp(port) = listener.place else { unreachable!("a TCP listener has a port") };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                rules: RuleBook::default(),
                seen: Vec::new(),
                forgetful: false,
                links: Vec::new(),
                threads: Vec::new(),
                gate: Gate::Open,
                gate_now: Gate::Open,
                stopping: false,
                knocks: 0,
            }),
            changed: Condvar::new(),
        });
        let target = Arc::new(Mutex::new(upstream.clone()));
        let (seen, now) = (Arc::clone(&shared), target.clone());
        let acceptor = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accept(listener, &now, &seen))
            .expect("a test can start a thread");
        Proxy { shared, upstream, target, port, acceptor: Some(acceptor) }
    }

    /// From now on new connections go to another server, with the login of the first.
    pub(crate) fn redirect(&self, upstream: &str) {
        *self.target.lock().expect("no holder panics") = Address::parse(upstream);
    }

    /// The server's login at the proxy's address.
    pub(crate) fn url(&self) -> String {
        self.upstream.url_at(self.port)
    }

    /// From now on it does not remember what it sees, which is too much in a long test: nothing can be counted or waited for
    /// but what rules do.
    #[allow(dead_code, reason = "for tests/bank.rs")]
    pub(crate) fn forget(&self) {
        self.shared.with(|state| state.forgetful = true);
    }

    /// All connections, those to come included.
    pub(crate) fn all(&self) -> Traffic<'_> {
        Traffic { shared: &self.shared, link: None }
    }

    /// Only the n-th connection ever accepted, which may still be to come; the first is 1.
    pub(crate) fn connection(&self, n: usize) -> Traffic<'_> {
        assert!(n > 0, "the first connection is 1");
        Traffic { shared: &self.shared, link: Some(n - 1) }
    }

    /// See [`Traffic::on`]; on all connections.
    pub(crate) fn on(&self, direction: Direction, tag: u8, when: When) -> RuleMaker<'_> {
        self.all().on(direction, tag, when)
    }

    /// See [`Traffic::wait_for`]; on all connections.
    #[track_caller]
    pub(crate) fn wait_for(&self, direction: Direction, tag: u8, n: usize, limit: Duration) {
        self.all().wait_for(direction, tag, n, limit);
    }

    /// Goes deaf: see [`Traffic::deaf`]; on all connections.
    pub(crate) fn deaf(&self) -> Rule {
        self.all().deaf()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.lock().links.len()
    }

    /// Connections that came so far, those included that were slammed or could not be connected on. Nobody counts those
    /// that are refused.
    #[allow(dead_code, reason = "for tests/outage.rs")]
    pub(crate) fn knocks(&self) -> usize {
        self.shared.lock().knocks
    }

    /// Connections of which not both directions have ended.
    pub(crate) fn open(&self) -> usize {
        self.shared.lock().links.iter().filter(|link| link.open > 0).count()
    }

    /// From now on connecting is refused, as if nobody listened. Returns when that is so.
    pub(crate) fn refuse(&self) {
        self.set_gate(Gate::Refuse);
    }

    /// From now on who connects is accepted and closed. Returns when that is so.
    pub(crate) fn slam(&self) {
        self.set_gate(Gate::Slam);
    }

    /// Ends `refuse` and `slam`. Returns when that is so.
    pub(crate) fn welcome(&self) {
        self.set_gate(Gate::Open);
    }

    fn set_gate(&self, gate: Gate) {
        let wake = self.shared.with(|state| {
            let wake = gate == Gate::Refuse && state.gate_now != Gate::Refuse;
            state.gate = gate;
            if !wake && state.gate_now != Gate::Refuse {
                state.gate_now = gate;
            }
            wake
        });
        // Only to get it out of `accept`: a poke it did not wait for would count as a connection.
        if wake {
            Place::Tcp(self.port).poke();
        }
        let done = self.shared.wait(PATIENCE, |state| state.gate_now == gate);
        assert!(done, "the proxy did not get to {gate:?} within {PATIENCE:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.stopping = true;
            state.links.iter_mut().for_each(Link::close);
        });
        Place::Tcp(self.port).poke();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let threads = self.shared.with(|state| {
            state.links.iter_mut().for_each(Link::close);
            std::mem::take(&mut state.threads)
        });
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// One connection of a proxy, or all of them.
#[derive(Clone, Copy)]
pub(crate) struct Traffic<'a> {
    shared: &'a Arc<Shared>,
    link: Option<usize>,
}

impl<'a> Traffic<'a> {
    /// The start of a rule about messages with this tag (`ANY`: all that have one; those without have tags in
    /// `frame`). It counts from now, and over all connections it is about.
    pub(crate) fn on(self, direction: Direction, tag: u8, when: When) -> RuleMaker<'a> {
        let filter = Filter { link: self.link, direction: Some(direction), tag: Some(tag), when };
        RuleMaker { shared: self.shared, filter }
    }

    /// Forwards nothing any more in either direction, not even that a peer has closed, until the rule is
    /// released. New connections are accepted.
    pub(crate) fn deaf(self) -> Rule {
        let filter = Filter { link: self.link, direction: None, tag: None, when: When::Every };
        RuleMaker { shared: self.shared, filter }.rule(Action::Hold)
    }

    /// Closes the connections there are, to both sides, at once.
    pub(crate) fn cut(self) {
        self.shared.with(|state| {
            for (number, link) in state.links.iter_mut().enumerate() {
                if self.link.is_none_or(|only| only == number) {
                    link.close();
                }
            }
        });
    }

    /// From now on the system drops every packet that a client sends on the connections there are, as a firewall does that
    /// has forgotten them: nothing is acknowledged any more, and only the client's own system can find that out.
    pub(crate) fn forgotten_by_the_network(self) {
        let state = self.shared.lock();
        for (number, link) in state.links.iter().enumerate() {
            if self.link.is_none_or(|only| only == number) {
                link.drop_what_comes_from_the_client();
            }
        }
    }

    /// What came to the proxy so far.
    pub(crate) fn seen(self) -> Vec<Event> {
        let of_us = |event: &&Event| self.link.is_none_or(|only| only + 1 == event.connection);
        self.shared.lock().seen.iter().filter(of_us).copied().collect()
    }

    /// How many messages of this kind came so far.
    pub(crate) fn count(self, direction: Direction, tag: u8) -> usize {
        count(&self.shared.lock().seen, self.link, direction, tag)
    }

    /// Waits until `n` messages of this kind have come, counted from the start; panics after `limit`.
    #[track_caller]
    pub(crate) fn wait_for(self, direction: Direction, tag: u8, n: usize, limit: Duration) {
        let link = self.link;
        let came = self.shared.wait(limit, |state| count(&state.seen, link, direction, tag) >= n);
        if !came {
            let what = name(direction, tag);
            let seen = self.seen();
            let last = seen.iter().skip(seen.len().saturating_sub(50));
            let last: Vec<_> = last.map(|event| name(event.direction, event.tag)).collect();
            panic!("after {limit:?} not {n} times {what}; the proxy saw at last: {}", last.join(", "));
        }
    }
}

fn count(seen: &[Event], link: Option<usize>, direction: Direction, tag: u8) -> usize {
    let of_kind = |event: &&Event| {
        link.is_none_or(|only| only + 1 == event.connection)
            && event.direction == direction
            && event.tag == tag
    };
    seen.iter().filter(of_kind).count()
}

/// A rule that lacks its action.
#[must_use = "a rule needs an action"]
pub(crate) struct RuleMaker<'a> {
    shared: &'a Arc<Shared>,
    filter: Filter,
}

impl RuleMaker<'_> {
    fn rule(self, action: Action) -> Rule {
        let number = self.shared.with(|state| state.rules.add(self.filter, action));
        Rule { shared: Arc::clone(self.shared), number }
    }

    /// Does nothing but count.
    pub(crate) fn watch(self) -> Rule {
        self.rule(Action::Watch)
    }

    /// Waits a while before it forwards the message, and all that follows.
    pub(crate) fn delay(self, time: Duration) -> Rule {
        self.rule(Action::Delay(time))
    }

    /// Holds the message, and all that follows, until the rule is released.
    pub(crate) fn hold(self) -> Rule {
        self.rule(Action::Hold)
    }

    /// Forwards the first `count` bytes of the message and holds the rest.
    pub(crate) fn hold_after_bytes(self, count: usize) -> Rule {
        self.rule(Action::HoldInside(count))
    }

    /// Closes to both sides; the message is lost.
    pub(crate) fn cut_before(self) -> Rule {
        self.rule(Action::CutBefore)
    }

    /// Forwards the first `count` bytes of the message and closes to both sides.
    pub(crate) fn cut_after_bytes(self, count: usize) -> Rule {
        self.rule(Action::CutInside(count))
    }

    /// Forwards the message and closes to both sides.
    pub(crate) fn cut_after(self) -> Rule {
        self.rule(Action::CutAfter)
    }

    /// Forwards the message byte by byte; the rest of a long one in small pieces.
    pub(crate) fn split(self) -> Rule {
        self.rule(Action::Split)
    }

    /// Collects the messages and sends them together: before the next that is not glued, or when the sender
    /// pauses.
    pub(crate) fn glue(self) -> Rule {
        self.rule(Action::Glue)
    }

    /// Forwards the message twice.
    pub(crate) fn duplicate(self) -> Rule {
        self.rule(Action::Duplicate)
    }

    /// Sends these bytes before the message.
    pub(crate) fn insert_before(self, bytes: impl Into<Vec<u8>>) -> Rule {
        self.rule(Action::InsertBefore(bytes.into()))
    }

    /// Sends these bytes after the message.
    pub(crate) fn insert_after(self, bytes: impl Into<Vec<u8>>) -> Rule {
        self.rule(Action::InsertAfter(bytes.into()))
    }
}

/// A rule at work. Dropping the handle leaves it at work.
pub(crate) struct Rule {
    shared: Arc<Shared>,
    number: usize,
}

impl Rule {
    /// Ends the rule; what it holds goes on its way.
    pub(crate) fn release(&self) {
        self.shared.with(|state| state.rules.remove(self.number));
    }

    /// How often the rule has acted; a message that is held counts when it comes.
    pub(crate) fn hits(&self) -> usize {
        self.shared.lock().rules.hits(self.number)
    }

    /// Waits until the rule has acted `n` times; panics after ten seconds.
    #[track_caller]
    pub(crate) fn wait_hits(&self, n: usize) {
        let number = self.number;
        let hit = self.shared.wait(PATIENCE, |state| state.rules.hits(number) >= n);
        assert!(hit, "after {PATIENCE:?} the rule of the proxy has acted {} times, not {n}", self.hits());
    }
}

fn accept(mut listener: Listener, upstream: &Mutex<Address>, shared: &Arc<Shared>) {
    loop {
        let Ok(client) = listener.accept() else { return };
        let (gate, stopping) = shared.with(|state| {
            state.knocks += 1;
            (state.gate, state.stopping)
        });
        if stopping {
            return;
        }
        match gate {
            Gate::Open => {
                // Who cannot be connected on is closed.
                let upstream = upstream.lock().expect("no holder panics").clone();
                if let Ok(server) = upstream.connect() {
                    open(client, server, shared);
                }
            }
            Gate::Slam => {}
            Gate::Refuse => {
                drop(client);
                refuse(&mut listener, shared);
            }
        }
    }
}

/// Refuses connections until the gate changes.
fn refuse(listener: &mut Listener, shared: &Shared) {
    listener.refuse().expect("the port was ours a moment ago");
    let mut state = shared.lock();
    state.gate_now = Gate::Refuse;
    shared.changed.notify_all();
    while state.gate == Gate::Refuse && !state.stopping {
        state = shared.changed.wait(state).expect("no holder panics");
    }
    listener.listen_again().expect("the port is bound");
    state.gate_now = state.gate;
    shared.changed.notify_all();
}

fn open(client: Socket, server: Socket, shared: &Arc<Shared>) {
    let (client, server) = (Arc::new(client), Arc::new(server));
    let number = shared.with(|state| {
        state.links.push(Link::new(&client, &server));
        state.links.len() - 1
    });
    let frontend = link::start(number, Frontend, Arc::clone(&client), Arc::clone(&server), shared);
    let backend = link::start(number, Backend, server, client, shared);
    shared.with(|state| state.threads.extend([frontend, backend]));
}
