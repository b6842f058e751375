//! Declared queries at work: round trips, parameters, terminals, sessions. What the compiler refuses is in `tests/ui`.

use maypole::{Database, Outcome, Query, Result, Row, query, select};

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::proxy::{Frontend, Proxy};
use crate::support::server::server;

/// Never opened: every call says where it runs.
static DB: Database = Database::named("declared");

/// How often the client has waited for the server: each Sync and each simple query asks for an answer.
fn round_trips(proxy: &Proxy) -> usize {
    proxy.all().count(Frontend, b'S') + proxy.all().count(Frontend, b'Q')
}

#[select(DB, "SELECT :n * 2")]
fn double(n: i32) -> Query<i32>;

#[select(DB, "SELECT upper(:name)")]
fn upper(name: &str) -> Query<String>;

#[query(DB, "INSERT INTO declared_trips (n) VALUES (:n)")]
fn insert_trip(n: i32) -> Query;

#[query(DB, "INSERT INTO declared_trips (n) VALUES (:n) RETURNING n")]
fn insert_trip_returning(n: i32) -> Query<i32>;

/// A select and a write that returns nothing are parsed, bound and executed in the first exchange with a session.
#[test]
fn the_first_use_on_a_session_costs_one_round_trip() {
    Client::connect(&server().url())
        .expect("up")
        .query("CREATE TABLE declared_trips (n int4)")
        .expect("made");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 2);
    let one = test.pool.connection().expect("lent");
    let two = test.pool.connection().expect("lent");
    let trips = |run: &dyn Fn()| {
        let before = round_trips(&proxy);
        run();
        round_trips(&proxy) - before
    };
    assert_eq!(
        trips(&|| assert_eq!(double(4).on(&one).unique().expect("doubled"), 8)),
        1,
        "first in the process"
    );
    assert_eq!(trips(&|| assert_eq!(double(5).on(&one).unique().expect("doubled"), 10)), 1, "known");
    assert_eq!(
        trips(&|| assert_eq!(double(6).on(&two).unique().expect("doubled"), 12)),
        1,
        "first on a session"
    );
    assert_eq!(proxy.all().count(Frontend, b'P'), 2, "parsed once for each session");
    assert_eq!(
        trips(&|| assert_eq!(upper("a").on(&one).value().expect("upper"), "A")),
        1,
        "a text needs no question"
    );
    assert_eq!(trips(&|| assert_eq!(insert_trip(1).on(&one).run().expect("inserted"), 1)), 1);
    // What writes and returns is described before it has written for the first time; then it is known.
    assert_eq!(trips(&|| assert_eq!(insert_trip_returning(2).on(&one).unique().expect("a row"), 2)), 2);
    assert_eq!(trips(&|| assert_eq!(insert_trip_returning(3).on(&two).unique().expect("a row"), 3)), 1);
    drop((one, two));
    assert_eq!(
        trips(&|| assert_eq!(double(7).on(&test.db).unique().expect("doubled"), 14)),
        2,
        "through the pool: in one packet with what makes the session a lane"
    );
    let stream = |n| double(n).on(&test.db).iter().collect::<Result<Vec<_>>>().expect("a stream");
    assert_eq!(trips(&|| assert_eq!(stream(8), [16])), 1, "the Sync that ends it");
    test.db
        .transaction(|q| {
            assert_eq!(trips(&|| assert_eq!(double(9).on(q).unique().expect("doubled"), 18)), 1);
            Ok(())
        })
        .expect("committed");
    test.finish();
}

#[test]
fn a_query_runs_wherever_it_is_told() {
    let test = TestPool::new(2);
    let mut lease = test.pool.connection().expect("lent");
    let connection: &maypole::Connection = &lease;
    for query in
        [double(1).on(&test.db), double(1).on(&test.pool), double(1).on(connection), double(1).on(&lease)]
    {
        assert_eq!(query.unique().expect("doubled"), 2);
    }
    #[allow(clippy::unnecessary_mut_passed, reason = "people write it, and it works")]
    let held = double(1).on(&mut lease).unique();
    assert_eq!(held.expect("doubled"), 2);
    assert_eq!(lease.transaction(|q| double(1).on(q).unique()).expect("doubled"), 2);
    assert_eq!(lease.transaction(|q| double(1).on(&q).unique()).expect("doubled"), 2);
    /// Whoever is given no more than that something runs queries.
    fn doubled(executor: &impl maypole::Executor) -> Result<i32> {
        double(1).on(executor).timeout(None).unique()
    }
    assert_eq!(doubled(&lease).expect("doubled"), 2);
    // Without being told it is the database of its declaration, which has no setting here.
    assert!(double(1).unique().expect_err("no such setting").is_config());
    drop(lease);
    let db = Database::from(test.pool.clone());
    let worker = maypole::spawn(move || double(21).on(&db).unique());
    assert_eq!(worker.join().expect("no panic").expect("doubled"), 42);
    test.finish();
}

