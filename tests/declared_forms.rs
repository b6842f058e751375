//! The forms that a declared query can take. They compile without a warning of any kind; what they are is looked at, no
//! server is asked.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    unreachable_pub,
    unused_lifetimes,
    unused_results,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]
#![forbid(non_camel_case_types, unused_imports)]
// What is declared here is called as far as it says something.
#![allow(dead_code)]

use std::borrow::Cow;
use std::time::SystemTime;

use maypole::__private::{Declared, Registered, inventory};
use maypole::{Database, FromRow, Query, Row, query, select};

static DB: Database = Database::named("database");

/// A row.
#[derive(Clone, Debug, FromRow)]
struct Customer {
    id: i32,
    name: String,
}

/// The customer with this id.
#[select(DB, "SELECT id, name FROM customers WHERE id = :id")]
fn get_customer(id: i32) -> Query<Customer>;

#[query(
    DB,
    r#"
    UPDATE "customers"
       SET name = :new
     WHERE name = :old;
    "#
)]
fn rename(old: &str, new: &str) -> Query;

#[query(DB, "INSERT INTO customers (name) \
             VALUES (:name) RETURNING id", not_null = ["id"],)]
fn add(name: &str) -> Query<i32>;

#[select(DB, file = "tests/sql/customers_of.sql", not_null = ["id", "name"])]
fn customers_of(country: Option<&str>) -> Query<Customer>;

#[select(DB, exclusive, "SELECT id, name FROM customers")]
fn alone() -> Query<Customer>;

#[select(DB, file = "tests/sql/customers_of.sql", exclusive, not_null = ["id"],)]
fn alone_by_a_file(country: Option<&str>) -> Query<Customer>;

#[select(DB, "SELECT name FROM customers WHERE type = :type AND größe > :größe")]
fn by_type(r#type: &str, größe: f64) -> Query<(String,)>;

#[select(DB, "SELECT now()")]
fn r#match() -> Query<SystemTime>;

#[select(DB, "SELECT 1")]
fn nothing() -> Query<()>;

#[select(DB, "SELECT id FROM customers WHERE name = :name AND id = ANY(:ids) AND country = :country")]
fn named_lifetimes<'a, 'b>(name: &'a str, ids: &'b [i32], country: Cow<'a, str>) -> Query<i32>
where
    'b: 'a;

#[select(DB, "SELECT id FROM customers WHERE name = :name AND id = ANY(:ids) AND country = :country")]
fn bounded_lifetimes<'a, 'b: 'a>(name: &'a str, ids: &'b [i32], country: &str) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name AND id = ANY(:ids)")]
fn of_a_named_lifetime<'a>(name: &'a str, ids: Vec<i32>) -> Query<'a, i32>;

#[select(DB, "SELECT id FROM customers WHERE name = ANY(:names) AND country = :country")]
fn elided_lifetimes(names: &[&str], country: Cow<'_, str>) -> Query<'_, i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn a_hidden_lifetime(name: Option<Cow<str>>) -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE name = :q")]
fn of_the_same_name_as_ours<'q>(q: &'q str) -> maypole::Query<Row>;

#[select(DB, "SELECT id FROM customers WHERE name = :name")]
fn of_the_whole_program(name: &'static str) -> Query<'static, i32>;

#[select(DB, "SELECT :a, :b, :c, :d, :e, :f, :g, :h, :i::text[]")]
fn of_many_arguments(
    a: i32,
    b: i32,
    c: i32,
    d: i32,
    e: i32,
    f: i32,
    g: i32,
    h: i32,
    i: Option<&Vec<Option<String>>>,
) -> Query<Row>;

#[select(DB, "SELECT id FROM customers WHERE picture = :picture AND name = :name")]
#[deprecated]
#[inline(never)]
#[must_use]
#[cfg(not(any()))]
fn with_attributes(picture: &[u8], name: Box<str>) -> Query<i32>;

#[select(DB, "SELECT id FROM nowhere WHERE id = :id")]
#[cfg(any())]
fn not_there(id: MissingType) -> Query<MissingType>;

#[select(DB, "SELECT :no")]
#[cfg(any())]
fn not_there_and_wrong() -> Query<i32>;

#[select(DB, "SELECT id FROM customers WHERE country = :country")]
#[doc(hidden)]
fn country(country: &str) -> Query<i32>;

mod inner {
    use maypole::{Query, select};

    /// By name.
    #[select(super::DB, "SELECT id, name FROM customers WHERE name = :name")]
    pub(crate) fn by_name(name: &str) -> Query<super::Customer>;

    pub(super) mod innermost {
        #[maypole::select(crate::DB, "SELECT id, name FROM customers WHERE id = :id")]
        pub(in crate::inner) fn by_id(id: super::super::Id) -> maypole::Query<super::super::Customer>;

        pub(crate) fn text() -> &'static str {
            by_id::SQL
        }
    }
}

mod of_one_name {
    use maypole::{Query, select};

    #[select(super::DB, "SELECT id FROM customers")]
    pub(crate) fn of_one_name() -> Query<i32>;
}

type Id = i32;

macro_rules! declared {
    ($name:ident, $argument:ident: $type:ty, $row:ty, $sql:literal) => {
        #[select(DB, $sql)]
        fn $name($argument: $type) -> Query<$row>;
    };
}

declared!(by_macro, name: Option<&str>, Customer, "SELECT id, name FROM customers WHERE name = :name");

/// What is registered of the query of this name.
fn registered(name: &str) -> &'static Registered {
    let mut found = inventory::iter::<Registered>.into_iter().filter(|query| (query.declared)().name == name);
    let query = found.next().expect("it is declared above");
    assert!(found.next().is_none(), "{name} is registered twice");
    query
}

