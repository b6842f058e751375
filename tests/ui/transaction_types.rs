//! Types that do not fit, in declarations, in bodies and in calls.

use maypole::{Database, Query, Result, Tx, transaction};

static DB: Database = Database::named("database");
static NO_DATABASE: i32 = 1;

struct NotClone;

struct Problem;

#[transaction(NO_DATABASE)]
fn elsewhere(_q: &Tx) -> Result<()> {
    Ok(())
}

#[transaction(DB, retries = 3)]
fn not_cloned(_q: &Tx, _a: NotClone, _b: Option<NotClone>, _c: &NotClone, _d: String) -> Result<()> {
    Ok(())
}

#[transaction(DB, retries = 3)]
fn not_known_to_be_clone<T>(_q: &Tx, _a: T, _b: impl Send) -> Result<()> {
    Ok(())
}

#[transaction(DB, retries = 3)]
fn hidden_changes(_q: &Tx, _ids: Option<&mut Vec<i32>>) -> Result<()> {
    Ok(())
}

#[transaction(DB)]
fn no_result(_q: &Tx) -> Option<i32> {
    None
}

#[transaction(DB)]
fn a_query(_q: &Tx) -> Query<'static, i32> {
    unreachable!()
}

#[transaction(DB)]
fn no_error_of_ours(_q: &Tx) -> Result<i32, Problem> {
    Err(Problem)
}

#[transaction(DB)]
fn wrong_inside(_q: &Tx, id: i32) -> Result<i32> {
    let name: String = 1;
    let _ = id;
    Ok(name)
}

#[transaction(DB)]
fn fine(q: &Tx, id: i32) -> Result<i32> {
    q.script("")?;
    Ok(id)
}

fn main() -> Result<()> {
    elsewhere()?;
    not_cloned(NotClone, None, &NotClone, String::new())?;
    wrong_inside(1)?;
    fine("1")?;
    fine()?;
    DB.transaction(|q| fine(q, 1))?;
    DB.transaction(|q| fine::within(1))?;
    Ok(())
}
