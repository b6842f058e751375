//! Each kind of mistake, and how it is told.

use std::time::SystemTime;

use maypole::types::{Kind, Type};
use maypole::{Database, FromRow, Query, Result, Row, ToSql, query, select};

use super::{TIMESTAMPTZ, make, refused, told};
use crate::support::pool::TestPool;

mod wrong {
    use super::*;
    use maypole::{Columns, RowRef};

    pub(super) static DB: Database = Database::named("check_wrong");

    pub(super) const SCHEMA: &str = "
        CREATE TYPE check_wrong_mood AS ENUM ('happy', 'sad');
        CREATE DOMAIN check_wrong_positive AS int4 CHECK (VALUE > 0);
        CREATE TABLE check_wrong (id int4 PRIMARY KEY, name text NOT NULL, email text, tags int4[] NOT NULL,
            mood check_wrong_mood NOT NULL, n check_wrong_positive NOT NULL, at timestamptz NOT NULL);
        CREATE PROCEDURE check_wrong_nothing(id int4) LANGUAGE sql AS '';
        INSERT INTO check_wrong VALUES (1, 'a', NULL, '{1}', 'happy', 1, now())";

    #[select(
        DB,
        "SELECT id
           FROM check_wrong
          WHERE 'ü' <> :name AND nmae = :name"
    )]
    pub(super) fn misspelt(name: &str) -> Query<i32>;

    #[select(DB, file = "tests/sql/misspelt.sql")]
    pub(super) fn misspelt_in_a_file(id: i32) -> Query<Row>;

    #[select(DB, "SELECT :x")]
    pub(super) fn untold(x: SystemTime) -> Query<Row>;

    #[select(DB, "SELECT id FROM check_wrong WHERE id = :id AND name = :name")]
    pub(super) fn told_a_number(id: i32, name: i32) -> Query<i32>;

    #[query(DB, "UPDATE check_wrong SET id = :id WHERE name = :name")]
    pub(super) fn told_a_truth(id: bool, name: &str) -> Query;

    #[select(DB, "SELECT name FROM check_wrong WHERE id = :id AND n = :n")]
    pub(super) fn text_for_number(id: Option<&str>, n: String) -> Query<String>;

    #[select(DB, "SELECT name FROM check_wrong WHERE id = (:id::text)::int4 AND (:n::text)::int4 = n")]
    pub(super) fn text_for_number_converted(id: Option<&str>, n: String) -> Query<String>;

    #[select(DB, "SELECT id FROM check_wrong WHERE tags @> :tags AND name = :names")]
    pub(super) fn lists(tags: &[&str], names: Vec<String>) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_wrong WHERE mood = :mood AND at = :at")]
    pub(super) fn open(mood: Mood, at: Mood) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_wrong WHERE :mood IS NULL")]
    pub(super) fn only_null_test(mood: Option<Mood>) -> Query<i32>;

    #[query(DB, "CALL check_wrong_nothing(:id)")]
    pub(super) fn no_rows(id: i32) -> Query<i32>;

    #[query(DB, "DELETE FROM check_wrong RETURNING id, name")]
    pub(super) fn unread_rows() -> Query;

    #[select(DB, "SELECT id, name, mood FROM check_wrong")]
    pub(super) fn short_tuple() -> Query<(i64, String)>;

    #[select(DB, "SELECT id FROM check_wrong")]
    pub(super) fn long_tuple() -> Query<(i32, String)>;

    #[select(DB, "SELECT id, name FROM check_wrong")]
    pub(super) fn two_for_one() -> Query<i32>;

    #[select(DB, "SELECT mood FROM check_wrong")]
    pub(super) fn other_type() -> Query<f64>;

    #[derive(FromRow)]
    pub(super) struct Customer {
        pub(super) _id: i16,
        #[maypole(rename = "phone")]
        pub(super) _phone: Option<String>,
        #[maypole(rename = "name")]
        pub(super) _name: String,
    }

    #[select(DB, "SELECT id AS _id, nmae, at FROM (SELECT id, name AS nmae, at FROM check_wrong) x")]
    pub(super) fn fields() -> Query<Customer>;

    #[select(DB, "SELECT id, name FROM check_wrong", not_null = ["naem", "id"])]
    pub(super) fn not_null_of_nothing() -> Query<(i32, String)>;

    pub(super) struct ByHand;

    impl FromRow for ByHand {
        type Plan = ();

        fn plan(columns: &Columns) -> Result<()> {
            columns.position("what").map(drop)
        }

        fn from_row((): &(), _: &RowRef<'_>) -> Result<ByHand> {
            Ok(ByHand)
        }
    }

    #[select(DB, "SELECT id, name FROM check_wrong")]
    pub(super) fn by_hand() -> Query<ByHand>;

    /// Only the server knows the OID of its type.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Mood;

    impl ToSql for Mood {
        fn to_sql(
            &self,
            _: &Type,
            out: &mut bytes::BytesMut,
        ) -> Result<maypole::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
            out.extend_from_slice(b"happy");
            Ok(maypole::types::IsNull::No)
        }

        fn accepts(type_: &Type) -> bool {
            matches!(type_.kind(), Kind::Enum(_))
        }

        maypole::types::to_sql_checked!();
    }
}

