//! Groups of selects in the small world. Uses: core.

use super::*;
use crate::pool::core::queue::Fate;

/// What one brings along who wants a seat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Want {
    pub(super) weight: Weight,
    pub(super) limit: Option<Duration>,
}

/// A connection whose driver was called, or whose group is out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lane {
    pub(super) id: ConnectionId,
    pub(super) course: Course,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Course {
    /// Its driver is to come.
    Called,
    /// Its group is with the server.
    Out,
    /// Its group is back: its driver comes again.
    Back,
    /// It is lost, and the pool has yet to hear of it.
    Lost,
}

const LIGHT: Weight = Weight { micros: 10, bytes: 100, alone: false };
/// Two of these do not fit in one group, except as a lane's part.
const HEAVY: Weight = Weight { micros: 1_200, ..LIGHT };
const ALONE: Weight = Weight { alone: true, ..LIGHT };

impl World {
    /// What riders can do, and what becomes of groups.
    pub(super) fn lane_actions(&self, actions: &mut Vec<Action>) {
        for lane in &self.lanes {
            let id = lane.id;
            match lane.course {
                Course::Called | Course::Back => actions.push(Action::Board { id }),
                Course::Out => {
                    actions.push(Action::Land { id, failed: false });
                    if self.budget.faults > 0 {
                        actions.extend([Action::Land { id, failed: true }, Action::Lose { id }]);
                    }
                }
                Course::Lost => actions.push(Action::Broke { id }),
            }
        }
    }

    /// With what somebody may ask for a seat.
    pub(super) fn wants(&self) -> Vec<Want> {
        let weights: &[Weight] = if self.group > 1 { &[LIGHT, HEAVY, ALONE] } else { &[LIGHT] };
        // Of the longer limit it is noted at a look since when it counts.
        let limits: &[Option<Duration>] =
            if self.budget.short_ticks > 0 { &[Some(SHORT), Some(LONG)] } else { &[None] };
        weights
            .iter()
            .flat_map(|weight| limits.iter().map(|limit| Want { weight: *weight, limit: *limit }))
            .collect()
    }

    fn riding(who: usize, want: Want) -> Riding<usize> {
        Riding { limit: want.limit, weight: want.weight, wake: who }
    }

    pub(super) fn ride(&mut self, who: usize, want: Want) {
        self.coroutines[who].rides -= 1;
        let now = self.now;
        match self.core.ride(World::riding(who, want), || now) {
            Ride::Queued { ticket, call, open } => {
                let (woken, since, noted) = (false, now, None);
                self.coroutines[who].doing = Doing::Riding { ticket, want, woken, since, noted };
                assert!(call.is_none() || !self.paused, "called while it is paused");
                self.carry_out(Effects {
                    call: Vec::from_iter(call),
                    open: Vec::from_iter(open),
                    ..Effects::none()
                });
            }
            Ride::Refused(why) => self.refused(why, None),
        }
    }

    /// One that was passed over, or whose connection was lost.
    pub(super) fn ride_again(&mut self, who: usize) {
        let Doing::Over { ticket: before, want } = self.coroutines[who].doing else { unreachable!() };
        let now = self.now;
        let (again, effects) = self.core.ride_again(before, World::riding(who, want), || now);
        match again {
            Ok(ticket) => {
                assert_eq!(ticket.number(), before.number());
                self.again += 1;
                let (woken, since, noted) = (false, now, None);
                self.coroutines[who].doing = Doing::Riding { ticket, want, woken, since, noted };
            }
            Err(why) => {
                assert_eq!((why, self.closed), (Refusal::Closed, true));
                self.coroutines[who].doing = Doing::Nothing;
            }
        }
        self.carry_out(effects);
    }

    /// A woken rider is told why there is no seat for it.
    pub(super) fn claim_ride(&mut self, who: usize) {
        let Doing::Riding { ticket, want, since, .. } = self.coroutines[who].doing else { unreachable!() };
        match self.core.claim(ticket, || unreachable!("a rider is woken only to be refused")) {
            Claim::Refused(why) => self.refused(why, want.limit.map(|limit| since + limit)),
            other => panic!("woken for nothing: {other:?}"),
        }
        self.coroutines[who].old_ticket = Some(ticket);
        self.coroutines[who].doing = Doing::Nothing;
    }

