//! The pools of the async world with nothing in them: what borrowing itself costs, without a client and without the question
//! whether a connection still lives. Limits and checks are at their defaults; what is checked takes no time.

use std::convert::Infallible;
use std::future::Future;

use tokio::runtime::Runtime;

use super::System;
use super::tokio_tasks::{self, measure};
use crate::Result;
use crate::measure::Failure;
use crate::workload::{BATCH, Load, Workload};

const WORKLOADS: &[Workload] = &[Workload::Borrow, Workload::BorrowContended];

pub const DEADPOOL: System = System { name: "deadpool", workloads: WORKLOADS, run: run_deadpool };
pub const BB8: System = System { name: "bb8", workloads: WORKLOADS, run: run_bb8 };

/// What is lent, instead of a connection: as large as the handle of one.
struct Thing(#[allow(dead_code, reason = "it is lent, and not looked at")] usize);

/// Makes them.
struct Nothing;

impl deadpool::managed::Manager for Nothing {
    type Type = Thing;
    type Error = Infallible;

    async fn create(&self) -> std::result::Result<Thing, Infallible> {
        Ok(Thing(1))
    }

    async fn recycle(
        &self,
        _: &mut Thing,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Nothing {
    type Connection = Thing;
    type Error = Infallible;

    async fn connect(&self) -> std::result::Result<Thing, Infallible> {
        Ok(Thing(1))
    }

    async fn is_valid(&self, _: &mut Thing) -> std::result::Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Thing) -> bool {
        false
    }
}

/// A pool that can be borrowed from.
trait Borrow: Clone + Send + Sync + 'static {
    fn borrow(
        &self,
    ) -> impl Future<Output = std::result::Result<impl Send, impl Into<Failure> + Send>> + Send;
}

impl Borrow for deadpool::managed::Pool<Nothing> {
    async fn borrow(&self) -> std::result::Result<impl Send, impl Into<Failure> + Send> {
        self.get().await
    }
}

impl Borrow for bb8::Pool<Nothing> {
    async fn borrow(&self) -> std::result::Result<impl Send, impl Into<Failure> + Send> {
        self.get().await
    }
}

fn run_deadpool(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let pool = deadpool::managed::Pool::builder(Nothing).max_size(load.conns).build()?;
    borrow(name, load, &runtime, &pool)
}

fn run_bb8(name: &'static str, load: &Load) -> Result<()> {
    let runtime = tokio_tasks::runtime()?;
    let builder = bb8::Pool::builder().max_size(u32::try_from(load.conns)?);
    let pool = runtime.block_on(builder.build(Nothing))?;
    borrow(name, load, &runtime, &pool)
}

fn borrow(name: &str, load: &Load, runtime: &Runtime, pool: &impl Borrow) -> Result<()> {
    runtime.block_on(fill(pool, load.conns))?;
    match load.workload {
        Workload::Borrow => uncontended(name, load, runtime, pool),
        Workload::BorrowContended => contended(name, load, runtime, pool),
        other => Err(format!("{name} does not do {}", other.name()).into()),
    }
}

/// Makes all there may be.
async fn fill(pool: &impl Borrow, count: usize) -> Result<()> {
    let mut things = Vec::new();
    for _ in 0..count {
        things.push(pool.borrow().await.map_err(Into::<Failure>::into)?);
    }
    Ok(())
}

fn uncontended(name: &str, load: &Load, runtime: &Runtime, pool: &impl Borrow) -> Result<()> {
    measure(name, load, runtime, |mut tally| {
        let pool = pool.clone();
        async move {
            while tally.goes_on() {
                for _ in 0..BATCH {
                    if let Err(error) = pool.borrow().await {
                        tally.fail(error);
                        return tally;
                    }
                }
                tally.done_many(BATCH);
                tokio::task::yield_now().await;
            }
            tally
        }
    })
}

fn contended(name: &str, load: &Load, runtime: &Runtime, pool: &impl Borrow) -> Result<()> {
    measure(name, load, runtime, |mut tally| {
        let pool = pool.clone();
        async move {
            while tally.goes_on() {
                match pool.borrow().await {
                    Ok(thing) => {
                        tokio::task::yield_now().await;
                        drop(thing);
                        tally.done();
                    }
                    Err(error) => tally.fail(error),
                }
            }
            tally
        }
    })
}
