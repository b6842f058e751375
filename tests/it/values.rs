//! Values on their way to the server: how many, how large, how odd, and as what.

use std::borrow::Cow;

use maypole::{Connection, Database, Outcome, Query, Result, Row, params, query, select};

use crate::support::pool::TestPool;
use crate::support::server::server;

/// Never opened: every call says where it runs.
static DB: Database = Database::named("values");

/// As many parameters as the protocol has room for, and one more.
struct Many(usize);

impl maypole::Params for Many {
    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, _: usize) -> &(dyn maypole::ToSql + Sync) {
        &1i32
    }
}

#[test]
fn a_statement_may_have_65_535_parameters_and_not_one_more() {
    let test = TestPool::new(2);
    let text = |count: usize| {
        let all: Vec<_> = (1..=count).map(|number| format!("${number}::int4")).collect();
        format!("SELECT cardinality(ARRAY[{}])", all.join(","))
    };
    for count in [32_767, 32_768, 65_535] {
        let text = text(count);
        // Known to the pool, and then met by another session.
        let first = test.pool.connection().expect("lent");
        let second = test.pool.connection().expect("lent");
        for connection in [&first, &second, &first, &second] {
            let answer = connection.query(&text, Many(count)).value::<i32>();
            assert_eq!(answer.expect("an answer"), i32::try_from(count).expect("small"));
        }
        drop((first, second));
        let answer = test.db.query(&text, Many(count)).value::<i32>();
        assert_eq!(answer.expect("an answer"), i32::try_from(count).expect("small"));
    }
    let error = test.db.query(&text(65_536), Many(65_536)).value::<i32>().expect_err("one too many");
    assert!(error.to_string().contains("65536 parameters are more than"), "{error:.300}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(test.pool.stats().closed, 0, "no connection is lost by it");
    test.finish();
}

macro_rules! echoes {
    ($($name:ident($type:ty): $sql:literal;)*) => {
        $(
            #[select(DB, $sql)]
            fn $name<'q>(x: $type) -> Query<'q, Option<String>>;
        )*
    };
}

echoes! {
    text_of_text(&'q str): "SELECT :x::text";
    text_of_str_ref(&'q &'q str): "SELECT :x::text";
    text_of_cow(Cow<'q, str>): "SELECT :x::text";
    text_of_box(Box<str>): "SELECT :x::text";
    text_of_option(Option<Option<&'q str>>): "SELECT :x::text";
    text_of_name(&'q str): "SELECT (:x::name)::text";
    text_of_char(i8): "SELECT (:x::\"char\")::text";
    text_of_bpchar(&'q str): "SELECT (:x::char(4))::text";
    text_of_inet(&'q str): "SELECT (:x::inet)::text";
    text_of_numeric(&'q str): "SELECT (:x::numeric)::text";
    text_of_interval(&'q str): "SELECT (:x::interval)::text";
    text_of_citext(&'q str): "SELECT (:x::values_mood_domain)::text";
    text_of_json(&'q str): "SELECT (:x::jsonb ->> 0)";
    text_of_bytes(&'q [u8]): "SELECT encode(:x, 'hex')";
    text_of_byte_vec(Vec<u8>): "SELECT encode(:x, 'hex')";
    text_of_texts(&'q [&'q str]): "SELECT (:x::text[])::text";
    text_of_optional_texts(Vec<Option<String>>): "SELECT to_json(:x::text[])::text";
    text_of_moods(&'q [&'q str]): "SELECT (:x::values_mood[])::text";
    text_of_mood_domains(&'q [&'q str]): "SELECT (:x::values_mood_domain[])::text";
    text_of_jsons(&'q [&'q str]): "SELECT (:x::json[])[1]::text";
    text_of_uuids(&'q [String]): "SELECT (:x::uuid[])::text";
    text_of_ints(&'q [i32]): "SELECT (:x::int4[])::text";
    text_of_optional_ints(Vec<Option<i64>>): "SELECT (:x::int8[])::text";
    text_of_bools(Option<Vec<bool>>): "SELECT (:x::bool[])::text";
    text_of_blobs(Vec<Vec<u8>>): "SELECT (:x::bytea[])::text";
}

const ODD: &[&str] = &[
    "",
    " ",
    "NULL",
    "null",
    "{",
    "}",
    "{}",
    "{a,b}",
    "\"",
    "\\",
    "\\\\",
    "\\\"",
    "a,b",
    "ä\u{1F600}\u{301}",
    "\n\t\r",
    "'",
    "''",
    "$1",
    ":x",
    "--",
    "/*",
    "\u{feff}",
    "\u{7f}\u{1}",
];

#[test]
fn odd_texts_arrive_as_they_are() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TYPE values_mood AS ENUM ('', 'happy', 'NULL', 'a,b', 'q\"u', 'b\\s', '{}', 'ü');
             CREATE DOMAIN values_mood_domain AS values_mood CHECK (VALUE <> 'happy')",
        )
        .expect("made");
    let db = &test.db;
    let value = |query: Query<'_, Option<String>>| query.on(db).value().expect("an answer");
    for odd in ODD {
        assert_eq!(value(text_of_text(odd)).as_deref(), Some(*odd));
        assert_eq!(value(text_of_str_ref(odd)).as_deref(), Some(*odd));
        assert_eq!(value(text_of_cow(Cow::Borrowed(odd))).as_deref(), Some(*odd));
        assert_eq!(value(text_of_box((*odd).into())).as_deref(), Some(*odd));
        assert_eq!(value(text_of_option(Some(Some(odd)))).as_deref(), Some(*odd));
        assert_eq!(value(text_of_bytes(odd.as_bytes())).map(|hex| hex.len()), Some(2 * odd.len()));
        let ad_hoc: String = db.query("SELECT $1::text", (odd,)).value().expect("an answer");
        assert_eq!(ad_hoc, *odd);
        let named: String = db.query("SELECT :x || :x", params! { x: odd }).value().expect("an answer");
        assert_eq!(named, odd.repeat(2));
    }
    assert_eq!(value(text_of_option(Some(None))), None);
    assert_eq!(value(text_of_option(None)), None);
    // All of them in one list, with a NULL between.
    let list: Vec<Option<String>> =
        ODD.iter().map(|odd| Some((*odd).to_owned())).chain([None, Some("last".into())]).collect();
    let told = value(text_of_optional_texts(list.clone())).expect("a list");
    assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&told).expect("JSON"), list);
    let ad_hoc: Vec<Option<String>> = db.query("SELECT $1::text[]", (&list,)).value().expect("a list");
    assert_eq!(ad_hoc, list);
    let moods = ["", "NULL", "a,b", "q\"u", "b\\s", "{}", "ü"];
    let shown = value(text_of_moods(&moods)).expect("moods");
    assert_eq!(shown, r#"{"","NULL","a,b","q\"u","b\\s","{}",ü}"#);
    assert_eq!(value(text_of_mood_domains(&moods)).expect("moods"), shown);
    let ad_hoc: String =
        db.query("SELECT $1::values_mood[]::text", (moods.as_slice(),)).value().expect("moods");
    assert_eq!(ad_hoc, shown);
    let ad_hoc: String =
        db.query("SELECT $1::values_mood_domain[]::text", (moods.as_slice(),)).value().expect("moods");
    assert_eq!(ad_hoc, shown);
    let error = text_of_mood_domains(&["happy"]).on(db).value().expect_err("the domain's check");
    assert_eq!(error.sqlstate(), Some("23514"));
    assert_eq!(value(text_of_texts(&[])).as_deref(), Some("{}"));
    assert_eq!(value(text_of_moods(&[])).as_deref(), Some("{}"));
    assert_eq!(value(text_of_uuids(&[])).as_deref(), Some("{}"));
    assert_eq!(value(text_of_ints(&[])).as_deref(), Some("{}"));
    assert_eq!(value(text_of_optional_ints(vec![None, Some(-1)])).as_deref(), Some("{NULL,-1}"));
    assert_eq!(value(text_of_bools(None)), None);
    assert_eq!(value(text_of_bools(Some(vec![true]))).as_deref(), Some("{t}"));
    assert_eq!(value(text_of_blobs(vec![vec![], vec![0, 255]])).as_deref(), Some(r#"{"\\x","\\x00ff"}"#));
    assert_eq!(value(text_of_byte_vec(vec![0, 1])).as_deref(), Some("0001"));
    assert_eq!(value(text_of_jsons(&["{\"a\": [1, \"\\\"\"]}"])).as_deref(), Some("{\"a\": [1, \"\\\"\"]}"));
    assert_eq!(value(text_of_json("[\"ä\"]")).as_deref(), Some("ä"));
    assert_eq!(value(text_of_name("n")).as_deref(), Some("n"));
    assert_eq!(value(text_of_char(65)).as_deref(), Some("A"));
    assert_eq!(value(text_of_bpchar("ab")).as_deref(), Some("ab"));
    assert_eq!(value(text_of_inet("10.0.0.0/8")).as_deref(), Some("10.0.0.0/8"));
    assert_eq!(value(text_of_numeric("-1.50")).as_deref(), Some("-1.50"));
    assert_eq!(value(text_of_interval("1 day")).as_deref(), Some("1 day"));
    assert_eq!(value(text_of_citext("ü")).as_deref(), Some("ü"));
    for zero in ["\0", "a\0b"] {
        let error = text_of_text(zero).on(db).value().expect_err("no NUL in a text");
        assert_eq!(error.sqlstate(), Some("22021"));
        let error = text_of_texts(&[zero]).on(db).value().expect_err("no NUL in a text");
        assert_eq!(error.sqlstate(), Some("22021"));
        let error = db.query("SELECT $1::values_mood::text", (zero,)).value::<String>().expect_err("no NUL");
        assert_eq!(error.sqlstate(), Some("22021"));
    }
    test.finish();
}

mod tests_of_null {
    use super::*;

    macro_rules! tests_of_null {
        ($($name:ident: $type:ty;)*) => {
            $(
                #[select(DB, "SELECT (:x IS NULL)::text || (:x IS NOT NULL)::text || (:y IS NULL)::text")]
                pub(super) fn $name<'q>(x: Option<$type>, y: Option<$type>) -> Query<'q, String>;
            )*
        };
    }

    tests_of_null! {
        int: i32; big: i64; short: i16; byte: i8; oid: u32; float: f32; double: f64; truth: bool; text: &'q str;
        string: String; cow: Cow<'q, str>; bytes: &'q [u8]; vec: Vec<u8>; texts: &'q [&'q str]; ints: Vec<i32>;
        nested: Option<i32>; optional: Vec<Option<String>>;
    }
}

#[test]
fn whether_it_is_null_can_be_asked_of_every_kind() {
    let test = TestPool::new(1);
    macro_rules! check {
        ($($name:ident: $value:expr),* $(,)?) => { $(
            let told = tests_of_null::$name(None, Some($value)).on(&test.db).value().expect(stringify!($name));
            assert_eq!(told, "truefalsefalse", stringify!($name));
            let told = tests_of_null::$name(Some($value), None).on(&test.db).value().expect(stringify!($name));
            assert_eq!(told, "falsetruetrue", stringify!($name));
        )* };
    }
    check! {
        int: 0, big: 0, short: 0, byte: 0, oid: 0, float: 0.0, double: 0.0, truth: false, text: "", string: String::new(),
        cow: Cow::Borrowed("\0"), bytes: &[], vec: vec![], texts: &[], ints: vec![], nested: Some(0), optional: vec![None],
    }
    assert_eq!(tests_of_null::nested(Some(None), None).on(&test.db).value().expect("two"), "truefalsetrue");
    test.finish();
}

#[test]
fn named_values_of_an_ad_hoc_query_work_with_every_terminal() {
    let test = TestPool::new(1);
    let db = &test.db;
    let r#type = 3;
    let sql = "SELECT :type::int4 + :type AS a, ':type' AS b /* :nothing */ WHERE :type > 0";
    let expected = (6, ":type".to_owned());
    assert_eq!(db.query(sql, params! { r#type }).unique::<(i32, String)>().expect("a row"), expected);
    assert_eq!(
        db.query(sql, params! { r#type: 3 }).optional::<(i32, String)>().expect("a row"),
        Some(expected.clone())
    );
    assert_eq!(
        db.query(sql, params! { r#type, }).first::<(i32, String)>().expect("a row"),
        Some(expected.clone())
    );
    assert_eq!(
        db.query(sql, params! { r#type: r#type, }).rows::<(i32, String)>().expect("a row"),
        std::slice::from_ref(&expected)
    );
    let stream: Result<Vec<(i32, String)>> = db.query(sql, params! { r#type }).chunk(1).iter().collect();
    assert_eq!(stream.expect("a row"), std::slice::from_ref(&expected));
    db.query(sql, params! { r#type })
        .each(|row: (i32, String)| {
            assert_eq!(row, expected);
            Ok(())
        })
        .expect("a row");
    for row in db.query(sql, params! { r#type }) {
        assert_eq!(row.expect("a row").get::<i32>("a").expect("a"), 6);
    }
    assert_eq!(db.query("SELECT :größe::int4", params! { größe: 2 }).value::<i32>().expect("a value"), 2);
    assert_eq!(
        db.query("SELECT generate_series(1, :n)", params! { n: 2 }).flat::<i32>().expect("values"),
        [1, 2]
    );
    assert_eq!(
        db.query("DELETE FROM pg_class WHERE false AND oid = :oid", params! { oid: 1u32 })
            .run()
            .expect("none"),
        0
    );
    assert_eq!(db.query("SELECT 1", params! {}).value::<i32>().expect("a value"), 1);
    test.db
        .transaction(|q| {
            let rows: Result<Vec<(i32, String)>> = q.query(sql, params! { r#type }).chunk(1).iter().collect();
            assert_eq!(rows?, std::slice::from_ref(&expected));
            Ok(())
        })
        .expect("committed");
    for sql in ["SELECT 'ä😀', :n::int4, nmae", "SELECT 'ä😀', :n::int4 + :n, :n, nmae, 'ü'"] {
        let at = sql.chars().position(|c| c == 'm').expect("there") - 1;
        let error = db.query(sql, params! { n: 1 }).rows::<Row>().expect_err("no column").to_string();
        let caret = format!("   | {}^^^^", " ".repeat(at));
        assert!(error.lines().any(|line| line == caret), "{error}");
        let error =
            db.query(sql, params! { n: 1 }).iter::<Row>().next().expect("an item").expect_err("no column");
        assert!(error.to_string().lines().any(|line| line == caret), "{error}");
    }
    test.finish();
}

#[query(DB, "INSERT INTO values_inserted (n) VALUES (:n)")]
fn insert(n: i32) -> Query;

#[select(DB, "SELECT n FROM values_inserted WHERE n >= :n ORDER BY n")]
fn inserted(n: i32) -> Query<i32>;

#[select(DB, "SELECT count(*) FROM values_inserted WHERE :n IS NOT NULL")]
fn counted(n: i32) -> Query<i64>;

/// Declared and ad hoc, streams and savepoints, with room for few statements.
#[test]
fn few_statements_are_enough_for_everything() {
    let setup = TestPool::new(1);
    setup.db.script("CREATE TABLE values_inserted (n int4)").expect("made");
    for capacity in [0, 1, 2] {
        setup.db.script("TRUNCATE values_inserted").expect("emptied");
        let test = TestPool::configured(
            &server().url(),
            |config| config.statement_cache_capacity(capacity),
            |builder| builder.limit(1),
        );
        for number in 0..10 {
            insert(number).on(&test.db).run().expect("inserted");
        }
        let lease = test.pool.connection().expect("lent");
        let known = |connection: &Connection| -> i64 {
            connection.query("SELECT count(*) FROM pg_prepared_statements", ()).value().expect("a count")
        };
        for round in 0..3 {
            lease
                .transaction(|q| {
                    let mut streams: Vec<_> = (0..3).map(|at| inserted(at).on(q).chunk(1).iter()).collect();
                    let mut ad_hoc =
                        q.query("SELECT n FROM values_inserted ORDER BY n", ()).chunk(2).iter::<i32>();
                    for step in 0..7 {
                        q.script("SAVEPOINT one")?;
                        for (at, stream) in (0..).zip(&mut streams) {
                            assert_eq!(stream.next().expect("a row")?, step + at);
                        }
                        let text = format!("SELECT {step} + $1::int4");
                        assert_eq!(q.query(&text, (1,)).value::<i32>()?, step + 1);
                        assert_eq!(counted(1).on(q).value()?, 10);
                        insert(100).on(q).run()?;
                        assert_eq!(ad_hoc.next().expect("a row")?, step);
                        q.script("ROLLBACK TO one")?;
                    }
                    Ok(())
                })
                .expect("committed");
            assert!(
                known(&lease) <= i64::try_from(capacity.max(1)).expect("small"),
                "capacity {capacity}, round {round}: {}",
                known(&lease)
            );
        }
        let streamed: Result<Vec<i32>> = inserted(0).on(&lease).chunk(3).iter().collect();
        assert_eq!(streamed.expect("rows").len(), 10);
        drop(lease);
        for _ in 0..3 {
            assert_eq!(inserted(7).on(&test.db).flat().expect("rows"), [7, 8, 9]);
            assert_eq!(counted(1).on(&test.db).value().expect("a count"), 10);
        }
        test.finish();
    }
    setup.finish();
}
