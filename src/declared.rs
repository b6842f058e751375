//! What is known of a declared query before it runs. Uses: error.

use std::borrow::Cow;
use std::marker::PhantomData;

use postgres_types::{Oid, ToSql, Type};

use crate::error::{Place, QueryContext};

/// A declared query: written by `#[select]` and `#[query]` as a static, so that its address stands for it.
#[derive(Debug)]
pub struct Declared {
    /// The name of its function.
    pub name: &'static str,
    /// The file that its SQL stands in.
    pub file: &'static str,
    /// The line of that file where the SQL begins, from 1.
    pub line: u32,
    /// Whether each line of the SQL is a line of the file.
    pub lines_match: bool,
    /// Whether the file holds SQL only, so that columns can be told too.
    pub in_file: bool,
    /// The SQL as it was written.
    pub source: &'static str,
    /// The SQL as the server gets it.
    pub text: &'static str,
    /// From which character of the text on which character of the source is meant.
    pub edits: &'static [(u32, u32)],
    /// The arguments of the function.
    pub arguments: &'static [Argument],
    /// What stands for `$1, $2 …`.
    pub slots: &'static [Slot],
    /// Whether it is a `#[select]`.
    pub select: bool,
    /// Whether it is a `#[select]` that never shares a connection.
    pub exclusive: bool,
    /// Whether it may return columns.
    pub columns: bool,
    /// Why it can't run on whatever connection is free, if it can't.
    pub session: Option<&'static str>,
    /// Columns that are never NULL whatever the catalogue says.
    pub not_null: &'static [&'static str],
}

/// An argument of a declared query.
#[derive(Debug)]
pub struct Argument {
    /// Its name in the SQL.
    pub name: &'static str,
    /// Its type as it was written.
    pub type_name: &'static str,
    /// How its values travel.
    pub kind: Kind,
    /// Which types its values can be written as, where that can be asked.
    pub accepts: Option<fn(&Type) -> bool>,
}

/// What stands for one `$n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which argument, from 0.
    pub argument: u16,
    /// Only whether it is NULL is asked: `:x IS NULL`.
    pub null_test: bool,
}

/// How values of a Rust type travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In binary, as this type: the server is told.
    Typed(Oid),
    /// As text: the server decides what it is the text of.
    Text,
    /// As the text of an array.
    TextArray,
    /// As the type that the server expects.
    Open,
}

impl Kind {
    const fn array(self) -> Kind {
        // pg_type.dat: the OIDs of built-in types never change.
        match self {
            Kind::Typed(oid) => match array_of(oid) {
                0 => Kind::Open,
                array => Kind::Typed(array),
            },
            Kind::Text => Kind::TextArray,
            Kind::TextArray | Kind::Open => Kind::Open,
        }
    }

    /// The type that the server is told in Parse; 0 leaves it open.
    pub(crate) fn oid(self) -> Oid {
        match self {
            Kind::Typed(oid) => oid,
            Kind::Text | Kind::TextArray | Kind::Open => 0,
        }
    }
}

/// The array of a built-in type.
const fn array_of(oid: Oid) -> Oid {
    match oid {
        16 => 1000,
        17 => 1001,
        18 => 1002,
        20 => 1016,
        21 => 1005,
        23 => 1007,
        26 => 1028,
        700 => 1021,
        701 => 1022,
        1082 => 1182,
        1083 => 1183,
        1114 => 1115,
        1184 => 1185,
        2950 => 2951,
        _ => 0,
    }
}

impl Declared {
    /// Whether its values can be written before the server has told what it expects.
    pub(crate) fn is_typed(&self) -> bool {
        self.slots.iter().all(|slot| slot.null_test || self.kind(*slot) != Kind::Open)
    }

    /// Whether it may write, and return what it wrote.
    pub(crate) fn writes_and_returns(&self) -> bool {
        !self.select && self.columns
    }

    /// What an error tells of it.
    pub(crate) fn context(&self) -> QueryContext {
        QueryContext {
            sql: self.source.into(),
            name: Some(self.name),
            place: Some(Place {
                file: Cow::Borrowed(self.file),
                line: self.line,
                lines_match: self.lines_match,
                whole_file: self.in_file,
            }),
            edits: Cow::Borrowed(self.edits),
            help: None,
        }
    }

    pub(crate) fn kind(&self, slot: Slot) -> Kind {
        self.arguments.get(usize::from(slot.argument)).map_or(Kind::Open, |argument| argument.kind)
    }
}

/// Asks how values of a type travel: `KindOf::<T>::KIND`. An associated constant of its own answers for types that are
/// [`Certain`]; for all others the one of [`OpenKind`] is found.
#[derive(Debug)]
pub struct KindOf<T: ?Sized>(PhantomData<T>);

impl<T: Certain + ?Sized> KindOf<T> {
    /// How values of this type travel.
    pub const KIND: Kind = T::KIND;
}

impl<T: ToSql> KindOf<T> {
    /// Which types its values can be written as.
    pub const ACCEPTS: Option<fn(&Type) -> bool> = Some(<T as ToSql>::accepts);
}

