//! Any bytes to `hostile::signature`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::signature(data));
