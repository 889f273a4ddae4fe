//! `viaduct_fuzz::engine` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| viaduct_fuzz::engine::run(bytes));
