//! The code that is written.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Error, Ident, ReturnType, Signature};

use super::check::{self, Argument};
use super::parse::{Attr, Options, Source};
use super::result;
use super::text::{Sent, Written};
use crate::function::{self, Function, ours};
use crate::{lifetimes, types};

/// A declaration without mistakes.
pub(super) struct Declaration<'a> {
    pub(super) attr: Attr,
    pub(super) function: &'a Function,
    pub(super) options: &'a Options,
    pub(super) written: &'a Written,
    pub(super) sent: &'a Sent,
}

pub(super) fn expand(declaration: &Declaration<'_>) -> TokenStream {
    let Declaration { function, options, written, .. } = declaration;
    let Function { attributes, visibility, signature, .. } = function;
    let inline =
        (!attributes.iter().any(|attribute| attribute.path().is_ident("inline"))).then(|| quote!(#[inline]));
    // No other way of calling it is shorter: the columns decide how many there are.
    let many = (signature.inputs.len() > 7).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    let documentation =
        documentation(written, !attributes.iter().any(|attribute| attribute.path().is_ident("doc")));
    let named = lifetimes::named(signature);
    let values = check::arguments(signature).into_iter().map(value);
    let database = &options.database;
    let lent = quote_spanned!(database.span()=> &#database);
    let declared = declared(declaration);
    let follow = follow(&options.sql);
    let call = quote_spanned! {signature.ident.span()=>
        ::maypole::__private::query(__maypole_database(), __maypole_declared(), (#(#values,)*))
    };
    let shape = shape(signature);
    let about = about(&signature.ident);
    let hidden = function.hidden();
    let known = known(function, &written.text, Some(&options.sql), &quote!(#[doc = #about] #hidden));
    // All but what a program may ask for is in the function, where it takes no names away.
    quote! {
        #(#attributes)*
        #documentation
        #inline
        #many
        #visibility #named {
            #[inline]
            fn __maypole_database() -> &'static ::maypole::Database {
                #lent
            }

            #[inline]
            fn __maypole_declared() -> &'static ::maypole::__private::Declared {
                #follow
                static DECLARED: ::maypole::__private::Declared = #declared;
                &DECLARED
            }

            ::maypole::__private::inventory::submit! {
                ::maypole::__private::Registered {
                    declared: __maypole_declared,
                    database: __maypole_database,
                    shape: #shape,
                }
            }

            #call
        }

        #known
    }
}

/// The value of an argument. A type that can't be a parameter is reported where it is written: all of this code stands
/// at that place, as the compiler leaves out what is wrong for the same reason at the same place.
fn value(argument: Argument<'_>) -> TokenStream {
    let type_ = lifetimes::erased(argument.type_).into_token_stream();
    let mut places = type_.clone().into_iter().map(|token| token.span());
    let first = places.next().unwrap_or_else(Span::call_site);
    let last = places.last().unwrap_or(first);
    let ident = argument.ident;
    let value = quote_spanned!(last=> (#ident));
    quote_spanned!(first=> ::maypole::__private::argument::<#type_>#value)
}

/// What a row becomes, as a function that tells it.
fn shape(signature: &Signature) -> TokenStream {
    let Some(row) = result::row(&signature.output) else {
        return quote!(|| ::maypole::__private::ResultShape::NONE);
    };
    let row = lifetimes::erased(row);
    // A type that can't be a row is reported where it is written.
    let shape = quote_spanned!(row.span()=> ::maypole::__private::Shaped::<#row>::shape);
    quote! {{
        use ::maypole::__private::ValueShape as _;
        #shape
    }}
}

/// What is known of the query, as a value.
fn declared(declaration: &Declaration<'_>) -> TokenStream {
    let Declaration { attr, function, options, written, sent } = declaration;
    let signature = &function.signature;
    let name = signature.ident.unraw().to_string();
    let (source, text) = (&written.text, &sent.text);
    let (file, line) = place(Some(&options.sql));
    let in_file = written.file.is_some();
    let lines_match = in_file || lines_match(&options.sql);
    let edits = sent.edits.iter().map(|(sent, source)| quote!((#sent, #source)));
    let arguments = check::arguments(signature).into_iter().map(|Argument { ident, type_ }| {
        let (name, written, erased) =
            (ident.unraw().to_string(), types::written(type_), lifetimes::erased(type_));
        quote! {
            ::maypole::__private::Argument {
                name: #name,
                type_name: #written,
                kind: {
                    use ::maypole::__private::OpenKind as _;
                    ::maypole::__private::KindOf::<#erased>::KIND
                },
                accepts: {
                    use ::maypole::__private::OpenKind as _;
                    ::maypole::__private::KindOf::<#erased>::ACCEPTS
                },
            }
        }
    });
    let slots = sent.slots.iter().map(|slot| {
        let (argument, null_test) = (Literal::usize_unsuffixed(slot.parameter), slot.null_test);
        quote!(::maypole::__private::Slot { argument: #argument, null_test: #null_test })
    });
    let select = *attr == Attr::Select;
    let columns = sent.nature.columns;
    let session = match &sent.nature.session {
        Some((_, why)) => {
            let why = &why.message;
            quote!(::core::option::Option::Some(#why))
        }
        None => quote!(::core::option::Option::None),
    };
    let (not_null, exclusive) = (&options.not_null, options.exclusive.is_some());
    quote! {
        ::maypole::__private::Declared {
            name: #name,
            file: #file,
            line: #line,
            lines_match: #lines_match,
            in_file: #in_file,
            source: #source,
            text: #text,
            edits: &[#(#edits),*],
            arguments: &[#(#arguments),*],
            slots: &[#(#slots),*],
            select: #select,
            exclusive: #exclusive,
            columns: #columns,
            session: #session,
            not_null: &[#(#not_null),*],
        }
    }
}

fn about(ident: &Ident) -> String {
    let (raw, name) = (ident.to_string(), ident.unraw().to_string());
    if raw == name {
        format!("What is known of the query [`{name}`](fn@{name}) without running it.")
    } else {
        format!("What is known of the query `{name}` without running it.")
    }
}

/// The SQL below what the user says.
fn documentation(written: &Written, alone: bool) -> TokenStream {
    let sql = written.dedented();
    let longest = sql.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let blank = if alone { "" } else { "\n" };
    let text = format!("{blank}{fence}sql\n{sql}\n{fence}");
    quote!(#[doc = #text])
}

/// The module beside the function, with the constants by which a program asks for its query. It is the only name beside
/// that of the function. Both begin and end at the same places: so the compiler tells once that their name is taken.
fn known(function: &Function, sql: &str, source: Option<&Source>, attributes: &TokenStream) -> TokenStream {
    let Function { visibility, signature, .. } = function;
    let conditions = function.conditions();
    let (ident, name) = (ours(&signature.ident), signature.ident.unraw().to_string());
    let (file, line) = place(source);
    let module = quote_spanned!(signature.fn_token.span=> mod);
    quote! {
        #(#conditions)*
        #attributes
        #visibility #module #ident {
            /// The SQL, as it was written.
            pub const SQL: &'static ::core::primitive::str = #sql;
            /// The name of the query.
            pub const NAME: &'static ::core::primitive::str = #name;
            /// The source file in which the SQL stands.
            pub const FILE: &'static ::core::primitive::str = #file;
            /// The line of that file where the SQL begins, from 1.
            pub const LINE: ::core::primitive::u32 = #line;
        }
    }
}

/// Makes the compiler note that the file belongs to the program, so that it compiles again when the file changes.
fn follow(source: &Source) -> Option<TokenStream> {
    let Source::File(path) = source else { return None };
    let path = format!("/{}", path.value());
    Some(quote! {
        const _: &[::core::primitive::u8] =
            ::core::include_bytes!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), #path));
    })
}

/// The file in which the SQL stands, as `file!()` there would be, and the line where it begins.
fn place(source: Option<&Source>) -> (TokenStream, u32) {
    let literal = match source {
        Some(Source::File(path)) => return (quote!(#path), 1),
        Some(Source::Inline(literal)) => Some(literal),
        None => None,
    };
    // Outside of the compiler, in tests and editors, there are no places: `unwrap` would panic there. It is not reached.
    let span = literal.filter(|_| proc_macro::is_available()).map(|literal| literal.span().unwrap());
    let file = match span.map(|span| span.file()) {
        Some(file) if !file.is_empty() => quote!(#file),
        _ => quote!(::core::file!()),
    };
    (file, span.and_then(|span| u32::try_from(span.line()).ok()).unwrap_or(1))
}

/// Whether each line of the text is a line of the program: an escape may hold or hide a line feed.
fn lines_match(source: &Source) -> bool {
    let token = source.literal().token().to_string();
    token.starts_with('r') || !token.contains('\\')
}

/// The errors, and beside them a function, so that mistakes are reported once and not again wherever it is called. It
/// is never run: the program does not compile.
pub(super) fn stub(function: &Function, sql: &str, mistakes: &[Error]) -> TokenStream {
    let Function { visibility, signature, .. } = function;
    let attributes = function.attributes_of_others();
    let errors = function.errors(mistakes);
    let mut signature = function::plain(lifetimes::named(signature));
    signature.output = result::mended(&signature.output);
    if matches!(&signature.output, ReturnType::Type(_, type_) if types::impl_trait(type_).is_some()) {
        return errors;
    }
    // A method has no room for a module beside it.
    let known = signature.receiver().is_none().then(|| known(function, sql, None, &quote!(#[doc(hidden)])));
    quote! {
        #errors

        #(#attributes)*
        #visibility #signature {
            ::core::unreachable!()
        }

        #known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the attributes.
    fn documented(sql: &str, alone: bool) -> Vec<String> {
        let written = Written { text: sql.to_owned(), file: None, span: Span::call_site() };
        let attributes = documentation(&written, alone);
        let function: syn::ItemFn = syn::parse_quote!(#attributes fn f() {});
        let text = |attribute: &syn::Attribute| match &attribute.meta {
            syn::Meta::NameValue(syn::MetaNameValue {
                value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
                ..
            }) => text.value(),
            _ => panic!("no doc comment"),
        };
        function.attrs.iter().map(text).collect()
    }

    #[test]
    fn the_sql_stands_below_what_the_user_says() {
        assert_eq!(documented("SELECT 1", true), ["```sql\nSELECT 1\n```"]);
        assert_eq!(
            documented("\n    SELECT 1\n      FROM t\n", false),
            ["\n```sql\nSELECT 1\n  FROM t\n```"],
            "a paragraph of its own"
        );
    }

    #[test]
    fn sql_with_backquotes_does_not_end_its_block() {
        assert_eq!(documented("SELECT '```'", true), ["````sql\nSELECT '```'\n````"]);
    }
}
