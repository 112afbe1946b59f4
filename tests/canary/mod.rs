//! Looks for a credential in bytes that must not hold it: as it is, in base64 (both alphabets, at each of the three places at
//! which it may begin in a group) and in hex (both cases). Must not depend on what the bytes are.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One credential in all its forms.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    text: String,
    forms: BTreeSet<Vec<u8>>,
}

impl Canary {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut forms = BTreeSet::from([bytes.to_vec()]);
        for skipped in 0..3 {
            // whole groups alone: what stands before and after changes the others
            let groups = &bytes[skipped..][..(bytes.len() - skipped) / 3 * 3];
            forms.insert(STANDARD_NO_PAD.encode(groups).into_bytes());
            forms.insert(URL_SAFE_NO_PAD.encode(groups).into_bytes());
        }
        let hex = hex(bytes);
        forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
        assert!(forms.iter().all(|form| form.len() >= 12), "too short to be told from chance");
        Self { text: text.to_owned(), forms }
    }
    /// The form in which it was found.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Option<String> {
        let mut forms = self.forms.iter();
        let form = forms.find(|form| bytes.windows(form.len()).any(|part| part == form.as_slice()))?;
        Some(format!("{} as {}", self.text, String::from_utf8_lossy(form)))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Where any of them was found in a text.
pub(crate) fn in_text(canaries: &[Canary], place: &str, text: &str) -> Vec<String> {
    in_bytes(canaries, place, text.as_bytes())
}

/// The same in bytes.
pub(crate) fn in_bytes(canaries: &[Canary], place: &str, bytes: &[u8]) -> Vec<String> {
    canaries.iter().filter_map(|canary| Some(format!("{place}: {}", canary.found_in(bytes)?))).collect()
}

/// The same in every file below a folder.
pub(crate) fn in_folder(canaries: &[Canary], folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(in_folder(canaries, &path));
        } else {
            found.extend(in_bytes(canaries, &path.display().to_string(), &fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_canary_is_found_in_every_form_at_every_place() {
    let text = "canary-header-??>>-0001";
    let canary = Canary::new(text);
    for before in 0..7 {
        let around = format!("{}{text}and more", "x".repeat(before));
        let hex = hex(around.as_bytes());
        let (standard, url_safe) = (STANDARD_NO_PAD.encode(&around), URL_SAFE_NO_PAD.encode(&around));
        for form in [around.clone(), standard, url_safe, hex.to_uppercase(), hex] {
            assert!(canary.found_in(form.as_bytes()).is_some(), "{before} before: {form}");
        }
    }
    assert_eq!(canary.found_in(b"canary-header-another"), None);
    assert_eq!(canary.found_in(b""), None);
}
