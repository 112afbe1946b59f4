//! Seals credentials field by field with the master key (XChaCha20-Poly1305). Must not depend on rows or requests.
//!
//! Stored form: `sealed:v2:` + base64 of (24 bytes of nonce, ciphertext with its tag). The associated data are the 16 bytes of the
//! subscription's id and the field's name: what is copied to another subscription or field cannot be opened there. `sealed:v1:`,
//! without associated data, was written for secrets alone and is opened as a secret alone: as a header's value it would
//! carry another tenant's secret to an endpoint of one's own choice.
use crate::domain::{Sealed, Secret, Subscription, SubscriptionId};
use crate::fault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// How every sealed form begins, and nothing that a client may give.
const SEALED: &str = "sealed:";
/// Without associated data: secrets of earlier versions.
const V1: &str = "sealed:v1:";
const V2: &str = "sealed:v2:";
const NONCE: usize = 24;
const TAG: usize = 16;

/// Why a secret could not be opened.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Sealed with another key, for another subscription or field, or damaged.
    #[error("it cannot be opened with this master key, for this subscription and this field")]
    WrongKey,
    /// Not of the form `sealed:v2:…`, or of `sealed:v1:…` where that is not taken.
    #[error("what is sealed is malformed")]
    Malformed,
    /// The key is not 32 bytes of base64.
    #[error("the master key must be 32 bytes, base64")]
    BadKey,
}

/// Which of a subscription's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// The signing secret.
    Secret,
    /// The value of a custom header, by its lower-case name.
    Header(&'a str),
}

impl Field<'_> {
    fn associated_data(self, id: SubscriptionId) -> Vec<u8> {
        let (kind, name) = match self {
            Self::Secret => ("secret", ""),
            Self::Header(name) => ("header:", name),
        };
        [id.0.as_bytes(), kind.as_bytes(), name.as_bytes()].concat()
    }
}

/// Seals and opens. Without a key (`secrets.insecure_plaintext`) everything stays clear.
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
    /// Does it leave everything clear?
    pub fn is_plaintext(&self) -> bool {
        self.key.is_none()
    }
    /// Does stored text have a sealed form, be it one of a later version?
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(SEALED)
    }
    /// Is stored text of a sealed form that this field may have, and whole? Independent of the key.
    pub fn well_formed(field: Field<'_>, text: &str) -> bool {
        split(field, text).is_ok()
    }
    /// Seals; `nonce` is 24 random bytes, handed in.
    pub fn seal(&self, id: SubscriptionId, field: Field<'_>, clear: &Secret, nonce: [u8; NONCE]) -> Sealed {
        let planted = field != Field::Secret && fault::planted("clear-headers");
        let Some(key) = self.key.as_ref().filter(|_| !planted) else { return Sealed::new(clear.expose()) };
        let payload = Payload { msg: clear.expose().as_bytes(), aad: &field.associated_data(id) };
        // fails only beyond 256 GiB; the empty form can never be opened, so nothing leaks
        let sealed = XChaCha20Poly1305::new(key.into())
            .encrypt(XNonce::from_slice(&nonce), payload)
            .unwrap_or_default();
        Sealed::new(format!("{V2}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }
    /// Seals what stands in a row in the clear, with a nonce derived from key, row, field and value: the same row gives the
    /// same sealed text however often the stream is replayed, and another value never meets the same nonce.
    pub fn seal_row(&self, id: SubscriptionId, field: Field<'_>, clear: &Secret) -> Sealed {
        let associated_data = field.associated_data(id);
        let digest = Sha256::new()
            .chain_update(b"tailhook row nonce v2")
            .chain_update(self.key.unwrap_or_default())
            .chain_update((associated_data.len() as u64).to_le_bytes())
            .chain_update(&associated_data)
            .chain_update(clear.expose().as_bytes())
            .finalize();
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&digest[..NONCE]);
        self.seal(id, field, clear, nonce)
    }
    /// Opens. Text that is not sealed (written with `insecure_plaintext`) is the value itself.
    pub fn open(&self, id: SubscriptionId, field: Field<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        if !Self::is_sealed(sealed.as_str()) {
            return Ok(Secret::new(sealed.as_str()));
        }
        let (nonce, ciphertext) = split(field, sealed.as_str())?;
        let key = self.key.as_ref().ok_or(SealError::WrongKey)?;
        let bound = field.associated_data(id);
        let aad = if sealed.as_str().starts_with(V1) { &[] } else { bound.as_slice() };
        let clear = XChaCha20Poly1305::new(key.into())
            .decrypt(XNonce::from_slice(&nonce), Payload { msg: &ciphertext, aad })
            .map_err(|_| SealError::WrongKey)?;
        String::from_utf8(clear).map(Secret::new).map_err(|_| SealError::Malformed)
    }
    /// Can this be the key that sealed these? Yes if it opens any of them, or if nothing is sealed. With another one nothing
    /// that is there may be sealed anew: the right one would not open it.
    pub fn fits(&self, subscriptions: &[Subscription]) -> bool {
        let each =
            subscriptions.iter().flat_map(|s| credentials(s).map(|(field, value)| (s.id, field, value)));
        let mut sealed = each.filter(|(_, _, value)| Self::is_sealed(value.as_str())).peekable();
        sealed.peek().is_none() || sealed.any(|(id, field, value)| self.open(id, field, value).is_ok())
    }
    /// The same subscription with everything sealed that is still clear; `None`: nothing is.
    pub fn seal_clear(&self, subscription: &Subscription) -> Option<Subscription> {
        if self.is_plaintext() || credentials(subscription).all(|(_, value)| Self::is_sealed(value.as_str()))
        {
            return None;
        }
        Some(each(subscription, |field, value| {
            let clear = Secret::new(value.as_str());
            if Self::is_sealed(value.as_str()) {
                value.clone()
            } else {
                self.seal_row(subscription.id, field, &clear)
            }
        }))
    }
    /// The same subscription under another id: what can be opened is sealed for the new one.
    pub fn rename(&self, subscription: &Subscription, id: SubscriptionId) -> Subscription {
        let renamed = each(subscription, |field, value| match self.open(subscription.id, field, value) {
            Ok(clear) => self.seal_row(id, field, &clear),
            Err(_) => value.clone(),
        });
        Subscription { id, ..renamed }
    }
}

/// The same subscription with every credential changed.
fn each(subscription: &Subscription, change: impl Fn(Field<'_>, &Sealed) -> Sealed) -> Subscription {
    let mut changed = subscription.clone();
    if let Some(secret) = &mut changed.secret {
        *secret = change(Field::Secret, secret);
    }
    for (name, value) in &mut changed.options.headers {
        *value = change(Field::Header(name), value);
    }
    changed
}

/// Is anything of this subscription sealed? Then the master key must not be made anew.
pub fn holds_sealed(subscription: &Subscription) -> bool {
    credentials(subscription).any(|(_, value)| Sealer::is_sealed(value.as_str()))
}

/// All of a subscription's credentials.
pub fn credentials(subscription: &Subscription) -> impl Iterator<Item = (Field<'_>, &Sealed)> {
    let secret = subscription.secret.iter().map(|secret| (Field::Secret, secret));
    secret.chain(subscription.options.headers.iter().map(|(name, value)| (Field::Header(name), value)))
}

fn split(field: Field<'_>, text: &str) -> Result<([u8; NONCE], Vec<u8>), SealError> {
    let old = || text.strip_prefix(V1).filter(|_| field == Field::Secret);
    let bytes = text.strip_prefix(V2).or_else(old).and_then(|rest| STANDARD.decode(rest).ok());
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
#[path = "seal_tests.rs"]
mod tests;