#[query(DB, "INSERT INTO declared_wrong (id, name) VALUES (:id, 'a') RETURNING id, name")]
fn insert_wrongly(id: i32) -> Query<(i32, i32)>;

#[query(DB, "DELETE FROM declared_wrong RETURNING id")]
fn delete_without_columns() -> Query;

#[test]
fn a_row_type_that_does_not_fit_is_found_out_before_the_statement_has_written() {
    let test = TestPool::new(2);
    test.db.script("CREATE TABLE declared_wrong (id int4, name text)").expect("made");
    for _ in 0..2 {
        let error = insert_wrongly(1).on(&test.db).unique().expect_err("name is no number");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
        assert!(error.to_string().contains("column \"name\" is text"), "{error}");
        assert_eq!(error.query_name(), Some("insert_wrongly"));
    }
    assert_eq!(test.db.query("SELECT count(*) FROM declared_wrong", ()).value::<i64>().expect("counted"), 0);
    test.db.script("INSERT INTO declared_wrong VALUES (1, 'a')").expect("inserted");
    let error = delete_without_columns().on(&test.db).run().expect_err("it returns a column");
    assert!(error.to_string().contains("declare -> Query<T>"), "{error}");
    assert_eq!(test.db.query("SELECT count(*) FROM declared_wrong", ()).value::<i64>().expect("counted"), 1);
    test.finish();
}

mod texts {
    use super::*;

    #[query(
        DB,
        "INSERT INTO declared_texts (mood, j, jb, id, body, at, moods, ids) \
         VALUES (:mood, :json, :jsonb, :id, :body, :at, :moods, :ids)"
    )]
    pub(super) fn insert(
        mood: &str,
        json: String,
        jsonb: Option<&str>,
        id: &str,
        body: std::borrow::Cow<'_, str>,
        at: &str,
        moods: &[&str],
        ids: Vec<Option<String>>,
    ) -> Query;

    #[select(
        DB,
        "SELECT count(*) FROM declared_texts WHERE mood = :mood AND id = :id AND mood = ANY(:moods)"
    )]
    pub(super) fn count(mood: &str, id: &str, moods: &[String]) -> Query<i64>;
}

/// The server decides what a text is the text of.
#[test]
fn a_text_meets_enums_json_uuids_dates_and_arrays_of_them() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TYPE declared_mood AS ENUM ('happy', 'sad');
             CREATE TABLE declared_texts (mood declared_mood, j json, jb jsonb, id uuid, body text, at date,
                 moods declared_mood[], ids uuid[])",
        )
        .expect("made");
    let id = "00000000-0000-0000-0000-0000000000ab";
    texts::insert(
        "happy",
        "{\"a\": 1}".into(),
        Some("[\"ü\"]"),
        id,
        "it's".into(),
        "2020-02-29",
        &["sad", "happy"],
        vec![Some(id.to_owned()), None],
    )
    .on(&test.db)
    .run()
    .expect("inserted");
    let row: Row = test.db.query("SELECT * FROM declared_texts", ()).unique().expect("a row");
    assert_eq!(
        row.to_string(),
        format!(
            "{{\"mood\": \"happy\", \"j\": {{\"a\": 1}}, \"jb\": [\"ü\"], \"id\": \"{id}\", \"body\": \"it's\", \
             \"at\": \"2020-02-29\", \"moods\": [\"sad\", \"happy\"], \"ids\": [\"{id}\", null]}}"
        )
    );
    assert_eq!(texts::count("happy", id, &["happy".into()]).on(&test.db).value().expect("counted"), 1);
    assert_eq!(texts::count("happy", id, &[]).on(&test.db).value().expect("counted"), 0);
    let error = texts::count("hungry", id, &[]).on(&test.db).value().expect_err("no such mood");
    assert_eq!(error.sqlstate(), Some("22P02"));
    // The same ad hoc.
    let count: i64 = test
        .db
        .query(
            "SELECT count(*) FROM declared_texts WHERE mood = $1 AND id = $2 AND ids @> $3",
            ("happy", id, [id].as_slice()),
        )
        .value()
        .expect("counted");
    assert_eq!(count, 1);
    test.finish();
}

