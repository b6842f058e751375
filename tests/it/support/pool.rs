//! Pools under test, with the two checks that end every test: the probe and the ledger.
//! Uses: client, eventually, random, server, watchdog.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use maypole::{Database, Pool, PoolBuilder, spawn};

use super::client::Client;
use super::eventually::eventually;
use super::random::Random;
use super::server::server;
use super::watchdog::{Watchdog, watchdog};

/// How long a connection of the shared server may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test may take before it is taken to hang.
const LIMIT: Duration = Duration::from_secs(60);

/// A pool whose sessions can be told apart from those of all other tests.
pub(crate) struct TestPool {
    pub(crate) pool: Pool,
    pub(crate) db: Database,
    /// The application name of its sessions.
    pub(crate) name: String,
    /// Where the server is looked at past the library.
    past: String,
    pub(crate) _watchdog: Watchdog,
}

/// Prepares may for tests: no pinning to cores (parallel test processes would share them), and as many workers as
/// `MAYPOLE_TEST_WORKERS` says. Call it before anything runs a coroutine.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        may::config().set_worker_pin(false);
        let workers = std::env::var("MAYPOLE_TEST_WORKERS").ok().and_then(|text| text.parse().ok());
        may::config().set_workers(workers.unwrap_or(2));
    });
}

impl TestPool {
    /// A pool of the shared server.
    pub(crate) fn new(limit: usize) -> TestPool {
        // Nothing stands in the way of this one, so its limits are not what is tested: a busy machine may take its time.
        let url = format!("{}?connect_timeout=30", server().url());
        TestPool::built(&url, |builder| builder.limit(limit).acquire_timeout(PATIENCE))
    }

    /// A pool of whatever listens at this URL: a proxy before the shared server.
    pub(crate) fn at(url: &str, limit: usize) -> TestPool {
        TestPool::built(url, |builder| builder.limit(limit))
    }

    /// A pool with settings of its own.
    pub(crate) fn built(url: &str, build: impl FnOnce(PoolBuilder) -> PoolBuilder) -> TestPool {
        TestPool::configured(url, |config| config, build)
    }

    /// A pool with settings of its own, for its connections too.
    pub(crate) fn configured(
        url: &str,
        configure: impl FnOnce(maypole::Config) -> maypole::Config,
        build: impl FnOnce(PoolBuilder) -> PoolBuilder,
    ) -> TestPool {
        TestPool::of_server(&server().url(), url, LIMIT, |builder, config| {
            build(builder.config(configure(config)))
        })
    }

    /// A pool of another server than the shared one: `past` is where it is looked at past the library, `url` where the
    /// pool connects to, the same or a proxy. The test may take so long until it is taken to hang.
    pub(crate) fn of_server(
        past: &str,
        url: &str,
        limit: Duration,
        build: impl FnOnce(PoolBuilder, maypole::Config) -> PoolBuilder,
    ) -> TestPool {
        prepare();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("test {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let config: maypole::Config = url.parse().expect("a good URL");
        let builder = build(Pool::builder(), config.application_name(&name));
        TestPool::around(builder.build().expect("a good configuration"), &name, past, limit)
    }

    /// The two checks for a pool that was made elsewhere, whose sessions have this application name.
    pub(crate) fn around(pool: Pool, name: &str, past: &str, limit: Duration) -> TestPool {
        let watchdog = watchdog(limit);
        let dumped = pool.clone();
        watchdog.on_dump("pool", move || format!("{dumped:?}"));
        let db = Database::from(pool.clone());
        TestPool { db, pool, name: name.to_owned(), past: past.to_owned(), _watchdog: watchdog }
    }

    /// The probe and the ledger. Blocks the thread: call it from the test's own.
    pub(crate) fn finish(&self) {
        self.ledger();
        self.probe();
        self.ledger();
    }

    /// Why no connection can be opened, with all causes, once an attempt has failed.
    pub(crate) fn why_not(&self) -> String {
        let mut chain = String::new();
        eventually("an attempt to open a connection has failed", || {
            let error =
                self.pool.connection_within(Duration::from_millis(20)).expect_err("it cannot be opened");
            chain = format!("{error:?}");
            // A wait that ends before the first attempt has no cause yet.
            !error.is_timeout() || chain.contains("caused by")
        });
        chain
    }

    /// The end of a test whose server is a fake: the books balance and nothing is out.
    pub(crate) fn settled(&self) {
        eventually("all leases of the fake server are back", || {
            let stats = self.pool.stats();
            let sum = stats.lent + stats.lanes + stats.idle + stats.opening + stats.cleaning + stats.free;
            assert_eq!(sum, stats.limit, "the ledger: {stats:?}");
            stats.lent + stats.lanes + stats.opening + stats.cleaning + stats.waiting == 0
        });
    }

    /// Every connection answers its own random constant, and the server sees none of ours idle in transaction.
    fn probe(&self) {
        let mut random = Random::new();
        let limit = self.pool.stats().limit;
        let leases: Vec<_> =
            (0..limit).map(|_| self.pool.connection().expect("every slot of the pool can be lent")).collect();
        let seed = random.fork();
        let answered = spawn(move || {
            let mut random = seed;
            for lease in &leases {
                let constant = i64::from_ne_bytes(random.next().to_ne_bytes());
                // The pool's own limit may be what is tested.
                let query = lease.query("SELECT $1::bigint", (constant,)).timeout(LIMIT);
                let answer: i64 = query.value().expect("an answer");
                assert_eq!(answer, constant, "the answer to another question");
                assert!(!lease.in_transaction());
            }
        });
        answered.join().expect("the probe panicked");
        let stuck = self.sessions("AND state LIKE 'idle in transaction%'");
        assert_eq!(stuck, 0, "sessions idle in transaction");
    }

    /// Nothing is out, the sum is the limit, and the server counts as many sessions as we do.
    pub(crate) fn ledger(&self) {
        eventually("all leases are back and clean, and the server agrees", || {
            let stats = self.pool.stats();
            let sum = stats.lent + stats.lanes + stats.idle + stats.opening + stats.cleaning + stats.free;
            assert_eq!(sum, stats.limit, "the ledger: {stats:?}");
            stats.lent + stats.lanes + stats.opening + stats.cleaning + stats.waiting == 0
                && self.sessions("") == stats.idle
        });
    }

    /// A session of its own, past the library and whatever stands before the server.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.past).expect("the server answers")
    }

    /// How many sessions of this pool the server has, with a condition on `pg_stat_activity`.
    pub(crate) fn sessions(&self, condition: &str) -> usize {
        let mut client = self.client();
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' {condition}",
            self.name
        );
        let rows = client.query(&sql).expect("the server answers");
        rows[0][0].as_deref().and_then(|count| count.parse().ok()).expect("a count")
    }
}

/// Runs a function in a coroutine and waits for it; a panic in it is the test's.
#[track_caller]
pub(crate) fn in_coroutine<R: Send + 'static>(function: impl FnOnce() -> R + Send + 'static) -> R {
    prepare();
    match spawn(function).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
