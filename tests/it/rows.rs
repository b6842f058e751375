//! What rows of a real server become: nested structs, types of the program's own, JSON, types of serde.

use std::collections::HashMap;

use maypole::{FromRow, FromSql, Row, Serde, ToSql, types};

use crate::support::pool::TestPool;

#[derive(Debug, FromSql, ToSql, PartialEq, Clone, Copy, serde::Deserialize)]
#[postgres(name = "mood", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum Mood {
    Glad,
    Sad,
}

#[derive(Debug, FromSql, ToSql, PartialEq)]
#[postgres(name = "place")]
struct Place {
    street: String,
    number: Option<i32>,
    mood: Mood,
}

#[derive(Debug, FromSql, ToSql, PartialEq)]
#[postgres(name = "email")]
struct Email(String);

/// A range of `int4` with both bounds, as the server sends it: lower in, upper out.
#[derive(Debug, PartialEq)]
struct Span(i32, i32);

impl<'a> FromSql<'a> for Span {
    fn from_sql(_: &types::Type, raw: &'a [u8]) -> Result<Span, Box<dyn std::error::Error + Sync + Send>> {
        // The flags "lower bound inclusive" of src/include/utils/rangetypes.h, then two values with their lengths.
        match raw {
            [2, 0, 0, 0, 4, a, b, c, d, 0, 0, 0, 4, e, f, g, h] => {
                Ok(Span(i32::from_be_bytes([*a, *b, *c, *d]), i32::from_be_bytes([*e, *f, *g, *h])))
            }
            _ => Err("it has no two bounds".into()),
        }
    }

    fn accepts(type_: &types::Type) -> bool {
        *type_ == types::Type::INT4_RANGE
    }
}

const TYPES: &str = "
    CREATE SCHEMA of_rows;
    SET search_path = of_rows;
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TYPE place AS (street text, number int4, mood mood);
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
    CREATE TABLE people (id int4 PRIMARY KEY, name text NOT NULL, mood mood, place place, email email, moods mood[],
        span int4range, doc jsonb, spot json);
    INSERT INTO people VALUES
        (1, 'Ann', 'glad', ('Ring', 1, 'sad'), 'ann@example.org', '{glad,sad}', '[1,5)', '{\"x\": 1, \"y\": [2]}', NULL),
        (2, 'Bob', NULL, NULL, NULL, '{}', NULL, '{\"x\": 2, \"y\": []}', '{\"x\": 3, \"y\": []}');
    CREATE TABLE orders (id int8 PRIMARY KEY, buyer int4, seller int4);
    INSERT INTO orders VALUES (10, 1, 2), (11, 2, NULL), (12, NULL, 1);
";

/// The two statements are one script: what follows finds the types by their schema.
fn prepared(test: &TestPool) {
    test.db.script("DROP SCHEMA IF EXISTS of_rows CASCADE").expect("dropped");
    test.db.script(&format!("{TYPES}; RESET search_path")).expect("created");
}

#[derive(Debug, serde::Deserialize, PartialEq)]
struct Doc {
    x: i32,
    y: Vec<i32>,
}

#[derive(Debug, FromRow, PartialEq)]
struct Person {
    id: i32,
    name: String,
    mood: Option<Mood>,
    place: Option<Place>,
    email: Option<String>,
    moods: Vec<Mood>,
    span: Option<Span>,
    #[maypole(json)]
    doc: Doc,
    #[maypole(json)]
    spot: Option<Doc>,
}

#[derive(Debug, FromRow, PartialEq)]
struct Party {
    id: i32,
    name: String,
}

#[derive(Debug, FromRow, PartialEq)]
struct Deal {
    id: i64,
    #[maypole(flatten = "buyer_")]
    buyer: Option<Party>,
    #[maypole(flatten = "seller_")]
    seller: Option<Party>,
    #[maypole(default)]
    note: String,
}

const DEALS: &str = "
    SELECT o.id, b.id AS buyer_id, b.name AS buyer_name, s.id AS seller_id, s.name AS seller_name
    FROM of_rows.orders o LEFT JOIN of_rows.people b ON b.id = o.buyer LEFT JOIN of_rows.people s ON s.id = o.seller
    ORDER BY o.id";

#[derive(Debug, serde::Deserialize, PartialEq)]
struct Plain {
    id: u8,
    name: String,
    mood: Option<Mood>,
    email: Option<String>,
    moods: Vec<Mood>,
    doc: Doc,
}

