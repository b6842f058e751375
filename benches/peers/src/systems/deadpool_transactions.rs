//! Transactions of deadpool-postgres as its documentation recommends: `transaction` and `prepare_cached`. And with statements
//! that do not need each other's results polled together, which tokio-postgres then pipelines (its documentation, "Pipelining").

use deadpool_postgres::{Pool, PoolError};
use futures_util::future::{try_join, try_join3};

use super::System;
use super::deadpool_postgres::open_pool;
use super::tokio_tasks::{self, measure};
use crate::Result;
use crate::tpcb::{self, Transfer, Transferred};
use crate::transaction::{self, retried_async};
use crate::update::{self, Change, Changed};
use crate::workload::{Load, Workload};

pub const SYSTEM: System =
    System { name: "deadpool-postgres", workloads: &[Workload::Update, Workload::Tpcb], run };

/// An update needs what it has read: there is nothing to be pipelined.
pub const PIPELINED: System =
    System { name: "deadpool-pipelined", workloads: &[Workload::Tpcb], run: run_pipelined };

fn run_pipelined(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = open_pool(load, &runtime)?;
    measure(name, load, &runtime, |mut tally| {
        let pool = pool.clone();
        async move {
            while let Some(transfer) = tally.next() {
                tally.settled(transfer, tpcb_pipelined(&pool, transfer).await);
            }
            tally
        }
    })
}

fn run(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = open_pool(load, &runtime)?;
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

fn is_conflict(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    transaction::is_conflict(error.code().map(|code| code.code()))
}

async fn update(pool: &Pool, change: Change) -> std::result::Result<Changed, PoolError> {
    let Change { id, number } = change;
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let select = transaction.prepare_cached(update::SELECT).await?;
    let row = transaction.query_one(&select, &[&id]).await?;
    let row = (row.try_get(0)?, row.try_get(1)?);
    let update = transaction.prepare_cached(update::UPDATE).await?;
    let affected = transaction.execute(&update, &[&id, &number]).await?;
    transaction.commit().await?;
    Ok(Changed { row, affected: Some(affected) })
}

async fn tpcb(pool: &Pool, transfer: Transfer) -> std::result::Result<Transferred, PoolError> {
    let Transfer { aid, bid, tid, delta } = transfer;
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let change = transaction.prepare_cached(tpcb::CHANGE_ACCOUNT).await?;
    let mut affected = transaction.execute(&change, &[&delta, &aid]).await?;
    let balance = transaction.prepare_cached(tpcb::BALANCE).await?;
    let balance = transaction.query_one(&balance, &[&aid]).await?.try_get(0)?;
    let change = transaction.prepare_cached(tpcb::CHANGE_TELLER).await?;
    affected += transaction.execute(&change, &[&delta, &tid]).await?;
    let change = transaction.prepare_cached(tpcb::CHANGE_BRANCH).await?;
    affected += transaction.execute(&change, &[&delta, &bid]).await?;
    let record = transaction.prepare_cached(tpcb::RECORD).await?;
    affected += transaction.execute(&record, &[&tid, &bid, &aid, &delta]).await?;
    transaction.commit().await?;
    Ok(Transferred { balance, affected: Some(affected) })
}

async fn tpcb_pipelined(pool: &Pool, transfer: Transfer) -> std::result::Result<Transferred, PoolError> {
    let Transfer { aid, bid, tid, delta } = transfer;
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let account = transaction.prepare_cached(tpcb::CHANGE_ACCOUNT).await?;
    let select = transaction.prepare_cached(tpcb::BALANCE).await?;
    let teller = transaction.prepare_cached(tpcb::CHANGE_TELLER).await?;
    let branch = transaction.prepare_cached(tpcb::CHANGE_BRANCH).await?;
    let record = transaction.prepare_cached(tpcb::RECORD).await?;
    let (account_parameters, select_parameters) = ([&delta as _, &aid as _], [&aid as _]);
    let (accounts, balance) = try_join(
        transaction.execute(&account, &account_parameters),
        transaction.query_one(&select, &select_parameters),
    )
    .await?;
    let (teller_parameters, branch_parameters) = ([&delta as _, &tid as _], [&delta as _, &bid as _]);
    let record_parameters = [&tid as _, &bid as _, &aid as _, &delta as _];
    let (tellers, branches, records) = try_join3(
        transaction.execute(&teller, &teller_parameters),
        transaction.execute(&branch, &branch_parameters),
        transaction.execute(&record, &record_parameters),
    )
    .await?;
    transaction.commit().await?;
    let affected = Some(accounts + tellers + branches + records);
    Ok(Transferred { balance: balance.try_get(0)?, affected })
}
