//! Whether what is advised names what is wrong, and helps.

use std::time::SystemTime;

use maypole::{Database, FromRow, FromSql, Query, Scalar, ToSql, query, select};

use super::{TIMESTAMPTZ, make, refused, told};
use crate::support::pool::TestPool;

mod queries {
    use super::*;

    pub(super) static DB: Database = Database::named("check_advice");

    pub(super) const SCHEMA: &str = r#"
        CREATE TYPE check_advice_mood AS ENUM ('glad', 'sad');
        CREATE TABLE check_advice (id int4 PRIMARY KEY, a int4 NOT NULL, name text NOT NULL, tags int4[] NOT NULL,
            mood check_advice_mood NOT NULL, "userId" int4 NOT NULL, price numeric NOT NULL, at timestamptz NOT NULL,
            for_a_time interval);
        INSERT INTO check_advice VALUES (1, 1, '[1]', '{1}', 'glad', 1, 1.5, now())"#;

    #[query(
        DB,
        "INSERT INTO check_advice (id, a, name) VALUES (:id, :a, :name)
             ON CONFLICT (a) DO UPDATE SET name = :name"
    )]
    pub(super) fn without_index(id: i32, a: i32, name: Option<&str>) -> Query;

    /// Its columns may be NULL in the catalogue, and it can be planned.
    #[query(
        DB,
        "INSERT INTO check_advice VALUES (:id, 1, :name, '{}', :mood, 1, 1, :at)
             ON CONFLICT (id) DO UPDATE SET name = :name, tags = array_append(check_advice.tags, :id) RETURNING id"
    )]
    pub(super) fn with_index(id: i32, name: &str, mood: &str, at: SystemTime) -> Query<i32>;

    #[derive(Debug, FromSql, ToSql)]
    pub(super) enum Mood {
        Glad,
        Sad,
    }

    impl Scalar for Mood {}

    #[select(DB, "SELECT mood FROM check_advice")]
    pub(super) fn misnamed() -> Query<Mood>;

    #[query(DB, "UPDATE check_advice SET mood = :mood")]
    pub(super) fn misnamed_parameter(mood: Mood) -> Query;

    #[derive(Debug, FromRow)]
    pub(super) struct Tags {
        #[maypole(json, rename = "name")]
        pub(super) _name: Vec<i32>,
        #[maypole(json, rename = "tags")]
        pub(super) _tags: Vec<i32>,
    }

    #[select(DB, "SELECT name, tags FROM check_advice")]
    pub(super) fn no_json() -> Query<Tags>;

    #[select(DB, "SELECT CAST(name AS jsonb) AS name, to_jsonb(tags) AS tags FROM check_advice")]
    pub(super) fn converted_to_json() -> Query<Tags>;

    #[select(DB, "SELECT price FROM check_advice")]
    pub(super) fn price() -> Query<f64>;

    #[select(DB, r#"SELECT "userId", a + 1 FROM check_advice"#)]
    pub(super) fn quoted() -> Query<(String, String)>;

    #[select(DB, r#"SELECT CAST("userId" AS text) AS "userId", CAST(a + 1 AS text) FROM check_advice"#)]
    pub(super) fn quoted_as_advised() -> Query<(String, String)>;

    #[derive(Debug, FromRow)]
    pub(super) struct One {
        #[maypole(rename = "id")]
        pub(super) _id: i32,
    }

    #[select(DB, "SELECT x.id, y.id FROM check_advice x, check_advice y")]
    pub(super) fn twice() -> Query<One>;

    #[select(DB, "SELECT id FROM check_advice WHERE id = :ids")]
    pub(super) fn list_for_one(ids: &[i64]) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_advice WHERE id = ANY(:ids)")]
    pub(super) fn list_as_advised(ids: &[i64]) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_advice WHERE at = :times")]
    pub(super) fn list_of_open(times: Vec<SystemTime>) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_advice WHERE id = ANY(:t)")]
    pub(super) fn one_for_list(t: i64) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_advice WHERE name = ANY ( :t )")]
    pub(super) fn text_for_list(t: &str) -> Query<i32>;

    #[query(DB, "UPDATE check_advice SET tags = :t")]
    pub(super) fn text_into_list(t: &str) -> Query;

    #[select(DB, "SELECT id FROM check_advice WHERE for_a_time < :x::interval")]
    pub(super) fn number_as_interval(x: i32) -> Query<i32>;

    #[select(DB, "SELECT id FROM check_advice WHERE lower(:x) = name")]
    pub(super) fn number_for_function(x: i32) -> Query<i32>;

    #[query(DB, "INSERT INTO check_advice (a) VALUES (:ids)")]
    pub(super) fn list_into_one(ids: &[i64]) -> Query;
}

