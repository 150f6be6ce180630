//! Bodies of senders: every provider's shape, lists, lines, compressed or not.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| donjon::fuzzing::ingest_body(data));
