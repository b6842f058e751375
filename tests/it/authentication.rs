//! Who is let in, and to whom we prove what (reliability case 43).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use maypole::embedded::Server;
use maypole::{Config, Error};

use crate::support::backend::{
    authentication_cleartext_password, authentication_kerberos, authentication_md5_password,
    authentication_ok, authentication_sasl, authentication_sasl_continue, authentication_sasl_final,
    greeting,
};
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::raw::{Peer, Raw, echo};
use crate::support::scram;
use crate::support::server::server;

const PASSWORD: &str = "tiger, tiger";
const ENCODED: &str = "tiger%2C%20tiger";

/// Why a server that behaves like this is not entered. Waits only for the first attempt.
#[track_caller]
fn refusal(server: &Raw) -> Error {
    let test = TestPool::at(&server.url_for(&format!("me:{ENCODED}")), 1);
    let start = Instant::now();
    let error = test.pool.connection().expect_err("it is not to be entered");
    assert!(!error.is_timeout(), "the real cause, and at once: {error:?}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    test.settled();
    error
}

/// What a client sent until it closed or sent nothing more.
fn rest(peer: &mut Peer) -> Vec<u8> {
    std::iter::from_fn(|| peer.receive()).flat_map(|frame| frame.bytes).collect()
}

/// Case 43.
#[test]
fn a_password_in_clear_text_is_not_sent_over_tcp() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let all = sent.clone();
    let server = Raw::start(move |mut peer| {
        peer.startup();
        peer.send(&authentication_cleartext_password());
        let bytes = rest(&mut peer);
        all.lock().expect("no holder panics").extend(bytes);
    });
    let error = refusal(&server);
    assert!(error.to_string().contains("clear text over TCP"), "{error}");
    drop(server);
    assert!(sent.lock().expect("no holder panics").is_empty(), "not a byte after the start-up");
}

/// Case 43.
#[test]
fn a_password_in_clear_text_is_sent_over_a_unix_socket() {
    let server = Raw::start_unix(|mut peer| {
        peer.startup();
        peer.send(&authentication_cleartext_password());
        let password = peer.receive().expect("a password");
        assert_eq!((password.tag, password.body()), (b'p', format!("{PASSWORD}\0").as_bytes()));
        peer.send(&greeting());
        peer.serve(echo, |_| true);
    });
    let test = TestPool::at(&server.url_for(&format!("me:{ENCODED}")), 1);
    assert_eq!(test.db.query("SELECT $1", (5_i64,)).value::<i64>().expect("let in"), 5);
    test.settled();
}

/// Case 43: even 100,000 iterations are work for a moment, ten million would be a denial of service.
#[test]
fn ten_million_scram_iterations_are_refused_before_the_first() {
    let server = Raw::start(|mut peer| {
        peer.startup();
        peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
        let initial = peer.receive().expect("a first message");
        let text = String::from_utf8_lossy(initial.body()).into_owned();
        let nonce = text.split("r=").nth(1).expect("a nonce").to_owned();
        let challenge = format!("r={nonce}more,s=c2FsdA==,i=10000000");
        peer.send(&authentication_sasl_continue(challenge.as_bytes()));
        assert!(rest(&mut peer).is_empty(), "no proof is sent");
    });
    let error = refusal(&server);
    assert!(error.to_string().contains("10000000 SCRAM iterations"), "{error}");
}

/// Case 43: real SCRAM, so that only the server's own proof is wrong.
#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let server = Raw::start(|mut peer| {
        peer.startup();
        let mut signature = scram::challenge(&mut peer, PASSWORD, 4096).expect("the client's proof is right");
        signature[7] ^= 1;
        scram::prove(&peer, &signature);
        peer.send(&greeting());
        assert!(rest(&mut peer).is_empty(), "nothing more is sent");
    });
    let error = refusal(&server);
    assert!(error.to_string().contains("could not prove"), "{error}");
}

