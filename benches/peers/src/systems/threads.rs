//! Plain threads. All peers that block are measured by this code.

use std::thread;

use crate::Result;
use crate::measure::{Crew, Failure, REST, Tally};
use crate::workload::Load;

/// Runs each piece of work in a thread of its own and prints what came of it.
pub fn measure<W: FnOnce(&mut Tally) + Send + 'static>(
    name: &str,
    load: &Load,
    works: impl IntoIterator<Item = W>,
) -> Result<()> {
    let mut crew = Crew::new(name, load);
    for work in works {
        let (mut tally, end) = crew.member();
        thread::spawn(move || {
            work(&mut tally);
            end.hand_in(tally);
        });
    }
    crew.report()?.print()
}

/// Asks for rows until the time is over.
pub fn ask_for_rows<E: Into<Failure>>(
    tally: &mut Tally,
    selects: usize,
    mut ask: impl FnMut(i32) -> std::result::Result<(i32, i32), E>,
) {
    let mut first = tally.first_of(selects);
    while tally.goes_on() {
        let mut right = true;
        for _ in std::mem::take(&mut first)..selects {
            let id = tally.id();
            right = tally.is_right(id, ask(id));
            if !right {
                break;
            }
        }
        if right {
            tally.done();
        } else {
            thread::sleep(REST);
        }
    }
}
