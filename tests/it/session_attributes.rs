//! `target_session_attrs`: of several hosts the first is chosen whose sessions are what was asked for, by the words of libpq.

use std::time::Duration;

use crate::support::backend::{TEXT, authentication_ok, backend_key_data, parameter_status, ready};
use crate::support::eventually::eventually;
use crate::support::frame::STARTUP;
use crate::support::own_server::OwnServer;
use crate::support::pool::TestPool;
use crate::support::responder::{Answer, text};
use crate::support::script::{Script, ScriptServer, Steps};
use crate::support::server::server;

/// What every server here is asked: a fake one says its name, a real one its setting.
const WHO: &str = "SHOW cluster_name";

/// A server with this name.
fn named(name: &str, read_only: bool) -> OwnServer {
    let server = OwnServer::start(|builder| builder.setting("cluster_name", name));
    server.take_writes(!read_only);
    server
}

/// The greeting of a server that says these two settings, or nothing of them.
fn greeting(told: Option<(&str, &str)>) -> Vec<u8> {
    let mut bytes = authentication_ok();
    bytes.extend(parameter_status("server_version", "15.0"));
    if let Some((read_only, standby)) = told {
        bytes.extend(parameter_status("default_transaction_read_only", read_only));
        bytes.extend(parameter_status("in_hot_standby", standby));
    }
    bytes.extend(backend_key_data(4711, 123_456_789));
    bytes.extend(ready(b'I'));
    bytes
}

/// A standby that says it is one.
fn standby() -> ScriptServer {
    fake(greeting(Some(("off", "on"))), "standby", "t")
}

/// A server that is described by its greeting and by what it says when it is asked whether it is in recovery.
fn fake(greeting: Vec<u8>, name: &'static str, recovery: &'static str) -> ScriptServer {
    let answer = move |sql: &str| {
        let value = match sql {
            WHO => name,
            "SHOW transaction_read_only" => {
                if recovery == "t" {
                    "on"
                } else {
                    "off"
                }
            }
            "SELECT pg_catalog.pg_is_in_recovery()" => recovery,
            _ => return Answer::done("SELECT 0"),
        };
        Answer::rows(&[], &[("value", TEXT)], move |_| vec![vec![text(value)]])
    };
    let steps = |steps: Steps| steps.expect(STARTUP).send(greeting).may_close().answer_queries(answer);
    Script::new().any_further_connection(steps).start()
}

/// `host:port` of a URL.
fn place(url: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a login");
    rest.split('/').next().expect("a host").to_owned()
}

/// Where to connect, if these are tried in turn.
fn any_of(urls: &[&str], wanted: &str) -> String {
    let places: Vec<_> = urls.iter().map(|url| place(url)).collect();
    format!("postgres://postgres@{}/postgres?target_session_attrs={wanted}", places.join(","))
}

/// A pool of one connection, past which nobody looks: its servers are several.
fn pool(url: &str) -> TestPool {
    let past = server().url();
    TestPool::of_server(&past, url, Duration::from_secs(120), |builder, config| {
        builder.config(config.connect_timeout(Duration::from_secs(30))).limit(1)
    })
}

/// Who has been chosen.
fn chosen(url: &str) -> String {
    let test = pool(url);
    let lease = test.pool.connection_within(Duration::from_secs(30)).expect("there is one that fits");
    let name = lease.query(WHO, ()).value::<String>().expect("its name");
    drop(lease);
    test.settled();
    name
}

