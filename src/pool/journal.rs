//! What a pool writes to the log, a function for each record. Uses: activity, connection, core, error.
//!
//! The target is `maypole::pool`. Each record has the keys `event` and `pool`, those about one connection also
//! `connection`, the number of its process on the server; the text says the same to a reader. docs/operating.md lists them.

use std::error::Error as StdError;
use std::fmt;
use std::iter;
use std::time::Duration;

use super::core::{Cause, Held};
use crate::connection::Activity;
use crate::error::Error;

const TARGET: &str = "maypole::pool";

pub(super) fn opened(pool: &str, connection: i32, took: Duration) {
    log::debug!(
        target: TARGET, event = "open", pool, connection, milliseconds = milliseconds(took);
        "pool {pool}: a connection was opened"
    );
}

pub(super) fn open_failed(pool: &str, error: &Error) {
    log::warn!(
        target: TARGET, event = "open_failed", pool, sqlstate = error.sqlstate(), cause:% = Chain(error);
        "pool {pool}: a connection could not be opened: {}", Chain(error)
    );
}

pub(super) fn closed(pool: &str, connection: i32, cause: Cause) {
    let cause = word(cause);
    log::debug!(target: TARGET, event = "close", pool, connection, cause; "pool {pool}: a connection leaves: {cause}");
}

/// All connections that there are will be replaced.
pub(super) fn renewed(pool: &str, generation: u64, cause: &str) {
    log::info!(
        target: TARGET, event = "generation", pool, generation, cause;
        "pool {pool}: all connections are replaced: {cause}"
    );
}

/// From now on callers are told of the failure at once.
pub(super) fn breaker_opened(pool: &str, failure: &Error) {
    log::error!(
        target: TARGET, event = "breaker", pool, open = true, cause:% = Chain(failure);
        "pool {pool}: no connection is left and none can be opened, callers are told so at once: {}", Chain(failure)
    );
}

/// Callers wait again.
pub(super) fn breaker_closed(pool: &str) {
    log::info!(target: TARGET, event = "breaker", pool, open = false; "pool {pool}: callers wait for connections again");
}

/// A lease has been held for longer than the leak warning allows.
pub(super) fn leaked(pool: &str, connection: i32, held: &Held, activity: &Activity) {
    let doing = match (activity.executing, &activity.statement) {
        (true, Some(statement)) => format!("it is executing {statement}"),
        (true, None) => "it is executing".to_owned(),
        (false, Some(statement)) => format!("it is idle; its last statement was {statement}"),
        (false, None) => "nothing was executed on it".to_owned(),
    };
    let seconds = held.age.as_secs();
    log::warn!(
        target: TARGET, event = "leak", pool, connection, seconds, site = site(held).as_deref(), executing = activity.executing,
        statement = activity.statement.as_deref();
        "pool {pool}: a lease has been held for {seconds} s{}: {doing}", taken_at(held)
    );
}

/// Nobody can give a lease back any more.
pub(super) fn lost(pool: &str, connection: i32, held: &Held, cause: &str) {
    log::error!(
        target: TARGET, event = "lost", pool, connection, site = site(held).as_deref(), cause;
        "pool {pool}: a lease is lost{}: {cause}; its connection is closed", taken_at(held)
    );
}

pub(super) fn revoked(pool: &str, connection: i32, held: &Held, cause: &str) {
    log::warn!(
        target: TARGET, event = "revoked", pool, connection, site = site(held).as_deref(), cause;
        "pool {pool}: a lease is revoked{}: {cause}", taken_at(held)
    );
}

/// Where the lease was taken, for the end of a sentence.
pub(super) fn taken_at(held: &Held) -> String {
    site(held).map(|site| format!(", taken at {site}")).unwrap_or_default()
}

fn site(held: &Held) -> Option<String> {
    held.borrower.site.map(ToString::to_string)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error with all of its causes, in one line: the first tells where it failed, the last tells why.
struct Chain<'e>(&'e Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = iter::successors(Some(self.0 as &dyn StdError), |error| (*error).source());
        for (depth, error) in causes.enumerate() {
            f.write_str(if depth == 0 { "" } else { ": " })?;
            let text = error.to_string();
            for (number, line) in text.lines().enumerate() {
                f.write_str(if number == 0 { "" } else { " " })?;
                f.write_str(line.trim())?;
            }
        }
        Ok(())
    }
}

/// The same words as the fields of [`Closes`](super::Closes).
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Broken => "broken",
        Cause::Unclean => "unclean",
        Cause::Lifetime => "lifetime",
        Cause::Idle => "idle",
        Cause::Cleared => "cleared",
        Cause::Surplus => "surplus",
        Cause::Revoked => "revoked",
        Cause::Closed => "with_pool",
    }
}
