//! What is overdue on a session, seen by the keeper. Uses: cancel, coro, deadline, error, keeper, link, ticket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::{GRACE, PATIENCE};
use super::link::{Link, State};
use super::ticket::{Asker, Drain};
use crate::coro::Waiter;
use crate::deadline::Deadline;
use crate::error::{Error, Outcome};
use crate::keeper::Sweep;

/// How long the reply of an errand may take to come after its caller has given up.
const DRAIN: Duration = Duration::from_secs(2);

impl Sweep for Link {
    fn sweep(self: Arc<Self>, now: Instant) -> Deadline {
        let mut woken = Vec::new();
        let mut next = Deadline::NEVER;
        let mut drained = Deadline::NEVER;
        let mut stop = false;
        let overdue = {
            let mut state = self.state.lock();
            if state.dead.is_some() {
                return Deadline::NEVER;
            }
            let may_stop = self.can_cancel() && state.may_stop(false);
            let State { session, fence, .. } = &mut *state;
            // The cancel has ended, and what it was to stop has not: nothing else is sent meanwhile.
            let unanswered = fence.is_owed() && !session.is_open();
            for ticket in session.waiting_mut() {
                if ticket.is_wanted() && ticket.deadline.passed(now) {
                    if may_stop && !std::mem::replace(&mut ticket.stopped, true) {
                        // The server is told to stop it, and may say in time what became of it.
                        ticket.deadline = Deadline::at(Some(now + GRACE));
                        stop = true;
                    } else {
                        woken.extend(ticket.expire());
                    }
                }
                if matches!(ticket.asker, Asker::Caller(_)) && !ticket.is_wanted() {
                    // It may have been given up while a fence held it back; or the cancel came before it, and is to be repeated.
                    if may_stop && ticket.deadline.passed(now) && (!ticket.stopped || unanswered) {
                        (ticket.stopped, stop) = (true, true);
                        ticket.deadline = Deadline::at(Some(now + GRACE));
                    }
                    if ticket.stopped {
                        let again = if ticket.deadline.passed(now) {
                            Deadline::at(Some(now + GRACE))
                        } else {
                            ticket.deadline
                        };
                        next = next.min(again);
                    }
                }
                if ticket.is_wanted() {
                    next = next.min(ticket.deadline);
                } else if let Asker::Errand(_) | Asker::Rider(_) = ticket.asker {
                    // Its caller has given up, and nobody holds a lease whose return would begin a clean-up.
                    let drain = *ticket.drain.get_or_insert_with(|| Drain {
                        stop: Deadline::at(Some(now + PATIENCE)),
                        end: Deadline::at(Some(now + DRAIN)),
                    });
                    drained = drained.min(drain.end);
                    if may_stop && !ticket.stopped {
                        (ticket.stopped, stop) = (drain.stop.passed(now), stop || drain.stop.passed(now));
                        next = if ticket.stopped { next } else { next.min(drain.stop) };
                    }
                }
            }
            for ticket in fence.tickets_mut().filter(|ticket| ticket.is_wanted()) {
                if ticket.deadline.passed(now) {
                    woken.extend(ticket.expire());
                } else {
                    next = next.min(ticket.deadline);
                }
            }
            stop = stop && !fence.is_cancelling();
            if stop {
                fence.begin();
            }
            if let Some(clean_up) = state.clean_up.as_ref().filter(|clean_up| !clean_up.stopped) {
                if !clean_up.stop.passed(now) {
                    next = next.min(clean_up.stop);
                } else if self.can_cancel() {
                    stop |= state.stop_for_clean_up();
                }
            }
            let limits = [
                (drained, "its reply was given up and took too long to come"),
                (state.write_deadline, "the server took no bytes for too long"),
                state.clean_up.as_ref().map_or((Deadline::NEVER, ""), |c| (c.deadline, c.overdue)),
                (
                    state.ending.unwrap_or(Deadline::NEVER),
                    "its work was not done when the close deadline passed",
                ),
            ];
            next = limits.iter().fold(next, |next, (deadline, _)| next.min(*deadline));
            limits.iter().find(|(deadline, _)| deadline.passed(now)).map(|(_, reason)| *reason)
        };
        woken.iter().for_each(Waiter::wake);
        if stop {
            self.launch(None);
        }
        if let Some(reason) = overdue {
            self.kill(Error::closed(format!("the connection was closed: {reason}"), Outcome::Unknown));
            return Deadline::NEVER;
        }
        next
    }
}
