//! Whether the columns of a statement fit what its rows become. Uses: columns, declared, names, outline, registry, report.

use postgres_types::Kind;

use maypole_sql::closest;

use crate::columns::{Column, Columns, FROM_JSON, crate_type, short_name, sql_type};
use crate::declared::Declared;
use crate::outline::Place;
use crate::registry::Shape;

use super::names::{change, quoted, rust_for, sql_name};
use super::report::{Finding, Severity};

/// What was found, and the places that can't hold NULL, for a look at where their columns come from.
pub(super) struct Compared {
    pub(super) findings: Vec<Finding>,
    /// Those with a column, in which nothing is wrong and about which the query says nothing itself.
    pub(super) not_null: Vec<NotNull>,
}

/// A place that can't hold NULL.
pub(super) struct NotNull {
    pub(super) column: usize,
    pub(super) name: String,
    /// The type of the place, as optional as it is.
    rust_type: String,
    rust: String,
    sql: String,
}

impl NotNull {
    /// A warning that there may be NULL; `unless` is what may be changed in the database or the SQL.
    pub(super) fn warning(&self, why: String, unless: String) -> Finding {
        let NotNull { name, rust_type, .. } = self;
        Finding {
            severity: Severity::Warning,
            name: name.clone(),
            rust: self.rust.clone(),
            sql: self.sql.clone(),
            message: vec![
                why,
                format!("change the Rust type to Option<{rust_type}>"),
                unless,
                format!("or, if you know that it is never NULL here, say so: not_null = [{name:?}]"),
            ],
        }
    }
}

/// Compares what rows become with the columns that the statement returns, if it returns rows. `casts` says whether the
/// first of two types can be cast to the second.
pub(super) fn compare(
    declared: &'static Declared,
    shape: Option<Shape>,
    columns: &Columns,
    returns_rows: bool,
    casts: &dyn Fn(&str, &str) -> bool,
) -> Compared {
    let mut findings = Vec::new();
    let mut not_null = Vec::new();
    match shape {
        Some(shape) if !returns_rows => {
            let rust = short_name((shape.rust)());
            findings.push(about_all(
                rust,
                [
                    "the statement returns no rows",
                    "declare -> Query, without a row type",
                    "or let it return columns, with RETURNING",
                ],
            ));
        }
        Some(shape) => {
            let places = (shape.outline)(columns);
            match (shape.check)(columns) {
                Ok(()) => not_null = strict(&places, columns, declared.not_null),
                Err(error) => {
                    findings = misfits(&places, columns, casts);
                    // Whatever the outline says, such a row can't be read.
                    if findings.is_empty() {
                        let rust = short_name((shape.rust)());
                        findings.push(about_all(rust, [error.to_string()]));
                    }
                }
            }
        }
        None if returns_rows && columns.iter().any(|column| column.type_().name() != "void") => {
            findings.push(about_all(
                String::new(),
                [
                    format!("the statement returns rows: {}", columns.summary()),
                    "declare -> Query<T> with the type of a row".to_owned(),
                    "or let it return nothing: leave RETURNING out".to_owned(),
                ],
            ));
        }
        None => {}
    }
    findings.extend(declared.not_null.iter().filter_map(|name| unknown_not_null(name, columns)));
    Compared { findings, not_null }
}

fn about_all<S: Into<String>>(rust: String, message: impl IntoIterator<Item = S>) -> Finding {
    Finding {
        severity: Severity::Error,
        name: String::new(),
        rust,
        sql: String::new(),
        message: message.into_iter().map(Into::into).collect(),
    }
}

/// The places that hold no NULL, without those of the columns named.
fn strict(places: &[Place], columns: &Columns, silenced: &[&str]) -> Vec<NotNull> {
    let strict = places.iter().filter(|place| !place.nullable).filter_map(|place| {
        let position = place.column?;
        let column = columns.get(position)?;
        (!silenced.contains(&column.name())).then(|| NotNull {
            column: position,
            name: column.name().to_owned(),
            rust_type: place.rust.clone(),
            rust: rust(place),
            sql: sql_name(column.type_()),
        })
    });
    strict.collect()
}

