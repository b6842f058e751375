//! What a borrower leaves behind in a session (`SessionReset`).

use maypole::{Pool, SessionReset};

use crate::support::pool::TestPool;
use crate::support::server::server;

/// Leaves one of everything behind; tells on which session.
fn leave(pool: &Pool) -> i32 {
    let lease = pool.connection().expect("lent");
    let everything = "SET statement_timeout = '77s'; CREATE TEMP TABLE left_behind (); LISTEN left_behind; \
                      SELECT pg_advisory_lock(77077)";
    lease.script(everything).expect("done");
    lease.process_id()
}

/// What of it is there: the setting, temporary tables, channels, session locks.
const FOUND: &str = "SELECT current_setting('statement_timeout') = '77s', to_regclass('left_behind') IS NOT NULL, \
                     EXISTS (SELECT pg_listening_channels()), EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' \
                     AND objid = 77077 AND pid = pg_backend_pid()), pg_backend_pid()";

type Found = (bool, bool, bool, bool, i32);

#[test]
fn what_a_borrower_leaves_behind_is_gone_for_the_next_if_the_pool_resets_lazily() {
    let test = TestPool::built(&server().url(), |builder| builder.limit(1).session_reset(SessionReset::Lazy));
    for _ in 0..3 {
        let process = leave(&test.pool);
        let lease = test.pool.connection().expect("lent");
        let found: Found = lease.query(FOUND, ()).unique().expect("one row");
        assert_eq!(found, (false, false, false, false, process), "on a lease");
        drop(lease);
        let process = leave(&test.pool);
        let found: Found = test.db.query(FOUND, ()).unique().expect("one row");
        assert_eq!(found, (false, false, false, false, process), "by a query of its own");
    }
    test.finish();
}

#[test]
fn what_a_borrower_leaves_behind_is_found_by_the_next_unless_the_pool_resets() {
    let test = TestPool::new(1);
    let process = leave(&test.pool);
    let found: Found = test.db.query(FOUND, ()).unique().expect("one row");
    assert_eq!(found, (true, true, true, true, process));
    test.pool.clear();
    test.finish();
}
