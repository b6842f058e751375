//! What the compiler says about wrong uses of the macros, word for word.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test --test ui`, and read the difference. The messages hold
//! for the toolchain that the workspace names as its minimum.

#[test]
fn mistakes_are_refused_with_one_clear_message() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
