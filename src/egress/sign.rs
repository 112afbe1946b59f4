//! Signatures, pure: `X-Signature` of the old module and Standard Webhooks (SPEC 4). Knows no request and no store.
use crate::domain::Secret;
use crate::fault;
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// Standard base64; secrets are accepted with or without padding, signatures are written with it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Marks a Standard Webhooks secret.
const PREFIX: &str = "whsec_";
/// The only Standard Webhooks version that we make and check.
const VERSION: &str = "v1";
/// Marks the hash of `X-Signature`.
const SHA256: &str = "sha256=";
/// How far `webhook-timestamp` may be off, in seconds (what the official verifiers allow).
pub const TOLERANCE_S: i64 = 300;

/// The values of the signature headers of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// `X-Signature`, by the newest secret.
    pub x_signature: String,
    /// `webhook-signature`, one token per live secret, the newest first.
    pub webhook_signature: String,
}

/// Signs a body for every live secret, the newest first; `None` without a secret.
pub fn sign(id: &str, timestamp: i64, body: &[u8], secrets: &[Secret]) -> Option<Signatures> {
    let newest = secrets.first()?;
    let tokens: Vec<String> = secrets
        .iter()
        .map(|secret| {
            format!("{VERSION},{}", BASE64.encode(standard(id, &timestamp.to_string(), body, secret)))
        })
        .collect();
    Some(Signatures {
        x_signature: format!("{SHA256}{}", hex(&mac(newest.expose().as_bytes(), &[body]))),
        webhook_signature: tokens.join(" "),
    })
}

/// Which schemes were there and are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// `X-Signature` is there and right.
    pub x_signature: bool,
    /// `webhook-signature` is there and right.
    pub webhook_signature: bool,
    /// `webhook-timestamp`, Unix seconds, when it was part of what was checked.
    pub timestamp: Option<i64>,
}

