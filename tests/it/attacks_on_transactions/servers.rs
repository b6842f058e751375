//! Servers that answer strangely, and rights that are missing.

use std::time::Duration;

use maypole::{Outcome, Result, Tx, TxOptions};

use super::{ids, table};
use crate::support::backend::{
    self, command_complete, data_row, notice, ready, row_description_with_formats,
};
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::flag::Flag;
use crate::support::pool::TestPool;
use crate::support::script::Script;
use crate::support::server::server;

/// A server that answers a script, and then COMMIT or ROLLBACK if that comes, like this.
fn answered(begin: Vec<u8>, commit: Option<Vec<u8>>) -> Result<()> {
    let script = Script::new()
        .connection(|steps| {
            let steps = steps.expect_startup_and_accept().expect(b'Q').send(begin);
            match commit {
                Some(commit) => steps.expect(b'Q').send(commit),
                None => steps,
            }
        })
        .any_further_connection(|steps| steps.expect_startup_and_accept().may_close())
        .start();
    let limit = Duration::from_millis(500);
    let test = TestPool::built(&script.url(), |builder| builder.limit(1).query_timeout(limit));
    let result = test.db.transaction(|q| q.script("INSERT INTO t VALUES (1)"));
    test.settled();
    test.pool.start_closing();
    eventually("nothing is left", || test.pool.is_drained());
    script.finish();
    result
}

fn begun(status: u8) -> Vec<u8> {
    [command_complete("BEGIN"), command_complete("INSERT 0 1"), ready(status)].concat()
}

#[test]
fn only_commit_in_answer_to_commit_is_a_success_and_only_rollback_a_rollback() {
    let flood = (0..5000).flat_map(|_| notice("again")).collect::<Vec<u8>>();
    let answers: [(&str, Vec<u8>, Option<Outcome>); 9] = [
        ("as it should be", [command_complete("COMMIT"), ready(b'I')].concat(), None),
        ("behind a flood", [flood, command_complete("COMMIT"), ready(b'I')].concat(), None),
        ("a rollback", [command_complete("ROLLBACK"), ready(b'I')].concat(), Some(Outcome::RolledBack)),
        ("another tag", [command_complete("DONE"), ready(b'I')].concat(), Some(Outcome::Unknown)),
        ("no tag", [command_complete(""), ready(b'I')].concat(), Some(Outcome::Unknown)),
        ("nothing", [backend::empty_query_response(), ready(b'I')].concat(), Some(Outcome::Unknown)),
        ("only ready", ready(b'I'), Some(Outcome::Unknown)),
        (
            "in the words of a pooler that has lost the server",
            backend::fatal("08006", "server connection lost"),
            Some(Outcome::Unknown),
        ),
        (
            "unknown by its own words",
            [backend::error("08007", "transaction resolution unknown"), ready(b'I')].concat(),
            Some(Outcome::Unknown),
        ),
    ];
    for (what, answer, outcome) in answers {
        let result = answered(begun(b'T'), Some(answer));
        assert_eq!(result.as_ref().err().map(maypole::Error::outcome), outcome, "{what}: {result:?}");
    }
}

#[test]
fn a_transaction_that_the_server_says_is_none_is_no_success() {
    let rollback = [command_complete("ROLLBACK"), ready(b'I')].concat();
    for (status, next) in [(b'I', None), (b'E', Some(rollback))] {
        let result = answered(begun(status), next);
        let error = result.expect_err("it did not begin, or has failed");
        assert_ne!(error.outcome(), Outcome::NotSent, "{error:?}");
    }
}

/// The question for the number is answered with nonsense.
#[test]
fn a_number_that_is_none_is_not_asked_about() {
    let flag = Flag::new();
    let columns = [("id", 25, 0), ("a", 25, 0), ("b", 25, 0), ("c", 25, 0)];
    let answer = [
        command_complete("BEGIN"),
        command_complete("INSERT 0 1"),
        row_description_with_formats(&columns),
        data_row(&[Some(b"7"), None, Some(b""), Some(b"\xff")]),
        command_complete("SELECT 1"),
        ready(b'T'),
    ];
    let script = Script::new()
        .connection(|steps| {
            steps
                .expect_startup_and_accept()
                .expect(b'Q')
                .send(answer.concat())
                .expect(b'Q')
                .raise(&flag)
                .hang_up()
        })
        .any_further_connection(|steps| steps.expect_startup_and_accept().may_close())
        .start();
    let test = TestPool::built(&script.url(), |builder| builder.limit(1));
    let options = TxOptions::new().confirm_commit();
    let result = test.db.transaction_with(&options, |q| q.script("INSERT INTO t VALUES (1)"));
    let error = result.expect_err("no answer to COMMIT");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert!(flag.wait(Duration::ZERO));
    test.settled();
}

/// Who may not ask where the server is gets an error that says so, and nothing is stored.
#[test]
fn a_role_that_may_not_look_at_the_cluster_is_told_so() {
    table("attack_rights", &[]);
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client
        .query(
            "CREATE ROLE attack_poor; GRANT ALL ON attack_rights TO attack_poor;
             REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
        )
        .expect("a role");
    let test = TestPool::built(&server().url(), |builder| {
        builder.limit(1).after_connect(|lease| lease.script("SET ROLE attack_poor"))
    });
    let insert = |q: &Tx| q.query("INSERT INTO attack_rights VALUES (1)", ()).run();
    let error = test.db.transaction_with(&TxOptions::new().confirm_commit(), insert);
    let error = error.expect_err("it may not ask");
    assert_eq!((error.sqlstate(), error.outcome()), (Some("42501"), Outcome::RolledBack), "{error:?}");
    assert!(error.to_string().contains("pg_control_system"), "{error}");
    test.db.transaction(insert).expect("without asking it may");
    assert_eq!(ids("attack_rights"), [1]);
    client.query("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC").expect("as it was");
    test.finish();
}