/// What keeps the columns from fitting.
fn misfits(places: &[Place], columns: &Columns, casts: &dyn Fn(&str, &str) -> bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for place in places {
        let Some(problem) = &place.problem else { continue };
        let column = place.column.and_then(|position| columns.get(position));
        findings.push(match column {
            Some(column) => wrong(place, column, problem, casts),
            None => missing(place, problem),
        });
    }
    // A type with its own idea of a row has no places for columns that it refuses as a whole.
    let as_a_whole = matches!(places, [place] if place.column.is_none() && place.field == place.rust);
    if !as_a_whole {
        let taken = |position, name: &str| {
            places.iter().any(|place| {
                // A name that occurs twice is the mistake of the place that looks for it, and told there.
                let twin = place.column.is_some() && place.name == name && !goes_by_position(place);
                place.column == Some(position) || twin
            })
        };
        let unwanted =
            columns.iter().enumerate().filter(|(position, column)| !taken(*position, column.name()));
        findings.extend(unwanted.map(|(_, column)| nobodys(column, places)));
    }
    findings
}

fn wrong(place: &Place, column: &Column, problem: &str, casts: &dyn Fn(&str, &str) -> bool) -> Finding {
    let (name, sql) = (column.name(), sql_name(column.type_()));
    let beginning = format!("column \"{name}\" is {}, which ", column.type_());
    let message = match problem.strip_prefix(&beginning) {
        Some(what) => {
            let what = what.split_once(": ").map_or(what, |(what, _)| what);
            let (change, cast) = if what.ends_with(FROM_JSON) {
                json_fixes(place, column, casts)
            } else {
                fixes(place, column, casts)
            };
            vec![what.to_owned(), change, cast]
        }
        // It says itself what to do.
        None => vec![problem.to_owned()],
    };
    Finding { severity: Severity::Error, name: name.to_owned(), rust: rust(place), sql, message }
}

/// The change on the Rust side, and the one on the other.
fn fixes(place: &Place, column: &Column, casts: &dyn Fn(&str, &str) -> bool) -> (String, String) {
    let sql = sql_name(column.type_());
    // Values that come in text format are texts, whatever their type is.
    let change = change(column.wire(), &place.rust, "FromSql");
    let alias = alias(place, column);
    let cast = match sql_type(&place.rust) {
        // The labels of an enum are texts and nothing else.
        _ if matches!(column.type_().kind(), Kind::Enum(_)) => {
            format!("or read the label, as String: CAST(… AS text){alias} in the SQL")
        }
        Some(wanted) if casts(&sql, &wanted) => {
            format!("or cast the column in the SQL: CAST(… AS {wanted}){alias}")
        }
        Some(wanted) => format!("or select something else, that is {wanted}"),
        None => format!("or cast the column in the SQL to what {} is", place.rust),
    };
    (change, cast)
}

/// The same for a place that is read from JSON.
fn json_fixes(place: &Place, column: &Column, casts: &dyn Fn(&str, &str) -> bool) -> (String, String) {
    let sql = sql_name(column.type_());
    let change = match rust_for(column.wire(), &place.rust) {
        Some(fits) if short_name(&fits) != place.rust => {
            format!("leave #[maypole(json)] out, and change the Rust type to {fits}")
        }
        _ => "leave #[maypole(json)] out".to_owned(),
    };
    let alias = alias(place, column);
    let converted = if casts(&sql, "jsonb") { "CAST(… AS jsonb)" } else { "to_jsonb(…)" };
    (change, format!("or convert the column in the SQL: {converted}{alias}"))
}

/// What gives an expression that stands for the column its name.
fn alias(place: &Place, column: &Column) -> String {
    // The server had no name for it, and what goes by position needs none.
    if column.name() == "?column?" && goes_by_position(place) {
        return String::new();
    }
    format!(" AS {}", quoted(column.name()))
}

fn goes_by_position(place: &Place) -> bool {
    place.field.starts_with("tuple.") || place.field == "value"
}

