//! The macros of [maypole](https://docs.rs/maypole). Use them through that crate.

mod declared;
mod from_row;
mod function;
mod lifetimes;
mod transaction;
mod types;

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

/// Declares a query that only reads: SQL, called as a function.
///
/// ```no_run
/// use maypole::{Database, FromRow, Query, Result, query, select};
///
/// static DB: Database = Database::named("database");
///
/// #[derive(Debug, FromRow)]
/// struct Customer {
///     id: i32,
///     name: String,
/// }
///
/// /// The customer with this id.
/// #[select(DB, "SELECT id, name FROM customers WHERE id = :id")]
/// fn get_customer(id: i32) -> Query<Customer>;
///
/// /// All customers, or those in one country.
/// #[select(DB, r#"
///     SELECT id, name
///       FROM customers
///      WHERE :country IS NULL OR country = :country
/// "#)]
/// fn customers(country: Option<&str>) -> Query<Customer>;
///
/// /// Renames customers; the number of those renamed.
/// #[query(DB, "UPDATE customers SET name = :new WHERE name = :old")]
/// fn rename(old: &str, new: &str) -> Query;
///
/// fn main() -> Result<()> {
///     let customer = get_customer(52).unique()?;
///     println!("{customer:?}");
///     let renamed = rename("foo", "woo").run()?;
///     println!("{renamed} of {}", get_customer::SQL);
///     Ok(())
/// }
/// ```
///
/// # The function
///
/// It has no body. Calling it builds a `Query`, which does nothing until a terminal such as `unique`, `rows` or `run`
/// runs it. Its result is `Query<T>` with the type of a row, or `Query` if there are no rows. No type changes; only
/// lifetimes that are left out get a name: really `get_customer` returns a `Query<'q, Customer>`, and `rename` takes
/// `&'q str`, as a query keeps its arguments until it runs. Generics over types, `impl Trait`, `async` and patterns are
/// refused. It can stand in a module or in a function, not in an `impl` or a `trait`.
///
/// Beside it is a module of the same name, which knows the query without running it: `get_customer::SQL`, the text as it
/// was written, `NAME`, `FILE` and `LINE`. So there can't be a type or a module of this name as well. The SQL also becomes
/// part of the documentation.
///
/// # The SQL
///
/// It is one statement, as a string, or in a file: `#[select(DB, file = "sql/customer.sql")]`, with a path from the
/// folder of the crate's `Cargo.toml`. When the file changes, the crate is compiled again.
///
/// Each argument is used as a parameter of its name, `:id`, and each parameter is an argument; an argument `r#type` is
/// `:type`. What looks like a parameter in quotes, comments, casts (`::int4`) and slices (`a[1:n]`) is none. Bare
/// `:x IS NULL` and `:x IS NOT NULL` work whatever type the column has that `x` is compared with. A list is compared
/// with `= ANY(:ids)`, not with `IN`. A parameter is a value, never the name of a column: `ORDER BY :column` is an error, as
/// it would sort nothing. A name that is unknown or not used, a text with several statements, and what this
/// attribute can't run are errors of the compiler, with carets under the place. What depends on the database, such as
/// the names of tables, is found out when the query runs or is checked, never when the program is compiled.
///
/// # The options
///
/// * `file = "sql/name.sql"`: the SQL is in this file.
/// * `not_null = ["name"]`: checks take these columns for never NULL, whatever the catalogue says.
/// * `exclusive`, of a select only: it has a connection for itself while it runs, as a [`query`](macro@query) has.
///
/// # What a select is
///
/// SELECT, VALUES, TABLE, or WITH of these, without FOR UPDATE and FOR SHARE, and without the well-known functions whose
/// effect a read-only transaction does not stop or that need a session, such as `nextval` and `pg_notify`. In return it
/// may share a connection with selects of other coroutines, unless it is declared `exclusive`. Everything else is a [`query`](macro@query). What a
/// function of your own does inside can't be seen here: if it has effects, use `query`.
#[proc_macro_attribute]
pub fn select(options: TokenStream, item: TokenStream) -> TokenStream {
    declared::declare(declared::Attr::Select, options.into(), item.into()).into()
}

