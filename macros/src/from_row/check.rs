//! What is valid syntax and yet can't work.

use std::collections::HashMap;

use syn::{Error, Result};

use super::parse::Structure;

/// All mistakes at once.
pub(super) fn check(structure: &Structure<'_>) -> Result<()> {
    let mut mistakes = Vec::new();
    for lifetime in structure.input.generics.lifetimes() {
        mistakes.push(Error::new_spanned(
            lifetime,
            "FromRow makes structs that own their values: use String for &str, Vec<u8> for &[u8]",
        ));
    }
    if u16::try_from(structure.fields.len()).is_err() {
        mistakes.push(Error::new_spanned(&structure.input.ident, "no result has so many columns"));
    }
    let mut seen = HashMap::new();
    for field in &structure.fields {
        if let Some(first) = seen.insert(field.column.value(), field.name()) {
            let column = field.column.value();
            mistakes.push(Error::new(
                field.column.span(),
                format!("the column \"{column}\" goes into the field `{first}` already"),
            ));
        }
    }
    let all = mistakes.into_iter().reduce(|mut all, mistake| {
        all.combine(mistake);
        all
    });
    all.map_or(Ok(()), Err)
}
