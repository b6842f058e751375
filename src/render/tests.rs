use postgres_types::{Kind, ToSql, Type};

use crate::row::testing;

/// What PostgreSQL 15 sends for a value, and the value in JSON: the output of `numeric_send` and its kin beside
/// `to_json` or `::text`, with `Z` for `+00:00` and the minutes of every zone written out.
#[rustfmt::skip]
const FROM_POSTGRESQL: &[(Type, &str, &str)] = &[
    (Type::NUMERIC, "0000000000000000", r#""0""#),
    (Type::NUMERIC, "00010000000000000001", r#""1""#),
    (Type::NUMERIC, "00010000400000000001", r#""-1""#),
    (Type::NUMERIC, "0000000000000002", r#""0.00""#),
    (Type::NUMERIC, "00010001000000000001", r#""10000""#),
    (Type::NUMERIC, "0001000000000000270f", r#""9999""#),
    (Type::NUMERIC, "00010002000000000001", r#""100000000""#),
    (Type::NUMERIC, "0006000200000009000109291a852694153803e8", r#""123456789.987654321""#),
    (Type::NUMERIC, "0001ffff400000040001", r#""-0.0001""#),
    (Type::NUMERIC, "0001fffd0000000b0078", r#""0.00000000012""#),
    (Type::NUMERIC, "00010005000000000001", r#""100000000000000000000""#),
    (Type::NUMERIC, "000600044000000104d2162e23340d801ed21388", r#""-12345678901234567890.5""#),
    (Type::NUMERIC, "00000000c0000000", r#""NaN""#),
    (Type::NUMERIC, "00000000d0000020", r#""Infinity""#),
    (Type::NUMERIC, "00000000f0000020", r#""-Infinity""#),
    (Type::NUMERIC, "0002000000000002000103e8", r#""1.10""#),
    (Type::NUMERIC, "0001ffff0000000103e8", r#""0.1""#),
    (Type::NUMERIC, "0003000100000004000100000001", r#""10000.0001""#),
    (Type::NUMERIC, "0001fffb000000140001", r#""0.00000000000000000001""#),
    (Type::NUMERIC, "0003000100000008270f270f270f", r#""99999999.99990000""#),
    (Type::DATE, "00000000", r#""2000-01-01""#),
    (Type::DATE, "ffffffff", r#""1999-12-31""#),
    (Type::DATE, "ffffd533", r#""1970-01-01""#),
    (Type::DATE, "00002279", r#""2024-02-29""#),
    (Type::DATE, "0000003b", r#""2000-02-29""#),
    (Type::DATE, "ffff718f", r#""1900-03-01""#),
    (Type::DATE, "002c95d3", r#""9999-12-31""#),
    (Type::DATE, "002c95d4", r#""10000-01-01""#),
    (Type::DATE, "7fda970c", r#""5874897-12-31""#),
    (Type::DATE, "fff4dbf9", r#""0001-01-01""#),
    (Type::DATE, "fff4dbf8", r#""0001-12-31 BC""#),
    (Type::DATE, "fff49d7b", r#""0044-03-15 BC""#),
    (Type::DATE, "ffda97a7", r#""4714-11-24 BC""#),
    (Type::DATE, "7fffffff", r#""infinity""#),
    (Type::DATE, "80000000", r#""-infinity""#),
    (Type::DATE, "fffdc58a", r#""1600-02-29""#),
    (Type::DATE, "00008ee8", r#""2100-03-01""#),
    (Type::TIME, "0000000000000000", r#""00:00:00""#),
    (Type::TIME, "000000141dd76000", r#""24:00:00""#),
    (Type::TIME, "000000141dd75fff", r#""23:59:59.999999""#),
    (Type::TIME, "0000000a8be1bd20", r#""12:34:56.5""#),
    (Type::TIME, "0000000000000001", r#""00:00:00.000001""#),
    (Type::TIMETZ, "0000000a0eebb000ffffe3e0", r#""12:00:00+02:00""#),
    (Type::TIMETZ, "0000000a0eebb00000003138", r#""12:00:00-03:30""#),
    (Type::TIMETZ, "0000000a0eef8090ffffdcc9", r#""12:00:00.25+02:30:15""#),
    (Type::TIMETZ, "0000000a0eebb00000000000", r#""12:00:00Z""#),
    (Type::TIMETZ, "000000141dd760000000e0c4", r#""24:00:00-15:59""#),
    (Type::TIMESTAMP, "0000000000000000", r#""2000-01-01T00:00:00""#),
    (Type::TIMESTAMP, "ffffffffffffffff", r#""1999-12-31T23:59:59.999999""#),
    (Type::TIMESTAMP, "0002b58341728608", r#""2024-02-29T12:34:56.789""#),
    (Type::TIMESTAMP, "ff1af9e8fb46d000", r#""0044-03-15T12:00:00 BC""#),
    (Type::TIMESTAMP, "7fffff5bb3b29fff", r#""294276-12-31T23:59:59.999999""#),
    (Type::TIMESTAMP, "fd0f7cc1411fa000", r#""4714-11-24T00:00:00 BC""#),
    (Type::TIMESTAMP, "7fffffffffffffff", r#""infinity""#),
    (Type::TIMESTAMP, "8000000000000000", r#""-infinity""#),
    (Type::TIMESTAMP, "fffc96188bae6100", r#""1969-07-20T20:17:40""#),
    (Type::TIMESTAMPTZ, "0000000000000000", r#""2000-01-01T00:00:00Z""#),
    (Type::TIMESTAMPTZ, "fffffffe52d8b7ff", r#""1999-12-31T21:59:59.999999Z""#),
    (Type::TIMESTAMPTZ, "0002b58341728608", r#""2024-02-29T12:34:56.789Z""#),
    (Type::TIMESTAMPTZ, "ff1af9e8fb46d000", r#""0044-03-15T12:00:00Z BC""#),
    (Type::TIMESTAMPTZ, "0380e70b913b8000", r#""10000-01-01T00:00:00Z""#),
    (Type::TIMESTAMPTZ, "7fffffffffffffff", r#""infinity""#),
    (Type::INTERVAL, "00000000000000000000000000000000", r#""PT0S""#),
    (Type::INTERVAL, "000000036c9361a0000000030000000e", r#""P1Y2M3DT4H5M6.5S""#),
    (Type::INTERVAL, "fffffffc936c9e6000000003fffffff2", r#""P-1Y-2M3DT-4H-5M-6.5S""#),
    (Type::INTERVAL, "fffffffffff85ee00000000000000000", r#""PT-0.5S""#),
    (Type::INTERVAL, "00000000000000000000000100000000", r#""P1D""#),
    (Type::INTERVAL, "00000014f46b04000000000000000000", r#""PT25H""#),
    (Type::INTERVAL, "ffffffffffffffff0000000000000000", r#""PT-0.000001S""#),
    (Type::INTERVAL, "000000000000000000000000000004b0", r#""P100Y""#),
    (Type::INTERVAL, "000000000000000000000000fffffff3", r#""P-1Y-1M""#),
    (Type::INTERVAL, "00000000039386ff0000000000000000", r#""PT59.999999S""#),
    (Type::INTERVAL, "00000001ad2748000000000000000000", r#""PT2H""#),
    (Type::INTERVAL, "fffffffffc6c79000000000000000000", r#""PT-1M""#),
    (Type::INET, "022000040a000001", r#""10.0.0.1""#),
    (Type::INET, "020800040a000001", r#""10.0.0.1/8""#),
    (Type::INET, "0380001000000000000000000000000000000001", r#""::1""#),
    (Type::INET, "03400010fe800000000000000000000000000001", r#""fe80::1/64""#),
    (Type::INET, "0380001000000000000000000000ffff01020304", r#""::ffff:1.2.3.4""#),
    (Type::CIDR, "020801040a000000", r#""10.0.0.0/8""#),
    (Type::CIDR, "022001040a000001", r#""10.0.0.1/32""#),
    (Type::CIDR, "0320011020010db8000000000000000000000000", r#""2001:db8::/32""#),
    (Type::CIDR, "0300011000000000000000000000000000000000", r#""::/0""#),
    (Type::UUID, "a0eebc999c0b4ef8bb6d6bb9bd380a11", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
    (Type::MACADDR, "08002b010203", r#""08:00:2b:01:02:03""#),
    (Type::MACADDR8, "08002b0102030405", r#""08:00:2b:01:02:03:04:05""#),
    (Type::JSONB, "017b2261223a205b312c2031323334353637383930313233343536373839303132335d2c202262223a20312e31307d", r#"{"a": [1, 12345678901234567890123], "b": 1.10}"#),
    (Type::JSONB, "016e756c6c", "null"),
    (Type::JSONB, "01227822", r#""x""#),
    (Type::CHAR, "61", r#""a""#),
    (Type::CHAR, "00", r#""""#),
    (Type::INT4_ARRAY, "000000000000000000000017", "[]"),
    (Type::INT4_ARRAY, "00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003", "[1, null, 3]"),
    (Type::INT4_ARRAY, "000000020000000000000017000000020000000100000002000000010000000400000001000000040000000200000004000000030000000400000004", "[[1, 2], [3, 4]]"),
    (Type::INT4_ARRAY, "00000003000000000000001700000001000000010000000200000001000000010000000100000004000000010000000400000002", "[[[1], [2]]]"),
    (Type::INT4_ARRAY, "000000010000000000000017000000020000000500000004000000070000000400000008", "[7, 8]"),
    (Type::TEXT_ARRAY, "000000010000000100000019000000030000000100000003612c6200000000ffffffff", r#"["a,b", "", null]"#),
];

fn shown(type_: Type, raw: &[u8]) -> String {
    let row = testing::raw_row(type_, Some(raw)).to_string();
    row.strip_prefix(r#"{"x": "#).unwrap().strip_suffix('}').unwrap().into()
}

fn own_type(name: &str, kind: Kind) -> Type {
    Type::new(name.into(), 90_000, kind, "public".into())
}

#[test]
fn values_are_shown_as_postgresql_shows_them() {
    for (type_, hex, expected) in FROM_POSTGRESQL {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let raw: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        assert_eq!(shown(type_.clone(), &raw), *expected, "{type_} {hex}");
    }
}

#[test]
fn what_json_knows_is_shown_as_such() {
    let shown = |type_: Type, value: &(dyn ToSql + Sync)| {
        let columns = testing::columns(&[("x", type_)]);
        let body = testing::body(&columns, &[value]);
        testing::row(&columns, &body).to_string()
    };
    assert_eq!(shown(Type::BOOL, &true), r#"{"x": true}"#);
    assert_eq!(shown(Type::INT2, &-1i16), r#"{"x": -1}"#);
    assert_eq!(shown(Type::INT8, &i64::MIN), r#"{"x": -9223372036854775808}"#);
    assert_eq!(shown(Type::OID, &u32::MAX), r#"{"x": 4294967295}"#);
    assert_eq!(shown(Type::FLOAT4, &0.1f32), r#"{"x": 0.1}"#);
    assert_eq!(shown(Type::FLOAT8, &1e300), r#"{"x": 1e+300}"#);
    assert_eq!(shown(Type::FLOAT8, &f64::NAN), r#"{"x": "NaN"}"#);
    assert_eq!(shown(Type::FLOAT4, &f32::NEG_INFINITY), r#"{"x": "-Infinity"}"#);
    assert_eq!(shown(Type::TEXT, &"say \"Ä\"\n"), r#"{"x": "say \"Ä\"\n"}"#);
    assert_eq!(shown(Type::BYTEA, &&[0u8, 255][..]), r#"{"x": "\\x00ff"}"#);
    assert_eq!(shown(Type::TEXT, &None::<&str>), r#"{"x": null}"#);
    assert_eq!(shown(Type::CHAR, &-128i8), r#"{"x": "\\200"}"#);
}

#[test]
fn enums_domains_and_extensions_are_shown_as_what_they_hold() {
    assert_eq!(shown(own_type("mood", Kind::Enum(vec!["glad".into()])), b"glad"), r#""glad""#);
    assert_eq!(shown(own_type("year", Kind::Domain(Type::INT2)), &[7, 232]), "2024");
    assert_eq!(shown(own_type("citext", Kind::Simple), b"Anna"), r#""Anna""#);
    assert_eq!(shown(own_type("odd", Kind::Simple), &[1, 2]), r#""\\x0102""#);
}

#[test]
fn json_keeps_its_order_its_digits_and_its_length() {
    let text = br#"{"z": 1.10, "a": 123456789012345678901234567890}"#;
    assert_eq!(shown(Type::JSON, text).as_bytes(), text);
    let deep = [vec![b'['; 1000], vec![b']'; 1000]].concat();
    assert_eq!(shown(Type::JSON, &deep).as_bytes(), deep);
}

#[test]
fn malformed_values_are_marked() {
    assert_eq!(shown(Type::INT4, &[1, 2]), r#""malformed int4: \\x0102""#);
    assert_eq!(shown(Type::TEXT, &[0xff]), r#""malformed text: \\xff""#);
    assert_eq!(shown(Type::JSON, b"{"), r#""malformed json: \\x7b""#);
    assert_eq!(shown(Type::BOOL, &[2]), r#""malformed bool: \\x02""#);
    assert_eq!(shown(Type::TIME, &(-1i64).to_be_bytes()), r#""malformed time: \\xffffffffffffffff""#);
    assert!(shown(Type::NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]).contains("malformed"));
    assert!(shown(Type::INET, &[2, 33, 0, 4, 1, 2, 3, 4]).contains("malformed"));
    let long = shown(Type::UUID, &[0; 1000]);
    assert!(
        long.starts_with("\"malformed uuid: \\\\x00") && long.ends_with("00…\"") && long.len() < 100,
        "{long}"
    );
}

#[test]
fn the_outermost_times_are_shown() {
    assert_eq!(shown(Type::TIMESTAMP, &(i64::MAX - 1).to_be_bytes()), r#""294277-01-09T04:00:54.775806""#);
    assert_eq!(shown(Type::TIMESTAMP, &(i64::MIN + 1).to_be_bytes()), r#""290279-12-22T19:59:05.224193 BC""#);
    assert_eq!(shown(Type::DATE, &(i32::MAX - 1).to_be_bytes()), r#""5881610-07-10""#);
    let interval = [&i64::MIN.to_be_bytes()[..], &i32::MAX.to_be_bytes(), &i32::MIN.to_be_bytes()].concat();
    assert_eq!(shown(Type::INTERVAL, &interval), r#""P-178956970Y-8M2147483647DT-2562047788H-54.775808S""#);
}

#[test]
fn a_row_serialises_as_a_map_with_columns_of_the_same_name_side_by_side() {
    let columns = testing::columns(&[("b", Type::INT4), ("a", Type::JSONB), ("b", Type::TEXT)]);
    let body = testing::body(&columns, &[&1i32, &serde_json::json!([1, {"k": null}]), &"x"]);
    let row = testing::row(&columns, &body);
    assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"b":1,"a":[1,{"k":null}],"b":"x"}"#);
    assert_eq!(row.to_string(), r#"{"b": 1, "a": [1,{"k":null}], "b": "x"}"#);
    assert_eq!(format!("{row:?}"), row.to_string());
    assert_eq!(serde_json::to_value(&row).unwrap()["a"][1]["k"], serde_json::Value::Null);
}
