//! Ten thousand riders under a storm of cancels, timeouts and failing members: each gets its own answer, and nothing is lost
//! (reliability case 5, on lanes).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use maypole::{Database, Error, JoinHandle, PoolBuilder, Query, Result, query, select, spawn};

use crate::lanes::{Lanes, selects};
use crate::support::chaos::cancel;
use crate::support::past::run;
use crate::support::pool::TestPool;
use crate::support::random::Random;
use crate::support::server::server;

/// Alive at the same time.
const CROWD: usize = 500;

/// What riders ask.
#[derive(Clone, Copy)]
struct Questions {
    db: &'static Database,
    echo: fn(i32) -> Query<'static, i32>,
    divide: fn(i32) -> Query<'static, i32>,
    text: fn(i32) -> Query<'static, (String, i32)>,
    several: fn(i32, i32) -> Query<'static, i32>,
    alone: fn(i32) -> Query<'static, i32>,
    write: fn(i32) -> Query<'static, i32>,
}

macro_rules! storm {
    (fn $name:ident(), $riders:literal riders, $build:expr) => {
        #[test]
        fn $name() {
            selects!(DB);
            #[select(DB, "SELECT 'n' || :n::text, pg_backend_pid()")]
            fn text(n: i32) -> Query<(String, i32)>;
            #[select(DB, "SELECT i + :n FROM generate_series(1, :count::int4) i")]
            fn several(n: i32, count: i32) -> Query<i32>;
            #[select(DB, exclusive, "SELECT :n::int4")]
            fn alone(n: i32) -> Query<i32>;
            #[query(DB, "INSERT INTO lanes_crowd VALUES (:n) RETURNING n")]
            fn write(n: i32) -> Query<i32>;
            let url = server().url();
            let build: fn(PoolBuilder) -> PoolBuilder = $build;
            let test = DB.is(TestPool::of_server(&url, &url, Duration::from_secs(120), |builder, config| {
                build(builder.config(config).limit(4).acquire_timeout(Duration::from_secs(30)))
            }));
            test.warm(|| echo(1).value().expect("an answer"));
            storm(&test, $riders, Questions { db: &DB, echo, divide, text, several, alone, write });
        }
    };
}

storm!(
    fn ten_thousand_riders_survive_a_storm_and_each_gets_its_own_answer(), 10_000 riders, |builder| builder
);

storm!(
    fn a_storm_in_which_each_select_has_its_own_sync_is_survived(), 3_000 riders, |builder| builder.largest_group(1)
);

storm!(
    fn a_storm_of_small_groups_on_one_lane_is_survived(), 3_000 riders, |builder| builder.largest_group(5).lanes(1)
);