fn missing(place: &Place, problem: &str) -> Finding {
    let mut message = vec![problem.to_owned()];
    if goes_by_position(place) {
        message.push("leave it out of the Rust type".to_owned());
        message.push("or select one column more".to_owned());
    } else if place.field != place.rust {
        message.push("remove the field, or mark it #[maypole(default)]".to_owned());
        message.push(format!("or select a column of the name {}", quoted(&place.name)));
    }
    let by_name = place.name.parse::<usize>().is_err();
    Finding {
        severity: Severity::Error,
        name: if by_name { place.name.clone() } else { String::new() },
        rust: rust(place),
        sql: String::new(),
        message,
    }
}

/// A column that nothing is read from.
fn nobodys(column: &Column, places: &[Place]) -> Finding {
    let (name, type_) = (column.name(), column.type_());
    let owner = places.first().and_then(|place| place.field.split_once('.')).map(|(owner, _)| owner);
    let fits = rust_for(type_, "")
        .or_else(|| crate_type(type_))
        .unwrap_or_else(|| format!("a type whose FromSql accepts {}", sql_name(type_)));
    let lonely = places.iter().filter(|place| place.column.is_none() && place.problem.is_some());
    let (what, add) = match owner {
        Some("tuple") => ("the tuple has no place for it".to_owned(), format!("add {fits} to the tuple")),
        Some(owner) => {
            let what = match closest(name, lonely.map(|place| &*place.name)) {
                Some(close) => format!("no field takes it, did you mean \"{close}\"?"),
                None => "no field takes it".to_owned(),
            };
            (what, format!("add a field {name} to {owner}: {fits}"))
        }
        None => {
            ("one value is wanted".to_owned(), "take a tuple, or a struct with #[derive(FromRow)]".to_owned())
        }
    };
    let leave = "or leave the column out of the SQL".to_owned();
    Finding {
        severity: Severity::Error,
        name: name.to_owned(),
        rust: String::new(),
        sql: sql_name(type_),
        message: vec![what, add, leave],
    }
}

fn unknown_not_null(name: &str, columns: &Columns) -> Option<Finding> {
    if columns.iter().any(|column| column.name() == name) {
        return None;
    }
    let close = closest(name, columns.iter().map(Column::name));
    let close = close.map_or(String::new(), |close| format!(", did you mean {close:?}?"));
    let message = vec![
        format!("not_null names a column that the statement does not return{close}"),
        "correct the name in the attribute, or remove it".to_owned(),
    ];
    Some(Finding { name: name.to_owned(), ..about_all(String::new(), message) })
}

/// A place and its type, as it is declared.
fn rust(place: &Place) -> String {
    if place.field == "value" || place.field == place.rust {
        place.rust.clone()
    } else {
        format!("{}: {}", place.field, place.rust)
    }
}

#[cfg(test)]
mod tests {
    use postgres_types::Type;

    use super::*;

    /// The change on the other side for a column of this name and type, read into a place that goes by position.
    fn cast(name: &str, type_: Type, rust: &str, possible: bool) -> String {
        let place = Place { column: Some(0), ..Place::at(0, "tuple.0".into(), rust) };
        fixes(&place, &Column::new(name, type_), &|_, _| possible).1
    }

    #[test]
    fn a_cast_names_the_sql_type_of_the_rust_type() {
        assert_eq!(
            cast("at", Type::TIMESTAMPTZ, "Option<chrono::NaiveDateTime>", true),
            "or cast the column in the SQL: CAST(… AS timestamp) AS at"
        );
        assert_eq!(
            cast("n", Type::INT4, "rust_decimal::Decimal", true),
            "or cast the column in the SQL: CAST(… AS numeric) AS n"
        );
        assert_eq!(cast("n", Type::INT4, "uuid::Uuid", false), "or select something else, that is uuid");
        assert_eq!(cast("n", Type::INT4, "a::Mood", true), "or cast the column in the SQL to what Mood is");
    }

    #[test]
    fn a_name_that_sql_would_read_as_another_is_quoted() {
        assert!(cast("Order id", Type::INT4, "String", true).ends_with("AS text) AS \"Order id\""));
        assert!(cast("?column?", Type::INT4, "String", true).ends_with("AS text)"));
    }
}
