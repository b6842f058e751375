//! Declared queries checked against the schema: what is told of each kind of mistake, and of which nothing.

use std::sync::Mutex;
use std::time::SystemTime;

use maypole::types::{Json, Kind, Type};
use maypole::{Database, FromRow, Query, Result, Row, ToSql, query, select};

use crate::support::chaos::cancel;
use crate::support::client::Client;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Proxy, nth};
use crate::support::server::server;

/// The whole text of the error that the check of this database is.
fn refused(db: &Database, test: &TestPool) -> String {
    let lease = test.pool.connection().expect("lent");
    let error = db.check_on(&lease).expect_err("there are mistakes");
    assert_eq!(error.outcome(), maypole::Outcome::NotSent);
    error.to_string()
}

/// What is told of one query, each line without its indent.
#[track_caller]
fn told(report: &str, query: &str) -> Vec<String> {
    let block = report
        .split("\n\n")
        .find(|block| {
            block.starts_with(&format!("query {query}\n")) || block.starts_with(&format!("query {query} "))
        })
        .unwrap_or_else(|| panic!("{query} is not in the report:\n{report}"));
    // The widths of the table are those of all queries.
    block.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn make(sql: &str) {
    Client::connect(&server().url()).expect("up").query(sql).map(drop).expect("made");
}

mod clean {
    use super::*;

    pub(super) static DB: Database = Database::named("check_clean");

    pub(super) const SCHEMA: &str = "
        CREATE TYPE check_clean_mood AS ENUM ('happy', 'sad');
        CREATE DOMAIN check_clean_positive AS int4 CHECK (VALUE > 0);
        CREATE DOMAIN check_clean_present AS text NOT NULL;
        CREATE TABLE check_clean (id int4 PRIMARY KEY, name text NOT NULL, email text, mood check_clean_mood NOT NULL,
            n check_clean_positive NOT NULL, present check_clean_present, doc jsonb, at timestamptz NOT NULL,
            key uuid, day date, price numeric);
        CREATE TABLE check_clean_orders (id int8 PRIMARY KEY, customer int4 NOT NULL, total int8 NOT NULL);
        CREATE VIEW check_clean_view AS SELECT id, name, email FROM check_clean";

    #[derive(FromRow)]
    pub(super) struct Customer {
        pub(super) _id: i32,
        #[maypole(rename = "name")]
        pub(super) _name: String,
        #[maypole(rename = "email")]
        pub(super) _email: Option<String>,
    }

    #[derive(FromRow)]
    pub(super) struct Order {
        pub(super) _id: i64,
        pub(super) _total: i64,
    }

    #[derive(FromRow)]
    pub(super) struct Both {
        pub(super) _name: String,
        #[maypole(flatten = "order")]
        pub(super) _order: Option<Order>,
    }

    #[select(DB, "SELECT id AS _id, name, email FROM check_clean WHERE id = :id")]
    pub(super) fn by_name(id: i32) -> Query<Customer>;

    #[select(
        DB,
        "SELECT c.name AS _name, o.id AS order_id, o.total AS order_total
           FROM check_clean c LEFT JOIN check_clean_orders o ON o.customer = c.id"
    )]
    pub(super) fn nested() -> Query<Both>;

    #[select(DB, "SELECT * FROM check_clean")]
    pub(super) fn anything() -> Query<Row>;

    #[select(DB, "SELECT name, email FROM check_clean_view")]
    pub(super) fn of_a_view() -> Query<(String, String)>;

    #[select(DB, "SELECT email FROM check_clean WHERE email IS NOT NULL", not_null = ["email"])]
    pub(super) fn silenced() -> Query<String>;

    #[select(DB, "SELECT c.name, o.total FROM check_clean c LEFT JOIN check_clean_orders o ON o.customer = c.id",
        not_null = ["total"])]
    pub(super) fn silenced_join() -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT c.name, coalesce(o.total, 0) FROM check_clean c LEFT JOIN check_clean_orders o ON o.customer = c.id"
    )]
    pub(super) fn coalesced() -> Query<(String, i64)>;

    #[select(DB, "SELECT c.name, o.total FROM check_clean c JOIN check_clean_orders o ON o.customer = c.id")]
    pub(super) fn inner() -> Query<(String, i64)>;

    /// No row without an order gets through: the planner knows.
    #[select(
        DB,
        "SELECT o.total FROM check_clean c LEFT JOIN check_clean_orders o ON o.customer = c.id WHERE o.id = :id"
    )]
    pub(super) fn strict(id: i64) -> Query<i64>;

    #[select(
        DB,
        "SELECT n, present, ctid::text FROM check_clean WHERE n = :n AND mood = :mood AND mood = ANY(:moods)"
    )]
    pub(super) fn domains(n: i32, mood: &str, moods: &[&str]) -> Query<(i32, String, String)>;

    /// Texts meet whatever has no Rust type of its own.
    #[query(
        DB,
        "UPDATE check_clean SET doc = :doc, key = :key, day = :day, price = :price, at = :at WHERE :name IS NULL OR name = :name"
    )]
    pub(super) fn update(
        doc: Json<Vec<i32>>,
        key: &str,
        day: String,
        price: Option<&str>,
        at: SystemTime,
        name: Option<&str>,
    ) -> Query;

    #[query(
        DB,
        "INSERT INTO check_clean_orders (id, customer, total) VALUES (:id, :customer, :total) RETURNING id"
    )]
    pub(super) fn insert(id: i64, customer: i32, total: i32) -> Query<i64>;

    #[query(DB, "LISTEN check_clean_news")]
    pub(super) fn listen() -> Query;

    #[query(DB, "SELECT pg_notify('check_clean_news', :text)")]
    pub(super) fn notify(text: &str) -> Query;

    #[query(DB, "SHOW work_mem")]
    pub(super) fn utility() -> Query<String>;

    #[query(DB, "DROP TABLE check_clean_orders")]
    pub(super) fn drop_table() -> Query;

    #[query(DB, "DELETE FROM check_clean_orders RETURNING id")]
    pub(super) fn delete() -> Query<i64>;

    #[derive(serde::Deserialize)]
    pub(super) struct ByName {
        #[serde(rename = "id")]
        pub(super) _id: i32,
    }

    #[select(DB, "SELECT id FROM check_clean")]
    pub(super) fn by_serde() -> Query<maypole::Serde<ByName>>;

    #[select(DB, "SELECT now(), ARRAY['a'] -- the end")]
    pub(super) fn expressions() -> Query<(SystemTime, Vec<String>)>;
}

