//! The one error type: what went wrong, where, and what is known of the effects. Uses: db_error, exhausted, query_context, within.

mod db_error;
mod exhausted;
mod query_context;
mod within;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub use db_error::DbError;
pub use exhausted::{Exhausted, HeldLease};
pub(crate) use query_context::{Place, QueryContext};
pub(crate) use within::Within;

/// What every fallible function of maypole returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of any crate, as a cause.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// What went wrong.
///
/// `Display` tells this level, [`source`](StdError::source) the next. What a program may want to know is asked
/// with methods ([`sqlstate`](Error::sqlstate), [`is_timeout`](Error::is_timeout),
/// [`outcome`](Error::outcome) …), so that a new cause is not a breaking change. No error prints a password
/// or the value of a parameter.
///
/// ```
/// # use maypole::{Database, Result};
/// # fn look(db: &Database) -> Result<Option<String>> {
/// match db.query("SELECT name FROM customers WHERE id = $1", (52,)).value::<String>() {
///     Ok(name) => Ok(Some(name)),
///     Err(error) if error.is_no_results() => Ok(None),
///     Err(error) => Err(error),
/// }
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    cause: Option<Cause>,
    query: Option<QueryContext>,
    within: Option<Within>,
    earlier: Vec<Error>,
    exhausted: Option<Exhausted>,
    outcome: Outcome,
}

/// The private list of causes.
#[allow(clippy::large_enum_variant, reason = "an error is boxed as a whole")]
pub(crate) enum Kind {
    /// A connection string or a setting is wrong.
    Config(String),
    /// No connection could be made.
    Connect(String),
    /// The server refused us, or asked for what we refuse.
    Authentication(String),
    /// The server answered with an error.
    Database(DbError),
    /// The server sent what the protocol does not allow.
    Protocol(String),
    /// The connection ended.
    Closed(String),
    /// A limit passed.
    Timeout(Timeout),
    /// `unique` or `value` found no row.
    NoResults,
    /// `unique` or `value` found more than one row.
    MultipleResults,
    /// The result does not have the shape that was asked for.
    Shape(String),
    /// A parameter could not be encoded.
    Parameter(String),
    /// The library was used in a way that can't work.
    Usage(String),
    /// The pool lends no more.
    Pool(String),
    /// COMMIT did not commit.
    Commit(String),
    /// The server passed it over, after an error before it.
    PassedOver,
    /// It would run outside of the transaction under way.
    Outside(String),
    /// An error of the user's own, carried through a transaction.
    User,
}

/// A limit that passed.
#[derive(Clone)]
pub(crate) struct Timeout {
    pub(crate) phase: Phase,
    pub(crate) limit: Option<Duration>,
    /// What the operator would look up next.
    pub(crate) detail: String,
}

/// The stage of an operation in which its time limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting in the pool's queue for a connection.
    Queue,
    /// Opening a connection: resolving, connecting, authenticating.
    Connect,
    /// Waiting for the reply to a query.
    Query,
    /// Starting the pool for the first time, the embedded server included.
    Start,
    /// A transaction, all its attempts together.
    Transaction,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Queue => "waiting for a connection of the pool",
            Phase::Connect => "opening a connection",
            Phase::Query => "waiting for the reply to a query",
            Phase::Start => "starting the pool",
            Phase::Transaction => "running a transaction",
        })
    }
}

