//! From syntax to what the derive knows of a struct.

use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

pub(super) struct Structure<'a> {
    pub(super) input: &'a DeriveInput,
    pub(super) fields: Vec<Field<'a>>,
}

pub(super) struct Field<'a> {
    pub(super) ident: &'a Ident,
    pub(super) type_: &'a Type,
    /// The name of the column, with the place that says it.
    pub(super) column: LitStr,
}

impl Field<'_> {
    /// The field as people call it: without `r#`.
    pub(super) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

pub(super) fn parse(input: &DeriveInput) -> Result<Structure<'_>> {
    let refuse = |why: &str| Err(Error::new(input.ident.span(), why));
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(_) => {
            return refuse(
                "FromRow turns a row into a struct; an enum is a single value: derive postgres_types::FromSql",
            );
        }
        Data::Union(_) => return refuse("FromRow turns a row into a struct, not into a union"),
    };
    if let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("maypole")) {
        return Err(Error::new(attribute.span(), "#[maypole(…)] stands on fields here, not on the struct"));
    }
    let named = match &data.fields {
        Fields::Named(named) => &named.named,
        Fields::Unnamed(_) => {
            return refuse(
                "FromRow goes by the names of the fields: name them, or use a plain tuple by position",
            );
        }
        Fields::Unit => return refuse("FromRow needs fields to put the columns into"),
    };
    let mut fields = Vec::new();
    for field in named {
        // A named field has a name; syn's type can't say so.
        let Some(ident) = &field.ident else { continue };
        let column = renamed(field)?.unwrap_or_else(|| LitStr::new(&ident.unraw().to_string(), ident.span()));
        fields.push(Field { ident, type_: &field.ty, column });
    }
    Ok(Structure { input, fields })
}

/// The name given with `#[maypole(rename = "…")]`.
fn renamed(field: &syn::Field) -> Result<Option<LitStr>> {
    let mut name: Option<LitStr> = None;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("maypole")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("unknown option; there is rename = \"the column's name\""));
            }
            let value: LitStr = meta.value()?.parse()?;
            if name.replace(value).is_some() {
                return Err(meta.error("this field is renamed twice"));
            }
            Ok(())
        })?;
    }
    Ok(name)
}
