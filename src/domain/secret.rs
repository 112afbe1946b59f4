//! Credentials that cannot be printed. Must not depend on a cipher: sealing lives in `registry::seal`.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A clear credential: a signing secret or a header's value. Lives only in memory and only while a request is made.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the clear text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The clear text, for the signer, the request and the sealer alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A credential as it may be stored: a signing secret or a header's value, sealed with the master key for its subscription
/// and its field (`sealed:v2:<base64>`). Clear only with `secrets.insecure_plaintext`, and in what an earlier version wrote.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps text that is already fit to be stored.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The stored text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_prints_what_it_holds() {
        let text = format!("{:?} {:?}", Secret::new("hunter2"), Sealed::new("hunter2"));
        assert_eq!(text, "Secret(***) Sealed(***)");
        assert_eq!(serde_json::to_string(&Sealed::new("sealed:v2:AA")).unwrap(), "\"sealed:v2:AA\"");
    }
}
