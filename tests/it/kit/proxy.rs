//! The proxy: unharmed sessions in every mode, and each rule doing what it says and nothing else.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::failure_of;
use crate::support::address::Address;
use crate::support::backend;
use crate::support::client::{Client, Failure, Rows};
use crate::support::eventually::eventually;
use crate::support::frame::{CANCEL_REQUEST, END, OPAQUE, SSL_REQUEST, STARTUP};
use crate::support::proxy::{ANY, Backend, Event, Frontend, Proxy, every, from, nth};
use crate::support::script::Script;
use crate::support::server::server;

const LIMIT: Duration = Duration::from_secs(10);
/// How long the tests wait for what must not come.
const SHORT: Duration = Duration::from_millis(50);

const ROWS: &str = "SELECT n, repeat('x', n) FROM generate_series(1, 100) AS n";

/// A proxy to the real server, and a client through it.
fn client_and_proxy() -> (Client, Proxy) {
    let proxy = Proxy::start(&server().tcp_url());
    (Client::connect(&proxy.url()).unwrap(), proxy)
}

fn expected_rows() -> Rows {
    Client::connect(&server().url()).unwrap().query(ROWS).unwrap()
}

/// The tags up to and with ReadyForQuery.
fn tags(client: &mut Client) -> String {
    let mut tags = String::new();
    while !tags.ends_with('Z') {
        tags.push(char::from(client.receive().unwrap().tag));
    }
    tags
}

/// The tags until the connection ends.
fn tags_to_the_end(client: &mut Client) -> String {
    let mut tags = String::new();
    loop {
        match client.receive() {
            Ok(frame) => tags.push(char::from(frame.tag)),
            Err(Failure::Ended) => return tags,
            Err(failure) => panic!("{failure} after {tags}"),
        }
    }
}

fn nothing_comes(client: &mut Client) -> bool {
    client.set_patience(SHORT).unwrap();
    let nothing =
        matches!(client.receive(), Err(Failure::Io(error)) if error.kind() == io::ErrorKind::TimedOut);
    client.set_patience(LIMIT).unwrap();
    nothing
}

#[test]
fn a_session_passes_unharmed() {
    let (mut client, _proxy) = client_and_proxy();
    assert_eq!(client.query(ROWS).unwrap(), expected_rows());
    assert!(matches!(client.query("SELECT nonsense"), Err(Failure::Server { code, .. }) if code == "42703"));
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
}

#[test]
fn a_session_passes_unharmed_over_the_servers_unix_socket() {
    let proxy = Proxy::start(&server().url());
    let mut client = Client::connect(&proxy.url()).unwrap();
    assert_eq!(client.query(ROWS).unwrap(), expected_rows());
}

#[test]
fn a_session_passes_unharmed_byte_by_byte() {
    let proxy = Proxy::start(&server().tcp_url());
    // The startup phase included, which has a tag of its own.
    proxy.on(Frontend, STARTUP, every()).split();
    proxy.on(Frontend, ANY, every()).split();
    proxy.on(Backend, ANY, every()).split();
    let mut client = Client::connect(&proxy.url()).unwrap();
    assert_eq!(client.query(ROWS).unwrap(), expected_rows());
    let messages = proxy.all().seen().iter().filter(|event| event.direction == Backend).count();
    // Far more reads than messages: messages do come in pieces.
    assert!(client.reads().len() > 2 * messages, "{} reads, {messages} messages", client.reads().len());
}

#[test]
fn a_session_passes_unharmed_in_one_piece() {
    let proxy = Proxy::start(&server().tcp_url());
    proxy.on(Frontend, ANY, every()).glue();
    let glue = proxy.on(Backend, ANY, every()).glue();
    let mut client = Client::connect(&proxy.url()).unwrap();
    let before = client.reads().len();
    assert_eq!(client.query(ROWS).unwrap(), expected_rows());
    assert!(glue.hits() > 100);
    // The server sends this answer in one piece, so the proxy sees no pause in it.
    assert_eq!(client.reads().len() - before, 1);
}

#[test]
fn glued_messages_stay_in_order_with_those_that_are_not() {
    let (mut client, proxy) = client_and_proxy();
    proxy.on(Backend, b'D', every()).glue();
    client.send_query("SELECT generate_series(1, 50)").unwrap();
    assert_eq!(tags(&mut client), format!("T{}CZ", "D".repeat(50)));
}

