//! Any bytes to `hostile::payload`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::payload(data));
