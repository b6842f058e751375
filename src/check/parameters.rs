//! Whether the arguments of a query can be sent as what the server expects. Uses: columns, declared, names, protocol, report.
//!
//! What is told is what fails, or may fail, when the query runs: a value of a built-in type whose type the server was told
//! is never refused; a text is read by the server as whatever it expects, and where that is a number, a truth value or
//! bytes, the text is taken to be a mistake, as it is with ad-hoc queries; anything else is asked by its `ToSql`.

use postgres_types::{Kind as Shape, Type};

use super::names::{self, rust_for, sql_name};
use super::report::{Finding, Severity};
use crate::columns::{short_name, sql_type};
use crate::declared::{Argument, Declared, Kind};
use crate::protocol::bind::has_rust_type;

/// "operator does not exist"; functions have it too.
const NO_OPERATOR: &str = "42883";
/// "column is of type … but expression is of type …"
const OTHER_TYPE: &str = "42804";
/// "op ANY/ALL (array) requires array on right side"
const NO_LIST: &str = "42809";
/// "cannot cast type"
const NO_CAST: &str = "42846";

/// The states of errors that may come from the type that the server was told.
pub(super) const OF_TYPES: [&str; 7] = [NO_OPERATOR, OTHER_TYPE, NO_LIST, NO_CAST, "42725", "42P08", "42P18"];

/// What is wrong with the arguments, if the server expects these types.
pub(super) fn findings(declared: &'static Declared, expected: &[Type]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (slot, type_) in declared.slots.iter().zip(expected) {
        let Some(argument) = declared.arguments.get(usize::from(slot.argument)) else { continue };
        if !slot.null_test {
            let message = mismatch(argument, type_).map(|message| {
                if is_array(type_) && !is_list(argument.type_name) && stands_in_any(declared, argument) {
                    one_for_list(argument, type_, argument.type_name)
                } else {
                    message
                }
            });
            findings.extend(message.map(|message| finding(argument, type_, message)));
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

/// What the server would take, where it refuses the statement because of the type that it was told, with this SQLSTATE.
/// `casts` says whether the first of two types can be cast to the second.
///
/// `operator`: whether the server stumbled over an operator, and not over a function.
pub(super) fn told_wrongly(
    argument: &Argument,
    type_: &Type,
    (sqlstate, operator): (&str, bool),
    casts: &dyn Fn(&str, &str) -> bool,
) -> Finding {
    let type_of_told = Type::from_oid(argument.kind.oid()).unwrap_or(Type::UNKNOWN);
    let (name, told, sql) = (argument.name, sql_name(&type_of_told), sql_name(type_));
    let mut message = vec![format!("is sent as {told}, the statement takes {sql} there")];
    match sqlstate {
        NO_OPERATOR if operator && is_array(&type_of_told) && !is_array(type_) => {
            message[0] = format!("a list, {told}, is compared with one {sql}");
            message.push(format!("compare with each of the list: = ANY(:{name})"));
            message.push(format!("or {}", change(argument, type_)));
        }
        NO_LIST if !is_array(&type_of_told) => {
            message = one_for_list(argument, type_, &told);
        }
        NO_CAST => {
            message[0] = format!("is sent as {told}, which can't be cast to {sql}");
            message.push(change(argument, type_));
            message.push("or cast it to another type in the SQL".to_owned());
        }
        _ => {
            message.push(change(argument, type_));
            let by_column = sqlstate == OTHER_TYPE || sqlstate == NO_OPERATOR && operator;
            let column = by_column.then(|| format!("change the column to {told}"));
            let cast = casts(&told, &sql).then(|| format!("cast it in the SQL, CAST(:{name} AS {sql})"));
            let others: Vec<String> = [cast, column].into_iter().flatten().collect();
            if !others.is_empty() {
                message.push(format!("or {}", others.join(", or ")));
            }
        }
    }
    finding(argument, type_, message)
}

/// What to say of one value, of what is called `what`, where a list is compared with.
fn one_for_list(argument: &Argument, type_: &Type, what: &str) -> Vec<String> {
    vec![
        format!("one {what}, where the statement takes a list, {}", sql_name(type_)),
        format!("compare with the one value: = :{}", argument.name),
        format!("or {}", change(argument, type_)),
    ]
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

/// What to say of a list where one value is taken.
fn list_for_one(argument: &Argument, type_: &Type) -> Vec<String> {
    vec![
        format!("a list, and the statement takes one {}", sql_name(type_)),
        change(argument, type_),
        format!("or compare with each of the list: = ANY(:{})", argument.name),
    ]
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
        Kind::TextArray if !is_array(type_) => list_for_one(argument, type_),
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
            if is_list(argument.type_name) && !is_array(type_) {
                return Some(list_for_one(argument, type_));
            }
            vec![
                format!("can't be sent as {sql}, which the statement takes there"),
                change(argument, type_),
                match sql_type(&short_name(argument.type_name)) {
                    _ if matches!(type_.kind(), Shape::Enum(_)) => {
                        format!("or send the label as a text: :{name} of type &str")
                    }
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
    let change = names::change(type_, argument.type_name, "ToSql");
    let enumerated = matches!(type_.kind(), Shape::Enum(_));
    let text = rust_for(type_, argument.type_name).is_none() && is_text_for(type_);
    if text && !enumerated { format!("{change}, or to String: the server reads its text") } else { change }
}

/// Whether the Rust type, as it was written, is a list.
fn is_list(type_name: &str) -> bool {
    let short = short_name(type_name);
    let inner = short.strip_prefix("Option<").unwrap_or(&short);
    inner.starts_with("Vec<") || inner.starts_with("Box<[") || inner.starts_with('&') && inner.contains('[')
}

/// Whether the argument is all there is in `ANY (…)`, or in its like.
fn stands_in_any(declared: &Declared, argument: &Argument) -> bool {
    let named = maypole_sql::parameters(declared.source).named;
    named.iter().filter(|used| used.name == argument.name).any(|used| {
        let before = declared.source.get(..used.at).unwrap_or_default().trim_end();
        let word = before.strip_suffix('(').unwrap_or_default().trim_end();
        let start = word.rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + 1);
        let word = word.get(start..).unwrap_or_default();
        ["any", "some", "all"].iter().any(|name| word.eq_ignore_ascii_case(name))
    })
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
        assert!(wrong(Kind::Open, &Type::INET).expect("no address").contains("IpAddr"));
        assert_eq!(wrong(Kind::Typed(23), &Type::TEXT), None, "the server has refused it if it is wrong");
    }
}
