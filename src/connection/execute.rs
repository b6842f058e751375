//! How a statement is run on a session. Uses: answer, block, columns, connection, deadline, error, introduce, link, params, plan, protocol, source, statement.
//!
//! A session that has not parsed a statement is told it in the exchange that runs it. What is not known yet is only asked
//! for separately where the values can't be written without it, or where a result that doesn't fit must be found out before
//! the statement has written.

use std::sync::Arc;

use bytes::BytesMut;
use postgres_types::{Oid, Type};

use super::block::{Asked, Later, MOST_LATER};
use super::introduce::{Introduced, Known};
use super::plan::{Knowledge, Plan};
use super::statement::Statement;
use super::{Answer, Connection, Link, Stale, check, stale};
use crate::columns::{Column, Columns};
use crate::deadline::Deadline;
use crate::error::{Error, Outcome, QueryContext, Result};
use crate::params::Params;
use crate::protocol::bind::Values;
use crate::protocol::decode::{self, Messages};
use crate::protocol::encode::{self, Encoder};
use crate::protocol::session::{End, Reply, Step};
use crate::source::Source;

/// What is to be run.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) params: &'a dyn Params,
    /// What was known of it was wrong: the server is asked before anything is executed.
    pub(crate) wary: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(source: Source<'a>, params: &'a dyn Params) -> Request<'a> {
        Request { source, params, wary: false }
    }

    pub(crate) fn values(&self) -> Values<'_> {
        Values { params: self.params, source: self.source }
    }

    /// Whether it may be executed in the exchange in which the server is first told of it.
    fn may_run_unseen(&self) -> bool {
        !self.wary
            && self
                .source
                .declared()
                .is_some_and(|declared| declared.is_typed() && !declared.writes_and_returns())
    }

    /// Whether it may share a session with others.
    pub(crate) fn may_ride(&self) -> bool {
        !self.wary && self.source.declared().is_some_and(|declared| declared.select && !declared.exclusive)
    }

    /// Whether it may be done twice.
    fn is_select(&self) -> bool {
        self.source.declared().is_some_and(|declared| declared.select)
    }

    /// The server could not send a column in binary, which nobody knew: the plan is asked for anew. Whether that may be at
    /// once: the statement has run, so only if it reads.
    pub(crate) fn lacks_text(&self, error: &Error, knowledge: &Knowledge, plan: &Plan) -> bool {
        if !is_without_binary_form(error) {
            return false;
        }
        knowledge.retire(self.source, plan, &plan.statement);
        self.source.only_reads()
    }
}

/// Asks whether what is wanted of a result fits what the statement returns. Called before the statement is executed
/// wherever that is known by then; in any case last with the statement whose result it is.
pub(crate) type Fit<'f> = &'f mut dyn FnMut(&Statement) -> Result<()>;

/// Which rows come, and how the exchange ends.
#[derive(Clone, Copy)]
pub(super) struct Portal<'p> {
    pub(super) name: &'p str,
    /// At most so many at once; 0 is all.
    pub(super) rows: i32,
    /// Ends with Flush instead of Sync, which would end the portal.
    pub(super) bare: bool,
}

impl Portal<'_> {
    /// All rows at once.
    const WHOLE: Portal<'static> = Portal { name: "", rows: 0, bare: false };

    fn steps(&self) -> &'static [Step] {
        if self.bare { &encode::STATEMENT_FIRST } else { &encode::STATEMENT }
    }
}

