//! The figures of a pool for the `metrics` facade, named as OpenTelemetry names them. Uses: stats.
//!
//! Nothing of the program's recorder runs where connections are lent: durations are counted in buckets of ours, and the
//! keeper's thread hands everything over about once a second. Recorders are asked for each time, because a program may
//! install its own after its pools were made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use parking_lot::Mutex;

use super::stats::Stats;

/// How often the figures are handed over.
const EVERY: Duration = Duration::from_secs(1);

const POOL: &str = "db.client.connection.pool.name";
const STATE: &str = "db.client.connection.state";

/// What is measured of one pool.
pub(super) struct Meter {
    pool: String,
    create: Buckets,
    wait: Buckets,
    hold: Buckets,
    handed: Mutex<Handed>,
}

/// What has been handed over.
#[derive(Default)]
struct Handed {
    at: Option<Instant>,
    /// Lends to who had waited.
    waits: u64,
    /// The others.
    at_once: u64,
}

impl Meter {
    pub(super) fn new(pool: &str) -> Meter {
        Meter {
            pool: pool.to_owned(),
            create: Buckets::new(),
            wait: Buckets::new(),
            hold: Buckets::new(),
            handed: Mutex::default(),
        }
    }

    /// A connection was opened; that was begun then.
    pub(super) fn opened(&self, since: Instant) {
        self.create.count(since.elapsed());
    }

    /// Somebody who has waited in the queue since then got a connection.
    pub(super) fn waited(&self, since: Instant) {
        self.wait.count(since.elapsed());
    }

    /// A lease that began then has ended. With [`Mark::now`] this is all that a borrow costs.
    #[inline]
    pub(super) fn used(&self, since: Mark) {
        self.hold.count(Mark::now().since(since));
    }

    /// For the keeper: hands over what there is, unless that was done a moment ago; tells when to come again.
    pub(super) fn hand_over(
        &self,
        now: Instant,
        min_idle: usize,
        stats: impl FnOnce() -> Stats,
    ) -> Option<Instant> {
        let mut handed = self.handed.lock();
        if let Some(next) = handed.at.map(|at| at + EVERY).filter(|next| *next > now) {
            return Some(next);
        }
        handed.at = Some(now);
        let stats = stats();
        let pool = || self.pool.clone();
        let gauge = |name: &'static str, value: usize| {
            gauge!(name, POOL => pool()).set(amount(value));
        };
        for (state, value) in [("idle", stats.idle), ("used", stats.lent + stats.lanes + stats.cleaning)] {
            gauge!("db.client.connection.count", POOL => pool(), STATE => state).set(amount(value));
        }
        gauge("db.client.connection.idle.max", stats.limit);
        gauge("db.client.connection.idle.min", min_idle);
        gauge("db.client.connection.max", stats.limit);
        gauge("db.client.connection.pending_requests", stats.waiting);
        counter!("db.client.connection.timeouts", POOL => pool()).absolute(stats.timeouts);
        counter!("maypole.lane.selects", POOL => pool()).absolute(stats.selects);
        counter!("maypole.lane.groups", POOL => pool()).absolute(stats.groups);
        let waited = histogram!("db.client.connection.wait_time", POOL => pool());
        // Who got a connection at once read no clock.
        let mut waits = 0;
        self.wait.drain(|seconds, times| {
            waits += times as u64;
            waited.record_many(seconds, times);
        });
        handed.waits += waits;
        let at_once = stats.lends.saturating_sub(handed.waits);
        waited.record_many(0.0, usize::try_from(at_once - handed.at_once.min(at_once)).unwrap_or(usize::MAX));
        handed.at_once = handed.at_once.max(at_once);
        let created = histogram!("db.client.connection.create_time", POOL => pool());
        self.create.drain(|seconds, times| created.record_many(seconds, times));
        let held = histogram!("db.client.connection.use_time", POOL => pool());
        self.hold.drain(|seconds, times| held.record_many(seconds, times));
        describe();
        Some(now + EVERY)
    }
}

