//! The behaviours that the tests of Nucleon's queries ask for, in the words of this library.

use std::sync::Once;

use maypole::{Database, FromRow, Outcome, Query, Result, Tx, params, query, select};

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::server::server;

static DB: Database = Database::named("nucleon");

#[derive(Debug, PartialEq, FromRow)]
struct Customer {
    id: i32,
    name: String,
}

/// The customer with this id.
#[select(DB, "SELECT id, name FROM nucleon_customers WHERE id = :id")]
fn get_customer(id: i32) -> Query<Customer>;

#[select(DB, "SELECT id, name FROM nucleon_customers ORDER BY id")]
fn all_customers() -> Query<Customer>;

#[select(DB, "SELECT name FROM nucleon_customers ORDER BY id")]
fn names() -> Query<String>;

#[select(DB, "SELECT max(id) FROM nucleon_customers WHERE name = :name")]
fn newest(name: &str) -> Query<Option<i32>>;

#[query(DB, "UPDATE nucleon_customers SET name = :new WHERE name = :old")]
fn rename(old: &str, new: &str) -> Query;

#[query(DB, "DELETE FROM nucleon_customers WHERE id = :id")]
fn delete(id: i32) -> Query;

#[query(DB, "INSERT INTO nucleon_customers (name) VALUES (:name) RETURNING id")]
fn insert(name: &str) -> Query<i32>;

/// A pool of a server that has the customers.
fn shop() -> TestPool {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut client = Client::connect(&server().url()).expect("the server answers");
        client
            .query(
                "CREATE TABLE nucleon_customers (id serial PRIMARY KEY, name text NOT NULL);
                 INSERT INTO nucleon_customers (name) VALUES ('Leonard Winter'), ('Sonia'), ('foo'), ('foo')",
            )
            .expect("made");
    });
    TestPool::new(2)
}

/// Runs something that writes, and leaves the shop as it was for the other tests.
fn and_undo(test: &TestPool, work: impl FnOnce(&Tx) -> Result<()>) {
    let mut done = Ok(());
    let undone: Result<()> = test.db.transaction(|q| {
        done = work(q);
        Err(maypole::Error::user("enough"))
    });
    undone.expect_err("ours");
    done.expect("what was to be shown");
}

fn leonard() -> Customer {
    Customer { id: 1, name: "Leonard Winter".into() }
}

#[test]
fn a_parameter_by_position_finds_its_place() {
    let test = shop();
    let sql = "SELECT name FROM nucleon_customers WHERE id = $1";
    assert_eq!(test.db.query(sql, (2,)).value::<String>().expect("a name"), "Sonia");
    test.finish();
}

#[test]
fn a_parameter_by_name_finds_its_places() {
    let test = shop();
    let sql = "SELECT name FROM nucleon_customers WHERE id = :id AND :id > 0 AND name <> :no";
    let id = 2;
    assert_eq!(test.db.query(sql, params! { no: "x", id }).value::<String>().expect("a name"), "Sonia");
    assert_eq!(get_customer(1).on(&test.db).unique().expect("one"), leonard());
    test.finish();
}

#[test]
fn the_wrong_number_of_parameters_is_an_error_and_nothing_runs() {
    let test = shop();
    let sql = "SELECT name FROM nucleon_customers WHERE id = $1";
    let error = test.db.query(sql, (1, 2)).value::<String>().expect_err("two for one");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("the statement has 1 parameter, 2 were given"), "{error}");
    test.finish();
}

#[test]
fn flat_lists_a_single_column() {
    let test = shop();
    assert_eq!(names().on(&test.db).flat().expect("flat"), ["Leonard Winter", "Sonia", "foo", "foo"]);
    test.finish();
}

#[test]
fn flat_and_value_refuse_two_columns() {
    let test = shop();
    let two = "SELECT id, name FROM nucleon_customers LIMIT 1";
    for error in [
        test.db.query(two, ()).flat::<i32>().map(drop).expect_err("two columns"),
        test.db.query(two, ()).value::<i32>().map(drop).expect_err("two columns"),
    ] {
        assert!(error.to_string().contains("one value is wanted, but the result has 2 columns"), "{error}");
    }
    test.finish();
}

#[test]
fn unique_is_exactly_one_row() {
    let test = shop();
    assert_eq!(get_customer(1).on(&test.db).unique().expect("one"), leonard());
    assert_eq!(get_customer(1).on(&test.db).optional().expect("one"), Some(leonard()));
    test.finish();
}

#[test]
fn unique_without_a_row_is_no_results() {
    let test = shop();
    assert!(get_customer(99).on(&test.db).unique().expect_err("none").is_no_results());
    assert!(names().on(&test.db).value().expect_err("four").is_multiple_results());
    assert_eq!(get_customer(99).on(&test.db).optional().expect("none is no error"), None);
    assert_eq!(get_customer(99).on(&test.db).first().expect("none is no error"), None);
    test.finish();
}

#[test]
fn unique_with_several_rows_is_multiple_results() {
    let test = shop();
    assert!(all_customers().on(&test.db).unique().expect_err("four").is_multiple_results());
    assert!(all_customers().on(&test.db).optional().expect_err("four").is_multiple_results());
    assert_eq!(all_customers().on(&test.db).first().expect("the first"), Some(leonard()));
    test.finish();
}

#[test]
fn no_row_is_not_null() {
    let test = shop();
    assert_eq!(newest("foo").on(&test.db).value().expect("a row"), Some(4));
    assert_eq!(newest("nobody").on(&test.db).value().expect("a row of NULL"), None);
    test.finish();
}

#[test]
fn rows_are_a_list_and_a_query_can_be_iterated() {
    let test = shop();
    assert_eq!(all_customers().on(&test.db).rows().expect("all").len(), 4);
    let mut seen = Vec::new();
    for customer in all_customers().on(&test.db) {
        seen.push(customer.expect("a row").id);
    }
    all_customers()
        .on(&test.db)
        .chunk(1)
        .each(|customer| {
            seen.push(customer.id);
            Ok(())
        })
        .expect("each");
    assert_eq!(seen, [1, 2, 3, 4, 1, 2, 3, 4]);
    test.finish();
}

#[test]
fn an_update_and_a_delete_count_their_rows() {
    let test = shop();
    and_undo(&test, |q| {
        assert_eq!(rename("foo", "woo").on(q).run()?, 2);
        assert_eq!(rename("foo", "woo").on(q).run()?, 0);
        assert_eq!(delete(4).on(q).run()?, 1);
        assert_eq!(delete(4).on(q).run()?, 0);
        Ok(())
    });
    assert_eq!(newest("woo").on(&test.db).value().expect("undone"), None);
    test.finish();
}

#[test]
fn an_insert_that_returns_gives_what_it_made() {
    let test = shop();
    and_undo(&test, |q| {
        let id = insert("new").on(q).unique()?;
        assert_eq!(get_customer(id).on(q).unique()?, Customer { id, name: "new".into() });
        assert_eq!(insert("newer").on(q).value()?, id + 1);
        Ok(())
    });
    test.finish();
}
