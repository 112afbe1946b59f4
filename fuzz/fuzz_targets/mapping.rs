//! Any bytes to `hostile::mapping`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::mapping(data));