/// What has become of the questions.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    failed: AtomicUsize,
    late: AtomicUsize,
    /// Wrong answers and errors that nothing explains: there must be none.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn check<T: PartialEq + std::fmt::Debug>(&self, what: &str, answer: Result<T>, expected: &T) {
        match answer {
            Ok(answer) if answer == *expected => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            other => self.wrong(format!("{what}: {other:?}, not {expected:?}")),
        }
    }

    /// Of a question with a limit that may well pass.
    fn check_in_a_hurry(&self, answer: Result<i32>, expected: i32) {
        match answer {
            Err(error) if error.is_timeout() => drop(self.late.fetch_add(1, Ordering::Relaxed)),
            other => self.check("in a hurry", other, &expected),
        }
    }

    fn check_failure(&self, answer: Result<i32>) {
        match answer.as_ref().map_err(Error::sqlstate) {
            Err(Some("22012")) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
            _ => self.wrong(format!("a division by zero: {answer:?}")),
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no holder panics").push(what);
    }

    fn all(&self) -> usize {
        [&self.answered, &self.failed, &self.late].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A few questions of one rider; a cancel may end it at any wait.
fn ride(ask: Questions, tally: &Tally, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let n = i32::try_from(random.below(1_000_000)).expect("small");
        match random.below(20) {
            0..8 => tally.check("echo", (ask.echo)(n).value(), &n),
            8..11 => tally.check("text", (ask.text)(n).unique().map(|(text, _)| text), &format!("n{n}")),
            11..14 => {
                let count = i32::try_from(random.below(50)).expect("small");
                let expected: Vec<_> = (1..=count).map(|i| i + n).collect();
                tally.check("several", (ask.several)(n, count).flat(), &expected);
            }
            // It is shared only as long as it succeeds now and then.
            14 if random.one_in(2) => tally.check_failure((ask.divide)(0).value()),
            14 => tally.check("divide", (ask.divide)(7).value(), &720),
            15 => {
                let limit = Duration::from_micros(random.next() % 4_000);
                tally.check_in_a_hurry((ask.echo)(n).timeout(limit).value(), n);
            }
            16 => tally.check("alone", (ask.alone)(n).value(), &n),
            17 => tally.check("ad hoc", ask.db.query("SELECT $1::int4", (n,)).value(), &n),
            18 => tally.check("write", (ask.write)(n).value(), &n),
            _ => {
                let both =
                    ask.db.transaction(|q| Ok(((ask.echo)(n).on(q).value()?, (ask.write)(n).on(q).value()?)));
                tally.check("transaction", both, &(n, n));
            }
        }
    }
}

/// So many riders, of which some are cancelled wherever they are.
fn storm(test: &Lanes, riders: usize, questions: Questions) {
    let mut random = Random::new();
    static MADE: Once = Once::new();
    MADE.call_once(|| run("CREATE TABLE lanes_crowd (n int4)"));
    let before = test.pool.stats();
    let start = Instant::now();
    let tally = Arc::new(Tally::default());
    let mut crowd: Vec<JoinHandle<()>> = Vec::new();
    let (mut started, mut cancelled) = (0, 0);
    let mut over = |rider: JoinHandle<()>| {
        if let Err(panic) = rider.join() {
            // A cancel is not a text; a failed assertion is.
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            assert!(text.is_none(), "a rider panicked: {text:?}");
            cancelled += 1;
        }
    };
    while started < riders {
        while crowd.len() < CROWD && started < riders {
            let (tally, mut own) = (tally.clone(), random.fork());
            let rider = spawn(move || ride(questions, &tally, &mut own));
            crowd.push(rider);
            started += 1;
            if random.one_in(3) {
                // It may be anywhere: not begun, in the queue, in a group that is out, about to read its answer, or over.
                let recent = crowd.len() - 1 - random.below(crowd.len().min(50));
                cancel(&crowd[recent]);
            }
        }
        over(crowd.remove(0));
    }
    crowd.into_iter().for_each(over);
    let stats = test.pool.stats();
    let (selects, groups) = (stats.selects - before.selects, stats.groups - before.groups);
    println!(
        "{riders} riders in {:?}: {} answered, {} failed as they should, {} late, {cancelled} cancelled; {selects} selects in \
         {groups} groups, {} sent again, {} run alone",
        start.elapsed(),
        tally.answered.load(Ordering::Relaxed),
        tally.failed.load(Ordering::Relaxed),
        tally.late.load(Ordering::Relaxed),
        stats.sent_again,
        stats.run_alone,
    );
    let wrong = tally.wrong.lock().expect("no holder panics");
    assert!(wrong.is_empty(), "{} wrong answers, such as {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    drop(wrong);
    assert!(cancelled > riders / 20 && tally.all() > riders, "a storm: {cancelled} cancelled");
    assert!(tally.failed.load(Ordering::Relaxed) > riders / 100, "members failed");
    match groups == selects {
        // A Sync each: nobody is behind a member that fails.
        true => assert_eq!(stats.sent_again, 0),
        false => assert!(groups < selects && stats.sent_again > 0, "{stats:?}"),
    }
    test.finish();
    assert_eq!(test.pool.stats().closed, 0, "no connection had to be given up");
}
