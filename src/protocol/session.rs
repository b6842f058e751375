//! The session's state machine: requests queue up, bytes are fed, replies come out in order. Uses: decode, frame.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use postgres_protocol::message::backend::*;
use postgres_protocol::message::frontend;

use super::decode;
use super::frame::{self, HEADER, Violation};

/// The transaction status of the last ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Outside a transaction.
    Idle,
    /// In a transaction.
    Transaction,
    /// In a transaction that has failed and waits for its ROLLBACK.
    Failed,
}

/// One frontend message, by the answer it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Close: CloseComplete.
    Close,
    /// Parse: ParseComplete.
    Parse,
    /// Describe of a statement: ParameterDescription, then RowDescription or NoData.
    Describe,
    /// Bind: BindComplete.
    Bind,
    /// Execute: rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Sync: ReadyForQuery.
    Sync,
    /// Query (the simple protocol): results of several statements, then ReadyForQuery.
    Simple,
}

/// The messages of one request, in order. A request that does not end with Sync or Query ends with Flush.
///
/// Commands may go with it: some before, such as BEGIN, of whose answers the reply tells nothing unless one is an error,
/// and one behind, before the Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    steps: [Step; Exchange::LONGEST],
    length: u8,
    before: u8,
    behind: bool,
}

/// What a command that goes with a request is made of.
const COMMAND: [Step; 3] = [Step::Parse, Step::Bind, Step::Execute];
/// The same as a number of steps.
const COMMAND_STEPS: u8 = 3;

impl Exchange {
    const LONGEST: usize = 7;
    /// How many commands can go before a request.
    pub(crate) const MOST_BEFORE: usize = 70;

    pub(crate) const fn new(steps: &[Step]) -> Exchange {
        assert!(!steps.is_empty() && steps.len() <= Exchange::LONGEST, "an exchange has one to seven steps");
        let mut all = [Step::Sync; Exchange::LONGEST];
        let mut at = 0;
        while at < steps.len() {
            all[at] = steps[at];
            at += 1;
        }
        // At most seven, checked above.
        #[allow(clippy::cast_possible_truncation)]
        Exchange { steps: all, length: steps.len() as u8, before: 0, behind: false }
    }

    /// The same with so many commands before it, and one behind or none. Only one that ends with Sync; none goes behind
    /// nothing.
    pub(crate) fn with_commands(self, before: usize, behind: bool) -> Exchange {
        let before = u8::try_from(before.min(Exchange::MOST_BEFORE)).unwrap_or(0);
        Exchange { before, behind: behind && self.length > 1, ..self }
    }

    /// Where its own steps begin.
    fn begin(&self) -> u8 {
        self.before * COMMAND_STEPS
    }

    /// Where the command behind it begins.
    fn behind(&self) -> Option<u8> {
        self.behind.then(|| self.begin() + self.length - 1)
    }

    /// How many steps there are.
    fn count(&self) -> u8 {
        self.begin() + self.length + if self.behind { COMMAND_STEPS } else { 0 }
    }

    fn step(&self, at: u8) -> Option<Step> {
        let Some(own) = at.checked_sub(self.begin()) else {
            return COMMAND.get(usize::from(at % COMMAND_STEPS)).copied();
        };
        let own = match self.behind() {
            Some(behind) if at >= behind => match COMMAND.get(usize::from(at - behind)) {
                Some(step) => return Some(*step),
                None => own - COMMAND_STEPS,
            },
            _ => own,
        };
        self.steps[..usize::from(self.length)].get(usize::from(own)).copied()
    }

    /// Whether ReadyForQuery ends it.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.step(self.count() - 1), Some(Step::Sync | Step::Simple))
    }

    /// Where its Sync stands. After an error the server reads on from there; a Query it would pass over.
    fn sync_step(&self) -> Option<u8> {
        let last = self.count() - 1;
        (self.step(last) == Some(Step::Sync)).then_some(last)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every step was answered.
    Complete,
    /// The server answered with an ErrorResponse, which is in the reply.
    Failed,
    /// An earlier request failed, and the server passed this one over.
    Skipped,
    /// The statement was a COPY, which has a function of its own; it was stopped.
    Copy,
}

/// All that the server sent for one request: whole messages, notices between them included.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Bytes,
    pub(crate) end: End,
    /// The status of the session when it was over.
    pub(crate) status: Status,
    /// Where in the bytes the answer to the command behind the request begins.
    pub(crate) behind: Option<usize>,
}

impl Reply {
    /// Of a request that the server has passed over.
    pub(crate) fn skipped(status: Status) -> Reply {
        Reply { bytes: Bytes::new(), end: End::Skipped, status, behind: None }
    }
}

