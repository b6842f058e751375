//! A private throw-away PostgreSQL, run from the server programs installed on the machine.
//!
//! For trying maypole, for examples and for tests. The server has a folder of its own for its data and its Unix
//! socket, and a port on the loopback interface. It writes nothing to the disk for safety's sake (no fsync), so it
//! is fast and not for data that matter. It is gone with its owner, even if that is killed: a small shell
//! process (`embedded/supervisor.sh`) notices the end of a pipe of which only we hold the other side.
//!
//! PostgreSQL refuses to run as root. If we are root, it runs as the user `postgres`, or else `nobody`.
//!
//! The functions of this module block on the operating system: call them from a plain thread, not from a
//! coroutine. Uses: deadline, error.

mod machine;
mod programs;

use std::env;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result};
use machine::{base_folder, free_port, random_text, unprivileged_user};
use programs::Search;

const SUPERVISOR: &str = include_str!("embedded/supervisor.sh");

/// `bash` can close every descriptor that the server must not inherit, other shells not quite.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// How long one step may take: making the data folder, starting, stopping. Normally it is under a second.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the supervisor's answers are looked for.
const POLL: Duration = Duration::from_millis(4);

/// How often a start is tried, with another port each time if the choice is ours.
const ATTEMPTS: usize = 5;

/// The settings of every embedded server.
const SETTINGS: [(&str, &str); 17] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "200"),
    ("shared_buffers", "32MB"),
    ("huge_pages", "off"),
    // In the data folder, where nothing can be left behind, and where containers have room.
    ("dynamic_shared_memory_type", "mmap"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "1h"),
    ("log_checkpoints", "off"),
    // Work in the background disturbs measurements.
    ("autovacuum", "off"),
    ("jit", "off"),
    ("logging_collector", "off"),
];

/// A private throw-away PostgreSQL server; dropping it stops it and removes all its data.
///
/// ```
/// use maypole::embedded::Server;
///
/// let server = Server::start()?;
/// assert!(server.url().starts_with("postgres://postgres@%2F"));
/// # Ok::<(), maypole::Error>(())
/// ```
pub struct Server {
    supervisor: Child,
    folder: PathBuf,
    password: String,
    port: u16,
    pid: u32,
    /// How many programs the supervisor was told to run.
    runs: u32,
}

/// Settings for a [`Server`] that is to be started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Sets a parameter of `postgresql.conf`, over our own defaults; of two values for one name the later counts.
    ///
    /// The port and the folder of the Unix socket are chosen by the server itself.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Builder {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it accepts connections. Blocks, normally for about a second.
    ///
    /// # Errors
    /// The server programs are not installed (the error names the command that installs them), a setting is wrong,
    /// or the server is not ready after a minute.
    pub fn start(&self) -> Result<Server> {
        let programs = Search::here().run()?;
        let user = unprivileged_user()?;
        let folder = base_folder(user.is_some()).join(format!("maypole-{}", random_text::<6>()?));
        let password = random_text::<16>()?;

        let shell = SHELLS.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("sh");
        let mut command = Command::new(shell);
        command.arg("-c").arg(SUPERVISOR).arg("maypole-embedded").arg(&folder).arg(programs);
        let sockets = format!("\"{}\"", folder.display().to_string().replace('"', "\"\""));
        let theirs = self.settings.iter().map(|(name, value)| (&**name, &**value));
        let folders = [("unix_socket_directories", &*sockets)];
        for (name, value) in SETTINGS.into_iter().chain(theirs).chain(folders) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A data folder should not depend on who makes it; naming the time zone spares a search for it.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC");
        // The working folder may be closed to the unprivileged user. Our own group: see supervisor.sh.
        command.current_dir("/").process_group(0);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let supervisor = command
            .spawn()
            .map_err(|error| Error::connect("the embedded server's shell can't be run").caused_by(error))?;

        let mut server = Server { supervisor, folder, password, port: 0, pid: 0, runs: 0 };
        server.initialise()?;
        server.launch(None)?;
        Ok(server)
    }
}

impl Server {
    /// Starts a server with the default settings; see [`Builder::start`].
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Server> {
        Server::builder().start()
    }

