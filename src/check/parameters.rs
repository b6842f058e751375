//! Whether the arguments of a query can be sent as what the server expects. Uses: columns, declared, names, protocol, report.
//!
//! What is told is what fails, or may fail, when the query runs: a value of a built-in type whose type the server was told
//! is never refused; a text is read by the server as whatever it expects, and where that is a number, a truth value or
//! bytes, the text is taken to be a mistake, as it is with ad-hoc queries; anything else is asked by its `ToSql`.

use postgres_types::{Kind as Shape, Type};

use super::names::{rust_for, sql_for, sql_name};
use super::report::{Finding, Severity};
use crate::columns::short_name;
use crate::declared::{Argument, Declared, Kind};
use crate::protocol::bind::has_rust_type;

/// What is wrong with the arguments, if the server expects these types.
pub(super) fn findings(declared: &'static Declared, expected: &[Type]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (slot, type_) in declared.slots.iter().zip(expected) {
        let Some(argument) = declared.arguments.get(usize::from(slot.argument)) else { continue };
        if !slot.null_test {
            findings.extend(mismatch(argument, type_).map(|message| finding(argument, type_, message)));
        } else if argument.kind == Kind::Open
            && !declared.slots.iter().any(|other| other.argument == slot.argument && !other.null_test)
        {
            let name = argument.name;
            let message = vec![
                "only stands before IS NULL, which does not tell its type".to_owned(),
                format!("write a cast: (:{name}::type) IS NULL"),
                "or change the Rust type to one that leaves no doubt, such as Option<&str>".to_owned(),
            ];
            findings.push(Finding { sql: "?".into(), ..finding(argument, type_, message) });
        }
    }
    findings
}

/// What the server would take, where it refuses the statement because of the type that it was told. `casts` says whether the
/// first of two types can be cast to the second.
pub(super) fn told_wrongly(argument: &Argument, type_: &Type, casts: &dyn Fn(&str, &str) -> bool) -> Finding {
    let told = Type::from_oid(argument.kind.oid()).unwrap_or(Type::UNKNOWN);
    let (name, told, sql) = (argument.name, sql_name(&told), sql_name(type_));
    let column = format!("or change the column to {told}");
    let message = vec![
        format!("is sent as {told}, the statement takes {sql} there"),
        change(argument, type_),
        if casts(&told, &sql) {
            format!("or cast it in the SQL, CAST(:{name} AS {sql}), {column}")
        } else {
            column
        },
    ];
    finding(argument, type_, message)
}

fn finding(argument: &Argument, type_: &Type, message: Vec<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        name: format!(":{}", argument.name),
        rust: argument.type_name.to_owned(),
        sql: sql_name(type_),
        message,
    }
}

/// Why values of the argument can't be sent as this type.
fn mismatch(argument: &Argument, type_: &Type) -> Option<Vec<String>> {
    let (name, sql) = (argument.name, sql_name(type_));
    let message = match argument.kind {
        // The server keeps to what it is told, or refuses the statement.
        Kind::Typed(_) => return None,
        Kind::Text if is_text_for(type_) => return None,
        Kind::Text => vec![
            format!("a text, and the statement takes {sql}"),
            change(argument, type_),
            format!("or convert it in the SQL: (:{name}::text)::{sql}"),
        ],
        Kind::TextArray if is_text_list_for(type_) => return None,
        Kind::TextArray if !is_array(type_) => vec![
            format!("a list, and the statement takes one {sql}"),
            change(argument, type_),
            format!("or compare with each of the list: = ANY(:{name})"),
        ],
        Kind::TextArray => vec![
            format!("a list of texts, and the statement takes {sql}"),
            change(argument, type_),
            format!("or convert it in the SQL: (:{name}::text[])::{sql}"),
        ],
        Kind::Open => {
            let accepts = argument.accepts?;
            if is_open_for(accepts, type_) {
                return None;
            }
            vec![
                format!("can't be sent as {sql}, which the statement takes there"),
                change(argument, type_),
                match sql_for(&short_name(argument.type_name)) {
                    Some(own) => format!("or cast it in the SQL: CAST(:{name} AS {own})"),
                    None => {
                        format!("or cast it in the SQL to what {} is, CAST(:{name} AS …)", argument.type_name)
                    }
                },
            ]
        }
    };
    Some(message)
}

