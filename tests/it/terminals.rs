//! The terminals: what each makes of no row, one, several, NULL, and several columns.

use maypole::{FromRow, Outcome, Row};

use crate::support::pool::TestPool;

const NONE: &str = "SELECT 1 AS n WHERE false";
const ONE: &str = "SELECT 1 AS n";
const THREE: &str = "SELECT generate_series(1, 3) AS n";
const NULL: &str = "SELECT NULL::int4 AS n";
const PAIR: &str = "SELECT 1 AS n, 'one' AS name";

#[derive(Debug, FromRow, PartialEq)]
struct Pair {
    n: i32,
    name: String,
}

#[test]
fn unique_wants_exactly_one_row() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(ONE, ()).unique::<i32>().expect("one"), 1);
    assert_eq!(db.query(PAIR, ()).unique::<(i32, String)>().expect("one"), (1, "one".into()));
    assert_eq!(db.query(PAIR, ()).unique::<Pair>().expect("one"), Pair { n: 1, name: "one".into() });
    assert_eq!(db.query(PAIR, ()).unique::<Row>().expect("one").to_string(), r#"{"n": 1, "name": "one"}"#);
    let none = db.query(NONE, ()).unique::<i32>().expect_err("none");
    assert!(none.is_no_results() && !none.is_multiple_results(), "{none:?}");
    let many = db.query(THREE, ()).unique::<i32>().expect_err("three");
    assert!(many.is_multiple_results() && !many.is_no_results(), "{many:?}");
    assert_eq!((none.outcome(), many.outcome()), (Outcome::Done, Outcome::Done));
    assert_eq!(db.query(NULL, ()).unique::<Option<i32>>().expect("a row"), None);
    let null = db.query(NULL, ()).unique::<i32>().expect_err("NULL is no i32");
    assert!(null.to_string().contains("NULL") && !null.is_no_results(), "{null}");
    test.finish();
}

#[test]
fn optional_wants_at_most_one_row() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(NONE, ()).optional::<i32>().expect("none"), None);
    assert_eq!(db.query(ONE, ()).optional::<i32>().expect("one"), Some(1));
    assert!(db.query(THREE, ()).optional::<i32>().expect_err("three").is_multiple_results());
    assert_eq!(db.query(NONE, ()).optional::<Option<i32>>().expect("no row"), None);
    assert_eq!(db.query(NULL, ()).optional::<Option<i32>>().expect("a row"), Some(None));
    test.finish();
}

#[test]
fn first_takes_the_first_of_any_number() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(NONE, ()).first::<i32>().expect("none"), None);
    assert_eq!(db.query(ONE, ()).first::<i32>().expect("one"), Some(1));
    assert_eq!(db.query(THREE, ()).first::<i32>().expect("three"), Some(1));
    assert_eq!(db.query(NULL, ()).first::<Option<i32>>().expect("a row"), Some(None));
    test.finish();
}

#[test]
fn value_wants_one_row_of_one_column() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(ONE, ()).value::<i32>().expect("one"), 1);
    assert!(db.query(NONE, ()).value::<i32>().expect_err("none").is_no_results());
    assert!(db.query(NONE, ()).value::<Option<i32>>().expect_err("no row is not NULL").is_no_results());
    assert!(db.query(THREE, ()).value::<i32>().expect_err("three").is_multiple_results());
    assert_eq!(db.query(NULL, ()).value::<Option<i32>>().expect("NULL"), None);
    let null = db.query(NULL, ()).value::<i32>().expect_err("NULL is no i32");
    assert!(null.to_string().contains("use Option<i32>"), "{null}");
    let pair = db.query(PAIR, ()).value::<i32>().expect_err("two columns");
    assert!(pair.to_string().contains("one value is wanted, but the result has 2 columns"), "{pair}");
    let none = db.query("SELECT 1, 2 WHERE false", ()).value::<i32>().expect_err("two columns");
    assert!(!none.is_no_results(), "the shape comes first: {none}");
    let nothing = db.query("SELECT", ()).value::<i32>().expect_err("no column");
    assert!(nothing.to_string().contains("the result has no columns"), "{nothing}");
    let wide = db.query("SELECT 1::int8", ()).value::<i32>().expect_err("an int8 is no i32");
    assert!(wide.to_string().contains("int8"), "{wide}");
    test.finish();
}

#[test]
fn flat_takes_the_one_column_of_every_row() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(NONE, ()).flat::<i32>().expect("none"), Vec::<i32>::new());
    assert_eq!(db.query(THREE, ()).flat::<i32>().expect("three"), [1, 2, 3]);
    let some = db.query("SELECT nullif(n, 2) FROM generate_series(1, 3) n", ());
    assert_eq!(some.flat::<Option<i32>>().expect("three"), [Some(1), None, Some(3)]);
    db.query(PAIR, ()).flat::<i32>().expect_err("two columns");
    test.finish();
}

#[test]
fn rows_takes_every_row() {
    let test = TestPool::new(1);
    let db = &test.db;
    assert_eq!(db.query(NONE, ()).rows::<i32>().expect("none"), Vec::<i32>::new());
    assert_eq!(db.query(THREE, ()).rows::<i32>().expect("three"), [1, 2, 3]);
    assert_eq!(db.query(PAIR, ()).rows::<Pair>().expect("one"), [Pair { n: 1, name: "one".into() }]);
    let narrow = db.query(PAIR, ()).rows::<(i32,)>().expect_err("two columns");
    assert_eq!(narrow.outcome(), Outcome::NotSent, "found out before it runs: {narrow:?}");
    assert_eq!(db.query("SELECT FROM generate_series(1, 3)", ()).rows::<Row>().expect("three").len(), 3);
    test.finish();
}

