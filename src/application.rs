//! Pools by the name of a setting, made on first use. Uses: config, coro, embedded, error, pool, promise, settings.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::Mutex;

use crate::config::Config;
use crate::coro::Waiter;
use crate::error::{Error, Phase, Result};
use crate::pool::{Pool, PoolBuilder};
use crate::promise::{Promise, Waited, promise};
use crate::settings::Settings;

/// The pools of this process: databases of the same name share one.
static SOURCES: Mutex<BTreeMap<&'static str, Arc<Source>>> = Mutex::new(BTreeMap::new());

/// A pool that is made when it is first asked for.
///
/// The work is done by one plain thread while the callers wait: an initialiser that parks inside a `OnceLock` would block
/// the others' workers for good (rule M27). A failure is reported to those who wait and not remembered.
pub(crate) struct Source {
    name: &'static str,
    pool: OnceLock<Pool>,
    waiting: Mutex<Vec<Promise<Result<()>>>>,
}

/// The source for the setting with this name.
pub(crate) fn source(name: &'static str) -> Arc<Source> {
    let new = || Arc::new(Source { name, pool: OnceLock::new(), waiting: Mutex::default() });
    SOURCES.lock().entry(name).or_insert_with(new).clone()
}

impl Source {
    /// A source whose pool is there already.
    pub(crate) fn ready(pool: Pool) -> Arc<Source> {
        Arc::new(Source { name: "", pool: OnceLock::from(pool), waiting: Mutex::default() })
    }

    pub(crate) fn pool(self: &Arc<Source>) -> Result<&Pool> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        self.start(|builder| builder, false)
    }

    /// Makes the pool with what the settings say, changed by the program.
    pub(crate) fn configure(
        self: &Arc<Source>,
        change: impl FnOnce(PoolBuilder) -> PoolBuilder + Send + 'static,
    ) -> Result<&Pool> {
        self.start(change, true)
    }

    /// The pool, made with this change if nobody was faster; if that `matters`, it is an error that somebody was.
    fn start(
        self: &Arc<Source>,
        change: impl FnOnce(PoolBuilder) -> PoolBuilder + Send + 'static,
        matters: bool,
    ) -> Result<&Pool> {
        let mut change = Some(change);
        let too_late = || {
            let name = self.name;
            let message =
                format!("the pool of {name:?} has been started already: configure it before its first use");
            Error::usage(message)
        };
        loop {
            if let Some(pool) = self.pool.get() {
                return if matters && change.is_some() { Err(too_late()) } else { Ok(pool) };
            }
            let claim = {
                let mut waiting = self.waiting.lock();
                // Made between the look above and the lock.
                if self.pool.get().is_some() {
                    continue;
                }
                if matters && !waiting.is_empty() {
                    return Err(too_late());
                }
                let (promise, claim) = promise();
                waiting.push(promise);
                if waiting.len() == 1
                    && let Some(change) = change.take()
                {
                    let starter = Starter { source: self.clone(), told: false };
                    // If no thread can be started the starter is dropped, which takes the lock: not under it.
                    drop(waiting);
                    thread::Builder::new()
                        .name(format!("maypole start {}", self.name))
                        .spawn(move || starter.start(change))
                        .map_err(|error| Error::pool("no thread could be started").caused_by(error))?;
                }
                claim
            };
            match claim.wait() {
                Waited::Value(result) => result?,
                Waited::Overdue => return Err(Error::pool("the start of the pool was given up")),
            }
        }
    }
}

/// Makes the pool, and tells those who wait, even if it panics.
struct Starter {
    source: Arc<Source>,
    /// Whoever waits from now on waits for another starter.
    told: bool,
}

impl Starter {
    fn start(mut self, change: impl FnOnce(PoolBuilder) -> PoolBuilder) {
        match make(self.source.name, change) {
            Ok(pool) => {
                // Only one starter at a time: whoever waits, waits for it.
                let _ = self.source.pool.set(pool);
                self.tell(&Ok(()));
            }
            Err(error) => self.tell(&Err(error)),
        }
    }

    fn tell(&mut self, result: &Result<()>) {
        self.told = true;
        let waiting = std::mem::take(&mut *self.source.waiting.lock());
        for promise in waiting {
            let result = result.as_ref().copied().map_err(Error::duplicate);
            promise.keep(result).inspect(Waiter::wake);
        }
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        if !self.told {
            let outcome = crate::error::Outcome::NotSent;
            self.tell(&Err(Error::timeout(Phase::Start, None, "the starting thread panicked", outcome)));
        }
    }
}

fn make(name: &str, change: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Result<Pool> {
    let builder = Settings::find()?.pool(name, embedded)?;
    change(builder).build()
}

/// Starts the embedded server, which lives as long as the pool.
#[cfg(feature = "embedded")]
fn embedded(builder: PoolBuilder) -> Result<(PoolBuilder, Config)> {
    let server = crate::embedded::Server::start()?;
    let config = server.url().parse()?;
    Ok((builder.keep(server), config))
}

#[cfg(not(feature = "embedded"))]
fn embedded(_: PoolBuilder) -> Result<(PoolBuilder, Config)> {
    Err(Error::config(
        "\"embedded\" needs the feature `embedded` of maypole, which this program is built without",
    ))
}
