//! What a borrower leaves behind in a session is gone before the next request. Uses: error, lane, link, plan, protocol, ticket.
//!
//! The reset costs no round trip: it travels in front of the first request of the next borrower, with a Sync of its own,
//! because what comes behind may have to run outside of a transaction, and because its rollback must not undo the reset.
//!
//! So that request is sent before anybody knows whether the reset has worked. It does not run all the same if it has not: the
//! reset is a transaction, and one that has failed refuses everything until it is ended. What begins with its end, a script
//! with ROLLBACK or COMMIT in it, waits for the reset; see [`Link::awaits_reset`]. The session is closed in any case.

use super::lane::Role;
use super::link::{Link, State};
use super::plan::Plan;
use super::ticket::{Asker, Over, Ticket};
use crate::error::{Error, Outcome};
use crate::protocol::decode;
use crate::protocol::session::{End, Exchange, PassedOver, Reply, Status};

/// DISCARD ALL but for prepared statements and plans, which stay; and in a transaction, which DISCARD ALL refuses. Its
/// isolation level is said because with a default of SERIALIZABLE READ ONLY DEFERRABLE it would wait for other transactions.
///
/// Source: PostgreSQL manual, "DISCARD". Temporary roles end with RESET SESSION AUTHORIZATION too.
const RESET: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; COMMIT";

/// What is known of the state that a session's borrowers leave behind.
#[derive(Default)]
pub(super) struct Reset {
    /// Something was asked of the session since the last reset was ordered.
    ran: bool,
    /// The next request is to have it in front.
    due: bool,
    /// What has run may have changed what the texts of statements mean.
    renamed: bool,
    /// What has run leaves something behind for certain, as far as that can be seen.
    traces: bool,
    /// Why the last one has failed.
    error: Option<Error>,
    /// It has failed: whether that is certain to have kept what came behind from running.
    failed: Option<Outcome>,
}

impl Reset {
    /// A command has run, by its tag.
    pub(super) fn completed(&mut self, tag: &[u8]) {
        // search_path, or a temporary table that hides another. `set_config` and SELECT INTO leave no trace: after these the
        // server refuses a statement whose columns have changed, and it is prepared again.
        self.renamed |= tag == b"SET\0" || tag.starts_with(b"CREATE ");
        self.traces |= matches!(tag, b"SET\0" | b"RESET\0" | b"LISTEN\0" | b"LOAD\0" | b"DO\0" | b"CALL\0");
    }

    /// A plan is about to be used.
    pub(super) fn note_plan(&mut self, plan: &Plan) {
        self.traces |= plan.session.is_some();
    }

    /// The server has refused a part of it: the body of its ErrorResponse.
    pub(super) fn refused(&mut self, body: &[u8]) {
        self.error = Some(Error::database(decode::error_fields(body)));
    }

    /// It is over.
    pub(super) fn answered(&mut self, reply: &Reply) {
        if reply.end != End::Complete {
            // In a failed transaction; else not even its BEGIN was executed.
            let kept = reply.status == Status::Failed;
            self.failed = Some(if kept { Outcome::RolledBack } else { Outcome::Unknown });
        }
    }

    /// What a request behind it is told, if it has failed.
    pub(super) fn lost(&self) -> Option<Error> {
        let outcome = self.failed?;
        let message = match outcome {
            Outcome::Unknown => {
                "the session could not be prepared before it ran the statement, and was closed"
            }
            _ => {
                "the session could not be prepared before the statement, which was not run; the session was closed"
            }
        };
        Some(Error::closed(message, outcome).caused_by(self.death()?))
    }

    /// What the session dies of, if it has failed.
    pub(super) fn death(&self) -> Option<Error> {
        self.failed?;
        let error = Error::closed("what its last borrower left behind could not be undone", Outcome::NotSent);
        Some(match &self.error {
            Some(cause) => error.caused_by(cause.duplicate()),
            None => error,
        })
    }
}

impl Link {
    /// Orders a reset of what borrowers leave behind: settings, temporary tables, advisory locks, LISTEN, cursors, the
    /// values of sequences, roles. Prepared statements stay. It is sent in front of the next request, and not at all if nothing
    /// was asked of the session since the last. For a session that is clean. Does not wait.
    ///
    /// Settings go back to what they were when the connection was opened: a SET of `after_connect` is undone too.
    pub(crate) fn reset_later(&self) {
        self.state.lock().order_reset(true);
    }

    /// What was done until now is what all who come find.
    pub(crate) fn settle(&self) {
        self.state.lock().reset.traces = false;
    }

    /// What is about to be sent leaves something behind in the session.
    pub(super) fn note_traces(&self) {
        self.state.lock().reset.traces = true;
    }

    /// Whether the next request has a reset in front. What ends transactions must not be that request: it could go on after a
    /// reset that has failed.
    pub(super) fn awaits_reset(&self) -> bool {
        let state = self.state.lock();
        state.reset.due || state.lane.is_prepared()
    }
}

impl State {
    /// Whether something was done since the last reset that leaves traces for certain.
    pub(super) fn has_traces(&self) -> bool {
        self.reset.traces
    }

    /// The next request is to find nothing that a borrower has left behind. `any` if it is taken to have left something whatever
    /// it did; else only if that was seen.
    pub(super) fn order_reset(&mut self, any: bool) {
        let State { reset, statements, .. } = self;
        let (ran, traces) = (std::mem::take(&mut reset.ran), std::mem::take(&mut reset.traces));
        if ran && any || traces {
            reset.due = true;
            // What was parsed in the state that is reset may mean something else in the one that follows.
            if std::mem::take(&mut reset.renamed) {
                statements.close_all_later();
            } else {
                statements.close_own_later();
            }
        }
    }

