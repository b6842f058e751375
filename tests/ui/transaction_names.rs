//! Names that are unknown are reported once, where they are written.

use maypole::{Database, Result, Tx, transaction};

static DB: Database = Database::named("database");

#[transaction(BD)]
fn nowhere(q: &Tx) -> Result<()> {
    q.script("")
}

#[transaction(DB, retries = 1)]
fn of_an_unknown_type(q: &Tx, id: MissingType) -> Result<()> {
    q.script("")
}

#[transaction(DB)]
fn unknown_inside(q: &Tx) -> Result<()> {
    q.script(text)
}

fn main() -> Result<()> {
    nowhere()?;
    unknown_inside()
}
