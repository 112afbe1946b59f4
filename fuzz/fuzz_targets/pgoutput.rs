//! Any bytes to `hostile::pgoutput`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tailhook::hostile::pgoutput(data));
