//! The rules one by one. Uses: core, deadline.

use std::time::{Duration, Instant};

use super::*;

/// Connections, waiters and failures are plain values here.
type Pool = Core<u32, char, &'static str>;

fn pool(connections: usize) -> Pool {
    Core::new(limits(connections, 2, 100))
}

/// Limits in number, and none in time.
pub(super) fn limits(connections: usize, opening: usize, waiting: usize) -> Limits {
    let (lifetime, idle, ping, leak, hold) = (None, None, None, None, None);
    let (lanes, group, min_idle) = (connections, 64, 0);
    Limits { connections, opening, waiting, lanes, group, min_idle, lifetime, idle, ping, leak, hold }
}

/// Nobody in particular asks.
fn ask(pool: &mut Pool, join: impl FnOnce() -> (Deadline, char)) -> Acquire<u32, &'static str> {
    pool.acquire(Borrower::NOBODY, |_| 0, || waits(join()))
}

fn opened(pool: &mut Pool, id: ConnectionId, handle: u32) -> Effects<u32, char> {
    pool.opened(id, handle, 0.0, start())
}

/// What one who waits brings along.
pub(super) fn waits<W>((deadline, wake): (Deadline, W)) -> Joining<W> {
    Joining { deadline, now: start(), wake }
}

/// A pool in which `connections` are open and idle; their handles are 1, 2, …
fn warm(connections: usize) -> (Pool, Vec<ConnectionId>) {
    let mut pool = pool(connections);
    let mut ids = Vec::new();
    for handle in 1..=u32::try_from(connections).unwrap() {
        let (ticket, open) = wait(&mut pool, 'w');
        let id = open.unwrap();
        assert_eq!(opened(&mut pool, id, handle).wake, Some('w'));
        assert!(matches!(pool.claim(ticket, || '-'), Claim::Lent(it) if it.connection == handle));
        ids.push(id);
    }
    let leases: Vec<_> = pool.slots.inspect().into_iter().map(|(_, _, lease, _)| lease).collect();
    for lease in leases {
        assert_eq!(told(pool.give_back(lease, Returned::Clean)), "");
    }
    assert_eq!(pool.ledger().idle, connections);
    (pool, ids)
}

/// A moment as a deadline: one that has passed by then has nothing left to share.
pub(super) fn deadline(at: Instant) -> Deadline {
    Deadline::after(Duration::ZERO).share(at, 1)
}

/// A moment from which on the clock of a test runs.
pub(super) fn start() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn lease(pool: &mut Pool) -> (LeaseId, u32) {
    match ask(pool, || unreachable!("no need to wait")) {
        Acquire::Lent(lent) => (lent.lease, lent.connection),
        other => panic!("{other:?}"),
    }
}

fn wait(pool: &mut Pool, who: char) -> (Ticket, Option<ConnectionId>) {
    wait_until(pool, who, Deadline::NEVER)
}

fn wait_until(pool: &mut Pool, who: char, deadline: Deadline) -> (Ticket, Option<ConnectionId>) {
    match ask(pool, || (deadline, who)) {
        Acquire::Queued { ticket, open } => (ticket, open),
        other => panic!("{other:?}"),
    }
}

fn claimed(pool: &mut Pool, ticket: Ticket) -> (LeaseId, u32) {
    match pool.claim(ticket, || '-') {
        Claim::Lent(lent) => (lent.lease, lent.connection),
        other => panic!("{other:?}"),
    }
}

/// All effects as one line: who is woken, who is refused, whose driver is called, opens, cleanings, and what is to be closed.
pub(super) fn told(effects: Effects<u32, char>) -> String {
    let mut said = String::new();
    said.extend(effects.wake.map(|who| format!("wake {who} ")));
    said.extend(effects.wake_others.iter().map(|who| format!("tell {who} ")));
    said.extend(effects.call.iter().map(|(_, handle)| format!("call {handle} ")));
    said.extend(effects.open.iter().map(|_| "open "));
    said.extend(effects.clean.map(|_| "clean "));
    said.extend(effects.check.iter().map(|(_, handle)| format!("check {handle} ")));
    said.extend(effects.close.iter().map(|(handle, _)| format!("close {handle} ")));
    said.extend(effects.cut.iter().map(|handle| format!("cut {handle} ")));
    said.extend(effects.leaks.iter().map(|it| format!("leak {} ", it.connection)));
    said.extend(effects.revoke.iter().map(|it| format!("revoke {} ", it.connection)));
    said.trim_end().to_string()
}

