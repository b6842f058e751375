//! Which statement is meant, and what stands for its parameters. Uses: declared.

use std::borrow::Cow;

use maypole_sql::Named;
use postgres_types::{Oid, Type};

use crate::declared::{Declared, Kind};

/// Which statement is meant.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The one of this text; values stand for `$1, $2 …`.
    Text(&'a str),
    /// One whose parameters had these names.
    Named(&'a Named, &'a [&'static str]),
    Declared(&'static Declared),
}

/// What stands for one `$n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the values, from 0.
    pub(crate) value: usize,
    /// Only whether it is NULL is asked.
    pub(crate) null_test: bool,
    pub(crate) kind: Kind,
}

impl<'a> Source<'a> {
    /// What the server gets.
    pub(crate) fn text(self) -> &'a str {
        match self {
            Source::Text(text) => text,
            Source::Named(named, _) => &named.text,
            Source::Declared(declared) => declared.text,
        }
    }

    pub(crate) fn declared(self) -> Option<&'static Declared> {
        match self {
            Source::Text(_) | Source::Named(..) => None,
            Source::Declared(declared) => Some(declared),
        }
    }

    /// Why it can't run on whatever connection is free: what it leaves behind, the next borrower would find.
    pub(crate) fn needs_session(self) -> Option<Cow<'static, str>> {
        match self.declared() {
            Some(declared) => declared.session.map(Cow::Borrowed),
            None => maypole_sql::nature(self.text()).session.map(|(_, why)| Cow::Owned(why.message)),
        }
    }

    /// Whether it is a SELECT or the like.
    pub(crate) fn only_reads(self) -> bool {
        match self.declared() {
            Some(declared) => declared.select,
            None => maypole_sql::nature(self.text()).select.is_none(),
        }
    }

    /// How many `$n` there are, of so many values.
    pub(crate) fn count(self, values: usize) -> usize {
        match self {
            Source::Text(_) => values,
            Source::Named(named, _) => named.slots.len(),
            Source::Declared(declared) => declared.slots.len(),
        }
    }

    /// What stands for a `$n`, counted from 0.
    pub(crate) fn place(self, at: usize) -> Place {
        let open = Place { value: at, null_test: false, kind: Kind::Open };
        let place = match self {
            Source::Text(_) => None,
            Source::Named(named, _) => named.slots.get(at).map(|slot| Place {
                value: slot.parameter,
                null_test: slot.null_test,
                kind: Kind::Open,
            }),
            Source::Declared(declared) => declared.slots.get(at).map(|slot| Place {
                value: usize::from(slot.argument),
                null_test: slot.null_test,
                kind: declared.kind(*slot),
            }),
        };
        place.unwrap_or(open)
    }

    /// What people call a `$n`, counted from 0: `:name` or `$n`.
    pub(crate) fn name(self, at: usize) -> String {
        let value = self.place(at).value;
        let name = match self {
            Source::Text(_) => None,
            Source::Named(_, names) => names.get(value).copied(),
            Source::Declared(declared) => declared.arguments.get(value).map(|argument| argument.name),
        };
        name.map_or_else(|| format!("${}", at + 1), |name| format!(":{name}"))
    }

    /// What the server is told of its parameters at first; 0 leaves one open.
    pub(crate) fn types(self) -> Vec<Oid> {
        (0..self.count(0))
            .map(|at| self.place(at))
            .map(|place| if place.null_test { Type::TEXT.oid() } else { place.kind.oid() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_places_and_a_null_test_has_one_of_its_own() {
        let names = ["m", "id"];
        let named =
            maypole_sql::name_parameters("SELECT :id WHERE :m IS NULL OR n = :m", &names).expect("fine");
        let source = Source::Named(&named, &names);
        assert_eq!(source.count(2), 3);
        assert_eq!(source.types(), [0, 25, 0]);
        assert_eq!((0..3).map(|at| source.name(at)).collect::<Vec<_>>(), [":id", ":m", ":m"]);
        assert_eq!((0..3).map(|at| source.place(at).value).collect::<Vec<_>>(), [1, 0, 0]);
        let plain = Source::Text("SELECT $1");
        assert_eq!((plain.count(1), plain.name(0), plain.types()), (1, "$1".to_owned(), Vec::new()));
    }
}