/// Tells recorders that want to know what the names mean.
fn describe() {
    describe_gauge!("db.client.connection.count", Unit::Count, "connections in the state of the attribute");
    describe_gauge!("db.client.connection.idle.max", Unit::Count, "idle connections there may be");
    describe_gauge!("db.client.connection.idle.min", Unit::Count, "idle connections that are kept");
    describe_gauge!("db.client.connection.max", Unit::Count, "connections there may be");
    describe_gauge!(
        "db.client.connection.pending_requests",
        Unit::Count,
        "callers who wait for a connection"
    );
    describe_counter!("db.client.connection.timeouts", Unit::Count, "callers whose acquire timeout passed");
    describe_counter!("maypole.lane.selects", Unit::Count, "selects that shared a connection");
    describe_counter!("maypole.lane.groups", Unit::Count, "groups in which they were sent");
    describe_histogram!("db.client.connection.create_time", Unit::Seconds, "opening a connection");
    describe_histogram!("db.client.connection.wait_time", Unit::Seconds, "waiting for a connection");
    describe_histogram!(
        "db.client.connection.use_time",
        Unit::Seconds,
        "from borrowing a connection to its return"
    );
}

#[allow(clippy::cast_precision_loss, reason = "no pool has 2^53 of anything")]
fn amount(value: usize) -> f64 {
    value as f64
}

/// A moment, by a clock that is cheap and coarse: it steps every 1 to 4 milliseconds on Linux.
#[derive(Clone, Copy)]
pub(super) struct Mark(Clock);

#[cfg(target_os = "linux")]
type Clock = rustix::time::Timespec;
#[cfg(not(target_os = "linux"))]
type Clock = Instant;