#[test]
fn the_connection_used_last_is_lent_first() {
    let (mut pool, _) = warm(3);
    let (one, handle_one) = lease(&mut pool);
    let (two, handle_two) = lease(&mut pool);
    assert_ne!(handle_one, handle_two);
    assert_eq!(told(pool.give_back(two, Returned::Clean)), "");
    assert_eq!(told(pool.give_back(one, Returned::Clean)), "");
    assert_eq!(lease(&mut pool).1, handle_one);
    assert_eq!(lease(&mut pool).1, handle_two);
}

#[test]
fn a_connection_that_comes_back_goes_to_the_oldest_waiter_and_wakes_only_it() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    let (first, _) = wait(&mut pool, 'a');
    let (second, _) = wait(&mut pool, 'b');
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake a");
    // It is kept for the first, so a newcomer cannot take it and the second still waits.
    let (third, _) = wait(&mut pool, 'c');
    assert_eq!(pool.claim(second, || '-'), Claim::Pending);
    let (held, _) = claimed(&mut pool, first);
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake b");
    let (held, _) = claimed(&mut pool, second);
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake c");
    claimed(&mut pool, third);
}

#[test]
fn a_connection_kept_for_a_waiter_that_left_goes_to_the_next() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    let (first, _) = wait(&mut pool, 'a');
    let (second, _) = wait(&mut pool, 'b');
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake a");
    assert_eq!(told(pool.leave(first)), "wake b");
    assert_eq!(told(pool.leave(second)), "");
    assert_eq!(pool.ledger(), Ledger { idle: 1, limit: 1, ..Ledger::default() });
}

#[test]
fn an_open_is_not_tied_to_the_waiter_that_caused_it() {
    let mut pool = pool(2);
    let (first, open) = wait(&mut pool, 'a');
    // The waiter leaves; the open goes on, and a later waiter gets its connection without another open.
    assert_eq!(told(pool.leave(first)), "");
    let (second, another) = wait(&mut pool, 'b');
    assert_eq!(another, None);
    assert_eq!(told(opened(&mut pool, open.unwrap(), 9)), "wake b");
    assert_eq!(claimed(&mut pool, second).1, 9);
}

#[test]
fn a_waiter_served_by_a_give_back_leaves_its_open_to_the_next_and_to_the_idle() {
    let mut pool = pool(3);
    let (first, open_one) = wait(&mut pool, 'a');
    assert_eq!(told(opened(&mut pool, open_one.unwrap(), 1)), "wake a");
    let (held, _) = claimed(&mut pool, first);
    let (second, open_two) = wait(&mut pool, 'b');
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake b");
    assert_eq!(told(opened(&mut pool, open_two.unwrap(), 2)), "");
    assert_eq!(pool.ledger(), Ledger { lent: 1, idle: 1, free: 1, limit: 3, ..Ledger::default() });
    claimed(&mut pool, second);
}

#[test]
fn no_more_are_opened_at_once_than_allowed_nor_than_wait_nor_than_fit() {
    let mut pool = pool(3);
    let opens: Vec<_> = "abcde".chars().map(|who| wait(&mut pool, who).1).collect();
    assert_eq!(opens.iter().flatten().count(), 2, "two at once");
    let effects = opened(&mut pool, opens[0].unwrap(), 1);
    assert_eq!((effects.wake, effects.open.len()), (Some('a'), 1), "the next when one is through");
    assert_eq!(told(opened(&mut pool, opens[1].unwrap(), 2)), "wake b", "the limit is three");
    assert_eq!(told(opened(&mut pool, effects.open[0], 3)), "wake c");
    assert_eq!(pool.ledger(), Ledger { lent: 3, limit: 3, waiting: 2, ..Ledger::default() });
    assert_eq!(pool.counters().most, 3);
}