#[test]
fn correct_queries_are_clean_and_nothing_is_run_or_left_on_the_session() {
    use clean::*;
    make(SCHEMA);
    make("INSERT INTO check_clean_orders VALUES (1, 1, 1)");
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    // The types of the database are looked up once for the pool.
    DB.check_on(&lease).unwrap();
    let left = || -> Vec<(String, String, String)> {
        let prepared = "SELECT 'prepared', name, statement FROM pg_prepared_statements
             UNION ALL SELECT 'setting', name, setting FROM pg_settings
             UNION ALL SELECT 'listen', pg_listening_channels(), '' ORDER BY 1, 2";
        lease.query(prepared, ()).rows().expect("what is there")
    };
    left();
    let before = left();
    let report = DB.check_on(&lease).unwrap();
    assert_eq!(report.to_string(), "19 queries checked: no errors, no warnings");
    assert_eq!((report.queries(), report.warnings()), (19, 0));
    assert_eq!(left(), before);
    assert!(!lease.in_transaction());
    assert_eq!(
        lease.query("SELECT count(*) FROM check_clean_orders", ()).value::<i64>().expect("still there"),
        1
    );
    // Called, so that the compiler does not find them unused; none runs.
    let _ =
        (by_name(1), nested(), anything(), of_a_view(), silenced(), silenced_join(), coalesced(), inner());
    let _ = (
        strict(1),
        domains(1, "", &[]),
        listen(),
        notify(""),
        utility(),
        drop_table(),
        delete(),
        expressions(),
    );
    let _ = (update(Json(vec![]), "", String::new(), None, SystemTime::now(), None), insert(1, 1, 1));
    drop(lease);
    test.finish();
}

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
    let at = |line: u32| format!("--> tests/it/check.rs:{line}");
    assert!(report.starts_with("the declared queries do not fit the database\n\nquery "), "{report}");
    assert!(report.ends_with("\n\n19 queries checked: 27 errors, no warnings"), "{report}");

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
            "= change the Rust type to std::time::SystemTime",
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
            "= add a field at to Customer: std::time::SystemTime",
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

