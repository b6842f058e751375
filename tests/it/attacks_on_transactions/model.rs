//! Transactions made at random, beside a model of what they do.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, Mutex};

use maypole::{Error, Outcome, Result, Tx, TxOptions};

use crate::support::client::Client;
use crate::support::pool::TestPool;
use crate::support::random::Random;
use crate::support::server::server;

const INSERT: &str = "INSERT INTO attack_model VALUES ($1, $2)";
const FAILS: &str = "SELECT 1 / $1::int4";

/// What a transaction should have done so far.
struct Model {
    random: RefCell<Random>,
    round: i32,
    next: Cell<i32>,
    rows: RefCell<Vec<i32>>,
    hooks: RefCell<Vec<i32>>,
    /// A statement has failed, and no savepoint has undone it.
    failed: Cell<bool>,
    /// What hooks have said.
    called: Arc<Mutex<Vec<i32>>>,
    /// What was done, for whoever has to find a mistake.
    log: RefCell<String>,
}

impl Model {
    fn below(&self, count: usize) -> usize {
        self.random.borrow_mut().below(count)
    }

    fn note(&self, what: &str) {
        self.log.borrow_mut().push_str(what);
        self.log.borrow_mut().push(' ');
    }

    fn inserted(&self) -> i32 {
        let id = self.next.get();
        self.next.set(id + 1);
        if !self.failed.get() {
            self.rows.borrow_mut().push(id);
        }
        id
    }

    fn insert(&self, q: &Tx) {
        let id = self.inserted();
        let round = self.round;
        let how = self.below(4);
        self.note(&format!("insert({id},{how})"));
        let failed = self.failed.get();
        let result = match how {
            0 => q.query(INSERT, (round, id)).run().map(drop),
            1 => {
                // Whoever sends it along hears of nothing.
                drop(q.query(INSERT, (round, id)).later());
                return;
            }
            2 => q.script(&format!("INSERT INTO attack_model VALUES ({round}, {id})")),
            _ => {
                let text = "INSERT INTO attack_model VALUES ($1, $2) RETURNING id";
                q.query(text, (round, id)).iter::<i32>().collect::<Result<Vec<_>>>().map(drop)
            }
        };
        assert_eq!(result.is_err(), failed, "{result:?}\n{}", self.log.borrow());
    }

    fn fail(&self, q: &Tx) {
        let how = self.below(4);
        self.note(&format!("fail({how})"));
        match how {
            0 => drop(q.query(FAILS, (0,)).value::<i32>().expect_err("division by zero")),
            1 => drop(q.query(FAILS, (0,)).later()),
            2 => drop(q.script("SELECT 1; SELECT 1 / 0").expect_err("division by zero")),
            _ => {
                let rows = q.query(FAILS, (0,)).chunk(1).iter::<i32>().collect::<Result<Vec<_>>>();
                rows.expect_err("division by zero");
            }
        }
        self.failed.set(true);
    }

    fn stream(&self, q: &Tx, depth: usize) {
        self.note("stream{");
        let rows =
            q.query("SELECT generate_series(1, 7)", ()).chunk(u32::try_from(self.below(4)).expect("small"));
        for row in rows.iter::<i32>() {
            if row.is_err() {
                assert!(self.failed.get(), "{row:?}\n{}", self.log.borrow());
                break;
            }
            self.steps(q, depth + 2, 2);
            if self.below(8) == 0 {
                self.note("break");
                break;
            }
        }
        self.note("}");
    }

    fn savepoint(&self, q: &Tx, outer: &Tx, depth: usize) {
        let failed_before = self.failed.get();
        let (rows, hooks) = (self.rows.borrow().clone(), self.hooks.borrow().len());
        let end = self.below(4);
        self.note(&format!("savepoint({end}){{"));
        let on = if self.below(4) == 0 { outer } else { q };
        let result = catch_unwind(AssertUnwindSafe(|| {
            on.savepoint(|q| {
                self.steps(q, depth + 1, 4);
                match end {
                    0 => Err(Error::user("undo this")),
                    1 => panic_any("on purpose"),
                    _ => Ok(()),
                }
            })
        }));
        self.note("}");
        let kept = matches!(result, Ok(Ok(())));
        if failed_before {
            assert!(!kept, "nothing is kept of what never was\n{}", self.log.borrow());
            self.rows.replace(rows);
            self.hooks.borrow_mut().truncate(hooks);
            self.failed.set(true);
            return;
        }
        assert_eq!(kept, end > 1 && !self.failed.get(), "{result:?}\n{}", self.log.borrow());
        if !kept {
            self.rows.replace(rows);
            self.hooks.borrow_mut().truncate(hooks);
            self.failed.set(false);
        }
    }