#[test]
fn the_queue_is_bounded() {
    let mut pool: Pool = Core::new(limits(1, 2, 2));
    let (first, _) = wait(&mut pool, 'a');
    wait(&mut pool, 'b');
    let full = |pool: &mut Pool| ask(pool, || unreachable!());
    assert_eq!(full(&mut pool), Acquire::Refused(Refusal::QueueFull));
    assert_eq!(told(pool.leave(first)), "");
    wait(&mut pool, 'c');
    assert_eq!(full(&mut pool), Acquire::Refused(Refusal::QueueFull));
}

#[test]
fn waiters_time_out_when_their_deadline_passes_whatever_their_place() {
    let (mut pool, _) = warm(1);
    let (_held, _) = lease(&mut pool);
    let now = start();
    let at = |seconds| now + Duration::from_secs(seconds);
    let (patient, _) = wait(&mut pool, 'a');
    let (later, _) = wait_until(&mut pool, 'b', deadline(at(2)));
    let (sooner, _) = wait_until(&mut pool, 'c', deadline(at(1)));
    assert_eq!(told(pool.tick(at(0))), "");
    assert_eq!(told(pool.tick(at(1))), "tell c");
    assert_eq!(told(pool.tick(at(1))), "");
    assert_eq!(pool.claim(sooner, || '-'), Claim::Refused(Refusal::TimedOut));
    assert_eq!(told(pool.tick(at(9))), "tell b");
    assert_eq!(pool.claim(later, || '-'), Claim::Refused(Refusal::TimedOut));
    assert_eq!(pool.claim(patient, || '-'), Claim::Pending);
    assert_eq!((pool.counters().timeouts, pool.ledger().waiting), (2, 1));
}

#[test]
fn a_waiter_that_was_handed_a_connection_gets_it_even_after_its_deadline() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    let now = start();
    let (ticket, _) = wait_until(&mut pool, 'a', deadline(now));
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake a");
    assert_eq!(told(pool.tick(now + Duration::from_secs(9))), "");
    claimed(&mut pool, ticket);
}

#[test]
fn looking_for_deadlines_costs_nothing_until_one_passes() {
    let (mut pool, _) = warm(1);
    let (_held, _) = lease(&mut pool);
    let now = start();
    for _ in 0..100 {
        wait_until(&mut pool, 'a', deadline(now + Duration::from_secs(1)));
    }
    let before = pool.queue.steps();
    for _ in 0..1000 {
        assert_eq!(told(pool.tick(now)), "");
    }
    assert_eq!(pool.queue.steps(), before);
}

#[test]
fn a_hundred_thousand_waiters_leave_and_the_next_give_back_does_a_handful_of_steps() {
    let mut pool: Pool = Core::new(limits(1, 1, 200_000));
    let (ticket, open) = wait(&mut pool, 'x');
    assert_eq!(told(opened(&mut pool, open.unwrap(), 1)), "wake x");
    let (held, _) = claimed(&mut pool, ticket);
    let now = start();
    let deadlines = [deadline(now), Deadline::NEVER].into_iter().cycle().take(100_000);
    let tickets: Vec<_> = deadlines.map(|deadline| wait_until(&mut pool, 'a', deadline).0).collect();
    let (last, _) = wait(&mut pool, 'z');
    let before = pool.queue.steps();
    // Half of them time out, half are cancelled, from the middle outwards.
    assert_eq!(pool.tick(now).wake_others.len(), 50_000);
    for ticket in tickets[50_000..].iter().chain(tickets[..50_000].iter().rev()) {
        match pool.claim(*ticket, || '-') {
            Claim::Pending => assert_eq!(told(pool.leave(*ticket)), ""),
            other => assert_eq!(other, Claim::Refused(Refusal::TimedOut)),
        }
    }
    assert!(pool.queue.steps() - before <= 300_000, "a bounded number of steps for each that leaves");
    assert_eq!(pool.ledger().waiting, 1);
    let before = pool.queue.steps() + pool.slots.steps();
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake z");
    claimed(&mut pool, last);
    assert!(pool.queue.steps() + pool.slots.steps() - before <= 5);
    // Their places are used again.
    let (again, _) = wait(&mut pool, 'n');
    assert!(again.place() <= 100_001);
}

