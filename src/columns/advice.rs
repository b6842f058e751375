//! Which Rust types and SQL types stand for each other, and what to do where two do not fit. Uses: columns.

use postgres_types::{FromSql, Kind, Type};

use super::short_name;

/// What to do about a column of this type, which can't be read as `rust`.
pub(super) fn advice(type_: &Type, rust: &str) -> String {
    if let Some(change) = for_enum(type_, rust, "FromSql") {
        return format!("{change}; or cast the column to text in SQL");
    }
    match (rust_type(type_, rust), crate_type(type_)) {
        (Some(rust), _) => format!("use {rust}, or cast the column in SQL"),
        (None, Some(other)) => format!("use {other}, or cast the column in SQL, for instance to text"),
        (None, None) => {
            "use a Rust type whose FromSql accepts it, or cast the column in SQL, for instance to text".into()
        }
    }
}

/// What to do about a column of this type, which is no JSON.
pub(super) fn json_advice(type_: &Type, rust: &str) -> String {
    let instead = match rust_type(type_, rust) {
        Some(fits) if short_name(&fits) == rust => "leave json out".to_owned(),
        Some(fits) => format!("leave json out and use {fits}"),
        None => "leave json out".to_owned(),
    };
    format!("{instead}, or convert the column to jsonb in SQL")
}

/// What to do about an enum, or an array of one, that does not fit the type `rust`; none if it is no enum. `derive` is what
/// the Rust type needs.
pub(crate) fn for_enum(type_: &Type, rust: &str, derive: &str) -> Option<String> {
    /// A long list does not help to find a slip.
    const SHOWN: usize = 20;
    let labels = match type_.kind() {
        Kind::Enum(labels) => labels,
        Kind::Array(element) | Kind::Domain(element) => return for_enum(element, rust, derive),
        _ => return None,
    };
    if sql_type(rust).is_some() {
        return Some(format!("use a Rust enum with postgres_types::{derive} derived"));
    }
    let mut shown: Vec<String> = labels.iter().take(SHOWN).map(|label| format!("{label:?}")).collect();
    if labels.len() > SHOWN {
        shown.push("…".into());
    }
    Some(format!(
        "the server's type is the enum {:?} with the labels {}: the names of the Rust enum must be the same, see \
         #[postgres(name = …, rename_all = …)]",
        type_.name(),
        shown.join(", ")
    ))
}

/// The types of a crate for date, time, timestamp and timestamptz.
struct Calendar {
    /// Whether its feature is on.
    on: bool,
    types: [&'static str; 4],
}

static CALENDARS: [Calendar; 3] = [
    Calendar {
        on: cfg!(feature = "with-chrono-0_4"),
        types: [
            "chrono::NaiveDate",
            "chrono::NaiveTime",
            "chrono::NaiveDateTime",
            "chrono::DateTime<chrono::Utc>",
        ],
    },
    Calendar {
        on: cfg!(any(feature = "with-jiff-0_2", feature = "with-jiff-0_1")),
        types: ["jiff::civil::Date", "jiff::civil::Time", "jiff::civil::DateTime", "jiff::Timestamp"],
    },
    Calendar {
        on: cfg!(any(feature = "with-time-0_3", feature = "with-time-0_2")),
        types: ["time::Date", "time::Time", "time::PrimitiveDateTime", "time::OffsetDateTime"],
    },
];

/// The calendar whose feature is on; of several the one that the type `rust` is of.
fn calendar<'c>(calendars: &'c [Calendar], rust: &str) -> Option<&'c Calendar> {
    let on = || calendars.iter().filter(|calendar| calendar.on);
    let inner = innermost(rust);
    on().find(|calendar| calendar.types.iter().any(|type_| short_name(type_) == inner))
        .or_else(|| on().next())
}

/// The type inside of options, lists and references.
fn innermost(rust: &str) -> &str {
    let inside = |wrapper: &str| rust.strip_prefix(wrapper)?.strip_suffix('>');
    match inside("Option<").or_else(|| inside("Vec<")).or_else(|| rust.strip_prefix('&')) {
        Some(inner) => innermost(inner),
        None => rust,
    }
}

