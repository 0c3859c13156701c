//! libFuzzer's program for `patchwave_tests::fuzzing::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| patchwave_tests::fuzzing::policy(data));
