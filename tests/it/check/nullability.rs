//! Places without room for NULL, whose columns may be NULL.

use std::sync::Mutex;

use maypole::{Database, FromRow, Query, query, select};

use super::{make, told};
use crate::support::pool::TestPool;

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
            &*format!("--> tests/it/check/nullability.rs:{line}"),
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
            "WARN query left (tests/it/check/nullability.rs:{left}), column total, tuple.1: i64: is NULL in rows that the outer join \
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
