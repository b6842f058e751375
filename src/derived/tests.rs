use std::sync::Arc;

use bytes::Bytes;
use postgres_types::{FromSql, Type};

use crate::row::testing;
use crate::{Columns, FromRow, Result};

#[derive(FromRow, Debug, PartialEq)]
struct Customer {
    id: i32,
    name: String,
    #[maypole(rename = "Since when")]
    since: Option<i16>,
    r#type: Vec<Option<i32>>,
}

fn described() -> Arc<Columns> {
    testing::columns(&[
        ("type", Type::INT4_ARRAY),
        ("Since when", Type::INT2),
        ("name", Type::TEXT),
        ("id", Type::INT4),
    ])
}

fn one<T: FromRow>(columns: &Arc<Columns>, body: &Bytes) -> Result<T> {
    let plan = T::plan(columns)?;
    testing::read(columns, body, |row| T::from_row(&plan, row))
}

fn refusal<T: FromRow>(columns: &[(&str, Type)]) -> String {
    T::plan(&testing::columns(columns)).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn fields_find_their_columns_by_name_in_any_order() {
    let columns = described();
    let body = testing::body(&columns, &[&vec![Some(1), None], &None::<i16>, &"Leonard Winter", &52i32]);
    let customer: Customer = one(&columns, &body).unwrap();
    let expected =
        Customer { id: 52, name: "Leonard Winter".into(), since: None, r#type: vec![Some(1), None] };
    assert_eq!(customer, expected);
}

#[test]
fn null_without_an_option_names_struct_and_field() {
    let columns = described();
    let body = testing::body(&columns, &[&vec![Some(1)], &None::<i16>, &None::<&str>, &52i32]);
    assert_eq!(
        one::<Customer>(&columns, &body).unwrap_err().to_string(),
        "Customer.name: column \"name\" (text) is NULL, which String can't hold: use Option<String>"
    );
}

#[derive(FromRow)]
struct Pair {
    id: i32,
    name: String,
}

#[test]
fn a_column_without_a_field_is_refused() {
    assert_eq!(
        refusal::<Pair>(&[("id", Type::INT4), ("name", Type::TEXT), ("age", Type::INT2)]),
        "the columns do not fit Pair: column \"age\" (int2) has no field: add one, or leave the column out of \
         the query"
    );
}

#[test]
fn a_field_without_a_column_is_refused() {
    assert_eq!(
        refusal::<Pair>(&[("id", Type::INT4)]),
        "the columns do not fit Pair: field `name` (String) has no column, the result has one column, \"id\""
    );
    assert!(refusal::<Customer>(&[]).contains("field `since` (Option<i16>) has no column \"Since when\","));
}

#[test]
fn a_misspelt_name_is_refused_from_both_sides() {
    assert_eq!(
        refusal::<Pair>(&[("id", Type::INT4), ("nmae", Type::TEXT)]),
        "the columns do not fit Pair: field `name` (String) has no column, did you mean \"nmae\"?; \
         column \"nmae\" (text) has no field, did you mean \"name\"?"
    );
}

#[test]
fn a_type_that_does_not_fit_is_refused_before_any_row() {
    assert_eq!(
        refusal::<Pair>(&[("id", Type::INT8), ("name", Type::TEXT)]),
        "the columns do not fit Pair: field `id`: column \"id\" is int8, which can't be read as i32: use i64, or \
         cast the column in SQL"
    );
}

#[test]
fn two_columns_of_a_fields_name_are_refused() {
    let error = refusal::<Pair>(&[("id", Type::INT4), ("id", Type::INT4), ("name", Type::TEXT)]);
    assert!(error.contains("field `id`: the result has 2 columns of the name \"id\""), "{error}");
}

#[derive(FromRow)]
struct Keyed<K: Copy, V>
where
    V: Default,
{
    key: K,
    value: Option<V>,
}

#[test]
fn a_struct_may_be_generic() {
    let columns = testing::columns(&[("key", Type::INT4), ("value", Type::TEXT)]);
    let body = testing::body(&columns, &[&1i32, &None::<&str>]);
    let keyed: Keyed<i32, String> = one(&columns, &body).unwrap();
    assert_eq!((keyed.key, keyed.value.unwrap_or_default()), (1, String::new()));
}

#[derive(FromRow)]
struct Nothing {}

#[test]
fn a_struct_without_fields_wants_no_columns() {
    Nothing::plan(&testing::columns(&[])).unwrap();
    assert!(refusal::<Nothing>(&[("id", Type::INT4)]).contains("\"id\" (int4) has no field"));
}

#[test]
fn a_plan_and_a_row_that_do_not_belong_together_are_an_error() {
    let plan = Pair::plan(&testing::columns(&[("id", Type::INT4), ("name", Type::TEXT)])).unwrap();
    let columns = testing::columns(&[("id", Type::INT4)]);
    let body = testing::body(&columns, &[&1i32]);
    let error = testing::read(&columns, &body, |row| Pair::from_row(&plan, row).map(|_| ())).unwrap_err();
    assert!(error.to_string().starts_with("Pair.name: there is no column 1"), "{error}");
    let plan = Lax::plan(&columns).unwrap();
    let error = testing::read(&columns, &body, |row| Pair::from_row(&plan, row).map(|_| ())).unwrap_err();
    assert_eq!(error.to_string(), "the plan was made for another struct");
}

/// Fails in its own words.
#[derive(Debug)]
struct Picky;

impl<'a> FromSql<'a> for Picky {
    fn from_sql(_: &Type, _: &'a [u8]) -> Result<Picky, Box<dyn std::error::Error + Sync + Send>> {
        Err("not today".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[derive(FromRow, Debug)]
struct Choice {
    #[expect(dead_code, reason = "can't be read")]
    choice: Picky,
}

#[test]
fn the_cause_of_a_value_that_cannot_be_read_is_kept() {
    let columns = testing::columns(&[("choice", Type::INT4)]);
    let body = testing::body(&columns, &[&1i32]);
    let error = one::<Choice>(&columns, &body).unwrap_err();
    assert_eq!(error.to_string(), "Choice.choice: column \"choice\" (int4) can't be read as Picky");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "not today");
}

/// A struct inside others.
#[derive(FromRow, Debug, PartialEq)]
#[maypole(rename_all = "SCREAMING_SNAKE_CASE")]
struct Address {
    zip_code: String,
    city: Option<String>,
    #[maypole(default)]
    floor: i16,
}

#[derive(FromRow, Debug, PartialEq)]
struct Person {
    name: String,
    #[maypole(flatten = "home_")]
    home: Address,
    #[maypole(flatten = "work_")]
    work: Option<Address>,
}

#[derive(FromRow, Debug, PartialEq)]
struct Order {
    id: i32,
    #[maypole(flatten)]
    person: Person,
}

fn order() -> Vec<(&'static str, Type)> {
    vec![
        ("home_CITY", Type::TEXT),
        ("id", Type::INT4),
        ("name", Type::TEXT),
        ("work_ZIP_CODE", Type::TEXT),
        ("work_CITY", Type::TEXT),
        ("home_ZIP_CODE", Type::TEXT),
        ("work_FLOOR", Type::INT2),
    ]
}

#[test]
fn structs_nest_by_prefix_and_none_is_all_null() {
    let columns = testing::columns(&order());
    let null = None::<&str>;
    let home = Address { zip_code: "1010".into(), city: None, floor: 0 };
    let body = testing::body(&columns, &[&null, &1i32, &"Ann", &null, &null, &"1010", &None::<i16>]);
    let person = Person { name: "Ann".into(), home, work: None };
    let read: Order = one(&columns, &body).unwrap();
    assert_eq!(read, Order { id: 1, person });

    let body = testing::body(&columns, &[&null, &1i32, &"Ann", &"1020", &null, &"1010", &2i16]);
    let read: Order = one(&columns, &body).unwrap();
    assert_eq!(read.person.work, Some(Address { zip_code: "1020".into(), city: None, floor: 2 }));
}

#[test]
fn a_null_inside_names_the_whole_way() {
    let columns = testing::columns(&order());
    let null = None::<&str>;
    let body = testing::body(&columns, &[&null, &1i32, &"Ann", &null, &"Wien", &"1010", &2i16]);
    assert_eq!(
        one::<Order>(&columns, &body).unwrap_err().in_row(3).to_string(),
        "row 3: Order.person.work.zip_code: column \"work_ZIP_CODE\" (text) is NULL, which String can't hold: use \
         Option<String>"
    );
}

#[test]
fn a_column_that_is_there_is_never_the_default() {
    let columns = testing::columns(&[("ZIP_CODE", Type::TEXT), ("CITY", Type::TEXT), ("FLOOR", Type::INT2)]);
    let body = testing::body(&columns, &[&"1010", &"Wien", &None::<i16>]);
    let error = one::<Address>(&columns, &body).unwrap_err().to_string();
    assert!(error.starts_with("Address.floor: column \"FLOOR\" (int2) is NULL"), "{error}");
}

#[test]
fn a_nested_struct_is_strict_too() {
    let mut columns = order();
    columns[5] = ("home_ZIPCODE", Type::TEXT);
    assert_eq!(
        refusal::<Order>(&columns),
        "the columns do not fit Order: field `person.home.zip_code` (String) has no column \"home_ZIP_CODE\", did \
         you mean \"home_ZIPCODE\"?; column \"home_ZIPCODE\" (text) has no field, did you mean \"home_ZIP_CODE\"?"
    );
    columns[5] = ("home_ZIP_CODE", Type::INT4);
    assert_eq!(
        refusal::<Order>(&columns),
        "the columns do not fit Order: field `person.home.zip_code`: column \"home_ZIP_CODE\" is int4, which can't be \
         read as String: use i32, or cast the column in SQL"
    );
}

#[derive(FromRow)]
#[expect(dead_code, reason = "only its plan is made")]
struct Twice {
    #[maypole(flatten)]
    one: Pair,
    #[maypole(flatten)]
    other: Pair,
}

#[test]
fn two_flattened_structs_do_not_share_a_column() {
    assert_eq!(
        refusal::<Twice>(&[("id", Type::INT4), ("name", Type::TEXT)]),
        "the columns do not fit Twice: field `other.id`: column \"id\" goes into Twice.one.id already: give one of them \
         a column of its own, with rename, or with flatten = \"prefix_\" where it is in a flattened struct; field \
         `other.name`: column \"name\" goes into Twice.one.name already: give one of them a column of its own, with \
         rename, or with flatten = \"prefix_\" where it is in a flattened struct"
    );
}

#[derive(FromRow, Debug, PartialEq)]
#[maypole(lax)]
struct Lax {
    id: i32,
}

#[derive(FromRow)]
#[expect(dead_code, reason = "only its plan is made")]
struct Holder {
    name: String,
    #[maypole(flatten = "lax_")]
    lax: Lax,
}

#[test]
fn a_lax_struct_ignores_columns_as_far_as_its_prefix_reaches() {
    let columns = testing::columns(&[("id", Type::INT4), ("name", Type::TEXT)]);
    let body = testing::body(&columns, &[&1i32, &"Ann"]);
    assert_eq!(one::<Lax>(&columns, &body).unwrap(), Lax { id: 1 });
    assert!(refusal::<Lax>(&[("name", Type::TEXT)]).contains("field `id` (i32) has no column"));
    assert!(refusal::<Lax>(&[("id", Type::INT4), ("id", Type::INT4)]).contains("2 columns of the name"));

    let held = [("name", Type::TEXT), ("lax_id", Type::INT4), ("lax_name", Type::TEXT)];
    Holder::plan(&testing::columns(&held)).unwrap();
    let error = refusal::<Holder>(&[&held[..], &[("age", Type::INT4)]].concat());
    assert_eq!(
        error,
        "the columns do not fit Holder: column \"age\" (int4) has no field: add one, or leave the column out of the query"
    );
}

#[derive(serde::Deserialize, Debug, PartialEq)]
struct Point {
    x: i32,
}

#[derive(FromRow, Debug, PartialEq)]
struct Shapes {
    #[maypole(json)]
    first: Point,
    #[maypole(json, rename = "2nd")]
    second: Option<Point>,
    #[maypole(json, default)]
    more: Vec<Point>,
}

#[test]
fn json_becomes_a_type_of_serde() {
    let columns = testing::columns(&[("first", Type::JSONB), ("2nd", Type::JSON)]);
    let null = None::<serde_json::Value>;
    let body = testing::body(&columns, &[&serde_json::json!({"x": 1}), &null]);
    let expected = Shapes { first: Point { x: 1 }, second: None, more: Vec::new() };
    assert_eq!(one::<Shapes>(&columns, &body).unwrap(), expected);

    let body = testing::body(&columns, &[&null, &null]);
    assert_eq!(
        one::<Shapes>(&columns, &body).unwrap_err().to_string(),
        "Shapes.first: column \"first\" (jsonb) is NULL, which Point can't hold: use Option<Point>"
    );
    let body = testing::body(&columns, &[&serde_json::json!({"y": 1}), &null]);
    let error = one::<Shapes>(&columns, &body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Shapes.first: column \"first\" (jsonb) can't be read as Point: missing field `x` at line 1 column 7"
    );
    let error = refusal::<Shapes>(&[("first", Type::TEXT), ("2nd", Type::JSON)]);
    assert!(error.contains("is text, which can't be read as Point from JSON"), "{error}");
}

#[derive(FromRow, Debug, PartialEq)]
struct Paged<T> {
    total: i64,
    #[maypole(flatten)]
    item: T,
}

#[test]
fn what_is_flattened_may_be_generic() {
    let columns = testing::columns(&[("total", Type::INT8), ("id", Type::INT4), ("name", Type::TEXT)]);
    let body = testing::body(&columns, &[&7i64, &1i32, &"Ann"]);
    let paged: Paged<Pair> = one(&columns, &body).unwrap();
    assert_eq!((paged.total, paged.item.id, &*paged.item.name), (7, 1, "Ann"));
}

#[test]
fn the_outline_tells_every_place_and_who_may_be_null() {
    let mut columns = order();
    columns[1] = ("id", Type::INT8);
    let places = Order::outline(&testing::columns(&columns));
    let told: Vec<_> = places.iter().map(|p| (&*p.field, &*p.name, p.column, &*p.rust, p.nullable)).collect();
    assert_eq!(
        told,
        [
            ("Order.id", "id", Some(1), "i32", false),
            ("Order.person.name", "name", Some(2), "String", false),
            ("Order.person.home.zip_code", "home_ZIP_CODE", Some(5), "String", false),
            ("Order.person.home.city", "home_CITY", Some(0), "Option<String>", true),
            ("Order.person.home.floor", "home_FLOOR", None, "i16", true),
            ("Order.person.work.zip_code", "work_ZIP_CODE", Some(3), "String", true),
            ("Order.person.work.city", "work_CITY", Some(4), "Option<String>", true),
            ("Order.person.work.floor", "work_FLOOR", Some(6), "i16", true),
        ]
    );
    assert!(places[0].problem.as_ref().unwrap().contains("int8, which can't be read as i32"));
    assert!(places[1..].iter().all(|place| place.problem.is_none()));

    let places = Shapes::outline(&testing::columns(&[("first", Type::JSONB), ("2nd", Type::JSON)]));
    assert_eq!(places.iter().map(|place| place.nullable).collect::<Vec<_>>(), [false, true, true]);

    // What is ignored has a place: what has none is wanted by nobody.
    let places = Lax::outline(&testing::columns(&[("name", Type::TEXT), ("id", Type::INT4)]));
    assert_eq!(places.iter().map(|place| place.column).collect::<Vec<_>>(), [Some(1), Some(0)]);
}

#[test]
fn a_result_may_have_more_columns_than_a_word_has_bits() {
    let names: Vec<String> = (0..200).map(|i| format!("c{i}")).collect();
    let mut columns: Vec<_> = names.iter().map(|name| (&**name, Type::INT4)).collect();
    columns.push(("id", Type::INT4));
    Lax::plan(&testing::columns(&columns)).unwrap();
    assert!(refusal::<Nothing>(&columns).contains("column \"c199\" (int4) has no field"));
}

mod visible {
    use crate::FromRow;

    #[derive(FromRow)]
    pub(super) struct Outer {
        #[maypole(flatten)]
        inner: Option<Inner>,
    }

    #[derive(FromRow)]
    struct Inner {
        n: i32,
    }

    impl Outer {
        pub(super) fn n(&self) -> Option<i32> {
            self.inner.as_ref().map(|inner| inner.n)
        }
    }
}

#[test]
fn a_struct_may_flatten_what_others_do_not_see() {
    let columns = testing::columns(&[("n", Type::INT4)]);
    let body = testing::body(&columns, &[&1i32]);
    assert_eq!(one::<visible::Outer>(&columns, &body).unwrap().n(), Some(1));
}