#[test]
fn each_word_chooses_the_first_host_that_is_what_it_says() {
    let (writer, reader, standby) = (named("writer", false), named("reader", true), standby());
    let (writer, reader, standby) = (&*writer.url(), &*reader.url(), &*standby.url());
    let downwards = [writer, reader, standby];
    let upwards = [standby, reader, writer];
    for (urls, wanted, name) in [
        (&downwards[..], "any", "writer"),
        (&downwards, "read-write", "writer"),
        (&downwards, "read-only", "reader"),
        (&downwards, "primary", "writer"),
        (&downwards, "standby", "standby"),
        (&downwards, "prefer-standby", "standby"),
        (&upwards, "any", "standby"),
        (&upwards, "read-write", "writer"),
        (&upwards, "read-only", "standby"),
        (&upwards, "primary", "reader"),
        (&upwards, "standby", "standby"),
        (&upwards, "prefer-standby", "standby"),
        // Who prefers a standby takes the first of the others if there is none.
        (&[reader, writer], "prefer-standby", "reader"),
    ] {
        assert_eq!(chosen(&any_of(urls, wanted)), name, "{wanted} of {urls:?}");
    }
}

/// One before PostgreSQL 14, or a pooler.
#[test]
fn a_server_that_does_not_tell_what_it_is_is_asked() {
    let primary = fake(greeting(None), "primary", "f");
    let standby = fake(greeting(None), "standby", "t");
    let (primary, standby) = (&*primary.url(), &*standby.url());
    for (wanted, name) in [
        ("any", "standby"),
        ("read-write", "primary"),
        ("read-only", "standby"),
        ("primary", "primary"),
        ("standby", "standby"),
        ("prefer-standby", "standby"),
    ] {
        assert_eq!(chosen(&any_of(&[standby, primary], wanted)), name, "{wanted}");
    }
    assert_eq!(chosen(&any_of(&[primary, standby], "prefer-standby")), "standby");
}

#[test]
fn where_no_host_fits_the_error_names_one_and_what_was_wanted() {
    let (reader, standby) = (named("reader", true), standby());
    let (reader, standby) = (&*reader.url(), &*standby.url());
    for (urls, wanted, why) in [
        ([standby, reader], "read-write", "session is read-only"),
        ([reader, standby], "read-write", "session is read-only"),
        ([standby, standby], "primary", "server is in hot standby mode"),
        ([reader, reader], "standby", "server is not in hot standby mode"),
    ] {
        let test = pool(&any_of(&urls, wanted));
        let error = test.pool.warm(1, Duration::from_millis(300)).expect_err("none fits");
        let told = format!("{error:?}");
        let port = place(urls[1]);
        let port = port.rsplit_once(':').expect("a port").1;
        assert!(told.contains(port), "the port {port}: {told}");
        let reason = format!("is not what target_session_attrs={wanted} asks for: {why}");
        assert!(told.contains(&reason), "{told}");
        test.settled();
    }
    let writer = server().url();
    let test = pool(&any_of(&[&writer], "read-only"));
    let told = test.why_not();
    assert!(told.contains("asks for: session is not read-only"), "{told}");
    test.settled();
}

/// The session that does not fit is given up, and the pool goes where the writes are.
#[test]
fn a_pool_follows_the_server_that_takes_writes() {
    let (first, second) = (named("first", false), named("second", true));
    let test = TestPool::of_server(
        &first.url(),
        &any_of(&[&first.url(), &second.url()], "read-write"),
        Duration::from_secs(120),
        |builder, config| {
            let config = config.connect_timeout(Duration::from_secs(30));
            builder.config(config).limit(2).ping_after_idle(Duration::from_millis(100))
        },
    );
    test.pool.warm(2, Duration::from_secs(30)).expect("warm");
    assert_eq!(test.db.query(WHO, ()).value::<String>().expect("its name"), "first");
    first.take_writes(false);
    second.take_writes(true);
    eventually("it is served by the second", || {
        let lease = test.pool.connection_within(Duration::from_millis(100));
        lease.is_ok_and(|lease| lease.query(WHO, ()).value::<String>().is_ok_and(|name| name == "second"))
    });
    test.pool.start_closing();
    eventually("nothing is left of it", || test.pool.is_drained());
    for server in [&first, &second] {
        eventually("no session remains, of those that did not fit either", || {
            let sql =
                format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", test.name);
            server.client().value(&sql).expect("a count") == "0"
        });
    }
}
