//! A simple server made of a function from statements to answers: the extended and the simple protocol, good
//! enough for a client that prepares, describes, binds and runs. Uses: backend, frame.

use std::collections::HashMap;
use std::sync::Arc;

use super::backend::{self, BOOL, INT4, INT8};
use super::frame::{Direction, Frame, name};

/// A parameter or a column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int4(i32),
    Int8(i64),
    Text(String),
    /// Bytes as they shall stand in the row, or stood in the parameter, whatever the format.
    Raw(Vec<u8>),
}

/// A text value.
pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// What a statement does when it runs.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Rows; the tag is `SELECT n`.
    Rows(Vec<Vec<Value>>),
    /// No rows, this tag. `BEGIN`, `COMMIT` and `ROLLBACK` change the status of ReadyForQuery.
    Done(String),
    /// An error: SQLSTATE and message.
    Error(String, String),
    /// The connection ends here.
    HangUp,
}

type Run = Arc<dyn Fn(&[Value]) -> Outcome + Send + Sync>;

/// How one statement is described, and what it does.
#[derive(Clone)]
pub(crate) struct Answer {
    parameters: Vec<u32>,
    columns: Vec<(String, u32)>,
    run: Result<Run, (String, String)>,
}

impl Answer {
    /// The general form: types of the parameters, columns (none: the statement returns no rows), effect.
    pub(crate) fn new(
        parameters: &[u32],
        columns: &[(&str, u32)],
        run: impl Fn(&[Value]) -> Outcome + Send + Sync + 'static,
    ) -> Answer {
        let columns = columns.iter().map(|&(name, oid)| (name.to_owned(), oid)).collect();
        Answer { parameters: parameters.to_vec(), columns, run: Ok(Arc::new(run)) }
    }

    /// A statement that returns rows.
    pub(crate) fn rows(
        parameters: &[u32],
        columns: &[(&str, u32)],
        rows: impl Fn(&[Value]) -> Vec<Vec<Value>> + Send + Sync + 'static,
    ) -> Answer {
        Answer::new(parameters, columns, move |values| Outcome::Rows(rows(values)))
    }

    /// A statement without parameters and rows.
    pub(crate) fn done(tag: &str) -> Answer {
        let tag = tag.to_owned();
        Answer::new(&[], &[], move |_| Outcome::Done(tag.clone()))
    }

    /// A statement that the server does not even parse.
    pub(crate) fn error(code: &str, text: &str) -> Answer {
        let run = Err((code.to_owned(), text.to_owned()));
        Answer { parameters: Vec::new(), columns: Vec::new(), run }
    }

    fn describe_rows(&self, formats: &[i16]) -> Vec<u8> {
        if self.columns.is_empty() {
            return backend::no_data();
        }
        let columns = self.columns.iter().enumerate();
        let columns: Vec<_> =
            columns.map(|(at, (name, oid))| (name.as_str(), *oid, format_of(formats, at))).collect();
        backend::row_description_with_formats(&columns)
    }
}

/// What the connection does after a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Reads on; what was answered waits.
    Collect,
    /// Sends what was answered.
    Flush,
    /// Closes at once.
    HangUp,
    /// The client has said goodbye.
    End,
    /// Fails: this is no message of a client in this state.
    Unexpected(String),
}

struct Statement {
    sql: String,
    answer: Answer,
}

struct Portal {
    statement: Arc<Statement>,
    values: Vec<Value>,
    formats: Vec<i16>,
    rows: Option<std::vec::IntoIter<Vec<Value>>>,
}

/// The server's side of one session, without the socket.
pub(crate) struct Responder {
    answer: Arc<dyn Fn(&str) -> Answer + Send + Sync>,
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Portal>,
    status: u8,
    /// After an error everything up to the next Sync is skipped.
    skipping: bool,
    /// What is to be sent.
    pub(crate) out: Vec<u8>,
}

impl Responder {
    pub(crate) fn new(answer: Arc<dyn Fn(&str) -> Answer + Send + Sync>) -> Responder {
        Responder {
            answer,
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: b'I',
            skipping: false,
            out: Vec::new(),
        }
    }

    /// Takes one message of the client; the answer is appended to `out`.
    pub(crate) fn take(&mut self, frame: &Frame) -> Next {
        let mut body = Body(frame.body());
        let done = match frame.tag {
            b'X' => return Next::End,
            b'S' => {
                self.skipping = false;
                self.portals.retain(|_, _| self.status == b'T');
                self.out.extend(backend::ready(self.status));
                return Next::Flush;
            }
            b'H' => return Next::Flush,
            b'P' | b'B' | b'D' | b'E' | b'C' if self.skipping => return Next::Collect,
            b'P' => self.parse(&mut body),
            b'B' => self.bind(&mut body),
            b'D' => self.describe(&mut body),
            b'E' => self.execute(&mut body),
            b'C' => self.close(&mut body),
            b'Q' => {
                let next = body.text().map(|sql| self.simple(&sql));
                return next.unwrap_or_else(|| malformed(frame));
            }
            tag => return Next::Unexpected(format!("{} came", name(Direction::Frontend, tag))),
        };
        match done {
            Some(Ok(())) => Next::Collect,
            Some(Err(Stop::HangUp)) => Next::HangUp,
            Some(Err(Stop::Error(code, text))) => {
                self.fail(&code, &text);
                self.skipping = true;
                Next::Collect
            }
            None => malformed(frame),
        }
    }

