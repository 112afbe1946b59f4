//! Seals secrets with the master key (XChaCha20-Poly1305). Knows neither rows nor requests.
//!
//! Stored form: `sealed:v1:` + base64 of (24 bytes of nonce, ciphertext with its tag).
use crate::domain::{SealedSecret, Secret, SubscriptionId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

const PREFIX: &str = "sealed:v1:";
const NONCE: usize = 24;
const TAG: usize = 16;

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
pub struct Sealer {
    key: Option<[u8; 32]>,
}

impl Sealer {
    /// From the text of `secrets.master_key_file` or `TAILHOOK_MASTER_KEY`.
    pub fn from_base64(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SealError::BadKey)?;
        Ok(Self { key: Some(bytes.try_into().map_err(|_| SealError::BadKey)?) })
    }
    /// Without sealing: `secrets.insecure_plaintext`.
    pub fn plaintext() -> Self {
        Self { key: None }
    }
    /// Does stored text have the sealed form?
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
    /// Is stored text of the sealed form and whole? Says nothing about the key.
    pub fn well_formed(text: &str) -> bool {
        split(text).is_ok()
    }
    /// Seals; `nonce` is 24 random bytes, handed in.
    pub fn seal(&self, secret: &Secret, nonce: [u8; NONCE]) -> SealedSecret {
        let Some(key) = &self.key else { return SealedSecret::new(secret.expose()) };
        // fails only beyond 256 GiB; the empty form can never be opened, so nothing leaks
        let sealed = XChaCha20Poly1305::new(key.into())
            .encrypt(XNonce::from_slice(&nonce), secret.expose().as_bytes())
            .unwrap_or_default();
        let bytes = [nonce.as_slice(), &sealed].concat();
        SealedSecret::new(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }
    /// Seals a clear secret that SQL wrote, with a nonce derived from key, row and secret: the same row gives the
    /// same sealed text however often the stream is replayed, and another secret never meets the same nonce.
    pub fn seal_row(&self, id: SubscriptionId, secret: &Secret) -> SealedSecret {
        let digest = Sha256::new()
            .chain_update(b"tailhook row nonce v1")
            .chain_update(self.key.unwrap_or_default())
            .chain_update(id.0.as_bytes())
            .chain_update(secret.expose().as_bytes())
            .finalize();
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&digest[..NONCE]);
        self.seal(secret, nonce)
    }
    /// Opens. Text that is not sealed (written by SQL into an older row) is the secret itself.
    pub fn open(&self, sealed: &SealedSecret) -> Result<Secret, SealError> {
        if !Self::is_sealed(sealed.as_str()) {
            return Ok(Secret::new(sealed.as_str()));
        }
        let (nonce, ciphertext) = split(sealed.as_str())?;
        let key = self.key.as_ref().ok_or(SealError::WrongKey)?;
        let clear = XChaCha20Poly1305::new(key.into())
            .decrypt(XNonce::from_slice(&nonce), ciphertext.as_slice())
            .map_err(|_| SealError::WrongKey)?;
        String::from_utf8(clear).map(Secret::new).map_err(|_| SealError::Malformed)
    }
}

fn split(text: &str) -> Result<([u8; NONCE], Vec<u8>), SealError> {
    let bytes = text.strip_prefix(PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
    let bytes = bytes.filter(|b| b.len() >= NONCE + TAG).ok_or(SealError::Malformed)?;
    let (nonce, ciphertext) = bytes.split_at(NONCE);
    Ok((nonce.try_into().map_err(|_| SealError::Malformed)?, ciphertext.to_vec()))
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn sealer(byte: u8) -> Sealer {
        Sealer::from_base64(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_hides() {
        let secret = Secret::new("whsec_abcdefgh");
        let sealed = sealer(1).seal(&secret, [7; 24]);
        assert!(sealed.as_str().starts_with("sealed:v1:") && !sealed.as_str().contains("abcdefgh"));
        assert_eq!(sealer(1).open(&sealed), Ok(secret.clone()));
        assert_eq!(sealer(2).open(&sealed), Err(SealError::WrongKey));
        assert_eq!(Sealer::plaintext().open(&sealed), Err(SealError::WrongKey));
        assert_ne!(sealer(1).seal(&secret, [8; 24]), sealed);
        assert_eq!(Sealer::plaintext().seal(&secret, [7; 24]).as_str(), "whsec_abcdefgh");
        assert_eq!(sealer(1).open(&SealedSecret::new("clear-text")), Ok(Secret::new("clear-text")));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = sealer(1).seal(&Secret::new("12345678"), [7; 24]);
        let bytes = STANDARD.decode(&sealed.as_str()[PREFIX.len()..]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let text = SealedSecret::new(format!("{PREFIX}{}", STANDARD.encode(bent)));
            assert_eq!(sealer(1).open(&text), Err(SealError::WrongKey), "bit {bit}");
        }
        for len in 0..bytes.len() {
            let text = SealedSecret::new(format!("{PREFIX}{}", STANDARD.encode(&bytes[..len])));
            assert!(sealer(1).open(&text).is_err(), "{len} bytes");
        }
        assert_eq!(sealer(1).open(&SealedSecret::new("sealed:v1:%%")), Err(SealError::Malformed));
    }

    #[test]
    fn a_row_is_sealed_the_same_again_and_no_two_rows_alike() {
        let (one, two) = (SubscriptionId(Uuid::from_u128(1)), SubscriptionId(Uuid::from_u128(2)));
        let secret = Secret::new("12345678");
        assert_eq!(sealer(1).seal_row(one, &secret), sealer(1).seal_row(one, &secret));
        assert_ne!(sealer(1).seal_row(one, &secret), sealer(1).seal_row(two, &secret));
        assert_ne!(sealer(1).seal_row(one, &secret), sealer(1).seal_row(one, &Secret::new("12345679")));
        assert_eq!(sealer(1).open(&sealer(1).seal_row(one, &secret)), Ok(secret));
    }

    #[test]
    fn keys_are_32_bytes_of_base64() {
        for bad in ["", "x", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
            assert_eq!(Sealer::from_base64(bad).err(), Some(SealError::BadKey), "{bad}");
        }
        assert!(Sealer::from_base64(&format!("{}\n", STANDARD.encode([0; 32]))).is_ok());
    }
}
