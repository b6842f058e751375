//! The real server all tests of this binary share. Uses: nothing of the kit.

use std::sync::OnceLock;

use maypole::embedded::Server;

/// Starts the server at the first call. It ends with the process: statics are not dropped, but the server
/// dies with its owner. Blocks for about a second: call it first on the thread of a test, not in a coroutine.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::start().unwrap_or_else(|error| panic!("the tests need a PostgreSQL server: {error}"))
    })
}