#[test]
fn a_dirty_connection_is_lent_only_after_it_was_cleaned() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    let (ticket, _) = wait(&mut pool, 'a');
    assert_eq!(told(pool.give_back(held, Returned::Dirty)), "clean");
    assert_eq!(pool.ledger(), Ledger { cleaning: 1, limit: 1, waiting: 1, ..Ledger::default() });
    assert_eq!(told(pool.cleaned(held, true)), "wake a");
    claimed(&mut pool, ticket);
}

#[test]
fn a_connection_that_could_not_be_cleaned_is_closed_and_replaced() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    wait(&mut pool, 'a');
    assert_eq!(told(pool.give_back(held, Returned::Dirty)), "clean");
    assert_eq!(told(pool.cleaned(held, false)), "open close 1");
    assert_eq!(told(pool.cleaned(held, true)), "", "an old one does nothing");
}

#[test]
fn a_broken_idle_connection_leaves_before_anybody_borrows_it() {
    let (mut pool, ids) = warm(2);
    assert_eq!(told(pool.broke(ids[0])), "close 1");
    assert_eq!(told(pool.broke(ids[0])), "", "once");
    assert_eq!(pool.ledger(), Ledger { idle: 1, free: 1, limit: 2, ..Ledger::default() });
    assert_eq!(lease(&mut pool).1, 2);
}

#[test]
fn a_connection_that_broke_while_lent_frees_its_slot_and_its_lease_has_nothing_to_give_back() {
    for state in [Returned::Clean, Returned::Dirty, Returned::Broken] {
        let (mut pool, ids) = warm(1);
        let (held, _) = lease(&mut pool);
        let (ticket, open) = wait(&mut pool, 'a');
        assert_eq!(open, None);
        let broke = pool.broke(ids[0]);
        let open = broke.open.clone();
        assert_eq!(told(broke), "open close 1");
        assert_eq!(pool.ledger(), Ledger { opening: 1, limit: 1, waiting: 1, ..Ledger::default() });
        assert_eq!(told(pool.give_back(held, state)), "");
        assert_eq!(told(opened(&mut pool, open[0], 2)), "wake a");
        claimed(&mut pool, ticket);
        assert_eq!(told(pool.give_back(held, state)), "", "it is somebody else's by now");
        assert_eq!(pool.ledger().lent, 1);
    }
}

#[test]
fn a_waiter_whose_connection_broke_before_it_came_waits_on_at_its_old_place() {
    let (mut pool, ids) = warm(2);
    let (one, _) = lease(&mut pool);
    let (two, _) = lease(&mut pool);
    let (first, _) = wait(&mut pool, 'a');
    let (second, _) = wait(&mut pool, 'b');
    let (third, _) = wait(&mut pool, 'c');
    assert_eq!(told(pool.give_back(one, Returned::Clean)), "wake a");
    assert_eq!(told(pool.give_back(two, Returned::Clean)), "wake b");
    // Whichever breaks first, the older stands in front again.
    let kept: Vec<_> = pool.slots.inspect().into_iter().map(|(.., handle)| handle.unwrap()).collect();
    assert_eq!(kept, [1, 2]);
    let mut opens = pool.broke(ids[0]).open;
    opens.extend(pool.broke(ids[1]).open);
    assert_eq!(opens.len(), 2);
    assert_eq!(pool.claim(second, || 'B'), Claim::Pending);
    // The first has not looked yet, its wake-up is still on the way: it needs no other.
    assert_eq!(told(opened(&mut pool, opens[0], 3)), "");
    assert_eq!(told(opened(&mut pool, opens[1], 4)), "wake B");
    assert_eq!(claimed(&mut pool, first).1, 3);
    assert_eq!(claimed(&mut pool, second).1, 4);
    assert_eq!(pool.claim(third, || '-'), Claim::Pending);
}

