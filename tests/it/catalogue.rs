//! Types that the database defines: looked up in its catalogue, once for all sessions of a pool.

use std::error::Error;

use maypole::types::{FromSql, Kind, ToSql, Type, accepts, to_sql_checked};
use maypole::{Result, Row, Scalar};

use crate::support::pool::TestPool;

/// The type of the one column of a query.
fn type_of(test: &TestPool, sql: &str) -> Type {
    let row: Row = test.db.query(sql, ()).unique().expect("a row");
    row.columns().get(0).expect("a column").type_().clone()
}

/// A value of an enum by its label, whatever the enum.
#[derive(Clone, Debug, PartialEq)]
struct Label(String);

impl<'a> FromSql<'a> for Label {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Label, Box<dyn Error + Sync + Send>> {
        Ok(Label(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(type_: &Type) -> bool {
        matches!(type_.kind(), Kind::Enum(_))
    }
}

impl Scalar for Label {}

impl ToSql for Label {
    fn to_sql(
        &self,
        type_: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<maypole::types::IsNull, Box<dyn Error + Sync + Send>> {
        let Kind::Enum(labels) = type_.kind() else { return Err("not an enum".into()) };
        if !labels.contains(&self.0) {
            return Err("the enum has no such label".into());
        }
        out.extend_from_slice(self.0.as_bytes());
        Ok(maypole::types::IsNull::No)
    }

    fn accepts(type_: &Type) -> bool {
        matches!(type_.kind(), Kind::Enum(_))
    }

    to_sql_checked!();
}

/// The bytes of a value as they came.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    accepts!(INT4_RANGE);
}

#[test]
fn an_enum_knows_its_labels_in_order() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TYPE mood AS ENUM ('sad', 'ok');
             ALTER TYPE mood ADD VALUE 'merry' AFTER 'sad';
             CREATE TABLE moods (id int4, mood mood)",
        )
        .expect("a type");
    let type_ = type_of(&test, "SELECT 'ok'::mood");
    assert_eq!((type_.name(), type_.schema()), ("mood", "public"));
    assert_eq!(type_.kind(), &Kind::Enum(vec!["sad".into(), "merry".into(), "ok".into()]));
    let merry = Label("merry".into());
    test.db.query("INSERT INTO moods VALUES (1, $1)", (&merry,)).run().expect("inserted");
    assert_eq!(
        test.db.query("SELECT mood FROM moods WHERE mood = $1", (&merry,)).value::<Label>().expect("a mood"),
        merry
    );
    let row: Row = test.db.query("SELECT * FROM moods", ()).unique().expect("a row");
    assert_eq!(row.to_string(), r#"{"id": 1, "mood": "merry"}"#);
    let error = test.db.query("SELECT $1::mood", (Label("cross".into()),)).value::<Label>();
    assert!(error.expect_err("no such label").to_string().contains("parameter $1"));
    let array = test.db.query("SELECT ARRAY['ok', NULL, 'sad']::mood[]", ()).value::<Vec<Option<Label>>>();
    assert_eq!(array.expect("an array"), [Some(Label("ok".into())), None, Some(Label("sad".into()))]);
    test.finish();
}

/// A domain is sent and read as what it is made of.
#[test]
fn a_domain_takes_the_values_of_its_base_type() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
             CREATE DOMAIN small AS positive CHECK (VALUE < 100);
             CREATE TABLE domains (id small)",
        )
        .expect("types");
    let insert = "INSERT INTO domains (id) VALUES ($1)";
    assert_eq!(test.db.query(insert, (7,)).run().expect("a domain over a domain"), 1);
    assert_eq!(
        test.db.query("SELECT id FROM domains WHERE id = $1", (7,)).value::<i32>().expect("a value"),
        7
    );
    assert_eq!(test.db.query("SELECT $1::small", (8,)).value::<i32>().expect("a value"), 8);
    assert_eq!(test.db.query("SELECT $1::small", (None::<i32>,)).value::<Option<i32>>().expect("NULL"), None);
    let error = test.db.query(insert, (0,)).run().expect_err("not positive");
    assert_eq!(error.sqlstate(), Some("23514"), "{error:?}");
    let error = test.db.query(insert, ("seven",)).run().expect_err("a text is no number");
    assert!(error.to_string().contains("parameter $1 does not convert to the type"), "{error}");
    test.finish();
}

