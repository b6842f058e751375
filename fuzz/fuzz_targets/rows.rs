//! Whatever a DataRow holds: values or an error, no panic, and it prints.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maypole::__fuzzing::rows(data));
