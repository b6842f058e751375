//! Long random histories, compared step by step with a model that is too simple to be wrong. Uses: core, deadline.

mod lanes;
mod model;

use std::time::{Duration, Instant};

use self::model::{Expected, Model, Place, Waiter};
use super::tests::{deadline, limits, start, waits};
use super::*;

const COROUTINES: usize = 12;

type Task = usize;
type Pool = Core<u32, Task, &'static str>;

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        (!among.is_empty()).then(|| among[self.below(among.len())])
    }
}

/// A waiting coroutine's ticket, its arrival and its deadline; a holding one's lease and connection.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Nothing,
    Waiting(Ticket, u64, Instant),
    Holding(LeaseId, ConnectionId),
    Riding(Ticket, u64, Weight),
    /// In the group of this connection.
    Seated(Ticket, u64, Weight, ConnectionId),
    /// Passed over, or its connection was lost.
    Over(Ticket, u64, Weight),
}

struct Run {
    random: Random,
    core: Pool,
    model: Model,
    doing: [Doing; COROUTINES],
    opens: Vec<ConnectionId>,
    cleaning: Vec<(LeaseId, ConnectionId)>,
    /// Connections whose drivers are to come, or whose groups are out.
    lanes: Vec<ConnectionId>,
    /// Used up; using them again must change nothing.
    old_leases: Vec<LeaseId>,
    old_opens: Vec<ConnectionId>,
    now: Instant,
    made: u32,
    counters: Counters,
}

impl Run {
    fn new(mut random: Random) -> Run {
        let limits = limits(1 + random.below(6), 1 + random.below(3), 2 + random.below(COROUTINES));
        let limits =
            Limits { lanes: random.below(limits.connections + 1), group: 1 + random.below(5), ..limits };
        let model = Model {
            limits,
            closed: false,
            paused: false,
            stale: Vec::new(),
            connections: Vec::new(),
            queue: Vec::new(),
            shared: Vec::new(),
            refused: Vec::new(),
            backoff: Backoff::new(),
            expected: Expected::default(),
        };
        Run {
            random,
            core: Core::new(limits),
            model,
            doing: [Doing::Nothing; COROUTINES],
            opens: Vec::new(),
            cleaning: Vec::new(),
            lanes: Vec::new(),
            old_leases: Vec::new(),
            old_opens: Vec::new(),
            now: start(),
            made: 0,
            counters: Counters::default(),
        }
    }

    /// Compares what the core wants with what the model expects, and does it.
    fn compare(&mut self, mut effects: Effects<u32, Task>) {
        self.model.settle();
        let mut expected = std::mem::take(&mut self.model.expected);
        effects.close.sort_unstable();
        expected.close.sort_unstable();
        effects.call.sort_unstable_by_key(|(_, handle)| *handle);
        expected.call.sort_unstable();
        self.lanes.extend(effects.call.iter().map(|(id, _)| *id));
        effects.wake_others.extend(effects.wake);
        effects.wake_others.sort_unstable();
        expected.told.sort_unstable();
        let actual = Expected {
            told: effects.wake_others,
            call: effects.call.into_iter().map(|(_, handle)| handle).collect(),
            opens: effects.open.len(),
            clean: effects.clean.is_some(),
            close: effects.close.into_iter().map(|(handle, _)| handle).collect(),
        };
        assert_eq!(actual, expected);
        for id in effects.open {
            self.model.put(id, 0, Place::Opening);
            self.opens.push(id);
        }
        assert_eq!(self.core.ledger(), self.model.ledger());
        self.counters.most = self.counters.most.max(self.core.connections().count());
    }

    fn one_step(&mut self) {
        let who = self.random.below(COROUTINES);
        match (self.random.below(40), self.doing[who]) {
            (0..6, _) => self.answer_an_open(),
            (6..9, _) => self.answer_a_cleaning(),
            (9, _) => self.break_one(),
            (10, _) => self.use_an_old_id(),
            (11..14, _) => self.tick(),
            (15, _) => self.operate(),
            (14, Doing::Waiting(ticket, ..) | Doing::Riding(ticket, ..)) => self.leave(who, ticket),
            (16..24, _) => self.board(),
            (24..32, Doing::Nothing) => self.ride(who),
            (_, Doing::Nothing) => self.acquire(who),
            (_, Doing::Riding(ticket, ..)) => self.claim_ride(who, ticket),
            (_, Doing::Seated(..)) => {}
            (_, Doing::Over(ticket, arrival, weight)) => self.ride_again(who, ticket, arrival, weight),
            (_, Doing::Waiting(ticket, ..)) => self.claim(who, ticket),
            (_, Doing::Holding(lease, id)) => self.give_back(who, lease, id),
        }
    }