#[test]
fn a_connection_that_breaks_while_it_is_opened_is_not_taken_in() {
    let mut pool = pool(1);
    let (_, open) = wait(&mut pool, 'a');
    let effects = pool.broke(open.unwrap());
    assert_eq!(effects.open.len(), 1);
    assert_eq!(told(opened(&mut pool, open.unwrap(), 1)), "close 1");
    assert_eq!(told(opened(&mut pool, effects.open[0], 2)), "wake a");
}

#[test]
fn a_connection_that_comes_after_its_open_was_given_up_is_closed() {
    let mut pool = pool(1);
    let now = start();
    let (_, open) = wait(&mut pool, 'a');
    assert_eq!(told(pool.open_failed(open.unwrap(), "took too long", false, 1.0, now)), "");
    assert_eq!(told(opened(&mut pool, open.unwrap(), 1)), "close 1");
    assert_eq!(told(pool.open_failed(open.unwrap(), "again", true, 1.0, now)), "");
    assert_eq!(pool.last_failure(), Some(&"took too long"));
}

#[test]
fn after_a_passing_failure_callers_wait_on_and_the_next_attempt_comes_by_itself() {
    let mut pool = pool(1);
    let now = start();
    let (ticket, open) = wait(&mut pool, 'a');
    assert_eq!(told(pool.open_failed(open.unwrap(), "refused", false, 0.5, now)), "");
    let next = pool.backoff.next_attempt_at().unwrap();
    assert_eq!(next, now + Duration::from_millis(25));
    assert_eq!(wait(&mut pool, 'b').1, None);
    assert_eq!(told(pool.tick(next - Duration::from_millis(1))), "");
    let effects = pool.tick(next);
    assert_eq!(effects.open.len(), 1);
    assert_eq!(pool.claim(ticket, || '-'), Claim::Pending);
    assert_eq!(told(opened(&mut pool, effects.open[0], 1)), "wake a");
    assert_eq!(pool.last_failure(), None);
}

#[test]
fn a_permanent_failure_is_told_to_all_who_wait_and_to_newcomers_until_an_attempt_succeeds() {
    let mut pool = pool(1);
    let now = start();
    let (first, open) = wait(&mut pool, 'a');
    let (second, _) = wait(&mut pool, 'b');
    let failed = pool.open_failed(open.unwrap(), "wrong password", true, 1.0, now);
    assert_eq!(told(failed), "tell a tell b");
    for ticket in [first, second] {
        assert_eq!(pool.claim(ticket, || '-'), Claim::Refused(Refusal::Failed("wrong password")));
    }
    let newcomer = ask(&mut pool, || unreachable!());
    assert_eq!(newcomer, Acquire::Refused(Refusal::Failed("wrong password")));
    // The attempt goes on for those who were refused, and they are until it has succeeded.
    let probe = pool.tick(now + Duration::from_millis(50)).open;
    assert_eq!(probe.len(), 1);
    let newcomer = ask(&mut pool, || unreachable!());
    assert_eq!(newcomer, Acquire::Refused(Refusal::Failed("wrong password")));
    assert_eq!(told(opened(&mut pool, probe[0], 1)), "");
    assert_eq!(lease(&mut pool).1, 1);
}

#[test]
fn while_another_connection_lives_callers_wait_for_it_whatever_fails() {
    let mut pool = pool(2);
    let (ticket, open) = wait(&mut pool, 'a');
    assert_eq!(told(opened(&mut pool, open.unwrap(), 1)), "wake a");
    let (held, _) = claimed(&mut pool, ticket);
    let (ticket, open) = wait(&mut pool, 'b');
    assert_eq!(told(pool.open_failed(open.unwrap(), "wrong password", true, 1.0, start())), "");
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake b");
    claimed(&mut pool, ticket);
}

