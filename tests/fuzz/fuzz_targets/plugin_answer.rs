//! What plugins hand back, before anybody believes it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    donjon_runtime::fuzzing::plugin_answer(data);
});
