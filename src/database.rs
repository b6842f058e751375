//! A database by the name of its setting. Uses: application, call, connection, declared, error, params, pool, query, script, sql, transaction.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::application::{self, Source};
use crate::call::{Lender, Runner};
use crate::declared::Declared;
use crate::error::Result;
use crate::params::Params;
use crate::pool::{Pool, PoolBuilder};
use crate::query::{Query, executors};
use crate::script::Script;
use crate::sql::Sql;
use crate::transaction::Tx;

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
        script.run(&*self.pool()?.connection()?)
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
    pub fn script_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let script = Script::read(path.as_ref())?;
        script.run(&*self.pool()?.connection()?)
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
    pub fn transaction<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.pool()?.connection()?.transaction(function)
    }
}

impl Database {
    /// SKELETON
    pub fn transaction_with<R, E: From<crate::Error> + 'static>(
        &self,
        options: &crate::TxOptions,
        function: impl Fn(&Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        self.pool()?.connection()?.transaction_with(options, function)
    }

    /// SKELETON
    pub fn rolled_back<R>(&self, function: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        self.transaction(function)
    }
}

/// SKELETON
pub fn transaction<R, E: From<crate::Error> + 'static>(
    database: &Database,
    options: &'static crate::TxOptions,
    function: impl Fn(&Tx) -> Result<R, E>,
) -> Result<R, E> {
    database.transaction_with(options, function)
}

/// SKELETON
pub fn transaction_once<R, E: From<crate::Error> + 'static>(
    database: &Database,
    _options: &'static crate::TxOptions,
    function: impl FnOnce(&Tx) -> Result<R, E>,
) -> Result<R, E> {
    let mut kept = None;
    let result = database.transaction(|q| {
        function(q).map_err(|error| {
            kept = Some(error);
            crate::Error::usage("rolled back")
        })
    });
    result.map_err(|error| kept.unwrap_or_else(|| error.into()))
}

/// SKELETON
pub fn within<R, E: From<crate::Error> + 'static>(
    q: &Tx,
    options: &'static crate::TxOptions,
    function: impl FnOnce(&Tx) -> Result<R, E>,
) -> Result<R, E> {
    q.savepoint_with(options, function)
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
