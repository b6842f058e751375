//! What is valid syntax and yet can't work.

use std::collections::HashMap;

use syn::{Error, Result};

use super::parse::{Field, Structure};

/// All mistakes at once.
pub(super) fn check(structure: &Structure<'_>) -> Result<()> {
    let mut mistakes = Vec::new();
    for lifetime in structure.input.generics.lifetimes() {
        mistakes.push(Error::new_spanned(
            lifetime,
            "FromRow makes structs that own their values: use String for &str, Vec<u8> for &[u8]",
        ));
    }
    if structure.fields.len() >= usize::from(u16::MAX) {
        mistakes.push(Error::new_spanned(&structure.input.ident, "no result has so many columns"));
    }
    mistakes.extend(structure.fields.iter().filter_map(conflict));
    let mut seen = HashMap::new();
    for field in structure.fields.iter().filter(|field| field.options.flatten.is_none()) {
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

/// A flattened struct has columns, and not one of its own that something could be said of.
fn conflict(field: &Field<'_>) -> Option<Error> {
    let options = &field.options;
    options.flatten.as_ref()?;
    let why = if options.rename.is_some() {
        "a flattened struct has no column to rename: give its columns a prefix with flatten = \"prefix_\""
    } else if options.json {
        "json reads one column, flatten reads several: choose one"
    } else if options.default {
        "a flattened struct has no default: put default on its fields, or make it an Option, which is None when all \
         its columns are NULL"
    } else {
        return None;
    };
    Some(Error::new(field.ident.span(), why))
}
