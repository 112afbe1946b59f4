//! A request → an arrival: checks both signatures and reads what it says. Knows the wire format (SPEC 4), no ledger's rules.
use crate::ledger::{Arrival, Key};
use crate::receiver::Received;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use standardwebhooks::{Webhook, WebhookError};
use std::collections::HashMap;
use std::fmt::Write;

/// The secrets of those who subscribed.
#[derive(Clone)]
pub(crate) struct Inbox {
    secrets: HashMap<String, String>,
}

impl Inbox {
    /// `secrets` by the path of the URL that was subscribed.
    pub(crate) fn new(secrets: HashMap<String, String>) -> Self {
        Self { secrets }
    }
    /// Reads it. What cannot be read has empty names, so that it is found to be unexpected.
    pub(crate) fn open(&self, request: &Received) -> Arrival {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = Key { event: text("event"), tenant: text("tenant_id"), resource: text("resource_id") };
        let data = body.get("data").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
        let told_apart = request.header("webhook-id") == text("id") && request.header("x-event") == key.event;
        let verified = told_apart && self.verify(request);
        Arrival { key, id: request.header("webhook-id").to_owned(), data, verified, at: request.at }
    }
    /// Both schemes, each of them there and right, and the timestamp fresh.
    fn verify(&self, request: &Received) -> bool {
        let Some(secret) = self.secrets.get(&request.path) else { return false };
        x_signature(secret, &request.body) == request.header("x-signature")
            && standard(secret).is_ok_and(|verifier| verifier.verify(&request.body, &request.headers).is_ok())
    }
}

/// The official verifier. A secret without `whsec_` is any text, as the old module's are (SPEC 4): its bytes are the key.
fn standard(secret: &str) -> Result<Webhook, WebhookError> {
    if secret.starts_with("whsec_") {
        Webhook::new(secret)
    } else {
        Webhook::from_bytes(secret.as_bytes().to_vec())
    }
}

/// What `X-Signature` must be, as the old module's receivers compute it.
fn x_signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length; the error type is there for other MACs. What is empty is no signature.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::Manner;
    use http::HeaderMap;
    use std::time::SystemTime;
    use tokio::time::Instant;

    const BODY: &str =
        r#"{"id":"e","event":"invoice.sent","tenant_id":"t","resource_id":"r","data":{"amount":12.50}}"#;

    /// As the sidecar sends it, `age_s` seconds ago.
    #[allow(clippy::disallowed_methods, reason = "the official verifier asks for the time of day itself")]
    fn request(secret: &str, body: &str, age_s: i64) -> Received {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64 - age_s;
        let signature = standard(secret).unwrap().sign("e", now, body.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", "e".to_owned()),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature),
            ("x-event", "invoice.sent".to_owned()),
            ("x-signature", x_signature(secret, body.as_bytes())),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let body = body.to_owned().into();
        Received { at: Instant::now(), path: "/h".to_owned(), headers, body, manner: Manner::Status(200) }
    }

    #[test]
    fn published_vectors() {
        // RFC 4231, test case 2
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(x_signature("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn both_signatures_must_hold_and_be_fresh() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "old-any text"] {
            let inbox = Inbox::new(HashMap::from([("/h".to_owned(), secret.to_owned())]));
            let fine = inbox.open(&request(secret, BODY, 0));
            assert!(fine.verified && fine.key.resource == "r", "{secret}");
            assert_eq!(fine.data["amount"].to_string(), "12.50");
            let refused = |spoil: fn(&mut Received)| {
                let mut request = request(secret, BODY, 0);
                spoil(&mut request);
                !inbox.open(&request).verified
            };
            assert!(refused(|request| request.body = BODY.replace("12", "13").into()));
            assert!(refused(|request| request.path = "/other".to_owned()));
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "x-event", "x-signature"] {
                let mut request = request(secret, BODY, 0);
                request.headers.remove(name);
                assert!(!inbox.open(&request).verified, "{name}");
            }
            assert!(refused(|request| {
                request.headers.insert("x-signature", http::HeaderValue::from_static("sha256=00"));
            }));
            assert!(refused(|request| {
                request.headers.insert("webhook-signature", http::HeaderValue::from_static("v1,AAAA"));
            }));
            assert!(!inbox.open(&request(secret, BODY, 600)).verified, "stale");
            assert!(!inbox.open(&request("another", BODY, 0)).verified);
        }
    }
}
