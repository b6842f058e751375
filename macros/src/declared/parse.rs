//! From syntax to what is known of a declared query.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitStr, Path, Result, Token, bracketed, token};

/// Which of the two attributes it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attr {
    Select,
    Query,
}

impl Attr {
    pub(super) fn name(self) -> &'static str {
        match self {
            Attr::Select => "select",
            Attr::Query => "query",
        }
    }

    /// How it is written.
    pub(super) fn form(self) -> String {
        let example = match self {
            Attr::Select => "SELECT name FROM customers WHERE id = :id",
            Attr::Query => "UPDATE customers SET name = :name WHERE id = :id",
        };
        format!("#[{}(DB, \"{example}\")]", self.name())
    }
}

/// What stands in the brackets of the attribute.
pub(super) struct Options {
    pub(super) database: Path,
    pub(super) sql: Source,
    /// Columns that are never NULL whatever the catalogue says.
    pub(super) not_null: Vec<LitStr>,
    /// The word that says that the select never shares a connection, if it stands there.
    pub(super) exclusive: Option<Path>,
}

/// Where the SQL is.
pub(super) enum Source {
    Inline(LitStr),
    /// A path, relative to the crate.
    File(LitStr),
}

impl Options {
    /// Reads `DB, "…"` and `DB, file = "…"`, with options in any order behind the database.
    pub(super) fn parse(attr: Attr, tokens: TokenStream) -> Result<Options> {
        if tokens.is_empty() {
            return Err(Error::new(
                Span::call_site(),
                format!("no database and no SQL: write {}", attr.form()),
            ));
        }
        (|input: ParseStream<'_>| Options::read(attr, input)).parse2(tokens)
    }

    fn read(attr: Attr, input: ParseStream<'_>) -> Result<Options> {
        let flag_first = input.fork().parse::<Ident>().is_ok_and(|word| word == EXCLUSIVE);
        if input.peek(syn::LitStr) || input.peek2(Token![=]) || flag_first {
            let message = format!("the database comes first: write {}", attr.form());
            return Err(input.error(message));
        }
        let database = Path::parse_mod_style(input).map_err(|error| {
            let message =
                format!("the database is a path, such as DB or crate::queries::DB: write {}", attr.form());
            Error::new(error.span(), message)
        })?;
        let mut sources: Vec<Source> = Vec::new();
        let mut not_null: Option<Vec<LitStr>> = None;
        let mut exclusive: Option<Path> = None;
        while !input.is_empty() {
            if input.peek(token::Paren) {
                let message = "the database is a static: write `static DB: Database = …;` and name it here";
                return Err(input.error(message));
            }
            if !input.peek(Token![,]) {
                return Err(input.error(format!("expected a comma: write {}", attr.form())));
            }
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            if input.peek(syn::LitStr) {
                sources.push(Source::Inline(input.parse()?));
                continue;
            }
            let place = input.span();
            let Ok(name) = input.call(Path::parse_mod_style) else {
                let message = format!("expected the SQL as a string: write {}", attr.form());
                return Err(Error::new(place, message));
            };
            if input.peek(Token![!]) {
                let message = "SQL is written as one string, not made by a macro: use a raw string r#\"…\"# for \
                               several lines, or file = \"sql/name.sql\"";
                return Err(Error::new_spanned(name, message));
            }
            if name.is_ident(EXCLUSIVE) {
                if input.peek(Token![=]) {
                    let message = "exclusive takes no value: write exclusive, or leave it out";
                    return Err(input.error(message));
                }
                if exclusive.is_some() {
                    return Err(Error::new_spanned(name, "exclusive is given twice"));
                }
                exclusive = Some(name);
                continue;
            }
            if !input.peek(Token![=]) {
                if closest(&name).is_some() {
                    return Err(unknown_option(&name));
                }
                let message = "the SQL itself stands here, as a string, or file = \"sql/name.sql\": the compiler \
                               reads it before names have values";
                return Err(Error::new_spanned(name, message));
            }
            input.parse::<Token![=]>()?;
            if name.is_ident("file") {
                sources.push(Source::File(input.parse().map_err(|error| {
                    Error::new(error.span(), "a file is named by a string: file = \"sql/name.sql\"")
                })?));
            } else if name.is_ident("not_null") {
                if not_null.replace(columns(input)?).is_some() {
                    return Err(Error::new_spanned(
                        name,
                        "not_null is given twice: name all columns in one list",
                    ));
                }
            } else {
                return Err(unknown_option(&name));
            }
        }
        let mut sources = sources.into_iter();
        let Some(sql) = sources.next() else {
            let message = format!("no SQL: write {}, or file = \"sql/name.sql\"", attr.form());
            return Err(Error::new_spanned(database, message));
        };
        if let Some(second) = sources.next() {
            let message = "the SQL is given twice; a query is one string or one file";
            return Err(Error::new(second.span(), message));
        }
        Ok(Options { database, sql, not_null: not_null.unwrap_or_default(), exclusive })
    }
}

const EXCLUSIVE: &str = "exclusive";

const OPTIONS: &str = "file = \"sql/name.sql\", not_null = [\"column\"] and, for a #[select], exclusive";

/// The option that was meant by a name that is none.
fn closest(name: &Path) -> Option<&'static str> {
    let written = name.get_ident()?.to_string();
    maypole_sql::closest(&written, ["file", "not_null", EXCLUSIVE])
}

fn unknown_option(name: &Path) -> Error {
    let message = match closest(name) {
        Some(close) => format!("unknown option, did you mean {close}?"),
        None => format!("unknown option; there are {OPTIONS}"),
    };
    Error::new_spanned(name, message)
}

fn columns(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let form = "not_null takes a list of columns: not_null = [\"name\"]";
    if !input.peek(token::Bracket) {
        return Err(input.error(form));
    }
    let list;
    bracketed!(list in input);
    let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)
        .map_err(|error| Error::new(error.span(), form))?;
    Ok(names.into_iter().collect())
}

impl Source {
    /// The literal that says it.
    pub(super) fn literal(&self) -> &LitStr {
        match self {
            Source::Inline(literal) | Source::File(literal) => literal,
        }
    }

    pub(super) fn span(&self) -> Span {
        self.literal().span()
    }
}