    fn parse(&mut self, body: &mut Body<'_>) -> Option<Result<(), Stop>> {
        let (name, sql) = (body.text()?, body.text()?);
        let statement = Statement { answer: (self.answer)(&sql), sql };
        if let Err((code, text)) = &statement.answer.run {
            return Some(stop(code, text));
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Some(stop("42P05", "a prepared statement of this name exists"));
        }
        self.statements.insert(name, Arc::new(statement));
        self.out.extend(backend::parse_complete());
        Some(Ok(()))
    }

    fn bind(&mut self, body: &mut Body<'_>) -> Option<Result<(), Stop>> {
        let (portal, statement) = (body.text()?, body.text()?);
        let given_formats = body.numbers()?;
        let count = body.number16()?;
        let mut raw = Vec::new();
        for _ in 0..count {
            raw.push(body.value()?);
        }
        let formats = body.numbers()?;
        let Some(statement) = self.statements.get(&statement).cloned() else {
            return Some(stop("26000", "there is no prepared statement of this name"));
        };
        if raw.len() != statement.answer.parameters.len() {
            return Some(stop("08P01", "wrong number of parameters"));
        }
        let given = raw.into_iter().zip(&statement.answer.parameters).enumerate();
        let values = given.map(|(at, (raw, oid))| decode(raw, *oid, format_of(&given_formats, at)));
        let values = values.collect();
        self.portals.insert(portal, Portal { statement, values, formats, rows: None });
        self.out.extend(backend::bind_complete());
        Some(Ok(()))
    }

    fn describe(&mut self, body: &mut Body<'_>) -> Option<Result<(), Stop>> {
        let (kind, name) = (body.byte()?, body.text()?);
        if kind == b'S' {
            let Some(statement) = self.statements.get(&name) else {
                return Some(stop("26000", "there is no prepared statement of this name"));
            };
            self.out.extend(backend::parameter_description(&statement.answer.parameters));
            self.out.extend(statement.answer.describe_rows(&[]));
        } else {
            let Some(portal) = self.portals.get(&name) else {
                return Some(stop("34000", "there is no portal of this name"));
            };
            self.out.extend(portal.statement.answer.describe_rows(&portal.formats));
        }
        Some(Ok(()))
    }

    fn execute(&mut self, body: &mut Body<'_>) -> Option<Result<(), Stop>> {
        let (name, limit) = (body.text()?, body.number32()?);
        let Some(mut portal) = self.portals.remove(&name) else {
            return Some(stop("34000", "there is no portal of this name"));
        };
        if portal.rows.is_none() {
            match self.run(&portal.statement, &portal.values) {
                Err(stop) => return Some(Err(stop)),
                Ok(None) => {
                    portal.rows = Some(Vec::new().into_iter());
                    self.portals.insert(name, portal);
                    return Some(Ok(()));
                }
                Ok(Some(rows)) => portal.rows = Some(rows.into_iter()),
            }
        }
        let rows = portal.rows.as_mut()?;
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut count = 0;
        while count < limit {
            let Some(row) = rows.next() else { break };
            self.out.extend(encode_row(&row, &portal.formats));
            count += 1;
        }
        // Like the real one: exactly the limit is "suspended", even if nothing is left.
        let end = if count == limit {
            backend::portal_suspended()
        } else {
            backend::command_complete(&format!("SELECT {count}"))
        };
        self.out.extend(end);
        self.portals.insert(name, portal);
        Some(Ok(()))
    }

    fn close(&mut self, body: &mut Body<'_>) -> Option<Result<(), Stop>> {
        let (kind, name) = (body.byte()?, body.text()?);
        if kind == b'S' {
            self.statements.remove(&name);
        } else {
            self.portals.remove(&name);
        }
        self.out.extend(backend::close_complete());
        Some(Ok(()))
    }

    fn simple(&mut self, sql: &str) -> Next {
        self.portals.clear();
        if sql.trim().is_empty() {
            self.out.extend(backend::empty_query_response());
        } else {
            let statement = Statement { sql: sql.to_owned(), answer: (self.answer)(sql) };
            match self.run(&statement, &[]) {
                Ok(Some(rows)) => {
                    self.out.extend(statement.answer.describe_rows(&[]));
                    for row in &rows {
                        self.out.extend(encode_row(row, &[]));
                    }
                    self.out.extend(backend::command_complete(&format!("SELECT {}", rows.len())));
                }
                Ok(None) => {}
                Err(Stop::Error(code, text)) => self.fail(&code, &text),
                Err(Stop::HangUp) => return Next::HangUp,
            }
        }
        self.out.extend(backend::ready(self.status));
        Next::Flush
    }

