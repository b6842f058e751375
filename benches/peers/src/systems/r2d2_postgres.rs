//! r2d2 with the blocking client `postgres`, on 64 threads. Each connection keeps its prepared statements beside it, in the
//! extensions that r2d2 has for that.
//!
//! Without the test before each use, a round trip that is on if nobody says otherwise: the others do not ask the server
//! either.

use r2d2_postgres::PostgresConnectionManager;
use r2d2_postgres::postgres::{self, Client, NoTls, Statement};
use r2d2_postgres::r2d2::{self, PooledConnection};

use super::System;
use super::threads::{ask_for_rows, measure};
use crate::Result;
use crate::measure::Tally;
use crate::transaction::{self, retried};
use crate::update::{self, Change, Changed};
use crate::workload::{Load, Workload};

pub const SYSTEM: System = System {
    name: "r2d2-postgres",
    workloads: &[
        Workload::Select,
        Workload::Latency,
        Workload::Queries20,
        Workload::Restart,
        Workload::Update,
    ],
    run,
};

/// More threads only cost more.
const MOST_THREADS: usize = 64;

type Manager = PostgresConnectionManager<NoTls>;
type Pool = r2d2::Pool<Manager>;

/// Those of one connection.
#[derive(Clone)]
struct Statements {
    select: Statement,
    update: Statement,
}

#[derive(Debug)]
enum Failure {
    Pool(r2d2::Error),
    Postgres(postgres::Error),
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let manager = Manager::new(load.url.parse()?, NoTls);
    // It opens them all before it returns.
    let pool =
        r2d2::Pool::builder().max_size(u32::try_from(load.conns)?).test_on_check_out(false).build(manager)?;
    let threads = 0..load.tasks.min(MOST_THREADS);
    if load.workload == Workload::Update {
        let update = threads.map(|_| {
            let pool = pool.clone();
            move |tally: &mut Tally| {
                while let Some(change) = tally.next() {
                    tally.settled(change, retried(is_conflict, || update(&pool, change)));
                }
            }
        });
        return measure(name, load, update);
    }
    let selects = load.selects();
    let select = threads.map(|_| {
        let pool = pool.clone();
        move |tally: &mut Tally| ask_for_rows(tally, selects, |id| select(&pool, id))
    });
    measure(name, load, select)
}

fn select(pool: &Pool, id: i32) -> std::result::Result<(i32, i32), Failure> {
    let mut client = pool.get()?;
    let statements = statements(&mut client)?;
    let row = client.query_one(&statements.select, &[&id])?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn is_conflict(failure: &Failure) -> bool {
    let Failure::Postgres(error) = failure else { return false };
    transaction::is_conflict(error.code().map(|code| code.code()))
}

fn update(pool: &Pool, change: Change) -> std::result::Result<Changed, Failure> {
    let Change { id, number } = change;
    let mut client = pool.get()?;
    let statements = statements(&mut client)?;
    let mut transaction = client.transaction()?;
    let row = transaction.query_one(&statements.select, &[&id])?;
    let row = (row.try_get(0)?, row.try_get(1)?);
    let affected = transaction.execute(&statements.update, &[&id, &number])?;
    transaction.commit()?;
    Ok(Changed { row, affected: Some(affected) })
}

/// The statements of this connection, prepared when it is used for the first time.
fn statements(client: &mut PooledConnection<Manager>) -> std::result::Result<Statements, postgres::Error> {
    if let Some(statements) = PooledConnection::extensions(client).get::<Statements>() {
        return Ok(statements.clone());
    }
    let session: &mut Client = client;
    let statements =
        Statements { select: session.prepare(update::SELECT)?, update: session.prepare(update::UPDATE)? };
    PooledConnection::extensions_mut(client).insert(statements.clone());
    Ok(statements)
}

impl From<r2d2::Error> for Failure {
    fn from(error: r2d2::Error) -> Failure {
        Failure::Pool(error)
    }
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Pool(error) => error.fmt(f),
            Failure::Postgres(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Pool(error) => error.source(),
            Failure::Postgres(error) => error.source(),
        }
    }
}
