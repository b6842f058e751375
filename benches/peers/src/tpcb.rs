//! pgbench's transaction, which is like that of TPC-B, and its tables (PostgreSQL's manual, "pgbench").

use maypole::{Pool, Result};

use crate::transaction::Transaction;
use crate::world::Ids;

pub const CHANGE_ACCOUNT: &str = "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2";
pub const BALANCE: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
pub const CHANGE_TELLER: &str = "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2";
pub const CHANGE_BRANCH: &str = "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2";
pub const RECORD: &str = "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
                          VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)";

/// With fewer branches than connections, their rows would be what is measured.
const SCALE: i32 = 16;
const BRANCHES: i32 = SCALE;
const TELLERS: i32 = 10 * SCALE;
const ACCOUNTS: i32 = 100_000 * SCALE;

const MOST_MOVED: i32 = 5_000;
/// No account is hit so often, and always in the same direction, that it has more.
const MOST_ON_AN_ACCOUNT: i32 = 200 * MOST_MOVED;

/// So much money comes to an account, a teller and a branch; the names are pgbench's.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub aid: i32,
    pub bid: i32,
    pub tid: i32,
    pub delta: i32,
}

/// What is on the account then, and how many rows were changed and inserted.
#[derive(Debug)]
pub struct Transferred {
    pub balance: i32,
    /// Nothing if nobody looked: the audit of the tables does.
    pub affected: Option<u64>,
}

impl Transaction for Transfer {
    type Answer = Transferred;

    #[inline]
    fn random(ids: &mut Ids) -> Transfer {
        Transfer {
            aid: ids.between(1, ACCOUNTS),
            bid: ids.between(1, BRANCHES),
            tid: ids.between(1, TELLERS),
            delta: ids.between(-MOST_MOVED, MOST_MOVED),
        }
    }

    #[inline]
    fn is_right(&self, transferred: &Transferred) -> bool {
        transferred.affected.is_none_or(|affected| affected == 4)
            && transferred.balance.abs() <= MOST_ON_AN_ACCOUNT
    }
}

/// Makes and fills the tables as `pgbench --initialize --init-steps=dtGvp --scale=16` does.
pub fn fill(url: &str) -> Result<()> {
    let pool = Pool::builder().url(url)?.limit(1).query_timeout(None).build()?;
    let connection = pool.connection()?;
    connection.script(
        "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
         CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor=100);
         CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor=100);
         CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor=100)",
    )?;
    for (insert, count) in [
        (
            "INSERT INTO pgbench_branches (bid, bbalance) SELECT bid, 0 FROM generate_series(1, $1) AS bid",
            BRANCHES,
        ),
        (
            "INSERT INTO pgbench_tellers (tid, bid, tbalance) \
             SELECT tid, (tid - 1) / 10 + 1, 0 FROM generate_series(1, $1) AS tid",
            TELLERS,
        ),
        (
            "INSERT INTO pgbench_accounts (aid, bid, abalance, filler) \
             SELECT aid, (aid - 1) / 100000 + 1, 0, '' FROM generate_series(1, $1) AS aid",
            ACCOUNTS,
        ),
    ] {
        connection.execute(insert, (count,))?;
    }
    for table in ["branches", "tellers", "accounts", "history"] {
        connection.script(&format!("VACUUM ANALYZE pgbench_{table}"))?;
    }
    connection.script(
        "ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
         ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
         ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)",
    )
}

/// What the money of all accounts, all tellers and all branches adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals([i64; 3]);

/// What is in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct History {
    rows: u64,
    total: i64,
}

const TOTALS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), \
                             (SELECT sum(tbalance) FROM pgbench_tellers), \
                             (SELECT sum(bbalance) FROM pgbench_branches)";

/// Makes the tables ready for a run: those that grow are cleaned up and the history is emptied, as pgbench does before each
/// of its own; the totals are those before it.
pub fn ready(url: &str) -> Result<Totals> {
    let pool = Pool::builder().url(url)?.limit(1).query_timeout(None).build()?;
    let connection = pool.connection()?;
    for table in ["branches", "tellers", "accounts"] {
        connection.script(&format!("VACUUM pgbench_{table}"))?;
    }
    connection.script("TRUNCATE pgbench_history")?;
    connection.script("CHECKPOINT")?;
    let totals: (i64, i64, i64) = connection.query(TOTALS, ()).unique()?;
    Ok(Totals(totals.into()))
}

/// What is wrong with the tables after a run in which so many transactions were committed, and no one knows of so many more
/// whether they were.
pub fn audit(url: &str, before: Totals, committed: u64, unknown: u64) -> Result<Option<String>> {
    let pool = Pool::builder().url(url)?.limit(1).query_timeout(None).build()?;
    let connection = pool.connection()?;
    let after: (i64, i64, i64) = connection.query(TOTALS, ()).unique()?;
    let (rows, total): (i64, i64) =
        connection.query("SELECT count(*), coalesce(sum(delta), 0) FROM pgbench_history", ()).unique()?;
    let history = History { rows: rows.unsigned_abs(), total };
    Ok(wrong(before, Totals(after.into()), history, committed, unknown))
}

fn wrong(before: Totals, after: Totals, history: History, committed: u64, unknown: u64) -> Option<String> {
    for ((before, after), whose) in before.0.iter().zip(after.0).zip(["accounts", "tellers", "branches"]) {
        if after - before != history.total {
            let got = after - before;
            return Some(format!("the {whose} got {got}, and in the history it is {}", history.total));
        }
    }
    let rows = history.rows;
    (!(committed..=committed + unknown).contains(&rows)).then(|| {
        format!("{committed} transactions were committed, {unknown} failed, and the history has {rows}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_balance_are_found() {
        let (before, after) = (Totals([10, 20, 30]), Totals([15, 25, 35]));
        let history = History { rows: 7, total: 5 };
        assert_eq!(wrong(before, after, history, 7, 0), None);
        assert_eq!(wrong(before, after, history, 6, 1), None);
        for (after, history, committed, unknown) in [
            (Totals([16, 25, 35]), history, 7, 0),
            (Totals([15, 24, 35]), history, 7, 0),
            (Totals([15, 25, 30]), history, 7, 0),
            (after, History { total: 4, ..history }, 7, 0),
            // Reported, and never there.
            (after, history, 8, 0),
            // There, and never reported.
            (after, history, 5, 1),
        ] {
            assert!(wrong(before, after, history, committed, unknown).is_some());
        }
    }
}