    fn acquire(&mut self, who: Task) {
        let until = self.now + Duration::from_millis(self.random.next() % 300);
        let answer = self.core.acquire(Borrower::NOBODY, |_| 0, || waits((deadline(until), who)));
        let model = &mut self.model;
        let idle = model.idle_like(false);
        match answer {
            Acquire::Lent(Lent { lease, connection: handle, .. }) => {
                let (id, expected, place) = &mut model.connections[idle.unwrap()];
                assert_eq!(*expected, handle, "not the one used last");
                *place = Place::Lent(who);
                model.shared.retain(|other| other != id);
                self.doing[who] = Doing::Holding(lease, *id);
                self.counters.lends += 1;
                self.compare(Effects::none());
            }
            Acquire::Queued { ticket, open } => {
                let none = idle.is_none() || model.paused;
                assert!(!model.closed && none && model.queue.len() < model.limits.waiting);
                self.counters.waits += 1;
                let arrival = self.counters.waits;
                model.join(Waiter { arrival, task: who, until, woken: false, seat: None });
                self.doing[who] = Doing::Waiting(ticket, self.counters.waits, until);
                self.compare(Effects { open: Vec::from_iter(open), ..Effects::none() });
            }
            Acquire::Refused(why) => {
                if !model.closed {
                    model.backoff.hurry();
                }
                let expected = match (model.closed, model.backoff.refusal()) {
                    (true, _) => Refusal::Closed,
                    (false, Some(failure)) => Refusal::Failed(*failure),
                    (false, None) => Refusal::QueueFull,
                };
                assert!(idle.is_none() || model.paused);
                assert_eq!(why, expected);
                // Those that were put back had their place before, so there may be more than the limit.
                assert!(why != Refusal::QueueFull || model.queue.len() >= model.limits.waiting);
                self.compare(Effects::none());
            }
        }
    }

    fn claim(&mut self, who: Task, ticket: Ticket) {
        let mut rearmed = false;
        let answer = self.core.claim(ticket, || {
            rearmed = true;
            who
        });
        let model = &mut self.model;
        match answer {
            Claim::Pending => {
                let waiter = model.queue.iter_mut().find(|waiter| waiter.task == who).unwrap();
                assert_eq!(waiter.woken, rearmed);
                waiter.woken = false;
            }
            Claim::Lent(Lent { lease, connection: handle, .. }) => {
                let kept = model.connections.iter_mut().find(|it| it.2 == Place::Kept(who)).unwrap();
                assert_eq!(kept.1, handle);
                kept.2 = Place::Lent(who);
                model.shared.retain(|other| *other != kept.0);
                self.doing[who] = Doing::Holding(lease, kept.0);
                self.counters.lends += 1;
            }
            Claim::Refused(why) => {
                assert!(model.refused.contains(&(who, why)));
                model.leave(who);
                self.doing[who] = Doing::Nothing;
            }
        }
        self.compare(Effects::none());
    }

    fn leave(&mut self, who: Task, ticket: Ticket) {
        let effects = self.core.leave(ticket);
        let kept = self.model.connections.iter().find(|it| it.2 == Place::Kept(who)).map(|it| it.0);
        if let Some(id) = kept {
            let (handle, _) = self.model.remove(id).unwrap();
            self.model.put_clean(id, handle);
        }
        self.model.leave(who);
        self.doing[who] = Doing::Nothing;
        self.compare(effects);
        assert_eq!(self.core.claim(ticket, || unreachable!()), Claim::Refused(Refusal::Left));
    }

