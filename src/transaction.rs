//! All or nothing: a function whose statements take effect together. Uses: call, connection, deadline, error, params, query, script, sql.

mod options;

use std::fmt;
use std::panic::Location;
use std::path::Path;

use crate::call::Runner;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Result};
use crate::params::Params;
use crate::query::executors;
use crate::script::Script;
use crate::sql::Sql;

pub use options::{Isolation, TxOptions};

/// A transaction under way: what a transaction function queries with.
///
/// It ends with the function that was given it: committed if that returns `Ok`, else rolled back.
pub struct Tx {
    connection: Connection,
}

impl Tx {
    /// A query inside the transaction. Nothing happens until a terminal runs it.
    #[track_caller]
    pub fn query<'q, P: Params>(&'q self, sql: &'q str, params: P) -> Sql<'q, P> {
        Sql::new(Runner::Connection(&self.connection), sql, params, Location::caller())
    }

    /// Runs several statements inside the transaction, in one round trip. Results are thrown away.
    ///
    /// # Errors
    ///
    /// If a statement fails, the connection is lost, or the time limit passes.
    #[track_caller]
    pub fn script(&self, text: &str) -> Result<()> {
        Script::here(text, Location::caller()).run(&self.connection)
    }

    /// SKELETON
    pub fn savepoint<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.savepoint_with(&TxOptions::new(), function)
    }

    /// SKELETON
    pub fn savepoint_with<R, E: From<Error> + 'static>(
        &self,
        _options: &TxOptions,
        function: impl FnOnce(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        function(self)
    }

    /// SKELETON
    pub fn after_commit(&self, _function: impl FnOnce() + Send + 'static) {}

    /// SKELETON
    pub fn after_rollback(&self, _function: impl FnOnce() + Send + 'static) {}

    /// Runs the statements in a file inside the transaction; an error shows the file's own line and column.
    ///
    /// # Errors
    ///
    /// If the file can't be read, and as for [`script`](Tx::script).
    pub fn script_file(&self, path: impl AsRef<Path>) -> Result<()> {
        Script::read(path.as_ref())?.run(&self.connection)
    }
}

executors! { Tx: |this| Runner::Connection(&this.connection) }

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tx").field(&self.connection).finish()
    }
}

impl Connection {
    /// Runs a function inside a transaction: COMMIT if it returns `Ok`, else ROLLBACK.
    ///
    /// # Errors
    ///
    /// The function's own. Errors of BEGIN and COMMIT; [`Error::outcome`] tells whether a failed COMMIT rolled back
    /// or nobody knows, because the connection was lost while it was under way. A function that returns `Ok` although
    /// one of its statements had failed gets an error too: PostgreSQL rolls such a transaction back.
    ///
    /// # Cancel
    ///
    /// A cancel or panic inside the function rolls back, without waiting.
    pub fn transaction<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.settle(Deadline::after(self.timeout()))?;
        if self.in_transaction() {
            return Err(Error::usage("this connection is in a transaction already; they do not nest"));
        }
        let rollback = RollbackOnDrop { connection: self, armed: true };
        // Whatever became of BEGIN, nothing inside the transaction was sent.
        self.simple("BEGIN").map_err(|error| error.with_outcome(Outcome::NotSent))?;
        match function(&Tx { connection: self.sibling() }) {
            Ok(value) => {
                rollback.disarm();
                self.commit().map(|()| value)
            }
            Err(error) => {
                rollback.disarm();
                if let Err(failed) = self.roll_back() {
                    log::warn!(target: "maypole::transaction", "ROLLBACK failed, the connection is closed: {failed}");
                    self.link().kill(failed);
                }
                Err(error.rolled_back())
            }
        }
    }

    fn commit(&self) -> Result<()> {
        match self.simple("COMMIT") {
            Ok(tag) if tag == "COMMIT" => Ok(()),
            // PostgreSQL's answer to COMMIT in a failed transaction (manual, COMMIT): no error, another tag.
            Ok(_) => Err(Error::commit(
                "the transaction was rolled back: one of its statements had failed, and its function returned Ok",
                Outcome::RolledBack,
            )),
            Err(error) => Err(match error.outcome() {
                Outcome::RolledBack => {
                    Error::commit("COMMIT failed, the transaction was rolled back", Outcome::RolledBack)
                }
                Outcome::NotSent => Error::commit(
                    "the connection was lost before COMMIT, the transaction was rolled back",
                    Outcome::NotSent,
                ),
                Outcome::Done | Outcome::Unknown => Error::commit(
                    "no answer to COMMIT came: the transaction may or may not have been committed",
                    Outcome::Unknown,
                ),
            }
            .caused_by(error)),
        }
    }

    fn roll_back(&self) -> Result<()> {
        if self.link().is_waiting() {
            // The reply of a statement that was given up is still on its way: do not wait for it, nor behind it.
            self.post_rollback();
            return Ok(());
        }
        if self.link().death().is_some() || !self.in_transaction() {
            return Ok(());
        }
        self.simple("ROLLBACK").map(|_| ())
    }
}

/// Rolls back on a panic or a cancel: posts the ROLLBACK and does not wait.
struct RollbackOnDrop<'c> {
    connection: &'c Connection,
    armed: bool,
}

impl RollbackOnDrop<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for RollbackOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.connection.post_rollback();
        }
    }
}

impl Connection {
    /// SKELETON
    pub fn transaction_with<R, E: From<Error> + 'static>(
        &self,
        _options: &TxOptions,
        function: impl Fn(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut kept = None;
        let result = self.transaction(|q| {
            function(q).map_err(|error| {
                kept = Some(error);
                Error::usage("rolled back")
            })
        });
        result.map_err(|error| kept.unwrap_or_else(|| error.into()))
    }
}
