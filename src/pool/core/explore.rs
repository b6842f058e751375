//! Every interleaving of a small world: three coroutines, two slots. Uses: core, deadline.
//!
//! Breadth first over all states that differ in more than the names of coroutines, slots, connections and
//! leases. What every step and every state must fulfil is in `explore/rules.rs`.

mod fingerprint;
mod lanes;
mod rules;
mod worlds;

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::fingerprint::Fingerprints;
use self::lanes::{Course, Lane, Want};
use super::slots::State;
use super::tests::{deadline, start, waits};
use super::*;

const COROUTINES: usize = 3;

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

/// How often each coroutine asks for a connection, and for a seat.
#[derive(Clone, Copy)]
struct Turns {
    acquisitions: u8,
    rides: u8,
}

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(2);

type Pool = Core<u32, usize, &'static str>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Nothing,
    Waiting {
        ticket: Ticket,
        woken: bool,
        until: Option<Instant>,
    },
    Holding {
        lease: LeaseId,
        connection: u32,
    },
    /// It waits for a seat since then, of which the pool knows at the latest since `noted`.
    Riding {
        ticket: Ticket,
        want: Want,
        woken: bool,
        since: Instant,
        noted: Option<Instant>,
    },
    /// In the group of this connection.
    Seated {
        ticket: Ticket,
        want: Want,
        id: ConnectionId,
    },
    /// It was passed over, or its connection was lost: it will ride again.
    Over {
        ticket: Ticket,
        want: Want,
    },
}

#[derive(Clone, Copy, Debug)]
struct Coroutine {
    acquisitions: u8,
    rides: u8,
    doing: Doing,
    /// What it had before; using these again must do nothing.
    old_lease: Option<LeaseId>,
    old_ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Acquire { who: usize, patient: bool },
    Ride { who: usize, want: Want },
    RideAgain { who: usize },
    Board { id: ConnectionId },
    Land { id: ConnectionId, failed: bool },
    Lose { id: ConnectionId },
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
    lanes: Vec<Lane>,
    /// At most so many, with so many in a group.
    most_lanes: usize,
    group: usize,
    /// How many there were, who went along, and how often somebody came back.
    groups: u64,
    selects: u64,
    again: u64,
    /// Somebody's driver was called in this step.
    has_called: bool,
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
    fn new(turns: Turns, limits: Limits, budget: Budget) -> World {
        let (old_lease, old_ticket) = (None, None);
        let Turns { acquisitions, rides } = turns;
        let nothing = Coroutine { acquisitions, rides, doing: Doing::Nothing, old_lease, old_ticket };
        World {
            core: Core::new(limits),
            coroutines: [nothing; COROUTINES],
            opens: Vec::new(),
            overdue: Vec::new(),
            cleaning: Vec::new(),
            checks: Vec::new(),
            lanes: Vec::new(),
            most_lanes: limits.lanes,
            group: limits.group,
            groups: 0,
            selects: 0,
            again: 0,
            has_called: false,
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
                other.doing == coroutine.doing
                    && (other.acquisitions, other.rides) == (coroutine.acquisitions, coroutine.rides)
            };
            if self.coroutines[..who].iter().any(same) {
                continue;
            }
            match coroutine.doing {
                Doing::Nothing => {
                    if coroutine.acquisitions > 0 {
                        actions.push(Action::Acquire { who, patient: true });
                        // Without time to pass it makes no difference.
                        let may_pass = self.budget.short_ticks + self.budget.long_ticks > 0;
                        actions.extend(may_pass.then_some(Action::Acquire { who, patient: false }));
                    }
                    if coroutine.rides > 0 {
                        actions.extend(self.wants().into_iter().map(|want| Action::Ride { who, want }));
                    }
                }
                Doing::Waiting { .. } => actions.extend([Action::Claim { who }, Action::Leave { who }]),
                Doing::Riding { woken, .. } => {
                    actions.push(Action::Leave { who });
                    actions.extend(woken.then_some(Action::Claim { who }));
                }
                Doing::Seated { .. } => {}
                Doing::Over { .. } => actions.push(Action::RideAgain { who }),
                Doing::Holding { .. } => {
                    let states = [Returned::Clean, Returned::Dirty, Returned::Broken];
                    actions.extend(states.map(|state| Action::GiveBack { who, state }));
                }
            }
        }
        self.lane_actions(&mut actions);
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
            let lost = |id| self.lanes.contains(&Lane { id, course: Course::Lost });
            let there = slots.filter(|(state, id, ..)| *state != State::Free && !lost(*id));
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
        self.has_called = false;
        match action {
            Action::Ride { who, want } => self.ride(who, want),
            Action::RideAgain { who } => self.ride_again(who),
            Action::Board { id } => self.board(id),
            Action::Land { id, failed } => self.land(id, failed),
            Action::Lose { id } => self.lose(id),
            Action::Claim { who } if matches!(self.coroutines[who].doing, Doing::Riding { .. }) => {
                self.claim_ride(who);
            }
            Action::Acquire { who, patient } => self.acquire(who, patient),
            Action::Claim { who } => self.claim(who),
            Action::Leave { who } => {
                let (Doing::Waiting { ticket, .. } | Doing::Riding { ticket, .. }) =
                    self.coroutines[who].doing
                else {
                    unreachable!()
                };
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
                if !self.lanes.contains(&Lane { id, course: Course::Lost }) {
                    self.budget.faults -= 1;
                }
                self.throw_off(id);
                self.lanes.retain(|lane| lane.id != id);
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
                let mut effects = self.core.cut(self.now);
                for lane in std::mem::take(&mut self.lanes) {
                    self.throw_off(lane.id);
                }
                for connection in effects.cut.drain(..) {
                    assert!(self.gone.insert(connection), "closed twice");
                }
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
                self.check_time();
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
                assert_eq!((self.core.queue.leases(), self.uncalled()), (0, 0), "a newcomer overtook");
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
            let (Doing::Waiting { woken, .. } | Doing::Riding { woken, .. }) =
                &mut self.coroutines[who].doing
            else {
                panic!("woke one that does not wait")
            };
            assert!(!*woken, "woke one twice");
            *woken = true;
        }
        for (id, _) in effects.call {
            assert!(self.lanes.iter().all(|lane| lane.id != id), "called twice");
            self.lanes.push(Lane { id, course: Course::Called });
            self.has_called = true;
        }
        assert!(effects.cut.is_empty(), "cut off before the end");
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

fn explore(turns: Turns, limits: Limits, budget: Budget) {
    let world = World::new(turns, limits, budget);
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
