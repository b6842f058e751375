//! The forms that a transaction function can take. They compile without a warning of any kind, and what they do is kept
//! or undone as a whole.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    unreachable_pub,
    unused_lifetimes,
    unused_results,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]
#![forbid(non_camel_case_types, unused_imports)]

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use maypole::embedded::Server;
use maypole::{
    Database, Executor, FromRow, Isolation, Pool, Query, Result, Tx, TxOptions, query, select, transaction,
};

/// It ends with the process: statics are not dropped, but the server dies with its owner.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start().expect("a server"));

static DB: LazyLock<Database> = LazyLock::new(|| {
    may::config().set_worker_pin(false);
    let _ = may::config().set_workers(2);
    let builder = Pool::builder().url(&SERVER.url()).expect("a URL");
    let database = Database::from(builder.build().expect("a pool"));
    database
        .script("CREATE TABLE notes (id int4 GENERATED ALWAYS AS IDENTITY, text text UNIQUE)")
        .expect("made");
    database
});

#[query(DB, "INSERT INTO notes (text) VALUES (:text) RETURNING id")]
fn insert(text: &str) -> Query<i32>;

#[select(DB, "SELECT count(*) FROM notes WHERE text LIKE :start || '%'")]
fn count(start: &str) -> Query<i64>;

/// A note; its id.
#[transaction(DB)]
fn add(q: &Tx, text: &str) -> Result<i32> {
    insert(text).on(q).value()
}

/// Two notes, or none.
#[transaction(DB, retries = 3)]
fn add_two(q: &Tx, first: &str, second: &str) -> Result<()> {
    let _ = insert(first).on(q).value()?;
    let _ = insert(second).on(q).value()?;
    Ok(())
}

#[transaction(DB)]
fn nothing(_q: &Tx) -> Result<()> {
    Ok(())
}

/// All options at once, in any order.
#[transaction(
    DB,
    isolation = "serializable",
    deferrable,
    read_only,
    durable,
    outside,
    confirm_commit,
    retries = 1,
    retry_on = ["40001", "40P01",],
    deadline = "1m30s",
)]
fn careful(q: &Tx) -> Result<i32> {
    q.query("SELECT 1", ()).value()
}

#[transaction(DB, retries = 0, isolation = "read committed")]
fn no_retries(q: &Tx, text: NotClone) -> Result<i32> {
    let NotClone(text) = text;
    insert(&text).on(q).value()
}

#[transaction(DB, isolation = "repeatable read")]
fn repeatable(q: &Tx) -> maypole::Result<i32> {
    q.query("SELECT 1", ()).value()
}

struct NotClone(String);

/// An error of the program.
#[derive(Debug)]
enum Problem {
    Empty,
    Database(maypole::Error),
}

impl From<maypole::Error> for Problem {
    fn from(error: maypole::Error) -> Problem {
        Problem::Database(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Empty => write!(f, "empty"),
            Problem::Database(error) => write!(f, "{error}"),
        }
    }
}

type Outcome<T> = std::result::Result<T, Problem>;

#[transaction(DB)]
fn own_error(q: &Tx, text: &str) -> Result<i32, Problem> {
    let id = insert(text).on(q).value()?;
    if text.ends_with("empty") { Err(Problem::Empty) } else { Ok(id) }
}

#[transaction(DB, retries = 2)]
fn alias(q: &Tx, text: &str) -> Outcome<i32> {
    Ok(insert(text).on(q).value()?)
}

#[transaction(DB)]
fn boxed(q: &Tx, text: &str) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    let id: i32 = insert(text).on(q).value()?;
    let _: i32 = text.trim_start_matches(char::is_alphabetic).parse()?;
    Ok(id)
}

/// By value they are there for each attempt anew.
#[transaction(DB, retries = 2)]
fn by_value(q: &Tx, mut text: String, more: Option<Cow<'_, str>>, times: usize) -> Result<String> {
    text.push_str(&more.unwrap_or_default().repeat(times));
    let _ = insert(&text).on(q).value()?;
    Ok(text)
}

