//! What `#[maypole(…)]` says on a struct and on its fields.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, LitStr, Result, Token};

use super::case::Case;

/// On the struct.
#[derive(Default)]
pub(super) struct StructOptions {
    pub(super) lax: bool,
    pub(super) rename_all: Option<Case>,
}

/// On a field.
#[derive(Default)]
pub(super) struct FieldOptions {
    pub(super) rename: Option<LitStr>,
    pub(super) default: bool,
    pub(super) json: bool,
    /// The prefix; none is an empty one.
    pub(super) flatten: Option<LitStr>,
}

impl StructOptions {
    pub(super) fn parse(attributes: &[Attribute]) -> Result<StructOptions> {
        let mut options = StructOptions::default();
        each(attributes, |name, meta| match name {
            "lax" => once(meta, &mut options.lax),
            "rename_all" => {
                let value = text(meta, "a spelling, as in rename_all = \"camelCase\"")?;
                let case = Case::named(&value.value()).map_err(|why| Error::new(value.span(), why))?;
                if options.rename_all.replace(case).is_some() { Err(twice(meta)) } else { Ok(()) }
            }
            "rename" => {
                Err(meta.error("rename stands on a field; for all fields there is rename_all = \"…\""))
            }
            "default" | "flatten" | "json" => Err(meta.error(format!("{name} stands on a field"))),
            _ => Err(meta.error("unknown option; a struct has lax and rename_all = \"…\"")),
        })?;
        Ok(options)
    }
}

impl FieldOptions {
    pub(super) fn parse(attributes: &[Attribute]) -> Result<FieldOptions> {
        let mut options = FieldOptions::default();
        each(attributes, |name, meta| {
            match name {
            "default" => once(meta, &mut options.default),
            "json" => once(meta, &mut options.json),
            "rename" => {
                let value = text(meta, "the column's name, as in rename = \"type\"")?;
                if options.rename.replace(value).is_some() { Err(twice(meta)) } else { Ok(()) }
            }
            "flatten" => {
                let prefix = match meta.input.peek(Token![=]) {
                    true => text(meta, "the prefix of its columns, as in flatten = \"customer_\"")?,
                    false => LitStr::new("", meta.path.get_ident().map_or_else(|| meta.input.span(), |i| i.span())),
                };
                if options.flatten.replace(prefix).is_some() { Err(twice(meta)) } else { Ok(()) }
            }
            "lax" | "rename_all" => Err(meta.error(format!("{name} stands on the struct"))),
            _ => Err(meta.error(
                "unknown option; a field has rename = \"…\", default, json, flatten and flatten = \"prefix_\"",
            )),
        }
        })?;
        Ok(options)
    }
}

/// Calls with the name of each option.
fn each(
    attributes: &[Attribute],
    mut option: impl FnMut(&str, &ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("maypole")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            option(&name, &meta)
        })?;
    }
    Ok(())
}

/// An option without a value.
fn once(meta: &ParseNestedMeta<'_>, option: &mut bool) -> Result<()> {
    if meta.input.peek(Token![=]) {
        return Err(meta.error("this option takes no value"));
    }
    if std::mem::replace(option, true) { Err(twice(meta)) } else { Ok(()) }
}

fn text(meta: &ParseNestedMeta<'_>, what: &str) -> Result<LitStr> {
    if !meta.input.peek(Token![=]) {
        return Err(meta.error(format!("it needs {what}")));
    }
    let value = meta.value()?;
    if !value.peek(LitStr) {
        return Err(value.error(format!("a text is needed here: {what}")));
    }
    value.parse()
}

fn twice(meta: &ParseNestedMeta<'_>) -> Error {
    meta.error("this option is given twice")
}