mod nullable {
    use super::*;

    pub(super) static DB: Database = Database::named("check_nullable");

    pub(super) const SCHEMA: &str = "
        CREATE TABLE check_nullable (id int4 PRIMARY KEY, name text NOT NULL, \"E mail\" text) PARTITION BY RANGE (id);
        CREATE TABLE check_nullable_1 PARTITION OF check_nullable FOR VALUES FROM (0) TO (10);
        CREATE TABLE check_nullable_orders (id int8 PRIMARY KEY, customer int4 NOT NULL, total int8 NOT NULL, note text);
        CREATE VIEW check_nullable_view AS
            SELECT c.name, o.total FROM check_nullable c LEFT JOIN check_nullable_orders o ON o.customer = c.id";

    #[derive(FromRow)]
    pub(super) struct Customer {
        #[maypole(rename = "name")]
        pub(super) _name: String,
        #[maypole(rename = "E mail")]
        pub(super) _email: String,
    }

    #[select(DB, "SELECT name, \"E mail\" FROM check_nullable")]
    pub(super) fn of_the_catalogue() -> Query<Customer>;

    #[query(
        DB,
        "INSERT INTO check_nullable_orders VALUES (:id, :customer, :total, :note) RETURNING note, total"
    )]
    pub(super) fn of_a_write(id: i64, customer: i32, total: i64, note: &str) -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT c.name, o.total FROM check_nullable c LEFT JOIN check_nullable_orders o ON o.customer = c.id"
    )]
    pub(super) fn left() -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT c.name, o.total FROM check_nullable c RIGHT JOIN check_nullable_orders o ON o.customer = c.id ORDER BY o.note"
    )]
    pub(super) fn right() -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT c.name, o.total FROM check_nullable c FULL JOIN check_nullable_orders o ON o.customer = c.id"
    )]
    pub(super) fn full() -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT name, total FROM check_nullable_view WHERE name = :name AND (:least IS NULL OR total >= :least)"
    )]
    pub(super) fn in_a_view(name: &str, least: Option<i64>) -> Query<(String, i64)>;

    #[select(
        DB,
        "SELECT c.name, x.total, x.n
           FROM check_nullable c
           LEFT JOIN (SELECT customer, sum(total)::int8 AS total, count(*) AS n
                        FROM check_nullable_orders GROUP BY 1) x ON x.customer = c.id"
    )]
    pub(super) fn grouped() -> Query<(String, i64, i64)>;

    #[select(
        DB,
        "SELECT c.name, o.total FROM check_nullable c
           LEFT JOIN LATERAL (SELECT total FROM check_nullable_orders WHERE customer = c.id AND id > :id ORDER BY id LIMIT 1) o ON true"
    )]
    pub(super) fn lateral(id: i64) -> Query<(String, Option<i64>)>;
}

/// What was logged as warnings of checks.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "maypole::check"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().expect("no panic under it").push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

