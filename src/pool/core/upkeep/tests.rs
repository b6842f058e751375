//! What becomes of connections as time goes by, rule by rule. Uses: core, deadline.

use std::time::{Duration, Instant};

use super::super::tests::{limits, start};
use super::super::*;

type Pool = Core<u32, char, &'static str>;

const MINUTE: Duration = Duration::from_secs(60);

/// As many connections, open and idle, whose handles are 1, 2, …; and the moment at which they came.
fn pool(limits: Limits, connections: u32) -> (Pool, Instant) {
    let start = start();
    let mut pool: Pool = Core::new(Limits { opening: 9, ..limits });
    let open = pool.warm(usize::try_from(connections).expect("few")).open;
    for (id, handle) in open.into_iter().zip(1..) {
        drop(pool.opened(id, handle, 0.0, start));
    }
    assert!(pool.warm(0).open.is_empty());
    assert_eq!(pool.ledger().idle, usize::try_from(connections).expect("few"));
    (pool, start)
}

fn lend(pool: &mut Pool, who: usize) -> (LeaseId, u32) {
    match pool.acquire(Borrower { who, site: None }, |_| 0, || unreachable!("one is idle")) {
        Acquire::Lent(lent) => (lent.lease, lent.connection),
        other => panic!("{other:?}"),
    }
}

fn closed(effects: &Effects<u32, char>) -> Vec<(u32, Cause)> {
    effects.close.clone()
}

/// Requirement 13.
#[test]
fn lifetimes_that_end_together_end_one_at_a_time_and_the_next_is_opened_first() {
    let (mut pool, start) = pool(Limits { lifetime: Some(10 * MINUTE), ..limits(5, 9, 9) }, 4);
    let mut now = start + 10 * MINUTE;
    assert!(pool.tick(now - MINUTE).open.is_empty(), "not before its time");
    for left in 1..=4 {
        let open = pool.tick(now).open;
        assert_eq!(open.len(), 1, "one is replaced");
        assert_eq!(pool.ledger().idle, 4, "and stays until the next is there");
        let there = pool.opened(open[0], 10 + left, 0.0, now);
        assert_eq!(closed(&there), [(left, Cause::Lifetime)]);
        assert!(
            pool.tick(now + MINUTE).open.is_empty(),
            "the next one's turn comes a share of the lifetime later"
        );
        now += 2 * MINUTE;
    }
    assert!(pool.tick(now).open.is_empty(), "those that came later are younger");
    assert_eq!(pool.counters().closed[Cause::Lifetime as usize], 4);
}

/// Requirement 13, where the limit leaves no room; reliability case 29.
#[test]
fn without_room_an_old_connection_goes_first_and_a_lent_one_when_it_comes_back() {
    let (mut pool, start) = pool(Limits { lifetime: Some(10 * MINUTE), ..limits(1, 9, 9) }, 1);
    let (lease, _) = lend(&mut pool, 0);
    let now = start + 10 * MINUTE;
    assert!(pool.tick(now).open.is_empty());
    assert_eq!(pool.put_back(lease), Err(()), "it is not lent again");
    let back = pool.give_back(lease, Returned::Clean);
    assert_eq!((closed(&back), back.open.len()), (vec![(1, Cause::Lifetime)], 1), "replaced once");
    drop(pool.opened(back.open[0], 2, 0.0, now));
    let idle = pool.tick(now + 10 * MINUTE);
    assert_eq!((closed(&idle), idle.open.len()), (vec![(2, Cause::Lifetime)], 1));
}

#[test]
fn an_old_connection_whose_replacement_does_not_come_serves_on() {
    let (mut pool, start) = pool(Limits { lifetime: Some(10 * MINUTE), ..limits(2, 9, 9) }, 1);
    let now = start + 10 * MINUTE;
    let open = pool.tick(now).open;
    assert!(pool.open_failed(open[0], "refused", false, 0.0, now).close.is_empty());
    assert_eq!(lend(&mut pool, 0).1, 1);
    assert_eq!(pool.tick(now + 5 * MINUTE).open.len(), 1, "its turn comes again");
}

