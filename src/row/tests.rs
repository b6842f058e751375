use postgres_types::{Kind, Type};
use proptest::prelude::*;

use super::*;

fn customer() -> (Arc<Columns>, Bytes) {
    let columns = testing::columns(&[("id", Type::INT4), ("name", Type::TEXT), ("born", Type::INT2)]);
    let body = testing::body(&columns, &[&52i32, &"Leonard Winter", &None::<i16>]);
    (columns, body)
}

#[test]
fn values_are_read_by_position_and_by_name() {
    let (columns, body) = customer();
    let row = testing::read(&columns, &body, |row| {
        assert_eq!(row.get::<i32>(0).unwrap(), 52);
        assert_eq!(row.get::<&str>("name").unwrap(), "Leonard Winter");
        assert_eq!(row.get_raw(2), None);
        assert_eq!(row.get_raw(3), None);
        row.to_row()
    });
    assert_eq!(row.get::<i32>("id").unwrap(), 52);
    assert_eq!(row.get::<&str>(1).unwrap(), "Leonard Winter");
    assert_eq!(row.get::<Option<i16>>("born").unwrap(), None);
    assert_eq!((row.len(), row.is_empty()), (3, false));
}

#[test]
fn a_row_is_found_in_the_middle_of_a_reply() {
    let (columns, body) = customer();
    let reply: Bytes = [b"before", &body[..], b"after"].concat().into();
    let mut reader = RowReader::new(columns);
    let row = reader.read(&reply, 6..6 + body.len()).unwrap().to_row();
    assert_eq!(row.to_string(), r#"{"id": 52, "name": "Leonard Winter", "born": null}"#);
    assert!(reader.read(&reply, 6..reply.len()).is_err());
}

#[test]
fn errors_name_the_column_and_both_types() {
    let (columns, body) = customer();
    let row = testing::row(&columns, &body);
    assert_eq!(
        row.get::<i16>("born").unwrap_err().to_string(),
        "column \"born\" (int2) is NULL, which i16 can't hold: use Option<i16>"
    );
    assert_eq!(
        row.get::<i64>(0).unwrap_err().to_string(),
        "column \"id\" is int4, which can't be read as i64: use i32, or cast the column in SQL"
    );
    assert_eq!(
        row.get::<i64>(3).unwrap_err().to_string(),
        "there is no column 3, counted from 0: the result has 3 columns, \"id\", \"name\", \"born\""
    );
    assert!(row.get::<i64>("names").unwrap_err().to_string().contains("did you mean \"name\"?"));
}

#[test]
fn null_inside_an_array_is_told_apart_from_null() {
    let columns = testing::columns(&[("n", Type::INT4_ARRAY)]);
    let body = testing::body(&columns, &[&vec![Some(1i32), None]]);
    let row = testing::row(&columns, &body);
    assert_eq!(row.get::<Vec<Option<i32>>>(0).unwrap(), [Some(1), None]);
    let error = row.get::<Vec<i32>>(0).unwrap_err().to_string();
    assert!(error.contains("holds a NULL inside, which Vec<i32> can't"), "{error}");
}

#[test]
fn malformed_rows_are_an_error_of_the_protocol() {
    let (columns, good) = customer();
    let mut reader = RowReader::new(columns);
    let mut refuse = |change: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut body = good.to_vec();
        change(&mut body);
        let body = Bytes::from(body);
        let error = reader.read(&body, 0..body.len()).unwrap_err().to_string();
        assert!(error.starts_with("the server broke the protocol: "), "{error}");
        assert!(error.contains(why), "{error}");
    };
    refuse(&|body| body.clear(), "no number of columns");
    refuse(&|body| body[1] = 2, "number of columns is not");
    refuse(&|body| body.push(0), "bytes follow");
    refuse(&|body| body.truncate(3), "ends too early");
    refuse(&|body| body[2..6].copy_from_slice(&(-2i32).to_be_bytes()), "negative length");
    refuse(&|body| body[2..6].copy_from_slice(&i32::MAX.to_be_bytes()), "goes on after its end");
    assert!(reader.read(&good, 0..good.len() + 1).is_err());
    assert!(reader.read(&good, good.len() + 1..good.len()).is_err());
    assert!(reader.read(&good, 0..good.len()).is_ok(), "a refused row does no harm to the next");
}

