//! Any bytes to `hostile::shadow`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::shadow(data));
