//! How to reach and enter a server. Uses: conninfo, error, secret.

mod defaults;
mod parameters;
mod session_attributes;
mod target;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::secret::Secret;
pub use session_attributes::TargetSessionAttrs;
pub(crate) use target::{Host, Target};

/// How to reach and enter a server: host, user, password, database, time limits.
///
/// Made from a connection string in either form of libpq, or with setters that are named as libpq's keywords:
///
/// ```
/// use maypole::Config;
/// use std::time::Duration;
///
/// let config: Config = "postgres://app@db1:5432,db2/shop?connect_timeout=2".parse()?;
/// let same: Config = "host=db1,db2 port=5432 user=app dbname=shop connect_timeout=2".parse()?;
/// let built = Config::new().host("db1").host("db2").port(5432).user("app").dbname("shop")
///     .connect_timeout(Duration::from_secs(2));
/// # let _ = (config, same, built);
/// # Ok::<(), maypole::Error>(())
/// ```
///
/// What a connection string leaves out comes from libpq's environment variables: `PGHOST`, `PGHOSTADDR`,
/// `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGAPPNAME`, `PGOPTIONS`, `PGCONNECT_TIMEOUT`, `PGSSLMODE`,
/// `PGCLIENTENCODING`, `PGTARGETSESSIONATTRS`. What these leave out has the defaults that each setter tells.
///
/// A keyword of libpq that maypole does not support is an error and not ignored. Errors name the keyword and
/// the place, never a value. `Debug` masks the password.
///
/// Source of the rules: the PostgreSQL manual, "Database Connection Control Functions".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    hosts: Vec<Host>,
    host_addresses: Vec<Option<IpAddr>>,
    ports: Vec<u16>,
    /// Where a server on this machine has its Unix socket, for an empty list of hosts.
    socket_folder: PathBuf,
    user: String,
    password: Option<Secret>,
    dbname: Option<String>,
    application_name: Option<String>,
    options: Option<String>,
    sslmode: SslMode,
    target_session_attrs: TargetSessionAttrs,
    connect_timeout: Option<Duration>,
    keepalives: bool,
    keepalives_idle: Option<Duration>,
    keepalives_interval: Option<Duration>,
    keepalives_count: Option<u32>,
    tcp_user_timeout: Option<Duration>,
    max_message_size: usize,
    statement_cache_capacity: usize,
}

/// Whether to encrypt the connection: libpq's `sslmode`.
///
/// The modes that demand TLS are missing because this version of maypole has no TLS yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SslMode {
    /// Without TLS.
    Disable,
    /// With TLS only if the server demands it. This version has no TLS: without.
    Allow,
    /// With TLS if the server can. This version has no TLS: without.
    #[default]
    Prefer,
}

/// When the system probes a silent TCP connection; `None` leaves a value to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalives {
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
}

impl Config {
    /// The defaults, without any of libpq's environment variables.
    ///
    /// They are a server on this machine and the operating system's user: `USER`, `LOGNAME`, or the name that
    /// `/etc/passwd` has for the process.
    #[expect(clippy::new_without_default, reason = "it looks at the environment, a default should not")]
    pub fn new() -> Config {
        let mut config = Config::bare();
        config.user = defaults::system_user(&defaults::process_variable).unwrap_or_default();
        config
    }

    /// The defaults without a user, who takes some looking for.
    fn bare() -> Config {
        Config {
            hosts: Vec::new(),
            host_addresses: Vec::new(),
            ports: Vec::new(),
            socket_folder: defaults::socket_folder(),
            user: String::new(),
            password: None,
            dbname: None,
            application_name: None,
            options: None,
            sslmode: SslMode::default(),
            target_session_attrs: TargetSessionAttrs::default(),
            connect_timeout: Some(Duration::from_secs(5)),
            keepalives: true,
            keepalives_idle: Some(Duration::from_secs(60)),
            keepalives_interval: Some(Duration::from_secs(10)),
            keepalives_count: Some(3),
            tcp_user_timeout: Some(Duration::from_secs(30)),
            max_message_size: 1 << 30,
            statement_cache_capacity: 256,
        }
    }

    /// Adds a host to those that are tried in order: a name, an IP address, or the folder of a Unix socket, which
    /// begins with `/`.
    ///
    /// Without any it is the Unix socket in `/var/run/postgresql`, or in `/tmp` if there is no such folder.
    pub fn host(mut self, host: impl Into<String>) -> Config {
        let host = self.host_named(host.into());
        self.hosts.push(host);
        self
    }

