//! What is valid syntax and yet can't be declared as a query.

use maypole_sql::Nature;
use syn::{Error, FnArg, GenericParam, Ident, Pat, Signature, Type, WherePredicate};

use super::parse::{Attr, Options};
use super::result;
use crate::function::{Function, Qualifiers};
use crate::types::impl_trait;

/// The most arguments. PostgreSQL's own bound is 65,535; ours is that of the tuples which hold the values.
const MOST_ARGUMENTS: usize = 32;

const QUALIFIERS: Qualifiers = Qualifiers {
    what: "a declared query",
    no_async: "a declared query only builds, and on green threads what runs it waits without a keyword",
    no_const: "a declared query is built when the program runs",
};

/// An argument of a declared query.
pub(super) struct Argument<'a> {
    pub(super) ident: &'a Ident,
    pub(super) type_: &'a Type,
}

/// The arguments, as far as they have names.
pub(super) fn arguments<'a>(signature: &'a Signature) -> Vec<Argument<'a>> {
    let named = |argument: &'a FnArg| match argument {
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(pattern) => Some(Argument { ident: &pattern.ident, type_: &argument.ty }),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    };
    signature.inputs.iter().filter_map(named).collect()
}

/// All mistakes of the function at once.
pub(super) fn function(attr: Attr, function: &Function) -> Vec<Error> {
    let mut mistakes = Vec::new();
    mistakes.extend(function.declared_again());
    if let Some(body) = &function.body {
        let why = "the SQL is all there is to a declared query: write a semicolon in place of this body";
        mistakes.push(Error::new(body.span_open(), why));
    }
    let signature = &function.signature;
    QUALIFIERS.check(signature, &mut mistakes);
    generics(signature, &mut mistakes);
    inputs(attr, signature, &mut mistakes);
    mistakes.extend(result::check(&signature.ident, &signature.output));
    mistakes
}

fn generics(signature: &Signature, mistakes: &mut Vec<Error>) {
    let why = "a declared query is one query with one set of types: declare it for one type; in a generic function, \
               use DB.query(…)";
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            mistakes.push(Error::new_spanned(parameter, why));
        }
    }
    let predicates = signature.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    // Conditions on type parameters are gone with them.
    if signature.generics.type_params().next().is_none() {
        for predicate in predicates {
            if !matches!(predicate, WherePredicate::Lifetime(_)) {
                mistakes.push(Error::new_spanned(
                    predicate,
                    "a declared query takes conditions on lifetimes only",
                ));
            }
        }
    }
}

fn inputs(attr: Attr, signature: &Signature, mistakes: &mut Vec<Error>) {
    for argument in &signature.inputs {
        let argument = match argument {
            FnArg::Typed(argument) => argument,
            FnArg::Receiver(receiver) => {
                let why = "a declared query is a function outside of impl and trait: what it needs comes as arguments";
                mistakes.push(Error::new_spanned(receiver, why));
                continue;
            }
        };
        if let Some(attribute) = argument.attrs.first() {
            mistakes.push(Error::new_spanned(attribute, "arguments of a declared query take no attributes"));
        }
        match &*argument.pat {
            Pat::Ident(name)
                if name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none() => {}
            Pat::Ident(name) => {
                let plain = &name.ident;
                let why = format!("an argument of a declared query is a plain name: write `{plain}`");
                mistakes.push(Error::new_spanned(name, why));
            }
            pattern => {
                let why = format!(
                    "an argument of a declared query is a plain name, by which the SQL calls it: `id` for `:id`, as \
                     in {}",
                    attr.form()
                );
                mistakes.push(Error::new_spanned(pattern, why));
            }
        }
        if let Some(generic) = impl_trait(&argument.ty) {
            let why = "a declared query is one query with one set of types: name the type in place of `impl`";
            mistakes.push(Error::new_spanned(generic, why));
        }
    }
    if let Some(excess) = signature.inputs.iter().nth(MOST_ARGUMENTS) {
        let why = format!(
            "a declared query takes at most {MOST_ARGUMENTS} arguments; for more, pass a slice and write \
             `unnest(:list)` or `= ANY(:list)`"
        );
        mistakes.push(Error::new_spanned(excess, why));
    }
}

/// All mistakes of the options at once.
pub(super) fn options(attr: Attr, options: &Options) -> Vec<Error> {
    let mut mistakes = Vec::new();
    if let (Attr::Query, Some(word)) = (attr, &options.exclusive) {
        let why = "queries are always exclusive, only selects share connections: leave it out";
        mistakes.push(Error::new_spanned(word, why));
    }
    let mut seen = Vec::new();
    for column in &options.not_null {
        let name = column.value();
        if name.is_empty() {
            mistakes.push(Error::new(column.span(), "this is no name of a column"));
        } else if seen.contains(&name) {
            mistakes.push(Error::new(column.span(), format!("the column \"{name}\" is named twice")));
        }
        seen.push(name);
    }
    mistakes
}

/// What is asked of columns, of a statement that has none.
pub(super) fn columns(signature: &Signature, options: &Options, nature: &Nature) -> Vec<Error> {
    let mut mistakes = Vec::new();
    if nature.columns {
        return mistakes;
    }
    if let Some(row) = result::row(&signature.output) {
        let why = "this statement returns no columns: write `-> Query`, or add RETURNING to the SQL";
        mistakes.push(Error::new_spanned(row, why));
    }
    if let Some(column) = options.not_null.first() {
        mistakes.push(Error::new(column.span(), "this statement returns no columns"));
    }
    mistakes
}
