//! The SQL of a declared query: found, checked, and made what the server gets.

use std::path::{Path, PathBuf};
use std::{env, fs};

use maypole_sql::{Mistake, Nature, Slot};
use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::{Error, LitStr, Signature};

use super::check::{self, Argument};
use super::parse::{Attr, Source};
use crate::types;

/// SQL as it was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: String,
    /// The path of its file, as it was given.
    pub(super) file: Option<String>,
    /// What says it.
    pub(super) span: Span,
}

/// SQL as the server gets it, and what is known of it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) text: String,
    /// Where characters of it are from: places in the text and in what was written.
    pub(super) edits: Vec<(u32, u32)>,
    pub(super) slots: Vec<Slot>,
    pub(super) nature: Nature,
}

/// Finds the SQL.
pub(super) fn written(source: &Source) -> Result<Written, Error> {
    let span = source.span();
    match source {
        Source::Inline(literal) => Ok(Written { text: literal.value(), file: None, span }),
        Source::File(path) => Ok(Written { text: contents(path)?, file: Some(path.value()), span }),
    }
}

fn contents(path: &LitStr) -> Result<String, Error> {
    let refuse = |why: String| Err(Error::new(path.span(), why));
    let given = path.value();
    if given.is_empty() {
        return refuse("a file has a name: file = \"sql/name.sql\"".to_owned());
    }
    if Path::new(&given).is_absolute() {
        return refuse(format!(
            "{given} is absolute; give the path from the folder of the crate's Cargo.toml"
        ));
    }
    let folder = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let whole = folder.join(&given);
    // Not the whole path: messages are the same on every machine.
    let start = match env::var("CARGO_PKG_NAME") {
        Ok(name) => format!("the folder of the Cargo.toml of {name}"),
        Err(_) => "the folder of Cargo.toml".to_owned(),
    };
    match fs::read(&whole).map(String::from_utf8) {
        // Some editors begin a file with a byte order mark; PostgreSQL takes it for part of a word.
        Ok(Ok(text)) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Ok(Err(_)) => refuse(format!("{given} is not in UTF-8: save it as such")),
        Err(error) => {
            let mut why = format!("can't read {given}: {error}; the path begins in {start}");
            if let Some(near) = beside(path, &folder, &given) {
                why += &format!(", did you mean \"{near}\"?");
            }
            refuse(why)
        }
    }
}

/// The path of the file if it is relative to the program's file, as it would be for `include_str!`.
fn beside(literal: &LitStr, folder: &Path, given: &str) -> Option<String> {
    if !proc_macro::is_available() {
        return None;
    }
    // This can't panic: we are in the compiler, as was asked above.
    let program = literal.span().unwrap().local_file()?;
    let found = program.parent()?.join(given).canonicalize().ok()?;
    let inside = found.strip_prefix(folder.canonicalize().ok()?).ok()?;
    Some(inside.to_str()?.replace('\\', "/"))
}