    /// Adds the address of a host, which is then not looked up: one for each host or none.
    pub fn hostaddr(mut self, address: IpAddr) -> Config {
        self.host_addresses.push(Some(address));
        self
    }

    /// Adds a port: one for all hosts or one for each. Default 5432.
    pub fn port(mut self, port: u16) -> Config {
        self.ports.push(port);
        self
    }

    /// The name to log in with. Default: the operating system's user.
    pub fn user(mut self, user: impl Into<String>) -> Config {
        self.user = user.into();
        self
    }

    /// The password, should the server ask for one. Default: none.
    pub fn password(mut self, password: impl Into<String>) -> Config {
        self.password = Some(Secret::new(password)).filter(|password| !password.expose().is_empty());
        self
    }

    /// The database. Default: the one named as the user.
    pub fn dbname(mut self, dbname: impl Into<String>) -> Config {
        self.dbname = not_empty(dbname.into());
        self
    }

    /// What the server's lists and logs call this program. Default: nothing.
    pub fn application_name(mut self, name: impl Into<String>) -> Config {
        self.application_name = not_empty(name.into());
        self
    }

    /// Settings of the server for the session, as on its command line: `-c search_path=shop`. Default: none.
    pub fn options(mut self, options: impl Into<String>) -> Config {
        self.options = not_empty(options.into());
        self
    }

    /// Whether to encrypt the connection. Default: [`SslMode::Prefer`].
    pub fn sslmode(mut self, mode: SslMode) -> Config {
        self.sslmode = mode;
        self
    }

    /// What a server must be like for a session to be kept. Default: [`TargetSessionAttrs::Any`].
    ///
    /// PostgreSQL 14 and later tell it at once; an older one, or a pooler that does not, is asked, in one more round trip.
    pub fn target_session_attrs(mut self, wanted: TargetSessionAttrs) -> Config {
        self.target_session_attrs = wanted;
        self
    }

