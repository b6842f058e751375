//! The macros of [maypole](https://docs.rs/maypole). Use them through that crate.

mod from_row;

use proc_macro::TokenStream;

/// Turns rows into a struct with named fields, by the names of the columns.
///
/// Every column must have a field and every field a column of its name and of a type that its `FromSql` accepts; else
/// the error tells all that does not fit. It is found out once for each result, before its first row.
///
/// `#[maypole(rename = "…")]` on a field names its column where it is called otherwise; a raw identifier such as
/// `r#type` stands for the column `type`. The struct owns its values: it has no lifetimes.
#[proc_macro_derive(FromRow, attributes(maypole))]
pub fn derive_from_row(input: TokenStream) -> TokenStream {
    from_row::derive(syn::parse_macro_input!(input)).into()
}