#[test]
fn what_the_catalogue_or_an_outer_join_contradicts_is_a_warning_and_logged() {
    use nullable::*;
    log::set_logger(&Logger).expect("the first of this process");
    log::set_max_level(log::LevelFilter::Warn);
    make(SCHEMA);
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let checked = DB.check_on(&lease).expect("warnings only");
    let report = checked.to_string();
    let line = of_the_catalogue::LINE;
    assert_eq!(
        told(&report, "of_the_catalogue")[1..],
        [
            &*format!("--> tests/it/check.rs:{line}"),
            "warning E mail Customer._email: String text check_nullable.\"E mail\" may be NULL",
            "= change the Rust type to Option<String>",
            "= or change the column: ALTER TABLE check_nullable ALTER COLUMN \"E mail\" SET NOT NULL",
            "= or, if you know that it is never NULL here, say so: not_null = [\"E mail\"]",
        ]
    );
    assert!(told(&report, "of_a_write")[2].ends_with("check_nullable_orders.note may be NULL"), "{report}");
    let joined = |query: &str| -> Vec<String> {
        let told = told(&report, query);
        let lines = told
            .iter()
            .filter(|line| line.ends_with("is NULL in rows that the outer join finds no match for"));
        lines.map(|line| line.split(' ').nth(1).expect("a column").to_owned()).collect()
    };
    assert_eq!(joined("left"), ["total"]);
    assert_eq!(joined("right"), ["name"]);
    assert_eq!(joined("full"), ["name", "total"]);
    assert_eq!(joined("grouped"), ["total", "n"]);
    assert!(
        told(&report, "left").contains(&"= or give it a value in the SQL: coalesce(…, …) AS total".into())
    );
    // The columns of a view have no NOT NULL: only its join says anything, unless it can have no part in the result.
    assert_eq!(joined("in_a_view"), ["total"]);
    assert!(!report.contains("query lateral"), "{report}");
    assert_eq!((checked.queries(), checked.warnings()), (8, 9), "{report}");
    assert!(report.ends_with("8 queries checked: no errors, 9 warnings"), "{report}");
    let logged = std::mem::take(&mut *LOGGED.lock().expect("no panic under it"));
    let ours: Vec<_> = logged.iter().filter(|line| line.contains("query left (")).collect();
    let left = left::LINE;
    assert_eq!(
        *ours,
        [&format!(
            "WARN query left (tests/it/check.rs:{left}), column total, tuple.1: i64: is NULL in rows that the outer join \
             finds no match for; change the Rust type to Option<i64>; or give it a value in the SQL: coalesce(…, …) AS \
             total; or, if you know that it is never NULL here, say so: not_null = [\"total\"]"
        )]
    );
    let _ = (
        of_the_catalogue(),
        of_a_write(1, 1, 1, ""),
        nullable::left(),
        right(),
        full(),
        in_a_view("", None),
        grouped(),
    );
    let _ = lateral(1);
    drop(lease);
    test.finish();
}

mod denied {
    use super::*;

    pub(super) static DB: Database = Database::named("check_denied");

    #[select(DB, "SELECT c.id, o.id FROM check_denied c LEFT JOIN check_denied o ON o.id = c.id + 1")]
    pub(super) fn joined() -> Query<(i32, i32)>;
}

#[test]
fn where_the_server_tells_no_plan_there_is_no_warning_and_no_error() {
    make("CREATE TABLE check_denied (id int4 PRIMARY KEY); CREATE ROLE check_denied");
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    assert_eq!(denied::DB.check_on(&lease).expect("a warning").warnings(), 1);
    lease.script("SET ROLE check_denied").expect("set");
    assert_eq!(denied::DB.check_on(&lease).expect("no plan is told").warnings(), 0);
    assert!(!lease.in_transaction());
    let left: i64 = lease
        .query("SELECT count(*) FROM pg_prepared_statements WHERE name = 'maypole_check'", ())
        .value()
        .expect("counted");
    assert_eq!(left, 0);
    lease.script("RESET ROLE; DROP ROLE check_denied").expect("dropped");
    assert_eq!(denied::DB.check_on(&lease).expect("a warning").warnings(), 1);
    let _ = denied::joined();
    drop(lease);
    test.finish();
}

mod apart {
    use super::*;

    pub(super) static ONE: Database = Database::named("check_one");
    pub(super) static ONE_AGAIN: Database = Database::named("check_one");
    pub(super) static TWO: Database = Database::named("check_two");

    #[select(ONE, "SELECT 1")]
    pub(super) fn one() -> Query<i32>;

    #[select(ONE_AGAIN, "SELECT 2")]
    pub(super) fn one_more() -> Query<i32>;

    #[select(TWO, "SELECT 1")]
    pub(super) fn two() -> Query<i64>;
}

#[test]
fn each_database_is_checked_with_the_queries_of_its_setting() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    for db in [&apart::ONE, &apart::ONE_AGAIN] {
        assert_eq!(db.check_on(&lease).expect("clean").queries(), 2);
    }
    assert!(apart::TWO.check_on(&lease).expect_err("int4 is not i64").to_string().contains("query two\n"));
    drop(lease);
    assert_eq!(test.db.check().expect("nothing is declared for it").queries(), 0);
    let _ = (apart::one(), apart::one_more(), apart::two());
    test.finish();
}

#[test]
fn a_session_in_a_transaction_is_refused() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    lease.script("BEGIN").expect("begun");
    let error = apart::ONE.check_on(&lease).expect_err("in a transaction");
    assert!(error.to_string().contains("inside a transaction"), "{error}");
    lease.script("ROLLBACK").expect("rolled back");
    drop(lease);
    test.finish();
}

