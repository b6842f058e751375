//! What a terminal says of rows, it says on a lane too.

use maypole::{Error, Query, Result, Row, select};

use crate::lanes::selects;
use crate::support::pool::TestPool;

fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error}, {:?}, {:?}", error.outcome(), Error::is_no_results(&error)),
    }
}

#[test]
fn every_terminal_says_the_same_on_a_lane_and_on_a_lease() {
    selects!(DB);
    #[select(DB, "SELECT i, i * 2 FROM generate_series(1, :count::int4) i")]
    fn pairs(count: i32) -> Query<(i32, i32)>;
    #[select(DB, "SELECT i FROM generate_series(1, :count::int4) i")]
    fn numbers(count: i32) -> Query<i32>;
    #[select(DB, "SELECT NULLIF(:n::int4, 0) AS n, repeat('ä', 3) AS text")]
    fn row(n: i32) -> Query<Row>;
    #[select(DB, "SELECT NULLIF(:n::int4, 0)")]
    fn maybe(n: i32) -> Query<Option<i32>>;
    #[select(DB, "SELECT NULLIF(:n::int4, 0)")]
    fn not_null(n: i32) -> Query<i32>;
    #[select(DB, "SELECT pg_sleep(0)")]
    fn nothing() -> Query;
    let test = DB.is(TestPool::new(1));
    test.warm(|| pairs(1).rows().expect("rows"));
    test.warm(|| numbers(1).rows().expect("rows"));
    test.warm(|| row(1).unique().expect("a row"));
    test.warm(|| maybe(1).value().expect("a value"));
    test.warm(|| not_null(1).value().expect("a value"));
    test.warm(|| nothing().run().expect("run"));
    let mut compared = 0;
    macro_rules! same {
        ($($query:ident($($argument:expr)?).$terminal:ident()),* $(,)?) => { $(
            let selects = test.pool.stats().selects;
            let shared = told($query($($argument)?).$terminal());
            assert_eq!(test.pool.stats().selects, selects + 1, "it rides");
            let lease = test.pool.connection().expect("lent");
            let alone = told($query($($argument)?).on(&lease).$terminal());
            drop(lease);
            assert_eq!(shared, alone, "{}.{}", stringify!($query($($argument)?)), stringify!($terminal));
            compared += 1;
        )* };
    }
    same!(
        pairs(0).unique(),
        pairs(1).unique(),
        pairs(2).unique(),
        pairs(0).optional(),
        pairs(1).optional(),
        pairs(2).optional(),
        pairs(0).first(),
        pairs(3).first(),
        pairs(0).rows(),
        pairs(300).rows(),
        numbers(0).value(),
        numbers(1).value(),
        numbers(2).value(),
        numbers(0).flat(),
        numbers(500).flat(),
        row(0).unique(),
        row(7).unique(),
        maybe(0).value(),
        maybe(1).value(),
        not_null(0).value(),
        nothing().run(),
    );
    assert_eq!(compared, 21);
    let error = pairs(1).run().expect_err("it returns rows");
    assert!(error.to_string().contains("run()"), "{error}");
    test.finish();
}
