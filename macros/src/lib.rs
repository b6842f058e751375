//! The macros of [maypole](https://docs.rs/maypole). Use them through that crate.

mod from_row;

use proc_macro::TokenStream;

/// Turns rows into a struct with named fields, by the names of the columns.
///
/// Every column must have a field and every field a column of its name and of a type that its `FromSql` accepts; else
/// the error tells all that does not fit. It is found out once for each result, before its first row. A field of a
/// column that may be NULL is an `Option`; a NULL elsewhere is an error that names the row (the first is row 1), the
/// field and the column. The struct owns its values: it has no lifetimes. It may be generic.
///
/// ```
/// use maypole::FromRow;
///
/// #[derive(FromRow)]
/// struct Order {
///     id: i64,
///     #[maypole(rename = "type")]
///     kind: String,
///     #[maypole(default)]
///     discount: f64,
///     #[maypole(json)]
///     gifts: Vec<String>,                  // or any type that implements serde::Deserialize
///     #[maypole(flatten = "customer_")]
///     customer: Customer,                  // from customer_id and customer_name
///     #[maypole(flatten = "parcel_")]
///     parcel: Option<Parcel>,              // None if parcel_number and parcel_sent are NULL
/// }
///
/// #[derive(FromRow)]
/// struct Customer {
///     id: i32,
///     name: String,
/// }
///
/// #[derive(FromRow)]
/// struct Parcel {
///     number: String,
///     sent: Option<bool>,
/// }
///
/// # fn look(db: &maypole::Database) -> maypole::Result<()> {
/// let orders: Vec<Order> = db.query(
///     "SELECT o.id, o.type, o.gifts,
///             c.id AS customer_id, c.name AS customer_name,
///             p.number AS parcel_number, p.sent AS parcel_sent
///      FROM orders o JOIN customers c ON c.id = o.customer LEFT JOIN parcels p ON p.order_id = o.id",
///     (),
/// ).rows()?;
/// # Ok(())
/// # }
/// ```
///
/// # On a field
///
/// * `#[maypole(rename = "…")]`: the name of its column, where it is called otherwise. A raw identifier such as `r#type`
///   stands for the column `type` without that.
/// * `#[maypole(default)]`: `Default::default()` if the result has no such column. A column that is there and NULL is not
///   missing: that needs an `Option`.
/// * `#[maypole(json)]`: read from a `json` or `jsonb` column by serde, into any type that implements
///   `serde::Deserialize` and owns its value. For a column that may be NULL it is an `Option`; the `null` of JSON is
///   `None` too.
/// * `#[maypole(flatten)]`, `#[maypole(flatten = "prefix_")]`: a struct with `#[derive(FromRow)]` of its own, which takes
///   the columns whose names begin with the prefix; its fields say the rest of their names. Prefixes add up where
///   structs nest deeper. An `Option` of such a struct is `None` if all its columns are NULL, which is what an outer join
///   without a match gives; the columns must be there all the same. Two fields can't take the same column.
///
/// # On the struct
///
/// * `#[maypole(lax)]`: columns without a field are ignored. Fields without a column are an error still. On a flattened
///   struct it holds for the columns with its prefix.
/// * `#[maypole(rename_all = "…")]`: how the columns are spelled whose fields have no `rename`. It is one of serde's
///   `"lowercase"`, `"UPPERCASE"`, `"PascalCase"`, `"camelCase"`, `"snake_case"`, `"SCREAMING_SNAKE_CASE"`,
///   `"kebab-case"`, `"SCREAMING-KEBAB-CASE"`.
///
/// # Types of fields
///
/// Everything that implements `FromSql`: enums, composites and domains by the derives of postgres-types. They come with
/// maypole's feature `derive`, as `maypole::FromSql` and `maypole::ToSql`; the code they write names `::postgres_types`,
/// so that the program has to have that crate among its dependencies too:
///
/// ```toml
/// maypole = { version = "0.1", features = ["derive"] }
/// postgres-types = "0.2"
/// ```
///
/// ```
/// use maypole::{FromRow, FromSql, ToSql};
///
/// #[derive(Debug, FromSql, ToSql)]
/// #[postgres(name = "mood", rename_all = "lowercase")]
/// enum Mood {
///     Glad,
///     Sad,
/// }
///
/// #[derive(FromRow)]
/// struct Person {
///     name: String,
///     mood: Option<Mood>,
///     moods_before: Vec<Mood>,
/// }
///
/// // A row that is such a value, and nothing else.
/// impl maypole::Scalar for Mood {}
/// ```
///
/// For a struct that implements `serde::Deserialize` already there is `maypole::Serde`, without a derive.
#[proc_macro_derive(FromRow, attributes(maypole))]
pub fn derive_from_row(input: TokenStream) -> TokenStream {
    from_row::derive(syn::parse_macro_input!(input)).into()
}
