//! A declared select beside the same select by hand: what declaring costs.

use std::sync::{LazyLock, OnceLock};

use maypole::{Database, FromRow, Pool, Query, Result as Answer, select};

use super::{System, maypole_lease};
use crate::meter::Tally;
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SESSION: System = system("maypole-session", session);
pub const DECLARED: System = system("maypole-declared", declared);
pub const SESSION_POOL: System = system("maypole-session-pool", session_pool);
pub const DECLARED_POOL: System = system("maypole-declared-pool", declared_pool);

const fn system(name: &'static str, run: fn(&'static str, &Load) -> Result<()>) -> System {
    System { name, workloads: &[Workload::Declared], run }
}

/// Set before anything is measured.
static POOL: OnceLock<Pool> = OnceLock::new();

/// There is no settings file here: the database is made of the pool, for both ways alike.
static DB: LazyLock<Database> = LazyLock::new(|| Database::from(POOL.wait().clone()));

#[derive(FromRow)]
struct World {
    id: i32,
    randomnumber: i32,
}

#[select(DB, "SELECT id, randomnumber FROM world WHERE id = :id")]
fn world_by_id(id: i32) -> Query<World>;

fn session(name: &'static str, load: &Load) -> Result<()> {
    measure(name, load, |pool, tally| {
        let lease = match pool.connection() {
            Ok(lease) => lease,
            Err(error) => return tally.fail(&error),
        };
        ask_all(tally, |id| lease.query(world::SELECT, (id,)).unique());
    })
}

fn declared(name: &'static str, load: &Load) -> Result<()> {
    measure(name, load, |pool, tally| {
        let lease = match pool.connection() {
            Ok(lease) => lease,
            Err(error) => return tally.fail(&error),
        };
        ask_all(tally, |id| world_by_id(id).on(&lease).unique());
    })
}

fn session_pool(name: &'static str, load: &Load) -> Result<()> {
    measure(name, load, |_, tally| ask_all(tally, |id| DB.query(world::SELECT, (id,)).unique()))
}

fn declared_pool(name: &'static str, load: &Load) -> Result<()> {
    measure(name, load, |_, tally| ask_all(tally, |id| world_by_id(id).unique()))
}

fn ask_all(tally: &mut Tally, ask: impl Fn(i32) -> Answer<World>) {
    while let Some(id) = tally.next_id() {
        tally.answered(id, ask(id).map(|world| (world.id, world.randomnumber)));
    }
}

fn measure(
    name: &'static str,
    load: &Load,
    work: impl Fn(&Pool, &mut Tally) + Clone + Send + 'static,
) -> Result<()> {
    maypole_lease::configure(load);
    let pool = maypole_lease::pool(load, load.conns)?;
    POOL.set(pool.clone()).map_err(|_| "the pool is made twice")?;
    LazyLock::force(&DB);
    maypole_lease::measure(name, load, move |tally| work(&pool, tally))
}