#[test]
fn a_composite_knows_its_fields_and_those_theirs() {
    let test = TestPool::new(1);
    test.db
        .script(
            "CREATE TYPE shade AS ENUM ('light', 'dark');
             CREATE TYPE paint AS (name text, shade shade, dropped int4, amounts numeric[]);
             ALTER TYPE paint DROP ATTRIBUTE dropped;
             CREATE TYPE house AS (number int4, paint paint)",
        )
        .expect("types");
    let type_ = type_of(&test, "SELECT ROW(1, ROW('red', 'dark', '{1.5}')::paint)::house");
    let Kind::Composite(fields) = type_.kind() else { panic!("{type_:?}") };
    let names: Vec<_> = fields.iter().map(|field| (field.name(), field.type_().name())).collect();
    assert_eq!(names, [("number", "int4"), ("paint", "paint")]);
    let Kind::Composite(inner) = fields[1].type_().kind() else { panic!("{type_:?}") };
    let names: Vec<_> = inner.iter().map(|field| (field.name(), field.type_().name())).collect();
    assert_eq!(names, [("name", "text"), ("shade", "shade"), ("amounts", "_numeric")]);
    assert_eq!(inner[1].type_().kind(), &Kind::Enum(vec!["light".into(), "dark".into()]));
    let array = type_of(&test, "SELECT ARRAY[]::paint[]");
    let Kind::Array(element) = array.kind() else { panic!("{array:?}") };
    assert_eq!(element.name(), "paint");
    test.finish();
}

#[test]
fn a_range_knows_what_it_ranges_over() {
    let test = TestPool::new(1);
    test.db.script("CREATE TYPE speeds AS RANGE (subtype = float8)").expect("a type");
    let type_ = type_of(&test, "SELECT speeds(1.5, 2.5)");
    assert_eq!(type_.kind(), &Kind::Range(Type::FLOAT8));
    let raw = test.db.query("SELECT int4range(1, 5)", ()).value::<Raw>().expect("a built-in one");
    assert_eq!(raw.0.len(), 1 + 4 + 4 + 4 + 4);
    test.finish();
}

/// A row type of a table, and an unnamed one.
#[test]
fn the_row_of_a_table_is_a_composite() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE composed (id int4, name text)").expect("a table");
    let type_ = type_of(&test, "SELECT ROW(1, 'a')::composed");
    let Kind::Composite(fields) = type_.kind() else { panic!("{type_:?}") };
    assert_eq!(fields.len(), 2);
    assert_eq!(type_of(&test, "SELECT ROW(1, 'a')"), Type::RECORD);
    test.finish();
}

/// Looked up once for all sessions, and also inside a transaction and while others stream.
#[test]
fn a_type_is_looked_up_once_for_all_sessions_of_a_pool() {
    let proxy = crate::support::proxy::Proxy::start(&crate::support::server::server().url());
    let test = TestPool::at(&proxy.url(), 2);
    test.db.script("CREATE TYPE looked_up AS ENUM ('a', 'b')").expect("a type");
    let parses = || proxy.all().count(crate::support::proxy::Frontend, b'P');
    let first = test.pool.connection().expect("lent");
    let second = test.pool.connection().expect("lent");
    let value = first.transaction(|q| q.query("SELECT 'a'::looked_up", ()).value::<Label>());
    assert_eq!(value.expect("a value").0, "a");
    assert_eq!(parses(), 4, "BEGIN, the statement, the type, its labels");
    let stream: Result<Vec<Label>> =
        second.query("SELECT 'b'::looked_up FROM generate_series(1, 5)", ()).chunk(2).iter().collect();
    assert_eq!(stream.expect("rows").len(), 5);
    assert_eq!(parses(), 5, "the statement alone");
    drop((first, second));
    test.finish();
}

/// The statements that mention it are prepared anew.
#[test]
fn a_type_made_anew_is_another_type() {
    let test = TestPool::new(1);
    for labels in ["'a'", "'a', 'b'", "'c'"] {
        test.db.script(&format!("CREATE TYPE anew AS ENUM ({labels})")).expect("a type");
        let Kind::Enum(known) = type_of(&test, "SELECT NULL::anew").kind().clone() else { panic!("an enum") };
        let known: Vec<_> = known.iter().map(|label| format!("'{label}'")).collect();
        assert_eq!(known.join(", "), labels);
        test.db.script("DROP TYPE anew").expect("dropped");
    }
    test.finish();
}
