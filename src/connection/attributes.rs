//! Whether a session is one that was asked for. Uses: config, protocol.
//!
//! Source of the rules: PostgreSQL manual, "Parameter Key Words" (`target_session_attrs`), and libpq's fe-connect.c.

use crate::config::TargetSessionAttrs;
use crate::protocol::authenticate::Entered;

/// What there is to say of a session that has been entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// Why it does not.
    Unfit(&'static str),
    /// The server has not told; it knows the answer to this.
    Ask(Question),
}

/// What a server is asked that does not tell by itself: one before PostgreSQL 14, or a pooler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    ReadOnly,
    Standby,
}

impl Question {
    pub(super) fn text(self) -> &'static str {
        match self {
            Question::ReadOnly => "SHOW transaction_read_only",
            Question::Standby => "SELECT pg_catalog.pg_is_in_recovery()",
        }
    }

    /// What follows from the answer.
    pub(super) fn answered(self, wanted: TargetSessionAttrs, answer: &str) -> Verdict {
        let yes = matches!(answer, "on" | "t");
        match self {
            Question::ReadOnly => by_writing(wanted, yes),
            Question::Standby => by_recovery(wanted, yes),
        }
    }
}

/// By what the server has told in the start-up.
pub(super) fn judge(wanted: TargetSessionAttrs, entered: &Entered) -> Verdict {
    match wanted {
        TargetSessionAttrs::Any => Verdict::Fits,
        TargetSessionAttrs::ReadWrite | TargetSessionAttrs::ReadOnly => {
            match (entered.default_transaction_read_only, entered.in_hot_standby) {
                (Some(default), Some(standby)) => by_writing(wanted, default || standby),
                _ => Verdict::Ask(Question::ReadOnly),
            }
        }
        TargetSessionAttrs::Primary | TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => {
            match entered.in_hot_standby {
                Some(standby) => by_recovery(wanted, standby),
                None => Verdict::Ask(Question::Standby),
            }
        }
    }
}

fn by_writing(wanted: TargetSessionAttrs, read_only: bool) -> Verdict {
    match (wanted, read_only) {
        (TargetSessionAttrs::ReadWrite, true) => Verdict::Unfit("session is read-only"),
        (TargetSessionAttrs::ReadOnly, false) => Verdict::Unfit("session is not read-only"),
        _ => Verdict::Fits,
    }
}

fn by_recovery(wanted: TargetSessionAttrs, standby: bool) -> Verdict {
    use TargetSessionAttrs::{PreferStandby, Primary, Standby};
    match (wanted, standby) {
        (Primary, true) => Verdict::Unfit("server is in hot standby mode"),
        // Preferred or not: who prefers one takes this if there is none.
        (Standby | PreferStandby, false) => Verdict::Unfit("server is not in hot standby mode"),
        _ => Verdict::Fits,
    }
}

#[cfg(test)]
mod tests {
    use TargetSessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};

    use super::*;

    /// Whether each fits a session with these.
    fn fitting(default_transaction_read_only: bool, in_hot_standby: bool) -> Vec<TargetSessionAttrs> {
        let entered = Entered {
            default_transaction_read_only: Some(default_transaction_read_only),
            in_hot_standby: Some(in_hot_standby),
            ..Entered::default()
        };
        let all = [Any, ReadWrite, ReadOnly, Primary, Standby, PreferStandby];
        all.into_iter().filter(|wanted| judge(*wanted, &entered) == Verdict::Fits).collect()
    }

    #[test]
    fn each_word_means_what_libpq_says() {
        assert_eq!(fitting(false, false), [Any, ReadWrite, Primary]);
        assert_eq!(fitting(true, false), [Any, ReadOnly, Primary]);
        assert_eq!(fitting(false, true), [Any, ReadOnly, Standby, PreferStandby]);
        assert_eq!(fitting(true, true), [Any, ReadOnly, Standby, PreferStandby]);
    }

    #[test]
    fn a_server_that_does_not_tell_is_asked_what_decides() {
        let untold = Entered::default();
        assert_eq!(judge(Any, &untold), Verdict::Fits);
        for (wanted, question, yes, fits) in [
            (ReadWrite, Question::ReadOnly, "on", false),
            (ReadOnly, Question::ReadOnly, "on", true),
            (Primary, Question::Standby, "t", false),
            (Standby, Question::Standby, "t", true),
            (PreferStandby, Question::Standby, "t", true),
        ] {
            assert_eq!(judge(wanted, &untold), Verdict::Ask(question));
            assert_eq!(question.answered(wanted, yes) == Verdict::Fits, fits, "{wanted}");
            let no = if yes == "on" { "off" } else { "f" };
            assert_eq!(question.answered(wanted, no) == Verdict::Fits, !fits, "{wanted}");
        }
    }
}
