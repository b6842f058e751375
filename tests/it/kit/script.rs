//! The fake server: it plays its part, and fails when the client does not play its own.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::failure_of;
use crate::support::address::Address;
use crate::support::backend::{self, INT4, INT8, TEXT, command_complete, data_row, ready};
use crate::support::client::{Client, Failure};
use crate::support::flag::Flag;
use crate::support::frame::{SSL_REQUEST, STARTUP};
use crate::support::script::{Script, ScriptServer};

/// How long the tests wait for what does not come. Long enough for a busy machine to do all the rest.
const SHORT: Duration = Duration::from_millis(300);

fn one_query() -> ScriptServer {
    Script::new()
        .connection(|steps| {
            steps
                .expect_startup_and_accept()
                .expect_with(b'Q', "SELECT 1", |body| body == b"SELECT 1\0")
                .send(backend::row_description(&[("one", INT4)]))
                .send(data_row(&[Some(b"1")]))
                .send([command_complete("SELECT 1"), ready(b'I')].concat())
        })
        .start()
}

#[test]
fn a_script_that_is_followed_passes() {
    let server = one_query();
    let mut client = Client::connect(&server.url()).unwrap();
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
    assert_eq!(client.key, Some((4711, 123_456_789)));
    client.terminate().unwrap();
    server.finish();
}

#[test]
fn left_over_steps_fail_when_the_client_has_closed() {
    let server = one_query();
    drop(Client::connect(&server.url()).unwrap());
    let failure = failure_of(|| server.finish());
    let expected = "connection 1, step 2 of 5 (expect Query with SELECT 1): the client closed; 3 more steps";
    assert!(failure.contains(expected), "{failure}");
}

#[test]
fn left_over_steps_fail_when_the_client_is_still_there() {
    let script = Script::new().patience(SHORT);
    let server = script.connection(|steps| steps.expect_startup_and_accept().expect(b'Q')).start();
    let _client = Client::connect(&server.url()).unwrap();
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("step 2 of 2 (expect Query): "), "{failure}");
}

#[test]
fn left_over_steps_fail_without_finish_too() {
    let server = one_query();
    drop(Client::connect(&server.url()).unwrap());
    let failure = failure_of(|| drop(server));
    assert!(failure.contains("step 2 of 5"), "{failure}");
}

#[test]
fn a_connection_that_never_comes_fails() {
    let server = Script::new().patience(SHORT).connection(|steps| steps.expect(STARTUP)).start();
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("connection 1 never came; its 1 steps are left over"), "{failure}");
}

#[test]
fn a_connection_that_is_not_in_the_script_fails() {
    let server = Script::new().connection(|steps| steps.expect_startup_and_accept()).start();
    let _first = Client::connect(&server.url()).unwrap();
    assert!(matches!(Client::connect(&server.url()), Err(Failure::Ended)));
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("connection 2 came, but the script has only 1"), "{failure}");
}

#[test]
fn an_unexpected_message_fails() {
    let server = one_query();
    let mut client = Client::connect(&server.url()).unwrap();
    let mut out = BytesMut::new();
    frontend::sync(&mut out);
    client.send(&out).unwrap();
    assert!(matches!(client.receive(), Err(Failure::Ended)));
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("step 2 of 5 (expect Query with SELECT 1): Sync came"), "{failure}");
}

#[test]
fn an_unexpected_body_fails() {
    let server = one_query();
    let mut client = Client::connect(&server.url()).unwrap();
    assert!(matches!(client.query("SELECT 2"), Err(Failure::Ended)));
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("the body is another one: 'Q' \"SELECT 2\\x00\""), "{failure}");
}

#[test]
fn a_message_after_the_last_step_fails() {
    let server = one_query();
    let mut client = Client::connect(&server.url()).unwrap();
    client.value("SELECT 1").unwrap();
    client.send_query("SELECT 2").unwrap();
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("connection 1, after the last step: Query came"), "{failure}");
}

#[test]
fn half_a_message_fails() {
    let server = one_query();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send(b"Q\0\0").unwrap();
    drop(client);
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("the client closed 3 bytes into a message"), "{failure}");
}

