//! A test that hangs must not hang the build. Uses: nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Hook = Box<dyn FnOnce() -> String + Send>;

#[derive(Default)]
struct State {
    over: bool,
    hooks: Vec<(String, Hook)>,
}

/// Aborts the test binary with a dump unless it is dropped in time.
#[must_use = "the watchdog watches as long as its guard lives"]
pub(crate) struct Watchdog {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a plain thread that aborts the process after `limit`, unless the guard is dropped before.
///
/// A plain thread, because a test of green threads may hang with all of them blocked.
pub(crate) fn watchdog(limit: Duration) -> Watchdog {
    let name = thread::current().name().unwrap_or("a test without name").to_owned();
    let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
    let seen = Arc::clone(&shared);
    let thread = thread::Builder::new()
        .name(format!("watchdog of {name}"))
        .spawn(move || watch(&name, limit, &seen))
        .expect("a test can start a thread");
    Watchdog { shared, thread: Some(thread) }
}

impl Watchdog {
    /// Adds something to the dump. The hook may find its locks taken for ever; it is given one second.
    pub(crate) fn on_dump(&self, what: &str, hook: impl FnOnce() -> String + Send + 'static) {
        let mut state = self.shared.0.lock().expect("no holder panics");
        state.hooks.push((what.to_owned(), Box::new(hook)));
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.0.lock().expect("no holder panics").over = true;
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(name: &str, limit: Duration, shared: &(Mutex<State>, Condvar)) {
    let start = Instant::now();
    let mut state = shared.0.lock().expect("no holder panics");
    while !state.over {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            let hooks = std::mem::take(&mut state.hooks);
            drop(state);
            print(&format!("\nwatchdog: {name} is not over after {:?} (limit {limit:?})\n", start.elapsed()));
            for (what, hook) in hooks {
                let mut part = format!("--- {what}\n");
                let _ = writeln!(part, "{}", answer_of(hook));
                print(&part);
            }
            print("watchdog: aborting\n");
            std::process::abort();
        }
        state = shared.1.wait_timeout(state, left).expect("no holder panics").0;
    }
}

fn answer_of(hook: Hook) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(hook()));
    match receiver.recv_timeout(Duration::from_secs(1)) {
        Ok(text) => text,
        Err(_) => "(no answer: the hook panicked, or waits for a lock)".to_owned(),
    }
}

/// Past the test runner's capture, which would be lost with the process.
fn print(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
