//! The server is restarted in the middle of a run: how long until all is as it was before?

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::measure::{Cost, Window};
use crate::workload::Load;
use crate::{Result, process, session};

/// What a child says when it wants the server to be restarted.
pub const REQUEST: &str = "restart";

/// What became of a run after the server was restarted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// For how long the server took no connections.
    pub down_s: f64,
    /// From when it took connections again until the throughput was 90 % of that before. Null: it never was.
    pub back_s: Option<f64>,
}

/// What counts as back.
const SHARE: f64 = 0.9;

/// The throughput is looked at so often, and is that of the last so many looks. A system that is back at once shows so
/// after a quarter of a second.
const LOOK: Duration = Duration::from_millis(25);
const LOOKS: usize = 10;

/// Nobody needs so long to stop and start a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the window pass, then has the server restarted and waits until all is as before. What counts is what was before.
pub fn watch(load: &Load, window: &Window) -> Result<(Cost, Recovery)> {
    let progress = window.progress().ok_or("nobody counts the operations as they come")?;
    let mut witness = session::log_in(&load.url)?;
    window.warm_up();
    let (begun, before, done) = (Instant::now(), process::cpu_time()?, progress.total());
    window.begin();
    thread::sleep(window.length());
    let cost = Cost { wall: begun.elapsed(), cpu: process::cpu_time()? - before };
    let usual = (progress.total() - done) as f64 / cost.wall.as_secs_f64();
    window.pause();

    println!("{REQUEST}");
    std::io::stdout().flush()?;
    let deadline = Instant::now() + PATIENCE;
    wait_for_end(&mut witness, deadline)?;
    let down = Instant::now();
    while session::log_in(&load.url).is_err() {
        if Instant::now() > deadline {
            return Err("the server is away for good".into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let up = Instant::now();
    let limit = Duration::from_secs_f64((load.seconds * 4.0).clamp(2.0, 10.0));
    let mut looks = vec![(up, progress.total())];
    let mut back = None;
    while back.is_none() && up.elapsed() < limit {
        thread::sleep(LOOK);
        looks.push((Instant::now(), progress.total()));
        let (now, total) = looks[looks.len() - 1];
        if let Some((then, earlier)) = looks.len().checked_sub(1 + LOOKS).map(|at| looks[at]) {
            let speed = (total - earlier) as f64 / (now - then).as_secs_f64();
            back = (speed >= usual * SHARE).then(|| now - up);
        }
    }
    window.end();
    let recovery =
        Recovery { down_s: (up - down).as_secs_f64(), back_s: back.map(|back| back.as_secs_f64()) };
    Ok((cost, recovery))
}

/// Waits until the server has ended this session.
fn wait_for_end(witness: &mut TcpStream, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    witness.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    let mut rest = Vec::new();
    match std::io::Read::read_to_end(witness, &mut rest) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Err("nobody has restarted the server".into())
        }
        // Closed, in good order or not.
        _ => Ok(()),
    }
}
