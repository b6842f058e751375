//! `#[transaction]` in stages: parse, check, expand.

mod check;
mod expand;
mod options;
mod parse;

use proc_macro2::TokenStream;
use quote::quote;

use crate::function::Function;
use options::Options;
use parse::Settings;

/// How a transaction function is written.
const FORM: &str = "fn add_customer(q: &Tx, name: &str) -> Result<i32> { … }";

pub(crate) fn transaction(settings: TokenStream, item: TokenStream) -> TokenStream {
    let function = match Function::parse("transaction", FORM, item.clone()) {
        Ok(function) => function,
        Err(error) => {
            // What was written stays, for the sake of those who use it.
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let mut mistakes = Vec::new();
    let read = Settings::parse(settings).map(|settings| {
        let options = Options::read(&settings.settings, &mut mistakes);
        (settings.database, options)
    });
    if let Err(error) = &read {
        mistakes.push(error.clone());
    }
    let retries = read.as_ref().is_ok_and(|(_, options)| options.retries > 0);
    let parts = check::function(&function, retries, &mut mistakes);
    match (read, parts) {
        (Ok((database, options)), Some(parts)) if mistakes.is_empty() => {
            expand::expand(&function, &parts, &database, &options)
        }
        _ => expand::stub(&function, &mistakes),
    }
}
