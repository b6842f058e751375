//! Whatever a connection string says: a configuration or an error that does not quote it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maypole::__fuzzing::conninfo(data));
