//! All or nothing: a function whose statements take effect together.
//! Uses: attempt, call, connection, deadline, error, guard, keeper, options, params, pool, query, retry, script, sql.

mod attempt;
mod fate;
mod options;
mod retry;

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::call::Runner;
use crate::connection::{Connection, MOST_SAVEPOINTS, Terms};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, Phase, Result, Within};
use crate::guard;
use crate::keeper;
use crate::params::Params;
use crate::pool::Pool;
use crate::query::executors;
use crate::script::Script;
use crate::sql::Sql;

use attempt::{Attempt, Ended};
pub use options::{Isolation, TxOptions};
use retry::{Retries, jitter};

/// A transaction under way: what a transaction function queries with.
///
/// It ends with the function that was given it: committed if that returns `Ok`, else rolled back.
///
/// BEGIN goes to the server with the first statement, in the same round trip; a transaction in which nothing is asked costs
/// none. The same is true of savepoints.
pub struct Tx {
    connection: Connection,
    isolation: Option<Isolation>,
    end: End,
    hooks: RefCell<Hooks>,
}

type Hook = Box<dyn FnOnce() + Send>;

/// What is to be called when the transaction is over.
#[derive(Default)]
struct Hooks {
    commit: Vec<Hook>,
    /// And whether a savepoint has undone what was done before: then it is called whatever becomes of the rest.
    rollback: Vec<(Hook, bool)>,
}

impl Hooks {
    fn committed(self) -> Vec<Hook> {
        let undone = self.rollback.into_iter().filter_map(|(hook, undone)| undone.then_some(hook));
        undone.chain(self.commit).collect()
    }

    fn rolled_back(self) -> Vec<Hook> {
        self.rollback.into_iter().map(|(hook, _)| hook).collect()
    }
}

impl Tx {
    fn new(connection: Connection, isolation: Option<Isolation>, end: End) -> Tx {
        Tx { connection, isolation, end, hooks: RefCell::default() }
    }

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

    /// Runs the statements in a file inside the transaction; an error shows the file's own line and column.
    ///
    /// # Errors
    ///
    /// If the file can't be read, and as for [`script`](Tx::script).
    pub fn script_file(&self, path: impl AsRef<Path>) -> Result<()> {
        Script::read(path.as_ref())?.run(&self.connection)
    }

