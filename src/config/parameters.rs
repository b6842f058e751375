//! From libpq's keywords and environment variables to a `Config`. Uses: conninfo, error, secret.

use std::time::Duration;

use super::{Config, DEFAULT_PORT, PORT_RANGE, SslMode, TargetSessionAttrs, defaults, not_empty};
use crate::conninfo::{self, Parameter, Place};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// libpq's environment variables: those that fill in a keyword, and those that demand what maypole does not do.
/// Variables that only matter with TLS or a passfile are left alone.
const VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("sslmode", "PGSSLMODE"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("gssencmode", "PGGSSENCMODE"),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
];

impl Config {
    /// Reads a connection string; `variable` looks up the environment variables that complete it.
    ///
    /// # Errors
    ///
    /// Names the keyword and the place of what is wrong, never a value.
    pub(crate) fn from_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let mut parameters = conninfo::parse(text)?;
        let given: Vec<&str> = parameters.iter().map(|parameter| parameter.key).collect();
        for (key, name) in VARIABLES {
            // Unlike libpq, a host of the text is not mixed with an address of the environment or the reverse.
            let overruled = match *key {
                "host" | "hostaddr" => given.iter().any(|given| matches!(*given, "host" | "hostaddr")),
                key => given.contains(&key),
            };
            if !overruled && let Some(value) = variable(name) {
                parameters.push(Parameter { key, value, place: Place::Variable(name) });
            }
        }
        if !parameters.iter().any(|p| matches!(p.key, "host" | "hostaddr"))
            && variable("PGSERVICE").is_some_and(|service| !service.is_empty())
        {
            // libpq would take the server's name from the service's file: a wrong server is worse than none.
            return Err(Error::config(
                "environment variable PGSERVICE (service): is not supported by maypole; name a host",
            ));
        }
        let mut config = Config::bare();
        for parameter in &parameters {
            config.set(parameter)?;
        }
        if config.user.is_empty() {
            config.user = defaults::system_user(variable).unwrap_or_default();
        }
        match config.problem() {
            None => Ok(config),
            Some((key, what)) => Err(match parameters.iter().find(|parameter| parameter.key == key) {
                Some(parameter) => parameter.wrong(&what),
                None => Error::config(format!("connection string: {key}: {what}")),
            }),
        }
    }

    fn set(&mut self, parameter: &Parameter) -> Result<()> {
        let Parameter { key, value, .. } = parameter;
        if value.is_empty() {
            // The built-in default, which is there already.
            return Ok(());
        }
        if value.contains('\0') {
            return Err(parameter.wrong("a NUL character is not allowed"));
        }
        match *key {
            "host" => self.hosts = value.split(',').map(|host| self.host_named(host.to_owned())).collect(),
            "hostaddr" => {
                self.host_addresses = parameter.list("must be an IP address", |item| item.parse().ok())?
            }
            "port" => {
                let port = |item: &str| item.trim().parse::<u16>().ok().filter(|port| *port != 0);
                let ports = parameter.list(PORT_RANGE, port)?;
                self.ports = ports.into_iter().map(|port| port.unwrap_or(DEFAULT_PORT)).collect();
            }
            "user" => self.user = value.clone(),
            "password" => self.password = Some(Secret::new(value.clone())),
            "dbname" if value.starts_with("postgres://") || value.starts_with("postgresql://") => {
                // It would travel to the server, password included, and come back in its error.
                return Err(parameter.wrong("must be a name, not a connection string"));
            }
            "dbname" => self.dbname = Some(value.clone()),
            "application_name" => self.application_name = Some(value.clone()),
            "fallback_application_name" => {
                self.application_name = self.application_name.take().or(not_empty(value.clone()));
            }
            "options" => self.options = Some(value.clone()),
            "sslmode" => self.sslmode = parameter.sslmode()?,
            "connect_timeout" => self.connect_timeout = parameter.whole()?.map(Duration::from_secs),
            "keepalives" => self.keepalives = parameter.number()? != 0,
            "keepalives_idle" => self.keepalives_idle = parameter.whole()?.map(Duration::from_secs),
            "keepalives_interval" => self.keepalives_interval = parameter.whole()?.map(Duration::from_secs),
            "keepalives_count" => {
                self.keepalives_count = parameter.whole()?.and_then(|count| u32::try_from(count).ok());
            }
            "tcp_user_timeout" => self.tcp_user_timeout = parameter.whole()?.map(Duration::from_millis),
            "client_encoding" => {
                let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                if !["utf8", "unicode"].contains(&name.to_ascii_lowercase().as_str()) {
                    return Err(parameter.wrong("must be UTF8, which is all that maypole speaks"));
                }
            }
            "target_session_attrs" => {
                let words = "must be any, read-write, read-only, primary, standby or prefer-standby";
                self.target_session_attrs =
                    TargetSessionAttrs::named(value).ok_or_else(|| parameter.wrong(words))?;
            }
            // Words that are accepted where they say what maypole does anyway.
            "load_balance_hosts" => parameter.only(&["disable"], "comes later")?,
            "channel_binding" => parameter.only(&["disable", "prefer"], NO_TLS)?,
            "gssencmode" => parameter.only(&["disable", "prefer"], "is not supported by maypole")?,
            ssl if ssl.starts_with("ssl") => {
                return Err(parameter.wrong(&format!("is not supported: {NO_TLS}")));
            }
            _ => return Err(parameter.wrong("is not supported by maypole")),
        }
        Ok(())
    }
}

const NO_TLS: &str = "this build of maypole has no TLS yet";

impl Parameter {
    /// The items of a list, `None` for an empty one.
    fn list<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<Option<T>>> {
        let item = |item: &str| match item {
            "" => Ok(None),
            item => read(item).map(Some).ok_or_else(|| self.wrong(what)),
        };
        self.value.split(',').map(item).collect()
    }

    fn number(&self) -> Result<i32> {
        self.value.trim().parse().map_err(|_| self.wrong("must be a whole number"))
    }

    /// A number; zero, and in libpq what is below, stands for `None`.
    fn whole(&self) -> Result<Option<u64>> {
        Ok(u64::try_from(self.number()?).ok().filter(|number| *number != 0))
    }

    fn only(&self, accepted: &[&str], otherwise: &str) -> Result<()> {
        match accepted.contains(&self.value.as_str()) {
            true => Ok(()),
            false => Err(self.wrong(&format!(
                "this version takes only {}; anything else: {otherwise}",
                accepted.join(" or ")
            ))),
        }
    }

    fn sslmode(&self) -> Result<SslMode> {
        match self.value.as_str() {
            "disable" => Ok(SslMode::Disable),
            "allow" => Ok(SslMode::Allow),
            "prefer" => Ok(SslMode::Prefer),
            "require" | "verify-ca" | "verify-full" => {
                Err(self.wrong(&format!("{NO_TLS}; disable, allow and prefer work")))
            }
            _ => Err(self.wrong("must be disable, allow, prefer, require, verify-ca or verify-full")),
        }
    }
}