#[test]
fn rows_become_what_the_program_has_types_for() {
    let test = TestPool::new(1);
    prepared(&test);
    let db = &test.db;

    let people: Vec<Person> =
        db.query("SELECT * FROM of_rows.people ORDER BY id", ()).rows().expect("people");
    let ann = Person {
        id: 1,
        name: "Ann".into(),
        mood: Some(Mood::Glad),
        place: Some(Place { street: "Ring".into(), number: Some(1), mood: Mood::Sad }),
        email: Some("ann@example.org".into()),
        moods: vec![Mood::Glad, Mood::Sad],
        span: Some(Span(1, 5)),
        doc: Doc { x: 1, y: vec![2] },
        spot: None,
    };
    let bob = Person {
        id: 2,
        name: "Bob".into(),
        mood: None,
        place: None,
        email: None,
        moods: vec![],
        span: None,
        doc: Doc { x: 2, y: vec![] },
        spot: Some(Doc { x: 3, y: vec![] }),
    };
    assert_eq!(people, [ann, bob]);

    // Two composites are compared as records: the cast says which.
    let by_email =
        "SELECT id FROM of_rows.people WHERE email = $1 AND mood = ANY($2) AND place = $3::of_rows.place";
    let place = Place { street: "Ring".into(), number: Some(1), mood: Mood::Sad };
    let found = db.query(by_email, ("ann@example.org", vec![Mood::Glad], &place)).value::<i32>();
    assert_eq!(found.expect("Ann"), 1);
    let address = db.query("SELECT $1::of_rows.email::text", (Email("a@b".into()),)).value::<String>();
    assert_eq!(address.expect("sent as the domain"), "a@b");

    let deals: Vec<Deal> = db.query(DEALS, ()).rows().expect("deals");
    let party = |id, name: &str| Some(Party { id, name: name.into() });
    let deal = |id, buyer, seller| Deal { id, buyer, seller, note: String::new() };
    assert_eq!(
        deals,
        [
            deal(10, party(1, "Ann"), party(2, "Bob")),
            deal(11, party(2, "Bob"), None),
            deal(12, None, party(1, "Ann"))
        ]
    );

    let plain = "SELECT id, name, mood, email, moods, doc, span FROM of_rows.people ORDER BY id";
    let plain: Vec<Serde<Plain>> = db.query(plain, ()).rows().expect("serde's");
    let bob = Plain {
        id: 2,
        name: "Bob".into(),
        mood: None,
        email: None,
        moods: vec![],
        doc: Doc { x: 2, y: vec![] },
    };
    assert_eq!((plain[0].0.mood, &plain[0].0.moods[..]), (Some(Mood::Glad), &[Mood::Glad, Mood::Sad][..]));
    assert_eq!(plain[1].0, bob);
    let pairs: Vec<Serde<(u8, Mood)>> =
        db.query("SELECT id, mood FROM of_rows.people WHERE mood IS NOT NULL", ()).rows().expect("a pair");
    assert_eq!(pairs, [Serde((1, Mood::Glad))]);
    let Serde(any): Serde<HashMap<String, serde_json::Value>> =
        db.query("SELECT 1 AS n, now()::date::text AS day, ARRAY[1.5] AS list", ()).unique().expect("a map");
    assert_eq!((&any["n"], &any["list"]), (&1.into(), &serde_json::json!(["1.5"])));

    test.db.script("DROP SCHEMA of_rows CASCADE").expect("dropped");
    test.finish();
}

#[derive(Debug, FromRow)]
#[expect(dead_code, reason = "is never read")]
struct Outer {
    #[maypole(flatten)]
    inner: Inner,
}

#[derive(Debug, FromRow)]
#[expect(dead_code, reason = "is never read")]
struct Inner {
    n: i32,
}

#[test]
fn a_null_without_an_option_names_row_field_and_column() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    const THIRD: &str = "SELECT nullif(n, 3) AS n FROM generate_series(1, 4) n";
    let expected = "row 3: Outer.inner.n: column \"n\" (int4) is NULL, which i32 can't hold: use Option<i32>";
    let error = lease.query(THIRD, ()).rows::<Outer>().expect_err("NULL").to_string();
    assert!(error.contains(expected), "{error}");
    let mut stream = lease.query(THIRD, ()).chunk(1).iter::<Outer>();
    assert_eq!(stream.by_ref().take(2).filter(Result::is_ok).count(), 2);
    let error = stream.next().expect("an item").expect_err("NULL").to_string();
    assert!(error.contains(expected), "{error}");
    drop(stream);
    let error = lease.query(THIRD, ()).flat::<i32>().expect_err("NULL").to_string();
    assert!(error.contains("row 3: column \"n\" (int4) is NULL"), "{error}");
    let error = lease.query("SELECT NULL::int4 AS n", ()).value::<i32>().expect_err("NULL").to_string();
    assert!(error.contains("row 1: column \"n\" (int4) is NULL"), "{error}");
    let error = lease.query(THIRD, ()).rows::<Serde<(i32,)>>().expect_err("NULL").to_string();
    assert!(error.contains("row 3: column \"n\" (int4) can't be read into (i32,): it is NULL"), "{error}");
    assert_eq!(lease.query(THIRD, ()).rows::<Row>().expect("any").len(), 4);
    drop(lease);
    test.finish();
}
