//! The whole result of one statement, read by whoever asked. Uses: columns, error, from_row, link, protocol, row, statement.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::link::Link;
use super::statement::Statement;
use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::from_row::{FromRow, FromValue};
use crate::protocol::decode::{self, Messages};
use crate::row::{RowReader, RowRef};

/// A reply and what is needed to read it: rows lie in one shared buffer and are decoded here, not by the driver.
pub(crate) struct Answer {
    link: Arc<Link>,
    statement: Arc<Statement>,
    reply: Bytes,
}

impl Answer {
    pub(crate) fn new(link: Arc<Link>, statement: Arc<Statement>, reply: Bytes) -> Answer {
        Answer { link, statement, reply }
    }

    /// The statement whose result this is.
    pub(crate) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The columns of the result.
    pub(crate) fn columns(&self) -> &Columns {
        &self.statement.columns
    }

    /// How many rows the statement touched or returned.
    pub(crate) fn affected(&self) -> u64 {
        let tag = Messages::new(&self.reply).find(|(tag, _)| *tag == b'C');
        tag.map_or(0, |(_, body)| decode::affected_rows(decode::command_tag(&self.reply[body])))
    }

    /// Every row.
    pub(crate) fn rows<T: FromRow>(&self, plan: &T::Plan) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.each(plan, |row: T| {
            all.push(row);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Exactly one row.
    pub(crate) fn unique<T: FromRow>(&self, plan: &T::Plan) -> Result<T> {
        self.optional(plan)?.ok_or_else(Error::no_results)
    }

    /// No row, or one.
    pub(crate) fn optional<T: FromRow>(&self, plan: &T::Plan) -> Result<Option<T>> {
        let mut one = None;
        self.each(plan, |row: T| match one.replace(row) {
            None => Ok(ControlFlow::Continue(())),
            Some(_) => Err(Error::multiple_results()),
        })?;
        Ok(one)
    }

    /// The first row, if any.
    pub(crate) fn first<T: FromRow>(&self, plan: &T::Plan) -> Result<Option<T>> {
        let mut first = None;
        self.each(plan, |row: T| {
            first = Some(row);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// The one column of exactly one row.
    pub(crate) fn value<T: FromValue>(&self) -> Result<T> {
        let mut one = None;
        self.walk(|row, number| match one.replace(T::from_value(row).map_err(|e| e.in_row(number))?) {
            None => Ok(ControlFlow::Continue(())),
            Some(_) => Err(Error::multiple_results()),
        })?;
        one.ok_or_else(Error::no_results)
    }

    /// The one column of every row.
    pub(crate) fn flat<T: FromValue>(&self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.walk(|row, number| {
            all.push(T::from_value(row).map_err(|e| e.in_row(number))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Decodes row after row, until told to break.
    fn each<T: FromRow>(
        &self,
        plan: &T::Plan,
        mut then: impl FnMut(T) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.walk(|row, number| then(T::from_row(plan, row).map_err(|e| e.in_row(number))?))
    }

    /// Calls with each row and its number, counted from 1, until told to break.
    fn walk(&self, mut then: impl FnMut(&RowRef<'_>, u64) -> Result<ControlFlow<()>>) -> Result<()> {
        let mut reader = RowReader::new(self.statement.columns.clone());
        let mut number = 0;
        for (tag, body) in Messages::new(&self.reply) {
            if tag == b'D' {
                number += 1;
                let row = reader.read(&self.reply, body);
                let row = row.inspect_err(|error| self.link.kill(error.duplicate()))?;
                if then(&row, number)?.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
