//! The implementation that is written.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, parse_quote_spanned};

use super::parse::Structure;

pub(super) fn expand(structure: &Structure<'_>) -> TokenStream {
    let ident = &structure.input.ident;
    let count = structure.fields.len();
    let mut generics = structure.input.generics.clone();
    // What a field needs is said here and nowhere else, so that a wrong type is reported once, where it is written.
    let bounds = &mut generics.make_where_clause().predicates;
    for type_ in structure.fields.iter().map(|field| field.type_) {
        bounds.push(parse_quote_spanned!(type_.span()=> #type_: ::maypole::__private::Readable));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = ident.to_string();
    let described = structure.fields.iter().map(|field| {
        let (type_, name, column) = (field.type_, field.name(), &field.column);
        // A type that can't be read is reported where it is written.
        quote_spanned!(type_.span()=> ::maypole::__private::Field::of::<#type_>(#name, #column))
    });
    let read = structure.fields.iter().enumerate().map(|(i, field)| {
        let (ident, name) = (field.ident, format!("{name}.{}", field.name()));
        let read = quote_spanned!(field.type_.span()=> ::maypole::__private::field(#name, plan[#i], row)?);
        quote!(#ident: #read)
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::maypole::__private::FromRow for #ident #type_generics #where_clause {
            type Plan = [u16; #count];

            fn plan(
                columns: &::maypole::__private::Columns,
            ) -> ::maypole::__private::Result<Self::Plan> {
                ::maypole::__private::plan(#name, &[#(#described),*], columns)
            }

            #[inline]
            fn from_row(
                plan: &Self::Plan,
                row: &::maypole::__private::RowRef<'_>,
            ) -> ::maypole::__private::Result<Self> {
                ::maypole::__private::Result::Ok(#ident { #(#read),* })
            }
        }
    }
}

/// The error and an implementation beside it, so that one mistake is reported once and not again wherever the struct is
/// used. It is never run: the program does not compile.
pub(super) fn stub(input: &DeriveInput, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    quote! {
        #error

        #[automatically_derived]
        impl #impl_generics ::maypole::__private::FromRow for #ident #type_generics #where_clause {
            type Plan = ();

            fn plan(_: &::maypole::__private::Columns) -> ::maypole::__private::Result<()> {
                ::core::unreachable!()
            }

            fn from_row(_: &(), _: &::maypole::__private::RowRef<'_>) -> ::maypole::__private::Result<Self> {
                ::core::unreachable!()
            }
        }
    }
}