mod optional {
    use super::*;

    /// A mood as a Rust type: only the server knows its OID.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Mood(pub(super) &'static str);

    impl maypole::ToSql for Mood {
        fn to_sql(
            &self,
            _: &maypole::types::Type,
            out: &mut bytes::BytesMut,
        ) -> Result<maypole::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
            out.extend_from_slice(self.0.as_bytes());
            Ok(maypole::types::IsNull::No)
        }

        fn accepts(type_: &maypole::types::Type) -> bool {
            matches!(type_.kind(), maypole::types::Kind::Enum(_))
        }

        maypole::types::to_sql_checked!();
    }

    macro_rules! filters {
        ($($name:ident: $type:ty, $sql:literal;)*) => {
            $(
                #[select(DB, $sql)]
                pub(super) fn $name<'q>(x: Option<$type>) -> Query<'q, i64>;
            )*
        };
    }

    filters! {
        int2: i16, "SELECT count(*) FROM declared_optional WHERE :x IS NULL OR a = :x";
        int4: i32, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR b = :x)";
        int8: i64, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR c = :x)";
        float8: f64, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR d = :x)";
        boolean: bool, "SELECT count(*) FROM declared_optional WHERE (:x is null OR e = :x)";
        text: &'q str, "SELECT count(*) FROM declared_optional WHERE (f = :x OR :x IS NULL)";
        mood: &'q str, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR g = :x)";
        typed_mood: Mood, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR g = :x)";
        uuid: String, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR h = :x)";
        day: &'q str, "SELECT count(*) FROM declared_optional WHERE (NOT :x IS NOT NULL OR i = :x)";
        blob: &'q [u8], "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR j = :x)";
        ints: &'q [i32], "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR b = ANY(:x))";
        moods: Vec<&'q str>, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR g = ANY(:x))";
        domain: i32, "SELECT count(*) FROM declared_optional WHERE (:x IS NULL OR k = :x)";
    }

    #[select(DB, "SELECT 1 WHERE :x IS NULL")]
    pub(super) fn nothing_tells(x: Option<Mood>) -> Query<i32>;

    #[select(DB, "SELECT 1 WHERE :x IS NULL")]
    pub(super) fn enough_told(x: Option<&str>) -> Query<i32>;

    #[select(DB, "SELECT :x")]
    pub(super) fn untold(x: std::net::IpAddr) -> Query<Row>;
}

/// `(:x IS NULL OR c = :x)`: the usual way to a filter that may be left out.
#[test]
fn a_filter_that_may_be_null_works_on_every_column_type() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TYPE declared_mood2 AS ENUM ('happy', 'sad');
             CREATE DOMAIN declared_domain AS int4 CHECK (VALUE > 0);
             CREATE TABLE declared_optional (a int2, b int4, c int8, d float8, e bool, f text, g declared_mood2,
                 h uuid, i date, j bytea, k declared_domain);
             INSERT INTO declared_optional VALUES (1, 1, 1, 1, true, 'a', 'happy',
                 '00000000-0000-0000-0000-000000000001', '2020-02-29', '\\x01', 1),
                 (2, 2, 2, 2, false, 'b', 'sad', '00000000-0000-0000-0000-000000000002', '2020-03-01', '\\x02', 2)",
        )
        .expect("made");
    use optional::*;
    macro_rules! check {
        ($($name:ident($value:expr)),* $(,)?) => { $(
            assert_eq!($name(Some($value)).on(&test.db).value().expect(stringify!($name)), 1, stringify!($name));
            assert_eq!($name(None).on(&test.db).value().expect(stringify!($name)), 2, stringify!($name));
        )* };
    }
    check!(
        int2(1),
        int4(1),
        int8(1),
        float8(1.0),
        boolean(true),
        text("a"),
        mood("happy"),
        typed_mood(Mood("happy")),
        uuid("00000000-0000-0000-0000-000000000001".to_owned()),
        day("2020-02-29"),
        blob(&[1]),
        ints(&[1]),
        moods(vec!["happy"]),
        domain(1),
    );
    assert_eq!(enough_told(None).on(&test.db).value().expect("a row"), 1);
    let error = nothing_tells(None).on(&test.db).value().expect_err("of which type?");
    assert!(format!("{error:?}").contains(":x::type"), "{error:?}");
    let error = untold(std::net::Ipv4Addr::LOCALHOST.into()).on(&test.db).rows().expect_err("text, or what?");
    assert!(format!("{error:?}").contains(":x"), "{error:?}");
    test.finish();
}

