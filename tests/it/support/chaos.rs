//! Cancels random coroutines at random moments. Uses: random.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use maypole::JoinHandle;

use super::random::Random;

/// Cancels a coroutine at its next wait, as the user of a library may do at any time.
#[allow(unsafe_code)]
pub(crate) fn cancel<T>(handle: &JoinHandle<T>) {
    // SAFETY: may asks that the destructors of what the coroutine holds can stand it: that is what is tested.
    unsafe { handle.coroutine().cancel() }
}

/// The victims: coroutines that may be cancelled at any moment.
#[derive(Clone, Default)]
pub(crate) struct Chaos {
    victims: Arc<Mutex<Vec<may::coroutine::Coroutine>>>,
    over: Arc<AtomicBool>,
}

impl Chaos {
    /// Adds a victim.
    pub(crate) fn expose<T>(&self, handle: &JoinHandle<T>) {
        self.victims.lock().expect("no holder panics").push(handle.coroutine().clone());
    }

    /// Cancels a victim, whichever, which is none from then on; whether there was one.
    #[allow(unsafe_code)]
    pub(crate) fn cancel_one(&self, random: &mut Random) -> bool {
        let victim = {
            let mut victims = self.victims.lock().expect("no holder panics");
            if victims.is_empty() {
                return false;
            }
            let at = random.below(victims.len());
            victims.swap_remove(at)
        };
        // SAFETY: see `cancel`.
        unsafe { victim.cancel() };
        true
    }

    /// Starts a plain thread that cancels one victim after another, at random moments, until `stop`. Returns how many
    /// it has cancelled.
    ///
    /// It cancels no more often than `progress` grows: on a busy machine cancels and new victims would otherwise be all
    /// that may's workers do, and they look at sockets only when nothing else is runnable.
    pub(crate) fn start(
        &self,
        mut random: Random,
        progress: impl Fn() -> usize + Send + 'static,
    ) -> thread::JoinHandle<usize> {
        let this = self.clone();
        thread::spawn(move || {
            let mut cancelled = 0;
            while !this.over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(random.next() % 300));
                if cancelled <= progress() && this.cancel_one(&mut random) {
                    cancelled += 1;
                }
            }
            cancelled
        })
    }

    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