/// Requirement 14.
#[test]
fn those_unused_for_longest_are_closed_down_to_the_minimum() {
    let (mut pool, start) = pool(Limits { idle: Some(MINUTE), min_idle: 1, ..limits(3, 9, 9) }, 3);
    assert!(closed(&pool.tick(start + MINUTE)).is_empty(), "seen idle now");
    let (lease, used) = lend(&mut pool, 0);
    assert_eq!(pool.put_back(lease), Ok(()));
    let left: Vec<u32> =
        closed(&pool.tick(start + 2 * MINUTE)).into_iter().map(|(handle, _)| handle).collect();
    assert_eq!((left.len(), left.contains(&used)), (2, false), "{left:?}");
    assert!(closed(&pool.tick(start + 9 * MINUTE)).is_empty(), "the last one is kept");
}

/// Requirement 15.
#[test]
fn one_that_is_idle_for_long_is_asked_and_is_the_last_to_be_lent_afterwards() {
    let (mut pool, start) = pool(Limits { ping: Some(MINUTE), ..limits(2, 9, 9) }, 2);
    drop(pool.tick(start + MINUTE));
    let (lease, used) = lend(&mut pool, 0);
    assert_eq!(pool.put_back(lease), Ok(()));
    let asked = pool.tick(start + 2 * MINUTE).check;
    assert_eq!((asked.len(), pool.ledger().cleaning), (1, 1), "it is not lent meanwhile");
    assert_ne!(asked[0].1, used, "whoever was just used need not be asked");
    drop(pool.checked(asked[0].0));
    assert!(pool.tick(start + MINUTE * 5 / 2).check.is_empty(), "it has been asked");
    assert_eq!(lend(&mut pool, 0).1, used);
    assert_eq!(lend(&mut pool, 0).1, asked[0].1);
}

/// Requirement 23.
#[test]
fn a_lease_held_for_long_is_reported_once_and_then_revoked_and_a_query_of_its_own_neither() {
    let (mut pool, start) = pool(Limits { leak: Some(MINUTE), hold: Some(3 * MINUTE), ..limits(2, 9, 9) }, 2);
    let (lease, held) = lend(&mut pool, 7);
    let _query = lend(&mut pool, 0);
    let at = |minutes: u32| -> Instant { start + minutes * MINUTE };
    assert!(pool.tick(at(1)).leaks.is_empty(), "seen lent now");
    let leaks = pool.tick(at(2)).leaks;
    assert_eq!(leaks.iter().map(|it| (it.connection, it.held.age)).collect::<Vec<_>>(), [(held, MINUTE)]);
    assert!(pool.tick(at(3)).leaks.is_empty(), "once");
    let revoked = pool.tick(at(4)).revoke;
    assert_eq!(revoked.iter().map(|it| it.connection).collect::<Vec<_>>(), [held]);
    assert_eq!((pool.ledger().lent, pool.ledger().free), (1, 1), "its place is free");
    assert!(closed(&pool.give_back(lease, Returned::Clean)).is_empty(), "it has nothing to give back");
    assert!(pool.tick(at(60)).revoke.is_empty());
}

/// Requirement 8.
#[test]
fn only_if_all_are_certainly_held_by_those_who_wait_is_a_wait_refused() {
    let holder = |handle: &u32| usize::try_from(*handle).expect("small");
    let (mut pool, start) = pool(limits(2, 9, 9), 2);
    let ask = |pool: &mut Pool, who: usize, holder: &dyn Fn(&u32) -> usize| {
        let join = || Joining { deadline: Deadline::NEVER, now: start, wake: 'w' };
        pool.acquire(Borrower { who, site: None }, holder, join)
    };
    let (first, second) = (lend(&mut pool, 2).1, lend(&mut pool, 1).1);
    assert_eq!((first, second), (2, 1), "each holds the one of its own number");
    assert!(matches!(ask(&mut pool, 3, &holder), Acquire::Queued { .. }), "it holds nothing");
    assert!(matches!(ask(&mut pool, 1, &holder), Acquire::Queued { .. }), "the other may come back");
    assert!(matches!(ask(&mut pool, 2, &|_| 0), Acquire::Queued { .. }), "nothing is certain");
    assert_eq!(ask(&mut pool, 2, &holder), Acquire::Refused(Refusal::Nested));
}
