//! Whatever a server sends, in whatever pieces: replies or an error, no panic, bounded memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maypole::__fuzzing::session(data));
