//! What a recorder of the `metrics` facade hears of a pool. A process of its own, because a recorder is one for all; it is
//! installed after the pool was made, as programs do.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use maypole::spawn;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use support::eventually::eventually;
use support::pool::TestPool;
use support::server::server;

/// All that was told, by name and state.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

/// One figure of it.
struct Line(String, Notebook);

impl Notebook {
    /// The name, and the state if there is one; figures of other pools are not noted.
    fn line(&self, key: &Key) -> Option<Arc<Line>> {
        let label =
            |name: &str| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
        label("db.client.connection.pool.name").filter(|pool| pool == "measured")?;
        let short = key.name().trim_start_matches("db.client.connection.");
        let state = label("db.client.connection.state").unwrap_or_default();
        Some(Arc::new(Line(format!("{short} {state}").trim().to_owned(), self.clone())))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.0.lock().expect("no holder panics").get(name).cloned().unwrap_or_default()
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.values(name).last().copied()
    }
}

impl Line {
    fn note(&self, value: f64) {
        self.1.0.lock().expect("no holder panics").entry(self.0.clone()).or_default().push(value);
    }
}

impl CounterFn for Line {
    fn increment(&self, _: u64) {}
    fn absolute(&self, value: u64) {
        self.note(u32::try_from(value).expect("small").into());
    }
}

impl GaugeFn for Line {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.note(value);
    }
}

impl HistogramFn for Line {
    fn record(&self, value: f64) {
        self.note(value);
    }
}

impl Recorder for Notebook {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.line(key).map_or(Counter::noop(), Counter::from_arc)
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.line(key).map_or(Gauge::noop(), Gauge::from_arc)
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.line(key).map_or(Histogram::noop(), Histogram::from_arc)
    }
}

#[test]
fn a_recorder_hears_where_the_connections_are_and_how_long_all_took() {
    let test = TestPool::built(&server().url(), |builder| builder.name("measured").limit(2));
    assert_eq!(test.pool.name(), "measured");
    let notebook = Notebook::default();
    assert!(metrics::set_global_recorder(notebook.clone()).is_ok(), "the first recorder");

    let held = [test.pool.connection().expect("lent"), test.pool.connection().expect("lent")];
    assert!(
        test.pool.connection_within(Duration::from_millis(20)).map(drop).expect_err("all lent").is_timeout()
    );
    let pool = test.pool.clone();
    let waiter = spawn(move || pool.connection().map(drop));
    eventually("the gauges say who holds and who waits", || {
        notebook.last("count used") == Some(2.0) && notebook.last("pending_requests") == Some(1.0)
    });
    assert_eq!(notebook.last("max"), Some(2.0));
    assert_eq!(notebook.last("idle.min"), Some(0.0));
    assert_eq!(notebook.last("timeouts"), Some(1.0));
    drop(held);
    waiter.join().expect("no panic").expect("lent");
    // A statement without a lease of the caller's own.
    for _ in 0..3 {
        test.db.query("SELECT 1", ()).value::<i32>().expect("an answer");
    }
    eventually("all is handed over", || {
        let stats = test.pool.stats();
        let told = |name: &str| notebook.values(name).len() as u64;
        told("use_time") == stats.lends
            && told("wait_time") == stats.lends
            && told("create_time") == stats.opened
    });
    eventually("nobody holds one", || {
        (notebook.last("count used"), notebook.last("count idle")) == (Some(0.0), Some(2.0))
    });
    assert!(notebook.values("create_time").iter().all(|seconds| *seconds > 0.0 && *seconds < 60.0));
    // Three had to wait: the first two for the opening of theirs.
    let waited = notebook.values("wait_time").iter().filter(|seconds| **seconds > 0.0).count();
    assert_eq!(waited, 3);
    let longest = notebook.values("use_time").into_iter().fold(0.0, f64::max);
    assert!(longest >= 0.008, "two were held for 20 ms at least, by a coarse clock: {longest}");
    test.finish();
}
