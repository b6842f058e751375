//! The test kit tested: a check that can't fail is worth nothing, so each is shown to fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

mod proxy;
mod responder;
mod script;
mod small;

/// What the closure panics with.
#[track_caller]
fn failure_of(should_fail: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(should_fail)).expect_err("this should have failed");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map(|text| text.to_string()).unwrap_or_default(),
    }
}