/// Case 43: AuthenticationOk instead of the proof, or before it.
#[test]
fn a_server_that_skips_its_own_proof_is_refused() {
    for stage in 0..2 {
        let server = Raw::start(move |mut peer| {
            peer.startup();
            if stage == 0 {
                peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
                peer.receive().expect("a first message");
            } else {
                scram::challenge(&mut peer, PASSWORD, 4096).expect("the client's proof is right");
            }
            peer.send(&greeting());
            assert!(rest(&mut peer).is_empty(), "nothing more is sent");
        });
        let error = refusal(&server);
        assert!(error.to_string().contains("did not prove"), "{error}");
    }
}

/// Case 43: what is out of turn, twice, unknown or malformed.
#[test]
fn malformed_and_unexpected_authentication_is_refused() {
    type Serve = fn(&mut Peer) -> bool;
    let cases: [(&str, Serve, &str); 10] = [
        ("a final message first", |peer| peer.send(&authentication_sasl_final(b"v=x")), "broke the protocol"),
        ("a challenge first", |peer| peer.send(&authentication_sasl_continue(b"r=x")), "broke the protocol"),
        (
            "an error in place of the proof",
            |peer| {
                scram::challenge(peer, PASSWORD, 100);
                peer.send(&authentication_sasl_final(b"e=other-error"))
            },
            "could not prove",
        ),
        (
            "another nonce",
            |peer| {
                peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
                peer.receive();
                peer.send(&authentication_sasl_continue(b"r=mine,s=c2FsdA==,i=4096"))
            },
            "challenge is refused",
        ),
        (
            "no iterations",
            |peer| {
                peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
                peer.receive();
                peer.send(&authentication_sasl_continue(b"r=mine,s=c2FsdA=="))
            },
            "malformed",
        ),
        (
            "an unknown mechanism",
            |peer| peer.send(&authentication_sasl(&["SCRAM-SHA-512"])),
            "no SASL mechanism",
        ),
        (
            "only with channel binding",
            |peer| peer.send(&authentication_sasl(&["SCRAM-SHA-256-PLUS"])),
            "no SASL",
        ),
        ("Kerberos", |peer| peer.send(&authentication_kerberos()), "does not have"),
        (
            "a second password",
            |peer| {
                peer.send(&authentication_md5_password([1, 2, 3, 4]));
                peer.receive();
                peer.send(&authentication_md5_password([1, 2, 3, 5]))
            },
            "broke the protocol",
        ),
        ("half a salt", |peer| peer.send(&crate::support::backend::authentication(5, b"ab")), "salt"),
    ];
    for (what, serve, expected) in cases {
        let server = Raw::start(move |mut peer| {
            peer.startup();
            serve(&mut peer);
            rest(&mut peer);
        });
        let test = TestPool::at(&server.url_for(&format!("me:{ENCODED}")), 1);
        let chain = test.why_not();
        assert!(chain.contains(expected), "{what}: {chain}");
        assert!(!chain.contains(PASSWORD), "{chain}");
        test.settled();
    }
}

/// Case 43: AuthenticationOk after a password request that got no password of ours is trust; the greeting is read.
#[test]
fn a_missing_password_is_said_to_be_missing() {
    let server = Raw::start(|mut peer| {
        peer.startup();
        peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
        assert!(rest(&mut peer).is_empty());
        peer.send(&authentication_ok());
    });
    let test = TestPool::at(&server.url_for("me"), 1);
    let error = test.pool.connection().expect_err("no password");
    assert!(error.to_string().contains("none is set"), "{error}");
    test.settled();
}

/// The threads of this process, by name.
fn threads() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

