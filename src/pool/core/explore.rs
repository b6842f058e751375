//! Every interleaving of a small world: three coroutines, two slots. Uses: core, deadline.
//!
//! Breadth first over all states that differ in more than the names of coroutines, slots, connections and
//! leases. What every step and every state must fulfil is in `explore/rules.rs`.

mod fingerprint;
mod rules;

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::fingerprint::Fingerprints;
use super::slots::State;
use super::tests::{deadline, limits, start, waits};
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
    /// Steps after which a back-off is over too, the patience with failures, and what else the world's limits say.
    long_ticks: u8,
    /// Commands to the pool as a whole.
    commands: u8,
}

/// No faults, no time, no commands.
const CALM: Budget = Budget { faults: 0, short_ticks: 0, long_ticks: 0, commands: 0 };

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(2);

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
    Checked { at: usize },
    Distrust { id: ConnectionId },
    Tick { by: Duration },
    Ended { who: usize },
    Command(Command),
    Close,
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Pause,
    Resume,
    Clear,
    Resize(usize),
    Warm(usize),
}

const COMMANDS: [Command; 7] = [
    Command::Pause,
    Command::Resume,
    Command::Clear,
    Command::Resize(1),
    Command::Resize(3),
    Command::Warm(2),
    Command::Warm(0),
];

