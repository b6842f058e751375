//! Do the declared queries fit the database? Asks the server, and runs nothing.
//! Uses: call, connection, database, deadline, declared, error, off_thread, protocol, registry, source.

mod columns;
mod names;
mod nullability;
mod parameters;
mod planning;
mod report;

use std::collections::{HashMap, HashSet};

use postgres_types::Oid;

use self::columns::NotNull;
use self::report::{Entry, Finding};
use crate::call::help;
use crate::connection::{Connection, Described, Planned};
use crate::database::Database;
use crate::deadline::Deadline;
use crate::declared::{Declared, Kind};
use crate::error::{DbError, Error, Result};
use crate::off_thread::off_thread;
use crate::protocol::decode::Origin;
use crate::registry::{self, Registered};
use crate::source::Source;

pub use self::report::Report;

impl Database {
    /// Asks the server whether every query that the program declares for this database fits it, and runs none of them.
    ///
    /// At start-up it is `DB.check()?`, in a test `DB.check().unwrap()`. For each query the server is asked to parse it, and
    /// its parameters and columns are compared with the Rust types: what is wrong is an error. A place that can't hold NULL,
    /// whose column the catalogue says may be NULL or an outer join may leave empty, is a warning: the Rust type is what
    /// you mean, and the server can't know everything. `not_null = ["name"]` in the attribute silences it for a column.
    /// Statements that write are planned too: ON CONFLICT without its unique index is found only then.
    /// Warnings are logged too, with the target `maypole::check`.
    ///
    /// Queries of databases with the same setting are checked together. A database made from a pool has no setting, and so no
    /// declared queries: use [`check_on`](Database::check_on).
    ///
    /// ```no_run
    /// use maypole::{Database, Query, Result, select};
    ///
    /// static DB: Database = Database::named("database");
    ///
    /// #[select(DB, "SELECT name FROM customers WHERE id = :id")]
    /// fn name_of(id: i32) -> Query<String>;
    ///
    /// fn main() -> Result<()> {
    ///     let report = DB.check()?;
    ///     println!("{} queries fit, {} warnings", report.queries(), report.warnings());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If a query is wrong: the error's text is the whole report, with all that is wrong with all queries. If the server can't
    /// be asked.
    #[track_caller]
    pub fn check(&self) -> Result<Report> {
        let lease = self.pool()?.connection()?;
        self.check_on(&lease)
    }

    /// The same, on this session: with its search path, its temporary tables and its privileges, or on another database than
    /// the one that the queries name.
    ///
    /// It leaves the session as it was, except that the types of the database that it has not met yet are looked up as any
    /// query would.
    ///
    /// # Errors
    ///
    /// As for [`check`](Database::check), and if the session is in a transaction.
    ///
    /// # Cancel
    ///
    /// Nothing is left of it: what it had begun is rolled back, without waiting.
    pub fn check_on(&self, connection: &Connection) -> Result<Report> {
        connection.settle(Deadline::after(connection.timeout()))?;
        if connection.in_transaction() {
            return Err(Error::usage(
                "the queries can't be checked inside a transaction: use another session",
            ));
        }
        let report = Report::new(entries(connection, registry::of(self))?);
        report.warning_lines().for_each(|line| log::warn!(target: "maypole::check", "{line}"));
        if report.errors() > 0 {
            return Err(Error::usage(format!("the declared queries do not fit the database\n\n{report}")));
        }
        Ok(report)
    }
}

/// A query that the server has parsed.
struct Parsed {
    declared: &'static Declared,
    described: Described,
    findings: Vec<Finding>,
    not_null: Vec<NotNull>,
}