#[test]
fn run_counts_the_rows_that_were_touched() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let run = |sql: &str| lease.query(sql, ()).run().expect("it runs");
    assert_eq!(run("CREATE TEMP TABLE counted (id int4)"), 0);
    assert_eq!(run("INSERT INTO counted SELECT generate_series(1, 7)"), 7);
    assert_eq!(run("UPDATE counted SET id = id + 1 WHERE id > 4"), 3);
    assert_eq!(run("UPDATE counted SET id = 0 WHERE id > 100"), 0);
    assert_eq!(run("DELETE FROM counted WHERE id < 3"), 2);
    assert_eq!(run("INSERT INTO counted VALUES (1)"), 1);
    assert_eq!(run(""), 0);
    assert_eq!(lease.execute("DELETE FROM counted", ()).expect("it runs"), 6);
    assert_eq!(run("SELECT pg_sleep(0)"), 1, "void is no result");
    assert_eq!(run("INSERT INTO counted VALUES (1)"), 1);
    // Whoever asks for what is not there hears which terminal fits, before anything has run.
    for sql in ["SELECT * FROM counted", "DELETE FROM counted RETURNING id"] {
        let error = lease.query(sql, ()).run().expect_err("it returns rows");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.to_string().contains("use rows(), unique()"), "{error}");
    }
    let error = lease.query("DELETE FROM counted", ()).rows::<Row>().expect_err("it returns none");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("use run()"), "{error}");
    assert_eq!(lease.query("SELECT count(*) FROM counted", ()).value::<i64>().expect("counted"), 1);
    let stream = lease.query("DELETE FROM counted", ()).iter::<Row>().next().expect("an item");
    assert!(stream.expect_err("there is nothing to stream").to_string().contains("use run()"));
    drop(lease);
    test.finish();
}

/// COPY has functions of its own; as a query it is stopped, and the error tells what has happened.
#[test]
fn a_copy_is_no_query() {
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    lease.script("CREATE TEMP TABLE copied (id int4)").expect("a table");
    for (sql, outcome) in
        [("COPY copied FROM STDIN", Outcome::RolledBack), ("COPY copied TO STDOUT", Outcome::Done)]
    {
        let errors = [
            lease.execute(sql, ()).expect_err("no query"),
            lease.script(&format!("INSERT INTO copied VALUES (1); {sql}; SELECT 1")).expect_err("no query"),
        ];
        for error in errors {
            assert!(error.to_string().contains("COPY"), "{error}");
            assert_eq!(error.outcome(), outcome, "{sql}");
        }
        lease.query(sql, ()).iter::<Row>().next().expect("an item").expect_err("no query");
    }
    assert_eq!(lease.query("SELECT count(*) FROM copied", ()).value::<i64>().expect("a count"), 1);
    drop(lease);
    test.finish();
}

#[test]
fn iteration_and_each_see_what_rows_sees() {
    let test = TestPool::new(1);
    let mut each = Vec::new();
    let done = test.db.query(THREE, ()).each(|n: i32| {
        each.push(n);
        Ok(())
    });
    done.expect("no error");
    assert_eq!(each, [1, 2, 3]);
    let mut printed = Vec::new();
    for row in test.db.query(PAIR, ()) {
        printed.push(row.expect("a row").to_string());
    }
    assert_eq!(printed, [r#"{"n": 1, "name": "one"}"#]);
    let wrong: Vec<_> = test.db.query(PAIR, ()).iter::<i32>().collect();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].as_ref().expect_err("two columns").to_string().contains("2 columns"));
    test.finish();
}

/// The text of a failing query shows where in the program and where in the statement.
#[test]
fn a_failing_query_prints_like_a_compiler_error() {
    let test = TestPool::new(1);
    test.db.script("CREATE TABLE printed (id int4, name text)").expect("a table");
    let line = line!() + 1;
    let error = test.db.query("SELECT id, nmae FROM printed WHERE id = $1", (52,)).unique::<Row>();
    let expected = format!(
        "query failed: column \"nmae\" does not exist [42703 undefined_column]\n  \
           --> tests/it/terminals.rs:{line}\n   \
            | SELECT id, nmae FROM printed WHERE id = $1\n   \
            |            ^^^^\n   \
            = hint: Perhaps you meant to reference the column \"printed.name\"."
    );
    assert_eq!(error.expect_err("no such column").to_string(), expected);
    // The same from every kind of executor, and for streams.
    let lease = test.pool.connection().expect("lent");
    let errors = [
        lease.query("SELECT nothing", ()).value::<i32>().expect_err("no column"),
        lease.execute("SELECT nothing", ()).expect_err("no column"),
        lease.query("SELECT nothing", ()).iter::<i32>().next().expect("an item").expect_err("no column"),
        lease.transaction(|q| q.query("SELECT nothing", ()).value::<i32>()).expect_err("no column"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("--> tests/it/terminals.rs:") && text.contains("| SELECT nothing\n"), "{text}");
        assert_eq!(error.sql(), Some("SELECT nothing"));
    }
    drop(lease);
    test.finish();
}
