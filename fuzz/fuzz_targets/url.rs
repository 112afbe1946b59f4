//! Any bytes to `hostile::url`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::url(data));
