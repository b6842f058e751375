//! Where a check runs, and what becomes of the session.

use maypole::{Database, Query, select};

use super::make;
use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Proxy, nth};
use crate::support::server::server;

mod apart {
    use super::*;

    pub(super) static ONE: Database = Database::named("check_one");
    pub(super) static ONE_AGAIN: Database = Database::named("check_one");
    pub(super) static TWO: Database = Database::named("check_two");

    #[select(ONE, "SELECT 1")]
    pub(super) fn one() -> Query<i32>;

    #[select(ONE_AGAIN, "SELECT 2")]
    pub(super) fn one_more() -> Query<i32>;

    #[select(TWO, "SELECT 1")]
    pub(super) fn two() -> Query<i64>;
}

#[test]
fn each_database_is_checked_with_the_queries_of_its_setting() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    for db in [&apart::ONE, &apart::ONE_AGAIN] {
        assert_eq!(db.check_on(&lease).expect("clean").queries(), 2);
    }
    assert!(apart::TWO.check_on(&lease).expect_err("int4 is not i64").to_string().contains("query two\n"));
    drop(lease);
    assert_eq!(test.db.check().expect("nothing is declared for it").queries(), 0);
    let _ = (apart::one(), apart::one_more(), apart::two());
    test.finish();
}

#[test]
fn a_session_in_a_transaction_is_refused() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    lease.script("BEGIN").expect("begun");
    let error = apart::ONE.check_on(&lease).expect_err("in a transaction");
    assert!(error.to_string().contains("inside a transaction"), "{error}");
    lease.script("ROLLBACK").expect("rolled back");
    drop(lease);
    test.finish();
}

#[test]
fn a_lost_connection_is_no_finding() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let pid = lease.process_id();
    make(&format!("SELECT pg_terminate_backend({pid})"));
    let error = apart::ONE.check_on(&lease).expect_err("the session is gone");
    assert!(!error.to_string().contains("do not fit"), "{error}");
    drop(lease);
    test.finish();
}

mod cancelled {
    use super::*;

    pub(super) static DB: Database = Database::named("check_cancelled");

    #[select(
        DB,
        "SELECT c.oid, a.attrelid FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = :name"
    )]
    pub(super) fn joined(name: &str) -> Query<(u32, u32)>;
}

#[test]
fn a_check_that_is_cancelled_leaves_nothing_behind() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let mut cancels = 0;
    for round in 1.. {
        test.ledger();
        let held = proxy.on(Backend, ANY, nth(round)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            cancelled::DB.check_on(&lease).expect("a warning").warnings()
        });
        eventually("held, or over", || held.hits() > 0 || victim.is_done());
        if held.hits() == 0 {
            assert_eq!(victim.join().expect("not cancelled"), 1);
            held.release();
            assert!(cancels > 10, "a check has more messages than {cancels}");
            break;
        }
        cancel(&victim);
        cancels += usize::from(victim.join().is_err());
        held.release();
        test.ledger();
        assert_eq!(test.sessions("AND state LIKE 'idle in transaction%'"), 0, "held at message {round}");
        let left = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'maypole_check'";
        assert_eq!(test.db.query(left, ()).value::<i64>().expect("counted"), 0, "held at message {round}");
    }
    let _ = cancelled::joined("");
    test.finish();
}
