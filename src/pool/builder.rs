//! Settings of a pool that is about to be made. Uses: config, connection, error, pool.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::inner::Inner;
use super::options::Options;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::{Error, Result};

/// Settings of a [`Pool`] that is about to be made.
#[must_use = "a builder makes no pool until build()"]
pub struct PoolBuilder {
    config: Option<Config>,
    options: Options,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

/// What is done about what a borrower left behind in the session: settings, roles, temporary tables, session locks, LISTEN, cursors
/// WITH HOLD, the last values of sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionReset {
    /// Nothing: the next borrower finds it.
    #[default]
    Never,
    /// A reset travels in front of the next borrower's first request and costs no round trip. Prepared statements stay.
    /// What [`after_connect`](PoolBuilder::after_connect) set with `SET` is reset too: put such settings into the `options` of
    /// the connection string.
    Lazy,
}

impl PoolBuilder {
    pub(super) fn new() -> PoolBuilder {
        PoolBuilder {
            config: None,
            options: Options {
                name: None,
                limit: 10,
                lanes: None,
                largest_group: 64,
                min_idle: 0,
                max_waiting: 8192,
                max_connecting: 2,
                acquire_timeout: Some(Duration::from_secs(5)),
                query_timeout: Some(Duration::from_secs(30)),
                max_lifetime: Some(Duration::from_secs(30 * 60)),
                idle_timeout: Some(Duration::from_secs(10 * 60)),
                ping_after_idle: Some(Duration::from_secs(30)),
                ping_timeout: Duration::from_secs(1),
                clean_up_timeout: Duration::from_secs(2),
                leak_warning: Some(Duration::from_secs(30)),
                max_hold: None,
                session_reset: SessionReset::Never,
                after_connect: None,
            },
            keep: None,
        }
    }

    /// Which server, by a connection string: a `postgres://` URL or `keyword=value` pairs, as libpq takes them.
    ///
    /// # Errors
    ///
    /// If it is malformed; the error names the place and never quotes the text.
    pub fn url(self, url: &str) -> Result<PoolBuilder> {
        Ok(self.config(url.parse()?))
    }

    /// Which server.
    pub fn config(mut self, config: Config) -> PoolBuilder {
        self.config = Some(config);
        self
    }

    /// How many connections there may be at most. Default 10.
    pub fn limit(mut self, connections: usize) -> PoolBuilder {
        self.options.limit = connections;
        self
    }

    /// How many connections may be lanes at the same time: sessions in which the declared selects of many coroutines run, in
    /// groups, each answered in order. With 0 nothing is shared, and each select borrows a connection: for servers behind a
    /// pooler in transaction mode, or where every statement has to stand alone. Default: as many as the
    /// [`limit`](PoolBuilder::limit).
    pub fn lanes(mut self, connections: usize) -> PoolBuilder {
        self.options.lanes = Some(connections);
        self
    }

    /// How many selects of a lane share a transaction of the server at most. `now()` is the same for them, and if one fails, those
    /// behind it are sent again, unseen by their callers. With 1 each has its own. Default 64.
    pub fn largest_group(mut self, selects: usize) -> PoolBuilder {
        self.options.largest_group = selects;
        self
    }

    /// What the pool is called in logs and metrics. Default: the name of the setting it comes from, else that of the
    /// database.
    pub fn name(mut self, name: &str) -> PoolBuilder {
        self.options.name = Some(name.to_owned());
        self
    }

    /// How many idle connections are kept although nobody uses them, and opened again when some are lost. Default 0.
    pub fn min_idle(mut self, connections: usize) -> PoolBuilder {
        self.options.min_idle = connections;
        self
    }

    /// How many connections are opened at the same time. Default 2.
    pub fn max_connecting(mut self, connections: usize) -> PoolBuilder {
        self.options.max_connecting = connections;
        self
    }

    /// After how long a connection is replaced by a new one, up to a quarter earlier by chance; the next is opened first if the limit
    /// leaves room. They are replaced one at a time, so that a pool whose connections were opened together does not lose
    /// them together. Default 30 min; `None` is never.
    pub fn max_lifetime(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.max_lifetime = limit.into();
        self
    }