#[test]
fn the_client_may_close_only_where_the_script_allows_it() {
    let script = |may: bool| {
        let script = Script::new().connection(|steps| {
            let steps = steps.expect_startup_and_accept();
            let steps = if may { steps.may_close() } else { steps };
            steps.expect(b'Q').send(ready(b'I'))
        });
        script.start()
    };
    let server = script(true);
    drop(Client::connect(&server.url()).unwrap());
    server.finish();
    let server = script(false);
    drop(Client::connect(&server.url()).unwrap());
    assert!(failure_of(|| server.finish()).contains("the client closed"));
}

#[test]
fn a_client_that_should_close_and_does_not_fails() {
    let script = || Script::new().connection(|steps| steps.expect_startup_and_accept().expect_close());
    let server = script().start();
    Client::connect(&server.url()).unwrap().terminate().unwrap();
    server.finish();
    let server = script().patience(SHORT).start();
    let _client = Client::connect(&server.url()).unwrap();
    let failure = failure_of(|| server.finish());
    assert!(failure.contains("step 2 of 2 (expect the client to close)"), "{failure}");
}

#[test]
fn a_pause_lasts_until_the_flag_is_raised() {
    let (arrived, go) = (Flag::new(), Flag::new());
    let script = Script::new().connection(|steps| {
        steps
            .expect_startup_and_accept()
            .expect(b'Q')
            .raise(&arrived)
            .pause_until(&go)
            .send([command_complete("SELECT 0"), ready(b'I')].concat())
    });
    let server = script.start();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send_query("SELECT").unwrap();
    assert!(arrived.wait(Duration::from_secs(10)));
    client.set_patience(SHORT).unwrap();
    assert!(matches!(client.receive(), Err(Failure::Io(error)) if error.kind() == io::ErrorKind::TimedOut));
    go.raise();
    client.set_patience(Duration::from_secs(10)).unwrap();
    assert_eq!(client.receive_rows().unwrap().len(), 0);
    server.finish();
}

#[test]
fn a_flag_that_is_never_raised_fails() {
    let script = Script::new().patience(SHORT);
    let script = script.connection(|steps| steps.expect_startup_and_accept().pause_until(&Flag::new()));
    let server = script.start();
    let _client = Client::connect(&server.url()).unwrap();
    assert!(failure_of(|| server.finish()).contains("step 2 of 2 (pause)"));
}

#[test]
fn dripping_bytes_arrive_one_by_one() {
    let answer = [command_complete("SELECT 0"), ready(b'I')].concat();
    let count = answer.len();
    let script = Script::new().connection(|steps| {
        steps.expect_startup_and_accept().expect(b'Q').drip(answer, Duration::from_millis(2))
    });
    let server = script.start();
    let mut client = Client::connect(&server.url()).unwrap();
    let before = client.reads().len();
    assert_eq!(client.query("SELECT").unwrap().len(), 0);
    let reads = client.reads().len() - before;
    // One write would be one read; a reader that sleeps may find several bytes.
    assert!(reads > 1 && reads <= count, "{reads} reads for {count} bytes");
    server.finish();
}

#[test]
fn what_was_sent_before_hanging_up_arrives() {
    let script = Script::new().connection(|steps| {
        steps.expect_startup_and_accept().expect(b'Q').send(command_complete("SELECT 0")).hang_up()
    });
    let server = script.start();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send_query("SELECT").unwrap();
    client.send_query("not read by the script").unwrap();
    assert_eq!(client.receive().unwrap().tag, b'C');
    assert!(matches!(client.receive(), Err(Failure::Ended)));
    server.finish();
}

