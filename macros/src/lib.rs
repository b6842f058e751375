//! The macros of [maypole](https://docs.rs/maypole). Use them through that crate.
