//! A database by the name of its setting. Uses: application, call, connection, declared, embedded, error, guard, params, pool, query, script, sql, transaction.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::application::{self, Source};
use crate::call::{Lender, Runner, outside};
use crate::declared::Declared;
use crate::error::{Error, Result};
use crate::guard;
use crate::params::Params;
use crate::pool::{Lease, Pool, PoolBuilder};
use crate::query::{Query, executors};
use crate::script::Script;
use crate::sql::Sql;
use crate::transaction::{End, Place, Tx, TxOptions, once, run};

/// A database, known by the name of a setting in `app.toml`. Opens nothing until it is first used.
///
/// ```no_run
/// use maypole::{Database, Result};
///
/// static DB: Database = Database::named("database");
///
/// fn main() -> Result<()> {
///     let count: i64 = DB.query("SELECT count(*) FROM customers", ()).value()?;
///     println!("{count} customers");
///     Ok(())
/// }
/// ```
///
/// The settings file is found upward from the working directory, or named by `MAYPOLE_SETTINGS`. Its sections are
/// environments; `MAYPOLE_ENV` picks one, `default` if unset:
///
/// ```toml
/// [default]
/// database = "embedded"
/// [production]
/// database = { url = "postgres://app@db/shop", limit = 20 }
/// ```
pub struct Database {
    name: &'static str,
    source: OnceLock<Arc<Source>>,
}

impl Database {
    /// The database with this setting. Databases of the same name share one pool.
    pub const fn named(setting: &'static str) -> Database {
        Database { name: setting, source: OnceLock::new() }
    }

    /// The name of its setting.
    pub(crate) fn setting(&self) -> &'static str {
        self.name
    }

    /// Its pool; made now if this is the first use.
    ///
    /// # Errors
    ///
    /// If there is no settings file, it is wrong, or the embedded server does not start. The next call tries again.
    pub fn pool(&self) -> Result<&Pool> {
        self.source.get_or_init(|| application::source(self.name)).pool()
    }

    /// Makes its pool now, with what the settings say, changed by the program: hooks, or limits from a command line.
    ///
    /// ```no_run
    /// # static DB: maypole::Database = maypole::Database::named("database");
    /// # fn main() -> maypole::Result<()> {
    /// DB.configure(|pool| pool.after_connect(|connection| connection.script("SET search_path = shop")))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`pool`](Database::pool), and if the pool has been started already.
    pub fn configure(
        &self,
        change: impl FnOnce(PoolBuilder) -> PoolBuilder + Send + 'static,
    ) -> Result<&Pool> {
        self.source.get_or_init(|| application::source(self.name)).configure(change)
    }

    /// A query on a connection that is lent for it, with the values of `$1, $2 …` as a tuple. Nothing happens until a
    /// terminal runs it.
    #[track_caller]
    pub fn query<'q, P: Params>(&'q self, sql: &'q str, params: P) -> Sql<'q, P> {
        Sql::new(Runner::Lender(self), sql, params, Location::caller())
    }

    /// Runs several statements, separated by semicolons, in one round trip and atomically: PostgreSQL wraps them into
    /// one transaction unless they contain their own BEGIN and COMMIT. Results are thrown away.
    ///
    /// Never put values into the text: there is no escaping here. Use [`query`](Database::query) with parameters.
    ///
    /// # Errors
    ///
    /// If a statement fails (then none has had an effect), the connection is lost, or the time limit passes.
    #[track_caller]
    pub fn script(&self, text: &str) -> Result<()> {
        let script = Script::here(text, Location::caller());
        script.run(&*self.lease_for_script()?)
    }

    /// Runs the statements in a file, as [`script`](Database::script) does; an error shows the file's own line and column.
    ///
    /// ```no_run
    /// # static DB: maypole::Database = maypole::Database::named("database");
    /// # fn main() -> maypole::Result<()> {
    /// DB.script_file("sql/schema.sql")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the file can't be read, and as for `script`.
    #[track_caller]
    pub fn script_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let script = Script::read(path.as_ref())?;
        script.run(&*self.lease_for_script()?)
    }

    /// Runs a function inside a transaction on a connection that is lent for it: COMMIT if it returns `Ok`, else ROLLBACK.
    ///
    /// # Errors
    ///
    /// As for [`Connection::transaction`](crate::Connection::transaction).
    ///
    /// ```
    /// # fn pay(db: &maypole::Database) -> maypole::Result<()> {
    /// db.transaction(|q| {
    ///     q.query("UPDATE accounts SET balance = balance - 10 WHERE id = $1", (1,)).run()?;
    ///     q.query("UPDATE accounts SET balance = balance + 10 WHERE id = $1", (2,)).run()?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn transaction<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.transaction_once(&TxOptions::new(), function)
    }

    /// With options, and called once.
    #[track_caller]
    pub(crate) fn transaction_once<R, E: From<Error> + 'static>(
        &self,
        options: &TxOptions,
        function: impl FnOnce(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        run(Place::Pool(self.pool()?, Location::caller()), options, End::Commit, &mut once(function))
    }

    /// Runs a function inside a transaction with options: isolation, retries, a deadline. The function's errors may be of
    /// any type that has room for ours.
    ///
    /// ```
    /// # use maypole::{Database, Isolation, TxOptions};
    /// #[derive(Debug)]
    /// enum Refused {
    ///     TooPoor,
    ///     Failed(maypole::Error),
    /// }
    ///
    /// impl From<maypole::Error> for Refused {
    ///     fn from(error: maypole::Error) -> Refused {
    ///         Refused::Failed(error)
    ///     }
    /// }
    ///
    /// # fn pay(db: &Database) -> Result<(), Refused> {
    /// let options = TxOptions::new().isolation(Isolation::Serializable).retries(3);
    /// db.transaction_with(&options, |q| {
    ///     let balance: i64 = q.query("SELECT balance FROM accounts WHERE id = $1", (1,)).value()?;
    ///     if balance < 10 {
    ///         return Err(Refused::TooPoor);
    ///     }
    ///     q.query("UPDATE accounts SET balance = balance - 10 WHERE id = $1", (1,)).run()?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Connection::transaction_with`](crate::Connection::transaction_with). While an attempt waits for its turn
    /// the connection is back in the pool.
    #[track_caller]
    pub fn transaction_with<R, E: From<Error> + 'static>(
        &self,
        options: &TxOptions,
        function: impl Fn(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        run(Place::Pool(self.pool()?, Location::caller()), options, End::Commit, &mut &function)
    }

    /// Runs a function inside a transaction and rolls back whatever it did: for tests.
    ///
    /// Transaction functions are called with their `within`. Deferred constraints are looked at before the rollback, so what
    /// would fail at COMMIT fails here. Nothing that was asked for with [`Tx::after_commit`] is called.
    ///
    /// ```
    /// # fn try_it(db: &maypole::Database) -> maypole::Result<()> {
    /// let count: i64 = db.rolled_back(|q| {
    ///     q.query("DELETE FROM customers", ()).run()?;
    ///     q.query("SELECT count(*) FROM customers", ()).value()
    /// })?;
    /// assert_eq!(count, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`transaction`](Database::transaction).
    #[track_caller]
    pub fn rolled_back<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        run(
            Place::Pool(self.pool()?, Location::caller()),
            &TxOptions::new(),
            End::RollBack,
            &mut once(function),
        )
    }

    /// The same with options, such as the isolation that the functions under test want, and errors of any type.
    ///
    /// # Errors
    ///
    /// As for [`transaction_with`](Database::transaction_with).
    #[track_caller]
    pub fn rolled_back_with<R, E: From<Error> + 'static>(
        &self,
        options: &TxOptions,
        function: impl Fn(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        run(Place::Pool(self.pool()?, Location::caller()), options, End::RollBack, &mut &function)
    }

    /// A connection for a script; not beside a transaction under way.
    #[track_caller]
    fn lease_for_script(&self) -> Result<Lease> {
        let pool = self.pool()?;
        match guard::inside(pool.identity()) {
            None => pool.connection(),
            Some(transaction) => {
                Err(outside(transaction, "q.script(…), or borrow a connection with pool() if you mean it"))
            }
        }
    }
}

