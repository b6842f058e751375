//! What a connection holds in memory: a process of its own, whose every allocation is counted. Stacks are not allocated
//! but mapped; they are measured in `tests/stack.rs`.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use maypole::{Database, Lease, Query, select};

use support::backend::{announce, authentication_ok};
use support::eventually::eventually;
use support::pool::TestPool;
use support::raw::{Raw, echo};
use support::server::server;

/// The system's allocator, with a count.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static TIMES: AtomicUsize = AtomicUsize::new(0);

fn count(layout: Layout, sign: isize) {
    LIVE.fetch_add(sign * layout.size().cast_signed(), Ordering::Relaxed);
    if sign > 0 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        TIMES.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: hands everything on to the system's allocator and only counts. What it does not define (realloc) is made of
// alloc and dealloc.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time, or they would count each other's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed is no reason for the others to fail.
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const CONNECTIONS: usize = 16;
const KIB: isize = 1024;

/// What an idle connection may hold, its books included: tables of statements, the socket, the driver.
const MOST: isize = 16 * KIB;

/// What all allocations hold, once nothing is under way any more: sockets are buried for some milliseconds.
fn at_rest() -> isize {
    let mut last = LIVE.load(Ordering::Relaxed);
    let mut same = 0;
    eventually("the memory is at rest", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = LIVE.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 5
    });
    last
}

/// Opens all connections and has each do this; what each holds afterwards, more than nothing.
fn held_after(work: impl Fn(&Lease)) -> isize {
    let test = TestPool::new(CONNECTIONS);
    let before = at_rest();
    let leases: Vec<_> = (0..CONNECTIONS).map(|_| test.pool.connection().expect("lent")).collect();
    leases.iter().for_each(work);
    drop(leases);
    eventually("all are idle", || test.pool.stats().idle == CONNECTIONS);
    let held = (at_rest() - before) / CONNECTIONS.cast_signed();
    test.ledger();
    held
}

#[test]
fn an_idle_connection_holds_no_more_than_16_kib_and_shrinks_again() {
    let _alone = alone();
    // What the process has once: threads, may's workers, the server.
    TestPool::new(1).finish();
    let mut table = Vec::new();
    let mut measure = |what: &str, work: &dyn Fn(&Lease)| table.push((what.to_owned(), held_after(work)));

    measure("one query", &|lease| {
        lease.query("SELECT 1", ()).rows::<maypole::Row>().expect("an answer");
    });
    measure("a reply of 4 MB", &|lease| {
        let text: String = lease.query("SELECT repeat('x', 4000000)", ()).value().expect("an answer");
        assert_eq!(text.len(), 4_000_000);
    });
    measure("1 MB of small rows", &|lease| {
        let rows: Vec<i32> = lease.query("SELECT generate_series(1, 60000)", ()).flat().expect("an answer");
        assert_eq!(rows.len(), 60_000);
    });
    measure("a parameter of 4 MB", &|lease| {
        let length: i32 =
            lease.query("SELECT length($1)", ("x".repeat(4_000_000),)).value().expect("an answer");
        assert_eq!(length, 4_000_000);
    });
    measure("a script of 4 MB", &|lease| {
        lease.script(&format!("SELECT '{}'", "x".repeat(4_000_000))).expect("an answer");
    });
    measure("a stream of 6 MB", &|lease| {
        let rows = lease.query("SELECT repeat('x', 1000) FROM generate_series(1, 6000)", ()).iter::<String>();
        assert_eq!(rows.filter(Result::is_ok).count(), 6000);
    });
    measure("a stream stopped early", &|lease| {
        let mut rows =
            lease.query("SELECT repeat('x', 10000) FROM generate_series(1, 30000)", ()).iter::<String>();
        assert!(rows.next().is_some_and(|row| row.is_ok()));
    });
    measure("a reply that nobody waited for", &|lease| {
        let limit = Duration::from_millis(1);
        let slow = "SELECT repeat('x', 4000000) FROM pg_sleep(0.02)";
        assert!(
            lease.query(slow, ()).timeout(limit).rows::<maypole::Row>().expect_err("too slow").is_timeout()
        );
    });
    // Replies that fill the reading buffer to the last byte, at each of its sizes, and some that do not. Around the
    // text are 36 bytes of messages.
    for total in [8, 16, 24, 32, 56, 64, 120, 184, 248, 1024, 4096] {
        measure(&format!("a reply of exactly {total} KiB"), &|lease| {
            let text = total * 1024 - 36;
            lease
                .query(&format!("SELECT repeat('x', {text})"), ())
                .rows::<maypole::Row>()
                .expect("an answer");
        });
    }
    for (what, held) in &table {
        println!("{what:35} {held:8} bytes held by each connection");
    }
    let over: Vec<_> = table.iter().filter(|(_, held)| *held > MOST).collect();
    assert!(over.is_empty(), "more than {MOST} bytes: {over:#?}");
}

/// Case 48: thousands of statements, each used once, on connections that keep few of them.
#[test]
fn statements_that_come_and_go_leave_the_memory_as_it_was() {
    const CAPACITY: usize = 20;
    let _alone = alone();
    let test = TestPool::configured(
        &server().url(),
        |config| config.statement_cache_capacity(CAPACITY),
        |builder| builder.limit(1),
    );
    let run = |numbers: std::ops::Range<i32>| {
        for number in numbers {
            let sql = format!("SELECT {number} + $1::int4");
            assert_eq!(test.db.query(&sql, (1,)).value::<i32>().expect("an answer"), number + 1);
        }
        at_rest()
    };
    let before = run(0..500);
    let after = run(500..3_000);
    println!("{before} bytes after 500 statements, {after} after 3,000");
    assert!(after - before < 16 * KIB, "{before} bytes after 500 statements, {after} after 3,000");
    test.finish();
}