    fn steps(&self, q: &Tx, depth: usize, most: usize) {
        for _ in 0..=self.below(most) {
            match self.below(12) {
                0..4 => self.insert(q),
                4 => self.fail(q),
                5 if depth < 5 => self.stream(q, depth),
                6..9 if depth < 5 => self.savepoint(q, q, depth),
                9 => {
                    let (id, called) = (self.next.get(), self.called.clone());
                    self.hooks.borrow_mut().push(id);
                    q.after_commit(move || called.lock().expect("no holder panics").push(id));
                }
                10 => {
                    let known = q.query("SELECT $1::int4", (5,)).value::<i32>();
                    assert_eq!(known.is_err(), self.failed.get(), "{known:?}\n{}", self.log.borrow());
                }
                _ => drop(q.script("SELECT '\0'")),
            }
        }
    }
}

#[test]
fn transactions_made_at_random_do_what_a_model_of_them_does() {
    let mut client = Client::connect(&server().url()).expect("the server answers");
    client.query("CREATE TABLE attack_model (round int4, id int4)").expect("a table");
    std::panic::set_hook(Box::new({
        let usual = std::panic::take_hook();
        move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"on purpose") {
                usual(info);
            }
        }
    }));
    let mut random = Random::new();
    let mut round = 0;
    for capacity in [0, 2, 256] {
        let test = TestPool::configured(
            &server().url(),
            |config| config.statement_cache_capacity(capacity),
            |builder| builder.limit(1),
        );
        for _ in 0..rounds() {
            round += 1;
            let model = Model {
                random: RefCell::new(random.fork()),
                round,
                next: Cell::new(0),
                rows: RefCell::default(),
                hooks: RefCell::default(),
                failed: Cell::new(false),
                called: Arc::default(),
                log: RefCell::default(),
            };
            let options = if round % 3 == 0 { TxOptions::new().confirm_commit() } else { TxOptions::new() };
            let end = model.below(5);
            let result = test.db.transaction_with(&options, |q| {
                model.steps(q, 0, 6);
                if end == 0 { Err(Error::user("undo this")) } else { Ok(()) }
            });
            let log = model.log.borrow();
            let stored =
                client.query(&format!("SELECT id FROM attack_model WHERE round = {round} ORDER BY 1"));
            let stored = stored.expect("rows").into_iter().map(|row| row[0].clone().expect("no NULL"));
            let stored: Vec<i32> = stored.map(|id| id.parse().expect("a number")).collect();
            let called = model.called.lock().expect("no holder panics").clone();
            if end > 0 && !model.failed.get() {
                assert!(result.is_ok(), "{result:?}\n{log}");
                assert_eq!(stored, *model.rows.borrow(), "{log}");
                assert_eq!(called, *model.hooks.borrow(), "{log}");
            } else {
                let error = result.expect_err(&log);
                assert_eq!((error.outcome(), stored), (Outcome::RolledBack, vec![]), "{error:?}\n{log}");
                assert!(called.is_empty(), "{log}");
                if end > 0 {
                    assert_eq!(error.sqlstate(), Some("22012"), "{error:?}\n{log}");
                    assert!(
                        format!("{error:?}").contains("SELECT 1"),
                        "the guilty is named: {error:?}\n{log}"
                    );
                }
            }
        }
        assert_eq!(test.pool.stats().opened, 1, "no connection was lost");
        test.finish();
    }
}

fn rounds() -> usize {
    std::env::var("MAYPOLE_MODEL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}
