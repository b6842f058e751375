//! A query about to run: where, what, for how long. Uses: connection, deadline, error, from_row, guard, pool, rows, source.

use std::panic::Location;
use std::time::Duration;

use postgres_types::Type;

use crate::connection::{Answer, Connection, Fit, Request, Statement};
use crate::deadline::Deadline;
use crate::error::{Error, QueryContext, Result};
use crate::from_row::{FromRow, FromValue};
use crate::guard;
use crate::pool::Pool;
use crate::rows::{Holder, Rows};
use crate::source::Source;

/// Where a query runs.
#[derive(Clone, Copy)]
pub(crate) enum Runner<'q> {
    /// On a connection lent for it.
    Lender(&'q dyn Lender),
    /// On this one.
    Connection(&'q Connection),
}

/// Who has a pool.
pub(crate) trait Lender {
    fn pool(&self) -> Result<&Pool>;
}

impl Lender for Pool {
    fn pool(&self) -> Result<&Pool> {
        Ok(self)
    }
}

/// What both kinds of query have in common: the terminals.
#[derive(Clone, Copy)]
pub(crate) struct Call<'q> {
    pub(crate) runner: Runner<'q>,
    /// `None` is the pool's own.
    pub(crate) timeout: Option<Option<Duration>>,
    /// How many rows a stream asks for at a time, if somebody has said.
    pub(crate) chunk: Option<u32>,
    /// Somebody has said where it is to run: it may be outside of the transaction under way.
    pub(crate) outside: bool,
}

/// The query itself.
pub(crate) struct Ask<'a> {
    pub(crate) request: Request<'a>,
    /// What an error tells of it.
    pub(crate) context: &'a dyn Fn() -> QueryContext,
}