fn entries(
    connection: &Connection,
    queries: impl Iterator<Item = &'static Registered>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut parsed = Vec::new();
    for query in queries {
        match ask(connection, query) {
            Ok(query) => parsed.push(query),
            Err(Unparsed::Refused(entry)) => entries.push(entry),
            Err(Unparsed::Unasked(error)) => {
                return Err(error.in_query(&(query.declared)().context()));
            }
        }
    }
    let catalogue = nullable_columns(connection, &parsed)?;
    for mut query in parsed {
        let writes = !query.declared.select;
        if writes || !query.not_null.is_empty() {
            let plan = match plan(connection, query.declared)? {
                Planned::Plan(plan) => Some(plan),
                Planned::Refused(error) => {
                    query.findings.extend(planning::finding(&error));
                    None
                }
                Planned::Untold => None,
            };
            query.findings.extend(warnings(&query, plan, &catalogue));
        }
        entries.push(entry(query.declared, None, query.findings));
    }
    connection.close_unnamed()?;
    Ok(entries)
}

fn entry(declared: &'static Declared, refusal: Option<String>, findings: Vec<Finding>) -> Entry {
    Entry { name: declared.name, file: declared.file, line: declared.line, refusal, findings }
}

/// Why there is nothing to compare with.
enum Unparsed {
    /// The query is wrong.
    Refused(Entry),
    /// The server did not answer.
    Unasked(Error),
}

/// What the server says of a query, compared with what is declared.
fn ask(connection: &Connection, query: &Registered) -> Result<Parsed, Unparsed> {
    let declared = (query.declared)();
    let described = match connection.describe_text(declared.text, types_of(declared)) {
        Ok(described) => described,
        Err(error) if is_about_the_server(&error) => return Err(Unparsed::Unasked(error)),
        Err(error) => {
            let findings = told_wrongly(connection, declared, &error).map_err(Unparsed::Unasked)?;
            let mut context = declared.context();
            context.help = help(&error, Source::Declared(declared));
            let refusal = format!("{:?}", error.in_query(&context));
            return Err(Unparsed::Refused(entry(declared, Some(refusal), findings)));
        }
    };
    let statement = &described.statement;
    let mut findings = parameters::findings(declared, &statement.params);
    let compared = columns::compare(
        declared,
        (query.shape)().0,
        &statement.columns,
        statement.returns_rows,
        &|from, to| casts(connection, from, to),
    );
    findings.extend(compared.findings);
    Ok(Parsed { declared, described, findings, not_null: compared.not_null })
}

/// Whether an error says nothing about the statement: the connection was lost, time ran out, the server is busy or going
/// down (SQLSTATE classes 08, 40, 53, 57, 58, and 55P03).
fn is_about_the_server(error: &Error) -> bool {
    match error.sqlstate() {
        Some(code) => {
            code == "55P03" || ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        }
        None => error.is_closed() || error.is_timeout() || error.is_pool(),
    }
}

