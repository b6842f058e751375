//! What this process has used.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::Result;

/// User and system time of all its threads.
pub fn cpu_time() -> Result<Duration> {
    cpu_time_of(UsageWho::RUSAGE_SELF)
}

/// User and system time of the programs that it has run and waited for.
pub fn children_cpu_time() -> Result<Duration> {
    cpu_time_of(UsageWho::RUSAGE_CHILDREN)
}

/// The most memory that one of these has ever had resident, in bytes.
pub fn children_peak_bytes() -> Result<u64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss().unsigned_abs() * 1024)
}

fn cpu_time_of(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// The most memory it has ever had resident, in bytes.
pub fn peak_bytes() -> Result<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Forgets the most it has ever had: from now on it is what it has now (Linux, proc(5), "clear_refs").
pub fn forget_peak() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// The memory it has resident now, in bytes. Exact, unlike `VmRSS`, which each thread counts for itself first.
pub fn resident_bytes() -> Result<u64> {
    kilobytes("/proc/self/smaps_rollup", "Rss:")
}

fn kilobytes(file: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB"));
    let number: u64 = value.ok_or_else(|| format!("{file} has no {key}"))?.trim().parse()?;
    Ok(number * 1024)
}
