//! Notices, notifications and parameter changes may come between any two messages (reliability case 7), and messages
//! may arrive in any pieces (case 35).

use maypole::{Connection, Result};

use crate::support::backend;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Proxy, Rule, every};
use crate::support::server::server;

/// Every kind of exchange; what comes back must be the same whatever the connection does to the messages.
fn every_exchange(connection: &Connection, round: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut note = |text: String| seen.push(text);
    // Another text in each round, so that it is prepared in each.
    let text = format!("SELECT n, n * 2 AS twice FROM generate_series(1, $1::int4) n -- {round}");
    for count in [0, 1, 3] {
        note(format!("{:?}", connection.query(&text, (count,)).rows::<(i32, i32)>()));
    }
    note(format!("{:?}", connection.execute("CREATE TEMP TABLE asides (id int4 PRIMARY KEY)", ())));
    note(format!("{:?}", connection.execute("INSERT INTO asides SELECT generate_series(1, 5)", ())));
    note(format!("{:?}", connection.script("SELECT 1; SELECT 2; ; SELECT generate_series(1, 3)")));
    note(format!("{:?}", connection.script("")));
    note(format!("{:?}", connection.script("SELECT 1; SELECT 1 / 0").map_err(|e| e.to_string())));
    note(format!("{:?}", connection.execute("", ())));
    for chunk in [0, 1, 2, 100] {
        let rows: Result<Vec<i32>> =
            connection.query("SELECT generate_series(1, 5)", ()).chunk(chunk).iter().collect();
        note(format!("{rows:?}"));
        let first: Vec<_> =
            connection.query("SELECT generate_series(1, 5)", ()).chunk(chunk).iter::<i32>().take(2).collect();
        note(format!("{first:?}"));
    }
    for sql in [
        "SELECT 1 / 0",
        "SELECT nothing",
        "INSERT INTO asides VALUES (1)",
        "SELECT 1 / (3 - generate_series(1, 5))",
    ] {
        let error = connection.query(sql, ()).flat::<i32>().expect_err("it fails");
        note(format!("{:?} {:?}", error.sqlstate(), error.outcome()));
    }
    let failing: Vec<_> = connection
        .query("SELECT 6 / (3 - generate_series(1, 5))", ())
        .chunk(1)
        .iter::<i32>()
        .map(|item| item.map_err(|error| error.sqlstate().map(str::to_owned)))
        .collect();
    note(format!("{failing:?}"));
    let committed = connection.transaction(|q| {
        q.script("INSERT INTO asides VALUES (6); INSERT INTO asides VALUES (7)")?;
        let mut sum = 0;
        for row in q.query("SELECT id FROM asides ORDER BY id", ()).chunk(2).iter::<i32>() {
            sum += q.query("SELECT $1::int4", (row?,)).value::<i32>()?;
        }
        Ok(sum)
    });
    note(format!("{committed:?}"));
    let rolled_back = connection.transaction(|q| q.query("SELECT 1 / 0", ()).value::<i32>());
    note(format!("{:?}", rolled_back.map_err(|error| error.sqlstate().map(str::to_owned))));
    let swallowed = connection.transaction(|q| Ok(q.query("SELECT 1 / 0", ()).value::<i32>().is_err()));
    note(format!("{:?}", swallowed.map_err(|error| error.outcome())));
    let copies = ["COPY asides FROM STDIN", "COPY asides TO STDOUT"];
    for copy in copies {
        note(format!("{:?}", connection.script(copy).map_err(|error| error.outcome())));
        note(format!("{:?}", connection.execute(copy, ()).map_err(|error| error.outcome())));
    }
    note(format!("{:?}", connection.query("SELECT count(*) FROM asides", ()).value::<i64>()));
    note(format!("{:?}", connection.script("DROP TABLE asides")));
    seen
}

/// What the exchanges bring on a connection that nothing is done to, and on one where something is.
fn undisturbed(rules: impl FnOnce(&Proxy) -> Vec<Rule>) {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    let lease = test.pool.connection().expect("lent");
    let plain = every_exchange(&lease, 0);
    let again = every_exchange(&lease, 1);
    assert_eq!(plain, again, "it does not depend on what is prepared already");
    let rules = rules(&proxy);
    for round in 2..4 {
        let disturbed = every_exchange(&lease, round);
        for (plain, disturbed) in plain.iter().zip(&disturbed) {
            assert_eq!(plain, disturbed);
        }
    }
    for rule in &rules {
        assert!(rule.hits() > 100, "the rules had something to do: {}", rule.hits());
        rule.release();
    }
    drop(lease);
    assert_eq!((proxy.accepted(), test.pool.stats().closed), (1, 0), "the connection was kept");
    test.finish();
}

fn asides() -> Vec<u8> {
    [
        backend::notice("hear, hear"),
        backend::parameter_status("TimeZone", "Europe/Berlin"),
        backend::notification(1, "channel", "payload"),
    ]
    .concat()
}

/// Case 7.
#[test]
fn notices_notifications_and_parameter_changes_before_any_message_disturb_no_exchange() {
    undisturbed(|proxy| vec![proxy.on(Backend, ANY, every()).insert_before(asides())]);
}

/// Case 7.
#[test]
fn notices_notifications_and_parameter_changes_after_any_message_disturb_no_exchange() {
    undisturbed(|proxy| vec![proxy.on(Backend, ANY, every()).insert_after(asides())]);
}

/// Cases 7 and 35.
#[test]
fn messages_and_what_comes_between_them_may_arrive_byte_by_byte() {
    undisturbed(|proxy| {
        let inserted = proxy.on(Backend, ANY, every()).insert_before(asides());
        vec![inserted, proxy.on(Backend, ANY, every()).split()]
    });
}

/// Case 35.
#[test]
fn messages_may_arrive_glued_together() {
    undisturbed(|proxy| vec![proxy.on(Backend, ANY, every()).glue()]);
}