#[test]
fn a_lost_connection_is_no_finding() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let pid = lease.process_id();
    make(&format!("SELECT pg_terminate_backend({pid})"));
    let error = apart::ONE.check_on(&lease).expect_err("the session is gone");
    assert!(!error.to_string().contains("do not fit"), "{error}");
    drop(lease);
    test.finish();
}

mod cancelled {
    use super::*;

    pub(super) static DB: Database = Database::named("check_cancelled");

    #[select(
        DB,
        "SELECT c.oid, a.attrelid FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = :name"
    )]
    pub(super) fn joined(name: &str) -> Query<(u32, u32)>;
}

#[test]
fn a_check_that_is_cancelled_leaves_nothing_behind() {
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 1);
    test.db.script("SELECT 1").expect("warm");
    let mut cancels = 0;
    for round in 1.. {
        test.ledger();
        let held = proxy.on(Backend, ANY, nth(round)).hold();
        let pool = test.pool.clone();
        let victim = maypole::spawn(move || {
            let lease = pool.connection().expect("lent");
            cancelled::DB.check_on(&lease).expect("a warning").warnings()
        });
        eventually("held, or over", || held.hits() > 0 || victim.is_done());
        if held.hits() == 0 {
            assert_eq!(victim.join().expect("not cancelled"), 1);
            held.release();
            assert!(cancels > 10, "a check has more messages than {cancels}");
            break;
        }
        cancel(&victim);
        cancels += usize::from(victim.join().is_err());
        held.release();
        test.ledger();
        assert_eq!(test.sessions("AND state LIKE 'idle in transaction%'"), 0, "held at message {round}");
        let left = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'maypole_check'";
        assert_eq!(test.db.query(left, ()).value::<i64>().expect("counted"), 0, "held at message {round}");
    }
    let _ = cancelled::joined("");
    test.finish();
}

/// A value of each kind of Rust type against columns of many SQL types.
mod pairs {
    use super::*;
    use std::net::IpAddr;

    pub(super) static DB: Database = Database::named("check_pairs");

    pub(super) const SCHEMA: &str = "
        CREATE TYPE check_pairs_mood AS ENUM ('1', '2');
        CREATE DOMAIN check_pairs_domain AS int4;
        CREATE TABLE check_pairs (b bool, i2 int2, i4 int4, i8 int8, f8 float8, n numeric, o oid, t text, v varchar(9),
            m check_pairs_mood, d check_pairs_domain, y bytea, j jsonb, u uuid, a inet, z timestamptz, i4s int4[],
            i8s int8[], ts text[], ms check_pairs_mood[])";

    type Run = fn(&Database) -> Result<u64>;

    macro_rules! pairs {
        ($($name:ident: $type:ty, $value:expr, $sql:literal;)*) => {
            $(
                #[query(DB, $sql)]
                fn $name(x: $type) -> Query;
            )*

            /// The name of each query, and how it is run.
            pub(super) const ALL: &[(&str, Run)] = &[$( ($name::NAME, |db| $name($value).on(db).run()) ),*];
        };
    }

