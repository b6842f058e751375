//! What a proxy does to which message: pure bookkeeping. Uses: frame.

use std::time::Duration;

use super::super::frame::{Direction, is_real_tag};

/// Stands for every message that has a tag on the wire.
pub(crate) const ANY: u8 = 255;

/// Which of the messages that match a rule it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Every,
    Nth(usize),
    From(usize),
}

/// Each of them.
pub(crate) fn every() -> When {
    When::Every
}

/// Only the n-th since the rule was made; the first is 1.
pub(crate) fn nth(n: usize) -> When {
    When::Nth(n)
}

/// The n-th since the rule was made and all after it; the first is 1.
pub(crate) fn from(n: usize) -> When {
    When::From(n)
}

/// The messages a rule is about; `None` is all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) link: Option<usize>,
    pub(super) direction: Option<Direction>,
    pub(super) tag: Option<u8>,
    pub(super) when: When,
}

impl Filter {
    fn matches(&self, link: usize, direction: Direction, tag: u8) -> bool {
        self.link.is_none_or(|only| only == link)
            && self.direction.is_none_or(|only| only == direction)
            && match self.tag {
                None => true,
                Some(ANY) => is_real_tag(tag),
                Some(only) => only == tag,
            }
    }
}

/// What is done to a message.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Watch,
    Delay(Duration),
    Hold,
    HoldInside(usize),
    CutBefore,
    CutInside(usize),
    CutAfter,
    Split,
    Glue,
    Duplicate,
    InsertBefore(Vec<u8>),
    InsertAfter(Vec<u8>),
}

/// All that is to be done to one message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    /// The rules that hold it back.
    pub(super) holds: Vec<usize>,
    /// The rules that hold it back after its first bytes.
    pub(super) hold_inside: Vec<(usize, usize)>,
    pub(super) cut: Option<Cut>,
    pub(super) split: bool,
    pub(super) glue: bool,
    pub(super) copies: usize,
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

/// Where the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Before,
    Inside(usize),
    After,
}

struct Rule {
    filter: Filter,
    action: Action,
    active: bool,
    matched: usize,
    hits: usize,
}

/// The rules of a proxy, in the order in which they were made.
#[derive(Default)]
pub(super) struct RuleBook(Vec<Rule>);

impl RuleBook {
    /// Adds a rule; the answer names it.
    pub(super) fn add(&mut self, filter: Filter, action: Action) -> usize {
        self.0.push(Rule { filter, action, active: true, matched: 0, hits: 0 });
        self.0.len() - 1
    }

    pub(super) fn remove(&mut self, rule: usize) {
        self.0[rule].active = false;
    }

    pub(super) fn is_active(&self, rule: usize) -> bool {
        self.0[rule].active
    }

    /// How often the rule has acted.
    pub(super) fn hits(&self, rule: usize) -> usize {
        self.0[rule].hits
    }

    /// Counts the message, and says what is to be done to it.
    pub(super) fn plan(&mut self, link: usize, direction: Direction, tag: u8) -> Plan {
        let mut plan = Plan { copies: 1, ..Plan::default() };
        for (number, rule) in self.0.iter_mut().enumerate() {
            if !rule.active || !rule.filter.matches(link, direction, tag) {
                continue;
            }
            rule.matched += 1;
            let acts = match rule.filter.when {
                When::Every => true,
                When::Nth(n) => rule.matched == n,
                When::From(n) => rule.matched >= n,
            };
            if !acts {
                continue;
            }
            rule.hits += 1;
            match &rule.action {
                Action::Watch => {}
                Action::Delay(time) => plan.delay += *time,
                Action::Hold => plan.holds.push(number),
                Action::HoldInside(count) => plan.hold_inside.push((*count, number)),
                Action::CutBefore => plan.cut = Some(Cut::Before),
                Action::CutInside(count) => plan.cut = Some(Cut::Inside(*count)),
                Action::CutAfter => plan.cut = Some(Cut::After),
                Action::Split => plan.split = true,
                Action::Glue => plan.glue = true,
                Action::Duplicate => plan.copies += 1,
                Action::InsertBefore(bytes) => plan.before.extend_from_slice(bytes),
                Action::InsertAfter(bytes) => plan.after.extend_from_slice(bytes),
            }
        }
        plan
    }
}
