//! What a server must be like for a session to be kept. Uses: nothing.

use std::fmt;

/// What a server must be like for a session to be kept: libpq's `target_session_attrs`.
///
/// The hosts are tried in order, and a host whose session does not fit counts as one that can't be reached.
///
/// ```
/// use maypole::{Config, TargetSessionAttrs};
///
/// let config: Config = "postgres://app@db1,db2/shop?target_session_attrs=read-write".parse()?;
/// let same = Config::new().host("db1").host("db2").user("app").dbname("shop")
///     .target_session_attrs(TargetSessionAttrs::ReadWrite);
/// # let _ = (config, same);
/// # Ok::<(), maypole::Error>(())
/// ```
///
/// Source: PostgreSQL manual, "Parameter Key Words".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetSessionAttrs {
    /// `any`: whatever it is like.
    #[default]
    Any,
    /// `read-write`: transactions can write unless they say otherwise. A session whose server stops that later is replaced.
    ReadWrite,
    /// `read-only`: they can't.
    ReadOnly,
    /// `primary`: it is no standby.
    Primary,
    /// `standby`: it is a standby.
    Standby,
    /// `prefer-standby`: a standby if one of the hosts is, else any.
    PreferStandby,
}

/// The words, by libpq's order.
const WORDS: [(&str, TargetSessionAttrs); 6] = [
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

impl fmt::Display for TargetSessionAttrs {
    /// The word of libpq.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, attributes)| attributes == self);
        f.write_str(word.map_or("any", |(word, _)| word))
    }
}

impl TargetSessionAttrs {
    /// All of them, by the words of libpq.
    pub(crate) const WORDS: [(&'static str, TargetSessionAttrs); 6] = WORDS;

    /// The one that libpq calls so.
    pub(super) fn named(word: &str) -> Option<TargetSessionAttrs> {
        WORDS.iter().find(|(known, _)| *known == word).map(|(_, attributes)| *attributes)
    }
}
