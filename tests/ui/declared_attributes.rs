//! What stands in the brackets of `#[select]` and `#[query]`. Each mistake is reported once, and the calls are not.

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");

const SQL: &str = "SELECT 1";

#[select]
fn nothing() -> Query<i32>;

#[query()]
fn nothing_either() -> Query<i32>;

#[select("SELECT 1")]
fn no_database() -> Query<i32>;

#[select(file = "sql/one.sql")]
fn no_database_but_a_file() -> Query<i32>;

#[select(Database::named("database"), "SELECT 1")]
fn a_database_of_its_own() -> Query<i32>;

#[select(DB)]
fn no_sql() -> Query<i32>;

#[select(DB, "SELECT 1", "SELECT 2")]
fn two_texts() -> Query<i32>;

#[select(DB, "SELECT 1", file = "sql/one.sql")]
fn a_text_and_a_file() -> Query<i32>;

#[select(DB "SELECT 1")]
fn no_comma() -> Query<i32>;

#[select(DB, SQL)]
fn a_constant() -> Query<i32>;

#[select(DB, concat!("SELECT ", "1"))]
fn a_macro() -> Query<i32>;

#[select(DB, format("SELECT 1"))]
fn a_call() -> Query<i32>;

#[select(DB, b"SELECT 1")]
fn bytes() -> Query<i32>;

#[select(DB, fiel = "sql/one.sql")]
fn a_misspelt_option() -> Query<i32>;

#[select(DB, "SELECT 1", retries = 3)]
fn an_unknown_option() -> Query<i32>;

#[select(DB, file = sql/one.sql)]
fn a_file_without_quotes() -> Query<i32>;

#[select(DB, file = "")]
fn a_file_without_a_name() -> Query<i32>;

#[select(DB, file = "/sql/one.sql")]
fn an_absolute_file() -> Query<i32>;

#[select(DB, file = "sql/missing.sql")]
fn a_missing_file() -> Query<i32>;

#[select(DB, "SELECT 1 AS one", not_null = "one")]
fn not_null_is_a_list() -> Query<i32>;

#[select(DB, "SELECT 1 AS one", not_null = [one])]
fn not_null_is_a_list_of_strings() -> Query<i32>;

#[select(DB, "SELECT 1 AS one", not_null = ["one"], not_null = ["two"])]
fn not_null_is_one_list() -> Query<i32>;

#[select(DB, "SELECT 1 AS one", not_null = ["one", "", "one"])]
fn not_null_names_columns() -> Query<i32>;

#[select(DB, exclusive = true, "SELECT 1")]
fn exclusive_has_no_value() -> Query<i32>;

#[select(DB, exclusive, "SELECT 1", exclusive)]
fn exclusive_is_said_once() -> Query<i32>;

#[select(DB, "SELECT 1", exclusiv)]
fn exclusive_misspelt() -> Query<i32>;

#[select(exclusive, DB, "SELECT 1")]
fn exclusive_before_the_database() -> Query<i32>;

#[select(DB, exclusive)]
fn exclusive_without_sql() -> Query<i32>;

#[query(DB, exclusive, "SELECT 1")]
fn exclusive_query() -> Query<i32>;

fn main() {
    let _: Query<i32> = nothing();
    let _: Query<i32> = nothing_either();
    let _: Query<i32> = no_database();
    let _: Query<i32> = no_database_but_a_file();
    let _: Query<i32> = a_database_of_its_own();
    let _: Query<i32> = no_sql();
    let _: Query<i32> = two_texts();
    let _: Query<i32> = a_text_and_a_file();
    let _: Query<i32> = no_comma();
    let _: Query<i32> = a_constant();
    let _: Query<i32> = a_macro();
    let _: Query<i32> = a_call();
    let _: Query<i32> = bytes();
    let _: Query<i32> = a_misspelt_option();
    let _: Query<i32> = an_unknown_option();
    let _: Query<i32> = a_file_without_quotes();
    let _: Query<i32> = a_file_without_a_name();
    let _: Query<i32> = an_absolute_file();
    let _: Query<i32> = a_missing_file();
    let _: Query<i32> = not_null_is_a_list();
    let _: Query<i32> = not_null_is_a_list_of_strings();
    let _: Query<i32> = not_null_is_one_list();
    let _: Query<i32> = not_null_names_columns();
    let _: Query<i32> = exclusive_has_no_value();
    let _: Query<i32> = exclusive_is_said_once();
    let _: Query<i32> = exclusive_misspelt();
    let _: Query<i32> = exclusive_before_the_database();
    let _: Query<i32> = exclusive_without_sql();
    let _: Query<i32> = exclusive_query();
    let _: &str = not_null_names_columns::SQL;
}
