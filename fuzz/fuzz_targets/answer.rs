//! Any bytes to `hostile::answer`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::answer(data));