    pairs! {
        numbers_into_i2: i32, 1, "INSERT INTO check_pairs (i2) VALUES (:x)";
        numbers_where_i2: i32, 1, "UPDATE check_pairs SET b = true WHERE i2 = :x";
        numbers_into_i8: i32, 1, "INSERT INTO check_pairs (i8) VALUES (:x)";
        numbers_where_n: i32, 1, "UPDATE check_pairs SET b = true WHERE n = :x";
        numbers_into_t: i32, 1, "INSERT INTO check_pairs (t) VALUES (:x)";
        numbers_where_t: i32, 1, "UPDATE check_pairs SET b = true WHERE t = :x";
        numbers_set_b: i32, 1, "UPDATE check_pairs SET b = :x";
        numbers_set_m: i32, 1, "UPDATE check_pairs SET m = :x";
        numbers_set_d: i32, 1, "UPDATE check_pairs SET d = :x";
        numbers_where_o: i32, 1, "UPDATE check_pairs SET b = true WHERE o = :x";
        numbers_set_u: i32, 1, "UPDATE check_pairs SET u = :x";
        truth_set_b: bool, true, "UPDATE check_pairs SET b = :x";
        truth_set_i4: bool, true, "UPDATE check_pairs SET i4 = :x";
        truth_set_j: bool, true, "UPDATE check_pairs SET j = :x";
        texts_set_t: &'static str, "x", "UPDATE check_pairs SET t = :x";
        texts_set_v: &'static str, "x", "UPDATE check_pairs SET v = :x";
        texts_set_b: &'static str, "x", "UPDATE check_pairs SET b = :x";
        texts_set_i4: &'static str, "x", "UPDATE check_pairs SET i4 = :x";
        texts_set_f8: &'static str, "x", "UPDATE check_pairs SET f8 = :x";
        texts_set_d: &'static str, "x", "UPDATE check_pairs SET d = :x";
        texts_set_ts: &'static str, "x", "UPDATE check_pairs SET ts = :x";
        texts_set_i4s: &'static str, "x", "UPDATE check_pairs SET i4s = :x";
        lists_set_i4s: &'static [i32], &[1], "UPDATE check_pairs SET i4s = :x";
        lists_set_i8s: &'static [i32], &[1], "UPDATE check_pairs SET i8s = :x";
        lists_set_ts: &'static [i32], &[1], "UPDATE check_pairs SET ts = :x";
        lists_where_i8_any: &'static [i32], &[1], "UPDATE check_pairs SET b = true WHERE i8 = ANY(:x)";
        lists_where_t_any: &'static [i32], &[1], "UPDATE check_pairs SET b = true WHERE t = ANY(:x)";
        wide_into_i4: i64, 1, "INSERT INTO check_pairs (i4) VALUES (:x)";
        wide_where_i4: i64, 1, "UPDATE check_pairs SET b = true WHERE i4 = :x";
        wide_where_any_i8s: i64, 1, "UPDATE check_pairs SET b = true WHERE :x = ANY(i8s)";
        wide_set_i4s: i64, 1, "UPDATE check_pairs SET i4s = ARRAY[:x]";
        bytes_set_y: Vec<u8>, vec![1], "UPDATE check_pairs SET y = :x";
        bytes_set_t: Vec<u8>, vec![1], "UPDATE check_pairs SET t = :x";
        bytes_set_j: Vec<u8>, vec![1], "UPDATE check_pairs SET j = :x";
        mood_set_m: Option<String>, Some("1".into()), "UPDATE check_pairs SET m = :x";
        mood_where_m_and_v: Option<String>, Some("1".into()), "UPDATE check_pairs SET b = true WHERE m = :x AND v = :x";
        text_lists_set_ts: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET ts = :x";
        text_lists_set_ms: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET ms = :x";
        text_lists_set_i4s: Vec<&'static str>, vec!["x"], "UPDATE check_pairs SET i4s = :x";
        text_lists_where_m_any: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET b = true WHERE m = ANY(:x)";
        text_lists_set_j: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET j = :x";
        addresses_set_a: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET a = :x";
        addresses_set_t: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET t = :x";
        addresses_cast: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET t = CAST(:x AS inet)";
        json_set_j: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET j = :x";
        json_set_t: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET t = :x";
        json_set_i4: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET i4 = :x";
        times_set_z: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET z = :x";
        times_set_t: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET t = :x";
        times_set_b_date_is_null: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET b = :x::date IS NULL";
        times_set_b_is_null_or_z: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET b = :x IS NULL OR z = :x";
    }
}

/// The check has something to say of a pair exactly if the query then fails.
#[test]
fn what_a_check_says_of_parameters_is_what_happens_when_they_are_sent() {
    make(pairs::SCHEMA);
    let test = TestPool::new(1);
    let report = refused(&pairs::DB, &test);
    let mut wrong = 0;
    for (name, run) in pairs::ALL {
        let told = report.contains(&format!("query {name}\n")) || report.contains(&format!("query {name} "));
        let result = run(&test.db);
        assert_eq!(told, result.is_err(), "{name}: {result:?}\n{report}");
        wrong += usize::from(told);
    }
    let help = told(&report, "times_set_b_is_null_or_z").pop().expect("a line");
    assert!(help.starts_with("= help: the places of :x do not tell one type: write casts"), "{help}");
    assert!(wrong > 20 && wrong < pairs::ALL.len() - 20, "{wrong} of {}", pairs::ALL.len());
    test.finish();
}
