//! The small worlds that are explored. Uses: core.

use super::super::tests::limits;
use super::*;

const SLOTS: usize = 2;

/// Borrows once, and shares none.
const ONCE: Turns = Turns { acquisitions: 1, rides: 0 };
const TWICE: Turns = Turns { acquisitions: 2, rides: 0 };

/// Rides once, and borrows once.
const BOTH: Turns = Turns { acquisitions: 1, rides: 1 };

/// No faults, no time, no commands.
const CALM: Budget = Budget { faults: 0, short_ticks: 0, long_ticks: 0, commands: 0 };

/// Two slots, and no limits in time.
fn two() -> Limits {
    limits(SLOTS, 2, COROUTINES)
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_each_borrows_twice() {
    explore(TWICE, two(), Budget { faults: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_deadlines_pass_among_faults() {
    explore(ONCE, two(), Budget { faults: 2, short_ticks: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_the_server_is_away_for_long() {
    explore(ONCE, two(), Budget { faults: 2, long_ticks: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_the_pool_is_commanded() {
    explore(ONCE, two(), Budget { faults: 1, commands: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_lifetimes_end() {
    let limits = Limits { lifetime: Some(LONG), ..two() };
    explore(ONCE, limits, Budget { faults: 1, long_ticks: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_idle_ones_are_asked_and_closed() {
    let limits = Limits { ping: Some(SHORT), idle: Some(LONG), min_idle: 1, ..two() };
    explore(ONCE, limits, Budget { faults: 1, short_ticks: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_leases_are_revoked() {
    let limits = Limits { leak: Some(SHORT), hold: Some(LONG), ..two() };
    explore(ONCE, limits, Budget { faults: 1, short_ticks: 1, long_ticks: 2, ..CALM });
}

fn shared(connections: usize, lanes: usize, group: usize) -> Limits {
    Limits { lanes, group, ..limits(connections, 2, COROUTINES) }
}

#[test]
fn three_coroutines_keep_the_rules_when_they_ride_in_pairs_on_two_lanes() {
    explore(Turns { acquisitions: 0, rides: 2 }, shared(2, 2, 2), Budget { faults: 1, ..CALM });
}

#[test]
fn three_coroutines_keep_the_rules_when_they_ride_and_borrow_beside_one_lane() {
    explore(BOTH, shared(2, 1, 1), Budget { faults: 1, ..CALM });
}

#[test]
fn three_coroutines_keep_the_rules_when_they_ride_and_borrow_one_connection() {
    explore(BOTH, shared(1, 1, 2), Budget { faults: 1, ..CALM });
}

#[test]
fn three_coroutines_keep_the_rules_when_riders_are_out_of_time() {
    let turns = Turns { acquisitions: 0, rides: 2 };
    explore(turns, shared(1, 1, 1), Budget { short_ticks: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_keep_the_rules_when_a_pool_with_lanes_is_commanded() {
    explore(BOTH, shared(2, 1, 1), Budget { commands: 1, ..CALM });
}

#[test]
fn three_coroutines_keep_the_rules_when_the_lifetimes_of_lanes_end() {
    let limits = Limits { lifetime: Some(LONG), ..shared(2, 1, 1) };
    explore(BOTH, limits, Budget { long_ticks: 1, ..CALM });
}

#[test]
#[ignore = "takes minutes; run it after changing the core"]
fn three_coroutines_on_two_slots_keep_the_rules_in_a_larger_world() {
    explore(TWICE, two(), Budget { faults: 2, short_ticks: 1, long_ticks: 2, commands: 1 });
}

#[test]
#[ignore = "takes minutes; run it after changing the core"]
fn three_coroutines_keep_the_rules_of_lanes_in_a_larger_world() {
    explore(BOTH, shared(2, 2, 2), Budget { faults: 1, short_ticks: 1, long_ticks: 1, commands: 1 });
}