#[select(DB, "SELECT count(*) FROM declared_looked_up WHERE mood = :mood AND small = :small")]
fn looked_up(mood: optional::Mood, small: i32) -> Query<i64>;

#[select(DB, "SELECT mood FROM declared_looked_up")]
fn moods() -> Query<Row>;

/// Enums and domains are known by the catalogue only: it is asked once, for all sessions of a pool.
#[test]
fn types_of_the_database_are_looked_up_once_for_a_pool() {
    Client::connect(&server().url())
        .expect("up")
        .query(
            "CREATE TYPE declared_mood3 AS ENUM ('happy', 'sad'); CREATE DOMAIN declared_small AS int4;
             CREATE TABLE declared_looked_up (mood declared_mood3, small declared_small);
             INSERT INTO declared_looked_up VALUES ('happy', 1)",
        )
        .expect("made");
    let proxy = Proxy::start(&server().url());
    let test = TestPool::at(&proxy.url(), 2);
    let leases = [test.pool.connection().expect("lent"), test.pool.connection().expect("lent")];
    let trips = |lease: &maypole::Lease| {
        let before = round_trips(&proxy);
        let found = looked_up(optional::Mood("happy"), 1).on(lease).value();
        assert_eq!(found.expect("found"), 1);
        round_trips(&proxy) - before
    };
    // Parsed; its type and the labels, each prepared and asked; run.
    assert_eq!(trips(&leases[0]), 6);
    assert_eq!(trips(&leases[0]), 1);
    assert_eq!(trips(&leases[1]), 1, "another session");
    let before = round_trips(&proxy);
    for lease in &leases {
        assert_eq!(moods().on(lease).unique().expect("a row").to_string(), "{\"mood\": \"happy\"}");
    }
    assert_eq!(round_trips(&proxy) - before, 2, "a column of a type that is known costs nothing");
    drop(leases);
    test.finish();
}

#[select(DB, "SELECT 1 WHERE (:first, :second) IS NULL")]
fn undetermined(first: i32, second: &str) -> Query<i32>;

#[test]
fn a_parameter_whose_type_nothing_tells_is_an_error_that_suggests_a_cast() {
    let test = TestPool::new(1);
    let ad_hoc = test.db.query("SELECT 1 WHERE $1 IS NULL", (1,)).rows::<i32>().expect_err("of which type?");
    assert_eq!(ad_hoc.sqlstate(), Some("42P18"));
    assert!(ad_hoc.to_string().contains("= help: ") && ad_hoc.to_string().contains("$1::text"), "{ad_hoc}");
    let declared = undetermined(1, "a").on(&test.db).rows().expect_err("of which type?");
    assert_eq!(declared.sqlstate(), Some("42P18"));
    assert!(declared.to_string().contains(":second::text"), "{declared}");
    test.finish();
}

#[test]
fn ad_hoc_parameters_by_name_and_by_number_do_not_mix() {
    let test = TestPool::new(1);
    let error = |error: maypole::Error| {
        assert!(error.outcome() == Outcome::NotSent || error.sqlstate().is_some(), "{error:?}");
        error.to_string()
    };
    let ask = |sql: &str| test.db.query(sql, maypole::params! { id: 1 }).value::<i32>().map_err(error);
    assert_eq!(ask("SELECT :id::int4"), Ok(1));
    assert!(ask("SELECT :id::int4 + $1").expect_err("mixed").contains("do not mix"));
    assert!(ask("SELECT :ids::int4").expect_err("unknown").contains("did you mean :id?"));
    assert!(ask("SELECT 1").expect_err("unused").contains("not used"));
    let tuple = test.db.query("SELECT :id::int4", (1,)).value::<i32>().map_err(error).expect_err("a tuple");
    assert!(tuple.contains("params! { name: value }"), "{tuple}");
    let place =
        test.db.query("SELECT :id::int4, 'ä', nmae", maypole::params! { id: 1 }).rows::<Row>().map_err(error);
    let place = place.expect_err("no such column");
    assert!(place.contains("   | SELECT :id::int4, 'ä', nmae\n   |                        ^^^^"), "{place}");
    test.finish();
}

