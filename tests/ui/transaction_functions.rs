//! What a transaction can't be as a function. Each mistake is reported once, and the calls are not.

use maypole::{Database, Result, Tx, query, transaction};

static DB: Database = Database::named("database");

#[transaction(DB)]
struct NoFunction;

#[transaction(DB)]
fn without_a_body(q: &Tx, id: i32) -> Result<()>;

#[transaction(DB)]
async fn asynchronous(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
const fn constant(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
unsafe fn dangerous(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
extern "C" fn foreign(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
#[transaction(DB)]
fn twice(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
#[query(DB, "DELETE FROM customers")]
fn also_a_query(q: &Tx) -> Result<()> {
    q.script("")
}

#[query(DB, "DELETE FROM customers")]
#[transaction(DB)]
fn first_a_query() -> maypole::Query;

#[transaction(DB)]
fn without_arguments() -> Result<()> {
    Ok(())
}

#[transaction(DB)]
fn without_a_transaction(id: i32, name: &str) -> Result<()> {
    Ok(())
}

#[transaction(DB)]
fn transaction_last(id: i32, q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn of_another_name(q: &Transaction) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn by_value(q: Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn changing(q: &mut Tx, id: i32) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn of_a_lifetime<'a>(q: &'a Tx, name: &'a str) -> Result<&'a str> {
    Ok(name)
}

#[transaction(DB)]
fn nameless(_: &Tx, _: i32) -> Result<()> {
    Ok(())
}

#[transaction(DB)]
fn taken_apart(q: &Tx, (a, b): (i32, i32), ref c: i32, d @ e: i32) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn with_an_attribute(q: &Tx, #[cfg(unix)] id: i32) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn nothing(q: &Tx) {
    let _ = q.script("");
}

#[transaction(DB)]
fn a_tuple(q: &Tx) -> (i32, String) {
    (1, String::new())
}

#[transaction(DB)]
fn a_reference<'a>(q: &Tx, name: &'a str) -> &'a str {
    name
}

#[transaction(DB)]
fn some_rows(q: &Tx) -> Result<impl Iterator<Item = i32>> {
    Ok(std::iter::empty())
}

#[transaction(DB)]
fn borrowing(q: &Tx, name: &str) -> Result<&str> {
    Ok(name)
}

#[transaction(DB, retries = 3)]
fn seen_by_the_next_attempt(q: &Tx, ids: &mut Vec<i32>) -> Result<()> {
    q.script("")
}

#[transaction(BD)]
async fn several_mistakes(mut a: i32, q: Tx, (b, c): (i32, i32)) {}

struct Customers;

impl Customers {
    #[transaction(DB)]
    fn method(&self, q: &Tx, id: i32) -> Result<()> {
        q.script("")
    }
}

fn main() -> Result<()> {
    let _ = NoFunction;
    without_a_body(1)?;
    asynchronous()?;
    constant()?;
    dangerous()?;
    foreign()?;
    twice()?;
    also_a_query()?;
    first_a_query().run()?;
    without_arguments()?;
    without_a_transaction(1, "a")?;
    transaction_last(1)?;
    by_value()?;
    changing(1)?;
    of_a_lifetime("a")?;
    nameless(1)?;
    taken_apart((1, 2), 3, 4)?;
    with_an_attribute(1)?;
    nothing()?;
    a_tuple()?;
    a_reference("a")?;
    borrowing("a")?;
    seen_by_the_next_attempt(&mut Vec::new())?;
    several_mistakes(1, (2, 3))?;
    Customers.method(1)?;
    DB.transaction(|q| nothing::within(q))
}