/// Why a body is not to be trusted.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// A header that is needed is not there.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header cannot be read.
    #[error("the header {0} is malformed: {1}")]
    Malformed(&'static str, String),
    /// The header does not fit the body and the secret.
    #[error("the header {0} does not match this body and secret")]
    Wrong(&'static str),
    /// Too old or from the future.
    #[error("webhook-timestamp is {0} seconds off, more than {TOLERANCE_S}")]
    Stale(i64),
}

/// Checks a body against both schemes. Each that is there must be right, and one must be there; with `now` (Unix
/// seconds) `webhook-timestamp` must be within five minutes of it. Header names compare without case.
pub fn verify(
    headers: &[(String, String)],
    body: &[u8],
    secret: &Secret,
    now: Option<i64>,
) -> Result<Verified, VerifyError> {
    let find = |name: &str| {
        headers.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let classic = find("X-Signature");
    let tokens = find("webhook-signature");
    if classic.is_none() && tokens.is_none() {
        return Err(VerifyError::Missing("X-Signature (or webhook-signature)"));
    }
    if let Some(value) = classic {
        verify_classic(value, body, secret)?;
    }
    let timestamp = match tokens {
        Some(tokens) => {
            let id = find("webhook-id").ok_or(VerifyError::Missing("webhook-id"))?;
            let time = find("webhook-timestamp").ok_or(VerifyError::Missing("webhook-timestamp"))?;
            Some(verify_standard(id, time, tokens, body, secret, now)?)
        }
        None => None,
    };
    Ok(Verified { x_signature: classic.is_some(), webhook_signature: tokens.is_some(), timestamp })
}

fn verify_classic(value: &str, body: &[u8], secret: &Secret) -> Result<(), VerifyError> {
    let name = "X-Signature";
    let Some(given) = value.strip_prefix(SHA256) else {
        return Err(VerifyError::Malformed(name, format!("it does not begin with {SHA256}")));
    };
    let expected = hex(&mac(secret.expose().as_bytes(), &[body]));
    let given = given.to_ascii_lowercase();
    if bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
        Ok(())
    } else {
        Err(VerifyError::Wrong(name))
    }
}

fn verify_standard(
    id: &str,
    time: &str,
    tokens: &str,
    body: &[u8],
    secret: &Secret,
    now: Option<i64>,
) -> Result<i64, VerifyError> {
    let timestamp: i64 = time
        .parse()
        .map_err(|_| VerifyError::Malformed("webhook-timestamp", "it is no number of seconds".into()))?;
    let expected = standard(id, time, body, secret);
    // Unknown versions and tokens without a comma are skipped: others may stand beside ours.
    let right = tokens
        .split_ascii_whitespace()
        .filter_map(|token| token.split_once(','))
        .filter(|(version, _)| *version == VERSION)
        .filter_map(|(_, signature)| BASE64.decode(signature).ok())
        .any(|given| bool::from(given.ct_eq(&expected[..])));
    if !right {
        return Err(VerifyError::Wrong("webhook-signature"));
    }
    match now.map(|now| now.saturating_sub(timestamp)) {
        Some(off) if off.saturating_abs() > TOLERANCE_S && !fault::planted("stale-is-fresh") => {
            Err(VerifyError::Stale(off))
        }
        _ => Ok(timestamp),
    }
}

/// HMAC of `id.timestamp.body`; the key is the base64-decoded rest of a `whsec_` secret, else its UTF-8 bytes.
fn standard(id: &str, timestamp: &str, body: &[u8], secret: &Secret) -> [u8; 32] {
    let text = secret.expose();
    let key = text.strip_prefix(PREFIX).and_then(|rest| BASE64.decode(rest).ok());
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    mac(key.as_deref().unwrap_or(text.as_bytes()), &parts)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is accepted by HMAC; the error type exists for other MACs only.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published by Standard Webhooks (DESIGN 5).
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const TOKEN: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    fn published() -> Secret {
        Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }
    fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn published_vectors() {
        let made = sign(ID, TIME, BODY, &[published()]).unwrap();
        assert_eq!(made.webhook_signature, TOKEN);
        // RFC 4231, test case 2
        let made = sign(ID, TIME, b"what do ya want for nothing?", &[Secret::new("Jefe")]).unwrap();
        assert_eq!(
            made.x_signature,
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(sign(ID, TIME, BODY, &[]), None);
    }

    #[test]
    fn every_live_secret_signs_and_the_newest_first() {
        let old = published();
        let new = Secret::new("new secret");
        let made = sign(ID, TIME, BODY, &[new.clone(), old.clone()]).unwrap();
        let tokens: Vec<&str> = made.webhook_signature.split(' ').collect();
        assert_eq!((tokens.len(), tokens[1]), (2, TOKEN));
        assert_eq!(made.x_signature, sign(ID, TIME, BODY, &[new]).unwrap().x_signature);
        let given = headers(&[
            ("webhook-id", ID),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", &made.webhook_signature),
        ]);
        assert!(verify(&given, BODY, &old, None).unwrap().webhook_signature);
    }

    #[test]
    fn the_official_verifier_accepts_ours() {
        // Its clock is the machine's, so sign with the machine's time.
        let now = crate::clock::Clock::now_ms(&crate::clock::SystemClock) / 1000;
        let body = r#"{"name":"café ☕"}"#;
        for (secret, theirs) in [
            (published(), standardwebhooks::Webhook::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            (Secret::new("plain text"), standardwebhooks::Webhook::from_bytes(b"plain text".to_vec())),
        ] {
            let made = sign("evt_1", now, body.as_bytes(), &[secret]).unwrap();
            let mut map = http::HeaderMap::new();
            map.insert("webhook-id", "evt_1".parse().unwrap());
            map.insert("webhook-timestamp", now.to_string().parse().unwrap());
            map.insert("webhook-signature", made.webhook_signature.parse().unwrap());
            theirs.unwrap().verify(body.as_bytes(), &map).unwrap();
        }
    }

    /// Headers, now, what is found.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<i64>, Result<(bool, bool), VerifyError>);

    #[test]
    fn verify_says_what_is_wrong() {
        let secret = published();
        let x = sign(ID, TIME, BODY, std::slice::from_ref(&secret)).unwrap().x_signature;
        let upper = x.to_ascii_uppercase().replace("SHA256=", "sha256=");
        let mixed = format!("v1a,xxx nocomma v2,{} {TOKEN}", &TOKEN[3..]);
        let id = ("Webhook-Id", ID);
        let time = ("webhook-timestamp", "1614265330");
        let wrong_x = format!("sha256={}", "0".repeat(64));
        let cases: &[Case] = &[
            (&[("X-SIGNATURE", &x)], None, Ok((true, false))),
            (&[("x-signature", &upper)], None, Ok((true, false))),
            (&[id, time, ("webhook-signature", TOKEN)], None, Ok((false, true))),
            (&[id, time, ("webhook-signature", &mixed), ("x-signature", &x)], None, Ok((true, true))),
            (&[id, time, ("webhook-signature", TOKEN)], Some(TIME + 300), Ok((false, true))),
            (&[id, time, ("webhook-signature", TOKEN)], Some(TIME + 301), Err(VerifyError::Stale(301))),
            (&[id, time, ("webhook-signature", TOKEN)], Some(TIME - 301), Err(VerifyError::Stale(-301))),
            (&[], None, Err(VerifyError::Missing("X-Signature (or webhook-signature)"))),
            (&[time, ("webhook-signature", TOKEN)], None, Err(VerifyError::Missing("webhook-id"))),
            (&[id, ("webhook-signature", TOKEN)], None, Err(VerifyError::Missing("webhook-timestamp"))),
            (
                &[id, time, ("webhook-signature", "nocomma")],
                None,
                Err(VerifyError::Wrong("webhook-signature")),
            ),
            (
                &[id, time, ("webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")],
                None,
                Err(VerifyError::Wrong("webhook-signature")),
            ),
            (&[("x-signature", &wrong_x)], None, Err(VerifyError::Wrong("X-Signature"))),
            (
                &[id, time, ("webhook-signature", TOKEN), ("x-signature", &wrong_x)],
                None,
                Err(VerifyError::Wrong("X-Signature")),
            ),
        ];
        for (list, now, expected) in cases {
            let got = verify(&headers(list), BODY, &secret, *now);
            assert_eq!(got.map(|v| (v.x_signature, v.webhook_signature)), *expected, "{list:?}");
        }
        for (name, value) in [("x-signature", "md5=0"), ("webhook-timestamp", "soon")] {
            let given = headers(&[(name, value), id, ("webhook-signature", TOKEN)]);
            let got = verify(&given, BODY, &secret, None);
            assert!(matches!(got, Err(VerifyError::Malformed(..))), "{name}: {got:?}");
        }
        assert!(verify(&headers(&[("x-signature", &x)]), b"{}", &secret, None).is_err());
    }
}