impl Mark {
    #[cfg(target_os = "linux")]
    #[inline]
    pub(super) fn now() -> Mark {
        Mark(rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse))
    }

    #[cfg(not(target_os = "linux"))]
    #[inline]
    pub(super) fn now() -> Mark {
        Mark(Instant::now())
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn since(self, earlier: Mark) -> Duration {
        let nanoseconds = |mark: Mark| i128::from(mark.0.tv_sec) * 1_000_000_000 + i128::from(mark.0.tv_nsec);
        Duration::from_nanos(u64::try_from(nanoseconds(self) - nanoseconds(earlier)).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    #[inline]
    fn since(self, earlier: Mark) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

/// How many durations there were of about each length: four buckets for each power of two of microseconds.
struct Buckets(Box<[AtomicU64; BUCKETS]>);

/// Up to 2^40 microseconds, which are 12 days.
const BUCKETS: usize = 4 * 40;

impl Buckets {
    fn new() -> Buckets {
        Buckets(Box::new([const { AtomicU64::new(0) }; BUCKETS]))
    }

    #[inline]
    fn count(&self, duration: Duration) {
        let index = bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was counted: seconds, and how often.
    fn drain(&self, mut take: impl FnMut(f64, usize)) {
        for (index, bucket) in self.0.iter().enumerate() {
            if bucket.load(Ordering::Relaxed) > 0 {
                let times = bucket.swap(0, Ordering::Relaxed);
                take(middle(index), usize::try_from(times).unwrap_or(usize::MAX));
            }
        }
    }
}

/// 0 to 3 are themselves; above, the position of the highest bit and the two bits behind it.
#[inline]
fn bucket(microseconds: u64) -> usize {
    if microseconds < 4 {
        return usize::from((microseconds & 3) as u8);
    }
    let highest = microseconds.ilog2();
    let behind = microseconds >> (highest - 2) & 3;
    (4 * (highest as usize - 1) + usize::from(behind as u8)).min(BUCKETS - 1)
}

/// The middle of a bucket, in seconds.
#[allow(clippy::cast_precision_loss, reason = "below 2^53")]
fn middle(index: usize) -> f64 {
    let lowest = |index: usize| match index {
        0..4 => index as u64,
        _ => (4 + (index as u64 & 3)) << (index / 4 - 1),
    };
    match index {
        0..4 => index as f64 / 1e6,
        _ => (lowest(index) + lowest(index + 1)) as f64 / 2e6,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, with_local_recorder,
    };

    use super::*;

    /// Keeps what it is told, by name and labels.
    #[derive(Default)]
    struct Notebook(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

    struct Line(String, Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

    impl Line {
        fn note(&self, value: f64) {
            self.1.lock().entry(self.0.clone()).or_default().push(value);
        }
    }

    impl CounterFn for Line {
        fn increment(&self, _: u64) {
            panic!("totals are told, no steps");
        }
        fn absolute(&self, value: u64) {
            self.note(f64::from(u32::try_from(value).expect("small")));
        }
    }

    impl GaugeFn for Line {
        fn increment(&self, _: f64) {
            panic!("values are told, no steps");
        }
        fn decrement(&self, _: f64) {
            panic!("values are told, no steps");
        }
        fn set(&self, value: f64) {
            self.note(value);
        }
    }

    impl HistogramFn for Line {
        fn record(&self, value: f64) {
            self.note(value);
        }
    }

    impl Notebook {
        fn line(&self, key: &Key) -> Arc<Line> {
            let labels: Vec<String> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(Line(format!("{} {}", key.name(), labels.join(" ")), self.0.clone()))
        }
    }

    impl Recorder for Notebook {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.line(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.line(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.line(key))
        }
    }

    #[test]
    fn every_figure_is_handed_over_under_its_name() {
        let (notebook, meter) = (Notebook::default(), Meter::new("shop"));
        let mut stats = Stats { lent: 3, idle: 2, cleaning: 1, limit: 10, waiting: 4, ..Stats::default() };
        (stats.timeouts, stats.lends) = (7, 5);
        meter.create.count(Duration::from_millis(16));
        meter.wait.count(Duration::from_micros(3));
        meter.wait.count(Duration::ZERO);
        meter.used(Mark::now());
        let start = Instant::now();
        let next = with_local_recorder(&notebook, || meter.hand_over(start, 1, || stats));
        assert_eq!(next, Some(start + EVERY));
        let told = std::mem::take(&mut *notebook.0.lock());
        let told = |name: &str| told.get(&format!("{name} db.client.connection.pool.name=shop")).cloned();
        let name = |name: &str| format!("db.client.connection.{name}");
        assert_eq!(told(&name("idle.max")), Some(vec![10.0]));
        assert_eq!(told(&name("idle.min")), Some(vec![1.0]));
        assert_eq!(told(&name("max")), Some(vec![10.0]));
        assert_eq!(told(&name("pending_requests")), Some(vec![4.0]));
        assert_eq!(told(&name("timeouts")), Some(vec![7.0]));
        let mut waited = told(&name("wait_time")).expect("told");
        waited.sort_by(f64::total_cmp);
        assert_eq!(waited, [0.0, 0.0, 0.0, 0.0, 3e-6], "three did not wait, and one not for long");
        let created = told(&name("create_time")).expect("told");
        assert!(created.len() == 1 && (created[0] - 0.016).abs() < 0.002, "{created:?}");
        let used = told(&name("use_time")).expect("told");
        assert!(used.len() == 1 && used[0] < 10.0, "{used:?}");
    }

    #[test]
    fn the_states_are_told_apart_and_nothing_is_told_twice() {
        let (notebook, meter) = (Notebook::default(), Meter::new("shop"));
        let stats = Stats { lent: 3, idle: 2, cleaning: 1, lends: 4, ..Stats::default() };
        let start = Instant::now();
        with_local_recorder(&notebook, || {
            meter.hand_over(start, 0, || stats);
            assert_eq!(meter.hand_over(start + EVERY / 2, 0, || stats), Some(start + EVERY), "too early");
            meter.hand_over(start + EVERY, 0, || Stats { idle: 5, ..stats });
        });
        let told = notebook.0.lock();
        let count = |state: &str| {
            let labels = format!("db.client.connection.pool.name=shop db.client.connection.state={state}");
            told[&format!("db.client.connection.count {labels}")].clone()
        };
        let page = include_str!("../../docs/operating.md");
        for line in told.keys() {
            let name = line.split(' ').next().expect("it has one");
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not on the page for operators");
        }
        assert_eq!((count("idle"), count("used")), (vec![2.0, 5.0], vec![4.0, 4.0]));
        let waits = &told["db.client.connection.wait_time db.client.connection.pool.name=shop"];
        assert_eq!(waits.len(), 4, "each lend once");
    }

    #[test]
    fn a_bucket_holds_what_is_near_its_middle() {
        let mut last = 0;
        for microseconds in (0..5000).chain((13..40).map(|power| 3 << (power - 2))) {
            let index = bucket(microseconds);
            assert!(index >= last && index < BUCKETS, "{microseconds}");
            last = index;
            let (middle, value) = (middle(index), microseconds as f64 / 1e6);
            assert!((middle - value).abs() <= value * 0.1251, "{microseconds}: {middle}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_coarse_clock_goes_forward() {
        let (mark, start) = (Mark::now(), Instant::now());
        while Mark::now().since(mark).is_zero() {
            assert!(start.elapsed() < Duration::from_secs(10), "it stands still");
        }
        assert!(mark.since(Mark::now()).is_zero(), "never negative");
    }
}