executors! { Database: |this| Runner::Lender(this) }

/// What a function with `#[select]` or `#[query]` calls.
pub fn query<'q, T, P: Params + 'q>(
    database: &'q Database,
    declared: &'static Declared,
    params: P,
) -> Query<'q, T> {
    Query::new(Runner::Lender(database), declared, Box::new(params))
}

impl Lender for Database {
    fn pool(&self) -> Result<&Pool> {
        Database::pool(self)
    }
}

/// A database without a setting, for programs that build their pools themselves.
impl From<Pool> for Database {
    fn from(pool: Pool) -> Database {
        Database { name: "", source: OnceLock::from(Source::ready(pool)) }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::embedded::Server;
    use crate::error::Outcome;

    /// What no other pool has (research on pools, section 6, number 11): one retry of what provably was not sent.
    #[test]
    fn what_was_not_sent_because_its_connection_had_ended_is_sent_on_another_once() {
        let server = Server::start().expect("a server");
        let pool = Pool::builder().url(&server.url()).expect("its address").limit(2).build().expect("a pool");
        let db = Database::from(pool.clone());
        let ask = |number: i32| db.query("SELECT $1::int4", (number,)).value::<i32>();
        assert_eq!(ask(1).expect("an answer"), 1);
        pool.end_unnoticed();
        assert_eq!(ask(2).expect("a known statement, on another connection"), 2);
        assert_eq!((pool.stats().opened, pool.stats().closes.broken), (2, 1));
        pool.end_unnoticed();
        let new = db.query("SELECT 'new'", ()).value::<String>();
        assert_eq!(new.expect("a statement that nobody knows yet"), "new");
        pool.end_unnoticed();
        let rows = db.query("SELECT generate_series(1, 3)", ()).iter::<i32>();
        assert_eq!(rows.collect::<Result<Vec<_>>>().expect("a stream"), [1, 2, 3]);
        assert_eq!((pool.stats().opened, pool.stats().closes.broken), (4, 3));
        // A lease is one session: what is asked of it goes to no other.
        let lease = pool.connection().expect("a connection");
        lease.link().die_unnoticed();
        let error = lease.query("SELECT 4", ()).value::<i32>().expect_err("its session is gone");
        assert_eq!((error.outcome(), error.is_closed()), (Outcome::NotSent, true), "{error:?}");
        drop(lease);
        assert_eq!((pool.stats().opened, pool.stats().lent), (4, 0));
        pool.close(None);
    }
}
