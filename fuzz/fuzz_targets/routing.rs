#![no_main]
//! Run with `cargo +nightly fuzz run routing -- -max_total_time=600`.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cluster_core::fuzzing::routing(bytes));
