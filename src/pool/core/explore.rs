//! Every interleaving of a small world: three coroutines, two slots. Uses: deadline.
//!
//! Breadth first over all states that differ in more than the names of coroutines, slots, connections and
//! leases. What a state must fulfil is in `World::check`, what a step must in `World::apply`, and from each
//! state `World::finish` lets everything end normally and looks whether anybody was forgotten.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::queue::Fate;
use super::slots::State;
use super::tests::{deadline, start};
use super::*;

const COROUTINES: usize = 3;
const SLOTS: usize = 2;

/// How often things may happen in one history; without an end to them there would be no end of states.
#[derive(Clone, Copy, Hash)]
struct Budget {
    /// Opens that fail or are overdue, connections that break.
    faults: u8,
    /// Steps of time after which deadlines have passed.
    short_ticks: u8,
    /// Steps after which a back-off is over too, and the patience with failures.
    long_ticks: u8,
}

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(2);

type Fingerprints = HashSet<u64, BuildHasherDefault<Mix>>;

/// The standard hasher takes half of the time here when it is not optimised; this one is enough for numbers.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        let [low, high] = [product as u64, (product >> 64) as u64];
        self.0 = low ^ high.rotate_left(23);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

type Pool = Core<u32, usize, &'static str>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Nothing,
    Waiting { ticket: Ticket, woken: bool, until: Option<Instant> },
    Holding { lease: LeaseId, connection: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Coroutine {
    acquisitions: u8,
    doing: Doing,
    /// What it had before; using these again must do nothing.
    old_lease: Option<LeaseId>,
    old_ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Acquire { who: usize, patient: bool },
    Claim { who: usize },
    Leave { who: usize },
    GiveBack { who: usize, state: Returned },
    Opened { at: usize },
    OpenFailed { at: usize, permanent: bool },
    OpenOverdue { at: usize },
    OpenedLate { at: usize },
    Cleaned { at: usize, ok: bool },
    Broke { id: ConnectionId },
    Tick { by: Duration },
    Close,
}

#[derive(Clone)]
struct World {
    core: Pool,
    coroutines: [Coroutine; COROUTINES],
    /// Opens under way, and those given up whose connection may still come.
    opens: Vec<ConnectionId>,
    overdue: Vec<ConnectionId>,
    cleaning: Vec<LeaseId>,
    /// How many connections were made; they are numbered from 1.
    made: u32,
    /// Those that left the pool, by breaking or for closing.
    gone: BTreeSet<u32>,
    failures: BTreeSet<&'static str>,
    now: Instant,
    closed: bool,
    budget: Budget,
    /// How this state came about.
    trail: Option<Rc<Step>>,
}

struct Step {
    action: Action,
    before: Option<Rc<Step>>,
}

impl World {
    /// Each coroutine asks for a connection that often.
    fn new(acquisitions: u8, budget: Budget) -> World {
        let nothing = Coroutine { acquisitions, doing: Doing::Nothing, old_lease: None, old_ticket: None };
        World {
            core: Core::new(Limits { connections: SLOTS, opening: 2, waiting: COROUTINES }),
            coroutines: [nothing; COROUTINES],
            opens: Vec::new(),
            overdue: Vec::new(),
            cleaning: Vec::new(),
            made: 0,
            gone: BTreeSet::new(),
            failures: BTreeSet::new(),
            now: start(),
            closed: false,
            budget,
            trail: None,
        }
    }

    /// All that can happen next.
    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (who, coroutine) in self.coroutines.iter().enumerate() {
            // Of coroutines in the same position it does not matter which acts.
            let same = |other: &Coroutine| {
                other.doing == coroutine.doing && other.acquisitions == coroutine.acquisitions
            };
            if self.coroutines[..who].iter().any(same) {
                continue;
            }
            match coroutine.doing {
                Doing::Nothing if coroutine.acquisitions > 0 => {
                    actions.extend([true, false].map(|patient| Action::Acquire { who, patient }));
                }
                Doing::Nothing => {}
                Doing::Waiting { .. } => actions.extend([Action::Claim { who }, Action::Leave { who }]),
                Doing::Holding { .. } => {
                    let states = [Returned::Clean, Returned::Dirty, Returned::Broken];
                    actions.extend(states.map(|state| Action::GiveBack { who, state }));
                }
            }
        }
        for at in 0..self.opens.len() {
            actions.push(Action::Opened { at });
            if self.budget.faults > 0 {
                actions.extend([true, false].map(|permanent| Action::OpenFailed { at, permanent }));
                actions.push(Action::OpenOverdue { at });
            }
        }
        actions.extend((0..self.overdue.len()).map(|at| Action::OpenedLate { at }));
        for at in 0..self.cleaning.len() {
            actions.extend([true, false].map(|ok| Action::Cleaned { at, ok }));
        }
        if self.budget.faults > 0 {
            let slots = self.core.slots.inspect().into_iter();
            let there = slots.filter(|(state, ..)| !matches!(state, State::Free | State::Lost));
            actions.extend(there.map(|(_, id, ..)| Action::Broke { id }));
        }
        if self.budget.short_ticks > 0 {
            actions.push(Action::Tick { by: SHORT });
        }
        if self.budget.long_ticks > 0 {
            actions.push(Action::Tick { by: LONG });
        }
        if !self.closed {
            actions.push(Action::Close);
        }
        actions
    }

    /// Does one thing and checks what it brings about.
    fn apply(&mut self, action: Action) {
        self.trail = Some(Rc::new(Step { action, before: self.trail.take() }));
        let waited = self.waiting();
        match action {
            Action::Acquire { who, patient } => self.acquire(who, patient),
            Action::Claim { who } => self.claim(who),
            Action::Leave { who } => {
                let Doing::Waiting { ticket, .. } = self.coroutines[who].doing else { unreachable!() };
                self.coroutines[who].doing = Doing::Nothing;
                self.coroutines[who].old_ticket = Some(ticket);
                let effects = self.core.leave(ticket);
                self.carry_out(effects);
            }
            Action::GiveBack { who, state } => {
                let Doing::Holding { lease, .. } = self.coroutines[who].doing else { unreachable!() };
                self.coroutines[who].doing = Doing::Nothing;
                self.coroutines[who].old_lease = Some(lease);
                let effects = self.core.give_back(lease, state);
                self.carry_out(effects);
            }
            Action::Opened { at } => {
                let id = self.opens.remove(at);
                self.open(id);
            }
            Action::OpenedLate { at } => {
                let id = self.overdue.remove(at);
                self.open(id);
                assert!(self.gone.contains(&self.made), "a late connection was taken in");
            }
            Action::OpenFailed { at, permanent } => {
                self.budget.faults -= 1;
                let id = self.opens.remove(at);
                self.fail(id, permanent);
            }
            Action::OpenOverdue { at } => {
                self.budget.faults -= 1;
                let id = self.opens.remove(at);
                self.fail(id, false);
                self.overdue.push(id);
            }
            Action::Cleaned { at, ok } => {
                let lease = self.cleaning.remove(at);
                let effects = self.core.cleaned(lease, ok);
                self.carry_out(effects);
                self.must_do_nothing(|core| vec![core.cleaned(lease, !ok)]);
            }
            Action::Broke { id } => {
                self.budget.faults -= 1;
                let handle = self.core.slots.inspect().into_iter().find(|slot| slot.1 == id).unwrap().3;
                let effects = self.core.broke(id);
                assert_eq!(effects.close, Vec::from_iter(handle), "what broke leaves at once");
                self.carry_out(effects);
                self.must_do_nothing(|core| vec![core.broke(id)]);
            }
            Action::Tick { by } => {
                let budget =
                    if by == SHORT { &mut self.budget.short_ticks } else { &mut self.budget.long_ticks };
                *budget = budget.saturating_sub(1);
                self.now += by;
                let effects = self.core.tick(self.now);
                self.carry_out(effects);
                for coroutine in &self.coroutines {
                    if let Doing::Waiting { woken: false, until: Some(until), .. } = coroutine.doing {
                        assert!(until > self.now, "a deadline passed unnoticed");
                    }
                }
            }
            Action::Close => {
                self.closed = true;
                let effects = self.core.close();
                self.carry_out(effects);
                self.must_do_nothing(|core| vec![core.close()]);
            }
        }
        self.in_order(&waited);
        self.check();
    }

    fn acquire(&mut self, who: usize, patient: bool) {
        let until = (!patient).then(|| self.now + SHORT);
        let coroutine = &mut self.coroutines[who];
        coroutine.acquisitions -= 1;
        match self.core.acquire(until.map_or(Deadline::NEVER, deadline), || who) {
            Acquire::Lent(lease, connection) => {
                assert_eq!(self.core.queue.len(), 0, "a newcomer overtook");
                self.hold(who, lease, connection);
            }
            Acquire::Queued { ticket, open } => {
                coroutine.doing = Doing::Waiting { ticket, woken: false, until };
                self.opens.extend(open);
            }
            Acquire::Refused(why) => {
                coroutine.doing = Doing::Nothing;
                self.refused(why, None);
            }
        }
    }

    fn claim(&mut self, who: usize) {
        let Doing::Waiting { ticket, woken, until } = self.coroutines[who].doing else { unreachable!() };
        let answer = self.core.claim(ticket, || {
            assert!(woken, "a wake handle was spent on nobody");
            who
        });
        match answer {
            Claim::Pending => self.coroutines[who].doing = Doing::Waiting { ticket, woken: false, until },
            Claim::Lent(lease, connection) => {
                assert!(woken, "handed over without a word");
                self.coroutines[who].old_ticket = Some(ticket);
                self.hold(who, lease, connection);
            }
            Claim::Refused(why) => {
                assert!(woken, "refused without a word");
                self.coroutines[who].old_ticket = Some(ticket);
                self.coroutines[who].doing = Doing::Nothing;
                self.refused(why, until);
            }
        }
    }

    fn hold(&mut self, who: usize, lease: LeaseId, connection: u32) {
        assert!(!self.closed, "lent after close");
        assert!(!self.gone.contains(&connection), "lent after it broke");
        for other in &self.coroutines {
            let twice = matches!(other.doing, Doing::Holding { connection: it, .. } if it == connection);
            assert!(!twice, "lent twice");
        }
        self.coroutines[who].doing = Doing::Holding { lease, connection };
    }

    fn refused(&self, why: Refusal<&'static str>, until: Option<Instant>) {
        match why {
            Refusal::Closed => assert!(self.closed),
            Refusal::TimedOut => assert!(until.is_some_and(|until| until <= self.now)),
            Refusal::Failed(failure) => assert!(self.failures.contains(failure)),
            Refusal::QueueFull => panic!("there is room in the queue for all"),
            Refusal::Left => panic!("the ticket was good"),
        }
    }

    fn open(&mut self, id: ConnectionId) {
        self.made += 1;
        let effects = self.core.opened(id, self.made);
        self.carry_out(effects);
    }

    fn fail(&mut self, id: ConnectionId, permanent: bool) {
        let failure = if permanent { "wrong password" } else { "refused" };
        self.failures.insert(failure);
        let effects = self.core.open_failed(id, failure, permanent, 1.0, self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects<u32, usize>) {
        for who in effects.wake.into_iter().chain(effects.wake_refused) {
            let Doing::Waiting { woken, .. } = &mut self.coroutines[who].doing else {
                panic!("woke one that does not wait")
            };
            assert!(!*woken, "woke one twice");
            *woken = true;
        }
        self.opens.extend(effects.open);
        self.cleaning.extend(effects.clean);
        for connection in effects.close {
            assert!(self.gone.insert(connection), "closed twice");
        }
    }

    /// Late and repeated calls ask for nothing and change nothing.
    fn must_do_nothing(&mut self, calls: impl FnOnce(&mut Pool) -> Vec<Effects<u32, usize>>) {
        let before = self.fingerprint();
        for effects in calls(&mut self.core) {
            let Effects { wake, wake_refused, open, clean, close } = effects;
            assert_eq!((wake, wake_refused, open, clean, close), (None, vec![], vec![], None, vec![]));
        }
        assert_eq!(self.fingerprint(), before);
    }

    /// The tickets that are undecided, by coroutine.
    fn waiting(&self) -> Vec<(usize, Ticket)> {
        let waiters =
            self.coroutines.iter().enumerate().filter_map(|(who, coroutine)| match coroutine.doing {
                Doing::Waiting { ticket, .. } => Some((who, ticket)),
                _ => None,
            });
        waiters.filter(|(_, ticket)| matches!(self.core.queue.fate(*ticket), Fate::Waiting)).collect()
    }

    /// Of those that waited, no one was served while an older one still waits.
    fn in_order(&self, waited: &[(usize, Ticket)]) {
        let arrival = self.core.queue.inspect();
        let rank = |ticket| arrival.iter().position(|waiter| waiter.0 == ticket);
        for (_, served) in waited {
            if matches!(self.core.queue.fate(*served), Fate::Handed { .. }) {
                for (_, waits) in self.waiting() {
                    assert!(rank(*served) < rank(waits), "overtaken");
                }
            }
        }
    }

    /// What must be so in every state.
    fn check(&self) {
        let core = &self.core;
        core.slots.audit();
        core.queue.audit();
        let ledger = core.ledger();
        let sum = ledger.lent + ledger.idle + ledger.opening + ledger.cleaning + ledger.free;
        assert_eq!((sum, ledger.limit), (SLOTS, SLOTS), "{ledger:?}");
        assert!(ledger.idle == 0 || ledger.waiting == 0, "somebody waits beside an idle connection");
        assert!(!self.closed || (ledger.idle == 0 && ledger.waiting == 0), "open after close");

        // Every connection is in the pool or out of it, not both; what a coroutine holds is lent to it.
        let there: BTreeSet<u32> = core.connections().copied().collect();
        assert_eq!(there.len(), core.connections().count(), "one connection in two slots");
        assert!(there.is_disjoint(&self.gone), "what is gone is still there");
        assert_eq!(there.len() + self.gone.len(), usize::try_from(self.made).unwrap(), "lost one");
        let counters = core.counters();
        assert_eq!(counters.opened - counters.closed, u64::try_from(there.len()).unwrap());
        let slots = core.slots.inspect();
        let mut lent = 0;
        for coroutine in &self.coroutines {
            match coroutine.doing {
                Doing::Nothing => {}
                Doing::Holding { lease, connection } => {
                    lent += 1;
                    let slot = slots.iter().find(|slot| slot.2 == lease).unwrap();
                    match slot.0 {
                        State::Lent => assert_eq!(slot.3, Some(connection)),
                        State::Lost => assert!(self.gone.contains(&connection)),
                        other => panic!("a lent connection is {other:?}"),
                    }
                }
                // No waiter sleeps on an answer, and what is kept for it knows so.
                Doing::Waiting { ticket, woken, .. } => match core.queue.fate(ticket) {
                    Fate::Gone => panic!("a waiter is forgotten"),
                    Fate::Waiting => {}
                    Fate::Handed { slot } => {
                        lent += 1;
                        assert!(woken, "handed over without a word");
                        assert_eq!(slots[slot].0, State::Handed { waiter: ticket.place() });
                    }
                    Fate::Refused(_) => assert!(woken, "refused without a word"),
                },
            }
        }
        assert_eq!(ledger.lent, lent, "lent to nobody");

        // Whenever an open is justified it is under way.
        let one_more = !self.closed
            && ledger.waiting > ledger.opening
            && ledger.free > 0
            && ledger.opening < core.backoff.allowed(2);
        assert!(!one_more, "nobody opens what is wanted");
        assert!(ledger.opening <= 2);
        assert_eq!(core.is_drained(), self.closed && ledger.free == SLOTS);
    }

    /// What was used up before does nothing when it is used again.
    fn check_old_ids(&mut self) {
        let World { coroutines, overdue, cleaning, now, .. } = self.clone();
        self.must_do_nothing(|core| {
            let mut effects = Vec::new();
            for coroutine in coroutines {
                if let Some(lease) = coroutine.old_lease {
                    effects.extend([Returned::Clean, Returned::Broken].map(|it| core.give_back(lease, it)));
                    if !cleaning.contains(&lease) {
                        effects.push(core.cleaned(lease, true));
                    }
                }
                if let Some(ticket) = coroutine.old_ticket {
                    effects.push(core.leave(ticket));
                    assert_eq!(core.claim(ticket, || unreachable!()), Claim::Refused(Refusal::Left));
                }
            }
            effects.extend(overdue.into_iter().map(|id| core.open_failed(id, "late", true, 1.0, now)));
            effects
        });
    }

    /// Lets everything under way end normally; all must come out of it. States in `ended` are known to end.
    fn finish(&mut self, ended: &mut Fingerprints) {
        let mut path = Fingerprints::default();
        loop {
            let here = self.fingerprint();
            if ended.contains(&here) {
                break;
            }
            assert!(path.insert(here), "somebody waits for ever");
            let next =
                self.coroutines.iter().enumerate().find_map(|(who, coroutine)| match coroutine.doing {
                    Doing::Waiting { woken: true, .. } => Some(Action::Claim { who }),
                    Doing::Holding { .. } => Some(Action::GiveBack { who, state: Returned::Clean }),
                    _ => None,
                });
            let next = next
                .or_else(|| (!self.opens.is_empty()).then_some(Action::Opened { at: 0 }))
                .or_else(|| (!self.overdue.is_empty()).then_some(Action::OpenedLate { at: 0 }))
                .or_else(|| (!self.cleaning.is_empty()).then_some(Action::Cleaned { at: 0, ok: true }))
                .or_else(|| (self.core.ledger().waiting > 0).then_some(Action::Tick { by: LONG }));
            match next {
                Some(action) => self.apply(action),
                None => {
                    let idle = self.core.ledger().idle;
                    let end = Ledger { idle, free: SLOTS - idle, limit: SLOTS, ..Ledger::default() };
                    assert_eq!(self.core.ledger(), end, "something never ends");
                    assert!(self.coroutines.iter().all(|coroutine| coroutine.doing == Doing::Nothing));
                    assert_eq!(self.core.is_drained(), self.closed);
                    break;
                }
            }
        }
        ended.extend(path);
    }

    /// All that can make a difference later, without the names.
    fn fingerprint(&self) -> u64 {
        let mut hash = Mix::default();
        let waiters = self.core.queue.inspect();
        let rank = |ticket| waiters.iter().position(|waiter| waiter.0 == ticket);
        let mut coroutines = self.coroutines.map(|coroutine| {
            let doing = match coroutine.doing {
                Doing::Nothing => (0, None),
                Doing::Waiting { ticket, woken, .. } => (1 + u8::from(woken), rank(ticket)),
                Doing::Holding { connection, .. } => (3 + u8::from(self.gone.contains(&connection)), None),
            };
            (coroutine.acquisitions, doing)
        });
        coroutines.sort_unstable();
        coroutines.hash(&mut hash);
        for (_, deadline, wake, fate) in &waiters {
            match fate {
                Fate::Gone => unreachable!(),
                Fate::Waiting => (0, deadline.left(self.now), wake.is_some()).hash(&mut hash),
                Fate::Handed { .. } => (1, deadline.left(self.now)).hash(&mut hash),
                Fate::Refused(why) => (2, why).hash(&mut hash),
            }
        }
        let mut slots = self.core.ledger();
        slots.waiting = waiters.len();
        slots.hash(&mut hash);
        let opening = |id: &&ConnectionId| matches!(self.core.slots.find(**id), Some((_, State::Opening)));
        (self.opens.len(), self.opens.iter().filter(opening).count(), self.overdue.len()).hash(&mut hash);
        self.cleaning.len().hash(&mut hash);
        self.core.backoff.inspect(self.now).hash(&mut hash);
        (self.closed, self.budget).hash(&mut hash);
        hash.finish()
    }

    fn history(&self) -> String {
        let mut actions = Vec::new();
        let mut step = self.trail.as_ref();
        while let Some(it) = step {
            actions.push(format!("{:?}", it.action));
            step = it.before.as_ref();
        }
        actions.reverse();
        actions.join("\n  ")
    }
}

/// Says how the state came about if what is done with it fails.
fn witnessed(world: &mut World, act: impl FnOnce(&mut World)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| act(world))) {
        eprintln!("after\n  {}", world.history());
        resume_unwind(panic);
    }
}

fn explore(acquisitions: u8, budget: Budget) {
    let world = World::new(acquisitions, budget);
    let mut seen = Fingerprints::from_iter([world.fingerprint()]);
    let mut ended = Fingerprints::default();
    let mut frontier = VecDeque::from([world]);
    let mut steps = 0_u64;
    while let Some(world) = frontier.pop_front() {
        for action in world.actions() {
            let mut next = world.clone();
            witnessed(&mut next, |next| next.apply(action));
            steps += 1;
            if seen.insert(next.fingerprint()) {
                witnessed(&mut next, World::check_old_ids);
                witnessed(&mut next.clone(), |end| end.finish(&mut ended));
                frontier.push_back(next);
            }
        }
    }
    println!("{} states, {steps} steps", seen.len());
    assert!(seen.len() > 50_000, "the world has become too small");
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_each_borrows_twice() {
    explore(2, Budget { faults: 1, short_ticks: 1, long_ticks: 1 });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_while_much_fails() {
    explore(1, Budget { faults: 3, short_ticks: 1, long_ticks: 2 });
}
