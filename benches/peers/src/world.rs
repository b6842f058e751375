//! The table that is asked, and how its answers are checked.

use maypole::{Pool, Result};

pub const SELECT: &str = "SELECT id, randomnumber FROM world WHERE id = $1";

pub const ROWS: i32 = 10_000;

/// Makes and fills the table.
pub fn fill(url: &str) -> Result<()> {
    let pool = Pool::builder().url(url)?.limit(1).build()?;
    let connection = pool.connection()?;
    connection.script("CREATE TABLE world (id int PRIMARY KEY, randomnumber int NOT NULL)")?;
    for id in 1..=ROWS {
        connection.execute("INSERT INTO world VALUES ($1, $2)", (id, stored(id)))?;
    }
    connection.script("VACUUM ANALYZE world")
}

/// What the table holds for this id.
pub fn stored(id: i32) -> i32 {
    (id * 7_919 + 13) % ROWS + 1
}

/// Random ids of the table; the same seed gives the same ids (splitmix64).
pub struct Ids(u64);

impl Ids {
    pub fn new(seed: u64) -> Ids {
        Ids(seed)
    }

    #[inline]
    pub fn next_id(&mut self) -> i32 {
        self.between(1, ROWS)
    }

    /// A random number from the lowest to the highest, both included.
    #[inline]
    pub fn between(&mut self, lowest: i32, highest: i32) -> i32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        lowest + (mixed % (u64::from(highest.abs_diff(lowest)) + 1)) as i32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_in_the_table_and_follow_from_the_seed() {
        let ids = |seed| {
            let mut ids = Ids::new(seed);
            (0..1_000).map(|_| ids.next_id()).collect::<Vec<_>>()
        };
        assert!(ids(1).iter().all(|id| (1..=ROWS).contains(id)));
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }

    #[test]
    fn numbers_are_from_the_lowest_to_the_highest() {
        let mut ids = Ids::new(1);
        let numbers: BTreeSet<_> = (0..1_000).map(|_| ids.between(-2, 3)).collect();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2, 3]);
    }
}
