//! What the server says of a statement, asked without running it and without leaving it on the session.
//! Uses: deadline, error, plan, protocol, statement.

use postgres_types::Oid;

use super::plan::Plan;
use super::statement::Statement;
use super::{Connection, check};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::protocol::decode::{self, Messages, Origin};
use crate::protocol::encode;
use crate::protocol::session::{Reply, Status};

/// What the server says of a statement.
pub(crate) struct Described {
    pub(crate) statement: Statement,
    /// For each column of the result: which column of a table it is, if it is one.
    pub(crate) origins: Vec<Option<Origin>>,
}

/// What the server says of how it would run a statement.
pub(crate) enum Planned {
    /// So: its plan as JSON.
    Plan(String),
    /// Not at all, although it has parsed it.
    Refused(Error),
    /// Nothing: it does not explain such a statement.
    Untold,
}

/// What the statement to explain is called on the session meanwhile.
const NAME: &str = "maypole_check";
/// In one message: behind a pooler the next may go to another session.
const TIDY: &str = "ROLLBACK; DEALLOCATE maypole_check";

/// How long the server may take for a plan, in milliseconds, unless the limit of the connection is less.
const LIMIT: u128 = 5_000;

impl Connection {
    /// Parses a statement without a name, and describes it. A type of 0 leaves a parameter open.
    pub(crate) fn describe_text(&self, text: &str, types: Vec<Oid>) -> Result<Described> {
        let deadline = Deadline::after(self.timeout);
        // Without a name nobody remembers it, and its number is never asked for.
        let asked = Plan::provisional(0, String::new(), text.into(), types);
        let reply = self.parse_and_describe(&asked, deadline);
        let reply = reply.map_err(|error| error.limited_to(self.timeout))?;
        let mut origins = Vec::new();
        for (tag, body) in Messages::new(&reply.bytes) {
            if tag == b'T' {
                let fields = self.believe(decode::row_description(&reply.bytes[body]))?;
                origins = fields.into_iter().map(|field| field.origin).collect();
            }
        }
        let statement = self.describe(&reply, |oid| self.resolve(oid, deadline));
        Ok(Described { statement: statement.map_err(|error| error.limited_to(self.timeout))?, origins })
    }

    /// Makes the session forget the statement without a name.
    pub(crate) fn close_unnamed(&self) -> Result<()> {
        let reply = self.ask(encode::CLOSE, Deadline::after(self.timeout), |encoder| {
            encoder.close_statement("")?;
            encoder.sync();
            Ok(())
        });
        check(&reply.map_err(|error| error.limited_to(self.timeout))?)
    }

    /// The rows of the statements in a text, as texts.
    pub(crate) fn text_rows(&self, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        let reply = self.simple_reply(text, Deadline::NEVER)?;
        check(&reply)?;
        self.rows_of(&reply)
    }

    fn rows_of(&self, reply: &Reply) -> Result<Vec<Vec<Option<String>>>> {
        let rows = Messages::new(&reply.bytes).filter(|(tag, _)| *tag == b'D');
        rows.map(|(_, body)| self.believe(decode::text_row(&reply.bytes[body]))).collect()
    }

    /// The plan that the server has for a statement, whatever the values of its parameters are. Nothing is executed.
    ///
    /// `parameters` are their types, as SQL. Call it outside a transaction, with a text that the server has parsed as one
    /// statement: here it stands among others.
    ///
    /// # Errors
    ///
    /// If the connection is lost, or the time limit passes.
    pub(crate) fn generic_plan(&self, text: &str, parameters: &[String]) -> Result<Planned> {
        let list = |items: Vec<&str>| match items.is_empty() {
            true => String::new(),
            false => format!(" ({})", items.join(", ")),
        };
        let types = list(parameters.iter().map(String::as_str).collect());
        let nulls = list(vec!["NULL"; parameters.len()]);
        // So that the server gives up before we do.
        let limit = self.timeout.map_or(LIMIT, |limit| (limit.as_millis() / 2).clamp(1, LIMIT));
        // With the values known the planner would leave out what NULL rules out: with a statement that is prepared it can
        // be kept from looking. The text may end with a comment.
        let script = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL plan_cache_mode = force_generic_plan; \
             PREPARE {NAME}{types} AS {text}\n; EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {NAME}{nulls}; \
             DEALLOCATE {NAME}; ROLLBACK"
        );
        let tidy = Tidy { connection: self, armed: true };
        let reply = self.simple_reply(&script, Deadline::NEVER)?;
        let Err(error) = check(&reply) else {
            tidy.done();
            let plan = self.rows_of(&reply)?.into_iter().flatten().next().flatten();
            return Ok(plan.map_or(Planned::Untold, Planned::Plan));
        };
        let prepared = Messages::new(&reply.bytes)
            .any(|(tag, body)| tag == b'C' && decode::command_tag(&reply.bytes[body]) == "PREPARE");
        // A syntax error is found before anything has begun.
        if self.link.status() != Status::Idle {
            self.simple_reply(if prepared { TIDY } else { "ROLLBACK" }, Deadline::NEVER)?;
        }
        tidy.done();
        Ok(if prepared { Planned::Refused(error) } else { Planned::Untold })
    }
}

/// Ends the transaction and forgets the statement if the caller is cancelled, or gives up. Posts it and does not wait; what
/// is not there any more is only an error that nobody reads.
struct Tidy<'c> {
    connection: &'c Connection,
    armed: bool,
}

impl Tidy<'_> {
    fn done(mut self) {
        self.armed = false;
    }
}

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.connection.post_simple(TIDY);
        }
    }
}