impl Written {
    /// What the server gets, or all mistakes at once, each where it is made.
    pub(super) fn check(&self, attr: Attr, signature: &Signature) -> Result<Sent, Vec<Error>> {
        let arguments = &check::arguments(signature);
        let statements = match maypole_sql::statements(&self.text) {
            Ok(statements) => statements,
            Err(mistake) => return Err(vec![self.error(&mistake)]),
        };
        let Some(first) = statements.first() else {
            let why = if self.text.trim().is_empty() {
                "the SQL is empty"
            } else {
                "there is no statement in the SQL"
            };
            return Err(vec![Error::new(self.span, self.located(0, why))]);
        };
        let mut mistakes = Vec::new();
        if let Some(second) = statements.get(1) {
            mistakes.push(at(
                second.clone(),
                "a declared query is one statement; for several, use script: DB.script(\"…\") runs them all or none",
            ));
        }
        mistakes.extend(self.lists(arguments));
        let nature = maypole_sql::nature(&self.text[first.clone()]);
        if attr == Attr::Select
            && let Some(mistake) = &nature.select
        {
            mistakes.push(Mistake { at: mistake.at + first.start, ..mistake.clone() });
        }
        // Without all names, which is reported elsewhere, the parameters can't be judged.
        if arguments.len() < signature.inputs.len() {
            return Err(self.errors(mistakes, arguments));
        }
        let names: Vec<String> =
            arguments.iter().map(|argument| argument.ident.unraw().to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let named = maypole_sql::name_parameters(&self.text, &names);
        mistakes.extend(named.as_ref().err().into_iter().flatten().cloned());
        match named {
            Ok(named) if mistakes.is_empty() => {
                let (text, edits) = dressed(&signature.ident.unraw().to_string(), &named);
                Ok(Sent { text, edits, slots: named.slots, nature })
            }
            _ => Err(self.errors(mistakes, arguments)),
        }
    }

    /// `IN (:ids)` with a list: PostgreSQL takes it for a single value.
    fn lists(&self, arguments: &[Argument<'_>]) -> Vec<Mistake> {
        let found = maypole_sql::parameters(&self.text);
        let mut mistakes = Vec::new();
        for used in found.named.iter().filter(|used| used.sole_in) {
            let list = arguments
                .iter()
                .any(|argument| argument.ident.unraw() == used.name && types::is_list(argument.type_));
            if list {
                let (name, not, instead) = (
                    used.name,
                    if used.negated { "NOT " } else { "" },
                    if used.negated { "<> ALL" } else { "= ANY" },
                );
                mistakes.push(at(
                    used.at..used.at + 1 + name.len(),
                    &format!(
                        "{not}IN compares with single values and :{name} is a list: write `{instead}(:{name})` in \
                         place of `{not}IN (:{name})`"
                    ),
                ));
            }
        }
        mistakes
    }

    /// In the order of the text; an argument that is not used is shown itself.
    fn errors(&self, mut mistakes: Vec<Mistake>, arguments: &[Argument<'_>]) -> Vec<Error> {
        // Whoever numbers parameters uses the arguments so: that is one mistake.
        if maypole_sql::parameters(&self.text).numbered.is_some() {
            mistakes.retain(|mistake| mistake.length > 0);
        }
        mistakes.sort_by_key(|mistake| (mistake.length == 0, mistake.at));
        let error = |mistake: &Mistake| {
            let unused = arguments.iter().find(|argument| {
                let begin = format!("parameter :{} ", argument.ident.unraw());
                mistake.length == 0 && mistake.message.starts_with(&begin)
            });
            match unused {
                Some(argument) => Error::new(argument.ident.span(), &mistake.message),
                None => self.error(mistake),
            }
        };
        mistakes.iter().map(error).collect()
    }

    /// The message with the line of SQL, and carets under the place.
    pub(super) fn error(&self, mistake: &Mistake) -> Error {
        Error::new(self.span, self.located(mistake.at, &mistake.report(&self.text)))
    }

    /// With the place in the file, if there is one, before the message.
    fn located(&self, at: usize, message: &str) -> String {
        let Some(file) = &self.file else { return message.to_owned() };
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{file}:{line}:{column}: {message}")
    }

    /// For documentation: without white space around, and without the indentation that it has in the program.
    pub(super) fn dedented(&self) -> String {
        let text = self.text.trim_end();
        let first_is_indented = text.starts_with(['\n', '\r']);
        let mut lines: Vec<&str> = text.lines().collect();
        while lines.first().is_some_and(|line| line.trim().is_empty()) {
            lines.remove(0);
        }
        let blank = |line: &&str| line.trim().is_empty();
        let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        // The first line may follow the quote, and then says nothing of the indentation of the others.
        let from = usize::from(!first_is_indented && self.file.is_none());
        let common = lines.iter().skip(from).filter(|line| !blank(line)).map(|line| indent(line)).min();
        let cut = |(i, line): (usize, &&str)| {
            let width = if i < from { indent(line) } else { common.unwrap_or(0).min(indent(line)) };
            line[width..].trim_end().to_owned()
        };
        lines.iter().enumerate().map(cut).collect::<Vec<_>>().join("\n")
    }
}

fn at(place: std::ops::Range<usize>, message: &str) -> Mistake {
    Mistake { at: place.start, length: place.len(), message: message.to_owned() }
}

/// With the name before it, for logs and pg_stat_activity, and without what is around the statement.
fn dressed(name: &str, named: &maypole_sql::Named) -> (String, Vec<(u32, u32)>) {
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let trimmed = named.text.trim_start();
    let stripped = count(&named.text) - count(trimmed);
    let trimmed = trimmed.trim_end();
    let trimmed = trimmed.strip_suffix(';').unwrap_or(trimmed).trim_end();
    let comment = format!("/* {name} */ ");
    let added = count(&comment);
    let moved = named.edits.iter().map(|edit| (edit.sent - stripped + added, edit.source));
    let edits = std::iter::once((added, stripped)).chain(moved).collect();
    (comment + trimmed, edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(sql: &str) -> Written {
        Written { text: sql.to_owned(), file: None, span: Span::call_site() }
    }

    fn mistakes(written: &Written, attr: Attr, function: &str) -> Vec<String> {
        let errors = written.check(attr, &syn::parse_str(function).unwrap()).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    fn file(path: &str) -> Result<Written, String> {
        let literal = LitStr::new(path, Span::call_site());
        written(&Source::File(literal)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mistake_in_a_file_begins_with_file_line_and_column() {
        let text = "-- Größe\nSELECT id\n  FROM t WHERE größe > :größ".to_owned();
        let written = Written { text, file: Some("sql/t.sql".into()), span: Span::call_site() };
        assert_eq!(
            mistakes(&written, Attr::Select, "fn t(größe: i32) -> Query<i32>"),
            ["sql/t.sql:3:24: unknown parameter :größ, did you mean :größe?\n   \
              |   FROM t WHERE größe > :größ\n   \
              |                        ^^^^^"]
        );
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_the_text() {
        let written = inline("SELECT :idd, pg_notify('a', 'b') FROM t WHERE id IN (:ids); SELECT 1");
        let found = mistakes(&written, Attr::Select, "fn t(id: i32, ids: &[i32], unused: i32) -> Query<i32>");
        let first: Vec<&str> = found.iter().map(|text| text.split([' ', ',']).next().unwrap()).collect();
        assert_eq!(first, ["unknown", "pg_notify", "IN", "a", "parameter"], "{found:#?}");
    }

    #[test]
    fn a_parameter_that_is_not_used_is_told_of_by_its_argument_and_not_if_one_is_misspelt_or_numbered() {
        let function = "fn t(name: &str) -> Query";
        assert_eq!(mistakes(&inline("SELECT 1"), Attr::Query, function).len(), 1);
        assert_eq!(mistakes(&inline("SELECT :nmae"), Attr::Query, function).len(), 1);
        assert_eq!(mistakes(&inline("SELECT $1"), Attr::Query, function).len(), 1);
        let mistake = maypole_sql::name_parameters("SELECT 1", &["name"]).unwrap_err().remove(0);
        assert!(
            mistake.length == 0 && mistake.message.starts_with("parameter :name "),
            "what errors() goes by"
        );
    }

    #[test]
    fn what_is_around_the_statement_is_not_sent_and_places_are_counted_in_characters() {
        let written = inline("\n  SELECT 'ü', :größe::int4 ;\n ");
        let sent =
            written.check(Attr::Select, &syn::parse_str("fn größer(größe: i32) -> Query").unwrap()).unwrap();
        assert_eq!(sent.text, "/* größer */ SELECT 'ü', $1::int4");
        assert_eq!(sent.edits, [(13, 3), (27, 21)]);
        assert_eq!(maypole_sql::source_character(&sent.edits, 29), 23);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        assert!(file("src/nothing.sql").unwrap_err().starts_with("can't read src/nothing.sql: "));
        assert!(file("src").unwrap_err().starts_with("can't read src: "));
        assert_eq!(file("Cargo.toml").unwrap().file.as_deref(), Some("Cargo.toml"));
    }

    #[test]
    fn documentation_shows_sql_without_the_indentation_of_the_program() {
        assert_eq!(
            inline("\n        SELECT 1\n          FROM t\n\n         WHERE x\n    ").dedented(),
            "SELECT 1\n  FROM t\n\n WHERE x"
        );
        assert_eq!(
            inline("SELECT 1\n       FROM t\n         JOIN u").dedented(),
            "SELECT 1\nFROM t\n  JOIN u"
        );
        assert_eq!(inline("  SELECT 1  ").dedented(), "SELECT 1");
        let text = "  SELECT 1\n    FROM t\n".to_owned();
        let file = Written { text, file: Some("t.sql".into()), span: Span::call_site() };
        assert_eq!(file.dedented(), "SELECT 1\n  FROM t");
    }
}
