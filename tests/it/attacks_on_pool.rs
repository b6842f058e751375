//! What was tried to make the pool lose a slot, lend twice, kill what is used, or say what is not so.

mod commands;
mod leases;
mod lives;
mod sessions;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use maypole::{Database, Lease, SessionReset, spawn};

use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::rest::rest;
use crate::support::server::server;

const TINY: Duration = Duration::from_millis(120);

fn lazy(limit: usize) -> TestPool {
    TestPool::built(&server().url(), |builder| {
        builder.limit(limit).session_reset(SessionReset::Lazy).acquire_timeout(Duration::from_secs(30))
    })
}

#[allow(unconditional_recursion, reason = "on purpose")]
fn deeper(depth: &mut [u8; 512]) -> u8 {
    let mut frame = std::hint::black_box([1_u8; 512]);
    frame[0] = depth[0];
    deeper(std::hint::black_box(&mut frame)).wrapping_add(frame[1])
}

fn eventually_in_coroutine(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10));
        rest(Duration::from_millis(5));
    }
}
