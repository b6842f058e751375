//! From syntax to what stands in the brackets of `#[transaction]`.

use proc_macro2::{Ident, Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Error, Expr, Lit, Path, Result, Token, token};

use super::options;

const WRITE: &str = "write #[transaction(DB)]";

/// A database, and settings in any order behind it.
pub(super) struct Settings {
    pub(super) database: Path,
    pub(super) settings: Vec<Setting>,
}

/// `retries = 3` or `read_only`.
pub(super) struct Setting {
    pub(super) name: Ident,
    pub(super) value: Option<Expr>,
}

impl Settings {
    pub(super) fn parse(tokens: TokenStream) -> Result<Settings> {
        if tokens.is_empty() {
            return Err(Error::new(Span::call_site(), format!("no database: {WRITE}")));
        }
        (|input: ParseStream<'_>| Settings::read(input)).parse2(tokens)
    }

    fn read(input: ParseStream<'_>) -> Result<Settings> {
        let first = input.span();
        if input.peek2(Token![=]) {
            return Err(Error::new(first, format!("the database comes first: {WRITE}")));
        }
        let database = Path::parse_mod_style(input).map_err(|error| {
            let message = format!("the database is a path, such as DB or crate::queries::DB: {WRITE}");
            Error::new(error.span(), message)
        })?;
        if database.get_ident().is_some_and(|name| options::is_known(&name.to_string())) {
            return Err(Error::new(first, format!("the database comes first: {WRITE}")));
        }
        let mut settings = Vec::new();
        while !input.is_empty() {
            if input.peek(token::Paren) {
                let message = "the database is a static: write `static DB: Database = …;` and name it here";
                return Err(input.error(message));
            }
            if !input.peek(Token![,]) {
                let message = "expected a comma: options stand behind the database, as in #[transaction(DB, \
                               retries = 3)]";
                return Err(input.error(message));
            }
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            settings.push(Setting::read(input)?);
        }
        Ok(Settings { database, settings })
    }
}

impl Setting {
    fn read(input: ParseStream<'_>) -> Result<Setting> {
        let place = input.span();
        let name = input
            .call(Ident::parse_any)
            .map_err(|_| Error::new(place, "expected an option, as in #[transaction(DB, retries = 3)]"))?;
        if input.peek(token::Paren) {
            let message = format!("an option's value stands behind a `=`: {name} = …");
            return Err(Error::new_spanned(name, message));
        }
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Setting { name, value })
    }

    /// The value, if it is a literal.
    pub(super) fn literal(&self) -> Option<&Lit> {
        self.value.as_ref().and_then(literal)
    }
}

/// The expression, if it is a literal.
pub(super) fn literal(expression: &Expr) -> Option<&Lit> {
    match expression {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}
