//! Groups of selects, rule by rule. Uses: core, deadline.

use std::time::{Duration, Instant};

use super::super::tests::{deadline, limits, start, told, waits};
use super::super::*;
use crate::pool::core::queue::{Riding, Weight};

type Pool = Core<u32, char, &'static str>;

const MINUTE: Duration = Duration::from_secs(60);
const LIGHT: Weight = Weight { micros: 10, bytes: 100, alone: false };
const ALONE: Weight = Weight { alone: true, ..LIGHT };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// As many connections, open and idle, whose handles are 1, 2, …, and their names.
fn warm(limits: Limits, connections: u32) -> (Pool, Vec<ConnectionId>) {
    let mut pool: Pool = Core::new(Limits { opening: 9, ..limits });
    let ids = pool.warm(usize::try_from(connections).expect("few")).open;
    for (id, handle) in ids.iter().zip(1..) {
        assert_eq!(told(pool.opened(*id, handle, 0.0, start())), "");
    }
    assert_eq!(told(pool.warm(0)), "");
    (Pool { limits, ..pool }, ids)
}

/// The same with groups of at most 64, and all of them may be lanes.
fn pool(connections: u32) -> (Pool, Vec<ConnectionId>) {
    warm(limits(usize::try_from(connections).expect("few"), 2, 1000), connections)
}

fn riding(wake: char, weight: Weight) -> Riding<char> {
    Riding { limit: Some(MINUTE), weight, wake }
}

fn weighed(pool: &mut Pool, who: char, weight: Weight) -> (Ticket, Option<ConnectionId>) {
    match pool.ride(riding(who, weight), start) {
        Ride::Queued { ticket, call, open } => {
            assert!(call.is_none() || open.is_none(), "one is called and one is opened");
            (ticket, call.map(|(id, _)| id))
        }
        other @ Ride::Refused(_) => panic!("{other:?}"),
    }
}

/// Whose driver is called for it.
fn ride(pool: &mut Pool, who: char) -> (Ticket, Option<ConnectionId>) {
    weighed(pool, who, LIGHT)
}

fn opens(pool: &mut Pool, who: char) -> Option<ConnectionId> {
    match pool.ride(riding(who, LIGHT), start) {
        Ride::Queued { call: None, open, .. } => open,
        other => panic!("{other:?}"),
    }
}

fn rides(pool: &mut Pool, who: &str) -> Vec<Ticket> {
    who.chars().map(|who| ride(pool, who).0).collect()
}

/// Who goes along, and what else happens.
fn board(pool: &mut Pool, id: ConnectionId) -> (String, String) {
    let mut group = String::new();
    let effects = pool.board(id, |who| group.push(who));
    (group, told(effects))
}

fn group(pool: &mut Pool, id: ConnectionId) -> String {
    let (group, effects) = board(pool, id);
    assert_eq!(effects, "");
    group
}

fn lend(pool: &mut Pool) -> LeaseId {
    match pool.acquire(Borrower::NOBODY, |_| 0, || unreachable!("one is idle")) {
        Acquire::Lent(lent) => lent.lease,
        other => panic!("{other:?}"),
    }
}

fn wait(pool: &mut Pool, who: char) -> Ticket {
    match pool.acquire(Borrower::NOBODY, |_| 0, || waits((Deadline::NEVER, who))) {
        Acquire::Queued { ticket, open: None } => ticket,
        other => panic!("{other:?}"),
    }
}

