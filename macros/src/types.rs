//! Types of Rust, as far as their spelling tells.

use quote::ToTokens as _;
use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, PathArguments, Type, TypeImplTrait};

/// The type as people write it: `Option<&str>`. (Tokens alone know no spaces: `Option < & str >`.)
pub(crate) fn written(type_: &Type) -> String {
    let spaced = type_.to_token_stream().to_string();
    let mut text = String::with_capacity(spaced.len());
    let mut characters = spaced.chars().peekable();
    while let Some(character) = characters.next() {
        if character != ' ' {
            text.push(character);
            continue;
        }
        let (before, after) = (text.chars().next_back(), characters.peek().copied());
        let (Some(before), Some(after)) = (before, after) else { continue };
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\'');
        let opens = |c: char| matches!(c, '[' | '(' | '&' | '*');
        // Between words, behind a comma, around a plus or an arrow.
        if (word(before) && word(after))
            || matches!(before, ',' | ';' | '+' | '=')
            || matches!(after, '+' | '=' | '-')
            || (text.ends_with("->"))
            || (word(before) && opens(after) && is_qualifier(&text))
        {
            text.push(' ');
        }
    }
    text
}

/// Whether the last word belongs to the type behind it: `mut`, `dyn`, `'a`.
fn is_qualifier(text: &str) -> bool {
    let word =
        text.rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '\''))).next().unwrap_or_default();
    word.starts_with('\'') || matches!(word, "mut" | "dyn" | "const" | "impl")
}

/// Whether values of the type are lists, for PostgreSQL arrays. Bytes are no list.
pub(crate) fn is_list(type_: &Type) -> bool {
    match type_ {
        Type::Array(array) => !is_byte(&array.elem),
        Type::Slice(slice) => !is_byte(&slice.elem),
        Type::Reference(reference) => is_list(&reference.elem),
        Type::Group(group) => is_list(&group.elem),
        Type::Paren(paren) => is_list(&paren.elem),
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return false };
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
            let inner = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(inner) => Some(inner),
                _ => None,
            });
            match (last.ident.to_string().as_str(), inner) {
                ("Vec", Some(inner)) => !is_byte(inner),
                ("Option" | "Box" | "Cow" | "Arc" | "Rc", Some(inner)) => is_list(inner),
                _ => false,
            }
        }
        _ => false,
    }
}

fn is_byte(type_: &Type) -> bool {
    matches!(type_, Type::Path(path) if path.path.is_ident("u8"))
}

/// The first `impl Trait` in the type.
pub(crate) fn impl_trait(type_: &Type) -> Option<TypeImplTrait> {
    struct Find(Option<TypeImplTrait>);

    impl VisitMut for Find {
        fn visit_type_impl_trait_mut(&mut self, found: &mut TypeImplTrait) {
            self.0.get_or_insert_with(|| found.clone());
            visit_mut::visit_type_impl_trait_mut(self, found);
        }
    }

    let mut find = Find(None);
    find.visit_type_mut(&mut type_.clone());
    find.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Type {
        syn::parse_str(text).unwrap()
    }

    #[test]
    fn types_are_told_as_people_write_them() {
        for text in [
            "i32",
            "&str",
            "Option<&'a str>",
            "&'a [u8]",
            "&mut [&str]",
            "Cow<'_, [Option<i64>]>",
            "std::collections::HashMap<String, Option<String>>",
            "[i32; 3]",
            "(i32, String)",
            "&(dyn ToSql + Sync)",
            "Box<dyn Fn(i32) -> i32 + Send>",
            "<T as Of>::Item",
        ] {
            assert_eq!(written(&parsed(text)), text);
        }
    }

    #[test]
    fn lists_are_known_by_their_spelling_and_bytes_are_none() {
        for list in
            ["&[i32]", "Vec<String>", "[i64; 2]", "Option<&[&str]>", "Cow<'_, [i32]>", "std::vec::Vec<u16>"]
        {
            assert!(is_list(&parsed(list)), "{list}");
        }
        for other in ["i32", "&[u8]", "Vec<u8>", "Option<Vec<u8>>", "Ids", "&str", "(i32, i32)"] {
            assert!(!is_list(&parsed(other)), "{other}");
        }
    }
}
