//! Gives names to the lifetimes that a declaration leaves out. No type changes.

use proc_macro2::Span;
use syn::visit_mut::{self, VisitMut};
use syn::{
    FnArg, GenericArgument, GenericParam, Lifetime, LifetimeParam, ParenthesizedGenericArguments,
    PathArguments, PathSegment, ReturnType, Signature, Type, TypeBareFn, TypeReference, WherePredicate,
    parse_quote,
};

/// The function with one lifetime for its query and for all that the arguments borrow: `Query<T>` becomes
/// `Query<'q, T>`, `&str` becomes `&'q str`.
///
/// Nothing changes if the declaration names the lifetime of its query itself.
pub(crate) fn named(signature: &Signature) -> Signature {
    let mut signature = signature.clone();
    let lifetime = unused(&signature);
    let ReturnType::Type(_, type_) = &mut signature.output else { return signature };
    let Type::Path(path) = &mut **type_ else { return signature };
    let Some(query) = path.path.segments.last_mut() else { return signature };
    if query.ident != "Query" || !insert(query, &lifetime) {
        return signature;
    }
    let mut name = Name { lifetime: &lifetime, elided: false };
    for argument in &mut signature.inputs {
        if let FnArg::Typed(argument) = argument {
            name.visit_type_mut(&mut argument.ty);
        }
    }
    // What the caller lends under a name of its own has to live as long, too. It is said where the user says such things.
    let mut conditions: Vec<WherePredicate> = Vec::new();
    for parameter in signature.generics.lifetimes_mut() {
        if parameter.bounds.is_empty() {
            let own = &parameter.lifetime;
            conditions.push(parse_quote!(#own: #lifetime));
        } else {
            parameter.bounds.push(lifetime.clone());
        }
    }
    if !conditions.is_empty() {
        signature.generics.make_where_clause().predicates.extend(conditions);
    }
    signature.generics.params.insert(0, GenericParam::Lifetime(LifetimeParam::new(lifetime)));
    signature
}

/// `'q`, or a longer name if the user has a `'q`.
fn unused(signature: &Signature) -> Lifetime {
    let mut name = String::from("'q");
    while signature.generics.lifetimes().any(|other| other.lifetime.ident == name[1..]) {
        name.push('_');
    }
    Lifetime::new(&name, Span::call_site())
}

/// Whether the lifetime was left out, and has been put in.
pub(crate) fn insert(query: &mut PathSegment, lifetime: &Lifetime) -> bool {
    let elided: GenericArgument = parse_quote!(#lifetime);
    match &mut query.arguments {
        PathArguments::None => query.arguments = PathArguments::AngleBracketed(parse_quote!(<#elided>)),
        PathArguments::AngleBracketed(written) => match written.args.first_mut() {
            Some(GenericArgument::Lifetime(first)) if first.ident == "_" => *first = lifetime.clone(),
            Some(GenericArgument::Lifetime(_)) => return false,
            _ => written.args.insert(0, elided),
        },
        PathArguments::Parenthesized(_) => return false,
    }
    true
}

/// Puts a name where a lifetime is left out.
struct Name<'a> {
    lifetime: &'a Lifetime,
    /// Whether there was such a place.
    elided: bool,
}

impl VisitMut for Name<'_> {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if reference.lifetime.is_none() {
            reference.lifetime = Some(self.lifetime.clone());
            self.elided = true;
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            *lifetime = self.lifetime.clone();
            self.elided = true;
        }
    }

    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        self.elided |= uncover(segment, self.lifetime);
        visit_mut::visit_path_segment_mut(self, segment);
    }

    // Lifetimes of functions are bound in there.
    fn visit_type_bare_fn_mut(&mut self, _: &mut TypeBareFn) {}

    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
}

/// Whether the segment is `Cow<str>`, which hides its lifetime; it has got this one. Of other types nobody can see here
/// whether they have lifetimes.
fn uncover(segment: &mut PathSegment, lifetime: &Lifetime) -> bool {
    if segment.ident == "Cow"
        && let PathArguments::AngleBracketed(written) = &mut segment.arguments
        && let Some(GenericArgument::Type(_)) = written.args.first()
    {
        written.args.insert(0, GenericArgument::Lifetime(lifetime.clone()));
        return true;
    }
    false
}

/// The type with a lifetime of the whole program where it names none.
pub(crate) fn owned(type_: &Type) -> Type {
    let mut type_ = type_.clone();
    let lifetime = Lifetime::new("'static", Span::call_site());
    Name { lifetime: &lifetime, elided: false }.visit_type_mut(&mut type_);
    type_
}

/// The type where the function's lifetimes are unknown: `Cow<'a, str>` becomes `Cow<'_, str>`.
pub(crate) fn erased(type_: &Type) -> Type {
    let mut type_ = type_.clone();
    Erase.visit_type_mut(&mut type_);
    type_
}

struct Erase;

impl VisitMut for Erase {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
    }

    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        uncover(segment, &Lifetime::new("'_", Span::call_site()));
        visit_mut::visit_path_segment_mut(self, segment);
    }

    fn visit_type_bare_fn_mut(&mut self, _: &mut TypeBareFn) {}

    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
}

/// Whether a type borrows without saying for how long.
pub(crate) fn is_elided(type_: &Type) -> bool {
    let lifetime = Lifetime::new("'q", Span::call_site());
    let mut name = Name { lifetime: &lifetime, elided: false };
    name.visit_type_mut(&mut type_.clone());
    name.elided
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;

    fn with_names(function: &str) -> String {
        named(&syn::parse_str(function).unwrap()).to_token_stream().to_string()
    }

    fn same(function: &str) -> String {
        syn::parse_str::<Signature>(function).unwrap().to_token_stream().to_string()
    }

    #[test]
    fn a_query_lives_as_long_as_what_it_borrows() {
        for (written, expected) in [
            ("fn f() -> Query", "fn f<'q>() -> Query<'q>"),
            ("fn f(a: i32) -> m::Query<(i32, A)>", "fn f<'q>(a: i32) -> m::Query<'q, (i32, A)>"),
            ("fn f(a: Option<&[&str]>) -> Query<'_>", "fn f<'q>(a: Option<&'q [&'q str]>) -> Query<'q>"),
            ("fn f(a: Cow<'_, str>) -> Query<'_, A>", "fn f<'q>(a: Cow<'q, str>) -> Query<'q, A>"),
            ("fn f(a: Option<Cow<str>>) -> Query", "fn f<'q>(a: Option<Cow<'q, str>>) -> Query<'q>"),
            ("fn f<'q>(a: &'q str) -> Query", "fn f<'q_, 'q>(a: &'q str) -> Query<'q_> where 'q: 'q_"),
            (
                "fn f<'a, 'b: 'a>(a: &'b str) -> Query",
                "fn f<'q, 'a, 'b: 'a + 'q>(a: &'b str) -> Query<'q> where 'a: 'q",
            ),
            ("fn f(a: &'static str) -> Query", "fn f<'q>(a: &'static str) -> Query<'q>"),
            ("fn f(a: fn(&str) -> &str) -> Query", "fn f<'q>(a: fn(&str) -> &str) -> Query<'q>"),
        ] {
            assert_eq!(with_names(written), same(expected));
        }
    }

    #[test]
    fn a_lifetime_that_the_user_gives_the_query_stays() {
        for function in [
            "fn f<'a>(a: &'a str, b: &str) -> Query<'a, A>",
            "fn f(a: i32) -> Query<'static>",
            "fn f(a: &str) -> A",
        ] {
            assert_eq!(with_names(function), same(function));
        }
    }
}