/// Case 43: from 8,193 iterations on the work is done on a thread of its own, and the workers are free meanwhile.
#[test]
fn many_scram_iterations_do_not_block_a_worker() {
    // Long enough to be seen, and not too long for the server's side, which is not optimised in a debug build.
    let iterations = if cfg!(debug_assertions) { 50_000 } else { 100_000 };
    for (iterations, off) in [(4096, false), (8192, false), (iterations, true)] {
        let server = Raw::start(move |mut peer| {
            peer.startup();
            let signature =
                scram::challenge(&mut peer, PASSWORD, iterations).expect("the client's proof is right");
            scram::prove(&peer, &signature);
            peer.send(&greeting());
            peer.serve(echo, |_| true);
        });
        let url = format!("{}?connect_timeout=30", server.url_for(&format!("me:{ENCODED}")));
        let test = TestPool::built(&url, |builder| builder.limit(1).acquire_timeout(Duration::from_secs(30)));
        let db = maypole::Database::from(test.pool.clone());
        let asked = maypole::spawn(move || db.query("SELECT $1", (8_i64,)).value::<i64>());
        let mut seen = false;
        while !asked.is_done() {
            seen |= threads().contains("maypole scram");
        }
        assert_eq!(asked.join().expect("no panic").expect("let in"), 8);
        // Other tests of this process use fewer iterations.
        assert!(seen || !off, "{iterations} iterations were hashed on a worker");
        test.settled();
    }
}

/// A server of its own whose `pg_hba.conf` wants a password over everything, by the user's name.
struct Guarded {
    server: Server,
    folder: PathBuf,
}

impl Guarded {
    fn start() -> Guarded {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("maypole-hba-{}-{count}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("pg_hba.conf");
        let rules = "local all postgres trust\n\
                     local all clear password\n\
                     host all clear all password\n\
                     local all hashed md5\n\
                     host all hashed all md5\n\
                     local all salted scram-sha-256\n\
                     host all salted all scram-sha-256\n";
        fs::write(&file, rules).expect("a file");
        let server = Server::builder()
            .setting("hba_file", file.display().to_string())
            .setting("log_connections", "on")
            .start()
            .expect("a server with rules of our own");
        let mut client = Client::connect(&server.url()).expect("trusted");
        for sql in [
            "SET password_encryption = 'md5'",
            "CREATE ROLE hashed LOGIN PASSWORD 'tiger, tiger'",
            "SET password_encryption = 'scram-sha-256'",
            "CREATE ROLE salted LOGIN PASSWORD 'tiger, tiger'",
            "CREATE ROLE clear LOGIN PASSWORD 'tiger, tiger'",
        ] {
            client.query(sql).expect("a role");
        }
        Guarded { server, folder }
    }

    fn url(&self, user: &str, password: &str, tcp: bool) -> String {
        let host = if tcp { "127.0.0.1".to_owned() } else { self.server.socket_dir().display().to_string() };
        format!("host='{host}' port={} user={user} password='{password}' dbname=postgres", self.server.port())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Case 43, on the real server.
#[test]
fn the_real_server_lets_us_in_by_password_md5_and_scram() {
    let guarded = Guarded::start();
    for user in ["clear", "hashed", "salted"] {
        for tcp in [false, true] {
            let test = TestPool::at(&guarded.url(user, PASSWORD, tcp), 1);
            let asked = test.db.query("SELECT current_user::text", ()).value::<String>();
            if user == "clear" && tcp {
                let error = asked.expect_err("refused by us");
                assert!(error.to_string().contains("clear text over TCP"), "{error}");
            } else {
                assert_eq!(asked.expect("let in"), user);
            }
            test.settled();
        }
        // A wrong password is told at once, and permanent: 28P01.
        let test = TestPool::at(&guarded.url(user, "wrong", false), 1);
        let start = Instant::now();
        let error = test.db.query("SELECT 1", ()).rows::<maypole::Row>().expect_err("wrong");
        assert_eq!(error.sqlstate(), Some("28P01"), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        test.settled();
    }
}

/// Case 43.
#[test]
fn scram_over_tcp_lets_us_in() {
    let test = TestPool::at(&server().tcp_url(), 2);
    assert_eq!(test.db.query("SELECT 1", ()).value::<i32>().expect("let in"), 1);
    test.finish();
    let config: Config = server().tcp_url().parse().expect("a good URL");
    let wrong = TestPool::built(&server().url(), |builder| builder.config(config.password("wrong")).limit(1));
    let error = wrong.pool.connection().expect_err("wrong");
    assert_eq!(error.sqlstate(), Some("28P01"), "{error:?}");
    eventually("nothing is open", || wrong.pool.stats().free == 1);
}