    /// Queues a request, behind what prepares the session for it.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        exchange: Exchange,
        ticket: Ticket,
    ) -> Result<(), PassedOver<Ticket>> {
        match ticket.asker {
            Asker::Caller(_) | Asker::Errand(_) if ticket.reads => self.prepare(Role::Reader),
            Asker::Caller(_) | Asker::Errand(_) => {
                self.reset.ran = true;
                self.prepare(Role::Lease);
            }
            _ => {}
        }
        self.session.submit(bytes, exchange, ticket)
    }

    /// What the next request finds: a session of this role, and nothing of a borrower's if a reset is due. Whoever is lent a session
    /// has nothing outstanding on it; anywhere else this would end a transaction.
    pub(super) fn prepare(&mut self, role: Role) {
        if !self.session.is_quiet() || self.session.status() != Status::Idle {
            return;
        }
        if std::mem::take(&mut self.reset.due) {
            self.take_role(Role::Lease);
            self.send_in_front(RESET);
        }
        self.take_role(role);
    }

    /// After a reset that has failed: whoever waits behind it is told, and what the session dies of.
    pub(super) fn fail_reset(&mut self, over: &mut Over) -> Option<Error> {
        let death = self.reset.death()?;
        for (ticket, _) in self.session.abandon(u64::MAX) {
            if let Some(lost) = self.reset.lost() {
                over.add(ticket.asker, Err(lost));
            }
        }
        Some(death)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::connection::{Connection, Fitness, Knowledge, open};

    const DONE: &[u8] = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";
    const REFUSED: &[u8] = b"E\0\0\0\x13VERROR\0C57014\0\0";
    const IN_FAILED: &[u8] = b"E\0\0\0\x13VERROR\0C25P02\0\0Z\0\0\0\x05E";

    /// A session with a server that answers simple queries with these, one after the other; and what they were.
    fn enter(answers: Vec<Vec<u8>>) -> (Connection, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let (asked, ask) = mpsc::channel();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            // AuthenticationOk, ReadyForQuery.
            let _ = socket.read(&mut [0; 1024]).expect("the start-up");
            socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").expect("the client reads");
            for answer in answers {
                let mut header = [0; 5];
                if socket.read_exact(&mut header).is_err() || header[0] != b'Q' {
                    return;
                }
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                let mut text = vec![0; length as usize - 4];
                socket.read_exact(&mut text).expect("the rest");
                asked.send(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()).expect("heard");
                socket.write_all(&answer).expect("the client reads");
            }
            let _ = socket.read(&mut [0; 1024]);
        });
        let config = Config::new().host("127.0.0.1").port(port).user("me");
        let (report, reported) = mpsc::channel();
        open(Arc::new(config), Knowledge::new(8), move |result| {
            report.send(result).expect("it is waited for")
        })
        .expect("a coroutine");
        let link = reported.recv().expect("a report").expect("a connection");
        (Connection::new(link, Some(Duration::from_secs(20))), ask)
    }

    fn asked(ask: &Receiver<String>) -> Vec<String> {
        ask.try_iter().collect()
    }

    #[test]
    fn a_reset_goes_before_the_next_request_if_anything_has_run_since_the_last() {
        let (connection, ask) = enter(vec![DONE.to_vec(); 5]);
        let link = connection.link();
        link.reset_later();
        connection.script("one").expect("done");
        assert_eq!(asked(&ask), ["one"], "nothing had run");
        link.reset_later();
        link.reset_later();
        assert_eq!(link.fitness(), Fitness::Clean, "nothing was sent");
        connection.script("two").expect("done");
        connection.script("three").expect("done");
        assert_eq!(asked(&ask), [RESET, "two", "three"]);
    }

    #[test]
    fn behind_a_reset_that_fails_nothing_is_run_and_the_session_dies() {
        let failed = [REFUSED, b"Z\0\0\0\x05E"].concat();
        let (connection, _ask) = enter(vec![DONE.to_vec(), failed, IN_FAILED.to_vec()]);
        connection.script("one").expect("done");
        connection.link().reset_later();
        let error = connection.script("two").expect_err("the reset failed");
        assert_eq!((error.outcome(), error.sqlstate()), (Outcome::RolledBack, Some("57014")), "{error:?}");
        assert_eq!(connection.link().fitness(), Fitness::Broken);
    }

    #[test]
    fn a_reset_that_did_not_begin_may_not_have_kept_anything_from_running() {
        let failed = [REFUSED, b"Z\0\0\0\x05I"].concat();
        let (connection, _ask) = enter(vec![DONE.to_vec(), failed, DONE.to_vec()]);
        connection.script("one").expect("done");
        connection.link().reset_later();
        let error = connection.script("two").expect_err("the reset failed");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        assert_eq!(connection.link().fitness(), Fitness::Broken);
    }

    #[test]
    fn what_ends_transactions_waits_for_the_reset() {
        let failed = [REFUSED, b"Z\0\0\0\x05E"].concat();
        let (connection, ask) = enter(vec![DONE.to_vec(), failed]);
        connection.script("one").expect("done");
        connection.link().reset_later();
        let error = connection.script("ROLLBACK; DELETE FROM t").expect_err("the reset failed");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert_eq!(asked(&ask), ["one", RESET]);
    }
}
