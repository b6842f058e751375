//! What types and columns are called in a report, and which types stand for each other. Uses: columns.

use postgres_types::{Kind, Type};

use crate::columns::{crate_type, for_enum, rust_type, short_name};

/// A type as it is written in SQL.
pub(super) fn sql_name(type_: &Type) -> String {
    match (type_.kind(), type_.schema()) {
        (Kind::Array(element), _) => format!("{}[]", sql_name(element)),
        // Without quotes it would be character(1).
        _ if *type_ == Type::CHAR => "\"char\"".to_owned(),
        (_, "public" | "pg_catalog") => quoted(type_.name()),
        (_, schema) => format!("{}.{}", quoted(schema), quoted(type_.name())),
    }
}

/// A name as it is written in SQL, behind AS for instance: in double quotes unless it would be read as it is (manual,
/// "Identifiers and Key Words").
pub(super) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The change of a Rust type so that it fits this SQL type; `derive` is the trait that is missing.
pub(super) fn change(type_: &Type, now: &str, derive: &str) -> String {
    if let Some(change) = for_enum(type_, &short_name(now), derive) {
        return change;
    }
    match (rust_for(type_, now), crate_type(type_)) {
        // What fits already is not what is wrong.
        (Some(fits), _) if short_name(&fits) != short_name(now) => format!("change the Rust type to {fits}"),
        (None, Some(other)) => format!("change the Rust type to {other}"),
        _ => format!("change the Rust type to one whose {derive} accepts {}", sql_name(type_)),
    }
}

/// The Rust type that fits this SQL type, as optional as what stands there now; none if it is not one of the usual.
pub(super) fn rust_for(type_: &Type, now: &str) -> Option<String> {
    let rust = match type_.kind() {
        Kind::Domain(base) => return rust_for(base, now),
        _ => rust_type(type_, &short_name(now))?,
    };
    Some(if now.starts_with("Option<") { format!("Option<{rust}>") } else { rust })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_counterparts_that_are_as_optional_and_as_many() {
        assert_eq!(sql_name(&Type::INT4_ARRAY), "int4[]");
        assert_eq!(rust_for(&Type::INT4_ARRAY, "Option<Vec<i64>>").as_deref(), Some("Option<Vec<i32>>"));
        let domain = Type::new("d".into(), 90_000, Kind::Domain(Type::TEXT), "public".into());
        assert_eq!(rust_for(&domain, "i32").as_deref(), Some("String"));
        assert_eq!(rust_for(&Type::NUMERIC, "f64"), None);
    }

    #[test]
    fn names_are_quoted_if_they_would_be_read_as_others() {
        assert_eq!(quoted("user_id2"), "user_id2");
        assert_eq!(quoted("userId"), "\"userId\"");
        assert_eq!(quoted("?column?"), "\"?column?\"");
        assert_eq!(quoted("2a"), "\"2a\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(sql_name(&Type::CHAR_ARRAY), "\"char\"[]");
        let type_ = Type::new("Mood".into(), 90_000, Kind::Simple, "my app".into());
        assert_eq!(sql_name(&type_), "\"my app\".\"Mood\"");
    }

    #[test]
    fn a_change_names_what_fits_or_what_brings_it() {
        assert_eq!(change(&Type::INT8, "Option<i32>", "FromSql"), "change the Rust type to Option<i64>");
        assert!(change(&Type::NUMERIC, "f64", "FromSql").contains("rust_decimal::Decimal"));
        assert_eq!(
            change(&Type::INTERVAL, "i32", "ToSql"),
            "change the Rust type to one whose ToSql accepts interval"
        );
    }
}
