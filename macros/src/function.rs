//! The function that an attribute stands on.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::parse::{ParseStream, Parser as _};
use syn::{Attribute, Error, FnArg, Ident, Result, Signature, Token, Visibility, parse_quote, token};

/// A function, with or without a body.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// The body in its braces. The compiler reads it, and tells what is wrong in it.
    pub(crate) body: Option<Group>,
}

impl Function {
    /// Reads what the attribute stands on. The form is how such a function is written.
    pub(crate) fn parse(attr: &str, form: &str, item: TokenStream) -> Result<Function> {
        let read = |input: ParseStream<'_>| {
            let attributes = input.call(Attribute::parse_outer)?;
            let visibility = input.parse()?;
            let place = input.span();
            let signature = input.parse().map_err(|error: Error| {
                let no_function = error.to_string().contains("expected `fn`");
                if no_function {
                    Error::new(place, format!("#[{attr}] stands on a function: `{form}`"))
                } else {
                    error
                }
            })?;
            let body = if input.peek(token::Brace) {
                match input.parse()? {
                    TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => Some(body),
                    other => return Err(Error::new(other.span(), "expected a body in braces")),
                }
            } else {
                input.parse::<Token![;]>()?;
                None
            };
            Ok(Function { attributes, visibility, signature, body })
        };
        read.parse2(item)
    }

    /// Conditions on the function go for all that belongs to it.
    pub(crate) fn conditions(&self) -> Vec<&Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
    }

    /// `#[doc(hidden)]`, if it has that.
    pub(crate) fn hidden(&self) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| {
            attribute.path().is_ident("doc")
                && attribute.parse_args::<Ident>().is_ok_and(|word| word == "hidden")
        })
    }

    /// All mistakes as errors of the compiler, where the function is compiled at all.
    pub(crate) fn errors(&self, mistakes: &[Error]) -> TokenStream {
        let conditions = self.conditions();
        let error = |mistake: &Error| {
            let error = mistake.to_compile_error();
            quote!(#(#conditions)* #error)
        };
        mistakes.iter().map(error).collect()
    }

    /// The second attribute of ours, if there is one: a function has one.
    pub(crate) fn declared_again(&self) -> Option<Error> {
        let (attribute, what) = self.attributes.iter().find_map(|attribute| {
            let what = match declaration(attribute)?.to_string().as_str() {
                "transaction" => "this function is a transaction already",
                _ => "this function is declared as a query already",
            };
            Some((attribute, what))
        })?;
        Some(Error::new_spanned(attribute, what))
    }

    /// The attributes that are not ours.
    pub(crate) fn attributes_of_others(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(|attribute| declaration(attribute).is_none())
    }
}

/// The name of the attribute, if it is one of ours.
fn declaration(attribute: &Attribute) -> Option<&Ident> {
    let name = &attribute.path().segments.last()?.ident;
    ["select", "query", "transaction"].iter().any(|ours| name == ours).then_some(name)
}

/// What is said of the words before `fn`.
pub(crate) struct Qualifiers {
    /// What the function is: "a declared query".
    pub(crate) what: &'static str,
    /// Why it is not async.
    pub(crate) no_async: &'static str,
    /// Why it is not const.
    pub(crate) no_const: &'static str,
}

impl Qualifiers {
    /// Adds a mistake for each word that is there.
    pub(crate) fn check(&self, signature: &Signature, mistakes: &mut Vec<Error>) {
        let Qualifiers { what, no_async, no_const } = self;
        if let Some(async_) = &signature.asyncness {
            mistakes.push(Error::new_spanned(async_, format!("leave out async: {no_async}")));
        }
        if let Some(const_) = &signature.constness {
            mistakes.push(Error::new_spanned(const_, format!("leave out const: {no_const}")));
        }
        if let Some(unsafe_) = &signature.unsafety {
            mistakes.push(Error::new_spanned(unsafe_, format!("leave out unsafe: {what} is safe to call")));
        }
        if let Some(abi) = &signature.abi {
            mistakes.push(Error::new_spanned(abi, format!("leave out extern: {what} is a function of Rust")));
        }
        if let Some(variadic) = &signature.variadic {
            let why = format!("{what} names all its arguments: for a list, take a slice");
            mistakes.push(Error::new_spanned(variadic, why));
        }
    }
}

/// The signature as it can be called, whatever is wrong with it.
pub(crate) fn plain(mut signature: Signature) -> Signature {
    signature.asyncness = None;
    signature.constness = None;
    signature.unsafety = None;
    signature.abi = None;
    signature.variadic = None;
    for (i, argument) in signature.inputs.iter_mut().enumerate() {
        if let FnArg::Typed(argument) = argument {
            argument.attrs.clear();
            let name = format_ident!("_{i}");
            *argument.pat = parse_quote!(#name);
        }
    }
    signature
}

/// The name as if it stood in the attribute: lints about what the macro writes are not the user's.
pub(crate) fn ours(ident: &Ident) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(ident.span().resolved_at(Span::call_site()));
    ident
}
