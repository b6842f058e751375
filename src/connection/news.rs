//! What a session tells whoever lends it. Uses: error, link.

use std::sync::Arc;

use super::link::Link;
use crate::error::Error;

/// What has become of a session.
pub(crate) enum News<'n> {
    /// It has died of this: the last that it tells. A demotion that another thread is about to tell may still come behind it.
    Died(&'n Error),
    /// The server takes no writes any more, although a session that takes some was asked for. Told once; the session lives.
    Demoted,
    /// Its driver, which tells this, has come for a group of selects: it was called, or its last group is back.
    Ready(&'n Arc<Link>),
}

/// Whoever lends a connection wants to know. Called without locks; must not wait.
pub(crate) type Observer = Box<dyn Fn(News<'_>) + Send + Sync>;

impl Link {
    /// Who is told its news from now on; what has happened already, at once. Only the first observer counts.
    pub(crate) fn observe(&self, observer: Observer) {
        let observer = self.observer.get_or_init(|| observer);
        let (demoted, death) = {
            let mut state = self.state.lock();
            (state.standing.take_news(), state.dead.as_ref().map(Error::duplicate))
        };
        if demoted {
            observer(News::Demoted);
        }
        if let Some(error) = death {
            observer(News::Died(&error));
        }
    }

    pub(super) fn tell_demoted(&self) {
        if let Some(observer) = self.observer.get() {
            observer(News::Demoted);
        }
    }
}

/// Whether the server is going down, or coming up: `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`, here or anywhere
/// in the chain of causes. Whatever else is connected to it is about to be lost, or is.
///
/// Source: PostgreSQL manual, appendix A, class 57. 57P01 also comes from `pg_terminate_backend`, which ends a single session.
pub(crate) fn is_shutdown(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>()
            && matches!(error.sqlstate(), Some("57P01" | "57P02" | "57P03"))
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;
    use crate::protocol::decode;

    fn database(code: &str) -> Error {
        Error::database(decode::error_fields(format!("SFATAL\0C{code}\0Mno\0\0").as_bytes()))
    }

    #[test]
    fn a_shutdown_is_found_anywhere_in_the_chain_of_causes() {
        for code in ["57P01", "57P02", "57P03"] {
            assert!(is_shutdown(&database(code)));
            let ended =
                Error::closed("the server ended the session", Outcome::NotSent).caused_by(database(code));
            assert!(is_shutdown(&ended));
            assert!(is_shutdown(&database("40001").caused_by(ended)), "behind another of the server's");
        }
        assert!(!is_shutdown(&Error::closed("lost", Outcome::NotSent).caused_by(database("57014"))));
        assert!(!is_shutdown(&Error::connect("refused")));
    }
}