/// The caller keeps what is lent, and sees what has changed.
#[transaction(DB)]
fn by_reference(q: &Tx, text: &str, ids: &mut Vec<i32>, _unused: &[u8]) -> Result<usize> {
    ids.push(insert(text).on(q).value()?);
    Ok(ids.len())
}

#[transaction(DB, retries = 1)]
fn many(q: &Tx, aa: i32, bb: i32, cc: i32, dd: i32, ee: i32, ff: i32, gg: i32) -> Result<i32> {
    q.query("SELECT $1::int4 + $2::int4", (aa + bb + cc, dd + ee + ff + gg)).value()
}

#[transaction(DB, retries = 1)]
fn generic<T, const N: usize>(q: &Tx, texts: [T; N]) -> Result<usize>
where
    T: AsRef<str> + Clone,
{
    for text in texts {
        let _ = insert(text.as_ref()).on(q).value()?;
    }
    Ok(N)
}

/// Which type it is, the caller says.
#[transaction(DB)]
fn only_in_the_result<T: FromRow>(q: &Tx, sql: &str) -> Result<Vec<T>> {
    q.query(sql, ()).rows()
}

#[transaction(DB)]
fn of_some_type(q: &Tx, text: impl AsRef<str>, mut each: impl FnMut(i32)) -> Result<()> {
    each(insert(text.as_ref()).on(q).value()?);
    Ok(())
}

#[transaction(DB, retries = 2)]
fn lifetimes<'a, 'b: 'a>(q: &'_ Tx, first: &'a str, second: &'b str) -> Result<&'a str> {
    let n: i64 = q.query("SELECT count(*) FROM notes WHERE text = $1", (first,)).value()?;
    Ok(if n > 0 { first } else { second })
}

#[transaction(DB)]
fn r#match(q: &Tx, r#type: &str) -> Result<i32> {
    insert(r#type).on(q).value()
}

/// Calls itself, as a part of itself.
#[transaction(DB)]
fn again_and_again(tx: &Tx, q: u32) -> Result<u32> {
    if q == 0 { Ok(0) } else { Ok(again_and_again::within(tx, q - 1)? + 1) }
}

/// A helper that runs wherever it is told to.
fn insert_on(executor: &impl Executor, text: &str) -> Result<i32> {
    insert(text).on(executor).value()
}

#[transaction(DB)]
fn with_a_helper(q: &Tx, text: &str) -> Result<i32> {
    insert_on(q, text)
}

#[transaction(DB)]
#[inline(never)]
#[expect(unused_variables, reason = "to be warned of it would be right")]
#[allow(clippy::let_unit_value)]
#[cfg(not(any()))]
fn with_attributes(q: &Tx, text: &str) -> Result<()> {
    let nothing = ();
    Ok(())
}

#[transaction(DB, retries = 1)]
#[deprecated]
#[must_use = "it may have failed"]
fn not_used(_q: &Tx, _text: String, _id: Option<i32>, _name: &str) -> Result<()> {
    Ok(())
}

#[transaction(DB)]
#[test]
fn a_test_may_be_a_transaction(q: &Tx) -> Result<()> {
    let n: i64 = count("tested").on(q).value()?;
    assert_eq!(n, 0);
    Ok(())
}

/// Nobody calls it but others of its kind.
#[transaction(DB)]
fn only_within(q: &Tx, text: impl AsRef<str>) -> Result<i32> {
    insert(text.as_ref()).on(q).value()
}

#[transaction(DB)]
#[cfg(any())]
fn not_there(q: &Tx, id: MissingType) -> Result<MissingType>;

#[transaction(DB)]
#[cfg(any())]
fn not_there_and_wrong();

mod inner {
    use maypole::Result;

    #[maypole::transaction(crate::DB, retries = 1)]
    pub(crate) fn add(q: &maypole::Tx, text: &str) -> Result<i32> {
        super::insert(text).on(q).value()
    }

