//! Whether the server still takes writes, as far as a session can tell by what it hears. Uses: config, protocol.
//!
//! A server may stop taking writes while its sessions live: its administrator sets `default_transaction_read_only`, or a
//! pooler or a proxy in between goes on with a standby. A session that was asked for writes must then make room for another.
//! The same words come when a program has asked for it itself. To take that for a demotion costs a reconnect each time; to
//! overlook a demotion costs errors until another session notices, so what is in doubt counts as the program's own wish.

use crate::config::TargetSessionAttrs;
use crate::protocol::authenticate::Entered;
use crate::protocol::session::Status;

/// The condition that tells that a write was refused: `read_only_sql_transaction`.
pub(super) const READ_ONLY: &str = "25006";

/// What is known of that, by the server's word.
pub(super) struct Standing {
    wanted: TargetSessionAttrs,
    /// Transactions are read-only unless they say otherwise, and that was not the server's change.
    by_default: bool,
    /// What that was before the session was told to read only, as lanes do: until it is lent again it is, whatever the server's change.
    before: Option<bool>,
    /// The transaction under way has an access mode that a program may have chosen.
    chosen: bool,
    /// SET has run since the last ReadyForQuery.
    set: bool,
    demoted: bool,
    told: bool,
}

impl Standing {
    pub(super) fn new(wanted: TargetSessionAttrs, entered: &Entered) -> Standing {
        Standing {
            wanted,
            by_default: entered.default_transaction_read_only == Some(true),
            before: None,
            chosen: false,
            set: false,
            demoted: false,
            told: false,
        }
    }

    /// A command has run, by its tag. `block` is whether the transaction of ours under way, if there is one, is read-only by
    /// its own wish.
    pub(super) fn completed(&mut self, tag: &[u8], block: Option<bool>) {
        match tag {
            // Of anything: which setting it was the tag does not tell. That of a transaction is SET too.
            b"SET\0" => (self.set, self.chosen) = (true, true),
            b"BEGIN\0" | b"START TRANSACTION\0" => self.chosen |= block.unwrap_or(true),
            _ => {}
        }
    }

    /// ReadyForQuery.
    pub(super) fn ready(&mut self, status: Status) {
        self.set = false;
        self.chosen &= status != Status::Idle;
    }

