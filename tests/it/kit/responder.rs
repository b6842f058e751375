//! The simple server that a script can be.

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::failure_of;
use crate::support::backend::{self, BOOL, INT4, INT8, TEXT, data_row};
use crate::support::client::{Client, Failure};
use crate::support::responder::{Answer, Outcome, Value, text};
use crate::support::script::{Script, ScriptServer};

/// A server of three statements and transactions.
fn shop() -> ScriptServer {
    let script = Script::new().any_further_connection(|steps| {
        steps.expect_startup_and_accept().answer_queries(|sql| match sql {
            "SELECT $1::int4, $2::text" => {
                Answer::rows(&[INT4, TEXT], &[("number", INT4), ("name", TEXT)], |values| {
                    vec![values.to_vec()]
                })
            }
            "SELECT generate_series(1, $1::int8)" => Answer::rows(&[INT8], &[("n", INT8)], |values| {
                let [Value::Int8(last)] = values else { panic!("one int8, not {values:?}") };
                (1..=*last).map(|n| vec![Value::Int8(n)]).collect()
            }),
            "SELECT true" => Answer::rows(&[], &[("bool", BOOL)], |_| vec![vec![Value::Bool(true)]]),
            "SELECT now" => {
                Answer::rows(&[], &[("now", TEXT)], |_| vec![vec![text("now")], vec![Value::Null]])
            }
            "DELETE" => Answer::new(&[], &[], |_| Outcome::Error("23503".to_owned(), "no".to_owned())),
            "BEGIN" | "COMMIT" | "ROLLBACK" => Answer::done(sql),
            "EXIT" => Answer::new(&[], &[], |_| Outcome::HangUp),
            _ => Answer::error("42601", "the shop does not sell this"),
        })
    });
    script.start()
}

/// Sends what the closure writes; the tags of the answer up to and with ReadyForQuery, then its status.
fn exchange(client: &mut Client, write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    client.send(&out).unwrap();
    let mut tags = String::new();
    loop {
        let frame = client.receive().unwrap();
        tags.push(char::from(frame.tag));
        if frame.tag == b'Z' {
            tags.push(char::from(frame.body()[0]));
            return tags;
        }
        client.aside.push(frame);
    }
}

fn prepare(sql: &'static str) -> impl FnOnce(&mut BytesMut) {
    move |out| {
        frontend::parse("s", sql, [], out).unwrap();
        frontend::describe(b'S', "s", out).unwrap();
        frontend::sync(out);
    }
}

fn run(values: &'static [&'static [u8]], limit: i32) -> impl FnOnce(&mut BytesMut) {
    move |out| {
        let write = |value: &&[u8], out: &mut BytesMut| {
            out.put_slice(value);
            Ok(IsNull::No)
        };
        frontend::bind("p", "s", [1], values, write, [1], out).map_err(|_| "no bind").unwrap();
        frontend::execute("p", limit, out).unwrap();
    }
}

#[test]
fn a_simple_server_prepares_binds_and_runs() {
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    assert_eq!(exchange(&mut client, prepare("SELECT $1::int4, $2::text")), "1tTZI");
    assert_eq!(client.aside[1].bytes, backend::parameter_description(&[INT4, TEXT]));
    client.aside.clear();
    let tags = exchange(&mut client, |out| {
        run(&[b"\0\0\0\x07", b"seven"], 0)(out);
        frontend::sync(out);
    });
    assert_eq!(tags, "2DCZI");
    assert_eq!(client.aside[1].bytes, data_row(&[Some(b"\0\0\0\x07"), Some(b"seven")]));
    assert_eq!(client.value("SELECT true").unwrap(), "t");
    assert_eq!(client.query("SELECT now").unwrap(), [[Some("now".to_owned())], [None]]);
    assert_eq!(exchange(&mut client, |out| frontend::query("", out).unwrap()), "IZI");
    let tags = exchange(&mut client, |out| {
        frontend::close(b'S', "s", out).unwrap();
        run(&[b"\0\0\0\x07", b"seven"], 0)(out);
        frontend::sync(out);
    });
    assert_eq!(tags, "3EZI");
    assert!(matches!(client.query("EXIT"), Err(Failure::Ended)));
    server.finish();
}

#[test]
fn a_simple_server_suspends_portals() {
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    exchange(&mut client, prepare("SELECT generate_series(1, $1::int8)"));
    let tags = exchange(&mut client, |out| {
        run(&[b"\0\0\0\0\0\0\0\x05"], 2)(out);
        frontend::flush(out);
        frontend::execute("p", 2, out).unwrap();
        frontend::execute("p", 2, out).unwrap();
        frontend::sync(out);
    });
    assert_eq!(tags, "2DDsDDsDCZI");
}

#[test]
fn a_simple_server_skips_to_the_sync_after_an_error() {
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    let tags = exchange(&mut client, |out| {
        frontend::parse("x", "SELECT nonsense", [], out).unwrap();
        frontend::describe(b'S', "x", out).unwrap();
        frontend::sync(out);
    });
    assert_eq!(tags, "EZI");
}

#[test]
fn a_simple_server_keeps_the_status_of_a_transaction() {
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    let mut status_after = |sql: &str| {
        let code = match client.query(sql) {
            Err(Failure::Server { code, .. }) => code,
            other => other.map(|_| String::new()).unwrap(),
        };
        (char::from(client.status), code)
    };
    assert_eq!(status_after("BEGIN"), ('T', String::new()));
    assert_eq!(status_after("DELETE"), ('E', "23503".to_owned()));
    assert_eq!(status_after("SELECT true"), ('E', "25P02".to_owned()));
    assert_eq!(status_after("COMMIT"), ('I', String::new()));
    assert_eq!(status_after("DELETE"), ('I', "23503".to_owned()));
}

#[test]
fn a_simple_server_fails_on_what_is_no_message_of_a_client() {
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send(b"?\0\0\0\x04").unwrap();
    assert!(matches!(client.receive(), Err(Failure::Ended)));
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("(answer queries): a message with the unknown tag '?' came"), "{failure}");
    let server = shop();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send(b"B\0\0\0\x06s\0").unwrap();
    assert!(matches!(client.receive(), Err(Failure::Ended)));
    assert!(failure_of(|| server.finish()).contains("Bind is malformed"));
}
