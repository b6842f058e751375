//! Transactions of maypole, of declared queries, as its documentation shows them: statements whose results nobody looks at are
//! sent along with what comes next, or, as most programs of other libraries do, each is waited for.

use maypole::{Query, Result as Answer, TxOptions, query, select};

use super::maypole_pool::{DB, open, pool, use_pool};
use super::{System, coroutines};
use crate::Result;
use crate::tpcb::{Transfer, Transferred};
use crate::transaction::{CONFLICTS, RETRIES};
use crate::update::{Change, Changed};
use crate::workload::{Load, Workload};

pub const ALONG: System =
    System { name: "maypole", workloads: &[Workload::Update, Workload::Tpcb], run: along };

pub const WAITING: System =
    System { name: "maypole-waiting", workloads: &[Workload::Update, Workload::Tpcb], run: waiting };

#[select(DB, "SELECT id, randomnumber FROM world WHERE id = :id")]
fn world(id: i32) -> Query<(i32, i32)>;

#[query(DB, "UPDATE world SET randomnumber = :number WHERE id = :id")]
fn set_number(id: i32, number: i32) -> Query;

#[query(DB, "UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid")]
fn change_account(delta: i32, aid: i32) -> Query;

#[select(DB, "SELECT abalance FROM pgbench_accounts WHERE aid = :aid")]
fn balance(aid: i32) -> Query<i32>;

#[query(DB, "UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid")]
fn change_teller(delta: i32, tid: i32) -> Query;

#[query(DB, "UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid")]
fn change_branch(delta: i32, bid: i32) -> Query;

#[query(
    DB,
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP)"
)]
fn record(tid: i32, bid: i32, aid: i32, delta: i32) -> Query;

fn along(name: &'static str, load: &Load) -> Result<()> {
    run(name, load, update_along, tpcb_along)
}

fn waiting(name: &'static str, load: &Load) -> Result<()> {
    run(name, load, update, tpcb)
}

fn run(
    name: &'static str,
    load: &Load,
    update: fn(Change) -> Answer<Changed>,
    tpcb: fn(Transfer) -> Answer<Transferred>,
) -> Result<()> {
    coroutines::configure(load);
    let pool = pool(load, load.conns)?;
    drop(open(&pool, load.conns)?);
    use_pool(pool)?;
    let report = if load.workload == Workload::Update {
        coroutines::measure(name, load, move |tally| {
            while let Some(change) = tally.next() {
                tally.settled(change, update(change));
            }
        })
    } else {
        coroutines::measure(name, load, move |tally| {
            while let Some(transfer) = tally.next() {
                tally.settled(transfer, tpcb(transfer));
            }
        })
    };
    report?.print()
}

/// As often, and after the same failures, as the others try again.
const AGAIN: TxOptions = TxOptions::new().retries(RETRIES).retry_on(&CONFLICTS);

fn update(change: Change) -> Answer<Changed> {
    let Change { id, number } = change;
    DB.transaction_with(&AGAIN, |q| {
        let row = world(id).on(q).unique()?;
        let affected = set_number(id, number).on(q).run()?;
        Ok(Changed { row, affected: Some(affected) })
    })
}

fn update_along(change: Change) -> Answer<Changed> {
    let Change { id, number } = change;
    DB.transaction_with(&AGAIN, |q| {
        let row = world(id).on(q).unique()?;
        set_number(id, number).on(q).later()?;
        Ok(Changed { row, affected: None })
    })
}

fn tpcb(transfer: Transfer) -> Answer<Transferred> {
    let Transfer { aid, bid, tid, delta } = transfer;
    DB.transaction(|q| {
        let mut affected = change_account(delta, aid).on(q).run()?;
        let balance = balance(aid).on(q).value()?;
        affected += change_teller(delta, tid).on(q).run()?;
        affected += change_branch(delta, bid).on(q).run()?;
        affected += record(tid, bid, aid, delta).on(q).run()?;
        Ok(Transferred { balance, affected: Some(affected) })
    })
}

fn tpcb_along(transfer: Transfer) -> Answer<Transferred> {
    let Transfer { aid, bid, tid, delta } = transfer;
    DB.transaction(|q| {
        change_account(delta, aid).on(q).later()?;
        let balance = balance(aid).on(q).value()?;
        change_teller(delta, tid).on(q).later()?;
        change_branch(delta, bid).on(q).later()?;
        record(tid, bid, aid, delta).on(q).later()?;
        Ok(Transferred { balance, affected: None })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tpcb, update};

    #[test]
    fn it_runs_the_sql_of_the_others() {
        let numbered = |sql: &str, parameters: &[&str]| {
            let numbers = parameters.iter().enumerate();
            numbers.fold(sql.to_owned(), |sql, (at, name)| sql.replace(name, &format!("${}", at + 1)))
        };
        for (mine, parameters, theirs) in [
            (world::SQL, &[":id"][..], update::SELECT),
            (set_number::SQL, &[":id", ":number"], update::UPDATE),
            (change_account::SQL, &[":delta", ":aid"], tpcb::CHANGE_ACCOUNT),
            (balance::SQL, &[":aid"], tpcb::BALANCE),
            (change_teller::SQL, &[":delta", ":tid"], tpcb::CHANGE_TELLER),
            (change_branch::SQL, &[":delta", ":bid"], tpcb::CHANGE_BRANCH),
            (record::SQL, &[":tid", ":bid", ":aid", ":delta"], tpcb::RECORD),
        ] {
            assert_eq!(numbered(mine, parameters), theirs);
        }
    }
}
