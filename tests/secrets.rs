//! No password in anything that is printed (reliability case 45). A process of its own, because a logger is one for all.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::error::Error as _;
use std::fmt::{Debug, Display};
use std::io::Write as _;
use std::sync::{Mutex, Once};
use std::time::Duration;

use maypole::{Config, Database, Error, Pool, Query, Row, Secret, params, select};

use support::backend::{authentication_cleartext_password, authentication_md5_password, fatal};
use support::client::Client;
use support::eventually::eventually;
use support::pool::TestPool;
use support::raw::Raw;
use support::scram;
use support::server::server;

/// What must not be seen anywhere, in any form that somebody could read it from.
const MARKER: &str = "Xyzzy4711";

/// Lines that contain the marker, and how many lines there were.
static LEAKS: Mutex<(Vec<String>, usize)> = Mutex::new((Vec::new(), 0));

/// Reads along with everybody, at the finest level.
struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        let mut leaks = LEAKS.lock().expect("no holder panics");
        leaks.1 += 1;
        if leaks_marker(&line) {
            leaks.0.push(line);
        }
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// Plain, as numbers of its bytes, or in hexadecimal.
fn leaks_marker(text: &str) -> bool {
    let bytes = format!("{:?}", MARKER.as_bytes());
    let hexadecimal: String = MARKER.bytes().map(|byte| format!("{byte:02x}")).collect();
    [MARKER, bytes.trim_matches(['[', ']']), &hexadecimal].iter().any(|form| text.contains(form))
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    if leaks_marker(text) {
        // Not by panicking with it: the text is the secret.
        let _ = writeln!(std::io::stderr(), "{what} tells the password: {text}");
        panic!("{what} tells the password");
    }
}

#[track_caller]
fn look_at(what: &str, thing: &(impl Debug + ?Sized)) {
    assert_silent(what, &format!("{thing:?}"));
    assert_silent(what, &format!("{thing:#?}"));
}

#[track_caller]
fn look_at_error(what: &str, error: &Error) {
    look_at(what, error);
    assert_silent(what, &format!("{error} {error:#}"));
    let mut source = error.source();
    while let Some(cause) = source {
        look_at(what, cause);
        assert_silent(what, &cause.to_string());
        source = cause.source();
    }
    if let Some(error) = error.db_error() {
        look_at(what, error);
        assert_silent(what, &error.to_string());
    }
    assert_silent(what, error.sql().unwrap_or_default());
}

#[track_caller]
fn look_at_both(what: &str, thing: &(impl Debug + Display)) {
    look_at(what, thing);
    assert_silent(what, &thing.to_string());
}

fn nothing_was_logged() {
    let leaks = LEAKS.lock().expect("no holder panics");
    assert!(leaks.0.is_empty(), "{} lines of the log tell the password", leaks.0.len());
    assert!(leaks.1 > 0, "the listener heard nothing");
}

/// A role with the marker as its password.
fn role() -> Config {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut client = Client::connect(&server().url()).expect("the server answers");
        client.query(&format!("CREATE ROLE keeper LOGIN PASSWORD '{MARKER}'")).expect("a role");
    });
    let url = format!("postgres://keeper:{MARKER}@127.0.0.1:{}/postgres", server().port());
    url.parse().expect("a good URL")
}

fn pool_of(config: Config) -> TestPool {
    TestPool::built(&server().url(), |builder| builder.config(config).limit(2))
}

/// Case 45: each public type, while everything works.
#[test]
fn no_type_prints_the_password() {
    listen();
    look_at("Secret", &Secret::new(MARKER));
    look_at("a clone of Secret", &Some(Secret::new(MARKER).clone()));
    let config = role();
    look_at("Config", &config);
    look_at("Config built", &Config::new().user("me").password(MARKER));
    let builder = Pool::builder().config(config.clone());
    look_at("PoolBuilder", &builder);
    let test = pool_of(config);
    look_at("Pool", &test.pool);
    look_at("Database", &test.db);
    look_at("Stats", &test.pool.stats());
    let lease = test.pool.connection().expect("lent");
    look_at("Lease", &lease);
    look_at("Connection", &*lease);
    let row = lease.query("SELECT 1 AS one, 'two' AS two", ()).unique::<Row>().expect("a row");
    look_at_both("Row", &row);
    look_at("Columns", row.columns());
    // A parameter may be a secret too.
    let query = lease.query("SELECT $1::text", (MARKER,));
    look_at("Sql", &query);
    let rows = query.iter::<String>();
    look_at("Rows", &rows);
    drop(rows);
    lease
        .transaction(|q| {
            look_at("Tx", q);
            look_at("Sql in a transaction", &q.query("SELECT $1::text", (MARKER,)));
            Ok(())
        })
        .expect("committed");
    look_at("embedded::Server", server());
    assert_silent("embedded::Server", &format!("{:?}", server()).replace(server().password(), MARKER));
    drop(lease);
    test.settled();
    nothing_was_logged();
}