/// The change on the Rust side.
fn change(argument: &Argument, type_: &Type) -> String {
    match rust_for(type_, argument.type_name) {
        Some(rust) => format!("change the Rust type to {rust}"),
        None => format!("change the Rust type to one whose ToSql accepts {}", sql_name(type_)),
    }
}

/// Whether values travel as this type: as `protocol::bind` writes them.
fn is_open_for(accepts: fn(&Type) -> bool, type_: &Type) -> bool {
    accepts(type_)
        || match type_.kind() {
            Shape::Domain(base) => is_open_for(accepts, base),
            Shape::Array(_) => is_text_list_for(type_) && accepts(&Type::TEXT_ARRAY),
            _ => is_text_for(type_) && accepts(&Type::TEXT),
        }
}

/// Whether a text is likely to be the text of such a value.
fn is_text_for(type_: &Type) -> bool {
    match type_.kind() {
        Shape::Domain(base) => is_text_for(base),
        Shape::Array(_) => false,
        _ => !has_rust_type(type_),
    }
}

fn is_text_list_for(type_: &Type) -> bool {
    match type_.kind() {
        Shape::Domain(base) => is_text_list_for(base),
        Shape::Array(element) => !has_rust_type(element),
        _ => false,
    }
}

fn is_array(type_: &Type) -> bool {
    match type_.kind() {
        Shape::Domain(base) => is_array(base),
        shape => matches!(shape, Shape::Array(_)),
    }
}

#[cfg(test)]
mod tests {
    use postgres_types::ToSql;

    use super::*;

    fn wrong(kind: Kind, type_: &Type) -> Option<String> {
        let argument = Argument { name: "x", type_name: "T", kind, accepts: Some(<f64 as ToSql>::accepts) };
        mismatch(&argument, type_).map(|message| message.join("; "))
    }

    fn domain(base: Type) -> Type {
        Type::new("d".into(), 90_000, Shape::Domain(base), "public".into())
    }

    #[test]
    fn a_text_fits_whatever_has_no_rust_type_of_its_own() {
        let mood = Type::new("mood".into(), 90_001, Shape::Enum(vec!["happy".into()]), "public".into());
        for fits in [
            &Type::TEXT,
            &Type::UUID,
            &Type::JSONB,
            &Type::DATE,
            &Type::NUMERIC,
            &mood,
            &domain(mood.clone()),
        ] {
            assert_eq!(wrong(Kind::Text, fits), None, "{fits}");
        }
        for wrong_type in [&Type::INT4, &Type::BOOL, &Type::BYTEA, &domain(Type::FLOAT8), &Type::TEXT_ARRAY] {
            assert!(wrong(Kind::Text, wrong_type).is_some(), "{wrong_type}");
        }
        assert_eq!(
            wrong(Kind::Text, &Type::INT4).as_deref(),
            Some(
                "a text, and the statement takes int4; change the Rust type to i32; \
                  or convert it in the SQL: (:x::text)::int4"
            )
        );
    }

    #[test]
    fn a_list_of_texts_fits_arrays_only() {
        assert_eq!(wrong(Kind::TextArray, &Type::UUID_ARRAY), None);
        assert_eq!(wrong(Kind::TextArray, &domain(Type::TEXT_ARRAY)), None);
        assert!(wrong(Kind::TextArray, &Type::INT4_ARRAY).expect("numbers").contains("(:x::text[])::int4[]"));
        assert!(wrong(Kind::TextArray, &Type::TEXT).expect("one text").contains("= ANY(:x)"));
    }

    #[test]
    fn other_types_are_asked_what_they_accept() {
        assert_eq!(wrong(Kind::Open, &Type::FLOAT8), None);
        assert_eq!(wrong(Kind::Open, &domain(Type::FLOAT8)), None);
        assert!(wrong(Kind::Open, &Type::TIMESTAMPTZ).expect("no date").contains("SystemTime"));
        assert_eq!(wrong(Kind::Typed(23), &Type::TEXT), None, "the server has refused it if it is wrong");
    }
}