    fn give_back(&mut self, who: Task, lease: LeaseId, id: ConnectionId) {
        let states = [Returned::Clean, Returned::Clean, Returned::Clean, Returned::Dirty, Returned::Broken];
        let state = self.random.pick(&states).unwrap();
        let back = state == Returned::Clean && self.core.put_back(lease).is_ok();
        let effects = if back { Effects::none() } else { self.core.give_back(lease, state) };
        // It may have broken meanwhile.
        if let Some((handle, _)) = self.model.remove(id) {
            let may_stay = !self.model.closed
                && !self.model.stale.contains(&id)
                && self.model.connections.len() < self.model.limits.connections;
            match state {
                Returned::Clean => self.model.put_clean(id, handle),
                Returned::Dirty if may_stay => {
                    self.model.put(id, handle, Place::Cleaning);
                    self.model.expected.clean = true;
                    self.cleaning.push((lease, id));
                }
                _ => self.model.expected.close.push(handle),
            }
        }
        self.doing[who] = Doing::Nothing;
        self.old_leases.push(lease);
        self.compare(effects);
    }

    fn answer_an_open(&mut self) {
        if self.opens.is_empty() {
            return;
        }
        let at = self.random.below(self.opens.len());
        let id = self.opens.swap_remove(at);
        self.old_opens.push(id);
        let there = self.model.remove(id);
        if self.random.below(4) > 0 {
            self.made += 1;
            match there {
                Some((_, Place::Opening))
                    if !self.model.closed
                        && !self.model.stale.contains(&id)
                        && self.model.connections.len() < self.model.limits.connections =>
                {
                    self.model.backoff.succeeded();
                    self.model.put(id, self.made, Place::Idle);
                    self.counters.opened += 1;
                }
                _ => self.model.expected.close.push(self.made),
            }
            let effects = self.core.opened(id, self.made, 0.0, self.now);
            return self.compare(effects);
        }
        let permanent = self.random.below(4) == 0;
        let spread = f64::from(u32::try_from(self.random.below(1000)).unwrap()) / 1000.0;
        let effects = self.core.open_failed(id, "failed", permanent, spread, self.now);
        self.counters.failed += u64::from(there.is_some());
        if there.is_some() && !self.model.closed {
            let open = |it| it != Place::Opening;
            let live = self.model.count(open) > 0;
            if self.model.backoff.failed("failed", permanent, live, spread, self.now) {
                self.model.refuse(|_| true, Refusal::Failed("failed"));
            }
        }
        self.compare(effects);
    }

    fn answer_a_cleaning(&mut self) {
        let Some((lease, id)) = self.random.pick(&self.cleaning) else { return };
        self.cleaning.retain(|cleaning| cleaning.0 != lease);
        let ok = self.random.below(4) > 0;
        let effects = self.core.cleaned(lease, ok);
        if let Some((handle, _)) = self.model.remove(id) {
            if ok {
                self.model.put_clean(id, handle);
            } else {
                self.model.expected.close.push(handle);
            }
        }
        self.compare(effects);
    }

    fn break_one(&mut self) {
        let known: Vec<ConnectionId> = self.model.connections.iter().map(|connection| connection.0).collect();
        let Some(id) = self.random.pick(&known) else { return };
        let effects = self.core.broke(id);
        let (handle, place) = self.model.remove(id).unwrap();
        match place {
            Place::Kept(task) => {
                let Doing::Waiting(_, arrival, until) = self.doing[task] else { unreachable!() };
                self.model.join(Waiter { arrival, task, until, woken: true, seat: None });
            }
            Place::Lent(_) => self.counters.cut += 1,
            Place::Called | Place::Lane => self.throw_off(id),
            Place::Opening | Place::Idle | Place::Cleaning => {}
        }
        if !matches!(place, Place::Opening) {
            self.model.expected.close.push(handle);
        }
        self.compare(effects);
    }

    fn use_an_old_id(&mut self) {
        let state = self.random.pick(&[Returned::Clean, Returned::Dirty, Returned::Broken]);
        if let (Some(lease), Some(state)) = (self.random.pick(&self.old_leases), state) {
            let effects = self.core.give_back(lease, state);
            self.compare(effects);
            if self.cleaning.iter().all(|cleaning| cleaning.0 != lease) {
                let effects = self.core.cleaned(lease, true);
                self.compare(effects);
            }
        }
        if let Some(id) = self.random.pick(&self.old_opens) {
            let effects = self.core.open_failed(id, "late", true, 0.5, self.now);
            self.compare(effects);
        }
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(self.random.next() % 40);
        let now = self.now;
        let effects = self.core.tick(now);
        self.counters.timeouts += self.model.refuse(|until| until <= now, Refusal::TimedOut);
        self.model.backoff.tick(now);
        self.compare(effects);
    }