#[test]
fn advice_names_what_is_wrong_and_helps() {
    use queries::*;
    make(SCHEMA);
    let test = TestPool::new(1);
    let db = &test.db;
    let report = refused(&DB, &test);
    let of = |query: &str| told(&report, query)[2..].to_vec();

    assert_eq!(
        of("without_index"),
        [
            "error is refused when it runs: there is no unique or exclusion constraint matching the ON CONFLICT \
             specification [42P10 invalid_column_reference]",
            "= create a unique index on just these columns",
            "= or name the columns of one that there is in ON CONFLICT",
        ]
    );
    let error = without_index(2, 2, Some("")).on(db).run().expect_err("there is no index");
    assert_eq!(error.sqlstate(), Some("42P10"));
    assert_eq!(with_index(1, "[1]", "sad", SystemTime::now()).on(db).unique().expect("there is one"), 1);

    let names = "the server's type is the enum \"check_advice_mood\" with the labels \"glad\", \"sad\": the names of the \
                 Rust enum must be the same, see #[postgres(name = …, rename_all = …)]";
    assert_eq!(
        of("misnamed"),
        [
            "error mood Mood check_advice_mood can't be read as Mood",
            &format!("= {names}"),
            "= or read the label, as String: CAST(… AS text) AS mood in the SQL",
        ]
    );
    let error = misnamed().on(db).unique().expect_err("another name").to_string();
    assert!(error.contains(&format!("can't be read as Mood: {names}")), "{error}");
    assert_eq!(
        of("misnamed_parameter"),
        [
            "error :mood Mood check_advice_mood can't be sent as check_advice_mood, which the statement takes there",
            &format!("= {names}"),
            "= or send the label as a text: :mood of type &str",
        ]
    );
    for mood in [Mood::Glad, Mood::Sad] {
        misnamed_parameter(mood).on(db).run().expect_err("another name");
    }

    assert_eq!(
        of("no_json"),
        [
            "error name Tags._name: Vec<i32> text can't be read as Vec<i32> from JSON",
            "= leave #[maypole(json)] out, and change the Rust type to String",
            "= or convert the column in the SQL: CAST(… AS jsonb) AS name",
            "error tags Tags._tags: Vec<i32> int4[] can't be read as Vec<i32> from JSON",
            "= leave #[maypole(json)] out",
            "= or convert the column in the SQL: to_jsonb(…) AS tags",
        ]
    );
    converted_to_json().on(db).unique().expect("converted");

    assert_eq!(
        of("price"),
        [
            "error price f64 numeric can't be read as f64",
            "= change the Rust type to rust_decimal::Decimal (feature db-postgres of rust_decimal)",
            "= or cast the column in the SQL: CAST(… AS float8) AS price",
        ]
    );
    assert_eq!(
        of("quoted"),
        [
            "error userId tuple.0: String int4 can't be read as String",
            "= change the Rust type to i32",
            "= or cast the column in the SQL: CAST(… AS text) AS \"userId\"",
            "error ?column? tuple.1: String int4 can't be read as String",
            "= change the Rust type to i32",
            "= or cast the column in the SQL: CAST(… AS text)",
        ]
    );
    quoted_as_advised().on(db).unique().expect("quoted");
    assert_eq!(
        of("twice"),
        [
            "error id One._id: i32 int4 the result has 2 columns of the name \"id\": give each its own with AS, or \
             select only one of them"
        ]
    );

    assert_eq!(
        of("list_for_one")[3..],
        [
            "error :ids &[i64] int4 a list, int8[], is compared with one int4",
            "= compare with each of the list: = ANY(:ids)",
            "= or change the Rust type to i32",
        ]
    );
    assert_eq!(list_as_advised(&[1, 2]).on(db).value().expect("compared"), 1);
    assert_eq!(
        of("list_of_open"),
        [
            "error :times Vec<SystemTime> timestamptz a list, and the statement takes one timestamptz",
            &format!("= change the Rust type to {TIMESTAMPTZ}"),
            "= or compare with each of the list: = ANY(:times)",
        ]
    );
    assert_eq!(
        of("one_for_list")[2..],
        [
            "error :t i64 int4[] one int8, where the statement takes a list, int4[]",
            "= compare with the one value: = :t",
            "= or change the Rust type to Vec<i32>",
        ]
    );
    assert_eq!(
        of("text_for_list"),
        [
            "error :t &str text[] one &str, where the statement takes a list, text[]",
            "= compare with the one value: = :t",
            "= or change the Rust type to Vec<String>",
        ]
    );
    assert_eq!(of("text_into_list")[2], "= or convert it in the SQL: (:t::text)::int4[]");
    assert_eq!(
        of("number_as_interval")[2..],
        [
            "error :x i32 interval is sent as int4, which can't be cast to interval",
            "= change the Rust type to one whose ToSql accepts interval, or to String: the server reads its text",
            "= or cast it to another type in the SQL",
        ]
    );
    let of_function = of("number_for_function").concat();
    assert!(of_function.contains("CAST(:x AS text)") && !of_function.contains("column"), "{of_function}");
    let of_insert = of("list_into_one").concat();
    assert!(of_insert.contains("is sent as int8[]") && !of_insert.contains("ANY"), "{of_insert}");
    assert!(report.ends_with("\n\n19 queries checked: 17 errors, no warnings"), "{report}");

    let _ = (no_json(), price(), quoted(), twice(), list_for_one(&[]), list_of_open(vec![]), one_for_list(1));
    let _ = (text_for_list(""), text_into_list(""), number_as_interval(1), number_for_function(1));
    let _ = list_into_one(&[]);
    test.finish();
}