fn claimed(pool: &mut Pool, ticket: Ticket) -> LeaseId {
    match pool.claim(ticket, || '-') {
        Claim::Lent(lent) => lent.lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_connection_is_called_and_takes_all_who_have_come_until_its_driver_does() {
    let (mut pool, ids) = pool(1);
    assert_eq!(ride(&mut pool, 'a').1, Some(ids[0]));
    assert_eq!(ride(&mut pool, 'b').1, None, "it comes anyway");
    rides(&mut pool, "cd");
    assert_eq!(pool.ledger(), Ledger { lanes: 1, limit: 1, waiting: 4, ..Ledger::default() });
    assert_eq!(group(&mut pool, ids[0]), "abcd");
    assert_eq!(pool.ledger(), Ledger { lanes: 1, limit: 1, ..Ledger::default() });
    let counters = pool.counters();
    assert_eq!((counters.groups, counters.selects, counters.again), (1, 4, 0));
}

#[test]
fn nothing_is_sent_behind_a_group_that_is_out_and_the_next_goes_when_it_is_back() {
    let (mut pool, ids) = pool(1);
    rides(&mut pool, "a");
    assert_eq!(group(&mut pool, ids[0]), "a");
    assert_eq!(ride(&mut pool, 'b').1, None, "its group is out");
    rides(&mut pool, "c");
    assert_eq!(group(&mut pool, ids[0]), "bc");
    assert_eq!(group(&mut pool, ids[0]), "", "nobody is left");
    assert_eq!(pool.ledger(), Ledger { idle: 1, limit: 1, ..Ledger::default() });
    assert_eq!(group(&mut pool, ids[0]), "", "it is not its to use any more");
    assert_eq!(pool.counters().groups, 2);
}

#[test]
fn an_idle_connection_is_preferred_to_a_seat_in_a_full_one() {
    let (mut pool, ids) = pool(2);
    let (_, first) = ride(&mut pool, 'a');
    let (_, second) = ride(&mut pool, 'b');
    assert_eq!([first, second].map(|it| it.is_some_and(|it| ids.contains(&it))), [true, true]);
    assert_ne!(first, second);
    assert_eq!(group(&mut pool, first.unwrap()), "a");
    assert_eq!(group(&mut pool, second.unwrap()), "b");
}

#[test]
fn those_that_are_called_share_fairly_whoever_comes_first() {
    let (mut pool, ids) = pool(3);
    rides(&mut pool, "abcdefg");
    assert_eq!(ids.iter().rev().map(|id| group(&mut pool, *id)).collect::<Vec<_>>(), ["abc", "de", "fg"]);
}

#[test]
fn a_group_is_no_larger_than_it_may_be() {
    let (mut pool, ids) = warm(Limits { group: 3, ..limits(1, 2, 100) }, 1);
    rides(&mut pool, "abcde");
    assert_eq!(group(&mut pool, ids[0]), "abc");
    assert_eq!(group(&mut pool, ids[0]), "de");
}

#[test]
fn one_that_nobody_knows_rides_alone() {
    let (mut pool, ids) = pool(1);
    rides(&mut pool, "ab");
    weighed(&mut pool, 'c', ALONE);
    weighed(&mut pool, 'd', ALONE);
    rides(&mut pool, "ef");
    let groups: Vec<String> = (0..4).map(|_| group(&mut pool, ids[0])).collect();
    assert_eq!(groups, ["ab", "c", "d", "ef"], "in their order");
}

#[test]
fn a_group_takes_two_milliseconds_at_most_beyond_the_part_of_its_lane() {
    // Two lanes, of which one is out: so each has its part of those who wait, and more only as long as it takes.
    let (mut pool, ids) = pool(2);
    rides(&mut pool, "x");
    let out = ids[1];
    assert_eq!(group(&mut pool, out), "x");
    for who in "abcdef".chars() {
        weighed(&mut pool, who, Weight { micros: 500, ..LIGHT });
    }
    assert_eq!(group(&mut pool, ids[0]), "abcd", "2,000 µs, though its part is three");
    for who in "ghij".chars() {
        weighed(&mut pool, who, Weight { micros: 1_500, ..LIGHT });
    }
    assert_eq!(group(&mut pool, ids[0]), "efg", "its part of the six, though they take 2,500 µs");
}

#[test]
fn the_replies_to_a_group_are_256_kibibytes_at_most_unless_one_alone_is_longer() {
    let (mut pool, ids) = pool(1);
    for (who, kibibytes) in [('a', 64), ('b', 128), ('c', 64), ('d', 1), ('e', 300), ('f', 1)] {
        weighed(&mut pool, who, Weight { bytes: kibibytes * 1024, ..LIGHT });
    }
    let groups: Vec<String> = (0..4).map(|_| group(&mut pool, ids[0])).collect();
    assert_eq!(groups, ["abc", "d", "e", "f"]);
}

#[test]
fn a_lane_goes_to_a_lease_that_has_waited_for_longer_and_to_those_who_ride_otherwise() {
    let (mut pool, ids) = pool(1);
    rides(&mut pool, "a");
    assert_eq!(group(&mut pool, ids[0]), "a");
    rides(&mut pool, "b");
    let waiter = wait(&mut pool, 'W');
    rides(&mut pool, "c");
    assert_eq!(group(&mut pool, ids[0]), "bc", "the oldest wants a seat, and there is room for one more");
    rides(&mut pool, "d");
    assert_eq!(board(&mut pool, ids[0]), (String::new(), "wake W".to_owned()));
    let lease = claimed(&mut pool, waiter);
    wait(&mut pool, 'X');
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "d");
    assert_eq!(board(&mut pool, ids[0]).1, "wake X");
}

#[test]
fn a_connection_that_comes_back_is_called_for_those_who_have_waited_for_longest() {
    let (mut pool, ids) = pool(1);
    let lease = lend(&mut pool);
    rides(&mut pool, "ab");
    let waiter = wait(&mut pool, 'W');
    assert_eq!(pool.put_back(lease), Err(()), "somebody waits");
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "ab");
    assert_eq!(board(&mut pool, ids[0]).1, "wake W");
    let _lease = claimed(&mut pool, waiter);
}

