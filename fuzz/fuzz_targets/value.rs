//! Any bytes to `hostile::value`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::value(data));