    /// How long opening a connection may take, over all hosts, resolving and authentication included. Default: 5 s;
    /// `None` is no limit.
    ///
    /// In a connection string it is in seconds, and 0 is no limit.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Config {
        self.connect_timeout = limit.into();
        self
    }

    /// Whether the system probes a TCP connection that has been silent. Default: yes.
    pub fn keepalives(mut self, on: bool) -> Config {
        self.keepalives = on;
        self
    }

    /// The silence before the first probe. Default: 60 s; `None` is the system's own.
    ///
    /// In a connection string it is in seconds, and 0 is the system's own.
    pub fn keepalives_idle(mut self, silence: impl Into<Option<Duration>>) -> Config {
        self.keepalives_idle = silence.into();
        self
    }

    /// The time between two probes. Default: 10 s; `None` is the system's own.
    ///
    /// In a connection string it is in seconds, and 0 is the system's own.
    pub fn keepalives_interval(mut self, interval: impl Into<Option<Duration>>) -> Config {
        self.keepalives_interval = interval.into();
        self
    }

    /// How many probes may stay without answer. Default: 3; `None` is the system's own.
    ///
    /// In a connection string 0 is the system's own.
    pub fn keepalives_count(mut self, count: impl Into<Option<u32>>) -> Config {
        self.keepalives_count = count.into();
        self
    }

    /// How long bytes that were sent may wait for the acknowledgement of TCP. Default: 30 s; `None` is the system's
    /// own.
    ///
    /// In a connection string it is in milliseconds, and 0 is the system's own.
    pub fn tcp_user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Config {
        self.tcp_user_timeout = limit.into();
        self
    }

    /// The longest message of the server, in bytes, that is accepted; a longer one ends the connection. Default: 1 GiB.
    ///
    /// No keyword of libpq.
    pub fn max_message_size(mut self, bytes: usize) -> Config {
        self.max_message_size = bytes;
        self
    }

    /// How many prepared statements a connection keeps. Default: 256.
    ///
    /// No keyword of libpq.
    pub fn statement_cache_capacity(mut self, statements: usize) -> Config {
        self.statement_cache_capacity = statements;
        self
    }

    /// The servers to try, in order. Checks all settings first, so that nothing connects with wrong ones.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong, without its value.
    pub(crate) fn targets(&self) -> Result<Vec<Target>> {
        if let Some((key, what)) = self.problem() {
            return Err(Error::config(format!("connection settings: {key}: {what}")));
        }
        Ok((0..self.hosts.len().max(self.host_addresses.len()).max(1))
            .map(|i| {
                let address = self.host_addresses.get(i).copied().flatten();
                let host = self.hosts.get(i).cloned().unwrap_or_else(|| match address {
                    Some(address) => Host::Tcp(address.to_string()),
                    None => Host::Unix(self.socket_folder.clone()),
                });
                let port = self.ports.get(i).or(self.ports.first()).copied().unwrap_or(DEFAULT_PORT);
                Target { host, address, port }
            })
            .collect())
    }

    /// What the startup message tells the server: names and values of parameters, without empty ones.
    pub(crate) fn startup_parameters(&self) -> Vec<(&str, &str)> {
        let mut parameters =
            vec![("user", self.get_user()), ("database", self.get_dbname()), ("client_encoding", "UTF8")];
        let more = [("application_name", &self.application_name), ("options", &self.options)];
        parameters.extend(more.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        parameters
    }

    pub(crate) fn get_user(&self) -> &str {
        &self.user
    }

    pub(crate) fn get_password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    pub(crate) fn get_dbname(&self) -> &str {
        self.dbname.as_deref().unwrap_or(&self.user)
    }

    pub(crate) fn get_target_session_attrs(&self) -> TargetSessionAttrs {
        self.target_session_attrs
    }

    pub(crate) fn get_connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// `None`: the system does not probe.
    pub(crate) fn get_keepalives(&self) -> Option<Keepalives> {
        self.keepalives.then_some(Keepalives {
            idle: self.keepalives_idle,
            interval: self.keepalives_interval,
            count: self.keepalives_count,
        })
    }

    pub(crate) fn get_tcp_user_timeout(&self) -> Option<Duration> {
        self.tcp_user_timeout
    }

    pub(crate) fn get_max_message_size(&self) -> usize {
        self.max_message_size
    }

    pub(crate) fn get_statement_cache_capacity(&self) -> usize {
        self.statement_cache_capacity
    }

    fn host_named(&self, name: String) -> Host {
        match name.as_bytes().first() {
            None => Host::Unix(self.socket_folder.clone()),
            Some(b'/') => Host::Unix(PathBuf::from(name)),
            Some(_) => Host::Tcp(name),
        }
    }

    /// The first setting that can't work, and why.
    fn problem(&self) -> Option<(&'static str, String)> {
        let has_nul = |text: &[u8]| text.contains(&0);
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| has_nul(text.as_bytes()));
        let checks = [
            ("host", self.hosts.iter().any(|host| has_nul(host.as_bytes()))),
            ("user", has_nul(self.user.as_bytes())),
            ("password", self.password.as_ref().is_some_and(|password| has_nul(password.expose()))),
            ("dbname", text(&self.dbname)),
            ("application_name", text(&self.application_name)),
            ("options", text(&self.options)),
        ];
        if let Some((key, _)) = checks.iter().find(|(_, found)| *found) {
            // The server reads up to the NUL and takes what follows for the next parameter.
            return Some((key, "a NUL character is not allowed".to_owned()));
        }
        if let Some(what) = self.hosts.iter().find_map(Host::problem) {
            return Some(("host", what.to_owned()));
        }
        if self.ports.contains(&0) {
            return Some(("port", PORT_RANGE.to_owned()));
        }
        let hosts = self.hosts.len();
        let addresses = self.host_addresses.len();
        if hosts > 0 && addresses > 0 && hosts != addresses {
            return Some(("hostaddr", format!("{addresses} addresses for {hosts} hosts: give one for each")));
        }
        let targets = hosts.max(addresses).max(1);
        let ports = self.ports.len();
        if ports > 1 && ports != targets {
            return Some(("port", format!("{ports} ports for {targets} hosts: give one, or one for each")));
        }
        let unix_with_address =
            |(host, address): (&Host, &Option<IpAddr>)| matches!(host, Host::Unix(_)) && address.is_some();
        if self.hosts.iter().zip(&self.host_addresses).any(unix_with_address) {
            return Some(("hostaddr", "a Unix socket has no address".to_owned()));
        }
        if self.user.is_empty() {
            return Some(("user", "is missing, and the system does not tell: give one".to_owned()));
        }
        None
    }
}

const DEFAULT_PORT: u16 = 5432;
const PORT_RANGE: &str = "must be a number from 1 to 65535";

fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl FromStr for Config {
    type Err = Error;

    /// Reads a connection string; the environment variables of libpq complete it.
    ///
    /// # Errors
    ///
    /// Names the keyword and the place of what is wrong, never a value.
    fn from_str(text: &str) -> Result<Config> {
        Config::from_text(text, &defaults::process_variable)
    }
}

impl TryFrom<&str> for Config {
    type Error = Error;

    fn try_from(text: &str) -> Result<Config> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
