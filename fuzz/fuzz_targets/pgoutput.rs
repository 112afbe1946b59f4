#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = tailhook::capture::pgoutput::decode(bytes_of(data));
});
fn bytes_of(d: &[u8]) -> bytes::Bytes { bytes::Bytes::copy_from_slice(d) }
