//! What can be set for a database, key by key. Uses: config, conninfo, error, pool, suggest.

use super::file::{Entry, Value};
use super::value::Given;
use super::{DEFAULT, Settings, Variables, listed};
use crate::config::{Config, TargetSessionAttrs};
use crate::conninfo::KEYWORDS;
use crate::error::{Error, Result};
use crate::pool::{Pool, PoolBuilder, SessionReset};
use crate::suggest::did_you_mean;

/// A key of a database's table, and what its value does to a pool or to how it connects.
struct Key<T> {
    name: &'static str,
    apply: fn(T, &Given<'_>) -> Result<T>,
}

impl<T> Key<T> {
    const fn new(name: &'static str, apply: fn(T, &Given<'_>) -> Result<T>) -> Key<T> {
        Key { name, apply }
    }
}

/// Which server. A text in place of the table is the same.
const URL: &str = "url";

/// The keys of the pool are the names of the builder's methods, which have the defaults.
const POOL: &[Key<PoolBuilder>] = &[
    Key::new("name", |pool, given| Ok(pool.name(&given.text()?))),
    Key::new("limit", |pool, given| Ok(pool.limit(given.number(1)?))),
    Key::new("lanes", |pool, given| Ok(pool.lanes(given.number(0)?))),
    Key::new("largest_group", |pool, given| Ok(pool.largest_group(given.number(1)?))),
    Key::new("min_idle", |pool, given| Ok(pool.min_idle(given.number(0)?))),
    Key::new("max_waiting", |pool, given| Ok(pool.max_waiting(given.number(0)?))),
    Key::new("max_connecting", |pool, given| Ok(pool.max_connecting(given.number(1)?))),
    Key::new("acquire_timeout", |pool, given| Ok(pool.acquire_timeout(given.limit_or_nothing()?))),
    Key::new("query_timeout", |pool, given| Ok(pool.query_timeout(given.limit()?))),
    Key::new("max_lifetime", |pool, given| Ok(pool.max_lifetime(given.limit()?))),
    Key::new("idle_timeout", |pool, given| Ok(pool.idle_timeout(given.limit()?))),
    Key::new("ping_after_idle", |pool, given| Ok(pool.ping_after_idle(given.limit()?))),
    Key::new("ping_timeout", |pool, given| Ok(pool.ping_timeout(given.duration()?))),
    Key::new("clean_up_timeout", |pool, given| Ok(pool.clean_up_timeout(given.duration()?))),
    Key::new("leak_warning", |pool, given| Ok(pool.leak_warning(given.limit()?))),
    Key::new("max_hold", |pool, given| Ok(pool.max_hold(given.limit()?))),
    Key::new("session_reset", |pool, given| {
        let words = [("never", SessionReset::Never), ("lazy", SessionReset::Lazy)];
        Ok(pool.session_reset(given.word(&words)?))
    }),
];

/// The keys that say how to connect, applied after the URL; what else there is to say stands in the URL.
const CONNECTION: &[Key<Config>] = &[
    Key::new(PASSWORD, |config, given| Ok(config.password(given.text()?))),
    Key::new(PASSWORD_FILE, |config, given| Ok(config.password(given.password_file()?))),
    Key::new("target_session_attrs", |config, given| {
        Ok(config.target_session_attrs(given.word(&TargetSessionAttrs::WORDS)?))
    }),
    Key::new("application_name", |config, given| Ok(config.application_name(given.text()?))),
    Key::new("connect_timeout", |config, given| Ok(config.connect_timeout(given.limit()?))),
    Key::new("keepalives", |config, given| Ok(config.keepalives(given.switch()?))),
    Key::new("keepalives_idle", |config, given| Ok(config.keepalives_idle(given.seconds()?))),
    Key::new("keepalives_interval", |config, given| Ok(config.keepalives_interval(given.seconds()?))),
    Key::new("keepalives_count", |config, given| Ok(config.keepalives_count(given.number_or_none(1)?))),
    Key::new("tcp_user_timeout", |config, given| Ok(config.tcp_user_timeout(given.limit()?))),
    Key::new("statement_cache_capacity", |config, given| {
        Ok(config.statement_cache_capacity(given.number(0)?))
    }),
    Key::new("max_message_size", |config, given| Ok(config.max_message_size(given.number(1024)?))),
];

const PASSWORD: &str = "password";
const PASSWORD_FILE: &str = "password_file";

/// All keys of a database's table.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    let pool = POOL.iter().map(|key| key.name);
    let connection = CONNECTION.iter().map(|key| key.name);
    [URL].into_iter().chain(connection).chain(pool)
}

/// What other libraries call the same, where the closest word would be another thing.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "limit",
        &["max_connections", "max_size", "max_pool_size", "maximum_pool_size", "pool_size", "pool_max"],
    ),
    ("min_idle", &["min_connections", "min_size", "minimum_idle", "min_pool_size", "pool_min"]),
    ("acquire_timeout", &["connection_timeout", "pool_timeout", "wait_timeout", "checkout_timeout"]),
    ("query_timeout", &["statement_timeout", "command_timeout"]),
    ("leak_warning", &["leak_detection_threshold"]),
    ("ping_after_idle", &["test_before_acquire", "test_on_check_out", "keepalive_time"]),
];

