//! `#[derive(FromRow)]` in stages: parse, check, expand.

mod attributes;
mod case;
mod check;
mod expand;
mod parse;

use proc_macro2::TokenStream;
use syn::DeriveInput;

pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let checked = parse::parse(&input).and_then(|structure| check::check(&structure).map(|()| structure));
    match checked {
        Ok(structure) => expand::expand(&structure),
        Err(error) => expand::stub(&input, &error),
    }
}
