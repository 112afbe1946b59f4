//! Secrets that cannot be printed. Knows no cipher: sealing lives in `registry::seal`.
use std::fmt;

/// A clear signing secret. Lives only in memory and only while a request is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the clear text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The clear text, for the signer and the sealer alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A secret as it may be stored: sealed with the master key (`sealed:v1:<base64>`), or, only when
/// `secrets.insecure_plaintext` is set, clear.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(String);

impl SealedSecret {
    /// Wraps text that is already fit to be stored.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The stored text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret(***)")
    }
}