    /// The rows, or nothing if the statement is complete already.
    fn run(&mut self, statement: &Statement, values: &[Value]) -> Result<Option<Vec<Vec<Value>>>, Stop> {
        let word = statement.sql.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
        if self.status == b'E' && !matches!(word.as_str(), "ROLLBACK" | "COMMIT" | "END" | "ABORT") {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Stop::Error("25P02".to_owned(), text.to_owned()));
        }
        let run = match &statement.answer.run {
            Ok(run) => run,
            Err((code, text)) => return Err(Stop::Error(code.clone(), text.clone())),
        };
        match run(values) {
            Outcome::Rows(rows) => Ok(Some(rows)),
            Outcome::Error(code, text) => Err(Stop::Error(code, text)),
            Outcome::HangUp => Err(Stop::HangUp),
            Outcome::Done(mut tag) => {
                if tag == "COMMIT" && self.status == b'E' {
                    tag = "ROLLBACK".to_owned();
                }
                match tag.as_str() {
                    "BEGIN" | "START TRANSACTION" => self.status = b'T',
                    // ROLLBACK TO has the same tag, but the transaction goes on.
                    "ROLLBACK" if statement.sql.to_ascii_uppercase().contains(" TO ") => self.status = b'T',
                    "COMMIT" | "ROLLBACK" => self.status = b'I',
                    _ => {}
                }
                self.out.extend(backend::command_complete(&tag));
                Ok(None)
            }
        }
    }

    fn fail(&mut self, code: &str, text: &str) {
        if self.status == b'T' {
            self.status = b'E';
        }
        self.out.extend(backend::error(code, text));
    }
}

enum Stop {
    Error(String, String),
    HangUp,
}

fn stop(code: &str, text: &str) -> Result<(), Stop> {
    Err(Stop::Error(code.to_owned(), text.to_owned()))
}

fn malformed(frame: &Frame) -> Next {
    Next::Unexpected(format!("{} is malformed: {frame:?}", name(Direction::Frontend, frame.tag)))
}

/// One format counts for all, none means text.
fn format_of(formats: &[i16], at: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        many => many.get(at).copied().unwrap_or(0),
    }
}

fn encode_row(row: &[Value], formats: &[i16]) -> Vec<u8> {
    let values: Vec<_> =
        row.iter().enumerate().map(|(at, value)| encode(value, format_of(formats, at))).collect();
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    backend::data_row(&values)
}

fn encode(value: &Value, format: i16) -> Option<Vec<u8>> {
    let binary = format == 1;
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) if binary => vec![u8::from(*value)],
        Value::Bool(value) => vec![if *value { b't' } else { b'f' }],
        Value::Int4(value) if binary => value.to_be_bytes().to_vec(),
        Value::Int4(value) => value.to_string().into_bytes(),
        Value::Int8(value) if binary => value.to_be_bytes().to_vec(),
        Value::Int8(value) => value.to_string().into_bytes(),
        Value::Text(text) => text.clone().into_bytes(),
        Value::Raw(bytes) => bytes.clone(),
    })
}

fn decode(raw: Option<Vec<u8>>, oid: u32, format: i16) -> Value {
    let Some(raw) = raw else { return Value::Null };
    let text = std::str::from_utf8(&raw).ok();
    let known = match (oid, format) {
        (BOOL, 1) => raw.first().map(|byte| Value::Bool(*byte != 0)),
        (BOOL, _) => text.map(|text| Value::Bool(text.starts_with('t'))),
        (INT4, 1) => raw.as_slice().try_into().ok().map(|four| Value::Int4(i32::from_be_bytes(four))),
        (INT4, _) => text.and_then(|text| text.parse().ok()).map(Value::Int4),
        (INT8, 1) => raw.as_slice().try_into().ok().map(|eight| Value::Int8(i64::from_be_bytes(eight))),
        (INT8, _) => text.and_then(|text| text.parse().ok()).map(Value::Int8),
        (backend::TEXT, _) => text.map(|text| Value::Text(text.to_owned())),
        _ => None,
    };
    known.unwrap_or(Value::Raw(raw))
}

/// The fields of a message, one after the other.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8(self.0[..end].to_vec()).ok()?;
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    fn number16(&mut self) -> Option<i16> {
        let (two, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*two))
    }

    fn number32(&mut self) -> Option<i32> {
        let (four, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*four))
    }

    fn numbers(&mut self) -> Option<Vec<i16>> {
        let count = self.number16()?;
        (0..count).map(|_| self.number16()).collect()
    }

    /// A value with its length; the outer option is whether it is all there.
    fn value(&mut self) -> Option<Option<Vec<u8>>> {
        let Ok(length) = usize::try_from(self.number32()?) else { return Some(None) };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(value.to_vec()))
    }
}