#[derive(Clone)]
struct World {
    core: Pool,
    coroutines: [Coroutine; COROUTINES],
    /// Opens under way, and those given up whose connection may still come.
    opens: Vec<ConnectionId>,
    overdue: Vec<ConnectionId>,
    cleaning: Vec<LeaseId>,
    checks: Vec<ConnectionId>,
    paused: bool,
    limit: usize,
    /// How many connections were made; they are numbered from 1.
    made: u32,
    /// Those that left the pool, by breaking or for closing.
    gone: BTreeSet<u32>,
    /// Why opens failed.
    failures: Vec<&'static str>,
    /// Those the driver saw die.
    broken: Vec<ConnectionId>,
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
    fn new(acquisitions: u8, limits: Limits, budget: Budget) -> World {
        let nothing = Coroutine { acquisitions, doing: Doing::Nothing, old_lease: None, old_ticket: None };
        World {
            core: Core::new(limits),
            coroutines: [nothing; COROUTINES],
            opens: Vec::new(),
            overdue: Vec::new(),
            cleaning: Vec::new(),
            checks: Vec::new(),
            paused: false,
            limit: limits.connections,
            made: 0,
            gone: BTreeSet::new(),
            failures: Vec::new(),
            broken: Vec::new(),
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
            let there = slots.filter(|(state, ..)| *state != State::Free);
            for (_, id, ..) in there {
                actions.extend([Action::Broke { id }, Action::Distrust { id }]);
            }
        }
        actions.extend((0..self.checks.len()).map(|at| Action::Checked { at }));
        if self.budget.commands > 0 && !self.closed {
            let sensible = |command: &Command| match command {
                Command::Pause => !self.paused,
                Command::Resume => self.paused,
                Command::Resize(limit) => *limit != self.limit,
                Command::Clear | Command::Warm(_) => true,
            };
            actions.extend(COMMANDS.into_iter().filter(sensible).map(Action::Command));
            let holding = |who: &usize| matches!(self.coroutines[*who].doing, Doing::Holding { .. });
            actions.extend((0..COROUTINES).filter(holding).map(|who| Action::Ended { who }));
        }
        if self.budget.short_ticks > 0 {
            actions.push(Action::Tick { by: SHORT });
        }
        if self.budget.long_ticks > 0 {
            actions.push(Action::Tick { by: LONG });
        }
        actions.push(if self.closed { Action::Cut } else { Action::Close });
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
            }
            Action::Broke { id } => {
                self.budget.faults -= 1;
                let handle = self.core.slots.inspect().into_iter().find(|slot| slot.1 == id).unwrap().3;
                let effects = self.core.broke(id);
                let left: Vec<u32> = effects.close.iter().map(|(connection, _)| *connection).collect();
                assert_eq!(left, Vec::from_iter(handle), "what broke leaves at once");
                self.carry_out(effects);
                self.broken.push(id);
            }
            Action::Distrust { id } => {
                self.budget.faults -= 1;
                let effects = self.core.distrust(id);
                self.carry_out(effects);
                let again = self.core.distrust(id);
                assert!(again.close.is_empty(), "it says so once");
            }
            Action::Checked { at } => {
                let id = self.checks.remove(at);
                let effects = self.core.checked(id);
                self.carry_out(effects);
            }
            Action::Ended { who } => {
                self.budget.commands = self.budget.commands.saturating_sub(1);
                let Doing::Holding { lease, connection } = self.coroutines[who].doing else { unreachable!() };
                let lent = self.core.slots.find_lease(lease).filter(|(_, state)| *state == State::Lent);
                let news = lent.is_some_and(|(slot, _)| !self.core.slots.life(slot).orphan);
                let left = self.core.ended(who + 1, true);
                let left: Vec<u32> = left.into_iter().map(|(connection, _)| connection).collect();
                assert_eq!(left, Vec::from_iter(news.then_some(connection)), "what it has is told once");
            }
            Action::Command(command) => {
                self.budget.commands = self.budget.commands.saturating_sub(1);
                let effects = match command {
                    Command::Pause => {
                        self.paused = true;
                        self.core.pause();
                        Effects::none()
                    }
                    Command::Resume => {
                        self.paused = false;
                        self.core.resume()
                    }
                    Command::Clear => self.core.clear(),
                    Command::Resize(limit) => {
                        self.limit = limit;
                        self.core.resize(limit)
                    }
                    Command::Warm(connections) => self.core.warm(connections),
                };
                self.carry_out(effects);
            }
            Action::Cut => {
                let effects = self.core.cut(self.now);
                self.carry_out(effects);
                assert!(self.core.is_drained(), "something survives the cut");
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
            }
        }
        self.in_order(&waited);
        self.check();
    }

    fn acquire(&mut self, who: usize, patient: bool) {
        let until = (!patient).then(|| self.now + SHORT);
        let coroutine = &mut self.coroutines[who];
        coroutine.acquisitions -= 1;
        let borrower = Borrower { who: who + 1, site: None };
        let join = || waits((until.map_or(Deadline::NEVER, deadline), who));
        match self.core.acquire(borrower, |_| 0, join) {
            Acquire::Lent(Lent { lease, connection, .. }) => {
                assert_eq!(self.core.queue.len(), 0, "a newcomer overtook");
                assert!(!self.paused, "lent while it is paused");
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
            Claim::Lent(Lent { lease, connection, .. }) => {
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
            Refusal::Failed(failure) => assert!(self.failures.contains(&failure)),
            Refusal::QueueFull => panic!("there is room in the queue for all"),
            Refusal::Nested => panic!("nobody holds one and wants another"),
            Refusal::Left => panic!("the ticket was good"),
        }
    }

    fn open(&mut self, id: ConnectionId) {
        self.made += 1;
        let effects = self.core.opened(id, self.made, 0.0, self.now);
        self.carry_out(effects);
    }

    fn fail(&mut self, id: ConnectionId, permanent: bool) {
        let failure = if permanent { "wrong password" } else { "refused" };
        self.failures.push(failure);
        let effects = self.core.open_failed(id, failure, permanent, 1.0, self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects<u32, usize>) {
        for who in effects.wake.into_iter().chain(effects.wake_others) {
            let Doing::Waiting { woken, .. } = &mut self.coroutines[who].doing else {
                panic!("woke one that does not wait")
            };
            assert!(!*woken, "woke one twice");
            *woken = true;
        }
        self.opens.extend(effects.open);
        self.cleaning.extend(effects.clean);
        self.checks.extend(effects.check.into_iter().map(|(id, _)| id));
        for (connection, _) in effects.close {
            assert!(self.gone.insert(connection), "closed twice");
        }
        for overlong in effects.revoke {
            assert!(self.gone.insert(overlong.connection), "closed twice");
        }
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

fn explore(acquisitions: u8, limits: Limits, budget: Budget) {
    let world = World::new(acquisitions, limits, budget);
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
    assert!(seen.len() > 20_000, "the world has become too small: {} states", seen.len());
}

/// Two slots, and no limits in time.
fn two() -> Limits {
    limits(SLOTS, 2, COROUTINES)
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_each_borrows_twice() {
    explore(2, two(), Budget { faults: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_deadlines_pass_among_faults() {
    explore(1, two(), Budget { faults: 2, short_ticks: 1, long_ticks: 1, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_the_server_is_away_for_long() {
    explore(1, two(), Budget { faults: 2, long_ticks: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_the_pool_is_commanded() {
    explore(1, two(), Budget { faults: 1, commands: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_lifetimes_end() {
    let limits = Limits { lifetime: Some(LONG), ..two() };
    explore(1, limits, Budget { faults: 1, long_ticks: 2, ..CALM });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_idle_ones_are_asked_and_closed() {
    let limits = Limits { ping: Some(SHORT), idle: Some(LONG), min_idle: 1, ..two() };
    explore(1, limits, Budget { faults: 1, short_ticks: 1, long_ticks: 2, commands: 1 });
}

#[test]
fn three_coroutines_on_two_slots_keep_the_rules_when_leases_are_revoked() {
    let limits = Limits { leak: Some(SHORT), hold: Some(LONG), ..two() };
    explore(1, limits, Budget { faults: 1, short_ticks: 1, long_ticks: 3, commands: 1 });
}

#[test]
#[ignore = "takes minutes; run it after changing the core"]
fn three_coroutines_on_two_slots_keep_the_rules_in_a_larger_world() {
    explore(2, two(), Budget { faults: 2, short_ticks: 1, long_ticks: 2, commands: 1 });
}