fn declared(name: &str) -> &'static Declared {
    (registered(name).declared)()
}

#[test]
fn calling_only_builds_a_query() {
    drop(get_customer(52));
    drop(rename("a", &String::from("b")));
    drop(by_type("a", 1.5));
    drop(named_lifetimes("a", &[1], Cow::Borrowed("b")));
    drop(of_a_named_lifetime("a", vec![1]));
    drop(elided_lifetimes(&["a"], Cow::Owned("b".into())));
    drop(of_many_arguments(1, 2, 3, 4, 5, 6, 7, 8, None));
    drop(by_macro(None));
    drop(country("Portugal"));
    drop(inner::by_name("a"));
    drop(of_one_name::of_one_name());
    #[allow(deprecated)]
    drop(with_attributes(b"a", "b".into()));
}

#[test]
fn a_query_of_the_whole_program_borrows_nothing() {
    fn outlives<T: 'static>(_: &T) {}
    outlives(&of_the_whole_program("a"));
}

#[test]
fn the_name_beside_the_function_knows_the_query() {
    assert_eq!(get_customer::SQL, "SELECT id, name FROM customers WHERE id = :id");
    assert_eq!(get_customer::NAME, "get_customer");
    assert_eq!(get_customer::FILE, file!());
    let line =
        include_str!("declared_forms.rs").lines().position(|line| line.contains("WHERE id = :id")).unwrap();
    assert_eq!(usize::try_from(get_customer::LINE), Ok(line + 1));
    assert_eq!(r#match::NAME, "match");
    assert_eq!(inner::innermost::text(), "SELECT id, name FROM customers WHERE id = :id");
}

#[test]
fn of_a_file_the_name_of_the_file_is_known() {
    assert_eq!(customers_of::SQL, include_str!("sql/customers_of.sql"));
    assert_eq!((customers_of::FILE, customers_of::LINE), ("tests/sql/customers_of.sql", 1));
    let declared = declared("customers_of");
    assert!(declared.in_file && declared.lines_match);
    assert_eq!(declared.not_null, ["id", "name"]);
}

#[test]
fn a_select_is_exclusive_where_it_says_so() {
    for name in ["alone", "alone_by_a_file"] {
        assert!(declared(name).select && declared(name).exclusive, "{name}");
    }
    for name in ["get_customer", "customers_of", "rename"] {
        assert!(!declared(name).exclusive, "{name}");
    }
}

#[test]
fn the_server_gets_the_name_and_numbered_parameters_without_what_is_around() {
    assert_eq!(
        declared("get_customer").text,
        "/* get_customer */ SELECT id, name FROM customers WHERE id = $1"
    );
    assert_eq!(
        declared("rename").text,
        "/* rename */ UPDATE \"customers\"\n       SET name = $1\n     WHERE name = $2"
    );
    assert_eq!(
        declared("by_type").text,
        "/* by_type */ SELECT name FROM customers WHERE type = $1 AND größe > $2"
    );
    assert_eq!(declared("match").text, "/* match */ SELECT now()");
}

#[test]
fn slots_are_in_the_order_of_the_text_and_a_test_for_null_has_its_own() {
    let slots = |declared: &Declared| -> Vec<_> {
        declared.slots.iter().map(|slot| (slot.argument, slot.null_test)).collect()
    };
    assert_eq!(slots(declared("rename")), [(1, false), (0, false)]);
    assert_eq!(slots(declared("customers_of")), [(0, true), (0, false)]);
}

#[test]
fn arguments_are_known_by_name_and_type_as_written() {
    let arguments = |declared: &Declared| -> Vec<_> {
        declared.arguments.iter().map(|argument| (argument.name, argument.type_name)).collect()
    };
    assert_eq!(arguments(declared("by_type")), [("type", "&str"), ("größe", "f64")]);
    assert_eq!(
        arguments(declared("named_lifetimes")),
        [("name", "&'a str"), ("ids", "&'b [i32]"), ("country", "Cow<'a, str>")]
    );
    assert_eq!(arguments(declared("by_macro")), [("name", "Option<&str>")]);
}

#[test]
fn a_line_feed_that_is_escaped_is_no_line_of_the_file() {
    assert!(declared("get_customer").lines_match);
    assert!(declared("rename").lines_match);
    assert!(!declared("add").lines_match);
}

#[test]
fn the_place_of_each_character_of_the_text_is_known_in_the_source() {
    for declared in
        [declared("get_customer"), declared("rename"), declared("customers_of"), declared("by_type")]
    {
        let source: Vec<char> = declared.source.chars().collect();
        let start = declared.text.find("*/ ").unwrap() + 3;
        let mut same = 0;
        for (sent, character) in declared.text.chars().enumerate().skip(start) {
            let place = maypole_sql::source_character(declared.edits, u32::try_from(sent).unwrap());
            let found = source[usize::try_from(place).unwrap()];
            if character != '$' && !character.is_ascii_digit() {
                assert_eq!(found, character, "{}, character {sent}", declared.name);
                same += 1;
            }
        }
        assert!(same > 20);
    }
}

#[test]
fn a_query_can_be_declared_in_a_function() {
    #[derive(FromRow)]
    struct Local {
        id: i32,
    }

    static LOCAL: Database = Database::named("local");

    #[select(LOCAL, "SELECT id FROM customers WHERE id = :id")]
    fn local(id: i32) -> Query<Local>;

    let _ = |local: &Local| local.id;
    drop(local(1));
    assert_eq!(local::SQL, "SELECT id FROM customers WHERE id = :id");
    assert!(std::ptr::eq((registered("local").database)(), &raw const LOCAL));
}

#[test]
fn every_query_is_registered_once_and_those_left_out_are_not() {
    let names: Vec<&str> =
        inventory::iter::<Registered>.into_iter().map(|registered| (registered.declared)().name).collect();
    for name in ["get_customer", "by_id", "local", "match", "by_macro"] {
        assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}");
    }
    assert!(!names.contains(&"not_there"));
}
