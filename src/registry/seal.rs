//! Seals secrets with the master key (XChaCha20-Poly1305). Knows neither rows nor requests.
use crate::domain::{SealedSecret, Secret};

/// Why a secret could not be opened.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Sealed with another key, or damaged.
    #[error("a secret cannot be opened with this master key")]
    WrongKey,
    /// Not of the form `sealed:v1:…`.
    #[error("a sealed secret is malformed")]
    Malformed,
    /// The key is not 32 bytes of base64.
    #[error("the master key must be 32 bytes, base64")]
    BadKey,
}

/// Seals and opens. `Clear` only with `secrets.insecure_plaintext`.
#[derive(Clone)]
pub struct Sealer {}

impl Sealer {
    /// From the text of `secrets.master_key_file` or `TAILHOOK_MASTER_KEY`.
    pub fn from_base64(_text: &str) -> Result<Self, SealError> {
        unimplemented!()
    }
    /// Without sealing: `secrets.insecure_plaintext`.
    pub fn plaintext() -> Self {
        unimplemented!()
    }
    /// Seals; `nonce` is 24 random bytes, handed in.
    pub fn seal(&self, _secret: &Secret, _nonce: [u8; 24]) -> SealedSecret {
        unimplemented!()
    }
    /// Opens. Text that is not sealed (written by SQL into an older row) is the secret itself.
    pub fn open(&self, _sealed: &SealedSecret) -> Result<Secret, SealError> {
        unimplemented!()
    }
}
impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}
