//! Lanes: declared selects of many coroutines on one connection, rule by rule as docs/design.md has them.

mod askers;
mod bounds;
mod crowds;
mod endings;
mod failures;
mod fairness;
mod locks;
mod nesting;
mod operations;
mod roles;
mod sessions;
mod sharing;
mod terminals;
mod timeouts;
mod unasked;

use std::ops::Deref;
use std::sync::OnceLock;

use maypole::{Database, JoinHandle, Lease, Query, spawn};

use crate::support::eventually::eventually;
use crate::support::pool::TestPool;

/// The database of one test: what its selects are declared for, and, once the test has begun, its pool.
///
/// A select that says `.on(…)` has said where it runs; so the selects of these tests need a database of their own, as those
/// of programs have.
pub(crate) struct Here {
    made: OnceLock<Database>,
    /// For who looks at all declared queries of the program before the test has begun.
    unmade: Database,
}

impl Here {
    pub(crate) const fn new() -> Here {
        Here { made: OnceLock::new(), unmade: Database::named("lanes") }
    }

    /// From now on it is this pool.
    pub(crate) fn is(&self, test: TestPool) -> Lanes {
        assert!(self.made.set(Database::from(test.pool.clone())).is_ok(), "one test, one database");
        Lanes { test }
    }
}

impl Deref for Here {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.made.get().unwrap_or(&self.unmade)
    }
}

/// The pool of a test, which is closed at its end: the database is a static and stays.
pub(crate) struct Lanes {
    test: TestPool,
}

impl Deref for Lanes {
    type Target = TestPool;

    fn deref(&self) -> &TestPool {
        &self.test
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.pool.start_closing();
    }
}

impl Lanes {
    /// All connections that there may be, so that nothing runs until they are dropped.
    pub(crate) fn all(&self) -> Vec<Lease> {
        let limit = self.pool.stats().limit;
        (0..limit).map(|_| self.pool.connection().expect("every slot of the pool can be lent")).collect()
    }

    /// Runs a select until it has ridden for a few times: its plan and its running time are known then.
    #[track_caller]
    pub(crate) fn warm<R>(&self, ask: impl Fn() -> R) {
        let mut rides = 0;
        eventually("the select rides", || {
            let before = self.pool.stats().selects;
            let _ = ask();
            rides += u32::from(self.pool.stats().selects > before);
            rides >= 5
        });
    }

    /// Waits until no group is out, not even the end of one whose members have been answered.
    #[track_caller]
    pub(crate) fn at_rest(&self) {
        eventually("no group is out", || {
            let stats = self.pool.stats();
            stats.lent + stats.lanes + stats.waiting == 0
        });
    }

    /// Lets so many coroutines ask at once: all wait for a connection before one comes free.
    pub(crate) fn together<R: Send + 'static>(
        &self,
        count: i32,
        ask: impl Fn(i32) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let leases = self.all();
        let asked = self.ask_while_all_are_lent(count, ask);
        drop(leases);
        asked.into_iter().map(|asker| asker.join().expect("no panic")).collect()
    }

    /// The coroutines of [`together`](Lanes::together), in the queue.
    pub(crate) fn ask_while_all_are_lent<R: Send + 'static>(
        &self,
        count: i32,
        ask: impl Fn(i32) -> R + Clone + Send + 'static,
    ) -> Vec<JoinHandle<R>> {
        let already = self.pool.stats().waiting;
        let mut asked = Vec::new();
        for number in 0..count {
            let ask = ask.clone();
            asked.push(spawn(move || ask(number)));
            eventually("it waits", || self.pool.stats().waiting == already + asked.len());
        }
        asked
    }
}

/// Declares the database of a test and the selects that most tests need. Each test has its own.
macro_rules! selects {
    ($database:ident) => {
        static $database: $crate::lanes::Here = $crate::lanes::Here::new();

        /// The number itself.
        #[maypole::select($database, "SELECT :n::int4")]
        #[allow(dead_code)]
        fn echo(n: i32) -> maypole::Query<i32>;

        /// The number, the process, and whether it may only read.
        #[maypole::select(
            $database,
            "SELECT :n::int4, pg_backend_pid(), current_setting('transaction_read_only') = 'on'"
        )]
        #[allow(dead_code)]
        fn who(n: i32) -> maypole::Query<(i32, i32, bool)>;

        /// Fails for 0.
        #[maypole::select($database, "SELECT 5040 / :n::int4")]
        #[allow(dead_code)]
        fn divide(n: i32) -> maypole::Query<i32>;
    };
}
pub(crate) use selects;

/// What such a select says of where it ran: the process, if it was a lane.
#[track_caller]
pub(crate) fn rode(who: Query<'_, (i32, i32, bool)>) -> bool {
    let (_, _, read_only) = who.unique().expect("an answer");
    read_only
}