    pub(super) mod innermost {
        use maypole::{Tx, transaction};

        #[transaction(super::super::DB)]
        #[doc(hidden)]
        pub(in crate::inner) fn add(q: &Tx, text: &str) -> maypole::Result<i32> {
            super::add::within(q, text)
        }

        pub(crate) fn add_inside(text: &str) -> maypole::Result<i32> {
            add(text)
        }
    }
}

/// Transactions of a library.
pub mod public {
    use maypole::{Tx, transaction};

    /// A note; its id.
    ///
    /// # Errors
    ///
    /// If it is there already.
    #[transaction(crate::DB)]
    pub fn add(q: &Tx, text: &str) -> maypole::Result<i32> {
        super::insert(text).on(q).value()
    }
}

macro_rules! adding {
    ($visibility:vis $name:ident, $q:ident, $argument:ident: $type:ty, $result:ty, $start:literal) => {
        #[transaction(DB, retries = 2)]
        $visibility fn $name($q: &Tx, $argument: $type, end: &str) -> $result {
            let text = format!("{}{}{end}", $start, $argument);
            insert(&text).on($q).value()
        }
    };
}

adding!(pub(crate) by_macro, q, middle: String, Result<i32>, "macro");

fn counted(start: &str) -> i64 {
    count(start).value().expect("counted")
}

#[test]
fn what_returns_ok_is_kept() {
    let id = add("kept").expect("added");
    assert_eq!(
        DB.query("SELECT text FROM notes WHERE id = $1", (id,)).value::<String>().expect("there"),
        "kept"
    );
    nothing().expect("nothing");
    assert_eq!(careful().expect("one"), 1);
    assert_eq!(repeatable().expect("one"), 1);
    assert!(no_retries(NotClone("kept once".into())).is_ok());
    with_attributes("a").expect("nothing");
    #[allow(deprecated)]
    not_used(String::new(), None, "").expect("nothing");
}

#[test]
fn what_returns_an_error_is_undone() {
    let error = add_two("undone", "undone").expect_err("the second is there already");
    assert_eq!(error.constraint(), Some("notes_text_key"));
    assert_eq!(counted("undone"), 0);
    add_two("two a", "two b").expect("added");
    assert_eq!(counted("two"), 2);
}

#[test]
fn errors_of_the_program_come_back_as_they_are() {
    assert!(matches!(own_error("own empty"), Err(Problem::Empty)));
    assert_eq!(counted("own"), 0);
    assert!(own_error("own").is_ok());
    let taken = own_error("own").expect_err("it is there");
    assert!(matches!(&taken, Problem::Database(error) if error.constraint().is_some()), "{taken}");
    assert!(alias("alias").is_ok());
    assert!(boxed("boxed").expect_err("no number").is::<std::num::ParseIntError>());
    assert_eq!(counted("boxed"), 0);
    assert!(boxed("boxed1").is_ok());
}

#[test]
fn within_another_transaction_it_shares_the_fate_of_that() {
    let error = DB
        .transaction(|q| {
            let _ = add::within(q, "within one")?;
            let _ = inner::add::within(q, "within two")?;
            let n: i64 = count("within").on(q).value()?;
            assert_eq!(n, 2);
            let _ = insert("within one").on(q).value()?;
            Ok(())
        })
        .expect_err("it is there already");
    assert!(error.constraint().is_some());
    assert_eq!(counted("within"), 0);
    assert!(DB.transaction(|q| inner::add::within(q, "within")).is_ok());
    assert_eq!(counted("within"), 1);
    assert_eq!(again_and_again(3).expect("nested"), 3);
    assert!(DB.transaction(|q| only_within::within(q, String::from("only within"))).is_ok());
}

