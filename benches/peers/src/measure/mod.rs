//! Counting operations and their latencies, and what they cost.

mod crew;
mod histogram;
mod kinds;
mod open_loop;
mod pieces;
mod progress;
mod tally;
mod window;

pub use crew::Crew;
pub use histogram::Histogram;
pub use kinds::Kinds;
pub use open_loop::{Arrival, CARRIED_WITHIN, Next, OpenLoop, SLOW_ONE_OF};
pub use pieces::{Sum, checked_pieces, pieces};
pub use progress::Progress;
pub use tally::{REST, Tally};
pub use window::{Cost, Window};

/// What an operation may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
