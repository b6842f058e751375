//! Groups of selects in long random histories. Uses: core.

use super::*;

impl Run {
    fn riding(&mut self, who: Task, weight: Weight) -> Riding<Task> {
        Riding { limit: Some(Duration::from_millis(self.random.next() % 300)), weight, wake: who }
    }

    fn weight(&mut self) -> Weight {
        let micros = self.random.pick(&[0, 10, 700, 1_500, 9_000]).unwrap();
        let bytes = self.random.pick(&[0, 100, 100, 60 * 1024, 150 * 1024]).unwrap();
        Weight { micros, bytes, alone: self.random.below(8) == 0 }
    }

    pub(super) fn ride(&mut self, who: Task) {
        let weight = self.weight();
        let riding = self.riding(who, weight);
        let until = self.now + riding.limit.unwrap();
        let now = self.now;
        let answer = self.core.ride(riding, || now);
        let model = &mut self.model;
        let may = !model.closed && !model.paused && model.lanes() < model.limits.lanes;
        let idle = model.idle_like(true).filter(|_| may);
        match answer {
            Ride::Queued { ticket, call, open } => {
                if let Some(at) = idle {
                    model.connections[at].2 = Place::Called;
                    model.expected.call.push(model.connections[at].1);
                }
                assert!(!model.closed && (idle.is_some() || model.queue.len() < model.limits.waiting));
                self.counters.waits += 1;
                let arrival = self.counters.waits;
                model.join(Waiter { arrival, task: who, until, woken: false, seat: Some(weight) });
                self.doing[who] = Doing::Riding(ticket, arrival, weight);
                let (call, open) = (Vec::from_iter(call), Vec::from_iter(open));
                self.compare(Effects { call, open, ..Effects::none() });
            }
            Ride::Refused(why) => {
                if !model.closed {
                    model.backoff.hurry();
                }
                let expected = match (model.closed, model.backoff.refusal()) {
                    (true, _) => Refusal::Closed,
                    (false, Some(failure)) => Refusal::Failed(*failure),
                    (false, None) => Refusal::QueueFull,
                };
                assert_eq!((why, idle), (expected, None));
                assert!(why != Refusal::QueueFull || model.queue.len() >= model.limits.waiting);
                self.compare(Effects::none());
            }
        }
    }

    pub(super) fn ride_again(&mut self, who: Task, before: Ticket, arrival: u64, weight: Weight) {
        let riding = self.riding(who, weight);
        let until = self.now + riding.limit.unwrap();
        let now = self.now;
        let (again, effects) = self.core.ride_again(before, riding, || now);
        match again {
            Ok(ticket) => {
                assert!(!self.model.closed);
                self.counters.again += 1;
                self.model.join(Waiter { arrival, task: who, until, woken: false, seat: Some(weight) });
                self.doing[who] = Doing::Riding(ticket, arrival, weight);
            }
            Err(why) => {
                assert_eq!((why, self.model.closed), (Refusal::Closed, true));
                self.doing[who] = Doing::Nothing;
            }
        }
        self.compare(effects);
    }

    pub(super) fn claim_ride(&mut self, who: Task, ticket: Ticket) {
        match self.core.claim(ticket, || unreachable!("nobody woke it")) {
            Claim::Pending => assert!(self.model.queue.iter().any(|waiter| waiter.task == who)),
            Claim::Lent(_) => panic!("it wanted a seat"),
            Claim::Refused(why) => {
                assert!(self.model.refused.contains(&(who, why)));
                self.model.leave(who);
                self.doing[who] = Doing::Nothing;
            }
        }
        self.compare(Effects::none());
    }

    /// A driver comes: it was called, or its group is back. Sometimes a member has failed, and those behind it were passed over.
    pub(super) fn board(&mut self) {
        let Some(id) = self.random.pick(&self.lanes) else { return };
        let failed = self.random.below(4) == 0;
        let mut members: Vec<(u64, Task)> = self.members(id);
        members.sort_unstable();
        for (at, (_, who)) in members.into_iter().enumerate() {
            let Doing::Seated(ticket, arrival, weight, _) = self.doing[who] else { unreachable!() };
            let over = failed && at > 0;
            self.doing[who] = if over { Doing::Over(ticket, arrival, weight) } else { Doing::Nothing };
        }
        let mut taken = Vec::new();
        let effects = self.core.board(id, |who| taken.push(who));
        assert_eq!(taken, self.model.board(id), "another group than it should be");
        if taken.is_empty() {
            self.lanes.retain(|lane| *lane != id);
        } else {
            self.counters.groups += 1;
        }
        for who in taken {
            let Doing::Riding(ticket, arrival, weight) = self.doing[who] else {
                panic!("taken along without a wish")
            };
            self.doing[who] = Doing::Seated(ticket, arrival, weight, id);
            self.counters.selects += 1;
        }
        self.compare(effects);
    }

    /// The connection is lost, with its group if it has one.
    pub(super) fn throw_off(&mut self, id: ConnectionId) {
        self.lanes.retain(|lane| *lane != id);
        for (_, who) in self.members(id) {
            let Doing::Seated(ticket, arrival, weight, _) = self.doing[who] else { unreachable!() };
            self.doing[who] = Doing::Over(ticket, arrival, weight);
        }
    }

    fn members(&self, id: ConnectionId) -> Vec<(u64, Task)> {
        let seated = self.doing.iter().enumerate().filter_map(|(who, doing)| match doing {
            Doing::Seated(_, arrival, _, on) if *on == id => Some((*arrival, who)),
            _ => None,
        });
        seated.collect()
    }
}
