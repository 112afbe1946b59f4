//! Any bytes to `hostile::expression`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::expression(data));