#[test]
fn after_two_seconds_of_failures_callers_are_told_and_their_coming_hurries_the_next_attempt() {
    let mut pool = pool(1);
    let mut now = start();
    let end = now + Duration::from_secs(2);
    let (ticket, open) = wait(&mut pool, 'a');
    let mut open = open.unwrap();
    let refused = loop {
        let refused = told(pool.open_failed(open, "refused", false, 0.999, now));
        if !refused.is_empty() {
            break refused;
        }
        assert!(now < end);
        assert_eq!(pool.claim(ticket, || '-'), Claim::Pending);
        let next = pool.backoff.next_attempt_at().unwrap();
        assert!(next - now <= Duration::from_millis(500));
        now = next;
        open = pool.tick(now).open[0];
    };
    assert_eq!(refused, "tell a");
    assert!(now >= end);
    assert!(pool.backoff.next_attempt_at().unwrap() > now + Duration::from_millis(500), "nobody waits now");
    let newcomer = ask(&mut pool, || unreachable!());
    assert_eq!(newcomer, Acquire::Refused(Refusal::Failed("refused")));
    assert_eq!(pool.backoff.next_attempt_at(), Some(now + Duration::from_millis(500)));
}

#[test]
fn closing_refuses_all_and_takes_in_what_is_out() {
    let mut pool = pool(5);
    let mut leases = Vec::new();
    for handle in 1..=4 {
        let (ticket, open) = wait(&mut pool, 'w');
        assert_eq!(told(opened(&mut pool, open.unwrap(), handle)), "wake w");
        leases.push(claimed(&mut pool, ticket).0);
    }
    let (kept, open) = wait(&mut pool, 'k');
    let (queued, _) = wait(&mut pool, 'q');
    assert_eq!(told(pool.give_back(leases[0], Returned::Clean)), "wake k");
    assert_eq!(told(pool.give_back(leases[1], Returned::Dirty)), "clean");
    // One is kept for a waiter, one is being cleaned, two are lent, one is being opened.
    assert_eq!(told(pool.close()), "tell q close 1");
    assert_eq!(told(pool.close()), "");
    assert_eq!(pool.claim(kept, || '-'), Claim::Refused(Refusal::Closed));
    assert_eq!(pool.claim(queued, || '-'), Claim::Refused(Refusal::Closed));
    assert_eq!(ask(&mut pool, || unreachable!()), Acquire::Refused(Refusal::Closed));
    assert_eq!(told(pool.cleaned(leases[1], true)), "close 2");
    assert_eq!(told(pool.give_back(leases[2], Returned::Clean)), "close 3");
    assert_eq!(told(pool.give_back(leases[3], Returned::Dirty)), "close 4");
    assert!(!pool.is_drained(), "one is on its way");
    assert_eq!(told(opened(&mut pool, open.unwrap(), 5)), "close 5");
    assert!(pool.is_drained());
    let counters = pool.counters();
    assert_eq!((counters.opened, counters.closed.iter().sum()), (4, 4_u64));
}

#[test]
fn idle_connections_are_handed_out_for_closing() {
    let (mut pool, _) = warm(3);
    let mut closing = pool.close().close;
    closing.sort_unstable();
    assert_eq!(closing, [1, 2, 3].map(|handle| (handle, Cause::Closed)));
    assert!(pool.is_drained());
}

#[test]
fn giving_back_twice_does_not_end_somebody_elses_lease() {
    let (mut pool, _) = warm(1);
    let (old, _) = lease(&mut pool);
    assert_eq!(told(pool.give_back(old, Returned::Clean)), "");
    let (_new, _) = lease(&mut pool);
    for state in [Returned::Clean, Returned::Dirty, Returned::Broken] {
        assert_eq!(told(pool.give_back(old, state)), "");
    }
    assert_eq!(told(pool.cleaned(old, false)), "");
    assert_eq!(pool.ledger().lent, 1);
}

#[test]
fn a_used_ticket_does_nothing() {
    let (mut pool, _) = warm(1);
    let (held, _) = lease(&mut pool);
    let (old, _) = wait(&mut pool, 'a');
    assert_eq!(told(pool.leave(old)), "");
    let (new, _) = wait(&mut pool, 'b');
    assert_eq!(new.place(), old.place());
    assert_eq!(told(pool.leave(old)), "");
    assert_eq!(pool.claim(old, || '-'), Claim::Refused(Refusal::Left));
    assert_eq!(told(pool.give_back(held, Returned::Clean)), "wake b");
    assert_eq!(told(pool.leave(old)), "");
    claimed(&mut pool, new);
}
