//! Tasks of tokio, on two worker threads. All peers that run on tokio are measured by this code.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::Result;
use crate::measure::{Crew, Failure, REST, Tally};
use crate::workload::Load;

pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Runs the work in each task and prints what came of it.
pub fn measure<F>(name: &str, load: &Load, runtime: &Runtime, work: impl Fn(Tally) -> F) -> Result<()>
where
    F: Future<Output = Tally> + Send + 'static,
{
    let mut crew = Crew::new(name, load);
    for _ in 0..load.tasks {
        let (tally, end) = crew.member();
        let work = work(tally);
        runtime.spawn(async move { end.hand_in(work.await) });
    }
    crew.report()?.print()
}

/// Something that can be asked for a row.
pub trait Peer: Send + Sync + 'static {
    type Error: Into<Failure> + Send;

    fn ask(&self, id: i32) -> impl Future<Output = std::result::Result<(i32, i32), Self::Error>> + Send;
}

/// Has the tasks ask for rows, and prints what came of it. Of several peers, each task has one.
pub fn select<P: Peer>(name: &str, load: &Load, runtime: &Runtime, peers: Vec<P>) -> Result<()> {
    let peers: Vec<Arc<P>> = peers.into_iter().map(Arc::new).collect();
    let selects = load.selects();
    let turn = std::cell::Cell::new(0);
    measure(name, load, runtime, |tally| {
        let peer = peers[turn.replace(turn.get() + 1) % peers.len()].clone();
        ask_for_rows(peer, tally, selects)
    })
}

async fn ask_for_rows<P: Peer>(peer: Arc<P>, mut tally: Tally, selects: usize) -> Tally {
    let mut first = tally.first_of(selects);
    while tally.goes_on() {
        let mut right = true;
        for _ in std::mem::take(&mut first)..selects {
            let id = tally.id();
            let answer = peer.ask(id).await;
            right = tally.is_right(id, answer);
            if !right {
                break;
            }
        }
        if right {
            tally.done();
        } else {
            sleep(REST).await;
        }
    }
    tally
}
