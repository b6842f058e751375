//! Where the network cuts the stream makes no difference (reliability case 35).

use std::sync::OnceLock;

use crate::support::exercise::exercise;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Direction::Backend, Direction::Frontend, Proxy, every};
use crate::support::server::server;

/// What happens with nothing in between.
fn straight() -> &'static [String] {
    static TRANSCRIPT: OnceLock<Vec<String>> = OnceLock::new();
    TRANSCRIPT.get_or_init(|| {
        let test = TestPool::new(1);
        let transcript = exercise(&test.db);
        test.finish();
        let well = transcript.iter().filter(|line| line.contains(": Ok(")).count();
        assert!(well > 10, "most of it works: {transcript:#?}");
        transcript
    })
}

fn assert_same(through: &Proxy, limit: usize) {
    let test = TestPool::at(&through.url(), limit);
    let db = maypole::Database::from(test.pool.clone());
    let transcript = in_coroutine(move || exercise(&db));
    assert_eq!(transcript, straight());
    test.finish();
}

/// Case 35.
#[test]
fn messages_in_single_bytes_bring_the_same_results() {
    let proxy = Proxy::start(&server().tcp_url());
    let split = proxy.on(Backend, ANY, every()).split();
    assert_same(&proxy, 1);
    assert!(split.hits() > 500, "{}", split.hits());
}

/// Case 35, the way up.
#[test]
fn requests_in_single_bytes_bring_the_same_results() {
    let proxy = Proxy::start(&server().tcp_url());
    let split = proxy.on(Frontend, ANY, every()).split();
    assert_same(&proxy, 2);
    assert!(split.hits() > 100, "{}", split.hits());
}

/// Case 35.
#[test]
fn messages_glued_together_bring_the_same_results() {
    let proxy = Proxy::start(&server().tcp_url());
    let glued = proxy.on(Backend, ANY, every()).glue();
    let up = proxy.on(Frontend, ANY, every()).glue();
    assert_same(&proxy, 1);
    assert!(glued.hits() > 500 && up.hits() > 100, "{} {}", glued.hits(), up.hits());
}
