//! Settings of a pool that is about to be made. Uses: config, connection, error, pool.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Options, Pool};
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

impl PoolBuilder {
    pub(super) fn new() -> PoolBuilder {
        PoolBuilder {
            config: None,
            options: Options {
                limit: 10,
                max_waiting: 8192,
                acquire_timeout: Some(Duration::from_secs(5)),
                query_timeout: Some(Duration::from_secs(30)),
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

    /// How long a borrower waits for a connection. Default 5 s; `None` is for ever.
    pub fn acquire_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.acquire_timeout = limit.into();
        self
    }

    /// How long a reply to a query may take. Default 30 s; `None` is for ever.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> PoolBuilder {
        self.options.query_timeout = limit.into();
        self
    }

    /// How many borrowers may wait; the next gets an error at once. Default 8,192.
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

    /// Makes the pool. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// If the configuration is missing or contradicts itself, or the limit is 0.
    pub fn build(self) -> Result<Pool> {
        let config =
            self.config.ok_or_else(|| Error::config("a pool needs a server: set url() or config()"))?;
        config.targets()?;
        if self.options.limit == 0 {
            return Err(Error::config("limit: a pool needs at least 1 connection"));
        }
        Ok(Pool(Inner::start(config, self.options, self.keep)))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("config", &self.config)
            .field("limit", &self.options.limit)
            .finish()
    }
}
