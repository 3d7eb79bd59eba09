#![no_main]
//! What the service may answer.

libfuzzer_sys::fuzz_target!(|data: &[u8]| deploywatch::aws::fuzzing::answer(data));