/// The usual Rust type for values of this type, with the features that are on; of several the one like `now`, which stands
/// there now, without paths.
pub(crate) fn rust_type(type_: &Type, now: &str) -> Option<String> {
    if let Kind::Array(element) = type_.kind() {
        return rust_type(element, now).map(|element| format!("Vec<{element}>"));
    }
    let moment = |which: usize| calendar(&CALENDARS, now).map(|calendar| calendar.types[which]);
    let rust = match *type_ {
        Type::BOOL => "bool",
        Type::CHAR => "i8",
        Type::INT2 => "i16",
        Type::INT4 => "i32",
        Type::INT8 => "i64",
        Type::OID => "u32",
        Type::FLOAT4 => "f32",
        Type::FLOAT8 => "f64",
        Type::BYTEA => "Vec<u8>",
        Type::JSON | Type::JSONB => "serde_json::Value",
        Type::INET => "std::net::IpAddr",
        Type::DATE => moment(0)?,
        Type::TIME => moment(1)?,
        Type::TIMESTAMP => moment(2).unwrap_or("std::time::SystemTime"),
        Type::TIMESTAMPTZ => moment(3).unwrap_or("std::time::SystemTime"),
        Type::UUID if cfg!(any(feature = "with-uuid-1", feature = "with-uuid-0_8")) => "uuid::Uuid",
        _ if <&str as FromSql<'_>>::accepts(type_) => "String",
        _ => return None,
    };
    Some(rust.into())
}

/// The Rust type that a crate or a feature would bring, where [`rust_type`] has none.
pub(crate) fn crate_type(type_: &Type) -> Option<String> {
    let (rust, from) = match type_.kind() {
        Kind::Domain(base) => return crate_type(base),
        Kind::Array(element) => (crate_type(element)?, None),
        _ => match *type_ {
            Type::NUMERIC => ("rust_decimal::Decimal".into(), Some("db-postgres of rust_decimal")),
            Type::UUID => ("uuid::Uuid".into(), Some("with-uuid-1 of maypole")),
            Type::DATE => ("chrono::NaiveDate".into(), Some("with-chrono-0_4 of maypole")),
            Type::TIME => ("chrono::NaiveTime".into(), Some("with-chrono-0_4 of maypole")),
            _ => return None,
        },
    };
    Some(match from {
        Some(feature) => format!("{rust} (feature {feature})"),
        None => format!("a Vec of {rust}"),
    })
}