/// The arguments because of whose types the server refused the statement: with one of them left open it does not.
fn told_wrongly(connection: &Connection, declared: &'static Declared, error: &Error) -> Result<Vec<Finding>> {
    let Some(sqlstate) = error.sqlstate().filter(|sqlstate| parameters::OF_TYPES.contains(sqlstate)) else {
        return Ok(Vec::new());
    };
    let operator = at_an_operator(declared, error);
    for (number, argument) in declared.arguments.iter().enumerate() {
        if !matches!(argument.kind, Kind::Typed(_)) {
            continue;
        }
        let is_its = |at: usize| {
            declared.slots.get(at).is_some_and(|slot| usize::from(slot.argument) == number && !slot.null_test)
        };
        let types =
            types_of(declared).into_iter().enumerate().map(|(at, oid)| if is_its(at) { 0 } else { oid });
        match connection.describe_text(declared.text, types.collect()) {
            Ok(described) => {
                let params = described.statement.params.iter().enumerate();
                let taken = params.filter(|(at, type_)| is_its(*at) && type_.oid() != argument.kind.oid());
                return Ok(taken
                    .map(|(_, type_)| {
                        let casts = |from: &str, to: &str| casts(connection, from, to);
                        parameters::told_wrongly(argument, type_, (sqlstate, operator), &casts)
                    })
                    .collect());
            }
            Err(error) if is_about_the_server(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Vec::new())
}

/// Whether the server stumbled over an operator: functions have names.
fn at_an_operator(declared: &Declared, error: &Error) -> bool {
    let position = error.db_error().and_then(DbError::position);
    let position = position.and_then(|position| usize::try_from(position).ok()?.checked_sub(1));
    let stands_there = position.and_then(|position| declared.text.chars().nth(position));
    stands_there.is_some_and(|c| !(c.is_alphanumeric() || c == '_' || c == '"'))
}

/// Whether the server can cast a type to another: what is advised should work.
fn casts(connection: &Connection, from: &str, to: &str) -> bool {
    connection.describe_text(&format!("SELECT CAST(NULL::{from} AS {to})"), Vec::new()).is_ok()
}

/// The columns of tables that may be NULL, with their names.
type Nullable = HashMap<Origin, (String, String)>;

/// Looks up the columns that places without room for NULL are read from. Views are not asked about: their columns have no
/// NOT NULL whatever is below.
fn nullable_columns(connection: &Connection, parsed: &[Parsed]) -> Result<Nullable> {
    let origins = parsed.iter().flat_map(|query| {
        query.not_null.iter().filter_map(|place| query.described.origins.get(place.column).copied().flatten())
    });
    let tables: HashSet<Oid> = origins.map(|origin| origin.table).collect();
    if tables.is_empty() {
        return Ok(Nullable::new());
    }
    let tables: Vec<String> = tables.iter().map(Oid::to_string).collect();
    let rows = connection.text_rows(&format!(
        "SELECT a.attrelid, a.attnum, c.oid::pg_catalog.regclass, pg_catalog.quote_ident(a.attname) \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped \
         AND NOT a.attnotnull AND NOT t.typnotnull",
        tables.join(", ")
    ));
    let rows = match rows {
        // A catalogue that is not PostgreSQL's own contradicts nothing.
        Err(error) if error.db_error().is_some() && !is_about_the_server(&error) => {
            return Ok(Nullable::new());
        }
        rows => rows?,
    };
    let column = |row: Vec<Option<String>>| {
        let [table, attribute, table_name, name] = <[Option<String>; 4]>::try_from(row).ok()?;
        let origin = Origin { table: table?.parse().ok()?, attribute: attribute?.parse().ok()? };
        Some((origin, (table_name?, name?)))
    };
    Ok(rows.into_iter().filter_map(column).collect())
}

/// What contradicts the places that have no room for NULL.
fn warnings(query: &Parsed, plan: Option<String>, catalogue: &Nullable) -> Vec<Finding> {
    if query.not_null.is_empty() {
        return Vec::new();
    }
    let columns = query.described.statement.columns.len();
    // A plan may nest deeper than a coroutine's stack allows its reader to go.
    let joined =
        plan.map(|plan| off_thread("maypole check", move || nullability::outer_joined(&plan, columns)));
    let joined = joined.and_then(|joined| joined.ok().flatten()).unwrap_or_default();
    let warnings = query.not_null.iter().filter_map(|place| {
        let origin = query.described.origins.get(place.column).copied().flatten();
        if let Some((table, column)) = origin.and_then(|origin| catalogue.get(&origin)) {
            let unless =
                format!("or change the column: ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL");
            return Some(place.warning(format!("{table}.{column} may be NULL"), unless));
        }
        joined.get(place.column).copied().unwrap_or(false).then(|| {
            let name = names::quoted(&place.name);
            let unless = format!("or give it a value in the SQL: coalesce(…, …) AS {name}");
            place.warning("is NULL in rows that the outer join finds no match for".to_owned(), unless)
        })
    });
    warnings.collect()
}

/// What the server says of the plan of a query.
fn plan(connection: &Connection, declared: &'static Declared) -> Result<Planned> {
    let types: Vec<String> = types_of(declared).into_iter().map(sql_type).collect();
    connection.generic_plan(declared.text, &types)
}

/// What the server is told of its parameters.
fn types_of(declared: &'static Declared) -> Vec<Oid> {
    Source::Declared(declared).types()
}

/// How a built-in type is called in a list of types; 0 leaves it open.
fn sql_type(oid: Oid) -> String {
    use postgres_types::Type;
    match Type::from_oid(oid) {
        Some(type_) => format!("pg_catalog.\"{}\"", type_.name()),
        None => "unknown".to_owned(),
    }
}
