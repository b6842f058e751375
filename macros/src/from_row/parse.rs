//! From syntax to what the derive knows of a struct.

use syn::ext::IdentExt as _;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

use super::attributes::{FieldOptions, StructOptions};

pub(super) struct Structure<'a> {
    pub(super) input: &'a DeriveInput,
    pub(super) lax: bool,
    pub(super) fields: Vec<Field<'a>>,
}

pub(super) struct Field<'a> {
    pub(super) ident: &'a Ident,
    pub(super) type_: &'a Type,
    /// The name of the column, with the place that says it.
    pub(super) column: LitStr,
    pub(super) options: FieldOptions,
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
    let named = match &data.fields {
        Fields::Named(named) => &named.named,
        Fields::Unnamed(_) => {
            return refuse(
                "FromRow goes by the names of the fields: name them, or use a plain tuple by position",
            );
        }
        Fields::Unit => return refuse("FromRow needs fields to put the columns into"),
    };
    let StructOptions { lax, rename_all } = StructOptions::parse(&input.attrs)?;
    let mut fields = Vec::new();
    for field in named {
        // A named field has a name; syn's type can't say so.
        let Some(ident) = &field.ident else { continue };
        let options = FieldOptions::parse(&field.attrs)?;
        let column = options.rename.clone().unwrap_or_else(|| {
            let name = ident.unraw().to_string();
            LitStr::new(&rename_all.map_or_else(|| name.clone(), |case| case.of(&name)), ident.span())
        });
        fields.push(Field { ident, type_: &field.ty, column, options });
    }
    Ok(Structure { input, lax, fields })
}
