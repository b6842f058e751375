//! One row is read and changed.

use maypole::{Pool, Result};

use crate::transaction::Transaction;
use crate::world::{self, Ids, ROWS};

pub const SELECT: &str = world::SELECT;
pub const UPDATE: &str = "UPDATE world SET randomnumber = $2 WHERE id = $1";

/// Gives a row a new number.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub id: i32,
    pub number: i32,
}

/// The row as it was read, and how many were changed.
#[derive(Debug)]
pub struct Changed {
    pub row: (i32, i32),
    /// Nothing if nobody looked: the audit of the table does.
    pub affected: Option<u64>,
}

impl Transaction for Change {
    type Answer = Changed;

    #[inline]
    fn random(ids: &mut Ids) -> Change {
        Change { id: ids.next_id(), number: ids.between(1, ROWS) }
    }

    #[inline]
    fn is_right(&self, changed: &Changed) -> bool {
        let (id, number) = changed.row;
        id == self.id && (1..=ROWS).contains(&number) && changed.affected.is_none_or(|affected| affected == 1)
    }
}

/// Makes the table as it was when it was filled.
pub fn ready(url: &str) -> Result<()> {
    let connection = Pool::builder().url(url)?.limit(1).build()?.connection()?;
    connection.execute("UPDATE world SET randomnumber = (id * 7919 + 13) % $1 + 1", (ROWS,))?;
    connection.script("VACUUM FULL ANALYZE world")?;
    connection.script("CHECKPOINT")
}

/// Rows of the table by what is in them.
#[derive(Clone, Copy, Debug)]
struct Rows {
    all: i64,
    /// With an id and a number that can be.
    good: i64,
    /// As they were when the table was filled.
    unchanged: i64,
}

/// What is wrong with the table after so many changes.
pub fn audit(url: &str, changes: u64) -> Result<Option<String>> {
    let connection = Pool::builder().url(url)?.limit(1).build()?.connection()?;
    let (all, good, unchanged) = connection
        .query(
            "SELECT count(*), count(*) FILTER (WHERE id BETWEEN 1 AND $1 AND randomnumber BETWEEN 1 AND $1), \
             count(*) FILTER (WHERE randomnumber = (id * 7919 + 13) % $1 + 1) FROM world",
            (ROWS,),
        )
        .unique()?;
    Ok(wrong(Rows { all, good, unchanged }, changes))
}

/// Changes that were reported and are not there show: too many rows are as they were.
fn wrong(rows: Rows, changes: u64) -> Option<String> {
    let Rows { all, good, unchanged } = rows;
    if [all, good] != [i64::from(ROWS); 2] {
        return Some(format!("of {ROWS} rows there are {all}, {good} of them good"));
    }
    // One change leaves a given row alone with a probability of 1 - 1/ROWS. The standard deviation of the number of rows
    // that nobody has touched is below 50: six of them are no chance.
    let expected = f64::from(ROWS) * (-(changes as f64) / f64::from(ROWS)).exp();
    (unchanged as f64 > expected + 300.0).then(|| {
        format!(
            "{unchanged} rows are as they were, and after {changes} changes it should be some {expected:.0}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_are_not_in_the_table_are_found() {
        let rows = |unchanged| Rows { all: ROWS.into(), good: ROWS.into(), unchanged };
        assert_eq!(wrong(rows(10_000), 0), None);
        assert_eq!(wrong(rows(3_700), 10_000), None);
        assert!(wrong(rows(4_100), 10_000).is_some());
        assert_eq!(wrong(rows(0), 1_000_000), None);
        assert!(wrong(rows(10_000), 1_000_000).is_some());
        assert!(wrong(Rows { all: 9_999, good: 9_999, unchanged: 0 }, 1_000_000).is_some());
        assert!(wrong(Rows { good: 9_999, ..rows(0) }, 1_000_000).is_some());
    }
}