    /// Somebody commands the pool as a whole.
    fn operate(&mut self) {
        let model = &mut self.model;
        let effects = match self.random.below(6) {
            0 if !model.closed => {
                model.paused = true;
                self.core.pause();
                Effects::none()
            }
            1 => {
                let known: Vec<ConnectionId> = model.connections.iter().map(|it| it.0).collect();
                let Some(id) = self.random.pick(&known) else { return };
                if !model.stale.contains(&id) {
                    self.make_stale();
                }
                self.core.distrust(id)
            }
            2 => {
                self.make_stale();
                self.core.clear()
            }
            3 => {
                model.limits.connections = 1 + self.random.below(6);
                let limit = model.limits.connections;
                while model.connections.len() > limit
                    && let Some(oldest) = model.connections.iter().position(|it| it.2 == Place::Idle)
                {
                    let (_, handle, _) = model.connections.remove(oldest);
                    model.expected.close.push(handle);
                }
                self.core.resize(limit)
            }
            _ => {
                model.paused = false;
                self.core.resume()
            }
        };
        self.compare(effects);
    }

    fn make_stale(&mut self) {
        let Run { model, doing, .. } = self;
        model.stale.extend(model.connections.iter().map(|it| it.0));
        let out = |it: &mut (_, _, Place)| matches!(it.2, Place::Idle | Place::Kept(_));
        let out: Vec<_> = model.connections.extract_if(.., out).collect();
        for (_, handle, place) in out {
            model.expected.close.push(handle);
            if let Place::Kept(task) = place {
                let Doing::Waiting(_, arrival, until) = doing[task] else { unreachable!() };
                model.join(Waiter { arrival, task, until, woken: true, seat: None });
            }
        }
    }

    fn close(&mut self) {
        let effects = self.core.close();
        self.model.closed = true;
        self.compare(effects);
    }

    /// Once closed and left alone by newcomers, all comes to an end.
    fn drain(&mut self) {
        for who in 0..COROUTINES {
            match self.doing[who] {
                Doing::Nothing => {}
                Doing::Waiting(ticket, ..) => self.claim(who, ticket),
                Doing::Holding(lease, id) => self.give_back(who, lease, id),
                Doing::Riding(ticket, ..) => self.claim_ride(who, ticket),
                Doing::Over(ticket, arrival, weight) => self.ride_again(who, ticket, arrival, weight),
                Doing::Seated(..) => {}
            }
        }
        while !self.lanes.is_empty() {
            self.board();
        }
        while !self.opens.is_empty() {
            self.answer_an_open();
        }
        while !self.cleaning.is_empty() {
            self.answer_a_cleaning();
        }
        assert!(self.core.is_drained());
        let counters = Counters { closed: self.core.counters().closed, ..self.counters };
        assert_eq!(*self.core.counters(), counters);
        assert_eq!(counters.closed.iter().sum::<u64>(), self.counters.opened);
    }
}

#[test]
fn a_million_random_operations_do_what_a_naive_model_does() {
    let mut totals = Counters::default();
    for seed in 1..=100 {
        println!("seed {seed}");
        let mut run = Run::new(Random(seed));
        for _ in 0..9_800 {
            run.one_step();
        }
        run.core.slots.audit();
        run.core.queue.audit();
        run.close();
        for _ in 0..200 {
            run.one_step();
        }
        run.drain();
        totals.lends += run.counters.lends;
        totals.waits += run.counters.waits;
        totals.timeouts += run.counters.timeouts;
        totals.opened += run.counters.opened;
        totals.groups += run.counters.groups;
        totals.selects += run.counters.selects;
        totals.again += run.counters.again;
    }
    println!("{totals:?}");
    assert!(totals.groups > 10_000 && totals.selects > totals.groups && totals.again > 1_000, "{totals:?}");
    assert!(totals.lends > 10_000 && totals.waits > 10_000 && totals.timeouts > 1_000, "{totals:?}");
}
