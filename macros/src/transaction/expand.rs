//! The code that is written.

use proc_macro2::{Delimiter, Group, Ident, Literal, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, FnArg, GenericParam, Path, PathArguments, ReturnType, Signature, Type, parse_quote,
};

use super::check::{Argument, Parts, is_transaction, ungrouped};
use super::options::Options;
use crate::function::{self, Function, ours};
use crate::{lifetimes, types};

pub(super) fn expand(
    function: &Function,
    parts: &Parts<'_>,
    database: &Path,
    options: &Options,
) -> TokenStream {
    let Function { attributes, visibility, signature, .. } = function;
    let attributes = attributes.iter().map(not_expected);
    let retries = options.retries > 0;
    let mut outer = signature.clone();
    outer.inputs = parts.arguments.iter().map(lent).collect();
    let lent = quote_spanned!(database.span()=> &#database);
    let own = ours(&signature.ident);
    let values =
        parts.arguments.iter().map(|argument| if retries { again(argument) } else { value(argument) });
    // The copies of what is taken by value are what is consumed.
    let copied = retries && parts.arguments.iter().any(|argument| !is_lent(argument));
    let allow = allow(&[
        (copied, quote!(clippy::needless_pass_by_value)),
        (has_own_error(signature), quote!(clippy::result_large_err)),
    ]);
    let types = type_arguments(signature);
    let q = Ident::new("__maypole_q", Span::mixed_site());
    let attempt = quote!(move |#q| #own::__body #types(#q, #(#values),*));
    let run =
        run(signature, if retries { "run" } else { "run_once" }, quote!(#lent, &#own::OPTIONS, #attempt));
    let mut body = Group::new(Delimiter::Brace, run);
    if let Some(written) = &function.body {
        // The function begins and ends in the user's program: what lints say of it is said.
        body.set_span(written.span());
    }
    let beside = beside(function, parts, options);
    quote! {
        #(#attributes)*
        #allow
        #visibility #outer #body

        #beside
    }
}

/// The struct of the same name, for what else can be done with the function. Structs with braces take a name for types
/// only, and in contrast to a module, the code of their functions sees all that stands around it.
fn beside(function: &Function, parts: &Parts<'_>, options: &Options) -> TokenStream {
    let Function { visibility, signature, body, .. } = function;
    let conditions = function.conditions();
    let hidden = function.hidden();
    let lints: Vec<Attribute> =
        function.attributes.iter().filter(|attribute| is_lint(attribute)).map(not_expected).collect();
    let (own, name) = (ours(&signature.ident), signature.ident.unraw().to_string());
    let about = about(&signature.ident);
    let q = ours(parts.transaction);
    let mut within = signature.clone();
    within.ident = Ident::new("within", own.span());
    within.inputs =
        std::iter::once(transaction(signature, &q)).chain(parts.arguments.iter().map(lent)).collect();
    let mut written = signature.clone();
    written.ident = Ident::new("__body", own.span());
    let inner = Ident::new("__maypole_q", Span::mixed_site());
    let types = type_arguments(signature);
    let values = parts.arguments.iter().map(value);
    let attempt = quote!(move |#inner| Self::__body #types(#inner, #(#values),*));
    let run = run(signature, "run_within", quote!(#q, &Self::OPTIONS, #attempt));
    let used = used(function, parts);
    let many = (signature.inputs.len() > 7, quote!(clippy::too_many_arguments));
    // That it returns a Result is not for the user to choose.
    let allow_body = allow(&[many.clone(), (true, quote!(clippy::unnecessary_wraps))]);
    let allow = allow(&[many, (has_own_error(signature), quote!(clippy::result_large_err))]);
    let options = constant(&name, options);
    let structure = quote_spanned!(signature.fn_token.span=> struct);
    quote! {
        #(#conditions)*
        #[doc = #about]
        #hidden
        #visibility #structure #own {}

        #(#conditions)*
        #(#lints)*
        impl #own {
            /// The name of the transaction.
            #visibility const NAME: &'static ::core::primitive::str = #name;

            const OPTIONS: ::maypole::TxOptions = #options;

            /// Runs the function as a part of another transaction, in a savepoint, once: if it fails, what it did is
            /// undone, and the other transaction can go on.
            ///
            /// # Errors
            ///
            /// The function's own, and those of the savepoint.
            #allow
            #visibility #within {
                #used
                #run
            }

            #allow_body
            #written #body
        }
    }
}

/// Whoever runs the function within another transaction uses it, too.
fn used(function: &Function, parts: &Parts<'_>) -> Option<TokenStream> {
    let own = ours(&function.signature.ident);
    let types = type_arguments(&function.signature);
    let values = parts.arguments.iter().map(value);
    let has = |name: &str| {
        let named =
            |attribute: &Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name);
        function.attributes.iter().any(named)
    };
    // A test is there in tests only.
    if has("test") {
        return None;
    }
    let allow = has("deprecated").then(|| quote!(#[allow(deprecated)]));
    Some(quote! {
        #allow
        if false {
            return #own #types(#(#values),*);
        }
    })
}

/// An argument as a caller hands it over: how it is bound inside is the body's business.
fn lent(argument: &Argument<'_>) -> FnArg {
    let (ident, type_) = (ours(argument.ident), argument.type_);
    parse_quote!(#ident: #type_)
}

/// The first argument of `within`.
fn transaction(signature: &Signature, q: &Ident) -> FnArg {
    let type_: Type = match signature.inputs.first() {
        Some(FnArg::Typed(argument)) => (*argument.ty).clone(),
        _ => parse_quote!(&::maypole::Tx),
    };
    parse_quote!(#q: #type_)
}

fn value(argument: &Argument<'_>) -> TokenStream {
    ours(argument.ident).into_token_stream()
}

/// The value for one of several attempts. A type that can't be cloned is reported where it is written.
fn again(argument: &Argument<'_>) -> TokenStream {
    if is_lent(argument) {
        return value(argument);
    }
    let (first, last) = ends(argument.type_);
    let (first, last) = (first.resolved_at(Span::call_site()), last.resolved_at(Span::call_site()));
    let mut ident = ours(argument.ident);
    ident.set_span(last);
    let lent = quote_spanned!(first=> &);
    quote_spanned!(first=> ::maypole::__private::again(#lent #ident))
}

/// What runs the function, with these arguments. It names the type of the result, all at the place where that is
/// written: there a type is reported that is no result, or whose error can't hold one of ours, and once, as the
/// compiler leaves out what is wrong for the same reason at the same place.
fn run(signature: &Signature, name: &str, arguments: TokenStream) -> TokenStream {
    let name = format_ident!("{name}");
    let ReturnType::Type(_, type_) = &signature.output else {
        return quote!(::maypole::__private::#name(#arguments));
    };
    let (first, last) = ends(type_);
    let check = quote_spanned!(last=> ::<#type_>());
    let call = quote_spanned!(last=> ::<#type_>(#arguments));
    quote_spanned! {first=>
        ::maypole::__private::returns #check;
        ::maypole::__private::#name #call
    }
}

fn is_lent(argument: &Argument<'_>) -> bool {
    matches!(ungrouped(argument.type_), Type::Reference(_))
}

/// Whether the error may be another than maypole's, which is small.
fn has_own_error(signature: &Signature) -> bool {
    let ReturnType::Type(_, type_) = &signature.output else { return false };
    let Type::Path(path) = ungrouped(type_) else { return true };
    !path.path.segments.last().is_some_and(|segment| {
        segment.ident == "Result"
            && matches!(&segment.arguments, PathArguments::AngleBracketed(types) if types.args.len() == 1)
    })
}

/// Lints about what only the macro makes of the function. No attribute if there are none: a program may forbid it.
fn allow(lints: &[(bool, TokenStream)]) -> Option<TokenStream> {
    let lints: Vec<&TokenStream> = lints.iter().filter(|(needed, _)| *needed).map(|(_, lint)| lint).collect();
    (!lints.is_empty()).then(|| quote!(#[allow(#(#lints),*)]))
}

/// Where the type begins and where it ends.
fn ends(type_: &Type) -> (Span, Span) {
    let mut places = type_.to_token_stream().into_iter().map(|token| token.span());
    let first = places.next().unwrap_or_else(Span::call_site);
    (first, places.last().unwrap_or(first))
}

/// All types and constants by name, as not all of them need to be seen in the arguments.
fn type_arguments(signature: &Signature) -> Option<TokenStream> {
    let names: Vec<TokenStream> = signature
        .generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(parameter) => Some(parameter.ident.to_token_stream()),
            GenericParam::Const(parameter) => Some(parameter.ident.to_token_stream()),
        })
        .collect();
    (!names.is_empty()).then(|| quote!(::<#(#names),*>))
}

/// The options as a constant.
fn constant(name: &str, options: &Options) -> TokenStream {
    let retries = (options.retries > 0).then(|| {
        let again = Literal::u32_unsuffixed(options.retries);
        quote!(.retries(#again))
    });
    let retry_on = options.retry_on.as_ref().map(|codes| quote!(.retry_on(&[#(#codes),*])));
    let isolation = options.isolation.map(|level| {
        let level = format_ident!("{level}");
        quote!(.isolation(::maypole::Isolation::#level))
    });
    let deadline = options.deadline.map(|limit| {
        // Durations are read as 64 bits of milliseconds.
        let limit = Literal::u64_unsuffixed(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        quote!(.deadline(::core::time::Duration::from_millis(#limit)))
    });
    let flags = options.flags.iter().map(|flag| {
        let flag = format_ident!("{flag}");
        quote!(.#flag())
    });
    quote!(::maypole::TxOptions::new().name(#name) #retries #retry_on #isolation #deadline #(#flags)*)
}

fn about(ident: &Ident) -> String {
    let (raw, name) = (ident.to_string(), ident.unraw().to_string());
    let what = if raw == name { format!("[`{name}`](fn@{name})") } else { format!("`{name}`") };
    format!("The transaction function {what} as a part of other transactions: `{name}::within(q, …)`.")
}

/// Whether the attribute says how lints are to be taken.
fn is_lint(attribute: &Attribute) -> bool {
    ["allow", "expect", "warn", "deny", "forbid"].iter().any(|level| attribute.path().is_ident(level))
}

/// What is expected of the function as it was written may happen in one half of it, and the other must not be blamed.
fn not_expected(attribute: &Attribute) -> Attribute {
    match &attribute.meta {
        syn::Meta::List(list) if attribute.path().is_ident("expect") => {
            let lints = &list.tokens;
            parse_quote!(#[allow(#lints)])
        }
        _ => attribute.clone(),
    }
}

/// The errors, and beside them a function, so that mistakes are reported once and not again wherever it is called. It
/// is never run: the program does not compile.
pub(super) fn stub(function: &Function, mistakes: &[Error]) -> TokenStream {
    let Function { visibility, signature, .. } = function;
    let errors = function.errors(mistakes);
    if matches!(&signature.output, ReturnType::Type(_, type_) if types::impl_trait(type_).is_some()) {
        return errors;
    }
    let attributes = function.attributes_of_others().map(not_expected);
    let mut outer = signature.clone();
    outer.inputs =
        signature.inputs.iter().filter(|argument| lent_transaction(argument).is_none()).cloned().collect();
    outer.output = mended(&signature.output);
    let outer = function::plain(outer);
    // A method has no room for a struct beside it.
    let beside = outer.receiver().is_none().then(|| {
        let conditions = function.conditions();
        let own = ours(&outer.ident);
        let mut within = outer.clone();
        within.ident = Ident::new("within", own.span());
        let transaction = signature.inputs.iter().find_map(lent_transaction);
        within.inputs.insert(0, transaction.unwrap_or_else(|| parse_quote!(_: &::maypole::Tx)));
        quote! {
            #(#conditions)*
            #[doc(hidden)]
            #visibility struct #own {}

            #(#conditions)*
            impl #own {
                #[doc(hidden)]
                #visibility const NAME: &'static ::core::primitive::str = "";

                #[doc(hidden)]
                #visibility #within {
                    ::core::unreachable!()
                }
            }
        }
    });
    quote! {
        #errors

        #(#attributes)*
        #visibility #outer {
            ::core::unreachable!()
        }

        #beside
    }
}

/// The argument that callers leave out, as it should be.
fn lent_transaction(argument: &FnArg) -> Option<FnArg> {
    let FnArg::Typed(argument) = argument else { return None };
    let mut type_ = is_transaction(&argument.ty).then(|| ungrouped(&argument.ty))?;
    while let Type::Reference(reference) = type_ {
        type_ = ungrouped(&reference.elem);
    }
    Some(parse_quote!(_: &#type_))
}

/// The nearest result that a function can have.
fn mended(output: &ReturnType) -> ReturnType {
    match output {
        ReturnType::Default => parse_quote!(-> ::maypole::Result<()>),
        ReturnType::Type(_, type_) => {
            let owned = lifetimes::owned(type_);
            match ungrouped(type_) {
                Type::Path(_) | Type::Macro(_) => parse_quote!(-> #owned),
                _ => parse_quote!(-> ::maypole::Result<#owned>),
            }
        }
    }
}