/// The same rules as for declared queries.
#[test]
fn a_filter_by_name_that_may_be_null_works_ad_hoc() {
    let test = TestPool::new(1);
    let sql = "SELECT count(*) FROM (VALUES ('a', 1), ('b', 2)) AS t(name, n) WHERE (:m IS NULL OR name = :m) AND n < :n";
    let count = |m: Option<&str>, n: i32| {
        test.db.query(sql, maypole::params! { n, m }).value::<i64>().expect("counted")
    };
    for _ in 0..2 {
        assert_eq!((count(None, 9), count(Some("a"), 9), count(Some("a"), 0)), (2, 1, 0));
    }
    let wrong =
        test.db.query("SELECT :n::int4 WHERE :m IS NULL", maypole::params! { m: None::<i32>, n: "one" });
    let wrong = wrong.value::<i32>().expect_err("no number");
    assert!(wrong.to_string().contains("parameter :n does not convert"), "{wrong}");
    test.finish();
}

#[select(DB, "SELECT now() - INTERVAL :x")]
fn interval(x: &str) -> Query<Row>;

#[test]
fn a_parameter_where_the_grammar_wants_something_else_is_named_and_explained() {
    let test = TestPool::new(1);
    let error = interval("1 day").on(&test.db).rows().expect_err("a syntax error");
    assert_eq!(error.sqlstate(), Some("42601"));
    assert!(error.to_string().contains("= help: $1 is :x: a parameter is a value"), "{error}");
    assert!(
        error.to_string().contains("   | SELECT now() - INTERVAL :x\n   |                         ^^"),
        "{error}"
    );
    test.finish();
}

#[query(DB, "INSERT INTO declared_each (n) SELECT generate_series(1, 3) RETURNING n")]
fn insert_three() -> Query<i32>;

/// What the program does with a row is its own affair; the statement is not undone by it.
#[test]
fn an_error_of_the_function_for_each_row_says_nothing_of_the_statement() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE declared_each (n int4)").expect("made");
    let stop = |_| Err(maypole::Error::user("stop"));
    let error = insert_three().on(&test.db).each(stop).expect_err("stopped");
    assert_eq!(error.outcome(), Outcome::Unknown);
    let error = test.db.transaction(|q| insert_three().on(q).each(stop)).expect_err("stopped");
    assert_eq!(error.outcome(), Outcome::RolledBack, "now it is known");
    assert_eq!(test.db.query("SELECT count(*) FROM declared_each", ()).value::<i64>().expect("counted"), 3);
    test.finish();
}

#[query(DB, "LISTEN declared_news")]
fn listen() -> Query;

#[query(DB, "CREATE TEMPORARY TABLE declared_scratch AS SELECT :n::int4 AS n")]
fn make_scratch(n: i32) -> Query;

#[test]
fn what_needs_a_session_is_refused_without_one() {
    let test = TestPool::new(1);
    for (error, what) in [
        (listen().on(&test.db).run().expect_err("lent for one query"), "LISTEN"),
        (make_scratch(1).on(&test.pool).run().expect_err("lent for one query"), "CREATE TEMP"),
    ] {
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.to_string().contains(what) && error.to_string().contains(".on(&conn)"), "{error}");
    }
    let ad_hoc = [
        ("SET search_path = nowhere", ".on(&conn)"),
        ("SELECT pg_advisory_lock(1)", ".on(&conn)"),
        ("SET LOCAL statement_timeout = 0", ".on(&tx)"),
    ];
    for (sql, where_) in ad_hoc {
        let error = test.db.query(sql, ()).run().expect_err(sql);
        assert!(error.to_string().contains(where_), "{error}");
        let streamed = test.db.query(sql, ()).iter::<Row>().next().expect("an item").expect_err(sql);
        assert!(streamed.to_string().contains(where_), "{streamed}");
    }
    assert_eq!(test.pool.stats().opened, 0, "nothing was asked of the server");
    let lease = test.pool.connection().expect("lent");
    listen().on(&lease).run().expect("listens");
    lease.script("UNLISTEN *").expect("listens no more");
    drop(lease);
    test.finish();
}

