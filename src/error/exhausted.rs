//! Why the pool had no connection for a caller. Uses: nothing.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// What the pool looked like when a caller got no connection: see [`Error::exhausted`](crate::Error::exhausted).
///
/// ```
/// # fn handle(error: &maypole::Error) {
/// if let Some(pool) = error.exhausted() {
///     eprintln!("{} of {} lent, {} wait", pool.lent, pool.limit, pool.waiting);
///     if let Some(site) = pool.oldest_lease.and_then(|lease| lease.site) {
///         eprintln!("the oldest lease was taken at {site}");
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// How long the caller had waited in the queue.
    pub waited: Duration,
    /// Connections with a borrower.
    pub lent: usize,
    /// Connections that carry groups of selects.
    pub lanes: usize,
    /// Clean and ready connections: lent to others in the meantime, or held back because the pool is paused.
    pub idle: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections being cleaned, or asked for a sign of life.
    pub cleaning: usize,
    /// How many connections there may be.
    pub limit: usize,
    /// Callers in the queue, without the one that got this error.
    pub waiting: usize,
    /// Whether the pool is paused.
    pub paused: bool,
    /// The lease that has been held for longest.
    pub oldest_lease: Option<HeldLease>,
    /// What the caller itself, this coroutine or thread, has borrowed from this pool and not given back.
    pub own_lease: Option<HeldLease>,
}

/// A lease that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// Where in the program it was taken; `None` for a query of its own, which borrows without a lease.
    pub site: Option<&'static Location<'static>>,
    /// For how long, at least: leases are looked at about once a second.
    pub age: Duration,
}

impl HeldLease {
    pub(crate) fn new(site: Option<&'static Location<'static>>, age: Duration) -> HeldLease {
        HeldLease { site, age }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exhausted { lent, lanes, idle, opening, cleaning, limit, waiting, .. } = self;
        let callers = if *waiting == 1 { "other caller waits" } else { "other callers wait" };
        write!(
            f,
            "{lent} of {limit} connections are lent, {idle} idle, {opening} being opened, {cleaning} being cleaned"
        )?;
        if *lanes > 0 {
            write!(f, ", {lanes} shared by selects")?;
        }
        write!(f, "; {waiting} {callers}")?;
        if self.paused {
            f.write_str("; the pool is paused: resume() ends that")?;
        }
        if let Some(lease) = &self.oldest_lease {
            write!(f, "; the oldest lease {lease}")?;
        }
        if let Some(lease) = &self.own_lease {
            let site = lease.site.map(|site| format!(", taken at {site}")).unwrap_or_default();
            write!(f, "; the caller itself already holds a lease{site}: give it back first, or query on it")?;
        }
        Ok(())
    }
}

impl fmt::Display for HeldLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.age.as_secs() {
            0 => f.write_str("has been held for a second or less")?,
            seconds => write!(f, "has been held for {seconds} s")?,
        }
        match self.site {
            Some(site) => write!(f, ", taken at {site}"),
            None => f.write_str(", by a query of its own"),
        }
    }
}