/// What the owner of the session wants to know while bytes are fed. `T` is what it filed with a request.
pub(crate) trait Sink<T> {
    /// The request is over.
    fn reply(&mut self, token: T, reply: Reply);
    /// Whether anybody still waits for the reply; if not, its bytes are thrown away as they come.
    fn wanted(&self, token: &T) -> bool;
    /// The request has failed: the body of its ErrorResponse.
    fn failed(&mut self, token: &T, body: &[u8]);
    /// A warning or a piece of information.
    fn notice(&mut self, body: &[u8]);
    /// NOTIFY by some session.
    fn notification(&mut self, body: &[u8]);
    /// A setting of the session has this value now.
    fn parameter(&mut self, body: &[u8]);
    /// A command is complete: its tag, with the zero behind it.
    fn completed(&mut self, _tag: &[u8]) {}
    /// The server is ready for the next query.
    fn ready(&mut self, _status: Status) {}
    /// Whether any of a request that begins there in the stream of bytes may have left.
    fn has_left(&self, _start: u64) -> bool {
        true
    }
}

/// A session past its start-up.
pub(crate) struct Session<T> {
    pending: VecDeque<Pending<T>>,
    output: BytesMut,
    status: Status,
    /// Bytes of whole messages at the front of the input that belong to the first pending request.
    scanned: usize,
    /// An error has come and no ReadyForQuery since: the server passes over everything up to a Sync.
    skipping: bool,
    /// Something was sent after which no Sync has been sent yet.
    unsynced: bool,
    /// The longest message, and the longest reply, in bytes.
    limit: usize,
    /// Bytes ever appended to the output.
    appended: u64,
}

struct Pending<T> {
    exchange: Exchange,
    at: u8,
    inside: Inside,
    end: End,
    /// Where in the stream of output its first byte stands.
    start: u64,
    /// Where in the input its own answer begins, behind those to the commands before it.
    own: usize,
    /// Where the answer to the command behind it begins.
    behind: Option<usize>,
    token: T,
}

/// Where within a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Start,
    /// ParameterDescription has come; or, in a simple query, RowDescription has.
    Described,
    /// COPY out runs.
    CopyOut,
    /// COPY in was refused; the ErrorResponse comes.
    CopyRefused,
    /// A statement of a simple query is complete. Only then can ReadyForQuery be the answer to it: one too many,
    /// left over from whatever came before, must not be taken for an answer.
    Answered,
    /// An ErrorResponse has come; only ReadyForQuery is left.
    Failed,
}

/// Why a session is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fatal {
    /// The server broke the protocol.
    Violation(Violation),
    /// The server said why it ends the session: the body of its ErrorResponse.
    Farewell(Bytes),
}

impl From<Violation> for Fatal {
    fn from(violation: Violation) -> Fatal {
        Fatal::Violation(violation)
    }
}

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PassedOver<T>(pub(crate) T);

impl<T> Session<T> {
    /// A session whose first ReadyForQuery has been read.
    pub(crate) fn new(limit: usize) -> Session<T> {
        Session {
            pending: VecDeque::new(),
            output: BytesMut::new(),
            status: Status::Idle,
            scanned: 0,
            skipping: false,
            unsynced: false,
            limit,
            appended: 0,
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// Whether nothing is outstanding: no reply, no Sync.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty() && !self.unsynced && !self.skipping
    }

    /// Whether requests were sent that no Sync has closed yet.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced || self.skipping
    }

    /// Whether the last request was sent without a Sync.
    pub(crate) fn is_open(&self) -> bool {
        self.unsynced
    }

    /// Whether replies are outstanding.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The bytes to send: whoever takes them sends them.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Queues a request: its bytes and what they will be answered with.
    ///
    /// While the server passes everything over, a request without a Sync would never be answered: it comes back.
    pub(crate) fn submit(&mut self, bytes: &[u8], exchange: Exchange, token: T) -> Result<(), PassedOver<T>> {
        let (at, end) = match exchange.sync_step() {
            _ if !(self.skipping && self.pending.is_empty()) => (0, End::Complete),
            Some(sync) => (sync, passed_over(sync)),
            None => return Err(PassedOver(token)),
        };
        self.unsynced = !exchange.is_closed();
        let start = self.appended;
        self.output.extend_from_slice(bytes);
        self.appended += bytes.len() as u64;
        let inside = Inside::Start;
        self.pending.push_back(Pending { exchange, at, inside, end, start, own: 0, behind: None, token });
        Ok(())
    }