/// Case 38: five bytes that announce two gigabytes do not make us ask for them.
#[test]
fn a_hostile_header_costs_no_memory() {
    let _alone = alone();
    let hostile = |bytes: Vec<u8>| {
        Raw::start(move |mut peer| {
            if peer.number == 1 {
                peer.startup();
                peer.send(&bytes);
                while peer.receive().is_some() {}
            } else {
                peer.enter();
                peer.serve(echo, |_| true);
            }
        })
    };
    // Below the limit of a gigabyte too: what is announced is not what has come.
    for length in [i32::MAX, (1 << 30) - 10] {
        let headers = [
            ("before authentication", announce(b'R', length)),
            ("after it", [authentication_ok(), announce(b'S', length)].concat()),
        ];
        for (what, bytes) in headers {
            let server = hostile(bytes);
            let config: maypole::Config = server.url().parse().expect("a good URL");
            let test = TestPool::built(&server.url(), |builder| {
                builder.config(config.connect_timeout(Duration::from_millis(300))).limit(1)
            });
            LARGEST.store(0, Ordering::SeqCst);
            assert_eq!(test.db.query("SELECT $1", (1_i64,)).value::<i64>().expect("the second attempt"), 1);
            let largest = LARGEST.load(Ordering::SeqCst);
            println!("{length} {what}: at most {largest} bytes at a time");
            assert!(largest < 256 * 1024, "{largest} bytes at a time");
        }
    }
    // In a reply, and where the length of a value lies.
    for length in [i32::MAX, (1 << 30) - 10] {
        let server = Raw::start(move |mut peer| {
            let first = peer.number == 1;
            peer.enter();
            peer.serve(echo, move |out| {
                if first && out.contains(&b'D') && out[0] == b'2' {
                    *out = announce(b'D', length);
                    out.extend_from_slice(&[0, 1]);
                    out.extend_from_slice(&length.to_be_bytes());
                }
                true
            });
        });
        let test = TestPool::at(&server.url(), 1);
        LARGEST.store(0, Ordering::SeqCst);
        let limit = Duration::from_millis(200);
        assert!(test.db.query("SELECT $1", (1_i64,)).timeout(limit).value::<i64>().is_err());
        assert_eq!(test.db.query("SELECT $1", (2_i64,)).value::<i64>().expect("another session"), 2);
        let largest = LARGEST.load(Ordering::SeqCst);
        assert!(largest < 256 * 1024, "{largest} bytes at a time");
        test.settled();
    }
}

/// A result of any length is streamed in the memory of a few chunks.
#[test]
fn a_stream_holds_a_few_chunks_and_not_the_result() {
    let _alone = alone();
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let rows =
        || lease.query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)", ()).iter::<String>();
    drop(rows().next());
    let before = LIVE.load(Ordering::Relaxed);
    let mut most = 0;
    for (at, row) in rows().enumerate() {
        assert_eq!(row.expect("a row").len(), 1000);
        if at % 500 == 0 {
            most = most.max(LIVE.load(Ordering::Relaxed) - before);
        }
    }
    println!("100 MB streamed in {} KiB", most / KIB);
    // Chunks of 64 KiB: the one that is read, four that come, and the room that their buffers grow by.
    assert!(most < 1024 * KIB, "{most} bytes");
    drop(lease);
    test.finish();
}

static DB: Database = Database::named("memory");

const SQL: &str = "SELECT $1::int4 + 1";

#[select(DB, "SELECT :n::int4 + 1")]
fn successor(n: i32) -> Query<i32>;

#[select(DB, "SELECT 1")]
fn one() -> Query<i32>;

/// The whole process is counted, the driver included: both calls have the same.
#[test]
fn a_declared_query_allocates_nothing_but_its_parameters_more_than_the_same_call_by_hand() {
    const CALLS: usize = 2_000;
    let _alone = alone();
    let test = TestPool::new(1);
    let lease = test.pool.connection().expect("lent");
    let by_hand = || assert_eq!(lease.query(SQL, (1,)).unique::<i32>().expect("two"), 2);
    let declared = || assert_eq!(successor(1).on(&lease).unique().expect("two"), 2);
    let by_hand_without = || assert_eq!(lease.query("SELECT 1", ()).unique::<i32>().expect("one"), 1);
    let declared_without = || assert_eq!(one().on(&lease).unique().expect("one"), 1);
    let per_call = |call: &dyn Fn()| {
        (0..100).for_each(|_| call());
        let before = TIMES.load(Ordering::Relaxed);
        (0..CALLS).for_each(|_| call());
        (TIMES.load(Ordering::Relaxed) - before) as f64 / CALLS as f64
    };
    let (by_hand, declared) = (per_call(&by_hand), per_call(&declared));
    let (by_hand_without, declared_without) = (per_call(&by_hand_without), per_call(&declared_without));
    println!(
        "by hand {by_hand}, declared {declared}; without parameters {by_hand_without} and {declared_without}"
    );
    // Other threads (the keeper, the harness) allocate now and then.
    assert!(declared < by_hand + 1.1, "one box for the parameters: {declared} and {by_hand}");
    assert!(declared_without < by_hand_without + 0.1, "none: {declared_without} and {by_hand_without}");
    drop(lease);
    test.finish();
}