    /// A server with settings of your own.
    ///
    /// ```
    /// let server = maypole::embedded::Server::builder().setting("max_connections", "20").start()?;
    /// # Ok::<(), maypole::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where to connect over the Unix socket, as superuser and without a password (the folder is private).
    ///
    /// The host is the percent-encoded folder: `postgres://postgres@%2Ftmp%2Fmaypole-1f…:23456/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}:{}/postgres", percent_encoded(&self.folder), self.port)
    }

    /// Where to connect over TCP on the loopback interface, as superuser. Contains the password: do not log it.
    pub fn tcp_url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// The folder of the Unix socket; the data folder is `data` in it, the server's log the file `log`.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The port on the loopback interface, which is also in the name of the Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server's main process (the postmaster); another one after a restart.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The superuser's password, which TCP connections need (SCRAM-SHA-256).
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Stops the server and removes its folder, which is the same as dropping it. Blocks, normally for some ten
    /// milliseconds.
    pub fn stop(self) {}

    /// Stops the server, whether it runs or not, and starts it again on the same data and the same port.
    ///
    /// An `immediate` stop is a crash: all sessions are cut off and the server recovers when it starts. Otherwise
    /// it ends its sessions and closes its files in good order. Blocks until the server accepts connections again.
    ///
    /// # Errors
    /// The server does not stop or start again within a minute each. It can be tried again.
    pub fn restart(&mut self, immediate: bool) -> Result<()> {
        let deadline = Deadline::after(LIMIT);
        self.command(if immediate { "stop QUIT" } else { "stop INT" })?;
        self.wait(deadline, Server::ended)?;
        self.launch(Some(self.port))
    }

    /// Lets the supervisor make the data folder.
    fn initialise(&mut self) -> Result<()> {
        let deadline = Deadline::after(LIMIT);
        let password = self.password.clone();
        self.runs += 1;
        self.command(&password)?;
        match self.wait(deadline, Server::ended)? {
            0 => Ok(()),
            _ => Err(Error::connect(format!(
                "the embedded server's data folder could not be made: {}",
                last_lines(&self.log(0))
            ))),
        }
    }

    /// Starts the server that does not run, on this port or on a free one, and waits until it is ready.
    fn launch(&mut self, port: Option<u16>) -> Result<()> {
        let deadline = Deadline::after(LIMIT);
        let mut attempts = 1..=ATTEMPTS;
        loop {
            self.port = port.map_or_else(free_port, Ok)?;
            let log_start = self.log(0).len();
            self.runs += 1;
            self.command(&format!("start {}", self.port))?;
            // Ready, or ended before it was.
            match self.wait(deadline, |server| server.ready().map(Some).or(server.ended().map(|_| None)))? {
                Some(pid) => {
                    self.pid = pid;
                    return Ok(());
                }
                None => {
                    let log = self.log(log_start);
                    // "Address already in use", or shared memory of a predecessor whose last processes still end.
                    if !log.contains("in use") || attempts.next().is_none() {
                        let message =
                            "the embedded server did not start; a setting may be wrong. Its log ends: ";
                        return Err(Error::connect(format!("{message}{}", last_lines(&log))));
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Sends one line to the supervisor.
    fn command(&mut self, line: &str) -> Result<()> {
        let written = match &mut self.supervisor.stdin {
            Some(pipe) => pipe.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        };
        written.map_err(|error| self.supervisor_is_gone().caused_by(error))
    }

    /// Looks until there is an answer.
    fn wait<T>(&mut self, deadline: Deadline, answer: impl Fn(&Server) -> Option<T>) -> Result<T> {
        loop {
            if let Some(answer) = answer(self) {
                return Ok(answer);
            }
            if !matches!(self.supervisor.try_wait(), Ok(None)) {
                return Err(self.supervisor_is_gone());
            }
            if deadline.passed(Instant::now()) {
                let detail = format!("the embedded server's log ends: {}", last_lines(&self.log(0)));
                return Err(Error::timeout(Phase::Start, Some(LIMIT), detail, Outcome::NotSent));
            }
            thread::sleep(POLL);
        }
    }

    fn supervisor_is_gone(&self) -> Error {
        Error::connect(format!(
            "the embedded server's shell process ended: it can't make {}, or was killed",
            self.folder.display()
        ))
    }

    /// The exit status of the program that ran last, if none runs now.
    fn ended(&self) -> Option<i32> {
        let ended = fs::read_to_string(self.folder.join("ended")).ok()?;
        let (runs, status) = ended.trim().split_once(' ')?;
        if runs.parse() == Ok(self.runs) { status.parse().ok() } else { None }
    }

    /// The process id of the server that accepts connections. One that was killed leaves its file behind.
    fn ready(&self) -> Option<u32> {
        postmaster(&fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?)
            .filter(|pid| *pid != self.pid)
    }

    /// The log from a byte position on.
    fn log(&self, start: usize) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = f.debug_struct("Server");
        server.field("folder", &self.folder).field("port", &self.port).field("pid", &self.pid);
        server.finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input makes the supervisor clean up; a kill of our process does the same.
        drop(self.supervisor.stdin.take());
        let deadline = Deadline::after(LIMIT);
        while matches!(self.supervisor.try_wait(), Ok(None)) && !deadline.passed(Instant::now()) {
            thread::sleep(POLL);
        }
        // In case somebody killed the supervisor: a server without its files ends by itself within a minute.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The process id in a `postmaster.pid`, if its eighth line says that the server is ready.
fn postmaster(file: &str) -> Option<u32> {
    let mut lines = file.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    (lines.nth(6)?.trim() == "ready").then_some(pid)
}

/// A path as the host of a URL.
fn percent_encoded(path: &Path) -> String {
    let encode = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

/// The end of a log, in one line.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_as_host_has_no_character_that_means_something_in_a_url() {
        assert_eq!(percent_encoded(Path::new("/tmp/maypole-0a")), "%2Ftmp%2Fmaypole-0a");
        assert_eq!(percent_encoded(Path::new("/a b@c:d%e/ü")), "%2Fa%20b%40c%3Ad%25e%2F%C3%BC");
    }

    #[test]
    fn a_server_is_ready_when_its_file_says_so() {
        let file = |status| format!("4711\n/data\n1700000000\n23456\n/sockets\n127.0.0.1\n  1 2\n{status}\n");
        assert_eq!(postmaster(&file("ready   ")), Some(4711));
        assert_eq!(postmaster(&file("starting")), None);
        assert_eq!(postmaster("4711\n/data\n"), None);
        assert_eq!(postmaster(""), None);
    }

    #[test]
    fn the_end_of_a_log_is_one_line() {
        assert_eq!(last_lines("1\n2\n3\n\n4\n 5\n6\n7\n"), "2 | 3 | 4 | 5 | 6 | 7");
        assert_eq!(last_lines(""), "");
    }
}