#[test]
fn arguments_are_handed_over_as_they_are_written() {
    let text = String::from("by value");
    assert_eq!(by_value(text.clone(), Some(Cow::Borrowed("!")), 2).expect("added"), "by value!!");
    assert_eq!(by_value(text, None, 2).expect("added"), "by value");

    let mut ids = vec![0];
    assert_eq!(by_reference("by reference", &mut ids, &[]).expect("added"), 2);
    assert!(ids[1] > 0);
    assert!(DB.transaction(|q| by_reference::within(q, "by reference within", &mut ids, &[])).is_ok());
    assert_eq!(ids.len(), 3);

    assert_eq!(many(1, 2, 3, 4, 5, 6, 7).expect("the sum"), 28);
    assert_eq!(
        r#match("raw").expect("added"),
        DB.query("SELECT max(id) FROM notes WHERE text = 'raw'", ()).value::<i32>().expect("there")
    );
    assert!(with_a_helper("with a helper").is_ok());
}

#[test]
fn generics_are_those_of_the_call() {
    assert_eq!(generic(["generic a", "generic b"]).expect("added"), 2);
    assert_eq!(generic([String::from("generic c")]).expect("added"), 1);
    assert_eq!(counted("generic"), 3);
    assert_eq!(only_in_the_result::<i32>("SELECT 1").expect("a row"), [1]);
    assert_eq!(
        DB.transaction(|q| only_in_the_result::within::<(i32, String)>(q, "SELECT 1, 'a'")).expect("a row"),
        [(1, "a".to_owned())]
    );
    let mut seen = Vec::new();
    of_some_type("of some type", |id| seen.push(id)).expect("added");
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_result_may_borrow_from_arguments() {
    let second = String::from("second");
    let longer = {
        let first = "no such note";
        lifetimes(first, &second).expect("one of them")
    };
    assert_eq!(longer, "second");
}

#[test]
fn modules_have_transactions_of_the_same_name() {
    assert!(inner::add("module a").is_ok());
    assert!(inner::innermost::add_inside("module b").is_ok());
    assert!(public::add("module c").is_ok());
    assert!(by_macro("d".into(), "e").is_ok());
    assert_eq!((counted("module"), counted("macrode")), (3, 1));
}

#[test]
fn the_name_beside_the_function_knows_what_it_is_called() {
    assert_eq!((add::NAME, inner::add::NAME, r#match::NAME), ("add", "add", "match"));
}

#[test]
fn options_are_those_of_the_attribute() {
    let told = |options: TxOptions| format!("{options:?}");
    assert_eq!(told(add::OPTIONS), told(TxOptions::new().name("add")));
    assert_eq!(told(r#match::OPTIONS), told(TxOptions::new().name("match")));
    assert_eq!(
        told(repeatable::OPTIONS),
        told(TxOptions::new().name("repeatable").isolation(Isolation::RepeatableRead))
    );
    assert_eq!(
        told(no_retries::OPTIONS),
        told(TxOptions::new().name("no_retries").isolation(Isolation::ReadCommitted))
    );
    let careful = TxOptions::new()
        .name("careful")
        .isolation(Isolation::Serializable)
        .deferrable()
        .read_only()
        .durable()
        .outside()
        .confirm_commit()
        .retries(1)
        .retry_on(&["40001", "40P01"])
        .deadline(Duration::from_secs(90));
    assert_eq!(told(careful::OPTIONS), told(careful));
}

#[test]
fn a_transaction_can_be_declared_in_a_function() {
    #[derive(FromRow)]
    struct Note {
        id: i32,
        text: String,
    }

    struct Local(&'static str);

    static LOCAL: &LazyLock<Database> = &DB;

    #[transaction(LOCAL)]
    fn add_local(q: &Tx, text: &Local) -> Result<Note> {
        let id = insert(text.0).on(q).value()?;
        q.query("SELECT id, text FROM notes WHERE id = $1", (id,)).unique()
    }

    let note = add_local(&Local("local")).expect("added");
    assert!(note.id > 0 && note.text == "local");
    assert_eq!(add_local::NAME, "add_local");
}
