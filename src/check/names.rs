//! What types are called in a report, and which stand for each other. Uses: columns.

use postgres_types::{Kind, Type};

use crate::columns::rust_type;

/// A type as it is written in SQL.
pub(super) fn sql_name(type_: &Type) -> String {
    match type_.kind() {
        Kind::Array(element) => format!("{}[]", sql_name(element)),
        _ => type_.to_string(),
    }
}

/// The Rust type that fits this SQL type, as optional as what stands there now; none if it is not one of the usual.
pub(super) fn rust_for(type_: &Type, now: &str) -> Option<String> {
    let rust = match type_.kind() {
        Kind::Domain(base) => return rust_for(base, now),
        _ => rust_type(type_)?,
    };
    Some(if now.starts_with("Option<") { format!("Option<{rust}>") } else { rust })
}

/// The SQL type that fits this Rust type, written without paths; none if it is not one of the usual.
pub(super) fn sql_for(rust: &str) -> Option<String> {
    let inside = |wrapper: &str| rust.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix('>'));
    if let Some(rust) = inside("Option<") {
        return sql_for(rust);
    }
    if rust == "Vec<u8>" {
        return Some("bytea".into());
    }
    if let Some(element) = inside("Vec<") {
        return sql_for(element).map(|element| format!("{element}[]"));
    }
    let sql = match rust {
        "bool" => "bool",
        "i8" => "\"char\"",
        "i16" => "int2",
        "i32" => "int4",
        "i64" => "int8",
        "u32" => "oid",
        "f32" => "float4",
        "f64" => "float8",
        "String" | "Box<str>" => "text",
        "Value" => "jsonb",
        "Uuid" => "uuid",
        "SystemTime" => "timestamptz",
        "IpAddr" => "inet",
        _ => return None,
    };
    Some(sql.into())
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
        assert_eq!(sql_for("Option<Vec<i32>>").as_deref(), Some("int4[]"));
        assert_eq!(sql_for("Vec<u8>").as_deref(), Some("bytea"));
        assert_eq!(sql_for("Mood"), None);
    }
}