    /// The group is back; if its first has failed, the others were passed over.
    pub(super) fn land(&mut self, id: ConnectionId, failed: bool) {
        self.budget.faults -= u8::from(failed);
        let members = self.members(id);
        for (at, (who, ticket, want)) in members.into_iter().enumerate() {
            let coroutine = &mut self.coroutines[who];
            if failed && at > 0 {
                coroutine.doing = Doing::Over { ticket, want };
            } else {
                (coroutine.doing, coroutine.old_ticket) = (Doing::Nothing, Some(ticket));
            }
        }
        self.on_course(id, Course::Back);
    }

    /// The connection is lost with its group, of which the pool hears later.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.budget.faults -= 1;
        self.throw_off(id);
        self.on_course(id, Course::Lost);
    }

    /// Its members are to ride again, alone.
    pub(super) fn throw_off(&mut self, id: ConnectionId) {
        for (who, ticket, want) in self.members(id) {
            let want = Want { weight: Weight { alone: true, ..want.weight }, ..want };
            self.coroutines[who].doing = Doing::Over { ticket, want };
        }
    }

    fn on_course(&mut self, id: ConnectionId, course: Course) {
        self.lanes.iter_mut().filter(|lane| lane.id == id).for_each(|lane| lane.course = course);
    }

    /// Who is in the group of this connection, in their order.
    pub(super) fn members(&self, id: ConnectionId) -> Vec<(usize, Ticket, Want)> {
        let coroutines = self.coroutines.iter().enumerate();
        let seated = coroutines.filter_map(|(who, coroutine)| match coroutine.doing {
            Doing::Seated { ticket, want, id: on } if on == id => Some((who, ticket, want)),
            _ => None,
        });
        let mut members: Vec<_> = seated.collect();
        members.sort_by_key(|(_, ticket, _)| ticket.number());
        members
    }

    /// Who waits for a seat, in their order.
    pub(super) fn riders(&self) -> Vec<(usize, Ticket, Want)> {
        let coroutines = self.coroutines.iter().enumerate();
        let riding = coroutines.filter_map(|(who, coroutine)| match coroutine.doing {
            Doing::Riding { ticket, want, .. } => Some((who, ticket, want)),
            _ => None,
        });
        let mut riders: Vec<_> =
            riding.filter(|(_, ticket, _)| matches!(self.core.queue.fate(*ticket), Fate::Waiting)).collect();
        riders.sort_by_key(|(_, ticket, _)| ticket.number());
        riders
    }

    /// The driver has come, or comes again.
    pub(super) fn board(&mut self, id: ConnectionId) {
        let expected = self.next_group(id);
        let mut taken = Vec::new();
        let effects = self.core.board(id, |who| taken.push(who));
        assert_eq!(taken, expected, "another group than it should be");
        for who in &taken {
            let Doing::Riding { ticket, want, woken: false, .. } = self.coroutines[*who].doing else {
                panic!("taken along without a wish")
            };
            self.coroutines[*who].doing = Doing::Seated { ticket, want, id };
        }
        if taken.is_empty() {
            self.lanes.retain(|lane| lane.id != id);
        } else {
            self.on_course(id, Course::Out);
            self.groups += 1;
            self.selects += u64::try_from(taken.len()).unwrap();
            let other = effects.wake.is_some() || !effects.call.is_empty() || !effects.close.is_empty();
            assert!(!other, "more than opens while a group departs");
        }
        self.carry_out(effects);
    }

    /// Who should go along.
    fn next_group(&self, id: ConnectionId) -> Vec<usize> {
        let slot = self.core.slots.find(id).unwrap().0;
        let riders = self.riders();
        let first = riders.first().map(|(_, ticket, _)| ticket.number());
        let lease = self.waiting().into_iter().map(|(_, ticket)| ticket.number()).min();
        let is_next = first.is_some_and(|first| lease.is_none_or(|lease| first < lease));
        if self.paused || !is_next || self.core.must_leave(slot).is_some() {
            return Vec::new();
        }
        let others = self.lanes.iter().filter(|lane| lane.id != id && lane.course == Course::Called).count();
        let share = riders.len().div_ceil(others + 1).min(self.group);
        let part = riders.len().div_ceil(self.lanes.len());
        let mut group: Vec<(usize, Weight)> = Vec::new();
        for (who, _, want) in riders.into_iter().take(share) {
            let weight = want.weight;
            let micros: u32 = group.iter().map(|(_, it)| it.micros).sum();
            let alone = weight.alone || group.iter().any(|(_, it)| it.alone);
            let long = group.len() >= part && micros + weight.micros > 2_000;
            if !group.is_empty() && (alone || long) {
                break;
            }
            group.push((who, weight));
        }
        group.into_iter().map(|(who, _)| who).collect()
    }

    /// What the pool says of lanes is what has come of them.
    pub(super) fn check_lanes(&self) {
        let core = &self.core;
        assert!(self.lanes.len() <= self.most_lanes, "more lanes than may be");
        assert_eq!(core.ledger().lanes, self.lanes.len());
        for lane in &self.lanes {
            let state = core.slots.find(lane.id).map(|(_, state)| state);
            let expected = if lane.course == Course::Called { State::Called } else { State::Lane };
            assert_eq!(state, Some(expected), "{lane:?}");
        }
        for coroutine in &self.coroutines {
            match coroutine.doing {
                Doing::Riding { ticket, woken, .. } => match core.queue.fate(ticket) {
                    Fate::Waiting => assert!(!woken, "woken for nothing"),
                    Fate::Refused(_) => assert!(woken, "refused without a word"),
                    other => panic!("a rider's fate is {other:?}"),
                },
                Doing::Seated { ticket, id, .. } => {
                    assert!(matches!(core.queue.fate(ticket), Fate::Gone), "it might be taken twice");
                    assert!(self.lanes.iter().any(|lane| lane.id == id), "its group is nowhere");
                }
                Doing::Over { ticket, .. } => assert!(matches!(core.queue.fate(ticket), Fate::Gone)),
                Doing::Nothing | Doing::Waiting { .. } | Doing::Holding { .. } => {}
            }
        }
        let counters = core.counters();
        assert_eq!(
            (counters.groups, counters.selects, counters.again),
            (self.groups, self.selects, self.again)
        );
    }

    /// How many of those who wait for a seat have nobody coming for them, though there may be another lane.
    pub(super) fn uncalled(&self) -> usize {
        let called = self.lanes.iter().filter(|lane| lane.course == Course::Called).count();
        let allowed = self.lanes.len() < self.most_lanes;
        if allowed { self.riders().len().saturating_sub(called) } else { 0 }
    }

    /// How many more connections those who wait for a seat could do with.
    pub(super) fn wanted_lanes(&self) -> usize {
        let called = self.lanes.iter().filter(|lane| lane.course == Course::Called).count();
        let groups = self.riders().len().div_ceil(self.group);
        groups.saturating_sub(called).min(self.most_lanes - self.lanes.len())
    }

    /// Time has passed: who should have been refused by now has been, and nobody before its time.
    pub(super) fn check_time(&mut self) {
        let now = self.now;
        for coroutine in &mut self.coroutines {
            if let Doing::Riding { want: Want { limit: Some(limit), .. }, woken, since, noted, .. } =
                &mut coroutine.doing
            {
                // Since when it waits is known at the next look at the latest.
                if *limit <= Duration::from_secs(1) {
                    *noted = Some(*since);
                } else if now >= *since + Duration::from_millis(20) {
                    noted.get_or_insert(now);
                }
                let due = noted.is_some_and(|noted| noted + *limit <= now);
                assert!(*woken || !due, "a rider's limit passed unnoticed");
            }
        }
    }
}