    /// ParameterStatus. PostgreSQL 14 and later tell both of these, behind the commands that they follow from and before
    /// ReadyForQuery; a change of the server's configuration, with the next request.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let on = value == "on";
        match name {
            // Nothing that a session does makes a server a standby.
            "in_hot_standby" => self.demoted |= on && self.wants_writes(),
            "default_transaction_read_only" => {
                // A primary may be read-only by default and is what was asked for. `set_config` and a SET within a function
                // leave no trace, and pass for the server's change. A SET of something else at the very moment of the
                // server's change hides that; then other sessions tell of it.
                let read_write = self.wanted == TargetSessionAttrs::ReadWrite;
                self.demoted |= on && read_write && !self.set;
                self.by_default = on;
            }
            _ => {}
        }
    }

    /// It is about to be told to read only.
    pub(super) fn only_reads(&mut self) {
        self.before = Some(self.by_default);
    }

    /// It is set to what it was before, or to what the server has made of that meanwhile: then nothing has changed, and
    /// nothing was told.
    pub(super) fn is_lent(&mut self) {
        let read_write = self.wanted == TargetSessionAttrs::ReadWrite;
        self.demoted |= self.before.take() == Some(false) && self.by_default && read_write;
    }

    /// A write was refused with [`READ_ONLY`].
    pub(super) fn refused(&mut self) {
        // PostgreSQL 13 does not tell of `by_default`: there the refusals after a program's own SET count.
        self.demoted |= self.wants_writes() && !self.chosen && !self.by_default;
    }

    /// Whether there is news to be told: once.
    pub(super) fn take_news(&mut self) -> bool {
        self.demoted && !std::mem::replace(&mut self.told, self.demoted)
    }

    fn wants_writes(&self) -> bool {
        matches!(self.wanted, TargetSessionAttrs::ReadWrite | TargetSessionAttrs::Primary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(wanted: TargetSessionAttrs) -> Standing {
        Standing::new(wanted, &Entered::default())
    }

    fn read_write() -> Standing {
        standing(TargetSessionAttrs::ReadWrite)
    }

    #[test]
    fn a_refused_write_outside_of_a_chosen_transaction_is_told_once() {
        let mut standing = read_write();
        standing.refused();
        standing.refused();
        assert!(standing.take_news());
        standing.refused();
        assert!(!standing.take_news());
    }

    #[test]
    fn who_did_not_ask_for_writes_hears_nothing() {
        use TargetSessionAttrs::{Any, PreferStandby, ReadOnly, Standby};
        for wanted in [Any, ReadOnly, Standby, PreferStandby] {
            let mut standing = standing(wanted);
            standing.refused();
            standing.parameter("in_hot_standby", "on");
            standing.parameter("default_transaction_read_only", "on");
            assert!(!standing.take_news(), "{wanted:?}");
        }
    }

    #[test]
    fn a_transaction_that_is_read_only_by_its_own_wish_is_no_demotion() {
        let wishes: [(&[&[u8]], _); 4] = [
            (&[b"BEGIN\0"], Some(true)),
            (&[b"BEGIN\0"], None),
            (&[b"START TRANSACTION\0"], None),
            (&[b"BEGIN\0", b"SET\0"], Some(false)),
        ];
        for (tags, block) in wishes {
            let mut standing = read_write();
            tags.iter().for_each(|tag| standing.completed(tag, block));
            standing.ready(Status::Transaction);
            standing.refused();
            assert!(!standing.take_news(), "{tags:?} {block:?}");
            // The next is another.
            standing.ready(Status::Idle);
            standing.refused();
            assert!(standing.take_news(), "{tags:?} {block:?}");
        }
    }

    #[test]
    fn a_transaction_of_ours_that_may_write_is_one_if_it_may_not() {
        let mut standing = read_write();
        standing.completed(b"BEGIN\0", Some(false));
        standing.completed(b"INSERT 0 1\0", Some(false));
        standing.refused();
        assert!(standing.take_news());
    }

    #[test]
    fn the_servers_change_of_the_default_is_one_and_the_sessions_own_is_none() {
        let mut standing = read_write();
        standing.completed(b"SET\0", None);
        standing.parameter("default_transaction_read_only", "on");
        standing.ready(Status::Idle);
        standing.refused();
        assert!(!standing.take_news());
        standing.parameter("default_transaction_read_only", "off");
        standing.ready(Status::Idle);
        standing.parameter("default_transaction_read_only", "on");
        assert!(standing.take_news());
    }

    #[test]
    fn a_lane_that_is_read_only_afterwards_too_was_demoted() {
        for (afterwards, demoted) in [("off", false), ("on", true)] {
            let mut standing = read_write();
            standing.only_reads();
            standing.completed(b"SET\0", None);
            standing.parameter("default_transaction_read_only", "on");
            standing.ready(Status::Idle);
            standing.refused();
            assert!(!standing.take_news());
            if afterwards == "off" {
                standing.parameter("default_transaction_read_only", "off");
            }
            standing.is_lent();
            assert_eq!(standing.take_news(), demoted);
        }
    }

    #[test]
    fn a_primary_that_is_read_only_by_default_is_what_was_asked_for() {
        let mut changed = standing(TargetSessionAttrs::Primary);
        changed.parameter("default_transaction_read_only", "on");
        changed.refused();
        let entered = Entered { default_transaction_read_only: Some(true), ..Entered::default() };
        let mut begun = Standing::new(TargetSessionAttrs::Primary, &entered);
        begun.refused();
        assert!(!changed.take_news() && !begun.take_news());
        begun.parameter("in_hot_standby", "on");
        assert!(begun.take_news());
    }
}
