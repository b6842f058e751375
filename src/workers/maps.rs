//! Whether the process has enough memory maps for so many stacks (rule M22). Uses: error.

use std::fs;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Set;
use crate::error::{Error, Result};

/// A stack, and the inaccessible page that guards it.
const MAPS_OF_A_STACK: usize = 2;

/// What is left to the rest of the program: its own allocations, files and threads, and the drivers of connections.
const RESERVE: usize = 1024;

/// The sets of this process, for the places that were promised and are not taken yet.
static SETS: Mutex<Vec<Weak<Set>>> = Mutex::new(Vec::new());

/// Promises this set the maps for all of its places.
pub(super) fn reserve(set: &Arc<Set>) -> Result<()> {
    let mut sets = SETS.lock();
    let others: Vec<Arc<Set>> = sets.iter().filter_map(Weak::upgrade).collect();
    sets.retain(|other| other.strong_count() > 0);
    if let Some((limit, in_use)) = measure() {
        // The maps of those at work are in use already.
        let free = |set: &Arc<Set>| set.limit.saturating_sub(set.state.lock().live);
        let promised: usize = others.iter().map(free).sum();
        check(limit, in_use, promised, set.limit).map_err(Error::config)?;
    }
    sets.push(Arc::downgrade(set));
    Ok(())
}

/// How many maps the process may have, and has; `None` where the system does not tell.
fn measure() -> Option<(usize, usize)> {
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    let maps = fs::read("/proc/self/maps").ok()?;
    Some((limit, maps.iter().filter(|byte| **byte == b'\n').count()))
}

fn check(limit: usize, in_use: usize, promised: usize, wanted: usize) -> std::result::Result<(), String> {
    let stacks = promised.saturating_add(wanted).saturating_mul(MAPS_OF_A_STACK);
    let needed = stacks.saturating_add(in_use).saturating_add(RESERVE);
    if needed <= limit {
        return Ok(());
    }
    let room = (limit.saturating_sub(in_use + RESERVE) / MAPS_OF_A_STACK).saturating_sub(promised);
    Err(format!(
        "{wanted} workers need {} memory maps, two for each stack, and the system allows this process {limit}, of \
         which {in_use} are in use, {} are promised to other workers and {RESERVE} are kept for the rest of the \
         program: raise the limit with `sysctl -w vm.max_map_count={needed}`, or have at most {room} workers",
        wanted.saturating_mul(MAPS_OF_A_STACK),
        promised.saturating_mul(MAPS_OF_A_STACK),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_stacks_fit_as_the_error_says_and_not_one_more() {
        let refused = check(65_530, 200, 1000, 40_000).expect_err("too many");
        assert!(refused.contains("40000 workers need 80000 memory maps"), "{refused}");
        assert!(refused.contains("sysctl -w vm.max_map_count=83224"), "{refused}");
        assert!(refused.contains("at most 31153 workers"), "{refused}");
        check(65_530, 200, 1000, 31_153).expect("they fit");
        check(65_530, 200, 1000, 31_154).expect_err("one more");
        check(83_224, 200, 1000, 40_000).expect("as the error says");
    }

    #[test]
    fn a_full_process_and_an_absurd_number_are_refused() {
        assert!(check(100, 200, 0, 1).expect_err("full").contains("at most 0 workers"));
        assert!(check(65_530, 200, usize::MAX, usize::MAX).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_both_numbers() {
        let (limit, in_use) = measure().expect("it tells");
        assert!(in_use > 10 && in_use < limit, "{in_use} of {limit}");
    }
}