#[test]
fn if_one_is_called_for_each_who_rides_the_next_goes_to_a_lease() {
    let (mut pool, ids) = pool(2);
    let lease = lend(&mut pool);
    rides(&mut pool, "a");
    wait(&mut pool, 'W');
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "wake W", "the driver for the first comes");
    assert_eq!(group(&mut pool, ids[0]), "a");
}

#[test]
fn no_more_connections_are_lanes_at_a_time_than_may_be() {
    let (mut pool, ids) = warm(Limits { lanes: 1, ..limits(2, 2, 100) }, 2);
    let (_, called) = ride(&mut pool, 'a');
    let called = called.unwrap();
    assert_eq!(ride(&mut pool, 'b').1, None);
    assert_eq!(group(&mut pool, called), "ab");
    assert_eq!(ride(&mut pool, 'c').1, None, "one is a lane, so it waits beside an idle one");
    assert_eq!(pool.ledger(), Ledger { lanes: 1, idle: 1, limit: 2, waiting: 1, ..Ledger::default() });
    let lease = lend(&mut pool);
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "", "nor is it called when it comes back");
    assert_eq!(group(&mut pool, called), "c");
    assert!(ids.contains(&called));
}

#[test]
fn those_who_wait_for_the_only_lane_are_served_by_another_when_it_leaves() {
    let limits = Limits { lanes: 1, lifetime: Some(MINUTE), ..limits(2, 2, 100) };
    let (mut pool, ids) = warm(limits, 2);
    let lease = lend(&mut pool);
    let called = ride(&mut pool, 'a').1.unwrap();
    assert_eq!(called, ids[0]);
    assert_eq!(group(&mut pool, called), "a");
    rides(&mut pool, "b");
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "");
    // Its lifetime is over, and there is no room for the next before it goes.
    assert_eq!(told(pool.tick(start() + MINUTE)), "");
    assert_eq!(board(&mut pool, called), (String::new(), "call 2 open close 1".to_owned()));
    assert_eq!(group(&mut pool, ids[1]), "b");
}

#[test]
fn without_lanes_nobody_is_called_and_nothing_opened() {
    let (mut pool, _) = warm(Limits { lanes: 0, ..limits(2, 2, 100) }, 1);
    assert_eq!(ride(&mut pool, 'a').1, None);
    assert_eq!(opens(&mut pool, 'b'), None);
    let lease = lend(&mut pool);
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "");
    assert_eq!(told(pool.tick(start() + MINUTE / 2)), "");
    assert_eq!(pool.ledger(), Ledger { idle: 1, free: 1, limit: 2, waiting: 2, ..Ledger::default() });
}

