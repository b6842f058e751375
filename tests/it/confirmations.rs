//! `confirm_commit`: what became of a COMMIT whose answer was lost is asked on another connection, and told only if it is
//! certain.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use maypole::{Outcome, Result, TxOptions};

use crate::support::own_server::OwnServer;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Frontend, Proxy, Rule, nth};

const CONFIRMED: TxOptions = TxOptions::new().name("confirmed").retries(3).confirm_commit();

/// What was said of a transaction whose COMMIT lost its answer, and what is so.
struct Lost {
    result: Result<()>,
    calls: usize,
    /// How often it is stored.
    stored: String,
    /// Its number, by which its fate is asked.
    transaction: String,
}

/// Runs a transaction behind a proxy. Once it has sent COMMIT, `hold` has caught a message and nothing passes any more,
/// `meanwhile` happens to the server, and then the client learns that its connection is lost.
fn lose(
    server: &mut OwnServer,
    hold: impl FnOnce(&Proxy) -> Rule + Send,
    meanwhile: impl FnOnce(&mut OwnServer),
) -> Lost {
    let mut client = server.client();
    client.query("DROP TABLE IF EXISTS lost; CREATE TABLE lost (id int4)").expect("a table");
    drop(client);
    let proxy = Proxy::start(&server.url());
    let test =
        TestPool::of_server(&server.url(), &proxy.url(), Duration::from_secs(60), |builder, config| {
            builder.config(config).limit(1)
        });
    let (calls, number) = (AtomicUsize::new(0), Mutex::new(String::new()));
    let (hold, held) = (Mutex::new(Some(hold)), Mutex::new(None));
    let result = thread::scope(|scope| {
        let under_way = scope.spawn(|| {
            test.db.transaction_with(&CONFIRMED, |q| {
                calls.fetch_add(1, Ordering::SeqCst);
                q.query("INSERT INTO lost VALUES (1)", ()).run()?;
                let xid: String = q.query("SELECT pg_current_xact_id()::text", ()).value()?;
                *number.lock().expect("no holder panics") = xid;
                if let Some(hold) = hold.lock().expect("no holder panics").take() {
                    *held.lock().expect("no holder panics") = Some(hold(&proxy));
                }
                Ok(())
            })
        });
        crate::support::eventually::eventually("COMMIT is on its way", || {
            held.lock().expect("no holder panics").as_ref().is_some_and(|rule: &Rule| rule.hits() > 0)
        });
        let deaf = proxy.all().deaf();
        meanwhile(server);
        proxy.all().cut();
        deaf.release();
        held.lock().expect("no holder panics").as_ref().expect("held").release();
        under_way.join().expect("no panic")
    });
    test.finish();
    let stored = server.client().value("SELECT count(*) FROM lost").expect("a count");
    let calls = calls.load(Ordering::SeqCst);
    Lost { result, calls, stored, transaction: number.into_inner().expect("no holder panics") }
}

fn commit_is_held(proxy: &Proxy) -> Rule {
    proxy.on(Frontend, ANY, nth(1)).hold()
}

fn its_answer_is_held(proxy: &Proxy) -> Rule {
    proxy.on(Backend, ANY, nth(1)).hold()
}

fn server() -> OwnServer {
    // What was not committed is not written before its time.
    OwnServer::start(|server| server.setting("wal_writer_delay", "10000"))
}

#[test]
fn a_commit_that_did_not_arrive_is_told_as_rolled_back_and_one_whose_answer_was_lost_as_committed() {
    let mut server = server();
    let lost = lose(&mut server, commit_is_held, |_| ());
    // It may be run again: it is known that it had no effect.
    match &lost.result {
        Ok(()) => assert_eq!(lost.stored, "1", "retried"),
        Err(error) => {
            assert_eq!((error.outcome(), &*lost.stored), (Outcome::RolledBack, "0"), "{error:?}");
            assert_eq!(lost.calls, 1);
        }
    }
    let lost = lose(&mut server, its_answer_is_held, |_| ());
    lost.result.expect("it is known");
    assert_eq!((&*lost.stored, lost.calls), ("1", 1));
}

#[test]
fn a_restart_in_good_order_forgets_no_transaction() {
    let mut server = server();
    let lost = lose(&mut server, its_answer_is_held, OwnServer::restart);
    assert_eq!((&*lost.stored, lost.calls), ("1", 1));
    if let Err(error) = &lost.result {
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    }
    let lost = lose(&mut server, commit_is_held, OwnServer::restart);
    match &lost.result {
        Ok(()) => assert_eq!(lost.stored, "1", "retried"),
        Err(error) => {
            assert!(matches!(error.outcome(), Outcome::RolledBack | Outcome::Unknown), "{error:?}");
            assert_eq!(lost.stored, "0");
        }
    }
}

/// A server that crashed forgets the numbers that it had given to transactions of which it has written nothing, and gives
/// them to others, which commit.
#[test]
fn after_a_crash_the_fate_of_another_transaction_with_the_same_number_is_not_taken_for_its_own() {
    let mut server = server();
    let other = Mutex::new(String::new());
    let lost = lose(&mut server, commit_is_held, |server| {
        server.crash();
        let mut client = server.client();
        let sql = "BEGIN; CREATE TABLE other (id int4); SELECT pg_current_xact_id(); COMMIT";
        *other.lock().expect("no holder panics") = client.value(sql).expect("committed");
    });
    let other = other.into_inner().expect("no holder panics");
    assert_eq!(lost.transaction, other, "the premise: the server has given the number again");
    let error = lost.result.expect_err("it was not committed");
    assert_eq!(lost.stored, "0");
    assert!(matches!(error.outcome(), Outcome::Unknown | Outcome::RolledBack), "{error:?}");
}

/// It was written before the crash.
#[test]
fn a_commit_that_was_written_before_a_crash_is_not_told_as_rolled_back() {
    let mut server = server();
    let lost = lose(&mut server, its_answer_is_held, OwnServer::crash);
    assert_eq!((&*lost.stored, lost.calls), ("1", 1));
    if let Err(error) = &lost.result {
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    }
}

/// After a failover the number may be another transaction's.
#[test]
fn another_server_is_not_believed() {
    let (server, other) = (server(), server());
    server.client().query("CREATE TABLE lost (id int4)").expect("a table");
    let proxy = Proxy::start(&server.url());
    let test = TestPool::at(&proxy.url(), 1);
    let number = Mutex::new(String::new());
    let error = test.db.transaction_with(&TxOptions::new().confirm_commit(), |q| -> Result<()> {
        q.query("INSERT INTO lost VALUES (1)", ()).run()?;
        let id: String = q.query("SELECT pg_current_xact_id()::text", ()).value()?;
        // There the same number is that of a transaction that was committed.
        let mut client = other.client();
        while client.value("SELECT pg_current_xact_id()::text").expect("a number").parse::<u64>().ok()
            <= id.parse().ok()
        {}
        assert_eq!(client.value(&format!("SELECT pg_xact_status('{id}')")).expect("a status"), "committed");
        *number.lock().expect("no holder panics") = id;
        proxy.redirect(&other.url());
        let _ = proxy.on(Frontend, ANY, nth(1)).cut_before();
        Ok(())
    });
    let error = error.expect_err("COMMIT did not arrive");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert!(error.to_string().contains("another server"), "{error}");
    assert_eq!(server.client().value("SELECT count(*) FROM lost").expect("a count"), "0");
    test.settled();
}
