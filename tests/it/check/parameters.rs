//! What is said of parameters, compared with what happens when they are sent.

use std::time::SystemTime;

use maypole::{Database, Query, Result, query};

use super::{make, refused, told};
use crate::support::pool::TestPool;

/// A value of each kind of Rust type against columns of many SQL types.
mod pairs {
    use super::*;
    use std::net::IpAddr;

    pub(super) static DB: Database = Database::named("check_pairs");

    pub(super) const SCHEMA: &str = "
        CREATE TYPE check_pairs_mood AS ENUM ('1', '2');
        CREATE DOMAIN check_pairs_domain AS int4;
        CREATE TABLE check_pairs (b bool, i2 int2, i4 int4, i8 int8, f8 float8, n numeric, o oid, t text, v varchar(9),
            m check_pairs_mood, d check_pairs_domain, y bytea, j jsonb, u uuid, a inet, z timestamptz, i4s int4[],
            i8s int8[], ts text[], ms check_pairs_mood[])";

    type Run = fn(&Database) -> Result<u64>;

    macro_rules! pairs {
        ($($name:ident: $type:ty, $value:expr, $sql:literal;)*) => {
            $(
                #[query(DB, $sql)]
                fn $name(x: $type) -> Query;
            )*

            /// The name of each query, and how it is run.
            pub(super) const ALL: &[(&str, Run)] = &[$( ($name::NAME, |db| $name($value).on(db).run()) ),*];
        };
    }

    pairs! {
        numbers_into_i2: i32, 1, "INSERT INTO check_pairs (i2) VALUES (:x)";
        numbers_where_i2: i32, 1, "UPDATE check_pairs SET b = true WHERE i2 = :x";
        numbers_into_i8: i32, 1, "INSERT INTO check_pairs (i8) VALUES (:x)";
        numbers_where_n: i32, 1, "UPDATE check_pairs SET b = true WHERE n = :x";
        numbers_into_t: i32, 1, "INSERT INTO check_pairs (t) VALUES (:x)";
        numbers_where_t: i32, 1, "UPDATE check_pairs SET b = true WHERE t = :x";
        numbers_set_b: i32, 1, "UPDATE check_pairs SET b = :x";
        numbers_set_m: i32, 1, "UPDATE check_pairs SET m = :x";
        numbers_set_d: i32, 1, "UPDATE check_pairs SET d = :x";
        numbers_where_o: i32, 1, "UPDATE check_pairs SET b = true WHERE o = :x";
        numbers_set_u: i32, 1, "UPDATE check_pairs SET u = :x";
        truth_set_b: bool, true, "UPDATE check_pairs SET b = :x";
        truth_set_i4: bool, true, "UPDATE check_pairs SET i4 = :x";
        truth_set_j: bool, true, "UPDATE check_pairs SET j = :x";
        texts_set_t: &'static str, "x", "UPDATE check_pairs SET t = :x";
        texts_set_v: &'static str, "x", "UPDATE check_pairs SET v = :x";
        texts_set_b: &'static str, "x", "UPDATE check_pairs SET b = :x";
        texts_set_i4: &'static str, "x", "UPDATE check_pairs SET i4 = :x";
        texts_set_f8: &'static str, "x", "UPDATE check_pairs SET f8 = :x";
        texts_set_d: &'static str, "x", "UPDATE check_pairs SET d = :x";
        texts_set_ts: &'static str, "x", "UPDATE check_pairs SET ts = :x";
        texts_set_i4s: &'static str, "x", "UPDATE check_pairs SET i4s = :x";
        lists_set_i4s: &'static [i32], &[1], "UPDATE check_pairs SET i4s = :x";
        lists_set_i8s: &'static [i32], &[1], "UPDATE check_pairs SET i8s = :x";
        lists_set_ts: &'static [i32], &[1], "UPDATE check_pairs SET ts = :x";
        lists_where_i8_any: &'static [i32], &[1], "UPDATE check_pairs SET b = true WHERE i8 = ANY(:x)";
        lists_where_t_any: &'static [i32], &[1], "UPDATE check_pairs SET b = true WHERE t = ANY(:x)";
        wide_into_i4: i64, 1, "INSERT INTO check_pairs (i4) VALUES (:x)";
        wide_where_i4: i64, 1, "UPDATE check_pairs SET b = true WHERE i4 = :x";
        wide_where_any_i8s: i64, 1, "UPDATE check_pairs SET b = true WHERE :x = ANY(i8s)";
        wide_set_i4s: i64, 1, "UPDATE check_pairs SET i4s = ARRAY[:x]";
        bytes_set_y: Vec<u8>, vec![1], "UPDATE check_pairs SET y = :x";
        bytes_set_t: Vec<u8>, vec![1], "UPDATE check_pairs SET t = :x";
        bytes_set_j: Vec<u8>, vec![1], "UPDATE check_pairs SET j = :x";
        mood_set_m: Option<String>, Some("1".into()), "UPDATE check_pairs SET m = :x";
        mood_where_m_and_v: Option<String>, Some("1".into()), "UPDATE check_pairs SET b = true WHERE m = :x AND v = :x";
        text_lists_set_ts: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET ts = :x";
        text_lists_set_ms: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET ms = :x";
        text_lists_set_i4s: Vec<&'static str>, vec!["x"], "UPDATE check_pairs SET i4s = :x";
        text_lists_where_m_any: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET b = true WHERE m = ANY(:x)";
        text_lists_set_j: Vec<&'static str>, vec!["1"], "UPDATE check_pairs SET j = :x";
        addresses_set_a: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET a = :x";
        addresses_set_t: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET t = :x";
        addresses_cast: IpAddr, [127, 0, 0, 1].into(), "UPDATE check_pairs SET t = CAST(:x AS inet)";
        json_set_j: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET j = :x";
        json_set_t: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET t = :x";
        json_set_i4: serde_json::Value, serde_json::json!([1]), "UPDATE check_pairs SET i4 = :x";
        times_set_z: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET z = :x";
        times_set_t: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET t = :x";
        times_set_b_date_is_null: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET b = :x::date IS NULL";
        times_set_b_is_null_or_z: Option<SystemTime>, Some(SystemTime::UNIX_EPOCH), "UPDATE check_pairs SET b = :x IS NULL OR z = :x";
    }
}

/// The check has something to say of a pair exactly if the query then fails.
#[test]
fn what_a_check_says_of_parameters_is_what_happens_when_they_are_sent() {
    make(pairs::SCHEMA);
    let test = TestPool::new(1);
    let report = refused(&pairs::DB, &test);
    let mut wrong = 0;
    for (name, run) in pairs::ALL {
        let told = report.contains(&format!("query {name}\n")) || report.contains(&format!("query {name} "));
        let result = run(&test.db);
        assert_eq!(told, result.is_err(), "{name}: {result:?}\n{report}");
        wrong += usize::from(told);
    }
    let help = told(&report, "times_set_b_is_null_or_z").pop().expect("a line");
    assert!(help.starts_with("= help: the places of :x do not tell one type: write casts"), "{help}");
    assert!(wrong > 20 && wrong < pairs::ALL.len() - 20, "{wrong} of {}", pairs::ALL.len());
    test.finish();
}
