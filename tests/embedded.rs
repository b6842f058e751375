//! The embedded server, seen from outside: by its clients, its files and its processes.

mod client {
    //! Just enough of a client to see that a server answers.

    use std::io::{Read, Write};

    use bytes::BytesMut;
    use fallible_iterator::FallibleIterator;
    use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
    use postgres_protocol::message::{backend, frontend};

    pub(crate) struct Client<S> {
        stream: S,
        received: BytesMut,
    }

    impl<S: Read + Write> Client<S> {
        /// Logs in as superuser; the error is the server's message.
        pub(crate) fn log_in(stream: S, password: &str) -> Result<Client<S>, String> {
            let mut client = Client { stream, received: BytesMut::new() };
            client.send(|out| {
                frontend::startup_message([("user", "postgres"), ("database", "postgres")], out).unwrap();
            });
            let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            loop {
                match client.message() {
                    backend::Message::AuthenticationSasl(_) => client.send(|out| {
                        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out).unwrap();
                    }),
                    backend::Message::AuthenticationSaslContinue(body) => {
                        scram.update(body.data()).unwrap();
                        client.send(|out| frontend::sasl_response(scram.message(), out).unwrap());
                    }
                    backend::Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).unwrap(),
                    backend::Message::ErrorResponse(body) => return Err(message(&body)),
                    backend::Message::ReadyForQuery(_) => return Ok(client),
                    _ => {}
                }
            }
        }

        /// The first column of the last row, as text.
        pub(crate) fn ask(&mut self, sql: &str) -> String {
            self.send(|out| frontend::query(sql, out).unwrap());
            let mut answer = String::new();
            loop {
                match self.message() {
                    backend::Message::DataRow(body) => {
                        let range = body.ranges().next().unwrap().unwrap().unwrap();
                        answer = String::from_utf8(body.buffer()[range].to_vec()).unwrap();
                    }
                    backend::Message::ErrorResponse(body) => panic!("{sql}: {}", message(&body)),
                    backend::Message::ReadyForQuery(_) => return answer,
                    _ => {}
                }
            }
        }

        fn send(&mut self, write: impl FnOnce(&mut BytesMut)) {
            let mut out = BytesMut::new();
            write(&mut out);
            self.stream.write_all(&out).unwrap();
        }

        fn message(&mut self) -> backend::Message {
            loop {
                if let Some(message) = backend::Message::parse(&mut self.received).unwrap() {
                    return message;
                }
                let mut bytes = [0; 4096];
                let count = self.stream.read(&mut bytes).unwrap();
                assert_ne!(count, 0, "the server hung up");
                self.received.extend_from_slice(&bytes[..count]);
            }
        }
    }

    fn message(body: &backend::ErrorResponseBody) -> String {
        let field = body.fields().find(|field| Ok(field.type_() == b'M')).unwrap().unwrap();
        String::from_utf8_lossy(field.value_bytes()).into_owned()
    }
}

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use client::Client;
use maypole::embedded::Server;

/// Ends the process if a test hangs; the end of the process ends the servers.
struct Watchdog(mpsc::Sender<()>);

fn watchdog() -> Watchdog {
    let (sender, receiver) = mpsc::channel();
    let test = thread::current().name().unwrap_or_default().to_string();
    thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{test} hangs");
            std::process::abort();
        }
    });
    Watchdog(sender)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Waits for a condition; only the watchdog limits it.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, by name or 0, to a process or a group; false if there is none.
fn kill(signal: &str, process: &str) -> bool {
    Command::new("sh").args(["-c", "kill -s $0 -- $1 2>&-", signal, process]).status().unwrap().success()
}

fn lives(process: u32) -> bool {
    kill("0", &process.to_string())
}

/// The server of the tests that only look at it. The end of our process ends it.
static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start().unwrap());

fn over_socket(folder: &Path, port: u16) -> Client<UnixStream> {
    Client::log_in(UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).unwrap(), "").unwrap()
}

fn connect(server: &Server) -> Client<UnixStream> {
    over_socket(server.socket_dir(), server.port())
}