/// What is known about the effects of the operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing of it was sent to the server: it may be done again without harm.
    NotSent,
    /// The server answered with an error, or rolled back: it had no effect.
    RolledBack,
    /// The server carried it out; what failed came afterwards, such as a result of another shape.
    Done,
    /// It was sent and no answer came: it may or may not have taken effect.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: Kind, outcome: Outcome) -> Error {
        let (earlier, exhausted) = (Vec::new(), None);
        Error(Box::new(Inner { kind, cause: None, query: None, within: None, earlier, exhausted, outcome }))
    }

    /// Wrong connection string or setting: says what would be right, never quotes the text.
    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(Kind::Config(message.into()), Outcome::NotSent)
    }

    pub(crate) fn connect(message: impl Into<String>) -> Error {
        Error::new(Kind::Connect(message.into()), Outcome::NotSent)
    }

    pub(crate) fn authentication(message: impl Into<String>) -> Error {
        Error::new(Kind::Authentication(message.into()), Outcome::NotSent)
    }

    pub(crate) fn database(error: DbError) -> Error {
        // With these the session ends, and they may hit after the commit and before its answer. A pooler sends one when
        // it has lost the server, and knows no more than we do.
        let farewell = matches!(error.severity(), "FATAL" | "PANIC");
        Error::new(Kind::Database(error), if farewell { Outcome::Unknown } else { Outcome::RolledBack })
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Error {
        Error::new(Kind::Protocol(message.into()), Outcome::Unknown)
    }

    pub(crate) fn closed(message: impl Into<String>, outcome: Outcome) -> Error {
        Error::new(Kind::Closed(message.into()), outcome)
    }

    pub(crate) fn timeout(
        phase: Phase,
        limit: Option<Duration>,
        detail: impl Into<String>,
        outcome: Outcome,
    ) -> Error {
        Error::new(Kind::Timeout(Timeout { phase, limit, detail: detail.into() }), outcome)
    }

    pub(crate) fn no_results() -> Error {
        Error::new(Kind::NoResults, Outcome::Done)
    }

    pub(crate) fn multiple_results() -> Error {
        Error::new(Kind::MultipleResults, Outcome::Done)
    }

    /// The result has another shape than the caller asked for.
    pub(crate) fn shape(message: impl Into<String>) -> Error {
        Error::new(Kind::Shape(message.into()), Outcome::Done)
    }

    pub(crate) fn parameter(message: impl Into<String>) -> Error {
        Error::new(Kind::Parameter(message.into()), Outcome::NotSent)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage(message.into()), Outcome::NotSent)
    }

    pub(crate) fn pool(message: impl Into<String>) -> Error {
        Error::new(Kind::Pool(message.into()), Outcome::NotSent)
    }

    pub(crate) fn commit(message: impl Into<String>, outcome: Outcome) -> Error {
        Error::new(Kind::Commit(message.into()), outcome)
    }

    /// The server passed it over.
    pub(crate) fn passed_over() -> Error {
        Error::new(Kind::PassedOver, Outcome::RolledBack)
    }

    /// Whether the server passed it over, so that something else is to blame.
    pub(crate) fn is_passed_over(&self) -> bool {
        matches!(self.0.kind, Kind::PassedOver)
    }

    /// Whether nothing of it left, because the connection that it was meant for had ended: another may take it.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self.0.kind, Kind::Closed(_)) && self.0.outcome == Outcome::NotSent
    }

    /// Tells what the pool looked like.
    pub(crate) fn with_exhausted(mut self, exhausted: Exhausted) -> Error {
        self.0.exhausted = Some(exhausted);
        self
    }

    /// What ran outside of the transaction under way, and what to write.
    pub(crate) fn outside(message: impl Into<String>) -> Error {
        Error::new(Kind::Outside(message.into()), Outcome::NotSent)
    }

    /// Carries an error of your own out of a transaction or out of `each`; [`source`](StdError::source) gives it back.
    ///
    /// Of its effects the library knows nothing ([`Outcome::Unknown`]) until a transaction has rolled back because of it.
    ///
    /// ```
    /// use std::error::Error as _;
    /// let error = maypole::Error::user(std::io::Error::other("no stock left"));
    /// assert!(error.source().unwrap().is::<std::io::Error>());
    /// ```
    pub fn user(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::new(Kind::User, Outcome::Unknown).caused_by(error.into())
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<Cause>) -> Error {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Error {
        self.0.outcome = outcome;
        self
    }

    /// Puts the place before what does not fit: a field, a column.
    #[cold]
    pub(crate) fn inside(mut self, place: &str, mark: &str) -> Error {
        if let Kind::Shape(message) = &mut self.0.kind {
            *message = format!("{place}{mark}{message}");
        }
        self
    }

    /// Tells in which row of the result the value is that can't be read; the first is row 1.
    #[cold]
    pub(crate) fn in_row(self, number: u64) -> Error {
        self.inside("row ", &format!("{number}: "))
    }

    /// Tells in which transaction it failed, unless that is known already.
    pub(crate) fn in_transaction(mut self, within: Within) -> Error {
        self.0.within.get_or_insert(within);
        self
    }

    /// Tells that this transaction was rolled back, if the error came up in it. A program's own may have come up anywhere,
    /// but it is why.
    pub(crate) fn rolled_back(&mut self, within: Within) {
        let own = matches!(self.0.kind, Kind::User);
        if !own && self.0.within.is_none_or(|other| other.id != within.id) {
            return;
        }
        if matches!(self.0.outcome, Outcome::Unknown | Outcome::Done) {
            self.0.outcome = Outcome::RolledBack;
            if let Kind::Timeout(timeout) = &mut self.0.kind {
                timeout.detail = "the statement was sent, and what it did is rolled back".into();
            }
        }
        self.0.within.get_or_insert(within);
    }

    /// Adds the failures of the attempts before, oldest first.
    pub(crate) fn follows(&mut self, mut earlier: Vec<Error>) {
        // Those of a transaction of another database, which ran inside, came later.
        earlier.append(&mut self.0.earlier);
        self.0.earlier = earlier;
    }

    /// In which transaction it failed.
    pub(crate) fn within(&self) -> Option<Within> {
        self.0.within
    }

    /// Which query failed.
    pub(crate) fn query(&self) -> Option<&QueryContext> {
        self.0.query.as_ref()
    }

    /// Tells how long the limit was that passed, unless that is known already.
    pub(crate) fn limited_to(mut self, limit: Option<Duration>) -> Error {
        if let Kind::Timeout(Timeout { limit: unknown @ None, .. }) = &mut self.0.kind {
            *unknown = limit;
        }
        self
    }

    /// Tells which query failed, unless that is known already.
    pub(crate) fn in_query(mut self, query: &QueryContext) -> Error {
        if self.0.query.is_none() {
            self.0.query = Some(query.clone());
        }
        self
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The same error for another caller: causes that cannot be copied are kept as text.
    pub(crate) fn duplicate(&self) -> Error {
        let kind = match &self.0.kind {
            Kind::Config(m) => Kind::Config(m.clone()),
            Kind::Connect(m) => Kind::Connect(m.clone()),
            Kind::Authentication(m) => Kind::Authentication(m.clone()),
            Kind::Database(e) => Kind::Database(e.clone()),
            Kind::Protocol(m) => Kind::Protocol(m.clone()),
            Kind::Closed(m) => Kind::Closed(m.clone()),
            Kind::Timeout(t) => Kind::Timeout(t.clone()),
            Kind::NoResults => Kind::NoResults,
            Kind::MultipleResults => Kind::MultipleResults,
            Kind::Shape(m) => Kind::Shape(m.clone()),
            Kind::Parameter(m) => Kind::Parameter(m.clone()),
            Kind::Usage(m) => Kind::Usage(m.clone()),
            Kind::Pool(m) => Kind::Pool(m.clone()),
            Kind::Commit(m) => Kind::Commit(m.clone()),
            Kind::PassedOver => Kind::PassedOver,
            Kind::Outside(m) => Kind::Outside(m.clone()),
            Kind::User => Kind::User,
        };
        let cause = self.0.cause.as_ref().map(|cause| match cause.downcast_ref::<Error>() {
            Some(error) => Cause::from(error.duplicate()),
            None => Cause::from(cause.to_string()),
        });
        Error(Box::new(Inner {
            kind,
            cause,
            query: self.0.query.clone(),
            within: self.0.within,
            earlier: self.0.earlier.iter().map(Error::duplicate).collect(),
            exhausted: self.0.exhausted,
            outcome: self.0.outcome,
        }))
    }

    /// The error that the server reported, here or further down the chain of causes.
    pub fn db_error(&self) -> Option<&DbError> {
        if let Kind::Database(error) = &self.0.kind {
            return Some(error);
        }
        let mut source = self.source();
        while let Some(error) = source {
            if let Some(Kind::Database(error)) = error.downcast_ref::<Error>().map(Error::kind) {
                return Some(error);
            }
            source = error.source();
        }
        None
    }

    /// The SQLSTATE of the server's error: five characters, see the PostgreSQL manual, appendix A.
    pub fn sqlstate(&self) -> Option<&str> {
        self.db_error().map(DbError::code)
    }

    /// The constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.db_error().and_then(DbError::constraint)
    }

    /// Whether a constraint was violated (SQLSTATE class 23).
    pub fn is_integrity_violation(&self) -> bool {
        self.sqlstate().is_some_and(|code| code.starts_with("23"))
    }

    /// Whether exactly one row was asked for and there was none.
    pub fn is_no_results(&self) -> bool {
        matches!(self.0.kind, Kind::NoResults)
    }

    /// Whether exactly one row was asked for and there were more.
    pub fn is_multiple_results(&self) -> bool {
        matches!(self.0.kind, Kind::MultipleResults)
    }

    /// Whether a time limit of ours passed; [`phase`](Error::phase) tells which.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout(_))
    }

    /// The stage in which the time limit passed.
    pub fn phase(&self) -> Option<Phase> {
        match &self.0.kind {
            Kind::Timeout(timeout) => Some(timeout.phase),
            _ => None,
        }
    }

    /// Whether the connection was lost, closed, or could not be made.
    pub fn is_closed(&self) -> bool {
        match &self.0.kind {
            Kind::Closed(_) | Kind::Protocol(_) | Kind::Connect(_) => true,
            Kind::Commit(_) => {
                let cause = self.source().and_then(|cause| cause.downcast_ref::<Error>());
                cause.is_some_and(Error::is_closed)
            }
            _ => false,
        }
    }

    /// Whether a connection string or the settings are wrong.
    pub fn is_config(&self) -> bool {
        matches!(self.0.kind, Kind::Config(_))
    }

    /// Whether the pool is closed, its queue is full, or the wait could not have ended. A wait that timed out is none of these: see
    /// [`phase`](Error::phase), and [`exhausted`](Error::exhausted) for all of them but the closed pool.
    pub fn is_pool(&self) -> bool {
        matches!(self.0.kind, Kind::Pool(_))
    }

    /// What the pool looked like, if it had no connection for the caller: the acquire timeout passed, the queue was full, or the wait could
    /// not have ended.
    pub fn exhausted(&self) -> Option<&Exhausted> {
        self.0.exhausted.as_ref()
    }

    /// Whether doing the whole transaction again may succeed: another client got in the way (40001, 40P01),
    /// or nothing was sent over a connection that had ended.
    pub fn is_retryable(&self) -> bool {
        match self.sqlstate() {
            Some(code) => matches!(code, "40001" | "40P01"),
            None => self.is_closed() && self.outcome() == Outcome::NotSent,
        }
    }

    /// What is known about the effects of what failed.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The name of the declared query that failed.
    pub fn query_name(&self) -> Option<&'static str> {
        self.0.query.as_ref().and_then(|query| query.name)
    }

    /// The text of the query that failed, without its parameters.
    pub fn sql(&self) -> Option<&str> {
        self.0.query.as_ref().map(|query| &*query.sql)
    }

    /// The name of the transaction function in which it failed.
    pub fn transaction_name(&self) -> Option<&'static str> {
        self.0.within.and_then(|within| within.name)
    }

    /// Why the attempts before this one failed, oldest first, if a transaction was retried.
    pub fn earlier(&self) -> &[Error] {
        &self.0.earlier
    }

    /// Gives back an error that was put in with [`Error::user`], if it is of this type.
    pub fn into_user<E: StdError + Send + Sync + 'static>(mut self) -> Result<E> {
        if !matches!(self.0.kind, Kind::User) {
            return Err(self);
        }
        match self.0.cause.take().map(|cause| cause.downcast::<E>()) {
            Some(Ok(error)) => Ok(*error),
            Some(Err(cause)) => {
                self.0.cause = Some(cause);
                Err(self)
            }
            None => Err(self),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(query) = &self.0.query
            && !matches!(self.0.kind, Kind::Outside(_))
        {
            match query.name {
                Some(name) => write!(f, "query {name} failed: ")?,
                None => f.write_str("query failed: ")?,
            }
        }
        match &self.0.kind {
            Kind::Config(m)
            | Kind::Connect(m)
            | Kind::Authentication(m)
            | Kind::Closed(m)
            | Kind::Shape(m)
            | Kind::Parameter(m)
            | Kind::Usage(m)
            | Kind::Pool(m)
            | Kind::Commit(m) => f.write_str(m)?,
            Kind::PassedOver => f.write_str("the statement was passed over after an earlier error")?,
            Kind::Outside(m) => match self.query_name() {
                Some(name) => write!(f, "{name} {m}")?,
                None => write!(f, "a query {m}")?,
            },
            Kind::Protocol(m) => write!(f, "the server broke the protocol: {m}; the connection is closed")?,
            Kind::Database(e) => write!(f, "{e}")?,
            Kind::Timeout(t) => {
                write!(f, "timed out {}", t.phase)?;
                if let Some(limit) = t.limit {
                    write!(f, " ({limit:?})")?;
                }
                if !t.detail.is_empty() {
                    write!(f, ": {}", t.detail)?;
                }
            }
            Kind::NoResults => f.write_str("no row came back, exactly one was asked for")?,
            Kind::MultipleResults => f.write_str("more than one row came back, exactly one was asked for")?,
            // Nothing is to be added to what it says itself.
            Kind::User => match &self.0.cause {
                Some(cause) => write!(f, "{cause}")?,
                None => f.write_str("the function returned an error of its own")?,
            },
        }
        if let Some(query) = &self.0.query {
            query.excerpt(f, self.db_error().and_then(DbError::position))?;
        }
        if let Kind::Database(error) = &self.0.kind {
            if let Some(detail) = error.detail_without_values() {
                write!(f, "\n   = detail: {detail}")?;
            }
            if let Some(hint) = error.hint() {
                write!(f, "\n   = hint: {hint}")?;
            }
        }
        if let Some(help) = self.0.query.as_ref().and_then(|query| query.help.as_deref()) {
            write!(f, "\n   = help: {help}")?;
        }
        if let Some(within) = self.0.within
            && (within.name.is_some() || within.of > 1)
        {
            write!(f, "\n   = in {within}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `unwrap` and a failing `main` show: the whole chain.
        write!(f, "{self}")?;
        let mut source = self.source();
        if matches!(self.0.kind, Kind::User) {
            // That was it.
            source = source.and_then(StdError::source);
        }
        while let Some(cause) = source {
            write!(f, "\ncaused by: {cause}")?;
            source = cause.source();
        }
        for earlier in &self.0.earlier {
            write!(f, "\nbefore that: {earlier:?}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests;