    /// After how long an idle connection is closed, unless it is one of [`min_idle`](PoolBuilder::min_idle). Default 10 min; `None` is never.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.idle_timeout = limit.into();
        self
    }

    /// After how long an idle connection is asked for a sign of life, a bare Sync: only what neither side can see,
    /// such as a firewall that has forgotten the connection, is found that way. Default 30 s; `None` is never.
    pub fn ping_after_idle(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.ping_after_idle = limit.into();
        self
    }

    /// How long the sign of life may take. Default 1 s.
    pub fn ping_timeout(mut self, limit: Duration) -> PoolBuilder {
        self.options.ping_timeout = limit;
        self
    }

    /// How long bringing a returned connection back to idle may take before it is closed. Default 2 s.
    pub fn clean_up_timeout(mut self, limit: Duration) -> PoolBuilder {
        self.options.clean_up_timeout = limit;
        self
    }

    /// After how long a lease is reported in the log as forgotten, with the place where it was borrowed. Default 30 s;
    /// `None` is never.
    pub fn leak_warning(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.leak_warning = limit.into();
        self
    }

    /// After how long a lease is revoked: what it runs is cancelled, its connection closed, and every further use of it
    /// fails. Default `None`: never.
    pub fn max_hold(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.max_hold = limit.into();
        self
    }

    /// Whether what a borrower left behind in the session is reset before the next one uses it. Default
    /// [`SessionReset::Never`].
    pub fn session_reset(mut self, reset: SessionReset) -> PoolBuilder {
        self.options.session_reset = reset;
        self
    }

    /// How long a borrower waits for a connection, for one to be opened too. Default 5 s; `None` is for ever, and with zero only idle ones
    /// are lent.
    pub fn acquire_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.acquire_timeout = limit.into();
        self
    }

    /// How long a reply to a query may take. Default 30 s; `None` is for ever.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.query_timeout = limit.into();
        self
    }

    /// How many borrowers may wait; the next gets an error at once. Who needs a connection to be opened waits too, so with 0 only idle
    /// ones are lent: then set [`min_idle`](PoolBuilder::min_idle) too. Default 8,192.
    pub fn max_waiting(mut self, borrowers: usize) -> PoolBuilder {
        self.options.max_waiting = borrowers;
        self
    }

    /// What to do with each connection after it was opened and before it is lent: `SET`s, for instance. If it fails,
    /// the connection counts as one that could not be opened.
    pub fn after_connect(
        mut self,
        hook: impl Fn(&Connection) -> Result<()> + Send + Sync + 'static,
    ) -> PoolBuilder {
        self.options.after_connect = Some(Arc::new(hook));
        self
    }

    #[cfg(feature = "embedded")]
    /// Something that must live as long as the pool.
    pub(crate) fn keep(mut self, thing: impl Any + Send + Sync) -> PoolBuilder {
        self.keep = Some(Box::new(thing));
        self
    }

    /// Fails if the settings contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        self.options.check()
    }

    /// Makes the pool. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// If the configuration is missing or contradicts itself, or the limit or the largest group is 0.
    pub fn build(self) -> Result<Pool> {
        self.check()?;
        let config =
            self.config.ok_or_else(|| Error::config("a pool needs a server: set url() or config()"))?;
        config.targets()?;
        Ok(Pool(Inner::start(config, self.options, self.keep)))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { after_connect, .. } = &self.options;
        f.debug_struct("PoolBuilder")
            .field("config", &self.config)
            .field("name", &self.options.name)
            .field("limit", &self.options.limit)
            .field("lanes", &self.options.lanes)
            .field("largest_group", &self.options.largest_group)
            .field("min_idle", &self.options.min_idle)
            .field("max_waiting", &self.options.max_waiting)
            .field("max_connecting", &self.options.max_connecting)
            .field("acquire_timeout", &self.options.acquire_timeout)
            .field("query_timeout", &self.options.query_timeout)
            .field("max_lifetime", &self.options.max_lifetime)
            .field("idle_timeout", &self.options.idle_timeout)
            .field("ping_after_idle", &self.options.ping_after_idle)
            .field("ping_timeout", &self.options.ping_timeout)
            .field("clean_up_timeout", &self.options.clean_up_timeout)
            .field("leak_warning", &self.options.leak_warning)
            .field("max_hold", &self.options.max_hold)
            .field("session_reset", &self.options.session_reset)
            .field("after_connect", &after_connect.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_lanes_that_make_no_sense_are_refused_by_name() {
        let refused = |builder: PoolBuilder| builder.check().unwrap_err().to_string();
        assert_eq!(
            refused(Pool::builder().largest_group(0)),
            "largest_group: there must be at least 1 select in a group; lanes = 0 shares none"
        );
        assert_eq!(
            refused(Pool::builder().limit(2).lanes(3)),
            "lanes: there can't be more lanes than the limit allows"
        );
        for builder in [
            Pool::builder().limit(2),
            Pool::builder().limit(2).lanes(2),
            Pool::builder().lanes(0),
            Pool::builder().largest_group(1),
        ] {
            builder.check().unwrap();
        }
    }
}
