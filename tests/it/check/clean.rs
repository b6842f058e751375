//! Queries that fit: nothing is said of them, and nothing is left behind.

use std::time::SystemTime;

use maypole::types::Json;
use maypole::{Database, FromRow, Query, Row, query, select};

use super::make;
use crate::support::pool::TestPool;

mod queries {
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
    use queries::*;
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