mod misspelt {
    use super::*;

    #[select(DB, "SELECT id, nmae FROM pg_class_ü WHERE id = :id")]
    pub(super) fn no_table(id: i32) -> Query<Row>;

    #[select(
        DB,
        r#"
        SELECT :größe::int4 AS größe,
               'äöü' AS text, oid, relnmae
          FROM pg_class
        "#
    )]
    pub(super) fn no_column(größe: i32) -> Query<Row>;

    #[select(DB, file = "tests/sql/misspelt.sql")]
    pub(super) fn in_a_file(id: i32) -> Query<Row>;
}

#[test]
fn an_error_shows_the_name_the_file_the_line_and_the_place_in_the_sql_as_it_was_written() {
    let test = TestPool::new(1);
    let no_table = misspelt::no_table(7).on(&test.db).rows().expect_err("no table").to_string();
    let line = misspelt::no_table::LINE;
    assert_eq!(
        no_table,
        format!(
            "query no_table failed: relation \"pg_class_ü\" does not exist [42P01 undefined_table]\n  \
             --> tests/it/declared.rs:{line}\n   \
             | SELECT id, nmae FROM pg_class_ü WHERE id = :id\n   \
             |                      ^^^^^^^^^^"
        )
    );
    let no_column = misspelt::no_column(7).on(&test.db).rows().expect_err("no column").to_string();
    let line = misspelt::no_column::LINE + 2;
    assert_eq!(
        no_column,
        format!(
            "query no_column failed: column \"relnmae\" does not exist [42703 undefined_column]\n  \
             --> tests/it/declared.rs:{line}\n   \
             |                'äöü' AS text, oid, relnmae\n   \
             |                                    ^^^^^^^\n   \
             = hint: Perhaps you meant to reference the column \"pg_class.relname\"."
        )
    );
    let in_a_file = misspelt::in_a_file(918_273).on(&test.db).rows().expect_err("no column").to_string();
    assert!(
        in_a_file.contains("  --> tests/sql/misspelt.sql:4:8\n   |    AND nmae = 'ü';\n   |        ^^^^"),
        "{in_a_file}"
    );
    assert!(!in_a_file.contains("918"), "no value of a parameter: {in_a_file}");
    test.finish();
}

/// Scripts have no name, and a place as well.
#[test]
fn a_script_that_fails_shows_its_file_its_line_and_its_column_and_has_done_nothing() {
    let test = TestPool::new(1);
    let error = test.db.script_file("tests/sql/script.sql").expect_err("no such table").to_string();
    assert_eq!(
        error,
        "query failed: relation \"declared_script_of_ü\" does not exist [42P01 undefined_table]\n  \
         --> tests/sql/script.sql:3:26\n   \
         | /* größer */ DELETE FROM declared_script_of_ü;\n   \
         |                          ^^^^^^^^^^^^^^^^^^^^"
    );
    let missing = test.db.script_file("tests/sql/there_is_none.sql").expect_err("no such file");
    assert!(missing.to_string().contains("tests/sql/there_is_none.sql can't be read"), "{missing}");
    let exists: bool =
        test.db.query("SELECT to_regclass('declared_script') IS NOT NULL", ()).value().expect("an answer");
    assert!(!exists, "atomically");
    let inline = test.db.script("SELECT 1;\nSELECT nmae").expect_err("no such column").to_string();
    assert!(
        inline.contains("--> tests/it/declared.rs:") && inline.ends_with("| SELECT nmae\n   |        ^^^^"),
        "{inline}"
    );
    test.finish();
}

#[select(DB, "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND :n > 0")]
fn what_the_server_sees(n: i32) -> Query<String>;

#[test]
fn the_server_sees_the_name_of_the_query() {
    let test = TestPool::new(1);
    let seen = what_the_server_sees(1).on(&test.db).value().expect("a row");
    assert!(seen.starts_with("/* what_the_server_sees */ SELECT query"), "{seen}");
    test.finish();
}

