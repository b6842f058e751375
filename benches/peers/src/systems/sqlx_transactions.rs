//! Transactions of sqlx as its documentation shows them: `begin`, `query` and `query_as`, whose statements it keeps prepared.
//! Two worker threads.
//!
//! Without the ping before each use, a round trip that is on if nobody says otherwise: the others do not ask the server
//! either. The ping after each use can't be switched off.

use sqlx::postgres::PgPool;

use super::System;
use super::sqlx_select::open_pool;
use super::tokio_tasks::{self, measure};
use crate::Result;
use crate::tpcb::{self, Transfer, Transferred};
use crate::transaction::{self, retried_async};
use crate::update::{self, Change, Changed};
use crate::workload::{Load, Workload};

pub const SYSTEM: System = System { name: "sqlx", workloads: &[Workload::Update, Workload::Tpcb], run };

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = runtime.block_on(open_pool(load))?;
    if load.workload == Workload::Update {
        measure(name, load, &runtime, |mut tally| {
            let pool = pool.clone();
            async move {
                while let Some(change) = tally.next() {
                    tally.settled(change, retried_async(is_conflict, || update(&pool, change)).await);
                }
                tally
            }
        })
    } else {
        measure(name, load, &runtime, |mut tally| {
            let pool = pool.clone();
            async move {
                while let Some(transfer) = tally.next() {
                    tally.settled(transfer, tpcb(&pool, transfer).await);
                }
                tally
            }
        })
    }
}

fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    transaction::is_conflict(code.as_deref())
}

async fn update(pool: &PgPool, change: Change) -> sqlx::Result<Changed> {
    let Change { id, number } = change;
    let mut transaction = pool.begin().await?;
    let row = sqlx::query_as(update::SELECT).bind(id).fetch_one(&mut *transaction).await?;
    let updated = sqlx::query(update::UPDATE).bind(id).bind(number).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Changed { row, affected: Some(updated.rows_affected()) })
}

async fn tpcb(pool: &PgPool, transfer: Transfer) -> sqlx::Result<Transferred> {
    let Transfer { aid, bid, tid, delta } = transfer;
    let mut transaction = pool.begin().await?;
    let changed = sqlx::query(tpcb::CHANGE_ACCOUNT).bind(delta).bind(aid).execute(&mut *transaction).await?;
    let mut affected = changed.rows_affected();
    let (balance,) = sqlx::query_as(tpcb::BALANCE).bind(aid).fetch_one(&mut *transaction).await?;
    let changed = sqlx::query(tpcb::CHANGE_TELLER).bind(delta).bind(tid).execute(&mut *transaction).await?;
    affected += changed.rows_affected();
    let changed = sqlx::query(tpcb::CHANGE_BRANCH).bind(delta).bind(bid).execute(&mut *transaction).await?;
    affected += changed.rows_affected();
    let record = sqlx::query(tpcb::RECORD).bind(tid).bind(bid).bind(aid).bind(delta);
    affected += record.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(Transferred { balance, affected: Some(affected) })
}