/// The end of the message for a key that means something in other places.
fn known_elsewhere(key: &str) -> Option<String> {
    if let Some((ours, _)) = ELSEWHERE.iter().find(|(_, theirs)| theirs.contains(&key)) {
        return Some(format!("; it is \"{ours}\" here"));
    }
    KEYWORDS.contains(&key).then(|| "; it is a part of the url".to_owned())
}

/// Which server.
enum Server {
    /// A private one that this program starts.
    Embedded,
    /// One that runs already.
    At(Box<Config>),
}

impl Settings {
    /// The pool of the database with this name, and how its connections are made. See [`Settings::pool`].
    pub(super) fn database(
        &self,
        name: &str,
        variables: Variables<'_>,
        embedded: impl FnOnce(PoolBuilder) -> Result<(PoolBuilder, Config)>,
    ) -> Result<(PoolBuilder, Config)> {
        let database = self.find_database(name)?;
        let given = |entry| Given { settings: self, entry, variables };
        let (url, entries) = match &database.value {
            Value::Text(_) => (database, &[][..]),
            Value::Table(entries) => match entries.iter().find(|entry| entry.name == URL) {
                Some(url) => (url, &entries[..]),
                None => {
                    return Err(
                        self.wrong_value(database, "has no url: give \"embedded\" or a connection string")
                    );
                }
            },
            _ => {
                return Err(self.wrong_value(
                    database,
                    "must be \"embedded\", a connection string, or a table with a url",
                ));
            }
        };
        let server = self.server(&given(url))?;
        self.agree(entries, &server)?;
        let mut pool = Pool::builder().name(name);
        for entry in entries {
            if let Some(key) = POOL.iter().find(|key| key.name == entry.name) {
                pool = (key.apply)(pool, &given(entry))?;
            }
        }
        let connection = |mut config: Config| {
            for entry in entries {
                if let Some(key) = CONNECTION.iter().find(|key| key.name == entry.name) {
                    config = (key.apply)(config, &given(entry))?;
                }
            }
            Ok(config)
        };
        // What works key by key and not together is found now, while the lines are known.
        let together = |error: Error| {
            let what = error.to_string();
            let first = what.split(": ").next().unwrap_or_default();
            match entries.iter().find(|entry| entry.name == first) {
                Some(entry) => self.wrong(entry.line, &what),
                None => self.wrong_value(database, &what),
            }
        };
        pool.check().map_err(together)?;
        match server {
            Server::At(config) => {
                let config = connection(*config)?;
                config.targets().map_err(together)?;
                Ok((pool, config))
            }
            Server::Embedded => {
                // A wrong setting is told before a server is started for it.
                connection(Config::new().user("nobody"))?.targets().map_err(together)?;
                let (pool, config) = embedded(pool)?;
                Ok((pool, connection(config)?))
            }
        }
    }

    fn find_database(&self, name: &str) -> Result<&Entry> {
        self.entry(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::config(format!(
                "{}: there is no setting \"{name}\" in [{}]{}; there {}{}",
                self.path.display(),
                self.environment,
                if self.environment == DEFAULT { String::new() } else { format!(" or [{DEFAULT}]") },
                listed(&names),
                did_you_mean(name, names.iter().copied()),
            ))
        })
    }

    /// Refuses keys that there are not, and those that contradict each other.
    fn agree(&self, entries: &[Entry], server: &Server) -> Result<()> {
        let find = |name: &str| entries.iter().find(|entry| entry.name == name);
        for entry in entries {
            if !keys().any(|key| key == entry.name) {
                let hint = known_elsewhere(&entry.name).unwrap_or_else(|| did_you_mean(&entry.name, keys()));
                let known: Vec<&str> = keys().collect();
                let what = format!("no such key{hint}; a database has {}", known.join(", "));
                return Err(self.wrong(entry.line, &what));
            }
        }
        if let (Server::Embedded, Some(entry)) = (server, find(PASSWORD).or(find(PASSWORD_FILE))) {
            return Err(self.wrong_value(entry, "the embedded server has none"));
        }
        if let (Some(_), Some(entry)) = (find(PASSWORD), find(PASSWORD_FILE)) {
            return Err(self.wrong_value(entry, "password is given too: leave one of them out"));
        }
        Ok(())
    }

    fn server(&self, url: &Given<'_>) -> Result<Server> {
        let text = url.text()?;
        if text == "embedded" {
            return Ok(Server::Embedded);
        }
        if !text.contains(['=', ':']) {
            let hint = did_you_mean(&text, ["embedded"]);
            return Err(url.wrong(&format!("must be \"embedded\" or a connection string{hint}")));
        }
        match Config::from_text(&text, url.variables) {
            Ok(config) => Ok(Server::At(Box::new(config))),
            Err(error) => Err(url.wrong(&error.to_string())),
        }
    }
}
