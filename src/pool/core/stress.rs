//! Long random histories, compared step by step with a model that is too simple to be wrong. Uses: core, deadline.

use std::time::{Duration, Instant};

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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Opening,
    Idle,
    Kept(Task),
    Lent(Task),
    Cleaning,
}

/// What a step should bring about, in an order that can be compared.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    /// Those served and those refused.
    told: Vec<Task>,
    opens: usize,
    clean: bool,
    close: Vec<u32>,
}

/// The pool as two lists. Each event changes them in the plainest way; `settle` does the rest by looking at
/// everything again. Only the back-off, which has its own tests, is the real one.
struct Model {
    limits: Limits,
    closed: bool,
    paused: bool,
    /// Connections, open or on their way, that were there when all were told to go.
    stale: Vec<ConnectionId>,
    /// What takes up the limit; the idle ones in the order in which they became idle.
    connections: Vec<(ConnectionId, u32, Place)>,
    /// Arrival, who, until when, and whether a wake-up is on its way.
    queue: Vec<(u64, Task, Instant, bool)>,
    refused: Vec<(Task, Refusal<&'static str>)>,
    backoff: Backoff<&'static str>,
    expected: Expected,
}

impl Model {
    fn count(&self, wanted: fn(Place) -> bool) -> usize {
        self.connections.iter().filter(|connection| wanted(connection.2)).count()
    }

    fn opening(&self) -> usize {
        self.count(|place| place == Place::Opening)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<(u32, Place)> {
        let at = self.connections.iter().position(|connection| connection.0 == id)?;
        let (_, handle, place) = self.connections.remove(at);
        Some((handle, place))
    }

    fn put(&mut self, id: ConnectionId, handle: u32, place: Place) {
        self.connections.push((id, handle, place));
    }

    /// A connection without an owner: it is idle, or has to go.
    fn put_clean(&mut self, id: ConnectionId, handle: u32) {
        // It is not counted: it has been taken out before.
        if self.closed || self.stale.contains(&id) || self.connections.len() >= self.limits.connections {
            self.expected.close.push(handle);
        } else {
            self.put(id, handle, Place::Idle);
        }
    }

    fn leave(&mut self, task: Task) {
        self.queue.retain(|waiter| waiter.1 != task);
        self.refused.retain(|refused| refused.0 != task);
    }

    fn refuse(&mut self, who: impl Fn(Instant) -> bool, why: Refusal<&'static str>) -> u64 {
        let before = self.queue.len();
        for (_, task, _, woken) in self.queue.extract_if(.., |waiter| who(waiter.2)) {
            self.refused.push((task, why));
            self.expected.told.extend((!woken).then_some(task));
        }
        u64::try_from(before - self.queue.len()).unwrap()
    }

    /// Whatever can be done now is done.
    fn settle(&mut self) {
        if self.closed {
            self.refuse(|_| true, Refusal::Closed);
            let out = |connection: &mut (_, _, Place)| matches!(connection.2, Place::Idle | Place::Kept(_));
            for (_, handle, place) in self.connections.extract_if(.., out) {
                self.expected.close.push(handle);
                if let Place::Kept(task) = place {
                    self.refused.push((task, Refusal::Closed));
                }
            }
            return;
        }
        while !self.paused
            && !self.queue.is_empty()
            && let Some(idle) = self.connections.iter().rposition(|connection| connection.2 == Place::Idle)
        {
            let (_, task, _, woken) = self.queue.remove(0);
            self.connections[idle].2 = Place::Kept(task);
            self.expected.told.extend((!woken).then_some(task));
        }
        if !self.queue.is_empty() {
            self.backoff.hurry();
        }
        let taken = |model: &Model| model.connections.len() + model.expected.opens;
        let probes = self.opening() + self.expected.opens == 0 && self.backoff.wants_probe();
        if probes && !self.paused && taken(self) < self.limits.connections {
            self.expected.opens += 1;
        }
        while !self.paused
            && self.queue.len() > self.opening() + self.expected.opens
            && self.opening() + self.expected.opens < self.backoff.allowed(self.limits.opening)
            && taken(self) < self.limits.connections
        {
            self.expected.opens += 1;
        }
    }

    fn ledger(&self) -> Ledger {
        Ledger {
            lent: self.count(|it| matches!(it, Place::Kept(_) | Place::Lent(_))),
            lanes: 0,
            idle: self.count(|it| it == Place::Idle),
            opening: self.opening(),
            cleaning: self.count(|it| it == Place::Cleaning),
            free: self.limits.connections.saturating_sub(self.connections.len()),
            limit: self.limits.connections,
            waiting: self.queue.len(),
        }
    }
}

/// A waiting coroutine's ticket, its arrival and its deadline; a holding one's lease and connection.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Nothing,
    Waiting(Ticket, u64, Instant),
    Holding(LeaseId, ConnectionId),
}

struct Run {
    random: Random,
    core: Pool,
    model: Model,
    doing: [Doing; COROUTINES],
    opens: Vec<ConnectionId>,
    cleaning: Vec<(LeaseId, ConnectionId)>,
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
        let model = Model {
            limits,
            closed: false,
            paused: false,
            stale: Vec::new(),
            connections: Vec::new(),
            queue: Vec::new(),
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
        let actual = Expected {
            told: effects.wake_others.into_iter().chain(effects.wake).collect(),
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
            (14, Doing::Waiting(ticket, ..)) => self.leave(who, ticket),
            (_, Doing::Nothing) => self.acquire(who),
            (_, Doing::Waiting(ticket, ..)) => self.claim(who, ticket),
            (_, Doing::Holding(lease, id)) => self.give_back(who, lease, id),
        }
    }

