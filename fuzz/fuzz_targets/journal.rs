//! Any bytes to `hostile::journal`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::journal(data));