#[test]
fn cut_after_the_third_row_cuts_after_the_third_row() {
    let (mut client, proxy) = client_and_proxy();
    let cut = proxy.on(Backend, b'D', nth(3)).cut_after();
    client.send_query(ROWS).unwrap();
    assert_eq!(tags_to_the_end(&mut client), "TDDD");
    assert_eq!((client.unfinished(), cut.hits()), (0, 1));
}

#[test]
fn cut_before_the_third_row_cuts_before_the_third_row() {
    let (mut client, proxy) = client_and_proxy();
    proxy.on(Backend, b'D', nth(3)).cut_before();
    client.send_query(ROWS).unwrap();
    assert_eq!(tags_to_the_end(&mut client), "TDD");
    assert_eq!(client.unfinished(), 0);
}

#[test]
fn cut_inside_the_third_row_leaves_a_part_of_it() {
    let (mut client, proxy) = client_and_proxy();
    proxy.on(Backend, b'D', nth(3)).cut_after_bytes(4);
    client.send_query(ROWS).unwrap();
    assert_eq!(tags_to_the_end(&mut client), "TDD");
    assert_eq!(client.unfinished(), 4);
}

#[test]
fn a_request_that_is_cut_off_reaches_the_server_or_not() {
    let mut look = Client::connect(&server().url()).unwrap();
    look.query("CREATE TABLE kit_cut (word text)").unwrap();
    let insert = |word: &str, cut: fn(&Proxy)| {
        let (mut client, proxy) = client_and_proxy();
        let process = client.key.unwrap().0;
        cut(&proxy);
        let sql = format!("INSERT INTO kit_cut VALUES ('{word}')");
        assert!(matches!(client.query(&sql), Err(Failure::Ended)));
        process
    };
    let processes = [
        insert("before", |proxy| drop(proxy.on(Frontend, b'Q', nth(1)).cut_before())),
        insert("inside", |proxy| drop(proxy.on(Frontend, b'Q', nth(1)).cut_after_bytes(20))),
        insert("after", |proxy| drop(proxy.on(Frontend, b'Q', nth(1)).cut_after())),
    ];
    let [first, second, third] = processes;
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE pid IN ({first}, {second}, {third})");
    eventually("the sessions are gone", || look.value(&sessions).unwrap() == "0");
    assert_eq!(look.query("SELECT word FROM kit_cut").unwrap(), [[Some("after".to_owned())]]);
}

#[test]
fn what_is_held_comes_when_it_is_released() {
    let (mut client, proxy) = client_and_proxy();
    let mut other = Client::connect(&proxy.url()).unwrap();
    let held = proxy.connection(1).on(Backend, b'Z', nth(2)).hold();
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
    client.send_query("SELECT 2").unwrap();
    held.wait_hits(1);
    for expected in *b"TDC" {
        assert_eq!(client.receive().unwrap().tag, expected);
    }
    // The other connection goes on, this one does not.
    assert_eq!(other.value("SELECT 3").unwrap(), "3");
    assert_eq!(other.value("SELECT 4").unwrap(), "4");
    assert!(nothing_comes(&mut client));
    held.release();
    assert_eq!(client.receive().unwrap().tag, b'Z');
    assert_eq!((client.value("SELECT 5").unwrap().as_str(), held.hits()), ("5", 1));
}

#[test]
fn a_message_can_be_held_half_way() {
    let (mut client, proxy) = client_and_proxy();
    let held = proxy.on(Backend, b'D', nth(1)).hold_after_bytes(6);
    client.send_query("SELECT 1").unwrap();
    assert_eq!(client.receive().unwrap().tag, b'T');
    assert!(nothing_comes(&mut client));
    assert_eq!(client.unfinished(), 6);
    held.release();
    assert_eq!(tags(&mut client), "DCZ");
}

#[test]
fn a_held_connection_ends_when_the_proxy_does() {
    let (mut client, proxy) = client_and_proxy();
    let held = proxy.on(Backend, b'Z', nth(1)).hold();
    client.send_query("SELECT 1").unwrap();
    held.wait_hits(1);
    drop(proxy);
    assert_eq!(tags_to_the_end(&mut client), "TDC");
}

