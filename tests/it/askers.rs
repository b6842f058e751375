//! No reply ever reaches anybody but the one who asked (reliability cases 1 to 7).

use std::time::Duration;

use crate::support::chaos::cancel;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::proxy::{Direction::Backend, Proxy, nth};
use crate::support::server::server;

/// Case 1.
#[test]
fn a_coroutine_cancelled_while_its_reply_is_on_the_way_leaves_the_next_borrower_its_own_answer() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.query("SELECT 1", ()).value::<i32>().expect("warm");
    let held = proxy.on(Backend, b'D', nth(1)).hold();
    let pool = test.pool.clone();
    let victim = maypole::spawn(move || {
        let connection = pool.connection().expect("lent");
        connection.query("SELECT 1", ()).value::<i32>()
    });
    held.wait_hits(1);
    cancel(&victim);
    assert!(victim.join().is_err(), "it was cancelled");
    let pool = test.pool.clone();
    let next = maypole::spawn(move || {
        let connection = pool.connection_within(Duration::from_secs(20))?;
        connection.query("SELECT 2", ()).value::<i32>()
    });
    held.release();
    assert_eq!(next.join().expect("not cancelled").expect("an answer"), 2);
    test.finish();
}

#[test]
fn plain_queries_work_from_a_coroutine_and_from_a_thread() {
    let test = TestPool::new(2);
    let db = maypole::Database::from(test.pool.clone());
    assert_eq!(in_coroutine(move || db.query("SELECT 7", ()).value::<i32>()).expect("an answer"), 7);
    assert_eq!(test.db.query("SELECT 8", ()).value::<i32>().expect("an answer"), 8);
    test.finish();
}
