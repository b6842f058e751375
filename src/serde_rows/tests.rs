use std::collections::{BTreeMap, HashMap};

use postgres_types::{Kind, ToSql, Type};
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::row::testing;

fn read<T: DeserializeOwned + 'static>(
    columns: &[(&str, Type)],
    values: &[&(dyn ToSql + Sync)],
) -> Result<T, String> {
    let columns = testing::columns(columns);
    let body = testing::body(&columns, values);
    Serde::<T>::plan(&columns).unwrap();
    let row = testing::read(&columns, &body, |row| Serde::<T>::from_row(&(), row));
    row.map(|Serde(value)| value).map_err(|error| error.to_string())
}

/// A row of one column.
fn value<T: DeserializeOwned + 'static>(type_: Type, value: &(dyn ToSql + Sync)) -> Result<T, String> {
    read(&[("x", type_)], &[value])
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Glad,
    Sad,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Id(i32);

#[derive(Deserialize, Debug, PartialEq)]
struct Address {
    city: String,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Customer {
    id: Id,
    name: String,
    age: Option<u8>,
    mood: Mood,
    address: Address,
    tags: Vec<Option<String>>,
    #[serde(default)]
    score: f64,
}

fn customer() -> Vec<(&'static str, Type)> {
    let mood = Type::new("mood".into(), 90_000, Kind::Enum(vec!["glad".into()]), "public".into());
    vec![
        ("tags", Type::TEXT_ARRAY),
        ("name", Type::TEXT),
        ("id", Type::INT4),
        ("age", Type::INT2),
        ("mood", mood),
        ("address", Type::JSONB),
        ("ignored", Type::INT4),
    ]
}

/// A value by its bytes.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<postgres_types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(postgres_types::IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres_types::to_sql_checked!();
}

fn words(words: &[i32]) -> Raw {
    Raw(words.iter().flat_map(|word| word.to_be_bytes()).collect())
}

fn label(label: &str) -> Raw {
    Raw(label.into())
}

#[test]
fn a_struct_is_read_by_name() {
    let tags = vec![Some("a"), None];
    let address = json!({"city": "Wien"});
    let row: Customer =
        read(&customer(), &[&tags, &"Ann", &52i32, &None::<i16>, &label("sad"), &address, &1i32]).unwrap();
    let expected = Customer {
        id: Id(52),
        name: "Ann".into(),
        age: None,
        mood: Mood::Sad,
        address: Address { city: "Wien".into() },
        tags: vec![Some("a".into()), None],
        score: 0.0,
    };
    assert_eq!(row, expected);
}

#[test]
fn an_error_names_the_column_and_quotes_no_value() {
    let tags = vec!["a"];
    let address = json!({"city": "Wien"});
    let error = |name: Option<&str>, age: i16, mood| {
        let values: &[&(dyn ToSql + Sync)] = &[&tags, &name, &52i32, &age, &label(mood), &address, &1i32];
        read::<Customer>(&customer(), values).unwrap_err()
    };
    assert_eq!(
        error(Some("Ann"), 300, "sad"),
        "column \"age\" (int2) can't be read into Customer: an integer came that does not fit, expected u8"
    );
    assert_eq!(
        error(None, 30, "sad"),
        "column \"name\" (text) can't be read into Customer: it is NULL: use an Option"
    );
    assert!(
        error(Some("Ann"), 30, "odd")
            .starts_with("column \"mood\" (mood) can't be read into Customer: unknown")
    );
    assert_eq!(
        read::<Customer>(&[("id", Type::INT4)], &[&1i32]).unwrap_err(),
        "the columns do not fit Customer: missing field `name`"
    );
    assert_eq!(
        value::<i32>(Type::TEXT, &"secret").unwrap_err(),
        "column \"x\" (text) can't be read into i32: text came, expected i32"
    );
}