#[test]
fn one_that_was_passed_over_stands_at_its_old_place() {
    let (mut pool, ids) = pool(1);
    let tickets = rides(&mut pool, "abc");
    assert_eq!(group(&mut pool, ids[0]), "abc");
    wait(&mut pool, 'W');
    rides(&mut pool, "d");
    // In whatever order they come back.
    for (who, before) in [('c', tickets[2]), ('b', tickets[1])] {
        let (again, effects) = pool.ride_again(before, riding(who, LIGHT), start);
        assert!(again.is_ok());
        assert_eq!(told(effects), "");
        pool.queue.audit();
    }
    assert_eq!(group(&mut pool, ids[0]), "bcd", "before the lease that came after them");
    assert_eq!(board(&mut pool, ids[0]).1, "wake W");
    assert_eq!(pool.counters().again, 2);
}

#[test]
fn one_whose_connection_was_lost_is_called_another_that_is_idle() {
    let (mut pool, ids) = pool(2);
    let (before, called) = ride(&mut pool, 'a');
    let called = called.unwrap();
    assert_eq!(group(&mut pool, called), "a");
    assert_eq!(told(pool.broke(called)), "close 2");
    let (again, effects) = pool.ride_again(before, riding('a', ALONE), start);
    assert_eq!(told(effects), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "a");
    assert_eq!(told(pool.leave(again.unwrap())), "", "it is on its way");
}

#[test]
fn one_that_breaks_before_its_driver_has_come_is_replaced_by_another_that_is_idle() {
    let (mut pool, ids) = warm(Limits { lanes: 1, ..limits(3, 2, 100) }, 2);
    let called = ride(&mut pool, 'a').1.unwrap();
    assert_eq!(called, ids[1]);
    assert_eq!(told(pool.broke(called)), "call 1 close 2", "none need be opened");
    assert_eq!(group(&mut pool, called), "");
    assert_eq!(group(&mut pool, ids[0]), "a");
}

#[test]
fn one_that_left_or_was_refused_is_not_taken_along() {
    let (mut pool, ids) = pool(1);
    let lease = lend(&mut pool);
    let tickets = rides(&mut pool, "abc");
    assert_eq!(told(pool.leave(tickets[1])), "");
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "ac");
    for ticket in tickets {
        assert_eq!(told(pool.leave(ticket)), "", "a used ticket does nothing");
        assert_eq!(pool.claim(ticket, || '-'), Claim::Refused(Refusal::Left));
    }
}

#[test]
fn one_that_is_called_for_nobody_any_more_is_idle_again() {
    let (mut pool, ids) = pool(1);
    let (ticket, _) = ride(&mut pool, 'a');
    assert_eq!(told(pool.leave(ticket)), "");
    assert_eq!(group(&mut pool, ids[0]), "");
    assert_eq!(pool.ledger(), Ledger { idle: 1, limit: 1, ..Ledger::default() });
}

#[test]
fn one_is_opened_for_each_group_that_waits() {
    let mut pool: Pool = Core::new(Limits { opening: 9, group: 2, ..limits(9, 9, 100) });
    let opened: Vec<bool> = "abcde".chars().map(|who| opens(&mut pool, who).is_some()).collect();
    assert_eq!(opened, [true, false, true, false, true]);
    let mut pool: Pool = Core::new(Limits { opening: 9, group: 1, lanes: 2, ..limits(9, 9, 100) });
    let opened: Vec<bool> = "abcde".chars().map(|who| opens(&mut pool, who).is_some()).collect();
    assert_eq!(opened, [true, true, false, false, false], "no more than may be lanes");
}

#[test]
fn another_is_opened_for_those_who_found_no_room() {
    let mut pool: Pool = Core::new(limits(2, 2, 100));
    let Ride::Queued { open: Some(id), .. } = pool.ride(riding('a', ALONE), start) else { panic!() };
    weighed(&mut pool, 'b', ALONE);
    assert_eq!(pool.ledger().opening, 1, "one group, as far as is known");
    assert_eq!(told(pool.opened(id, 1, 0.0, start())), "call 1");
    assert_eq!(board(&mut pool, id), ("a".to_owned(), "open".to_owned()));
}

#[test]
fn a_connection_that_was_opened_is_called_for_those_who_wait() {
    let mut pool: Pool = Core::new(limits(1, 2, 100));
    let id = opens(&mut pool, 'a').unwrap();
    rides(&mut pool, "b");
    assert_eq!(told(pool.opened(id, 1, 0.0, start())), "call 1");
    assert_eq!(group(&mut pool, id), "ab");
}