mod unexplained {
    use super::*;

    pub(super) static DB: Database = Database::named("check_unexplained");

    #[query(DB, "DELETE FROM check_unexplained WHERE id = :id RETURNING id")]
    pub(super) fn denied(id: i32) -> Query<i32>;

    #[query(DB, "SELECT id INTO check_unexplained FROM check_unexplained WHERE id = :id")]
    pub(super) fn made_already(id: i32) -> Query;

    #[query(DB, "CREATE TABLE check_unexplained AS SELECT 1 AS id")]
    pub(super) fn created_already() -> Query;

    #[query(DB, "LOCK TABLE check_unexplained")]
    pub(super) fn not_planned() -> Query;

    #[query(DB, "INSERT INTO check_unexplained VALUES (:id / 0) -- ;")]
    pub(super) fn fails_for_a_value(id: i32) -> Query;
}

#[test]
fn that_a_statement_can_not_be_explained_is_no_error() {
    use unexplained::*;
    make("CREATE TABLE check_unexplained (id int4 NOT NULL)");
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    // It may not read or write the table.
    lease.script("SET ROLE pg_monitor").expect("a role of every server");
    assert_eq!(denied(1).on(&lease).rows().expect_err("denied").sqlstate(), Some("42501"));
    let report = DB.check_on(&lease).expect("no errors");
    assert_eq!(report.to_string(), "5 queries checked: no errors, no warnings");
    assert!(!lease.in_transaction());
    lease.script("RESET ROLE").expect("itself again");
    assert_eq!(DB.check_on(&lease).expect("no errors").queries(), 5);
    assert!(!lease.in_transaction());
    drop(lease);
    let _ = (made_already(1), created_already(), not_planned(), fails_for_a_value(1));
    test.finish();
}
