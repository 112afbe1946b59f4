//! Any bytes to `hostile::replication`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::replication(data));
