//! What stands in the brackets of `#[transaction]`. Each mistake is reported once, and the calls are not.

use maypole::{Database, Result, Tx, transaction};

static DB: Database = Database::named("database");

#[transaction]
fn no_database(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(retries = 3)]
fn no_database_but_an_option(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(read_only, DB)]
fn the_database_last(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction("database")]
fn a_name_in_quotes(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(Database::named("database"))]
fn a_database_of_its_own(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB retries = 3)]
fn no_comma(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, "retries")]
fn no_option(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retry = 3)]
fn a_misspelt_option(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, name = "a", retires = 3, readonly, timeout = "2s", serializable)]
fn several_unknown_options(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 3, retries = 4, read_only, read_only)]
fn options_given_twice(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries(3))]
fn a_value_in_parentheses(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries)]
fn retries_without_a_number(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = "3")]
fn retries_in_quotes(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = -1)]
fn fewer_than_none(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 5_000_000_000)]
fn too_many_retries(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, read_only = true)]
fn a_flag_with_a_value(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, isolation = Serializable)]
fn isolation_without_quotes(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, isolation = "SERIALIZABLE")]
fn isolation_in_capitals(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, isolation = "repeatable_read")]
fn isolation_as_one_word(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, isolation = "read uncommitted")]
fn dirty(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, isolation = "snapshot")]
fn isolation_of_another_database(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deferrable)]
fn deferrable_alone(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deferrable, isolation = "serializable")]
fn deferrable_and_writing(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deferrable, read_only, isolation = "repeatable read")]
fn deferrable_and_not_serializable(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deadline = 2)]
fn a_deadline_without_a_unit(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deadline = "2 seconds")]
fn a_deadline_in_words(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, deadline = "0s")]
fn a_deadline_that_has_passed(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retry_on = ["40001"])]
fn codes_without_retries(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 0, retry_on = ["40001"])]
fn codes_with_no_retries(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 3, retry_on = "40001")]
fn a_code_without_a_list(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 3, retry_on = [])]
fn no_codes(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 3, retry_on = ["40001", 40001, "40p01", "4000", "serialization_failure", "40001"])]
fn wrong_codes(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = "a", isolation = "b", deadline = "c", durable = "d", retry_on = ["e"], deferrable)]
fn several_mistakes() {}

fn main() -> Result<()> {
    no_database()?;
    no_database_but_an_option()?;
    the_database_last()?;
    a_name_in_quotes()?;
    a_database_of_its_own()?;
    no_comma()?;
    no_option()?;
    a_misspelt_option()?;
    several_unknown_options()?;
    options_given_twice()?;
    a_value_in_parentheses()?;
    retries_without_a_number()?;
    retries_in_quotes()?;
    fewer_than_none()?;
    too_many_retries()?;
    a_flag_with_a_value()?;
    isolation_without_quotes()?;
    isolation_in_capitals()?;
    isolation_as_one_word()?;
    dirty()?;
    isolation_of_another_database()?;
    deferrable_alone()?;
    deferrable_and_writing()?;
    deferrable_and_not_serializable()?;
    a_deadline_without_a_unit()?;
    a_deadline_in_words()?;
    a_deadline_that_has_passed()?;
    codes_without_retries()?;
    codes_with_no_retries()?;
    a_code_without_a_list()?;
    no_codes()?;
    wrong_codes()?;
    several_mistakes()?;
    DB.transaction(|q| several_mistakes::within(q))
}
