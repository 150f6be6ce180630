//! Conditions of rules, compiled and evaluated.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| donjon_expr::fuzzing::condition(data));