#[test]
fn messages_can_be_put_between_any_two() {
    let (mut client, proxy) = client_and_proxy();
    let extra = [
        backend::notice("psst"),
        backend::notification(1, "channel", "payload"),
        backend::parameter_status("application_name", "x"),
    ];
    let inserted = proxy.on(Backend, ANY, every()).insert_before(extra.concat());
    assert_eq!(client.query(ROWS).unwrap(), expected_rows());
    let count = inserted.hits();
    assert_eq!(count, 103); // description, rows, completion, ready
    let aside = std::mem::take(&mut client.aside);
    assert_eq!(aside.len(), 3 * count);
    assert!(aside.chunks(3).all(|three| three.iter().map(|frame| &frame.bytes).eq(&extra)));
    inserted.release();
    proxy.on(Backend, b'T', every()).insert_after(backend::notice("psst"));
    client.send_query("SELECT 1").unwrap();
    assert_eq!(tags(&mut client), "TNDCZ");
}

#[test]
fn a_message_can_come_twice() {
    let (mut client, proxy) = client_and_proxy();
    proxy.on(Backend, b'Z', nth(1)).duplicate();
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
    // From here on this naive client is one answer behind, which is what the rule is for.
    assert_eq!(client.query("SELECT 2").unwrap().len(), 0);
    assert_eq!(client.query("SELECT 3").unwrap(), [[Some("2".to_owned())]]);
}

#[test]
fn a_delay_delays() {
    let (mut client, proxy) = client_and_proxy();
    let delay = proxy.on(Backend, b'C', from(2)).delay(SHORT);
    client.value("SELECT 1").unwrap();
    assert_eq!(delay.hits(), 0);
    let start = Instant::now();
    client.value("SELECT 2").unwrap();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(delay.hits(), 1);
}

#[test]
fn a_deaf_proxy_accepts_and_forwards_nothing() {
    let (mut client, proxy) = client_and_proxy();
    let deaf = proxy.deaf();
    client.send_query("SELECT 1").unwrap();
    assert!(nothing_comes(&mut client));
    let url = proxy.url();
    let (sender, receiver) = mpsc::channel();
    let late = thread::spawn(move || sender.send(Client::connect(&url)));
    proxy.wait_for(Frontend, STARTUP, 2, LIMIT);
    assert!(receiver.recv_timeout(SHORT).is_err());
    deaf.release();
    assert_eq!(tags(&mut client), "TDCZ");
    assert_eq!(receiver.recv_timeout(LIMIT).unwrap().unwrap().value("SELECT 2").unwrap(), "2");
    late.join().unwrap().unwrap();
}

#[test]
fn one_connection_can_be_deaf_alone() {
    let (mut client, proxy) = client_and_proxy();
    let mut other = Client::connect(&proxy.url()).unwrap();
    let deaf = proxy.connection(2).deaf();
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
    other.send_query("SELECT 2").unwrap();
    assert!(nothing_comes(&mut other));
    deaf.release();
    assert_eq!(tags(&mut other), "TDCZ");
}

#[test]
fn connecting_can_be_refused() {
    let (mut client, proxy) = client_and_proxy();
    let connect = || Client::connect(&proxy.url());
    for _ in 0..2 {
        proxy.refuse();
        let refused = connect().err().unwrap();
        assert!(
            matches!(&refused, Failure::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused),
            "{refused}"
        );
        proxy.slam();
        assert!(matches!(connect(), Err(Failure::Ended)));
        proxy.welcome();
        assert_eq!(connect().unwrap().value("SELECT 1").unwrap(), "1");
    }
    // Who was connected before is not concerned.
    assert_eq!(client.value("SELECT 2").unwrap(), "2");
    assert_eq!(proxy.accepted(), 3);
}

#[test]
fn connections_can_be_cut_by_the_test() {
    let (mut client, proxy) = client_and_proxy();
    let mut other = Client::connect(&proxy.url()).unwrap();
    assert_eq!(proxy.open(), 2);
    proxy.connection(1).cut();
    assert!(matches!(client.receive(), Err(Failure::Ended)));
    assert_eq!(other.value("SELECT 1").unwrap(), "1");
    proxy.all().cut();
    assert!(matches!(other.receive(), Err(Failure::Ended)));
    eventually("all connections are over", || proxy.open() == 0);
    assert_eq!(proxy.all().count(Frontend, END), 0);
}