#[select(DB, "SELECT relacl, relname FROM pg_class WHERE relname = 'declared_granted'")]
fn acl() -> Query<(Option<String>, String)>;

/// Types without a binary form: aclitem is the built-in one, and this one's array is what pg_class has.
#[test]
fn a_type_without_a_binary_form_comes_as_text() {
    let test = TestPool::new(2);
    test.db
        .script("CREATE TABLE declared_granted (n int4); GRANT SELECT ON declared_granted TO public")
        .expect("made");
    for _ in 0..2 {
        let (acl, name) = acl().on(&test.db).unique().expect("a row");
        assert_eq!(name, "declared_granted");
        assert!(acl.expect("granted").contains("=r/"));
        let row: Row = test
            .db
            .query("SELECT relacl, oid FROM pg_class WHERE relname = $1", ("declared_granted",))
            .unique()
            .expect("a row");
        assert!(row.get::<&str>("relacl").expect("text").contains("=r/"));
    }
    let lease = test.pool.connection().expect("lent");
    lease.transaction(|q| acl().on(q).unique().map(drop)).expect("known by now");
    drop(lease);
    test.finish();
}

#[select(DB, exclusive, "SELECT * FROM tenants ORDER BY 1")]
fn tenants() -> Query<Row>;

#[query(DB, "INSERT INTO tenants (id) VALUES (:id) RETURNING *")]
fn insert_tenant(id: i32) -> Query<Row>;

/// Sessions with a search_path of their own: the same text is another statement there, and its rows are read as what they
/// are.
#[test]
fn sessions_that_see_other_tables_get_their_own_answers() {
    let test = TestPool::new(2);
    test.db
        .script(
            "CREATE SCHEMA tenant_a; CREATE TABLE tenant_a.tenants (id int4, name text);
             CREATE TYPE tenant_a.mood AS ENUM ('happy');
             INSERT INTO tenant_a.tenants VALUES (1, 'one');
             CREATE SCHEMA tenant_b; CREATE TYPE tenant_b.mood AS ENUM ('sad');
             CREATE TABLE tenant_b.tenants (id int4, name tenant_b.mood, more float8);
             INSERT INTO tenant_b.tenants VALUES (2, 'sad', 0.5)",
        )
        .expect("made");
    let a = test.pool.connection().expect("lent");
    let b = test.pool.connection().expect("lent");
    a.script("SET search_path = tenant_a").expect("set");
    b.script("SET search_path = tenant_b").expect("set");
    let show = |rows: Vec<Row>| rows.iter().map(Row::to_string).collect::<Vec<_>>().join(" ");
    for round in 0..3 {
        assert_eq!(show(tenants().on(&a).rows().expect("rows")), "{\"id\": 1, \"name\": \"one\"}", "{round}");
        assert_eq!(
            show(tenants().on(&b).rows().expect("rows")),
            "{\"id\": 2, \"name\": \"sad\", \"more\": 0.5}",
            "{round}"
        );
        let streamed: Result<Vec<Row>> = tenants().on(&b).iter().collect();
        assert_eq!(streamed.expect("rows").len(), 1);
    }
    assert_eq!(insert_tenant(3).on(&a).unique().expect("inserted").len(), 2);
    assert_eq!(insert_tenant(3).on(&b).unique().expect("inserted").len(), 3);
    let streamed: Result<Vec<Row>> = insert_tenant(4).on(&b).iter().collect();
    assert_eq!(streamed.expect("inserted")[0].len(), 3);
    // They go back as they are; whoever comes next through the pool gets either, read rightly.
    drop((a, b));
    for _ in 0..6 {
        let rows = tenants().on(&test.db).rows().expect("rows");
        assert_eq!(rows[0].get::<i32>("id").expect("an id"), if rows[0].len() == 2 { 1 } else { 2 });
    }
    test.finish();
}

#[select(DB, "SELECT * FROM streamed_tenants")]
fn streamed_tenants() -> Query<Row>;

