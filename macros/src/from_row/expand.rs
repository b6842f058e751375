//! The implementations that are written.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, Generics, parse_quote, parse_quote_spanned};

use super::parse::{Field, Structure};

/// `Flatten`, which does the work, and `FromRow`, which is the same for a row that has no other columns.
///
/// The plan is the positions of the struct's own columns, then those of what is flattened into it.
pub(super) fn expand(structure: &Structure<'_>) -> TokenStream {
    let ident = &structure.input.ident;
    let (name, lax) = (ident.to_string(), structure.lax);
    let generics = bounded(structure);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

    let (nested, own): (Vec<&Field<'_>>, Vec<_>) =
        structure.fields.iter().partition(|field| field.options.flatten.is_some());
    let count = own.len();
    let found = own.iter().map(|field| {
        let described = describe(field);
        quote!(finder.column(&const { #described });)
    });
    let nested_found = nested.iter().map(|field| {
        let (type_, name, prefix) = (field.type_, field.name(), &field.options.flatten);
        quote_spanned!(type_.span()=> finder.nested::<#type_>(#name, #prefix);)
    });
    let nested_types = nested.iter().map(|field| field.type_);
    let rest = if nested.is_empty() { quote!(_) } else { quote!(mut rest) };
    let own_read = own.iter().enumerate().map(|(i, field)| read(field, i));
    let nested_read = nested.iter().map(|field| {
        let (ident, type_, name) = (field.ident, field.type_, field.name());
        let read = quote_spanned!(type_.span()=> ::maypole::__private::nested::<#type_>);
        quote!(#ident: #read(#name, &mut rest, row)?)
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::maypole::__private::Flatten for #ident #type_generics #where_clause {
            const NAME: &'static str = #name;
            const LAX: bool = #lax;
            const COLUMNS: usize = #count #(+ <#nested_types as ::maypole::__private::Flatten>::COLUMNS)*;

            fn find(finder: &mut ::maypole::__private::Finder<'_>) {
                #(#found)*
                #(#nested_found)*
            }

            #[inline]
            fn read(
                plan: &[u16],
                row: &::maypole::__private::RowRef<'_>,
            ) -> ::maypole::__private::Result<Self> {
                let (own, #rest) = ::maypole::__private::own::<#count>(plan)?;
                ::maypole::__private::Result::Ok(#ident { #(#own_read,)* #(#nested_read,)* })
            }
        }

        #[automatically_derived]
        impl #impl_generics ::maypole::__private::FromRow for #ident #type_generics #where_clause {
            type Plan = ::maypole::__private::Plan;

            fn plan(
                columns: &::maypole::__private::Columns,
            ) -> ::maypole::__private::Result<Self::Plan> {
                ::maypole::__private::plan::<Self>(columns)
            }

            #[inline]
            fn from_row(
                plan: &Self::Plan,
                row: &::maypole::__private::RowRef<'_>,
            ) -> ::maypole::__private::Result<Self> {
                ::maypole::__private::read::<Self>(plan, row)
            }

            fn outline(
                columns: &::maypole::__private::Columns,
            ) -> ::std::vec::Vec<::maypole::__private::Place> {
                ::maypole::__private::outline::<Self>(columns)
            }
        }
    }
}

/// What the fields need, said here and nowhere else, so that a wrong type is reported once, where it is written.
fn bounded(structure: &Structure<'_>) -> Generics {
    let mut generics = structure.input.generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    let bounds = &mut generics.make_where_clause().predicates;
    for parameter in parameters {
        // What a row becomes borrows nothing.
        bounds.push(parse_quote!(#parameter: 'static));
    }
    for Field { type_, options, .. } in &structure.fields {
        bounds.push(if options.flatten.is_some() {
            parse_quote_spanned!(type_.span()=> #type_: ::maypole::__private::Flatten)
        } else if options.json {
            parse_quote_spanned!(type_.span()=> #type_: ::maypole::__private::DeserializeOwned)
        } else {
            parse_quote_spanned!(type_.span()=> #type_: ::maypole::__private::Readable)
        });
        if options.default {
            bounds.push(parse_quote_spanned!(type_.span()=> #type_: ::core::default::Default));
        }
    }
    generics
}

/// What is known of a field before any result.
fn describe(field: &Field<'_>) -> TokenStream {
    let (type_, name, column) = (field.type_, field.name(), &field.column);
    let or_default = field.options.default.then(|| quote!(.or_default()));
    let way = if field.options.json { quote!(json) } else { quote!(of) };
    // A type that can't be read is reported where it is written.
    quote_spanned!(type_.span()=> ::maypole::__private::Field::#way::<#type_>(#name, #column) #or_default)
}

/// The value of the field at this place of the plan.
fn read(field: &Field<'_>, i: usize) -> TokenStream {
    let (ident, name, span) = (field.ident, field.name(), field.type_.span());
    let read = match field.options.json {
        true => quote_spanned!(span=> ::maypole::__private::json_field),
        false => quote_spanned!(span=> ::maypole::__private::field),
    };
    if field.options.default {
        let or_default = quote_spanned!(span=> ::maypole::__private::or_default);
        quote!(#ident: #or_default(own[#i], |position| #read(#name, position, row))?)
    } else {
        quote!(#ident: #read(#name, own[#i], row)?)
    }
}

/// The error and implementations beside it, so that one mistake is reported once and not again wherever the struct is
/// used. They are never run: the program does not compile.
pub(super) fn stub(input: &DeriveInput, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    let bounds = &mut generics.make_where_clause().predicates;
    for parameter in parameters {
        bounds.push(parse_quote!(#parameter: 'static));
    }
    for lifetime in input.generics.lifetimes() {
        let lifetime = &lifetime.lifetime;
        bounds.push(parse_quote!(#lifetime: 'static));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    quote! {
        #error

        #[automatically_derived]
        impl #impl_generics ::maypole::__private::Flatten for #ident #type_generics #where_clause {
            const NAME: &'static str = "";
            const LAX: bool = true;

            const COLUMNS: usize = 0;

            fn find(_: &mut ::maypole::__private::Finder<'_>) {
                ::core::unreachable!()
            }

            fn read(_: &[u16], _: &::maypole::__private::RowRef<'_>) -> ::maypole::__private::Result<Self> {
                ::core::unreachable!()
            }
        }

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
