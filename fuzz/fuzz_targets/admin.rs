//! Any bytes to `hostile::admin`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::admin(data));