/// Why a statement was not run, as far as what comes next depends on it.
enum Failure {
    /// What is wanted doesn't fit what we took to be so: nothing was sent.
    Misfit(Error),
    /// Nothing was executed, because of what we took to be so: it may be otherwise if the server is asked anew.
    Outdated(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

impl Connection {
    /// What it runs from now on finds a session that may not write.
    pub(crate) fn only_read(&self) {
        self.reads.set(self.link.can_be_lane());
    }

    /// Runs one statement and waits for the whole of its result.
    pub(crate) fn run(&self, request: Request<'_>, deadline: Deadline, fit: Fit<'_>) -> Result<Answer> {
        self.refuse_while_streaming()?;
        let (statement, reply) = self.bind_and_execute(request, Portal::WHOLE, deadline, fit)?;
        self.refuse_ended(&reply, request.source.text(), None)?;
        Ok(Answer::new(self.link.clone(), statement, reply.bytes))
    }

    /// Sends a statement along with what comes next, if this session knows it; else says so.
    pub(crate) fn send_later(
        &self,
        request: Request<'_>,
        deadline: Deadline,
        context: &dyn Fn() -> QueryContext,
    ) -> Result<bool> {
        self.refuse_while_streaming()?;
        if self.link.with_block(|block, _| block.count_later()) >= Some(MOST_LATER) {
            self.flush()?;
        }
        self.stay_in_block(deadline)?;
        let Some(plan) = self.link.knowledge.plans.get(request.source) else { return Ok(false) };
        let Some(own) = self.link.met(&plan) else { return Ok(false) };
        if plan.alone {
            return Ok(false);
        }
        let statement = own.unwrap_or_else(|| plan.statement.clone());
        let mut bytes = self.take_scratch();
        let mut encoder = Encoder::new(&mut bytes, self.link.limit());
        let encoded = encoder
            .bind("", &plan.name, &statement.params, request.values(), &statement.columns)
            .and_then(|()| encoder.execute("", 0));
        drop(encoder);
        let claim = encoded.and_then(|()| self.link.submit_later(&bytes));
        self.keep_scratch(bytes);
        let asked = match request.source.declared() {
            Some(declared) => Asked::Declared(declared),
            None => Asked::AdHoc(context()),
        };
        let later = Later { claim: claim?, plan, asked };
        self.link.with_block(|block, _| block.add_later(later));
        Ok(true)
    }

    /// Runs a query of our own.
    pub(super) fn look_up(&self, sql: &str, params: &dyn Params, deadline: Deadline) -> Result<Answer> {
        self.run(Request::new(Source::Text(sql), params), deadline, &mut |_| Ok(()))
    }

    /// Binds a portal and executes it.
    pub(super) fn bind_and_execute(
        &self,
        mut request: Request<'_>,
        portal: Portal<'_>,
        deadline: Deadline,
        fit: Fit<'_>,
    ) -> Result<(Arc<Statement>, Reply)> {
        // The server would take the statement, and could not describe it.
        encode::number_of(request.params.len())?;
        self.stay_in_block(deadline)?;
        let plans = &self.link.knowledge.plans;
        let mut again = true;
        loop {
            let plan = plans.get(request.source);
            let result = match plan {
                Some(plan) => self.execute_plan(request, &plan, false, portal, deadline, fit),
                None if request.may_run_unseen() && (!portal.bare || request.is_select()) => {
                    self.execute_unseen(request, portal, deadline, fit)
                }
                None => self
                    .plan(request.source, deadline)
                    .map_err(Failure::from)
                    .and_then(|plan| self.execute_plan(request, &plan, true, portal, deadline, fit)),
            };
            match result {
                Ok(done) => return Ok(done),
                Err(Failure::Outdated(_)) if again && !self.in_transaction() => again = false,
                Err(Failure::Misfit(_)) if again => (again, request.wary) = (false, true),
                Err(Failure::Misfit(error) | Failure::Outdated(error) | Failure::Final(error)) => {
                    return Err(error);
                }
            }
        }
    }

    /// Runs what is known; `fresh` if the server was asked just now.
    fn execute_plan(
        &self,
        request: Request<'_>,
        plan: &Arc<Plan>,
        fresh: bool,
        portal: Portal<'_>,
        deadline: Deadline,
        fit: Fit<'_>,
    ) -> Result<(Arc<Statement>, Reply), Failure> {
        let mut met = self.link.met(plan);
        // If it were otherwise here than planned, its types could not be asked for while the portal is open; its columns
        // would come in the formats of others; to be refused because of types of theirs would cost the transaction.
        let alone = || {
            portal.bare && !request.is_select()
                || plan.statement.has_text
                || plan.takes_types_of_a_schema() && !plan.name.is_empty() && self.in_transaction()
        };
        if met.is_none() && alone() {
            met = Some(self.introduce(request.source, plan, deadline)?);
        }
        let statement = met.flatten().unwrap_or_else(|| plan.statement.clone());
        let misfit = |error: Error| {
            if fresh {
                return Failure::Final(error.with_outcome(Outcome::NotSent));
            }
            // Maybe the schema has changed since it was asked for.
            self.link.forget(plan, Stale::Plan);
            self.link.knowledge.retire(request.source, plan, &statement);
            Failure::Misfit(error.with_outcome(Outcome::NotSent))
        };
        fit(&statement).map_err(misfit)?;
        let bytes = self.encode(request, plan, &statement, portal).map_err(|error| {
            if plan.takes_types_of_a_schema() { misfit(error) } else { Failure::Final(error) }
        })?;
        let (known, reply) = self.send(plan, bytes, portal, !request.is_select(), deadline)?;
        let own = match known {
            Known::AsPlanned => None,
            Known::Otherwise(own) => Some(own),
            Known::Not => match self.link.introduced(plan, &reply) {
                Introduced::AsPlanned => None,
                Introduced::Refused => {
                    self.end_bare(portal);
                    return Err(self.refused(request.source, plan, &reply));
                }
                Introduced::Otherwise => Some(self.told_otherwise(request, plan, &reply, portal, deadline)?),
            },
        };
        if let Err(error) = check(&reply) {
            self.end_bare(portal);
            return Err(match stale(&error, &reply) {
                None if request.lacks_text(&error, &self.link.knowledge, plan) => Failure::Outdated(error),
                None => Failure::Final(error),
                Some(which) => {
                    self.link.forget(plan, which);
                    if which == Stale::Plan {
                        self.link.knowledge.retire(request.source, plan, &plan.statement);
                    }
                    Failure::Outdated(error)
                }
            });
        }
        let told = own.unwrap_or_else(|| plan.statement.clone());
        if !Arc::ptr_eq(&told, &statement) {
            fit(&told).map_err(|error| self.unreadable(error, portal))?;
        }
        Ok((told, reply))
    }

    /// Runs what the server has not been asked about, in one exchange with the question.
    fn execute_unseen(
        &self,
        request: Request<'_>,
        portal: Portal<'_>,
        deadline: Deadline,
        fit: Fit<'_>,
    ) -> Result<(Arc<Statement>, Reply), Failure> {
        let plans = &self.link.knowledge.plans;
        let asked = Orphan::new(&self.link, plans.provisional(request.source));
        let bytes = self.encode(request, &asked.plan, &asked.plan.statement, portal)?;
        let (_, reply) = self.send(&asked.plan, bytes, portal, !request.is_select(), deadline)?;
        if self.link.introduced(&asked.plan, &reply) == Introduced::Refused {
            self.end_bare(portal);
            return Err(failure(&reply, Failure::Final));
        }
        let failed = check(&reply).err();
        let described = if failed.is_some() || portal.bare {
            // Nothing can be asked now: in a failed transaction, or while a portal is open without one.
            self.describe(&reply, |oid| self.known(oid))
        } else {
            self.describe(&reply, |oid| self.resolve(oid, deadline))
        };
        let statement = match (described, &failed) {
            (Ok(statement), _) => Arc::new(statement),
            (Err(_), Some(_)) => {
                self.end_bare(portal);
                return Err(failure(&reply, Failure::Final));
            }
            (Err(error), None) => {
                self.end_bare(portal);
                // A select, if it was bare: it may be run again when its types are known.
                drop(asked);
                if portal.bare {
                    self.plan(request.source, deadline)?;
                    return Err(Failure::Outdated(error));
                }
                return Err(Failure::Final(error.with_outcome(Outcome::Done)));
            }
        };
        let plan = plans.learn(request.source, &asked.plan, statement.clone());
        self.link.meet(&plan, None);
        asked.adopted();
        if let Some(error) = failed {
            self.end_bare(portal);
            // Columns without a binary form are known now.
            return Err(if is_without_binary_form(&error) {
                Failure::Outdated(error)
            } else {
                Failure::Final(error)
            });
        }
        fit(&statement).map_err(|error| self.unreadable(error, portal))?;
        Ok((statement, reply))
    }

    /// What the server says of a statement that nobody has asked it about. Nothing is executed.
    pub(crate) fn learn(&self, source: Source<'_>, deadline: Deadline) -> Result<Arc<Plan>> {
        self.plan(source, deadline)
    }

    /// What the server says of a statement that nobody has asked it about.
    fn plan(&self, source: Source<'_>, deadline: Deadline) -> Result<Arc<Plan>> {
        let plans = &self.link.knowledge.plans;
        let asked = Orphan::new(&self.link, plans.provisional(source));
        let statement = self.question(&asked.plan, deadline)?;
        let plan = plans.learn(source, &asked.plan, statement);
        self.link.meet(&plan, None);
        asked.adopted();
        Ok(plan)
    }

    /// Tells this session of a plan, without running it; what it was told, where that is not what the plan says.
    fn introduce(
        &self,
        source: Source<'_>,
        plan: &Arc<Plan>,
        deadline: Deadline,
    ) -> Result<Option<Arc<Statement>>, Failure> {
        let open = plan.open(source);
        let (_, claim) = self.link.submit_for(
            &open,
            encode::SYNC_BYTES,
            &[Step::Sync],
            false,
            self.reads.get(),
            deadline,
        )?;
        let reply = self.wait(claim)?;
        match self.link.introduced(plan, &reply) {
            Introduced::AsPlanned => Ok(None),
            Introduced::Otherwise => {
                let own = Arc::new(self.describe(&reply, |oid| self.resolve(oid, deadline))?);
                self.link.meet(plan, Some(own.clone()));
                Ok(Some(own))
            }
            Introduced::Refused => Err(self.refused(source, plan, &reply)),
        }
    }

    /// This session would not parse what others did: maybe it was asked for by the types of another day.
    fn refused(&self, source: Source<'_>, plan: &Plan, reply: &Reply) -> Failure {
        failure(reply, |error| {
            if stale(&error, reply).is_none() {
                return Failure::Final(error);
            }
            self.link.knowledge.retire(source, plan, &plan.statement);
            Failure::Outdated(error)
        })
    }

    /// Parse, Describe, Sync.
    fn question(&self, asked: &Plan, deadline: Deadline) -> Result<Arc<Statement>> {
        let reply = self.parse_and_describe(asked, deadline)?;
        Ok(Arc::new(self.describe(&reply, |oid| self.resolve(oid, deadline))?))
    }

    pub(super) fn parse_and_describe(&self, asked: &Plan, deadline: Deadline) -> Result<Reply> {
        let (_, claim) = self.link.submit_for(
            asked,
            encode::SYNC_BYTES,
            &[Step::Sync],
            false,
            self.reads.get(),
            deadline,
        )?;
        let reply = self.wait(claim)?;
        check(&reply)?;
        Ok(reply)
    }

    /// This session was told something else about a plan than others.
    fn told_otherwise(
        &self,
        request: Request<'_>,
        plan: &Plan,
        reply: &Reply,
        portal: Portal<'_>,
        deadline: Deadline,
    ) -> Result<Arc<Statement>, Failure> {
        let own = if portal.bare || reply.end != End::Complete {
            self.describe(reply, |oid| self.known(oid))
        } else {
            self.describe(reply, |oid| self.resolve(oid, deadline))
        };
        let error = match own {
            Ok(own) => {
                let own = Arc::new(own);
                self.link.meet(plan, Some(own.clone()));
                return Ok(own);
            }
            // There are no rows to be read; what the failure means is seen next.
            Err(_) if check(reply).is_err() => return Ok(plan.statement.clone()),
            Err(error) => error,
        };
        self.end_bare(portal);
        if !portal.bare || !request.source.only_reads() {
            return Err(Failure::Final(error.with_outcome(Outcome::Done)));
        }
        let own = self.describe(reply, |oid| self.resolve(oid, deadline))?;
        self.link.meet(plan, Some(Arc::new(own)));
        Err(Failure::Outdated(error))
    }

    /// Bind and Execute. User code encodes values here: no lock is held.
    fn encode(
        &self,
        request: Request<'_>,
        plan: &Plan,
        statement: &Statement,
        portal: Portal<'_>,
    ) -> Result<BytesMut> {
        let mut bytes = self.take_scratch();
        let mut encoder = Encoder::new(&mut bytes, self.link.limit());
        encoder.bind(portal.name, &plan.name, &statement.params, request.values(), &statement.columns)?;
        encoder.execute(portal.name, portal.rows)?;
        if portal.bare {
            encoder.flush();
        } else {
            encoder.sync();
        }
        drop(encoder);
        Ok(bytes)
    }

    fn send(
        &self,
        plan: &Plan,
        bytes: BytesMut,
        portal: Portal<'_>,
        may_write: bool,
        deadline: Deadline,
    ) -> Result<(Known, Reply)> {
        let sent = self.link.submit_for(plan, &bytes, portal.steps(), may_write, self.reads.get(), deadline);
        self.keep_scratch(bytes);
        let (known, claim) = sent?;
        if portal.bare {
            self.streaming.set(true);
        }
        let reply = self.wait(claim)?;
        Ok((known, reply))
    }

    /// After a failure behind a Flush the server passes over everything up to a Sync.
    fn end_bare(&self, portal: Portal<'_>) {
        if portal.bare && self.streaming.replace(false) {
            self.link.post_and_forget(encode::SYNC_BYTES, encode::SYNC);
        }
    }

    /// What was executed can't be read.
    fn unreadable(&self, error: Error, portal: Portal<'_>) -> Error {
        self.end_bare(portal);
        error.with_outcome(Outcome::Done)
    }

    pub(super) fn describe(&self, reply: &Reply, resolve: impl Fn(Oid) -> Result<Type>) -> Result<Statement> {
        let mut params = Vec::new();
        let mut columns = Vec::new();
        let mut returns_rows = false;
        for (tag, body) in Messages::new(&reply.bytes) {
            let body = &reply.bytes[body];
            match tag {
                b't' => params = self.believe(decode::parameter_description(body))?,
                b'T' => {
                    columns = self.believe(decode::row_description(body))?;
                    returns_rows = true;
                }
                _ => {}
            }
        }
        let params = params.into_iter().map(&resolve).collect::<Result<_>>()?;
        let types = &self.link.knowledge.types;
        let columns = columns.into_iter().map(|field| {
            let type_ = resolve(field.type_oid)?;
            let in_text = !types.has_binary_form(&type_);
            Ok(if in_text { Column::in_text(field.name, type_) } else { Column::new(field.name, type_) })
        });
        let columns = Arc::new(Columns::new(columns.collect::<Result<_>>()?));
        Ok(Statement::new(params, columns, returns_rows))
    }

    /// The type with this OID. The server's own word on its catalogue is taken only in built-in types, or it could send us
    /// from question to question until our stack is used up.
    pub(super) fn resolve(&self, oid: Oid, deadline: Deadline) -> Result<Type> {
        if self.resolving.replace(true) {
            return Ok(self.link.knowledge.types.known_or_unknown(oid));
        }
        /// Also if the caller is cancelled meanwhile.
        struct Resolved<'c>(&'c std::cell::Cell<bool>);
        impl Drop for Resolved<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        let _resolved = Resolved(&self.resolving);
        self.link.knowledge.types.resolve(self, oid, deadline)
    }

    /// The type with this OID, if nothing can be asked now.
    fn known(&self, oid: Oid) -> Result<Type> {
        let known = self.link.knowledge.types.known(oid);
        known.ok_or_else(|| Error::shape(format!("the type with the OID {oid} is not known yet")))
    }

    /// What a reply to an errand describes, when the session was told something else about the plan than others.
    pub(crate) fn describe_answer(&self, reply: &Reply, deadline: Deadline) -> Result<Arc<Statement>> {
        self.describe(reply, |oid| self.resolve(oid, deadline)).map(Arc::new)
    }
}

/// The error in a reply that must have one.
fn failure(reply: &Reply, kind: impl FnOnce(Error) -> Failure) -> Failure {
    match check(reply) {
        Err(error) => kind(error),
        Ok(()) => Failure::Final(Error::protocol("a statement was answered that was never parsed")),
    }
}

/// Whether the result has a column whose type has no binary form, or whose parts have none.
fn is_without_binary_form(error: &Error) -> bool {
    error.db_error().is_some_and(|error| {
        let routines =
            ["getTypeBinaryOutputInfo", "array_send", "get_range_io_data", "get_multirange_io_data"];
        error.code() == "42883" && error.routine().is_some_and(|routine| routines.contains(&routine))
    })
}

/// A statement that the server may know and that nobody remembers: closed with the next one that is introduced. In a guard,
/// because a cancel may hit at any wait.
struct Orphan<'c> {
    link: &'c Link,
    plan: Plan,
    armed: bool,
}

impl Orphan<'_> {
    fn new(link: &Link, plan: Plan) -> Orphan<'_> {
        Orphan { link, plan, armed: true }
    }

    /// Somebody remembers it.
    fn adopted(mut self) {
        self.armed = false;
    }
}

impl Drop for Orphan<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.forget(&self.plan, Stale::Plan);
        }
    }
}