#[test]
fn the_queue_is_one_and_bounded() {
    let (mut pool, _) = warm(limits(1, 2, 2), 1);
    let _lease = lend(&mut pool);
    wait(&mut pool, 'W');
    let (_, called) = ride(&mut pool, 'a');
    assert_eq!((called, pool.ledger().waiting), (None, 2));
    assert_eq!(pool.ride(riding('b', LIGHT), start), Ride::Refused(Refusal::QueueFull));
    let newcomer = pool.acquire(Borrower::NOBODY, |_| 0, || unreachable!());
    assert_eq!(newcomer, Acquire::Refused(Refusal::QueueFull));
}

#[test]
fn one_that_rides_again_had_its_place_before() {
    let (mut pool, ids) = warm(limits(1, 2, 1), 1);
    let before = rides(&mut pool, "a")[0];
    assert_eq!(group(&mut pool, ids[0]), "a");
    rides(&mut pool, "b");
    assert!(pool.ride_again(before, riding('a', LIGHT), start).0.is_ok(), "whatever the queue holds");
    assert_eq!(group(&mut pool, ids[0]), "ab");
}

#[test]
fn after_a_close_nobody_rides() {
    let (mut pool, ids) = pool(2);
    let before = rides(&mut pool, "a")[0];
    assert_eq!(group(&mut pool, ids[1]), "a");
    let waits = rides(&mut pool, "b")[0];
    assert_eq!(told(pool.close()), "tell b");
    assert_eq!(pool.claim(waits, || '-'), Claim::Refused(Refusal::Closed));
    assert_eq!(pool.ride(riding('c', LIGHT), start), Ride::Refused(Refusal::Closed));
    let (again, effects) = pool.ride_again(before, riding('a', LIGHT), start);
    assert_eq!((again, told(effects)), (Err(Refusal::Closed), String::new()));
    assert_eq!(board(&mut pool, ids[1]), (String::new(), "close 2".to_owned()));
    assert!(!pool.is_drained(), "one is called");
    assert_eq!(board(&mut pool, ids[0]), (String::new(), "close 1".to_owned()));
    assert!(pool.is_drained());
}

#[test]
fn a_lane_is_cut_off_with_the_pool() {
    let (mut pool, ids) = pool(2);
    rides(&mut pool, "a");
    assert_eq!(group(&mut pool, ids[1]), "a");
    rides(&mut pool, "b");
    assert_eq!(told(pool.cut(start())), "", "not before the pool is closed");
    assert_eq!(told(pool.close()), "tell b");
    assert_eq!(told(pool.cut(start())), "cut 1 cut 2");
    assert!(pool.is_drained());
    assert_eq!(group(&mut pool, ids[1]), "");
    let counters = pool.counters();
    assert_eq!((counters.cut, counters.closed[Cause::Closed as usize]), (2, 2));
}

#[test]
fn while_it_is_paused_nobody_is_called_and_those_who_waited_are_when_it_goes_on() {
    let (mut pool, ids) = pool(2);
    rides(&mut pool, "a");
    pool.pause();
    assert_eq!(group(&mut pool, ids[1]), "", "its driver comes in vain");
    assert_eq!(ride(&mut pool, 'b').1, None);
    assert_eq!(pool.ledger(), Ledger { idle: 2, limit: 2, waiting: 2, ..Ledger::default() });
    assert_eq!(told(pool.resume()), "call 2 call 1");
    assert_eq!(group(&mut pool, ids[0]), "a");
    assert_eq!(group(&mut pool, ids[1]), "b");
}

#[test]
fn a_lane_that_was_told_to_go_leaves_when_its_group_is_back() {
    let (mut pool, ids) = pool(1);
    rides(&mut pool, "a");
    assert_eq!(group(&mut pool, ids[0]), "a");
    assert_eq!(told(pool.clear()), "");
    rides(&mut pool, "b");
    assert_eq!(board(&mut pool, ids[0]), (String::new(), "open close 1".to_owned()));
}