#[test]
fn a_server_answers_over_its_socket_without_a_password_and_over_tcp_with_one() {
    let _watchdog = watchdog();
    let server = &*SHARED;
    let mut client = connect(server);
    assert_eq!(client.ask("SHOW fsync"), "off");
    assert_eq!(client.ask("SHOW server_encoding"), "UTF8");
    assert_eq!(client.ask("SHOW TimeZone"), "UTC");
    let tcp = || TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    assert_eq!(Client::log_in(tcp(), server.password()).unwrap().ask("SELECT current_user"), "postgres");
    let refused = Client::log_in(tcp(), "not the password").err().unwrap();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[test]
fn the_urls_name_the_socket_and_the_port_and_debug_tells_no_password() {
    let _watchdog = watchdog();
    let server = &*SHARED;
    let folder = server.socket_dir().to_str().unwrap().replace('/', "%2F");
    assert_eq!(server.url(), format!("postgres://postgres@{folder}:{}/postgres", server.port()));
    let authority = format!("{}@127.0.0.1:{}", server.password(), server.port());
    assert_eq!(server.tcp_url(), format!("postgres://postgres:{authority}/postgres"));
    assert_eq!(server.password().len(), 32);
    assert!(!format!("{server:?}").contains(server.password()));
}

#[test]
fn a_server_is_private_and_never_runs_as_root() {
    let _watchdog = watchdog();
    let server = &*SHARED;
    let folder = fs::metadata(server.socket_dir()).unwrap();
    let data = fs::metadata(server.socket_dir().join("data")).unwrap();
    assert_eq!((folder.mode() & 0o777, data.mode() & 0o777), (0o700, 0o700));
    assert_ne!((folder.uid(), data.uid()), (0, 0));
    let process = Path::new("/proc").join(server.pid().to_string());
    if let Ok(process) = fs::metadata(process) {
        assert_eq!(process.uid(), data.uid());
    }
}

#[test]
fn two_servers_run_at_once_and_do_not_know_each_other() {
    let _watchdog = watchdog();
    let second = thread::spawn(|| Server::start().unwrap());
    let first = Server::start().unwrap();
    let second = second.join().unwrap();
    assert_ne!(first.port(), second.port());
    assert_ne!(first.socket_dir(), second.socket_dir());
    connect(&first).ask("CREATE TABLE only_here ()");
    let count = "SELECT count(*) FROM pg_class WHERE relname = 'only_here'";
    assert_eq!(connect(&first).ask(count), "1");
    assert_eq!(connect(&second).ask(count), "0");
}

#[test]
fn settings_reach_the_server_and_the_last_one_counts() {
    let _watchdog = watchdog();
    let server = Server::builder()
        .setting("work_mem", "1MB")
        .setting("work_mem", "7MB")
        .setting("fsync", "on")
        .setting("application_name", "it's a \"name\" with spaces")
        .start()
        .unwrap();
    let mut client = connect(&server);
    assert_eq!(client.ask("SHOW work_mem"), "7MB");
    assert_eq!(client.ask("SHOW fsync"), "on");
    assert_eq!(client.ask("SHOW application_name"), "it's a \"name\" with spaces");
}

#[test]
fn a_wrong_setting_is_an_error_with_the_servers_words() {
    let _watchdog = watchdog();
    let error = Server::builder().setting("no_such_setting", "1").start().unwrap_err().to_string();
    assert!(error.contains("unrecognized configuration parameter \"no_such_setting\""), "{error}");
}

#[test]
fn a_restart_keeps_data_folder_and_port() {
    let _watchdog = watchdog();
    let mut server = Server::start().unwrap();
    connect(&server).ask("CREATE TABLE kept AS SELECT 0 AS restarts");
    let (folder, port, url) = (server.socket_dir().to_path_buf(), server.port(), server.url());
    for (restarts, immediate) in [(1, false), (2, true)] {
        let pid = server.pid();
        // Its answers must not be held up by a session that is open.
        let mut client = connect(&server);
        client.ask(&format!("UPDATE kept SET restarts = {restarts}"));
        // So that an immediate stop, which is a crash, may not lose it.
        client.ask("CHECKPOINT");
        server.restart(immediate).unwrap();
        assert!(!lives(pid));
        assert_ne!(server.pid(), pid);
        assert_eq!((server.socket_dir(), server.port(), server.url()), (&*folder, port, url.clone()));
        assert_eq!(connect(&server).ask("SELECT restarts FROM kept"), restarts.to_string());
    }
}

#[test]
fn a_server_that_was_killed_can_be_restarted() {
    let _watchdog = watchdog();
    let mut server = Server::start().unwrap();
    let pid = server.pid();
    let mut client = connect(&server);
    client.ask("CREATE TABLE kept ()");
    client.ask("CHECKPOINT");
    assert!(kill("KILL", &pid.to_string()));
    until(|| !lives(pid));
    server.restart(true).unwrap();
    assert_eq!(connect(&server).ask("SELECT count(*) FROM kept"), "0");
}

#[test]
fn a_server_that_is_dropped_leaves_nothing() {
    let _watchdog = watchdog();
    let server = Server::start().unwrap();
    let (folder, pid) = (server.socket_dir().to_path_buf(), server.pid());
    // An open session does not hold it up.
    let _client = connect(&server);
    assert!(folder.join("data").exists() && lives(pid));
    server.stop();
    assert!(!folder.exists() && !lives(pid));
}

#[test]
#[ignore = "a process of its own for the tests below, which kill it"]
fn owner_of_a_server() {
    let _watchdog = watchdog();
    let server = Server::start();
    match &server {
        Ok(server) => {
            println!("\nserver {} {} {}", server.pid(), server.port(), server.socket_dir().display())
        }
        Err(error) => println!("\nerror {error}"),
    }
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A process that starts a server in a folder for temporary files of its own.
struct Owner {
    process: Child,
    output: BufReader<ChildStdout>,
    temporary: PathBuf,
}

impl Owner {
    fn start(name: &str, before: &str, environment: &[(&str, &str)]) -> Owner {
        let temporary = env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&temporary).unwrap();
        // Open to the unprivileged user, too.
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
        let mut command = Command::new(if before.is_empty() { "sh" } else { "bash" });
        command.args(["-c", &format!("{before} exec \"$@\""), "sh"]).arg(env::current_exe().unwrap());
        command.args(["--exact", "owner_of_a_server", "--ignored", "--nocapture"]);
        command.env("TMPDIR", &temporary).envs(environment.iter().copied());
        let mut process =
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Owner { process, output, temporary }
    }

    /// The rest of the line that starts with this word.
    fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(word) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the owner ended");
        }
        line[word.len()..].trim().to_string()
    }

    /// Process id, port and folder.
    fn server(&mut self) -> (u32, u16, PathBuf) {
        let line = self.says("server ");
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap();
        (word().parse().unwrap(), word().parse().unwrap(), PathBuf::from(word()))
    }

    /// What is in its folder for temporary files.
    fn left(&self) -> usize {
        fs::read_dir(&self.temporary).unwrap().count()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

#[test]
fn killing_the_owner_leaves_no_server_and_no_folder() {
    let _watchdog = watchdog();
    let mut owner = Owner::start("killed", "", &[]);
    let (pid, port, folder) = owner.server();
    let mut client = over_socket(&folder, port);
    assert_eq!(client.ask("SELECT 1"), "1");
    assert_eq!(owner.left(), 1);
    owner.process.kill().unwrap();
    until(|| !lives(pid));
    until(|| owner.left() == 0);
}

#[test]
fn killing_the_owner_while_the_data_folder_is_made_leaves_nothing() {
    let _watchdog = watchdog();
    let mut owner = Owner::start("killed-early", "", &[]);
    until(|| owner.left() == 1);
    owner.process.kill().unwrap();
    until(|| owner.left() == 0);
}

#[test]
fn an_interrupt_from_the_terminal_leaves_nothing() {
    let _watchdog = watchdog();
    let mut owner = Owner::start("interrupted", "", &[]);
    let (pid, _, _) = owner.server();
    // What a terminal does on Ctrl-C: the signal goes to the whole group.
    assert!(kill("INT", &format!("-{}", owner.process.id())));
    until(|| !lives(pid));
    until(|| owner.left() == 0);
}

#[test]
fn a_server_inherits_no_descriptor_of_its_owner() {
    let _watchdog = watchdog();
    if !Path::new("/proc/self/fd").exists() || !Path::new("/bin/bash").exists() {
        return;
    }
    let marker = env::temp_dir().join(format!("marker-{}", std::process::id()));
    fs::write(&marker, "").unwrap();
    let marker_text = marker.to_str().unwrap();
    let mut owner =
        Owner::start("inherits", "exec 7<\"$MARKER\" 23<\"$MARKER\";", &[("MARKER", marker_text)]);
    let open = |pid: u32| -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
    };
    let (pid, _, folder) = owner.server();
    assert_eq!(open(owner.process.id()).iter().filter(|file| **file == marker).count(), 2);
    let inherited = open(pid);
    // The bound, listening socket is anonymous; the log is the proof that the list is that of the server.
    assert!(inherited.contains(&folder.join("log")), "{inherited:?}");
    assert!(!inherited.contains(&marker), "{inherited:?}");
    fs::remove_file(&marker).unwrap();
}

#[test]
fn missing_programs_are_an_error_that_names_the_install_command() {
    let _watchdog = watchdog();
    let mut owner = Owner::start("missing", "", &[("MAYPOLE_PG_BIN", "/nowhere")]);
    let error = owner.says("error ");
    assert!(error.contains("in /nowhere, the folder that MAYPOLE_PG_BIN names"), "{error}");
    assert!(error.contains("install them"), "{error}");
}