/// A stream has no Sync behind which types could be asked for: neither the first of all, nor the first of a session that sees
/// another table.
#[test]
fn a_stream_of_types_that_nobody_knows_yet_is_read_rightly() {
    let test = TestPool::new(2);
    for (schema, label) in [("streamed_a", "happy"), ("streamed_b", "sad")] {
        let script = "CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('l');
             CREATE TABLE s.streamed_tenants AS SELECT 'l'::s.mood AS mood FROM generate_series(1, 600)";
        test.db
            .script(
                &script
                    .replace("s.", &format!("{schema}."))
                    .replace("SCHEMA s", &format!("SCHEMA {schema}"))
                    .replace("'l'", &format!("'{label}'")),
            )
            .expect("made");
    }
    let leases: Vec<_> = ["streamed_a", "streamed_b"]
        .into_iter()
        .map(|schema| {
            let lease = test.pool.connection().expect("lent");
            lease.script(&format!("SET search_path = {schema}")).expect("set");
            lease
        })
        .collect();
    for round in 0..2 {
        for (lease, label) in leases.iter().zip(["happy", "sad"]) {
            let rows: Result<Vec<Row>> = streamed_tenants().on(lease).iter().collect();
            let rows = rows.expect("a stream");
            assert_eq!(rows.len(), 600, "{round}");
            assert_eq!(rows[0].to_string(), format!("{{\"mood\": \"{label}\"}}"));
        }
    }
    drop(leases);
    test.finish();
}

#[select(DB, "SELECT n FROM declared_migrated WHERE n = :n")]
fn migrated(n: i64) -> Query<i64>;

#[select(DB, "SELECT * FROM declared_migrated WHERE kind = :kind")]
fn by_kind(kind: &str) -> Query<Row>;

/// A schema may change while a program runs.
#[test]
fn a_query_follows_its_table_through_migrations() {
    let test = TestPool::new(2);
    let elsewhere =
        |sql: &str| Client::connect(&server().url()).expect("up").query(sql).map(drop).expect("changed");
    elsewhere(
        "CREATE TABLE declared_migrated (n int4, kind text); INSERT INTO declared_migrated VALUES (1, 'a')",
    );
    for _ in 0..3 {
        let error = migrated(1).on(&test.db).value().expect_err("int4 is not i64");
        assert!(error.to_string().contains("is int4"), "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent, "the server is asked about a select before it runs");
    }
    assert_eq!(by_kind("a").on(&test.db).rows().expect("rows").len(), 1);
    elsewhere("ALTER TABLE declared_migrated ALTER COLUMN n TYPE int8");
    assert_eq!(migrated(1).on(&test.db).value().expect("int8 by now"), 1);
    elsewhere(
        "CREATE TYPE declared_kind AS ENUM ('a', 'b');
         ALTER TABLE declared_migrated ALTER COLUMN kind TYPE declared_kind USING kind::declared_kind",
    );
    // Also where a session meets it only now.
    let held = test.pool.connection().expect("lent");
    assert_eq!(by_kind("a").on(&test.db).rows().expect("an enum by now").len(), 1);
    drop(held);
    for _ in 0..3 {
        assert_eq!(by_kind("a").on(&test.db).rows().expect("an enum by now").len(), 1);
    }
    elsewhere("ALTER TABLE declared_migrated ADD COLUMN more int4");
    for _ in 0..3 {
        assert_eq!(by_kind("a").on(&test.db).rows().expect("a column more")[0].len(), 3);
    }
    test.finish();
}

/// What cargo looks at to see whether the program is to be compiled again.
#[test]
fn the_file_of_a_query_belongs_to_the_program_that_declares_it() {
    let program = std::env::current_exe().expect("this program");
    let dependencies = std::fs::read_to_string(program.with_extension("d")).expect("written by the compiler");
    assert!(dependencies.contains("tests/sql/misspelt.sql"), "{dependencies}");
}

#[select(DB, "SELECT 'a' AS kind UNION ALL SELECT nullif(:text, 'none')")]
fn never_none(text: &str) -> Query<String>;

#[test]
fn a_null_where_there_is_no_room_for_it_is_told_with_the_query_the_row_and_the_column() {
    let test = TestPool::new(1);
    let error = never_none("none").on(&test.db).rows().expect_err("NULL is no String").to_string();
    assert!(error.starts_with("query never_none failed: row 2: column \"kind\""), "{error}");
    assert!(error.contains("NULL") && error.contains("Option"), "{error}");
    assert_eq!(never_none("b").on(&test.db).rows().expect("texts"), ["a", "b"]);
    test.finish();
}