static DB: Database = Database::named("secrets");

/// A text where a number is wanted: the server says so.
#[select(DB, "SELECT :n::int4")]
fn number(n: &str) -> Query<i32>;

/// Case 45: values of parameters are nobody's business either.
#[test]
fn no_error_of_a_query_prints_a_parameter() {
    listen();
    let test = pool_of(role());
    let failures = [
        test.db.query("SELECT $1::int", (MARKER,)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT $1::text, 1 / 0", (MARKER,)).rows::<maypole::Row>().map(drop),
        // The server would quote these.
        test.db.query("SELECT $1::uuid", (MARKER,)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT $1::date", (MARKER,)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT $1::json", (MARKER,)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT $1::uuid[]", (vec![MARKER],)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT :n::int4", params! { n: MARKER }).rows::<maypole::Row>().map(drop),
        number(MARKER).on(&test.db).value().map(drop),
        test.db.query("SELECT $1::text", (MARKER,)).value::<i32>().map(drop),
        test.db.query("SELECT $1::text UNION SELECT 'x'", (MARKER,)).unique::<String>().map(drop),
        test.db
            .query("SELECT $1::text FROM pg_sleep(1)", (MARKER,))
            .timeout(Duration::from_millis(20))
            .run()
            .map(drop),
        test.db.query("SELECT $1", (MARKER, MARKER)).rows::<maypole::Row>().map(drop),
        test.db.query("SELECT $1::text", (format!("{MARKER}\0"),)).rows::<maypole::Row>().map(drop),
        test.db
            .transaction(|q| q.query("SELECT $1::text, 1 / 0", (MARKER,)).rows::<maypole::Row>())
            .map(drop),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        look_at_error(&format!("failure {number}"), &failure.expect_err("it fails"));
    }
    nothing_was_logged();
}

/// Case 45: a unique violation has the values in its detail, which `Display` and the chain leave out.
#[test]
fn no_error_prints_the_values_that_the_server_puts_into_the_detail() {
    listen();
    let test = pool_of(role());
    let error = test
        .db
        .transaction(|q| {
            q.script("CREATE TEMP TABLE secrets (secret text PRIMARY KEY) ON COMMIT DROP")?;
            q.query("INSERT INTO secrets VALUES ($1)", (MARKER,)).run()?;
            q.query("INSERT INTO secrets VALUES ($1)", (MARKER,)).run()
        })
        .expect_err("it is there already");
    assert!(error.is_integrity_violation());
    assert!(error.db_error().and_then(|error| error.detail()).is_some_and(|detail| detail.contains(MARKER)));
    assert_silent("the error", &format!("{error} {error:?} {error:#?}"));
    nothing_was_logged();
}

/// Case 45: every way to fail to connect.
#[test]
fn no_error_of_a_failing_connect_prints_the_password() {
    listen();
    let login = format!("keeper:{MARKER}");
    let refused = format!("postgres://{login}@127.0.0.1:1/postgres");
    let unresolved = format!("postgres://{login}@no-such-host.invalid/postgres");
    let no_socket = format!("host=/no/such/folder user=keeper password={MARKER}");
    let unknown_database = format!("postgres://{login}@127.0.0.1:{}/no_such", server().port());
    let unknown_role = format!("postgres://nobody:{MARKER}@127.0.0.1:{}/postgres", server().port());
    let wrong = format!("postgres://postgres:{MARKER}@127.0.0.1:{}/postgres", server().port());
    role();
    let mut urls = vec![refused, unresolved, no_socket, unknown_database, unknown_role, wrong];
    // Servers that are not what they should be, one for each way.
    type Serve = fn(support::raw::Peer);
    let ways: [Serve; 7] = [
        |mut peer| {
            peer.startup();
            peer.send(&authentication_cleartext_password());
            peer.receive();
        },
        |mut peer| {
            peer.startup();
            peer.send(&authentication_md5_password(*b"salt"));
            peer.receive();
            peer.send(&fatal("28P01", "no"));
            peer.hang_up();
        },
        |mut peer| {
            peer.startup();
            let signature = scram::challenge(&mut peer, MARKER, 4096).expect("the client's proof is right");
            scram::prove(&peer, &signature[1..]);
            peer.receive();
        },
        |mut peer| {
            peer.startup();
            scram::challenge(&mut peer, "another password", 64);
            peer.hang_up();
        },
        |mut peer| {
            peer.startup();
            peer.send(b"this is no server of PostgreSQL");
            peer.receive();
        },
        |mut peer| {
            peer.startup();
            peer.hang_up();
        },
        |mut peer| while peer.receive().is_some() {},
    ];
    let servers: Vec<_> = ways.into_iter().map(Raw::start).collect();
    urls.extend(servers.iter().map(|server| server.url_for(&login)));
    for url in &urls {
        let config: Config = url.parse().expect("a good URL");
        let test = TestPool::built(&server().url(), |builder| {
            builder.config(config.connect_timeout(Duration::from_millis(500))).limit(1)
        });
        assert_silent("a failing connect", &test.why_not());
        look_at("a pool without connections", &test.pool);
        let error = test.pool.connection_within(Duration::from_millis(1)).expect_err("it fails");
        look_at_error("a failing connect", &error);
        let error = test.db.query("SELECT $1", (MARKER,)).timeout(None).iter::<i32>().next();
        look_at_error("a failing connect", &error.expect("an item").expect_err("it fails"));
        test.pool.start_closing();
        eventually("nothing is left", || test.pool.is_drained());
    }
    nothing_was_logged();
}

/// Case 45: text that is malformed in all manner of ways, with the password where people put it by mistake.
#[test]
fn no_error_of_a_malformed_connection_string_prints_the_password() {
    listen();
    let shapes = [
        "postgres://me:M@host:port/db",
        "postgres://me:M@host:99999/db",
        "postgres://me:M@ho st/db",
        "postgres://me:M@[::1/db",
        "postgres://me:M@[]/db",
        "postgres://me:M@host/db?x=y",
        "postgres://me:M@host/db?sslmode=M",
        "postgres://me:M@host/db?port=M",
        "postgres://me:M@host/db?connect_timeout=M",
        "postgres://me:M@host/db?M",
        "postgres://me:M@host/db?M=1",
        "postgres://me:M@host/db?user",
        "postgres://me:M%@host/db",
        "postgres://me:M%zz@host/db",
        "postgres://me:%ffM@host/db",
        "postgres://me:M%00@host/db",
        "postgres://me:M/more@host/db",
        "postgres://me:more/M@host/db",
        "postgres://me:M?more@host/db",
        "postgres://me:more?M@host/db",
        "postgres://me:M@more@host/db",
        "postgres://me:more@M@host/db",
        "postgres://me:more#M@host/db@",
        "postgres://me:M:more@host:x/db",
        "postgres://me:1:M",
        "postgres://me:M",
        "postgres://me:80M",
        "postgres://M@host:port",
        "postgres:///db?password=M&port=x",
        "postgres:///db?password=M&password",
        "postgres:///db?password=M=more",
        "postgres:///db?pasword=M",
        "postgres:///db?passwordM",
        "postgres:///db?host=/x&hostaddr=M",
        "postgres:/me:M@host/db",
        "postgre://me:M@host/db",
        "mysql://me:M@host/db",
        "http://me:M@host/db?x",
        "me:M@host/db",
        "M",
        "'M'",
        "M=",
        "=M",
        "password",
        "password M",
        "password=M host",
        "password='M",
        "password='M'more",
        "password='M\\",
        "password=M port=x",
        "password = 'M' port = 'M'",
        "password=more M host=x",
        "password='more' 'M'",
        "pasword=M",
        "passwordM=x",
        "host=x password=M sslmode=M",
        "host=x passfile=M",
        "host=x sslpassword=M port=0",
        "host=x options='-c M' port=x",
        "host=x hostaddr=M",
        "host=x,y port=1,2,3 password=M",
        "host=/x hostaddr=127.0.0.1 password=M",
        "user='' password=M connect_timeout=x",
        "dbname=postgres://me:M@host/db",
        "dbname='postgresql://me:M@host/db' port=x",
        "service=M",
        "require_auth=M",
        "client_encoding=M",
        "target_session_attrs=M",
        "keepalives=M",
        "tcp_user_timeout=M",
        "oauth_client_secret=M",
        "scram_client_key=M",
    ];
    let mut refused = 0;
    for shape in shapes {
        // Alone, and with odd neighbours.
        for secret in
            [MARKER.to_owned(), format!("{MARKER}\u{e4}"), format!("a{MARKER}"), format!("{MARKER} x")]
        {
            // Capital letters of the shapes are only the place.
            let text = shape.replace('M', &secret);
            match text.parse::<Config>() {
                Ok(config) => {
                    // A host, a user or a database may be shown, and a password may have become one: only if it is no
                    // longer told apart from them.
                    let shown = format!("{config:?}");
                    let password_only = shape.contains("password") && !shape.contains("options");
                    if password_only {
                        assert_silent(shape, &shown);
                    }
                }
                Err(error) => {
                    refused += 1;
                    look_at_error(shape, &error);
                }
            }
            let builder = Pool::builder().url(&text).map(|builder| builder.build().map(drop));
            for error in
                [builder.as_ref().err(), builder.as_ref().ok().and_then(|built| built.as_ref().err())]
            {
                error.into_iter().for_each(|error| look_at_error(shape, error));
            }
        }
    }
    assert!(refused > shapes.len(), "most of them are malformed: {refused}");
}

/// Case 45: settings files.
#[test]
fn no_error_of_a_settings_file_prints_the_password() {
    listen();
    let folder = std::env::temp_dir().join(format!("maypole-secrets-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    std::env::set_current_dir(&folder).expect("the folder");
    let files = [
        "[default]\ndatabase = \"postgres://me:M@host:port/db\"\n",
        "[default]\ndatabase = \"postgres://me:M@host/db\n",
        "[default]\ndatabase = 'M'\n",
        "[default]\ndatabase = M\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", password = M }\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", pasword = \"M\" }\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", password = \"M\", limit = \"M\" }\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", password = \"M\\u0000\" }\n",
        "[default]\ndatabase = { url = \"embedded\", password = \"M\" }\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", password = \"${M}\" }\n",
        "[default]\ndatabase = { password = \"M\" }\n",
        "[default]\ndatabase = [\"M\"]\n",
        "database = \"postgres://me:M@host/db\"\n",
        "[default\ndatabase = \"postgres://me:M@host/db\"\n",
        "[default]\ndatabase = \"postgres://me:M@host/db\"\ndatabase = \"M\"\n",
        "[default]\nother = \"postgres://me:M@host/db\"\n",
        "[other]\ndatabase = \"postgres://me:M@host/db\"\n",
        "[default]\ndatabase = { url = \"postgres://me@host/db\", acquire_timeout = \"M\" }\n",
    ];
    for file in files {
        std::fs::write(folder.join("app.toml"), file.replace("M", MARKER)).expect("a file");
        let db: &'static Database = Box::leak(Box::new(Database::named("database")));
        let error = db.pool().map(drop).expect_err(file);
        // The name of an environment variable is no secret, and the error must tell it.
        if !file.contains("${M}") {
            look_at_error(file, &error);
        }
    }
    std::env::set_current_dir("/").expect("the root");
    let _ = std::fs::remove_dir_all(&folder);
}

/// The test can fail: a password that is printed is noticed in each form.
#[test]
fn a_leak_would_be_noticed() {
    assert!(leaks_marker(&format!("password={MARKER}")));
    assert!(leaks_marker(&format!("{:?}", MARKER.as_bytes())));
    assert!(leaks_marker("58797a7a7934373131"));
    assert!(!leaks_marker("Xyzzy"));
}
