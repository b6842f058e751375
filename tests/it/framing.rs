//! Where the network cuts the stream makes no difference (reliability case 35).

use std::sync::OnceLock;
use std::time::Duration;

use crate::support::exercise::exercise;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{ANY, Direction::Backend, Direction::Frontend, Proxy, every};
use crate::support::server::server;
use crate::support::watchdog::watchdog;

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
    // Byte by byte, 600 KB take their time on a machine that has other work: it is not the time that is tested.
    let patience = Duration::from_secs(150);
    let mut test = TestPool::built(&through.url(), |builder| builder.limit(limit).query_timeout(patience));
    test._watchdog = watchdog(patience);
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
