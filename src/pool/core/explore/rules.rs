//! What must be so in the small world, in every state and after every step. Uses: core.

use super::*;
use crate::pool::core::queue::Fate;

impl World {
    /// What must be so in every state.
    pub(super) fn check(&self) {
        let core = &self.core;
        core.slots.audit();
        core.queue.audit();
        let ledger = core.ledger();
        let sum = ledger.lent + ledger.lanes + ledger.idle + ledger.opening + ledger.cleaning + ledger.free;
        let used = core.slots.used();
        assert_eq!((sum, ledger.limit), (self.limit.max(used), self.limit), "{ledger:?}");
        let leases = self.waiting().len();
        assert_eq!(ledger.waiting, leases + self.riders().len());
        let beside = ledger.idle > 0 && (leases > 0 || self.uncalled() > 0);
        assert!(!beside || self.paused, "somebody waits beside an idle connection");
        assert!(ledger.idle == 0 || used <= self.limit, "idle beyond the limit");
        assert!(!self.closed || (ledger.idle == 0 && ledger.waiting == 0), "open after close");

        // Every connection is in the pool or out of it, not both; what a coroutine holds is lent to it.
        let there: Vec<u32> = core.connections().copied().collect();
        assert_eq!(BTreeSet::from_iter(&there).len(), there.len(), "one connection in two slots");
        assert!(there.iter().all(|it| !self.gone.contains(it)), "what is gone is still there");
        assert_eq!(there.len() + self.gone.len(), usize::try_from(self.made).unwrap(), "lost one");
        let counters = core.counters();
        let closed: u64 = counters.closed.iter().sum();
        assert_eq!(counters.opened - closed, u64::try_from(there.len()).unwrap());
        let slots = core.slots.inspect();
        let mut lent = 0;
        for coroutine in &self.coroutines {
            match coroutine.doing {
                Doing::Nothing | Doing::Riding { .. } | Doing::Seated { .. } | Doing::Over { .. } => {}
                Doing::Holding { lease, connection } => {
                    let slot = slots.iter().find(|slot| slot.2 == lease && slot.3 == Some(connection));
                    match slot.map(|slot| slot.0) {
                        Some(State::Lent) => lent += 1,
                        None => assert!(self.gone.contains(&connection), "it was taken away without a word"),
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
        self.check_lanes();

        // Whenever an open is justified it is under way.
        let wanted = leases + self.wanted_lanes() > ledger.opening
            || used < core.warm
            || (ledger.opening == 0 && core.backoff.wants_probe());
        let one_more = !self.closed
            && !self.paused
            && wanted
            && ledger.free > 0
            && ledger.opening < core.backoff.allowed(2);
        assert!(!one_more, "nobody opens what is wanted: {ledger:?} {used} {}", core.warm);
        assert!(ledger.opening <= 2);
        assert_eq!(core.is_drained(), self.closed && used == 0);
    }

    /// The tickets that are undecided, by coroutine.
    pub(super) fn waiting(&self) -> Vec<(usize, Ticket)> {
        let waiters =
            self.coroutines.iter().enumerate().filter_map(|(who, coroutine)| match coroutine.doing {
                Doing::Waiting { ticket, .. } => Some((who, ticket)),
                _ => None,
            });
        waiters.filter(|(_, ticket)| matches!(self.core.queue.fate(*ticket), Fate::Waiting)).collect()
    }

    /// Of those that waited, no one was served while an older one still waits.
    pub(super) fn in_order(&self, waited: &[(usize, Ticket)]) {
        let oldest_rider = self.riders().first().map(|(_, ticket, _)| ticket.number());
        if self.has_called {
            let before = |lease: u64| oldest_rider.is_none_or(|rider| lease < rider);
            assert!(!self.waiting().iter().any(|(_, ticket)| before(ticket.number())), "a rider overtook");
        }
        if waited.is_empty() {
            return;
        }
        let arrival = self.core.queue.inspect();
        let rank = |ticket| arrival.iter().position(|waiter| waiter.0 == ticket);
        for (_, served) in waited {
            if matches!(self.core.queue.fate(*served), Fate::Handed { .. }) {
                for (_, waits) in self.waiting() {
                    assert!(rank(*served) < rank(waits), "overtaken");
                }
                let overtook = oldest_rider.is_some_and(|rider| rider < served.number());
                assert!(!overtook || self.uncalled() == 0, "a lease overtook a rider");
            }
        }
    }

    /// Late and repeated calls ask for nothing and change nothing.
    pub(super) fn must_do_nothing(&mut self, calls: impl FnOnce(&mut Pool) -> Vec<Effects<u32, usize>>) {
        let before = self.fingerprint();
        for effects in calls(&mut self.core) {
            let Effects { wake, wake_others, call, cut, open, clean, check, close, leaks, revoke } = effects;
            assert_eq!((wake, wake_others, open, clean), (None, vec![], vec![], None));
            assert_eq!((check, close, leaks, revoke), (vec![], vec![], vec![], vec![]));
            assert_eq!((call, cut), (vec![], vec![]));
        }
        assert_eq!(self.fingerprint(), before);
    }

    /// What was used up before does nothing when it is used again.
    pub(super) fn check_old_ids(&mut self) {
        let World { coroutines, overdue, cleaning, broken, now, closed, .. } = self.clone();
        self.must_do_nothing(|core| {
            let mut effects = Vec::new();
            for coroutine in coroutines {
                if let Some(lease) = coroutine.old_lease {
                    effects.extend([Returned::Clean, Returned::Broken].map(|it| core.give_back(lease, it)));
                    if !cleaning.contains(&lease) {
                        effects.push(core.cleaned(lease, true));
                    }
                }
                // Who gives up on the way has nothing left to leave.
                let out = match coroutine.doing {
                    Doing::Seated { ticket, .. } | Doing::Over { ticket, .. } => Some(ticket),
                    _ => None,
                };
                for ticket in coroutine.old_ticket.into_iter().chain(out) {
                    effects.push(core.leave(ticket));
                    assert_eq!(core.claim(ticket, || unreachable!()), Claim::Refused(Refusal::Left));
                }
            }
            effects.extend(overdue.into_iter().map(|id| core.open_failed(id, "late", true, 1.0, now)));
            for id in broken {
                effects.extend([core.broke(id), core.distrust(id), core.checked(id)]);
            }
            effects.extend(closed.then(|| core.close()));
            for (state, id, ..) in core.slots.inspect() {
                if !matches!(state, State::Called | State::Lane) {
                    effects.push(core.board(id, |_| unreachable!("nobody called it")));
                }
            }
            effects
        });
    }

    /// Lets everything under way end normally; all must come out of it. States in `ended` are known to end.
    pub(super) fn finish(&mut self, ended: &mut Fingerprints) {
        let mut path = Fingerprints::default();
        loop {
            let here = self.fingerprint();
            if ended.contains(&here) {
                break;
            }
            assert!(path.insert(here), "somebody waits for ever");
            let next =
                self.coroutines.iter().enumerate().find_map(|(who, coroutine)| match coroutine.doing {
                    Doing::Waiting { woken: true, .. } | Doing::Riding { woken: true, .. } => {
                        Some(Action::Claim { who })
                    }
                    Doing::Over { .. } => Some(Action::RideAgain { who }),
                    Doing::Holding { .. } => Some(Action::GiveBack { who, state: Returned::Clean }),
                    _ => None,
                });
            let lane = self.lanes.first().map(|lane| match lane.course {
                Course::Called | Course::Back => Action::Board { id: lane.id },
                Course::Out => Action::Land { id: lane.id, failed: false },
                Course::Lost => Action::Broke { id: lane.id },
            });
            let next = next
                .or(lane)
                .or_else(|| (!self.opens.is_empty()).then_some(Action::Opened { at: 0 }))
                .or_else(|| (!self.overdue.is_empty()).then_some(Action::OpenedLate { at: 0 }))
                .or_else(|| (!self.cleaning.is_empty()).then_some(Action::Cleaned { at: 0, ok: true }))
                .or_else(|| (!self.checks.is_empty()).then_some(Action::Checked { at: 0 }))
                .or_else(|| self.paused.then_some(Action::Command(Command::Resume)))
                .or_else(|| (self.core.ledger().waiting > 0).then_some(Action::Tick { by: LONG }));
            match next {
                Some(action) => self.apply(action),
                None => {
                    let idle = self.core.ledger().idle;
                    let end =
                        Ledger { idle, free: self.limit - idle, limit: self.limit, ..Ledger::default() };
                    assert_eq!(self.core.ledger(), end, "something never ends");
                    assert!(self.coroutines.iter().all(|coroutine| coroutine.doing == Doing::Nothing));
                    assert_eq!(self.core.is_drained(), self.closed);
                    break;
                }
            }
        }
        ended.extend(path);
    }
}
