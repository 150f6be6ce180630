//! Blocks of the journal under a checksum that fits.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| donjon_store::fuzzing::journal_block(data));