#[test]
fn every_mistake_of_every_query_is_told_with_both_ways_to_mend_it() {
    use wrong::*;
    make(SCHEMA);
    let test = TestPool::new(1);
    let report = refused(&DB, &test);
    let at = |line: u32| format!("--> tests/it/check/mistakes.rs:{line}");
    assert!(report.starts_with("the declared queries do not fit the database\n\nquery "), "{report}");
    assert!(report.ends_with("\n\n19 queries checked: 25 errors, no warnings"), "{report}");

    assert_eq!(
        told(&report, "misspelt"),
        [
            "query misspelt failed: column \"nmae\" does not exist [42703 undefined_column]",
            &at(misspelt::LINE + 2),
            "| WHERE 'ü' <> :name AND nmae = :name",
            "| ^^^^",
            "= hint: Perhaps you meant to reference the column \"check_wrong.name\".",
        ]
    );
    let in_a_file = told(&report, "misspelt_in_a_file");
    assert_eq!(in_a_file[1], "--> tests/sql/misspelt.sql:4:8", "{in_a_file:?}");
    assert_eq!(
        told(&report, "told_a_number")[4..],
        [
            "= hint: No operator matches the given name and argument types. You might need to add explicit type casts.",
            "error :name i32 text is sent as int4, the statement takes text there",
            "= change the Rust type to String",
            "= or cast it in the SQL, CAST(:name AS text), or change the column to int4",
        ]
    );
    assert!(
        told(&report, "told_a_truth")
            .contains(&"error :id bool int4 is sent as bool, the statement takes int4 there".into()),
        "{report}"
    );
    assert_eq!(
        told(&report, "text_for_number")[1..],
        [
            &*at(text_for_number::LINE),
            "error :id Option<&str> int4 a text, and the statement takes int4",
            "= change the Rust type to Option<i32>",
            "= or convert it in the SQL: (:id::text)::int4",
            "error :n String int4 a text, and the statement takes int4",
            "= change the Rust type to i32",
            "= or convert it in the SQL: (:n::text)::int4",
        ]
    );
    assert!(!report.contains("query text_for_number_converted"), "{report}");
    assert_eq!(
        told(&report, "lists")[2..],
        [
            "error :tags &[&str] int4[] a list of texts, and the statement takes int4[]",
            "= change the Rust type to Vec<i32>",
            "= or convert it in the SQL: (:tags::text[])::int4[]",
            "error :names Vec<String> text a list, and the statement takes one text",
            "= change the Rust type to String",
            "= or compare with each of the list: = ANY(:names)",
        ]
    );
    assert_eq!(
        told(&report, "open")[2..],
        [
            "error :at Mood timestamptz can't be sent as timestamptz, which the statement takes there",
            &format!("= change the Rust type to {TIMESTAMPTZ}"),
            "= or cast it in the SQL to what Mood is, CAST(:at AS …)",
        ]
    );
    assert!(told(&report, "only_null_test").concat().contains("(:mood::type) IS NULL"), "{report}");
    assert_eq!(
        told(&report, "no_rows")[2..],
        [
            "error i32 the statement returns no rows",
            "= declare -> Query, without a row type",
            "= or let it return columns, with RETURNING"
        ]
    );
    assert_eq!(
        told(&report, "unread_rows")[2..],
        [
            "error the statement returns rows: the result has 2 columns, \"id\", \"name\"",
            "= declare -> Query<T> with the type of a row",
            "= or let it return nothing: leave RETURNING out"
        ]
    );
    assert_eq!(
        told(&report, "short_tuple")[2..],
        [
            "error id tuple.0: i64 int4 can't be read as i64",
            "= change the Rust type to i32",
            "= or cast the column in the SQL: CAST(… AS int8) AS id",
            "error mood check_wrong_mood the tuple has no place for it",
            "= add a type whose FromSql accepts check_wrong_mood to the tuple",
            "= or leave the column out of the SQL"
        ]
    );
    assert_eq!(
        told(&report, "long_tuple")[2..],
        [
            "error tuple.1: String has no column, the result has one column, \"id\"",
            "= leave it out of the Rust type",
            "= or select one column more"
        ]
    );
    assert_eq!(
        told(&report, "two_for_one")[2..],
        [
            "error name text one value is wanted",
            "= take a tuple, or a struct with #[derive(FromRow)]",
            "= or leave the column out of the SQL"
        ]
    );
    assert!(
        told(&report, "other_type")[2].starts_with("error mood f64 check_wrong_mood can't be read as f64"),
        "{report}"
    );
    assert_eq!(
        told(&report, "fields")[2..],
        [
            "error _id Customer._id: i16 int4 can't be read as i16",
            "= change the Rust type to i32",
            "= or cast the column in the SQL: CAST(… AS int2) AS _id",
            "error phone Customer._phone: Option<String> has no column \"phone\", the result has 3 columns, \"_id\", \"nmae\", \"at\"",
            "= remove the field, or mark it #[maypole(default)]",
            "= or select a column of the name phone",
            "error name Customer._name: String has no column \"name\", did you mean \"nmae\"?",
            "= remove the field, or mark it #[maypole(default)]",
            "= or select a column of the name name",
            "error nmae text no field takes it, did you mean \"name\"?",
            "= add a field nmae to Customer: String",
            "= or leave the column out of the SQL",
            "error at timestamptz no field takes it",
            &format!("= add a field at to Customer: {TIMESTAMPTZ}"),
            "= or leave the column out of the SQL",
        ]
    );
    assert_eq!(
        told(&report, "not_null_of_nothing")[2],
        "error naem not_null names a column that the statement does not return, did you mean \"name\"?"
    );
    assert!(told(&report, "by_hand")[2].contains("there is no column \"what\""), "{report}");
    let of_untold = told(&report, "untold");
    assert!(
        of_untold.iter().any(|line| line.starts_with("error :x SystemTime text can't be sent as text")),
        "{of_untold:?}"
    );

    // What it tells of parameters is what happens, and what it advises helps.
    let db = &test.db;
    text_for_number(Some("one"), "1".into()).on(db).rows().expect_err("no number");
    told_a_number(1, 1).on(db).rows().expect_err("no such operator");
    open(Mood, Mood).on(db).rows().expect_err("no date");
    only_null_test(None).on(db).rows().expect_err("of which type?");
    assert_eq!(text_for_number_converted(Some("1"), "1".into()).on(db).value().expect("converted"), "a");
    let _ = (
        misspelt(""),
        misspelt_in_a_file(1),
        untold(SystemTime::now()),
        told_a_truth(true, ""),
        lists(&[], vec![]),
    );
    let _ = (no_rows(1), unread_rows(), short_tuple(), long_tuple(), two_for_one(), other_type(), fields());
    let _ = (not_null_of_nothing(), by_hand());
    test.finish();
}
