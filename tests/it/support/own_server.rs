//! A server of a test's own, which can be restarted. Uses: client.

use maypole::embedded::{Builder, Server};

use super::client::Client;

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

    /// Stops it in good order, which ends all sessions, and starts it again. Returns when it accepts connections.
    pub(crate) fn restart(&mut self) {
        self.server.restart(false).expect("it starts again");
    }

    /// Crashes it and starts it again: what was not written is lost. Returns when it accepts connections.
    pub(crate) fn crash(&mut self) {
        self.server.restart(true).expect("it recovers");
    }
}
