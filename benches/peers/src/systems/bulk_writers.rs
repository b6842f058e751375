//! A hundred thousand rows are written by one task, in one transaction, each as the documentation of the library shows it:
//! maypole with `unnest` and with inserts that are sent along one after the other, tokio-postgres with COPY in binary, sqlx with
//! `unnest` (its FAQ, "How can I bind an array"). COPY has the least to do: maypole has none yet.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use maypole::{Query, query};
use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use super::maypole_pool::{DB, pool, use_pool};
use super::sqlx_select::open_pool;
use super::tokio_tasks::runtime;
use super::{System, coroutines};
use crate::Result;
use crate::bulk::{COPY, Columns, Table, UNNEST};
use crate::measure::checked_pieces;
use crate::report::Report;
use crate::workload::{Load, Workload};

pub const MAYPOLE_UNNEST: System = system("maypole-unnest", |name, load| maypole(name, load, unnest));
pub const MAYPOLE_PIPELINED: System =
    system("maypole-pipelined", |name, load| maypole(name, load, insert_along));
pub const TOKIO_POSTGRES_COPY: System = system("tokio-postgres-copy", tokio_postgres_copy);
pub const TOKIO_POSTGRES_UNNEST: System = system("tokio-postgres-unnest", tokio_postgres_unnest);
pub const SQLX_UNNEST: System = system("sqlx-unnest", sqlx_unnest);

const fn system(name: &'static str, run: fn(&'static str, &Load) -> Result<()>) -> System {
    System { name, workloads: &[Workload::Bulk], run }
}

/// Writes the rows again and again; each time they are counted, and the table is emptied.
fn measure(
    name: &str,
    load: &Load,
    columns: &Arc<Columns>,
    mut write: impl FnMut(Arc<Columns>) -> Result<()>,
) -> Result<()> {
    let mut table = Table::make(&load.url)?;
    let piece = || write(columns.clone());
    let (cost, tally) = checked_pieces(load, 1, columns.expected(), piece, |()| table.empty())?;
    Report::new(name, load, cost, vec![tally])?.print()
}

#[query(DB, "INSERT INTO bulk (id, name, at) VALUES (:id, :name, :at)")]
fn insert(id: i32, name: &str, at: DateTime<Utc>) -> Query;

fn maypole(name: &str, load: &Load, write: fn(&Columns) -> maypole::Result<()>) -> Result<()> {
    coroutines::configure(load);
    use_pool(pool(load, 1)?)?;
    measure(name, load, &Arc::new(Columns::new()), |columns| {
        let written = maypole::spawn(move || write(&columns));
        Ok(written.join().map_err(|_| "the coroutine panicked")??)
    })
}

fn unnest(columns: &Columns) -> maypole::Result<()> {
    let Columns { ids, names, moments } = columns;
    DB.query(UNNEST, (ids, names, moments)).run().map(drop)
}

fn insert_along(columns: &Columns) -> maypole::Result<()> {
    DB.transaction(|q| columns.rows().try_for_each(|(id, name, at)| insert(id, name, at).on(q).later()))
}

/// A client whose connection a task of the runtime drives.
fn connect(load: &Load, runtime: &Runtime) -> Result<Arc<Client>> {
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&load.url, NoTls))?;
    runtime.spawn(connection);
    Ok(Arc::new(client))
}

fn tokio_postgres_copy(name: &'static str, load: &Load) -> Result<()> {
    let runtime = runtime()?;
    let client = connect(load, &runtime)?;
    measure(name, load, &Arc::new(Columns::new()), |columns| {
        let client = client.clone();
        runtime.block_on(runtime.spawn(async move { copy(&client, &columns).await }))?
    })
}

async fn copy(client: &Client, columns: &Columns) -> Result<()> {
    let sink = client.copy_in(COPY).await?;
    let mut writer =
        std::pin::pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT, Type::TIMESTAMPTZ]));
    for (id, name, at) in columns.rows() {
        writer.as_mut().write(&[&id, &name, &at]).await?;
    }
    writer.finish().await?;
    Ok(())
}

fn tokio_postgres_unnest(name: &'static str, load: &Load) -> Result<()> {
    let runtime = runtime()?;
    let client = connect(load, &runtime)?;
    let statement = runtime.block_on(client.prepare(UNNEST))?;
    measure(name, load, &Arc::new(Columns::new()), |columns| {
        let (client, statement) = (client.clone(), statement.clone());
        runtime.block_on(runtime.spawn(async move {
            let Columns { ids, names, moments } = &*columns;
            client.execute(&statement, &[ids, names, moments]).await?;
            Ok(())
        }))?
    })
}

fn sqlx_unnest(name: &'static str, load: &Load) -> Result<()> {
    let runtime = runtime()?;
    let pool = runtime.block_on(open_pool(load))?;
    measure(name, load, &Arc::new(Columns::new()), |columns| {
        let pool = pool.clone();
        runtime.block_on(runtime.spawn(async move {
            let Columns { ids, names, moments } = &*columns;
            sqlx::query(UNNEST).bind(ids).bind(names).bind(moments).execute(&pool).await?;
            Ok(())
        }))?
    })
}