#[test]
fn tuples_and_lists_go_by_position() {
    let columns = [("a", Type::INT4), ("b", Type::INT8)];
    assert_eq!(read::<(i8, Option<u64>)>(&columns, &[&1i32, &2i64]).unwrap(), (1, Some(2)));
    assert_eq!(read::<Vec<i64>>(&columns, &[&1i32, &2i64]).unwrap(), [1, 2]);
    assert_eq!(
        read::<(i8,)>(&columns, &[&1i32, &2i64]).unwrap_err(),
        "the columns do not fit (i8,): a tuple of 1 is wanted, but the result has 2 columns, \"a\", \"b\""
    );
    let map = read::<BTreeMap<String, i64>>(&columns, &[&1i32, &2i64]).unwrap();
    assert_eq!(map, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
    let any = read::<HashMap<String, serde_json::Value>>(&columns, &[&None::<i32>, &2i64]).unwrap();
    assert_eq!((&any["a"], &any["b"]), (&json!(null), &json!(2)));
    assert_eq!(read::<Option<(i32, i64)>>(&columns, &[&None::<i32>, &None::<i64>]).unwrap(), None);
}

#[test]
fn a_row_of_one_column_is_its_value() {
    assert_eq!(value::<u16>(Type::INT8, &7i64).unwrap(), 7);
    assert_eq!(value::<Option<u16>>(Type::INT8, &None::<i64>).unwrap(), None);
    assert_eq!(value::<Option<Id>>(Type::INT4, &7i32).unwrap(), Some(Id(7)));
    assert_eq!(value::<Mood>(Type::TEXT, &"glad").unwrap(), Mood::Glad);
    assert_eq!(value::<f32>(Type::FLOAT4, &1.5f32).unwrap(), 1.5);
    assert!(value::<f64>(Type::FLOAT8, &f64::NAN).unwrap().is_nan());
    assert!(value::<f32>(Type::FLOAT8, &1.5f64).unwrap_err().contains("an f32 would lose digits"));
    assert!(value::<bool>(Type::BOOL, &true).unwrap());
    assert!(value::<Mood>(Type::INT4, &1i32).unwrap_err().contains("an enum is read from text"));
    assert_eq!(
        read::<i32>(&[("a", Type::INT4), ("b", Type::INT4)], &[&1i32, &2i32]).unwrap_err(),
        "the columns do not fit i32: one value is wanted, but the result has 2 columns, \"a\", \"b\""
    );
}

#[test]
fn json_bytes_and_arrays_become_what_is_asked_for() {
    assert_eq!(value::<Vec<i32>>(Type::JSONB, &json!([1, 2])).unwrap(), [1, 2]);
    assert_eq!(value::<(Option<Vec<Address>>,)>(Type::JSON, &json!(null)).unwrap(), (None,));
    assert_eq!(
        value::<(Box<serde_json::value::RawValue>,)>(Type::JSONB, &json!({"a": 1})).unwrap().0.get(),
        r#"{"a":1}"#
    );
    assert!(value::<(Address,)>(Type::JSON, &json!({})).unwrap_err().contains("missing field `city`"));
    assert_eq!(value::<(Mood,)>(Type::JSON, &json!("glad")).unwrap(), (Mood::Glad,));

    assert_eq!(value::<Vec<u8>>(Type::BYTEA, &&[1u8, 255][..]).unwrap(), [1, 255]);
    assert_eq!(value::<([u8; 2],)>(Type::BYTEA, &&[1u8, 255][..]).unwrap(), ([1, 255],));
    assert!(value::<([u8; 1],)>(Type::BYTEA, &&[1u8, 255][..]).is_err());
    assert_eq!(value::<String>(Type::BYTEA, &&[1u8, 255][..]).unwrap(), "\\x01ff");

    assert_eq!(value::<Vec<i64>>(Type::INT4_ARRAY, &vec![1i32, 2]).unwrap(), [1, 2]);
    assert_eq!(value::<(Vec<i64>,)>(Type::INT4_ARRAY, &words(&[0, 0, 23])).unwrap(), (vec![],));
    assert_eq!(value::<([i64; 2],)>(Type::INT4_ARRAY, &vec![1i32, 2]).unwrap(), ([1, 2],));
    assert!(
        value::<([i64; 1],)>(Type::INT4_ARRAY, &vec![1i32, 2]).unwrap_err().contains("has 1 elements more")
    );
    let error = value::<Vec<i64>>(Type::INT4_ARRAY, &vec![Some(1i32), None]).unwrap_err();
    assert!(error.contains("it is NULL: use an Option"), "{error}");
}

#[test]
fn an_array_of_two_dimensions_is_a_list_of_lists() {
    let matrix = words(&[2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4]);
    assert_eq!(value::<Vec<Vec<i32>>>(Type::INT4_ARRAY, &matrix).unwrap(), [[1, 2], [3, 4]]);
    assert_eq!(value::<([(i32, i32); 2],)>(Type::INT4_ARRAY, &matrix).unwrap(), ([(1, 2), (3, 4)],));
    assert!(value::<Vec<(i32,)>>(Type::INT4_ARRAY, &matrix).is_err());
}

#[test]
fn what_has_no_type_in_serde_comes_as_its_text() {
    let text = value::<String>(Type::UUID, &Raw(vec![0x11; 16])).unwrap();
    assert_eq!(text, "11111111-1111-1111-1111-111111111111");
    assert_eq!(value::<String>(Type::DATE, &words(&[0])).unwrap(), "2000-01-01");
}

#[test]
fn malformed_bytes_are_an_error_and_not_a_text() {
    let mut array = words(&[1, 0, 25, 1, 1, 1]);
    array.0.push(0xff);
    assert_eq!(
        value::<Vec<String>>(Type::TEXT_ARRAY, &array).unwrap_err(),
        "column \"x\" (_text) can't be read into Vec<String>: its bytes are no text"
    );
    let error = value::<Vec<String>>(Type::TEXT_ARRAY, &words(&[1, 0, 25, 1, 1, 9])).unwrap_err();
    assert!(error.contains("the array ends too early"), "{error}");
    for type_ in [Type::INT4, Type::FLOAT4, Type::FLOAT8, Type::JSONB, Type::TEXT_ARRAY] {
        let error = value::<(Option<serde_json::Value>,)>(type_.clone(), &Raw(vec![7; 3])).unwrap_err();
        assert!(error.ends_with(&format!("its bytes are no {type_}")), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_however_wrong_makes_reading_panic(
        header in proptest::collection::vec(-1i32..4, 0..8),
        rest in proptest::collection::vec(proptest::num::u8::ANY, 0..12),
    ) {
        let mut raw = words(&header);
        raw.0.extend(rest);
        for type_ in [Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::JSONB_ARRAY, Type::JSONB, Type::BYTEA, Type::NUMERIC] {
            let _ = value::<Vec<Vec<Option<i32>>>>(type_.clone(), &raw);
            let _ = value::<([[u8; 2]; 1],)>(type_.clone(), &raw);
            let _ = value::<(Option<Mood>,)>(type_.clone(), &raw);
            let _ = value::<HashMap<String, serde_json::Value>>(type_, &raw);
        }
    }
}