#[test]
fn values_in_text_format_are_shown_as_they_come() {
    let column = |type_| Column::in_text("acl", type_);
    let columns = Arc::new(Columns::new(vec![column(Type::ACLITEM), column(Type::ACLITEM_ARRAY)]));
    let text = testing::columns(&[("acl", Type::TEXT), ("acl", Type::TEXT)]);
    let row = testing::row(&columns, &testing::body(&text, &[&"=r/me", &"{=r/me}"]));
    assert_eq!(row.to_string(), r#"{"acl": "=r/me", "acl": "{=r/me}"}"#);
    assert_eq!(row.get::<&str>(0).unwrap(), "=r/me");
    assert_eq!(row.columns().get(0).unwrap().type_(), &Type::ACLITEM);
}

#[test]
fn a_row_without_columns_is_a_row() {
    let body = Bytes::from_static(&[0, 0]);
    let row = testing::row(&testing::columns(&[]), &body);
    assert!(row.is_empty());
    assert_eq!(row.to_string(), "{}");
}

/// A type of each way of reading and showing.
fn types() -> Vec<Type> {
    let of = |kind| Type::new("own".into(), 90_000, kind, "public".into());
    let named = |name: &str| Type::new(name.into(), 90_001, Kind::Simple, "public".into());
    let mut types = vec![
        Type::BOOL,
        Type::CHAR,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::TEXT,
        Type::JSON,
        Type::JSONB,
        Type::UUID,
        Type::DATE,
        Type::TIME,
        Type::TIMETZ,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::INTERVAL,
        Type::BYTEA,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
        Type::MACADDR8,
        Type::POINT,
        Type::VOID,
        named("citext"),
        named("hstore"),
        of(Kind::Enum(vec!["a".into()])),
        of(Kind::Domain(Type::INT4)),
        of(Kind::Composite(vec![])),
    ];
    let arrays: Vec<Type> = types.iter().map(|element| of(Kind::Array(element.clone()))).collect();
    types.extend(arrays);
    types
}

/// Every way in; what comes back does not matter.
fn use_all_ways(row: &RowRef<'_>) {
    type Hstore = std::collections::HashMap<String, Option<String>>;
    macro_rules! get { ($($type:ty),*) => { $( let _ = (row.get::<$type>(0), row.to_row().get::<$type>(0)); )* } }
    get!(bool, i8, i16, i32, i64, u32, f32, f64, String, Vec<u8>, serde_json::Value, Hstore);
    get!(std::net::IpAddr, std::time::SystemTime, Option<i32>, Option<Vec<Option<i32>>>);
    get!(Vec<bool>, Vec<i64>, Vec<String>, Vec<Vec<u8>>, Vec<serde_json::Value>);
    assert!(!row.to_row().to_string().is_empty());
    serde_json::to_string(&row.to_row()).unwrap();
}

/// Bytes with small words in them: lengths, counts and dimensions that are nearly right.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => (0i32..24).prop_map(|word| word.to_be_bytes().to_vec()),
        1 => prop::num::i32::ANY.prop_map(|word| word.to_be_bytes().to_vec()),
        1 => Just((-1i32).to_be_bytes().to_vec()),
        1 => Just(i32::MAX.to_be_bytes().to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_value_however_wrong_makes_reading_or_showing_panic(value in hostile()) {
        for type_ in types() {
            let body = Bytes::from([&[0, 1], &u32::try_from(value.len()).unwrap().to_be_bytes()[..], &value].concat());
            testing::read(&testing::columns(&[("x", type_)]), &body, use_all_ways);
        }
    }

    #[test]
    fn no_body_however_wrong_makes_reading_panic(count in 0u16..4, rest in hostile(), wide in 0usize..4) {
        let body = Bytes::from([&count.to_be_bytes(), &rest[..]].concat());
        let mut reader = RowReader::new(testing::columns(&vec![("x", Type::TEXT); wide]));
        if let Ok(row) = reader.read(&body, 0..body.len()) {
            prop_assert_eq!(row.len(), usize::from(count));
            let row = row.to_row();
            prop_assert_eq!(row.entries().count(), wide);
            prop_assert!(!row.to_string().is_empty());
        }
    }
}