    /// Runs a function in a savepoint: if it returns an error, what it did is undone and the transaction goes on.
    ///
    /// The savepoint is set with the function's first statement, in the same round trip, and released with whatever comes
    /// next. Only undoing costs a round trip of its own.
    ///
    /// ```
    /// # fn save(db: &maypole::Database) -> maypole::Result<()> {
    /// db.transaction(|q| {
    ///     q.query("INSERT INTO orders (id) VALUES ($1)", (7,)).run()?;
    ///     let noted = q.savepoint(|q| q.query("INSERT INTO notes (id) VALUES ($1)", (7,)).run());
    ///     if noted.is_err_and(|error| error.is_integrity_violation()) {
    ///         q.query("UPDATE notes SET orders = orders + 1 WHERE id = $1", (7,)).run()?;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The function's own; one if it returned `Ok` although one of its statements had failed, which undoes the savepoint
    /// too; if 64 savepoints are open already.
    ///
    /// # Cancel
    ///
    /// A cancel rolls back the whole transaction. So does a panic, unless it is caught around the savepoint: then what
    /// the function did is undone.
    pub fn savepoint<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.savepoint_with(&TxOptions::new(), function)
    }

    /// The same for a function with options and errors of its own: what `within` of a transaction function does.
    ///
    /// Retries, `read_only`, `deferrable` and `confirm_commit` are for the whole transaction, and are left to it: a function that
    /// is `read_only` can write within another that is not. A deadline holds for the part.
    ///
    /// # Errors
    ///
    /// As for [`savepoint`](Tx::savepoint); if the function is `durable`, or wants a stricter isolation than the
    /// transaction has. One that was not given any is taken for READ COMMITTED.
    pub fn savepoint_with<R, E: From<Error> + 'static>(
        &self,
        options: &TxOptions,
        function: impl FnOnce(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        self.refuse_savepoint(options)?;
        let savepoint = attempt::Savepoint::set(&self.connection, options);
        let tx = Tx::new(self.connection.sibling(), self.isolation, self.end);
        let result = function(&tx);
        let Hooks { commit, rollback } = tx.hooks.into_inner();
        let end = |undone: bool| {
            let rollback = rollback.into_iter().map(|(hook, before)| (hook, undone || before));
            self.hooks.borrow_mut().rollback.extend(rollback);
        };
        match result {
            Ok(value) => {
                let kept = savepoint.keep();
                end(kept.is_err());
                kept?;
                self.hooks.borrow_mut().commit.extend(commit);
                Ok(value)
            }
            Err(mut error) => {
                end(true);
                let within = savepoint.undo();
                if let (Some(error), Some(within)) = (own(&mut error), within) {
                    error.rolled_back(within);
                }
                Err(error)
            }
        }
    }

    fn refuse_savepoint(&self, options: &TxOptions) -> Result<()> {
        if let Some(failure) = self.connection.with_block(|block, status| block.failed_with(status)).flatten()
        {
            let message = "the transaction has failed before, and nothing runs in it any more";
            let error = Error::usage(message).caused_by(failure);
            return Err(match self.connection.with_block(|block, _| block.within()) {
                Some(within) => error.in_transaction(within),
                None => error,
            });
        }
        let name = options.name.unwrap_or("the function");
        // In a test nothing is kept, and what is durable is tried like anything else.
        if options.durable && self.end == End::Commit {
            return Err(Error::usage(format!(
                "{name} is durable: within another transaction, which may roll back, it can't keep what it did; call it \
                 outside"
            )));
        }
        let has = self.isolation.unwrap_or(Isolation::ReadCommitted);
        match options.isolation {
            Some(wanted) if wanted > has => Err(Error::usage(format!(
                "{name} wants the isolation level {}, and the transaction that it is to be a part of has {}: give that \
                 transaction the stricter one",
                wanted.words(),
                has.words()
            ))),
            // Counted for the transaction: an outer one may be what it is called on, once more.
            _ if self.connection.with_block(|block, _| block.level()) >= Some(MOST_SAVEPOINTS) => {
                Err(Error::usage(format!(
                    "{MOST_SAVEPOINTS} savepoints are open, one within the other: that is too many"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Calls a function once the transaction is committed: for effects outside of the database, such as sending a mail.
    ///
    /// It is called when the connection is back in the pool, so it may query; on a connection that the program holds, that is
    /// held still. Several are called in the order in which they were asked for. If one panics, so does the call, although the
    /// transaction is committed, and those behind it are not called.
    ///
    /// It is not called if the transaction, or the savepoint in which it was asked for, is rolled back, if nobody knows whether
    /// it was committed, if the function panics or its coroutine is cancelled.
    pub fn after_commit(&self, function: impl FnOnce() + Send + 'static) {
        self.hooks.borrow_mut().commit.push(Box::new(function));
    }

    /// Calls a function once what was done so far is rolled back, and the transaction over; of a transaction that is
    /// retried, after each attempt. Asked for in a savepoint that was undone, it is called although the transaction is
    /// committed.
    ///
    /// It is not called if nobody knows whether it was, if the function panics or its coroutine is cancelled.
    pub fn after_rollback(&self, function: impl FnOnce() + Send + 'static) {
        self.hooks.borrow_mut().rollback.push((Box::new(function), false));
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
    /// one of its statements had failed gets an error too, with that failure as its cause: PostgreSQL rolls such a
    /// transaction back.
    ///
    /// # Cancel
    ///
    /// A cancel or panic inside the function rolls back, without waiting.
    pub fn transaction<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        run(Place::Connection(self), &TxOptions::new(), End::Commit, &mut once(function))
    }

    /// Runs a function inside a transaction with options: isolation, retries, a deadline. The function's errors may be of
    /// any type that has room for ours.
    ///
    /// # Errors
    ///
    /// As for [`transaction`](Connection::transaction). If it was retried, the last error, with those before in
    /// [`Error::earlier`] where the type is ours.
    ///
    /// # Cancel
    ///
    /// As for [`transaction`](Connection::transaction); between two attempts it takes effect at once.
    pub fn transaction_with<R, E: From<Error> + 'static>(
        &self,
        options: &TxOptions,
        function: impl Fn(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        run(Place::Connection(self), options, End::Commit, &mut &function)
    }
}

/// Where a transaction runs.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// On a connection that is lent for each attempt; and where in the program that was asked for.
    Pool(&'a Pool, &'static Location<'static>),
    Connection(&'a Connection),
}

/// What becomes of it if all goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    RollBack,
}

/// A function that can be called once, where one that is called again and again is taken.
pub(crate) fn once<R, E: From<Error>>(
    function: impl FnOnce(&Tx) -> Result<R, E>,
) -> impl FnMut(&Tx) -> Result<R, E> {
    let mut function = Some(function);
    move |q| match function.take() {
        Some(function) => function(q),
        None => Err(Error::usage("a function that can be called only once can't be retried").into()),
    }
}

/// The error as ours, if it is.
fn own<E: 'static>(error: &mut E) -> Option<&mut Error> {
    (error as &mut dyn Any).downcast_mut::<Error>()
}

/// Runs a transaction, again and again if that is wanted and helps.
pub(crate) fn run<R, E: From<Error> + 'static>(
    place: Place<'_>,
    options: &TxOptions,
    end: End,
    function: &mut dyn FnMut(&Tx) -> Result<R, E>,
) -> Result<R, E> {
    options.check()?;
    place.refuse_inside(options)?;
    let deadline = Deadline::after(options.deadline);
    let mut retries = Retries::new(options.retries, options.retry_on);
    let mut earlier = Vec::new();
    loop {
        let terms = Terms {
            begin: options.begin(),
            name: options.name,
            attempt: retries.attempt(),
            of: retries.attempts(),
            deadline,
            limit: options.deadline,
            numbered: options.confirm_commit && !options.read_only,
        };
        let ended = match place {
            // The lease is gone before anything is called that may want one.
            Place::Pool(pool, site) => {
                match pool.connection_at(shorter(pool.acquire_timeout(), deadline), site) {
                    Ok(lease) => Attempt { connection: &lease, options, end, deadline }.make(terms, function),
                    Err(error) => Ended::unmade(overdue(error, options, deadline).into()),
                }
            }
            Place::Connection(connection) => {
                Attempt { connection, options, end, deadline }.make(terms, function)
            }
        };
        let (mut error, failure) = match ended {
            Ended::Done(value, hooks) => {
                hooks.into_iter().for_each(|hook| hook());
                return Ok(value);
            }
            Ended::Failed(error, failure, hooks) => {
                hooks.into_iter().for_each(|hook| hook());
                (error, failure)
            }
        };
        let again = retries.after(failure.as_ref().and_then(retry::Failure::of)).map(jitter);
        let (Some(wait), Some(failure)) = (again, failure) else {
            if let Some(error) = own(&mut error) {
                error.follows(earlier);
            }
            return Err(error);
        };
        let next = Deadline::after(wait);
        if deadline.min(next) == deadline && !deadline.is_never() {
            return Err(too_late(options.deadline, failure, earlier).into());
        }
        log::debug!(
            target: "maypole::transaction",
            transaction = options.name.unwrap_or(""), attempt = retries.attempt() - 1, code = failure.sqlstate().unwrap_or("");
            "a transaction is tried again in {wait:?}: {failure}"
        );
        earlier.push(failure);
        keeper::pause(next);
    }
}

fn too_late(limit: Option<Duration>, failure: Error, earlier: Vec<Error>) -> Error {
    let within = failure.within();
    let detail = "no time is left for another attempt; it was rolled back";
    let mut error = Error::timeout(Phase::Transaction, limit, detail, Outcome::RolledBack).caused_by(failure);
    error.follows(earlier);
    match within {
        Some(within) => error.in_transaction(within),
        None => error,
    }
}

/// No connection was lent, because the deadline of the transaction passed first.
fn overdue(error: Error, options: &TxOptions, deadline: Deadline) -> Error {
    if error.phase() != Some(Phase::Queue) || !deadline.passed(Instant::now()) {
        return error;
    }
    let detail = "it had to wait for a connection, and nothing was sent";
    // No block has come into being, so it has no number.
    let within = Within { id: u64::MAX, name: options.name, attempt: 1, of: 1 };
    let overdue = Error::timeout(Phase::Transaction, options.deadline, detail, Outcome::NotSent);
    overdue.caused_by(error).in_transaction(within)
}

/// The shorter of a limit and what is left until the deadline.
fn shorter(limit: Option<Duration>, deadline: Deadline) -> Option<Duration> {
    match (limit, deadline.left(Instant::now())) {
        (Some(limit), Some(left)) => Some(limit.min(left)),
        (limit, left) => limit.or(left),
    }
}

impl Place<'_> {
    /// What it is called where transactions under way are marked.
    fn refuse_inside(self, options: &TxOptions) -> Result<()> {
        let Place::Pool(pool, _) = self else { return Ok(()) };
        match guard::inside(pool.identity()) {
            Some(outer) if !options.outside => {
                let outer = outer.map_or_else(|| "that is under way".to_owned(), str::to_owned);
                let (what, write) = match options.name {
                    Some(name) => (format!("the transaction {name}"), format!("{name}::within(q, …)")),
                    None => ("a transaction".to_owned(), "q.savepoint(…)".to_owned()),
                };
                Err(Error::usage(format!(
                    "{what} would run outside the transaction {outer}; write {write} to make it a part of that, or give it \
                     the option outside, TxOptions::outside(), if you mean it"
                )))
            }
            _ => Ok(()),
        }
    }
}