    fn acquire(&mut self, who: Task) {
        let until = self.now + Duration::from_millis(self.random.next() % 300);
        let answer = self.core.acquire(Borrower::NOBODY, |_| 0, || waits((deadline(until), who)));
        let model = &mut self.model;
        let idle = model.connections.iter().rposition(|connection| connection.2 == Place::Idle);
        match answer {
            Acquire::Lent(Lent { lease, connection: handle, .. }) => {
                let (id, expected, place) = &mut model.connections[idle.unwrap()];
                assert_eq!(*expected, handle, "not the one used last");
                *place = Place::Lent(who);
                self.doing[who] = Doing::Holding(lease, *id);
                self.counters.lends += 1;
                self.compare(Effects::none());
            }
            Acquire::Queued { ticket, open } => {
                let none = idle.is_none() || model.paused;
                assert!(!model.closed && none && model.queue.len() < model.limits.waiting);
                self.counters.waits += 1;
                model.queue.push((self.counters.waits, who, until, false));
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
                let waiter = model.queue.iter_mut().find(|waiter| waiter.1 == who).unwrap();
                assert_eq!(waiter.3, rearmed);
                waiter.3 = false;
            }
            Claim::Lent(Lent { lease, connection: handle, .. }) => {
                let kept = model.connections.iter_mut().find(|it| it.2 == Place::Kept(who)).unwrap();
                assert_eq!(kept.1, handle);
                kept.2 = Place::Lent(who);
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
            let open = |it| matches!(it, Place::Idle | Place::Kept(_) | Place::Lent(_) | Place::Cleaning);
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
                self.model.queue.push((arrival, task, until, true));
                self.model.queue.sort_by_key(|waiter| waiter.0);
            }
            Place::Lent(_) => self.counters.cut += 1,
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
                model.queue.push((arrival, task, until, true));
                model.queue.sort_by_key(|waiter| waiter.0);
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
            }
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
    }
    println!("{totals:?}");
    assert!(totals.lends > 10_000 && totals.waits > 10_000 && totals.timeouts > 1_000, "{totals:?}");
}
