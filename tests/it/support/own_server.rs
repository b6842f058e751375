//! A server of a test's own, which can be restarted. Uses: client, eventually.

use maypole::embedded::{Builder, Server};

use super::client::Client;
use super::eventually::eventually;

/// A server that only one test knows. It ends with its owner, even if that is killed.
///
/// What it has reported as committed it has written, unlike the shared server: so it holds after a crash too. (It does
/// not sync its files, but nobody takes the machine's power away.)
pub(crate) struct OwnServer {
    server: Server,
}

impl OwnServer {
    /// Starts it, with settings of its own. Blocks for about a second.
    pub(crate) fn start(settings: impl FnOnce(Builder) -> Builder) -> OwnServer {
        let builder = settings(Server::builder().setting("synchronous_commit", "on"));
        let server = builder.start().unwrap_or_else(|error| panic!("the test needs a server: {error}"));
        OwnServer { server }
    }

    /// Where it is; the same after a restart.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A session past the library.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.url()).expect("the server answers")
    }

    /// Whether it takes writes from now on, by its configuration. Returns when it tells new sessions so.
    pub(crate) fn take_writes(&self, writes: bool) {
        let value = if writes { "off" } else { "on" };
        let mut client = self.client();
        client.query(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).expect("set");
        client.query("SELECT pg_reload_conf()").expect("reloaded");
        eventually("the server knows whether it takes writes", || {
            self.client().value("SHOW default_transaction_read_only").is_ok_and(|now| now == value)
        });
    }

    /// Stops it in good order, which ends all sessions, and starts it again. Returns when it accepts connections.
    pub(crate) fn restart(&mut self) {
        self.server.restart(false).expect("it starts again");
    }

    /// Crashes it and starts it again: what was not written is lost. Returns when it accepts connections.
    pub(crate) fn crash(&mut self) {
        self.server.restart(true).expect("it recovers");
    }
}
