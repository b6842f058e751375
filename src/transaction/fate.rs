//! What became of a transaction whose COMMIT was not answered. Uses: connection, coro, deadline, error, keeper, promise, sql.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{self, ASK_FATE, Connection, Link, Number};
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::keeper;
use crate::promise::{Waited, promise};

/// How long it is tried to find out: a server that restarts needs a while.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(50);

/// Ends the session that runs the transaction, and no other: a process number may have been given to somebody else, and
/// the activity view knows the lower half of the transaction's number.
const END: &str = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity \
     WHERE pid = $1 AND backend_xid::pg_catalog.text::pg_catalog.int8 \
     = $2::pg_catalog.text::pg_catalog.int8 % 4294967296";

/// Whether the transaction was committed; why nobody can tell. Asks on a new connection, which takes the place of the one that
/// was lost.
pub(super) fn look_up(lost: &Connection, number: &Number) -> Result<bool, String> {
    let until = Deadline::after(PATIENCE);
    loop {
        let why = match attempt(lost, number, until) {
            Ok(Fate::Committed) => return Ok(true),
            Ok(Fate::Aborted) => return Ok(false),
            Ok(Fate::Unknown(reason)) => return Err(reason.to_owned()),
            Err(error) => error,
        };
        if until.passed(Instant::now()) {
            return Err(why.to_string());
        }
        keeper::pause(Deadline::after(PAUSE));
    }
}

/// Where the other connection is, and what became of the transaction.
type Told = (Option<String>, Option<String>, Option<String>, Option<String>);

enum Fate {
    Committed,
    Aborted,
    Unknown(&'static str),
}

fn attempt(lost: &Connection, number: &Number, until: Deadline) -> Result<Fate> {
    let session = open(lost)?;
    let connection = Connection::new(session.0.clone(), until.left(Instant::now()));
    loop {
        let (cluster, timeline, life, status): Told = connection.query(ASK_FATE, (&*number.id,)).unique()?;
        let [its_cluster, its_timeline, its_life] = number.home.clone().map(Some);
        if (cluster, timeline) != (its_cluster, its_timeline) {
            return Ok(Fate::Unknown(
                "it is on another server, or on another timeline of it, where the number is another transaction's",
            ));
        }
        match status.as_deref() {
            // If the number was given out again, what it was given out for had not reached the disk.
            Some("aborted") => return Ok(Fate::Aborted),
            _ if life != its_life => {
                return Ok(Fate::Unknown(
                    "the server has crashed meanwhile, and the number may be another transaction's by now",
                ));
            }
            Some("committed") => return Ok(Fate::Committed),
            Some(_) => {}
            None => return Ok(Fate::Unknown("the server has forgotten transactions so old")),
        }
        // It still runs: the server has not noticed that the connection is lost, or COMMIT takes its time.
        let _: i64 = connection.query(END, (lost.process_id(), &*number.id)).value()?;
        if until.passed(Instant::now()) {
            return Ok(Fate::Unknown("the transaction is still in progress"));
        }
        keeper::pause(Deadline::after(PAUSE));
    }
}

/// Says goodbye when it is not needed any more.
struct Session(Arc<Link>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.end(Deadline::after(PATIENCE));
    }
}

fn open(lost: &Connection) -> Result<Session> {
    let (opened, claim) = promise();
    let (config, knowledge) = lost.origin();
    let started = connection::open(config, knowledge, move |result| {
        // If nobody waits any more the session ends with this.
        opened.keep(result.map(Session)).inspect(Waiter::wake);
    });
    started.map_err(|error| Error::connect("no coroutine could be started").caused_by(error))?;
    match claim.wait() {
        Waited::Value(result) => result,
        Waited::Overdue => Err(Error::connect("the connection was not opened in time")),
    }
}
