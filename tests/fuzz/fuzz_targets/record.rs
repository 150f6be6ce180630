//! Records of derived state under a checksum that fits.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| donjon_store::fuzzing::record(data));