impl<'q> Call<'q> {
    pub(crate) fn new(runner: Runner<'q>) -> Call<'q> {
        Call { runner, timeout: None, chunk: None, outside: false }
    }

    /// Runs it and reads the rows of the answer.
    pub(crate) fn rows<T: FromRow, R>(
        self,
        ask: &Ask<'_>,
        read: impl FnOnce(&Answer, &T::Plan) -> Result<R>,
    ) -> Result<R> {
        let mut plan = None;
        let answer = self.answer(ask, &mut |statement| {
            returns_rows(statement)?;
            plan = statement.map::<T>()?;
            Ok(())
        });
        let read = |answer: Answer| match plan.as_ref().or_else(|| answer.statement().mapping::<T>()) {
            Some(plan) => read(&answer, plan),
            None => Err(Error::usage("the result was not looked at")),
        };
        answer.and_then(read).map_err(|error| self.explain(error, ask))
    }

    /// Runs it and reads the values of the answer.
    pub(crate) fn values<T: FromValue, R>(
        self,
        ask: &Ask<'_>,
        read: impl FnOnce(&Answer) -> Result<R>,
    ) -> Result<R> {
        let answer = self.answer(ask, &mut |statement| {
            returns_rows(statement)?;
            T::check(&statement.columns)
        });
        answer.and_then(|answer| read(&answer)).map_err(|error| self.explain(error, ask))
    }

    /// Runs it; how many rows it touched.
    pub(crate) fn run(self, ask: &Ask<'_>) -> Result<u64> {
        let answer = self.answer(ask, &mut |statement| returns_nothing(statement, ask.request.source));
        answer.map(|answer| answer.affected()).map_err(|error| self.explain(error, ask))
    }

    /// Sends it with what comes next.
    pub(crate) fn later(self, ask: &Ask<'_>) -> Result<()> {
        let Runner::Connection(connection) = self.runner else {
            return Err(explain(not_in_transaction(), ask));
        };
        if !connection.is_in_block() {
            return Err(explain(not_in_transaction(), ask));
        }
        let limit = self.timeout.unwrap_or(connection.timeout());
        let sent = connection.send_later(ask.request, Deadline::after(limit), ask.context);
        let sent = sent.and_then(|sent| {
            if !sent {
                connection.run(ask.request, Deadline::after(limit), &mut |_| Ok(()))?;
            }
            Ok(())
        });
        sent.map_err(|error| self.explain(error.limited_to(limit), ask))
    }

    /// Runs it and streams the rows.
    pub(crate) fn stream<T: FromRow>(self, ask: &Ask<'_>, site: &'static Location<'static>) -> Rows<'q, T> {
        let open = || {
            let holder = self.hold(ask, site)?;
            Rows::open(holder, ask.request, self.chunk, self.timeout, (ask.context)())
        };
        let rows = match (open(), self.runner) {
            (Err(error), Runner::Lender(_)) if error.is_unsent() => open(),
            (rows, _) => rows,
        };
        rows.unwrap_or_else(|error| Rows::failed(self.explain(error, ask)))
    }

    #[cold]
    fn explain(self, error: Error, ask: &Ask<'_>) -> Error {
        let error = explain(error, ask);
        match self.runner {
            Runner::Connection(connection) => connection.note(error),
            Runner::Lender(_) => error,
        }
    }

    /// The pool, unless the caller is inside of a transaction on it and may not know.
    fn lent_by<'l>(self, lender: &'l dyn Lender, ask: &Ask<'_>) -> Result<&'l Pool> {
        let pool = lender.pool()?;
        if self.outside {
            return Ok(pool);
        }
        match guard::inside(pool.identity()) {
            None => Ok(pool),
            Some(transaction) => {
                let write = if ask.request.source.declared().is_some() { ".on(q)" } else { "q.query(…)" };
                Err(outside(transaction, &format!("{write}, or .outside() if you mean it")))
            }
        }
    }

    fn hold(self, ask: &Ask<'_>, site: &'static Location<'static>) -> Result<Holder<'q>> {
        match self.runner {
            Runner::Lender(lender) => {
                let pool = self.lent_by(lender, ask)?;
                pool.admit(ask.request)?;
                Ok(Holder::Lease(pool.connection_at(pool.acquire_timeout(), site)?))
            }
            Runner::Connection(connection) => Ok(Holder::Connection(connection)),
        }
    }

    fn answer(self, ask: &Ask<'_>, fit: Fit<'_>) -> Result<Answer> {
        match self.runner {
            // The connection is free for the next before anything is decoded.
            Runner::Lender(lender) => {
                let pool = self.lent_by(lender, ask)?;
                pool.run(ask.request, self.timeout.unwrap_or(pool.query_timeout()), fit)
            }
            Runner::Connection(connection) => {
                let limit = self.timeout.unwrap_or(connection.timeout());
                let answer = connection.run(ask.request, Deadline::after(limit), fit);
                answer.map_err(|error| error.limited_to(limit))
            }
        }
    }
}

/// The caller is inside of a transaction, and asks beside it.
#[cold]
pub(crate) fn outside(transaction: Option<&'static str>, write: &str) -> Error {
    let transaction = match transaction {
        Some(name) => name.to_owned(),
        None => "that is under way".to_owned(),
    };
    Error::outside(format!("ran outside the transaction {transaction}; write {write}"))
}

#[cold]
fn not_in_transaction() -> Error {
    Error::usage("later() is for statements of a transaction, which end with it: use run()")
}

/// For terminals that read rows.
fn returns_rows(statement: &Statement) -> Result<()> {
    if statement.returns_rows {
        return Ok(());
    }
    Err(Error::usage("the statement returns no rows: use run(), which tells how many it touched"))
}

/// For `run`. A function that returns void has nothing to read.
fn returns_nothing(statement: &Statement, source: Source<'_>) -> Result<()> {
    let mut columns = statement.columns.iter();
    if !statement.returns_rows || columns.all(|column| *column.type_() == Type::VOID) {
        return Ok(());
    }
    let declare =
        if source.declared().is_some() { "; declare -> Query<T> with the type of a row" } else { "" };
    Err(Error::usage(format!(
        "run() is for statements that return nothing, and {}: use rows(), unique(), optional(), first(), value(), flat(), \
         each() or a for loop{declare}",
        statement.columns.summary()
    )))
}

fn explain(error: Error, ask: &Ask<'_>) -> Error {
    let mut context = (ask.context)();
    context.help = context.help.or_else(|| help(&error, ask.request.source));
    error.in_query(&context)
}

/// What the library knows better than the server.
pub(crate) fn help(error: &Error, source: Source<'_>) -> Option<String> {
    let error = error.db_error()?;
    match error.code() {
        // "could not determine data type of parameter $1"; the other is also "inconsistent types deduced for parameter $1".
        code @ ("42P18" | "42P08") => {
            let digits: String =
                error.message().rsplit('$').next()?.chars().take_while(char::is_ascii_digit).collect();
            let number: usize = digits.parse().ok()?;
            let name = source.name(number.checked_sub(1)?);
            if code == "42P08" {
                return Some(format!(
                    "the places of {name} do not tell one type: write casts, such as {name}::text; a test of it that is part \
                     of an expression needs parentheses, ({name} IS NULL)"
                ));
            }
            Some(format!(
                "nothing in the statement tells the type of {name}: write a cast, such as {name}::text"
            ))
        }
        // A parameter where the grammar wants a name, a keyword or a literal. The message quotes what the server got.
        "42601" if !matches!(source, Source::Text(_)) && error.message().contains("\"$") => {
            let digits: String =
                error.message().split("\"$").nth(1)?.chars().take_while(char::is_ascii_digit).collect();
            let number: usize = digits.parse().ok()?;
            let name = source.name(number.checked_sub(1)?);
            Some(format!(
                "${number} is {name}: a parameter is a value, and can't stand for a name, a keyword or part of a literal. \
                 Write {name}::interval for INTERVAL {name}, = ANY({name}) for IN {name}, set_config(…) for SET"
            ))
        }
        // It ran in a session that may not write, or on a server that takes no writes.
        "25006" if source.declared().is_some_and(|declared| declared.select) => {
            Some("this select writes: declare it with #[query]".to_owned())
        }
        // A colon is no operator; so the server stumbles over it.
        "42601" if matches!(source, Source::Text(_)) && error.message().contains("\":\"") => Some(
            "named parameters need their names: params! { name: value }; a tuple stands for $1, $2 …"
                .to_owned(),
        ),
        _ => None,
    }
}