#[test]
fn a_reset_is_seen_as_a_reset() {
    let server =
        Script::new().connection(|steps| steps.expect_startup_and_accept().expect(b'Q').reset()).start();
    let mut client = Client::connect(&server.url()).unwrap();
    client.send_query("SELECT").unwrap();
    assert_eq!(client.raw_read().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    server.finish();
}

#[test]
fn a_script_works_over_a_unix_socket() {
    let script = Script::new().connection(|steps| steps.expect_startup_and_accept().expect_close());
    let server = script.start_unix();
    assert!(Address::parse(&server.url()).host.starts_with('/'));
    Client::connect(&server.url()).unwrap().terminate().unwrap();
    server.finish();
}

#[test]
fn further_connections_may_come_or_not() {
    let script = || Script::new().any_further_connection(|steps| steps.expect_startup_and_accept());
    script().start().finish();
    let server = script().start();
    let _clients = [Client::connect(&server.url()).unwrap(), Client::connect(&server.url()).unwrap()];
    server.finish();
}

#[test]
fn encryption_is_declined_or_scripted() {
    let script = Script::new()
        .connection(|steps| steps.expect(SSL_REQUEST).send(*b"N").expect(STARTUP).send(backend::greeting()))
        .connection(|steps| steps.expect_startup_and_accept());
    let server = script.start();
    for _ in 0..2 {
        let address = Address::parse(&server.url());
        let mut client = Client::connect_socket(&address).unwrap();
        let mut out = BytesMut::new();
        frontend::ssl_request(&mut out);
        client.send(&out).unwrap();
        assert_eq!(client.raw_read().unwrap(), b"N");
        client.start(&address).unwrap();
    }
    server.finish();
}

#[test]
fn the_kinds_of_authentication_can_be_asked_for() {
    let hash = postgres_protocol::authentication::md5_hash(b"script", b"secret", [1, 2, 3, 4]);
    let script = Script::new()
        .connection(|steps| {
            steps
                .expect(STARTUP)
                .send(backend::authentication_cleartext_password())
                .expect_with(b'p', "the password", |body| body == b"secret\0")
                .send(backend::greeting())
        })
        .connection(move |steps| {
            steps
                .expect(STARTUP)
                .send(backend::authentication_md5_password([1, 2, 3, 4]))
                .expect_with(b'p', "the hash", move |body| body == [hash.as_bytes(), b"\0"].concat())
                .send(backend::greeting())
        })
        .connection(|steps| {
            steps
                .expect(STARTUP)
                .send(backend::authentication_sasl(&["SCRAM-SHA-256"]))
                .expect_with(b'p', "the mechanism", |body| body.starts_with(b"SCRAM-SHA-256\0"))
                .send(backend::fatal("28P01", "password authentication failed"))
                .hang_up()
        });
    let server = script.start();
    let url = server.url_for("script:secret");
    Client::connect(&url).unwrap();
    Client::connect(&url).unwrap();
    let refused = Client::connect(&url).err();
    assert!(matches!(refused, Some(Failure::Server { code, .. }) if code == "28P01"));
    server.finish();
}

#[test]
fn every_builder_makes_the_message_it_is_named_after() {
    type Is = fn(&Message) -> bool;
    let built: Vec<(Vec<u8>, Is)> = vec![
        (backend::authentication_ok(), |m| matches!(m, Message::AuthenticationOk)),
        (backend::authentication_kerberos(), |m| matches!(m, Message::AuthenticationKerberosV5)),
        (backend::authentication_cleartext_password(), |m| {
            matches!(m, Message::AuthenticationCleartextPassword)
        }),
        (
            backend::authentication_md5_password([1, 2, 3, 4]),
            |m| matches!(m, Message::AuthenticationMd5Password(body) if body.salt() == [1, 2, 3, 4]),
        ),
        (backend::authentication_gss(), |m| matches!(m, Message::AuthenticationGss)),
        (
            backend::authentication_gss_continue(b"x"),
            |m| matches!(m, Message::AuthenticationGssContinue(body) if body.data() == b"x"),
        ),
        (backend::authentication_sspi(), |m| matches!(m, Message::AuthenticationSspi)),
        (backend::authentication_sasl(&["A", "B"]), |m| matches!(m, Message::AuthenticationSasl(_))),
        (
            backend::authentication_sasl_continue(b"x"),
            |m| matches!(m, Message::AuthenticationSaslContinue(body) if body.data() == b"x"),
        ),
        (
            backend::authentication_sasl_final(b"x"),
            |m| matches!(m, Message::AuthenticationSaslFinal(body) if body.data() == b"x"),
        ),
        (
            backend::backend_key_data(1, 2),
            |m| matches!(m, Message::BackendKeyData(body) if (body.process_id(), body.secret_key()) == (1, 2)),
        ),
        (
            backend::parameter_status("a", "b"),
            |m| matches!(m, Message::ParameterStatus(body) if body.name().unwrap() == "a" && body.value().unwrap() == "b"),
        ),
        (backend::ready(b'T'), |m| matches!(m, Message::ReadyForQuery(body) if body.status() == b'T')),
        (backend::row_description(&[("a", TEXT)]), |m| matches!(m, Message::RowDescription(_))),
        (data_row(&[Some(b"a"), None]), |m| matches!(m, Message::DataRow(_))),
        (
            command_complete("SELECT 1"),
            |m| matches!(m, Message::CommandComplete(body) if body.tag().unwrap() == "SELECT 1"),
        ),
        (backend::empty_query_response(), |m| matches!(m, Message::EmptyQueryResponse)),
        (backend::error("42601", "no"), |m| matches!(m, Message::ErrorResponse(_))),
        (backend::fatal("57P01", "no"), |m| matches!(m, Message::ErrorResponse(_))),
        (backend::notice("no"), |m| matches!(m, Message::NoticeResponse(_))),
        (
            backend::notification(1, "a", "b"),
            |m| matches!(m, Message::NotificationResponse(body) if body.channel().unwrap() == "a"),
        ),
        (backend::parse_complete(), |m| matches!(m, Message::ParseComplete)),
        (backend::bind_complete(), |m| matches!(m, Message::BindComplete)),
        (backend::close_complete(), |m| matches!(m, Message::CloseComplete)),
        (backend::no_data(), |m| matches!(m, Message::NoData)),
        (backend::portal_suspended(), |m| matches!(m, Message::PortalSuspended)),
        (backend::parameter_description(&[INT4, INT8]), |m| matches!(m, Message::ParameterDescription(_))),
        (
            backend::copy_in_response(1, &[1, 1]),
            |m| matches!(m, Message::CopyInResponse(body) if body.format() == 1),
        ),
        (backend::copy_out_response(0, &[0]), |m| matches!(m, Message::CopyOutResponse(_))),
        (backend::copy_data(b"x"), |m| matches!(m, Message::CopyData(body) if body.data() == b"x")),
        (backend::copy_done(), |m| matches!(m, Message::CopyDone)),
    ];
    for (bytes, is_right) in built {
        let mut buffer = BytesMut::from(bytes.as_slice());
        let message = Message::parse(&mut buffer).unwrap().unwrap();
        assert!(is_right(&message) && buffer.is_empty(), "{}", bytes.escape_ascii());
    }
    // What the parser does not look into, does not know, or must not see.
    assert_eq!(backend::authentication_sasl(&["A", "B"]), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0");
    assert_eq!(data_row(&[Some(b"a"), None]), b"D\0\0\0\x0f\0\x02\0\0\0\x01a\xff\xff\xff\xff");
    assert_eq!(backend::error("42601", "no"), b"E\0\0\0\x1eSERROR\0VERROR\0C42601\0Mno\0\0");
    let column = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
    assert_eq!(backend::row_description_with_formats(&[("a", INT4, 1)])[5..], column[..]);
    assert_eq!(backend::negotiate_protocol_version(0, &["_pq_.x"]), b"v\0\0\0\x13\0\0\0\0\0\0\0\x01_pq_.x\0");
    assert_eq!(backend::announce(b'D', i32::MAX), b"D\x7f\xff\xff\xff");
}

#[test]
fn several_messages_can_be_expected_in_a_row() {
    let server = |tags: &'static [u8]| {
        let script = Script::new().connection(|steps| steps.expect_startup_and_accept().expect_all(tags));
        let server = script.start();
        let mut client = Client::connect(&server.url()).unwrap();
        client.send(b"P\0\0\0\x08\0\0\0\0S\0\0\0\x04").unwrap();
        (server, client)
    };
    let (right, client) = server(b"PS");
    client.terminate().unwrap();
    right.finish();
    let (wrong, _client) = server(b"PDS");
    assert!(failure_of(|| wrong.finish()).contains("step 3 of 4 (expect Describe): Sync came"));
}