#[test]
fn one_that_never_read_the_clock_is_refused_after_its_limit_and_a_look_at_the_latest() {
    let (mut pool, _) = pool(1);
    let _lease = lend(&mut pool);
    let now = start();
    let tick = millis(5);
    let first = pool.ride(riding('a', LIGHT), || now);
    assert!(matches!(first, Ride::Queued { .. }));
    // It is not asked again for 20 ms.
    let joined = now + millis(19);
    let second = pool.ride(riding('b', LIGHT), || unreachable!("the clock was read just now"));
    let Ride::Queued { ticket, .. } = second else { panic!("{second:?}") };
    let told_at = |pool: &mut Pool, from: Instant, who: &str| {
        let mut at = from;
        while told(pool.tick(at)) != who {
            at += tick;
            assert!(at < from + MINUTE * 2, "never");
        }
        at
    };
    assert_eq!(pool.next_deadline(), deadline(now + millis(20)), "the look");
    let late = told_at(&mut pool, joined, "tell a");
    assert!(late >= now + MINUTE && late <= now + MINUTE + millis(20) + tick, "{:?}", late - now);
    let late = told_at(&mut pool, late - tick, "tell b");
    assert!(late >= joined + MINUTE, "not before its time: {:?}", late - joined);
    assert!(late <= joined + MINUTE + millis(20) + tick, "{:?}", late - joined);
    assert_eq!(pool.claim(ticket, || '-'), Claim::Refused(Refusal::TimedOut));
    assert_eq!(pool.counters().timeouts, 2);
}

#[test]
fn one_with_little_time_reads_the_clock_itself() {
    let (mut pool, _) = pool(1);
    let _lease = lend(&mut pool);
    let now = start();
    rides(&mut pool, "a");
    let short = Riding { limit: Some(millis(30)), ..riding('b', LIGHT) };
    assert!(matches!(pool.ride(short, || now + millis(3)), Ride::Queued { .. }));
    assert_eq!(told(pool.tick(now + millis(32))), "");
    assert_eq!(told(pool.tick(now + millis(33))), "tell b");
}

#[test]
fn one_that_timed_out_and_has_not_heard_of_it_is_not_taken_along() {
    let (mut pool, ids) = pool(1);
    let now = start();
    let lease = lend(&mut pool);
    let ticket = match pool.ride(Riding { limit: Some(millis(1)), ..riding('a', LIGHT) }, || now) {
        Ride::Queued { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    };
    rides(&mut pool, "b");
    assert_eq!(told(pool.tick(now + millis(1))), "tell a");
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "b");
    assert_eq!(pool.claim(ticket, || '-'), Claim::Refused(Refusal::TimedOut));
}

#[test]
fn those_who_wait_for_a_seat_hear_that_none_can_be_opened() {
    let mut pool: Pool = Core::new(limits(1, 2, 100));
    let id = opens(&mut pool, 'a').unwrap();
    wait(&mut pool, 'W');
    let failed = pool.open_failed(id, "wrong password", true, 0.5, start());
    assert_eq!(told(failed), "tell W tell a");
    assert_eq!(pool.ride(riding('b', LIGHT), start), Ride::Refused(Refusal::Failed("wrong password")));
}

#[test]
fn who_waits_without_a_limit_waits_on() {
    let (mut pool, ids) = pool(1);
    let lease = lend(&mut pool);
    let patient = Riding { limit: None, ..riding('a', LIGHT) };
    assert!(matches!(pool.ride(patient, start), Ride::Queued { .. }));
    for minutes in 1..9 {
        assert_eq!(told(pool.tick(start() + MINUTE * minutes * 60)), "");
    }
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "call 1");
    assert_eq!(group(&mut pool, ids[0]), "a");
}

#[test]
fn a_lane_is_chosen_for_riders_and_another_for_leases_while_there_is_a_choice() {
    let (mut pool, ids) = pool(3);
    rides(&mut pool, "a");
    let lane = ids[2];
    assert_eq!(group(&mut pool, lane), "a");
    assert_eq!(group(&mut pool, lane), "", "idle, and used last");
    let lease = lend(&mut pool);
    assert_eq!(pool.slots.find(lane).map(|(_, state)| state), Some(State::Idle), "another is lent");
    assert_eq!(told(pool.give_back(lease, Returned::Clean)), "", "used last, and no lane");
    assert_eq!(ride(&mut pool, 'b').1, Some(lane), "its session is a lane's already");
}
