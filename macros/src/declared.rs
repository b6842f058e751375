//! `#[select]` and `#[query]` in stages: parse, check, expand.

mod check;
mod expand;
mod parse;
mod result;
mod text;

use proc_macro2::TokenStream;
use quote::quote;

use crate::function::Function;
use expand::Declaration;
use parse::Options;

pub(crate) use parse::Attr;

/// How a declared query is written.
const FORM: &str = "fn get_customer(id: i32) -> Query<Customer>;";

pub(crate) fn declare(attr: Attr, options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match Function::parse(attr.name(), FORM, item.clone()) {
        Ok(function) => function,
        Err(error) => {
            // What was written stays, for the sake of those who use it.
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let mut mistakes = check::function(attr, &function);
    let found = Options::parse(attr, options).and_then(|options| Ok((text::written(&options.sql)?, options)));
    let (written, options) = match found {
        Ok(found) => found,
        Err(error) => {
            mistakes.push(error);
            return expand::stub(&function, "", &mistakes);
        }
    };
    mistakes.extend(check::options(attr, &options));
    let sent = written.check(attr, &function.signature);
    match &sent {
        Ok(sent) => mistakes.extend(check::columns(&function.signature, &options, &sent.nature)),
        Err(errors) => mistakes.extend(errors.iter().cloned()),
    }
    match sent {
        Ok(sent) if mistakes.is_empty() => expand::expand(&Declaration {
            attr,
            function: &function,
            options: &options,
            written: &written,
            sent: &sent,
        }),
        _ => expand::stub(&function, &written.text, &mistakes),
    }
}