/// The SQL type that fits this Rust type, written without paths; none if it is not one of the usual.
pub(crate) fn sql_type(rust: &str) -> Option<String> {
    let inside = |open: &str, close: char| rust.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    if let Some(value) = inside("Option<", '>') {
        return sql_type(value);
    }
    if let Some(value) = rust.strip_prefix('&') {
        // Perhaps with a lifetime.
        let named = value.strip_prefix('\'').and_then(|value| value.split_once(' '));
        return sql_type(named.map_or(value, |(_, value)| value));
    }
    if let Some(element) = inside("Vec<", '>').or_else(|| inside("[", ']')) {
        return if element == "u8" {
            Some("bytea".into())
        } else {
            sql_type(element).map(|element| format!("{element}[]"))
        };
    }
    let calendars = cfg!(any(
        feature = "with-jiff-0_1",
        feature = "with-jiff-0_2",
        feature = "with-time-0_2",
        feature = "with-time-0_3"
    ));
    let sql = match rust {
        "bool" => "bool",
        "i8" => "\"char\"",
        "i16" => "int2",
        "i32" => "int4",
        "i64" => "int8",
        "u32" => "oid",
        "f32" => "float4",
        "f64" => "float8",
        "str" | "String" | "Box<str>" | "SmolStr" => "text",
        _ if rust.starts_with("Cow<") && rust.ends_with("str>") => "text",
        "Value" => "jsonb",
        _ if rust.starts_with("Json<") => "jsonb",
        "Uuid" => "uuid",
        "Decimal" => "numeric",
        "IpAddr" => "inet",
        "NaiveDate" => "date",
        "NaiveTime" => "time",
        "NaiveDateTime" | "PrimitiveDateTime" => "timestamp",
        "SystemTime" | "OffsetDateTime" => "timestamptz",
        "DateTime<Utc>" | "DateTime<Local>" | "DateTime<FixedOffset>" => "timestamptz",
        // Words that other types are called by too.
        "Date" if calendars => "date",
        "Time" if calendars => "time",
        "DateTime" if calendars => "timestamp",
        "Timestamp" if calendars => "timestamptz",
        _ => return None,
    };
    Some(sql.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mood() -> Type {
        Type::new("Mood".into(), 90_000, Kind::Enum(vec!["glad".into(), "sad".into()]), "public".into())
    }

    #[test]
    fn an_enum_that_does_not_fit_is_told_with_its_name_and_labels() {
        let told = "the server's type is the enum \"Mood\" with the labels \"glad\", \"sad\": the names of the Rust enum \
                    must be the same, see #[postgres(name = …, rename_all = …)]";
        assert_eq!(for_enum(&mood(), "Mood", "FromSql").as_deref(), Some(told));
        let many = Type::new("_Mood".into(), 90_001, Kind::Array(mood()), "public".into());
        assert_eq!(for_enum(&many, "Vec<Mood>", "FromSql").as_deref(), Some(told));
        assert_eq!(advice(&mood(), "Mood"), format!("{told}; or cast the column to text in SQL"));
        assert_eq!(
            advice(&mood(), "Option<String>"),
            "use a Rust enum with postgres_types::FromSql derived; or cast the column to text in SQL"
        );
        assert_eq!(for_enum(&Type::TEXT, "Mood", "FromSql"), None);
    }

    #[test]
    fn of_several_calendars_the_one_in_use_is_kept() {
        let [chrono, jiff, time] = &CALENDARS;
        let all = [chrono, jiff, time].map(|calendar| Calendar { on: true, types: calendar.types });
        let chosen = |rust: &str| calendar(&all, rust).map(|calendar| calendar.types[2]);
        assert_eq!(chosen("Option<OffsetDateTime>"), Some("time::PrimitiveDateTime"));
        assert_eq!(chosen("&Timestamp"), Some("jiff::civil::DateTime"));
        assert_eq!(chosen("Vec<DateTime<Utc>>"), Some("chrono::NaiveDateTime"));
        assert_eq!(chosen("i32"), Some("chrono::NaiveDateTime"));
        let none = all.map(|calendar| Calendar { on: false, ..calendar });
        assert!(calendar(&none, "OffsetDateTime").is_none());
    }

    #[test]
    fn types_without_a_feature_are_named_with_it() {
        assert_eq!(
            advice(&Type::NUMERIC, "f64"),
            "use rust_decimal::Decimal (feature db-postgres of rust_decimal), or cast the column in SQL, for instance to text"
        );
        assert_eq!(
            crate_type(&Type::UUID_ARRAY).as_deref(),
            Some("a Vec of uuid::Uuid (feature with-uuid-1 of maypole)")
        );
        assert_eq!(crate_type(&Type::INTERVAL), None);
    }

    #[cfg(feature = "with-chrono-0_4")]
    #[test]
    fn times_are_those_of_the_feature_that_is_on() {
        assert_eq!(
            rust_type(&Type::TIMESTAMPTZ, "NaiveDateTime").as_deref(),
            Some("chrono::DateTime<chrono::Utc>")
        );
        assert_eq!(rust_type(&Type::DATE_ARRAY, "i32").as_deref(), Some("Vec<chrono::NaiveDate>"));
    }

    #[cfg(not(any(
        feature = "with-chrono-0_4",
        feature = "with-jiff-0_1",
        feature = "with-jiff-0_2",
        feature = "with-time-0_2",
        feature = "with-time-0_3"
    )))]
    #[test]
    fn times_are_those_of_the_standard_library_if_no_feature_is_on() {
        assert_eq!(rust_type(&Type::TIMESTAMPTZ, "NaiveDateTime").as_deref(), Some("std::time::SystemTime"));
        assert_eq!(rust_type(&Type::DATE, "i32"), None);
        assert_eq!(
            crate_type(&Type::DATE).as_deref(),
            Some("chrono::NaiveDate (feature with-chrono-0_4 of maypole)")
        );
    }

    #[cfg(feature = "with-uuid-1")]
    #[test]
    fn a_uuid_is_one_if_the_feature_is_on() {
        assert_eq!(rust_type(&Type::UUID, "String").as_deref(), Some("uuid::Uuid"));
    }

    #[test]
    fn rust_types_are_known_in_sql_behind_references_options_and_lists() {
        for (rust, sql) in [
            ("Option<Vec<i32>>", "int4[]"),
            ("Vec<u8>", "bytea"),
            ("&[u8]", "bytea"),
            ("&'static [i64]", "int8[]"),
            ("Option<&str>", "text"),
            ("Cow<'_, str>", "text"),
            ("NaiveDateTime", "timestamp"),
            ("DateTime<Utc>", "timestamptz"),
            ("Decimal", "numeric"),
            ("Json<Vec<i32>>", "jsonb"),
        ] {
            assert_eq!(sql_type(rust).as_deref(), Some(sql), "{rust}");
        }
        assert_eq!(sql_type("Mood"), None);
    }

    #[test]
    fn a_column_that_is_no_json_needs_no_json_or_a_conversion() {
        assert_eq!(
            json_advice(&Type::INT4_ARRAY, "Vec<i32>"),
            "leave json out, or convert the column to jsonb in SQL"
        );
        assert_eq!(
            json_advice(&Type::TEXT, "Vec<i32>"),
            "leave json out and use String, or convert the column to jsonb in SQL"
        );
    }
}