#[test]
fn the_end_of_a_session_is_passed_on() {
    let (client, proxy) = client_and_proxy();
    let process = client.key.unwrap().0;
    client.terminate().unwrap();
    proxy.wait_for(Backend, END, 1, LIMIT);
    let mut look = Client::connect(&server().url()).unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process}");
    assert_eq!(look.value(&sessions).unwrap(), "0");
    let (mut client, proxy) = client_and_proxy();
    let process = client.key.unwrap().0;
    look.value(&format!("SELECT pg_terminate_backend({process})")).unwrap();
    assert_eq!(tags_to_the_end(&mut client), "E");
    assert_eq!(proxy.connection(1).count(Backend, END), 1);
}

#[test]
fn the_recorder_tells_what_came_and_waiting_for_it_can_fail() {
    let (mut client, proxy) = client_and_proxy();
    proxy.wait_for(Backend, b'Z', 1, LIMIT);
    let before = proxy.all().seen().len();
    client.query("SELECT 1").unwrap();
    let seen = proxy.all().seen();
    let new: Vec<_> = seen[before..].iter().map(|event| (event.direction, event.tag)).collect();
    let expected = [(Frontend, b'Q'), (Backend, b'T'), (Backend, b'D'), (Backend, b'C'), (Backend, b'Z')];
    assert_eq!(new, expected);
    assert_eq!(seen[0], Event { connection: 1, direction: Frontend, tag: STARTUP });
    assert_eq!(proxy.connection(2).seen(), []);
    let watch = proxy.on(Frontend, b'Q', every()).watch();
    client.query("SELECT 1").unwrap();
    assert_eq!(watch.hits(), 1);
    let failure = failure_of(|| proxy.wait_for(Frontend, b'Q', 3, SHORT));
    assert!(failure.contains("after 50ms not 3 times Query; the proxy saw at last: Startup, "), "{failure}");
}

#[test]
fn a_cancel_request_is_passed_on() {
    let (mut client, proxy) = client_and_proxy();
    let (process, key) = client.key.unwrap();
    client.send_query("SELECT pg_sleep(60)").unwrap();
    let mut look = Client::connect(&server().url()).unwrap();
    let active = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process} AND state = 'active'");
    eventually("the query runs", || look.value(&active).unwrap() == "1");
    let mut out = BytesMut::new();
    frontend::cancel_request(process, key, &mut out);
    let mut cancel = Client::connect_socket(&Address::parse(&proxy.url())).unwrap();
    cancel.send(&out).unwrap();
    assert!(matches!(client.receive_rows(), Err(Failure::Server { code, .. }) if code == "57014"));
    assert!(matches!(cancel.receive(), Err(Failure::Ended)));
    assert_eq!(proxy.connection(2).count(Frontend, CANCEL_REQUEST), 1);
}

#[test]
fn the_question_for_encryption_is_passed_on() {
    let proxy = Proxy::start(&server().tcp_url());
    let address = Address::parse(&proxy.url());
    let mut client = Client::connect_socket(&address).unwrap();
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    client.send(&out).unwrap();
    assert_eq!(client.raw_read().unwrap(), b"N");
    client.start(&address).unwrap();
    assert_eq!(client.value("SELECT 1").unwrap(), "1");
    assert_eq!(proxy.all().count(Frontend, SSL_REQUEST), 1);
}

#[test]
fn after_encryption_was_agreed_on_bytes_are_only_passed_on() {
    let script = Script::new().connection(|steps| {
        // Eight bytes and more: for this server an untagged packet, for the proxy secrets.
        steps.expect(SSL_REQUEST).send(*b"S").expect(STARTUP).send(*b"no message at all").hang_up()
    });
    let server = script.start();
    let proxy = Proxy::start(&server.url());
    let mut client = Client::connect_socket(&Address::parse(&proxy.url())).unwrap();
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    client.send(&out).unwrap();
    assert_eq!(client.raw_read().unwrap(), b"S");
    client.send(b"\0\0\0\x0c\0\0\0\0abcd").unwrap();
    assert_eq!(client.raw_read().unwrap(), b"no message at all");
    assert_eq!(proxy.all().count(Frontend, STARTUP), 0);
    assert!(proxy.all().count(Frontend, OPAQUE) > 0 && proxy.all().count(Backend, OPAQUE) > 0);
    server.finish();
}