/// Types that travel as the type that the server expects.
pub trait OpenKind {
    /// How values of this type travel.
    const KIND: Kind = Kind::Open;
    /// What can't be a parameter accepts nothing; that is reported where its value is taken.
    const ACCEPTS: Option<fn(&Type) -> bool> = None;
}

impl<T: ?Sized> OpenKind for KindOf<T> {}

/// Types that leave no doubt what they are in SQL.
pub trait Certain {
    /// How values of this type travel.
    const KIND: Kind;
}

macro_rules! certain {
    ($($type:ty => $kind:expr),* $(,)?) => { $( impl Certain for $type { const KIND: Kind = $kind; } )* };
}

certain! {
    bool => Kind::Typed(16), i8 => Kind::Typed(18), i16 => Kind::Typed(21), i32 => Kind::Typed(23),
    i64 => Kind::Typed(20), u32 => Kind::Typed(26), f32 => Kind::Typed(700), f64 => Kind::Typed(701),
    [u8] => Kind::Typed(17), Vec<u8> => Kind::Typed(17),
    str => Kind::Text, String => Kind::Text, Box<str> => Kind::Text, Cow<'_, str> => Kind::Text,
}

/// For each feature of postgres-types, the types of other crates that leave no doubt. Timestamps do: the server would turn
/// one with a time zone into one without, and back, by the session's time zone and without a word; left open, one that is
/// not what the statement expects is refused.
macro_rules! foreign {
    ($($feature:literal: $($type:ty => $kind:expr),+;)*) => { $( $(
        #[cfg(feature = $feature)]
        impl Certain for $type {
            const KIND: Kind = $kind;
        }
    )+ )* };
}

foreign! {
    "with-chrono-0_4": chrono_04::NaiveDate => Kind::Typed(1082), chrono_04::NaiveTime => Kind::Typed(1083);

    "with-jiff-0_1": jiff_01::civil::Date => Kind::Typed(1082), jiff_01::civil::Time => Kind::Typed(1083);
    "with-jiff-0_2": jiff_02::civil::Date => Kind::Typed(1082), jiff_02::civil::Time => Kind::Typed(1083);
    "with-smol_str-01": smol_str_01::SmolStr => Kind::Text;
    "with-time-0_2": time_02::Date => Kind::Typed(1082), time_02::Time => Kind::Typed(1083);
    "with-time-0_3": time_03::Date => Kind::Typed(1082), time_03::Time => Kind::Typed(1083);
    "with-uuid-0_8": uuid_08::Uuid => Kind::Typed(2950);
    "with-uuid-1": uuid_1::Uuid => Kind::Typed(2950);
}

impl<T: Certain + ?Sized> Certain for &T {
    const KIND: Kind = T::KIND;
}

impl<T: Certain> Certain for Option<T> {
    const KIND: Kind = T::KIND;
}

impl<T: Certain> Certain for Vec<T> {
    const KIND: Kind = T::KIND.array();
}

impl<T: Certain> Certain for Box<[T]> {
    const KIND: Kind = T::KIND.array();
}

impl<T: Certain> Certain for [T] {
    const KIND: Kind = T::KIND.array();
}

/// What can be an argument of a declared query.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a parameter of a query",
    label = "an argument needs a type that implements `ToSql` and `Sync`",
    note = "for a type of your own, derive `postgres_types::ToSql`; for a list, take a slice and write `= ANY(:list)`"
)]
pub trait Bindable {}

impl<T: ToSql + Sync + ?Sized> Bindable for T {}

/// The value of an argument; compiles if its type can be a parameter.
#[inline]
pub fn argument<T: Bindable>(value: T) -> T {
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_doubt_are_told_and_others_left_open() {
        assert_eq!(KindOf::<i32>::KIND, Kind::Typed(23));
        assert_eq!(KindOf::<Option<&[i64]>>::KIND, Kind::Typed(1016));
        assert_eq!(KindOf::<&[u8]>::KIND, Kind::Typed(17));
        assert_eq!(KindOf::<Vec<Vec<u8>>>::KIND, Kind::Typed(1001));
        assert_eq!(KindOf::<&str>::KIND, Kind::Text);
        assert_eq!(KindOf::<Option<Cow<'_, str>>>::KIND, Kind::Text);
        assert_eq!(KindOf::<&[&str]>::KIND, Kind::TextArray);
        assert_eq!(KindOf::<Vec<Option<String>>>::KIND, Kind::TextArray);
        assert_eq!(KindOf::<serde_json::Value>::KIND, Kind::Open);
        assert_eq!(KindOf::<std::time::SystemTime>::KIND, Kind::Open);
    }

    #[test]
    fn the_array_of_each_type_is_what_postgres_types_calls_it() {
        use postgres_types::Kind as Shape;
        for type_ in (0..3000).filter_map(Type::from_oid) {
            if let Shape::Array(element) = type_.kind()
                && type_.name().starts_with('_')
                && array_of(element.oid()) != 0
            {
                assert_eq!(array_of(element.oid()), type_.oid(), "{type_}");
            }
        }
    }
}