    /// The tokens of the requests that wait, oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.pending.iter().map(|pending| &pending.token)
    }

    /// The same, to be changed.
    pub(crate) fn waiting_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pending.iter_mut().map(|pending| &mut pending.token)
    }

    /// Ends everything that waits: each token with whether a byte of its request had left, given how many
    /// bytes the owner has sent since the start.
    pub(crate) fn abandon(&mut self, sent: u64) -> impl Iterator<Item = (T, bool)> {
        self.output.clear();
        self.pending.drain(..).map(move |pending| (pending.token, pending.start < sent))
    }

    /// Reads what has arrived. What is left in `input` afterwards is the beginning of a message, or of the reply
    /// of the first pending request. After an error the session is good for nothing.
    pub(crate) fn feed(&mut self, input: &mut BytesMut, sink: &mut impl Sink<T>) -> Result<(), Fatal> {
        while let Some(frame) = frame::next(&input[self.scanned..], self.limit)? {
            let body = self.scanned + HEADER..self.scanned + frame.length;
            match frame.tag {
                NOTICE_RESPONSE_TAG => sink.notice(&input[body]),
                NOTIFICATION_RESPONSE_TAG => sink.notification(&input[body]),
                PARAMETER_STATUS_TAG => sink.parameter(&input[body]),
                ERROR_RESPONSE_TAG if self.pending.is_empty() || decode::is_fatal(&input[body.clone()]) => {
                    let farewell = Bytes::copy_from_slice(&input[body]);
                    self.scanned += frame.length;
                    // What has not left is not what the server speaks of.
                    if let Some(first) = self.pending.front_mut().filter(|first| sink.has_left(first.start)) {
                        // A command behind a COPY makes the server give up.
                        first.end = if first.inside == Inside::CopyRefused { End::Copy } else { End::Failed };
                        first.behind = None;
                        self.finish(input, sink);
                    }
                    return Err(Fatal::Farewell(farewell));
                }
                tag => {
                    if let (ERROR_RESPONSE_TAG, Some(first)) = (tag, self.pending.front()) {
                        sink.failed(&first.token, &input[body.clone()]);
                    }
                    if tag == COMMAND_COMPLETE_TAG {
                        sink.completed(&input[body.clone()]);
                    }
                    let done = self.advance(tag, &input[body])?;
                    if tag == READY_FOR_QUERY_TAG {
                        sink.ready(self.status);
                    }
                    self.scanned += frame.length;
                    if done {
                        self.finish(input, sink);
                    } else if tag == DATA_ROW_TAG {
                        self.scanned += rows(&input[self.scanned..], self.limit);
                    }
                    continue;
                }
            }
            self.scanned += frame.length;
        }
        match self.pending.front() {
            Some(first) if sink.wanted(&first.token) => {
                if self.scanned > self.limit {
                    let limit = self.limit;
                    let reason = format!("a reply grew beyond {limit} bytes (max_message_size); stream it");
                    return Err(Violation(reason).into());
                }
            }
            // Nobody's bytes, or nobody's any more: never pile them up.
            _ => {
                drop(input.split_to(self.scanned));
                self.scanned = 0;
            }
        }
        Ok(())
    }

    /// Takes one message; whether it ends the first pending request.
    fn advance(&mut self, tag: u8, body: &[u8]) -> Result<bool, Violation> {
        let end = self.scanned + HEADER + body.len();
        let others = self.pending.len() > 1;
        let Some(first) = self.pending.front_mut() else {
            return Err(unasked(tag));
        };
        let Some(step) = first.exchange.step(first.at) else {
            return Err(unasked(tag));
        };
        let synced = first.exchange.sync_step();
        if tag == ERROR_RESPONSE_TAG {
            if first.inside == Inside::Failed || (step == Step::Sync && first.end != End::Complete) {
                return Err(out_of_turn(tag, step));
            }
            first.end = if first.inside == Inside::CopyRefused { End::Copy } else { End::Failed };
            first.inside = Inside::Start;
            // Whatever it was that failed, the error is the reply.
            first.behind = None;
            if first.at < first.exchange.begin() {
                first.own = self.scanned;
            }
            if step == Step::Simple {
                first.inside = Inside::Failed;
                return Ok(false);
            }
            self.skipping = true;
            if let Some(sync) = synced {
                first.at = sync;
            }
            return Ok(synced.is_none());
        }
        let answered = match (step, tag, first.inside) {
            (Step::Close, CLOSE_COMPLETE_TAG, _) => true,
            (Step::Parse, PARSE_COMPLETE_TAG, _) => true,
            (Step::Describe, PARAMETER_DESCRIPTION_TAG, Inside::Start) => {
                first.inside = Inside::Described;
                false
            }
            (Step::Describe, ROW_DESCRIPTION_TAG | NO_DATA_TAG, Inside::Described) => true,
            (Step::Bind, BIND_COMPLETE_TAG, _) => true,
            (Step::Execute, DATA_ROW_TAG, Inside::Start) => false,
            (Step::Execute, COMMAND_COMPLETE_TAG, Inside::Start) => true,
            (Step::Execute, EMPTY_QUERY_RESPONSE_TAG | PORTAL_SUSPENDED_TAG, Inside::Start) => true,
            (Step::Simple, ROW_DESCRIPTION_TAG, Inside::Start | Inside::Answered) => {
                first.inside = Inside::Described;
                false
            }
            (Step::Simple, DATA_ROW_TAG, Inside::Described) => false,
            (Step::Simple, COMMAND_COMPLETE_TAG, Inside::Start | Inside::Described | Inside::Answered)
            | (Step::Simple, EMPTY_QUERY_RESPONSE_TAG, Inside::Start) => {
                first.inside = Inside::Answered;
                false
            }
            (Step::Execute | Step::Simple, COPY_IN_RESPONSE_TAG, Inside::Start | Inside::Answered) => {
                // The server reads copy data now and has passed over our Sync (PostgreSQL manual, "COPY
                // Operations"); what others queued behind would be taken for data.
                if others {
                    return Err(Violation("COPY FROM STDIN began in front of other requests".to_owned()));
                }
                first.inside = Inside::CopyRefused;
                let mut refusal = BytesMut::new();
                // Fails only for a text with a NUL.
                let _ = frontend::copy_fail("COPY needs a function of its own", &mut refusal);
                if synced.is_some() {
                    frontend::sync(&mut refusal);
                }
                self.output.extend_from_slice(&refusal);
                self.appended += refusal.len() as u64;
                false
            }
            (Step::Execute | Step::Simple, COPY_OUT_RESPONSE_TAG, Inside::Start | Inside::Answered) => {
                first.inside = Inside::CopyOut;
                first.end = End::Copy;
                false
            }
            (_, COPY_DATA_TAG, Inside::CopyOut) => false,
            (_, COPY_DONE_TAG, Inside::CopyOut) => {
                first.inside = Inside::Start;
                false
            }
            (Step::Sync, READY_FOR_QUERY_TAG, _)
            | (Step::Simple, READY_FOR_QUERY_TAG, Inside::Answered | Inside::Failed) => {
                self.status = match body {
                    b"I" => Status::Idle,
                    b"T" => Status::Transaction,
                    b"E" => Status::Failed,
                    _ => return Err(Violation("ReadyForQuery has an unknown status".to_owned())),
                };
                self.skipping = false;
                true
            }
            _ => return Err(out_of_turn(tag, step)),
        };
        if answered {
            first.at += 1;
            first.inside = Inside::Start;
            if first.at == first.exchange.begin() {
                first.own = end;
            }
            if Some(first.at) == first.exchange.behind() {
                first.behind = Some(end);
            }
        }
        Ok(first.at >= first.exchange.count())
    }

    /// Hands out the reply of the first pending request, and of those that the server passes over with it.
    fn finish(&mut self, input: &mut BytesMut, sink: &mut impl Sink<T>) {
        let mut bytes = input.split_to(self.scanned).freeze();
        self.scanned = 0;
        if let Some(done) = self.pending.pop_front() {
            // What nobody waits for has been thrown away in part, and is so now.
            bytes.advance(done.own.min(bytes.len()));
            let behind = done.behind.map(|at| at.saturating_sub(done.own).min(bytes.len()));
            sink.reply(done.token, Reply { bytes, end: done.end, status: self.status, behind });
        }
        if !self.skipping {
            return;
        }
        while let Some(next) = self.pending.front_mut() {
            if let Some(sync) = next.exchange.sync_step() {
                next.at = sync;
                next.end = passed_over(sync);
                return;
            }
            if let Some(skipped) = self.pending.pop_front() {
                sink.reply(skipped.token, Reply::skipped(self.status));
            }
        }
    }
}

/// How many bytes of whole rows are next. Where one row may come, so may others, and they change nothing.
fn rows(input: &[u8], limit: usize) -> usize {
    let mut length = 0;
    while let Ok(Some(frame)) = frame::next(&input[length..], limit)
        && frame.tag == DATA_ROW_TAG
    {
        length += frame.length;
    }
    length
}

/// The end of a request that the server reads again from its Sync on: a Sync alone loses nothing.
fn passed_over(sync: u8) -> End {
    if sync > 0 { End::Skipped } else { End::Complete }
}

fn unasked(tag: u8) -> Violation {
    Violation(format!("message {} came unasked", printable(tag)))
}

fn out_of_turn(tag: u8, step: Step) -> Violation {
    Violation(format!("message {} came in answer to {step:?}", printable(tag)))
}

fn printable(tag: u8) -> String {
    format!("'{}'", char::from(tag).escape_default())
}

#[cfg(test)]
mod tests;
