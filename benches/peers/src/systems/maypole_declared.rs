//! A declared select beside the same select by hand: what declaring costs.
//!
//! That is some ten nanoseconds, and two processes differ by more for no reason. So the declared ones also do both in turns in
//! one process, and report the difference.

use std::time::{Duration, Instant};

use maypole::{FromRow, Pool, Query, Result as Answer, select};

use super::maypole_pool::{DB, use_pool};
use super::{System, coroutines};
use crate::median::median;
use crate::report::rounded;
use crate::workload::{BATCH, Load, Workload};
use crate::world::{self, Ids, stored};
use crate::{Result, process};

pub const SESSION: System = system("maypole-session", |name, load| run(name, load, Way::BY_HAND));
pub const DECLARED: System = system("maypole-declared", |name, load| run(name, load, Way::DECLARED));
pub const SESSION_POOL: System =
    system("maypole-session-pool", |name, load| run(name, load, Way::BY_HAND.through_pool()));
pub const DECLARED_POOL: System =
    system("maypole-declared-pool", |name, load| run(name, load, Way::DECLARED.through_pool()));

const fn system(name: &'static str, run: fn(&'static str, &Load) -> Result<()>) -> System {
    System { name, workloads: &[Workload::Declared], run }
}

#[derive(FromRow)]
struct World {
    id: i32,
    randomnumber: i32,
}

#[select(DB, "SELECT id, randomnumber FROM world WHERE id = :id")]
fn world_by_id(id: i32) -> Query<World>;

#[derive(Clone, Copy)]
struct Way {
    declared: bool,
    /// On one lease, and not through the pool.
    leased: bool,
}

impl Way {
    const BY_HAND: Way = Way { declared: false, leased: true };
    const DECLARED: Way = Way { declared: true, leased: true };

    const fn through_pool(self) -> Way {
        Way { leased: false, ..self }
    }

    /// Calls with the question by hand and the declared one.
    fn both<R>(self, pool: &Pool, then: impl FnOnce(Ask<'_>, Ask<'_>) -> R) -> Answer<R> {
        if self.leased {
            let lease = pool.connection()?;
            Ok(then(&|id| lease.query(world::SELECT, (id,)).unique(), &|id| {
                world_by_id(id).on(&lease).unique()
            }))
        } else {
            Ok(then(&|id| DB.query(world::SELECT, (id,)).unique(), &|id| world_by_id(id).unique()))
        }
    }
}

/// Asks for a row; behind one pointer either way, so that the compiler treats both alike.
type Ask<'a> = &'a dyn Fn(i32) -> Answer<World>;

fn run(name: &'static str, load: &Load, way: Way) -> Result<()> {
    coroutines::configure(load);
    // Both borrow a connection: what lanes cost or save is measured elsewhere.
    let pool = Pool::builder().url(&load.url)?.limit(load.conns).lanes(0).build()?;
    use_pool(pool.clone())?;
    let mut difference = None;
    if way.declared && load.operations.is_none() {
        let (load, pool) = (load.clone(), pool.clone());
        let task =
            maypole::spawn(move || way.both(&pool, |by_hand, declared| in_turns(&load, by_hand, declared)));
        difference = task.join().map_err(|_| "the coroutine panicked")???;
    }
    let mut report = coroutines::measure(name, load, move |tally| {
        let done = way.both(&pool, |by_hand, declared| {
            let ask = if way.declared { declared } else { by_hand };
            while tally.goes_on() {
                let id = tally.id();
                if tally.is_right(id, ask(id).map(|world| (world.id, world.randomnumber))) {
                    tally.done();
                }
            }
        });
        if let Err(error) = done {
            tally.fail(error);
        }
    })?;
    report.in_turns_ns_per_op = difference.map(rounded);
    report.print()
}

/// How many nanoseconds of CPU the declared one takes more: the median of many pairs.
fn in_turns(load: &Load, by_hand: Ask<'_>, declared: Ask<'_>) -> Result<Option<f64>> {
    let mut ids = Ids::new(load.seed(load.tasks));
    let until = Instant::now() + Duration::from_secs_f64(load.seconds);
    let mut differences = Vec::new();
    while Instant::now() < until {
        // Each goes first as often as the other.
        let (base, mine) = if differences.len() % 2 == 0 {
            (cost_of(by_hand, &mut ids)?, cost_of(declared, &mut ids)?)
        } else {
            let mine = cost_of(declared, &mut ids)?;
            (cost_of(by_hand, &mut ids)?, mine)
        };
        differences.push((mine - base) / BATCH as f64);
    }
    Ok(median(differences))
}

fn cost_of(ask: Ask<'_>, ids: &mut Ids) -> Result<f64> {
    let before = process::cpu_time()?;
    for _ in 0..BATCH {
        let id = ids.next_id();
        let world = ask(id)?;
        if (world.id, world.randomnumber) != (id, stored(id)) {
            return Err(format!("asked for {id}, got {}", world.id).into());
        }
    }
    Ok((process::cpu_time()? - before).as_nanos() as f64)
}
