//! The result of a declared query: `Query` or `Query<T>`.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Error, GenericArgument, Ident, Lifetime, PathArguments, PathSegment, ReturnType, Type, parse_quote,
};

use crate::lifetimes;
use crate::types::{impl_trait, written};

/// What is wrong with the result of this function.
pub(super) fn check(function: &Ident, output: &ReturnType) -> Option<Error> {
    let returns = "a declared query returns a Query";
    let ReturnType::Type(_, type_) = output else {
        let why = format!(
            "{returns}: write `-> Query<T>` with the type of a row for T, or `-> Query` if it returns no rows"
        );
        return Some(Error::new_spanned(function, why));
    };
    let instead = || format!("write `-> {}`", query_of(type_));
    let outer = last_segment(type_).map(|segment| segment.ident.to_string());
    let why = match outer.as_deref() {
        Some("Query") => return check_rows(type_),
        Some("Result") => format!(
            "calling a declared query only builds it, so nothing can fail yet: {}; what runs it, such as unique() or \
             rows(), returns the Result",
            instead()
        ),
        Some("Vec") => format!("{returns}: {}; rows() makes a Vec of it", instead()),
        Some("Option") => format!("{returns}: {}; optional() makes an Option of it", instead()),
        _ if impl_trait(type_).is_some() => {
            format!("{returns}: write `-> Query<T>` with the type of a row for T")
        }
        // A row has no lifetimes, and few have types: it may be another name of Query, which can't be seen from here.
        Some(alias) if last_segment(type_).is_some_and(|segment| !segment.arguments.is_none()) => {
            format!("{returns}: {}; if {alias} is another name of Query, write Query itself", instead())
        }
        _ => format!("{returns}: {}", instead()),
    };
    Some(Error::new_spanned(type_, why))
}

fn check_rows(query: &Type) -> Option<Error> {
    match last_segment(query).map(row_types)?.as_slice() {
        [] => None,
        [row] if lifetimes::is_elided(row) => {
            Some(Error::new_spanned(row, "a row owns its values: use String for &str, Vec<u8> for &[u8]"))
        }
        [_] => None,
        rows => {
            let rows: Vec<String> = rows.iter().map(|row| written(row)).collect();
            let why = format!(
                "Query has one type, that of a row: for several columns, use a tuple: write `Query<({})>`",
                rows.join(", ")
            );
            Some(Error::new_spanned(query, why))
        }
    }
}

/// What to write in place of a type that is no `Query`.
fn query_of(type_: &Type) -> String {
    match innermost(type_) {
        Type::Tuple(tuple) if tuple.elems.is_empty() => "Query".to_owned(),
        query if last_segment(query).is_some_and(|segment| segment.ident == "Query") => written(query),
        row => format!("Query<{}>", written(row)),
    }
}

/// `T` of `Result<Vec<T>>`.
fn innermost(type_: &Type) -> &Type {
    match last_segment(type_) {
        Some(outer) if outer.ident == "Result" || outer.ident == "Vec" || outer.ident == "Option" => {
            row_types(outer).first().map_or(type_, |inner| innermost(inner))
        }
        _ => type_,
    }
}

fn last_segment(type_: &Type) -> Option<&PathSegment> {
    match type_ {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

/// The types in the angle brackets.
fn row_types<'a>(segment: &'a PathSegment) -> Vec<&'a Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return Vec::new() };
    let type_ = |argument: &'a GenericArgument| match argument {
        GenericArgument::Type(type_) => Some(type_),
        _ => None,
    };
    arguments.args.iter().filter_map(type_).collect()
}

/// The type of a row: `T` of `Query<T>`; none for `Query` and `Query<()>`.
pub(super) fn row(output: &ReturnType) -> Option<&Type> {
    let ReturnType::Type(_, type_) = output else { return None };
    let rows = row_types(last_segment(type_).filter(|segment| segment.ident == "Query")?);
    match rows.first() {
        Some(Type::Tuple(tuple)) if tuple.elems.is_empty() => None,
        row => row.copied(),
    }
}

/// The nearest result that a function can have, with what was meant where that is clear.
pub(super) fn mended(output: &ReturnType) -> ReturnType {
    let ReturnType::Type(_, type_) = output else { return parse_quote!(-> ::maypole::Query<'static>) };
    let mut type_ = type_.clone();
    if let Type::Path(path) = &mut *type_
        && let Some(query) = path.path.segments.last_mut()
        && query.ident == "Query"
    {
        let rows: Vec<Type> = row_types(query).into_iter().map(lifetimes::owned).collect();
        let row: Option<Type> = match rows.as_slice() {
            [] => None,
            [row] => Some(row.clone()),
            rows => Some(parse_quote!((#(#rows),*))),
        };
        if let PathArguments::AngleBracketed(arguments) = &mut query.arguments {
            let lifetime = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Lifetime(lifetime) => Some(lifetime.clone()),
                _ => None,
            });
            let row = row.into_iter().map(GenericArgument::Type);
            arguments.args = lifetime.into_iter().map(GenericArgument::Lifetime).chain(row).collect();
        }
    }
    WholeProgram.visit_type_mut(&mut type_);
    parse_quote!(-> #type_)
}

/// Gives each `Query` a lifetime that has none: inside of another type, it is nobody's.
struct WholeProgram;

impl VisitMut for WholeProgram {
    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        if segment.ident == "Query" {
            lifetimes::insert(segment, &Lifetime::new("'static", Span::call_site()));
        }
        visit_mut::visit_path_segment_mut(self, segment);
    }
}
