//! What is valid syntax and yet no transaction function.

use syn::{Error, FnArg, Ident, Pat, PatType, ReturnType, Signature, Type};

use crate::function::{Function, Qualifiers};
use crate::lifetimes;
use crate::types::{impl_trait, written};

const QUALIFIERS: Qualifiers = Qualifiers {
    what: "a transaction function",
    no_async: "on green threads a transaction waits without a keyword",
    no_const: "a transaction runs when the program runs",
};

/// A function without mistakes, taken apart.
pub(super) struct Parts<'a> {
    /// The name of the transaction.
    pub(super) transaction: &'a Ident,
    /// The arguments behind it.
    pub(super) arguments: Vec<Argument<'a>>,
}

pub(super) struct Argument<'a> {
    pub(super) ident: &'a Ident,
    pub(super) type_: &'a Type,
}

/// The parts, or all mistakes at once.
pub(super) fn function<'a>(
    function: &'a Function,
    retries: bool,
    mistakes: &mut Vec<Error>,
) -> Option<Parts<'a>> {
    let signature = &function.signature;
    mistakes.extend(function.declared_again());
    QUALIFIERS.check(signature, mistakes);
    let parts = arguments(signature, retries, mistakes);
    mistakes.extend(result(signature));
    if function.body.is_none() {
        let why = "a transaction function has a body: the statements that take effect together; without one, it may be \
                   a #[query]";
        mistakes.push(Error::new_spanned(&signature.ident, why));
    }
    parts
}

fn arguments<'a>(signature: &'a Signature, retries: bool, mistakes: &mut Vec<Error>) -> Option<Parts<'a>> {
    let mut inputs = signature.inputs.iter();
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        let why = "a transaction function is a function outside of impl and trait: what it needs comes as arguments, \
                   behind `q: &Tx`";
        mistakes.push(Error::new_spanned(receiver, why));
        inputs.next();
    }
    let typed = inputs.filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    let place = typed.clone().position(|argument| is_transaction(&argument.ty));
    if let Some(why) = wrong_transaction(signature, typed.clone().next(), place) {
        mistakes.push(why);
    }
    let mut transaction = None;
    let mut arguments = Vec::new();
    for (i, argument) in typed.enumerate() {
        let ident = name(argument, mistakes);
        if place == Some(i) {
            transaction = ident;
            continue;
        }
        if retries
            && let Type::Reference(reference) = ungrouped(&argument.ty)
            && reference.mutability.is_some()
        {
            let why = "an attempt must not see what the one before has left in it: return what the caller is to have, or \
                       leave out retries";
            mistakes.push(Error::new_spanned(&argument.ty, why));
        }
        arguments.extend(ident.map(|ident| Argument { ident, type_: &argument.ty }));
    }
    Some(Parts { transaction: transaction?, arguments })
}

/// What is wrong with the argument that should be the transaction.
fn wrong_transaction(signature: &Signature, first: Option<&PatType>, place: Option<usize>) -> Option<Error> {
    let comes_first = "a transaction function takes its transaction first, and its callers leave it out";
    let Some(first) = first else {
        let why = format!("{comes_first}: write `fn {}(q: &Tx)`", signature.ident);
        return Some(Error::new_spanned(&signature.ident, why));
    };
    let Some(place) = place else {
        let why = format!("{comes_first}: write `q: &Tx` before this argument");
        return Some(Error::new_spanned(first, why));
    };
    if place > 0 {
        let why = format!("{comes_first}: `q: &Tx` stands before this argument");
        return Some(Error::new_spanned(first, why));
    }
    let Type::Reference(reference) = ungrouped(&first.ty) else {
        return Some(Error::new_spanned(&first.ty, "the transaction is lent to its function: write `&Tx`"));
    };
    if reference.mutability.is_some() {
        return Some(Error::new_spanned(&first.ty, "a transaction is queried without `mut`: write `&Tx`"));
    }
    let lifetime = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident != "_")?;
    let why = format!(
        "leave out {lifetime}: nothing that the function takes or returns can last as long as its transaction"
    );
    Some(Error::new_spanned(lifetime, why))
}

/// Whether it is `&Tx`, or nearly.
pub(super) fn is_transaction(type_: &Type) -> bool {
    match ungrouped(type_) {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Tx"),
        Type::Reference(reference) => is_transaction(&reference.elem),
        _ => false,
    }
}

/// The type behind what macros put around it.
pub(super) fn ungrouped(type_: &Type) -> &Type {
    match type_ {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        other => other,
    }
}

/// The name of the argument.
fn name<'a>(argument: &'a PatType, mistakes: &mut Vec<Error>) -> Option<&'a Ident> {
    if let Some(attribute) = argument.attrs.first() {
        let why = "arguments of a transaction function take no attributes";
        mistakes.push(Error::new_spanned(attribute, why));
    }
    let why = match &*argument.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => return Some(&name.ident),
        Pat::Ident(name) => {
            format!("an argument of a transaction function is a name: write `{}`", name.ident)
        }
        Pat::Wild(_) => {
            "an argument of a transaction function has a name: write `_name` for one that is not used"
                .to_owned()
        }
        _ => "an argument of a transaction function has a name: take it apart in the body".to_owned(),
    };
    mistakes.push(Error::new_spanned(&argument.pat, why));
    None
}

/// What is wrong with the result. Whether a type is a `Result`, by another name perhaps, only the compiler knows.
fn result(signature: &Signature) -> Option<Error> {
    let returns = "a transaction function returns a Result, which decides between commit and rollback";
    let ReturnType::Type(_, type_) = &signature.output else {
        let why = format!("{returns}: write `-> Result<()>`");
        return Some(Error::new_spanned(&signature.ident, why));
    };
    if let Some(found) = impl_trait(type_) {
        let why =
            "name the type in place of `impl`, which may borrow from the transaction: a Vec, or a Box<dyn …>";
        return Some(Error::new_spanned(found, why));
    }
    if !matches!(ungrouped(type_), Type::Path(_) | Type::Macro(_)) {
        let why = format!("{returns}: write `-> Result<{}>`", written(type_));
        return Some(Error::new_spanned(type_, why));
    }
    if lifetimes::is_elided(type_) {
        let why = "say what the result borrows from, which can't be the transaction: name the lifetime, as in \
                   `fn first<'a>(q: &Tx, names: &'a [String]) -> Result<&'a str>`";
        return Some(Error::new_spanned(type_, why));
    }
    None
}
