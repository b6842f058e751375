//! What a pool is told when it is made. Uses: builder, connection, core, error.

use std::sync::Arc;
use std::time::Duration;

use super::builder::SessionReset;
use super::core::Limits;
use crate::connection::Connection;
use crate::error::{Error, Result};

pub(super) type Hook = Arc<dyn Fn(&Connection) -> Result<()> + Send + Sync>;

pub(super) struct Options {
    pub(super) name: Option<String>,
    pub(super) limit: usize,
    /// How many connections may carry groups of selects at the same time; all of the limit, if it is not said.
    pub(super) lanes: Option<usize>,
    pub(super) largest_group: usize,
    pub(super) min_idle: usize,
    pub(super) max_waiting: usize,
    pub(super) max_connecting: usize,
    pub(super) acquire_timeout: Option<Duration>,
    pub(super) query_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) ping_after_idle: Option<Duration>,
    pub(super) ping_timeout: Duration,
    pub(super) clean_up_timeout: Duration,
    pub(super) leak_warning: Option<Duration>,
    pub(super) max_hold: Option<Duration>,
    pub(super) session_reset: SessionReset,
    pub(super) after_connect: Option<Hook>,
}

impl Options {
    /// Fails if they contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::config(what));
        check_limit(self.limit)?;
        if self.min_idle > self.limit {
            return wrong("min_idle: there can't be more idle connections than the limit allows");
        }
        if self.lanes.is_some_and(|lanes| lanes > self.limit) {
            return wrong("lanes: there can't be more lanes than the limit allows");
        }
        if self.largest_group == 0 {
            return wrong("largest_group: there must be at least 1 select in a group; lanes = 0 shares none");
        }
        if self.max_connecting == 0 {
            return wrong("max_connecting: at least 1 connection must be opened at a time");
        }
        for (name, limit) in
            [("ping_timeout", self.ping_timeout), ("clean_up_timeout", self.clean_up_timeout)]
        {
            if limit.is_zero() {
                return wrong(&format!("{name}: must be longer than nothing"));
            }
        }
        for (name, limit) in [
            ("max_lifetime", self.max_lifetime),
            ("idle_timeout", self.idle_timeout),
            ("ping_after_idle", self.ping_after_idle),
            ("leak_warning", self.leak_warning),
            ("max_hold", self.max_hold),
        ] {
            if limit == Some(Duration::ZERO) {
                return wrong(&format!("{name}: must be longer than nothing; None is no limit"));
            }
        }
        Ok(())
    }
}

/// Fails if there can't be so many connections: the words of `stats` count no further.
pub(super) fn check_limit(limit: usize) -> Result<()> {
    match limit {
        0 => Err(Error::config("limit: a pool needs at least 1 connection")),
        1..=4_095 => Ok(()),
        _ => Err(Error::config("limit: a pool has at most 4,095 connections")),
    }
}

/// A longer life is meant as "for ever" and would overflow some clocks.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// So many selects are out on a lane at the same time, unless a single group may be larger.
const MOST_OUT: usize = 64;

impl From<&Options> for Limits {
    fn from(options: &Options) -> Limits {
        Limits {
            connections: options.limit,
            opening: options.max_connecting,
            waiting: options.max_waiting,
            lanes: options.lanes.unwrap_or(usize::MAX),
            group: options.largest_group.max(MOST_OUT),
            min_idle: options.min_idle,
            lifetime: options.max_lifetime.map(|lifetime| lifetime.min(LONGEST)),
            idle: options.idle_timeout,
            ping: options.ping_after_idle,
            leak: options.leak_warning,
            hold: options.max_hold,
        }
    }
}