/// Declares a query that may write: SQL, called as a function.
///
/// ```no_run
/// use maypole::{Database, Query, Result, query};
///
/// static DB: Database = Database::named("database");
///
/// /// Renames customers; the number of those renamed.
/// #[query(DB, "UPDATE customers SET name = :new WHERE name = :old")]
/// fn rename(old: &str, new: &str) -> Query;
///
/// /// A new customer; its id.
/// #[query(DB, "INSERT INTO customers (name) VALUES (:name) RETURNING id")]
/// fn add(name: &str) -> Query<i32>;
///
/// fn main() -> Result<()> {
///     let id = add("Leonard Winter").value()?;
///     println!("{id}");
///     DB.transaction(|q| {
///         rename("a", "b").on(q).run()?;
///         rename("b", "c").on(q).run()
///     })?;
///     Ok(())
/// }
/// ```
///
/// It is declared as a [`select`](macro@select) is, and may be any single statement. It has a connection for itself while it
/// runs. A statement that needs a session to stay, such as LISTEN or SET, or that creates a temporary table, is run on a
/// connection that is held, with `.on(&connection)`.
#[proc_macro_attribute]
pub fn query(options: TokenStream, item: TokenStream) -> TokenStream {
    declared::declare(declared::Attr::Query, options.into(), item.into()).into()
}

/// Declares a transaction: a function whose statements take effect together, or not at all.
///
/// ```no_run
/// use maypole::{Database, Query, Result, Tx, query, transaction};
///
/// static DB: Database = Database::named("database");
///
/// #[query(DB, "UPDATE accounts SET balance = balance + :amount WHERE id = :id")]
/// fn add(id: i32, amount: i64) -> Query;
///
/// /// Moves money from one account to another.
/// #[transaction(DB, retries = 3, isolation = "serializable")]
/// fn transfer(q: &Tx, from: i32, to: i32, amount: i64) -> Result<()> {
///     add(from, -amount).on(q).run()?;
///     add(to, amount).on(q).run()?;
///     q.after_commit(move || println!("{amount} moved from {from} to {to}"));
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     transfer(1, 2, 100)?;
///     DB.transaction(|q| {
///         transfer::within(q, 1, 2, 10)?;
///         transfer::within(q, 2, 3, 10)
///     })
/// }
/// ```
///
/// # The function
///
/// Its first argument is the transaction, `q: &Tx`, which its statements name with `.on(q)`. **Callers leave it out.**
/// If the function returns `Ok` it is committed, and only then does the call return; an `Err`, a panic and a cancel
/// roll back. It returns a `Result` with any error that implements `From<maypole::Error>`: an error of the function
/// comes back as it is.
///
/// It may be generic and take `impl Trait`. Arguments are plain names, `mut` or not. What it returns can't borrow from
/// `q`, and names the lifetime of what it borrows from else. `async`, `const`, `unsafe` and methods are refused. It can
/// stand in a module or in a function, not in an `impl` or a `trait`.
///
/// # Within another transaction
///
/// `transfer::within(q, …)` has the arguments as they are written and runs the function as a part of the transaction
/// `q`, in a savepoint, once: if it fails, what it did is undone and the other transaction can go on. It is on a struct
/// beside the function, which has its name, so there can't be another type or a module of this name. `transfer::NAME`
/// is the name.
///
/// # The options
///
/// | option | |
/// | --- | --- |
/// | `retries = 3` | The function is called again, up to 3 times, when another client got in the way. Without it, never. |
/// | `retry_on = ["40001"]` | The SQLSTATEs that are retried, instead of 40001, 40P01, 23505 and 23P01. |
/// | `isolation = "…"` | `"read committed"`, `"repeatable read"` or `"serializable"`. Without it, what the server is set to. |
/// | `read_only` | It can't write, unless it is a part of another transaction that can. |
/// | `deferrable` | Waits for a moment in which it can't fail, with `read_only` and `isolation = "serializable"`. |
/// | `deadline = "2s"` | How long it may take: all attempts together, the wait for a connection included. |
/// | `durable` | Its effects are to be kept once it returns: it refuses to be a part of another transaction. |
/// | `confirm_commit` | If the connection is lost with COMMIT under way, the server is asked what became of it. |
/// | `outside` | It may be called inside another transaction of the same database, and is committed on its own. |
///
/// They are those of `TxOptions`, which says more.
///
/// # Retries
///
/// Each attempt begins anew, with nothing of the attempt before. What is taken by value is cloned for each, so it needs
/// `Clone`; what is borrowed is borrowed again; `&mut` is refused. What the function changes outside of the database is
/// not rolled back, and it happens once for each attempt: it belongs into `q.after_commit(…)`, which runs once, when
/// the transaction is committed.
#[proc_macro_attribute]
pub fn transaction(options: TokenStream, item: TokenStream) -> TokenStream {
    transaction::transaction(options.into(), item.into()).into()
}
