//! One attempt, described. Signing and headers (SPEC 4) are made from this alone. Knows no connection.
use super::sign;
use crate::domain::{EndpointKey, Event, Parcel, Secret, is_reserved};
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one attempt needs.
#[derive(Debug, Clone)]
pub struct Request {
    /// Tenant and URL.
    pub endpoint: EndpointKey,
    /// The events with their frozen bodies; its id is `X-Delivery-Id`.
    pub parcel: Parcel<Arc<Event>>,
    /// `X-Attempt`.
    pub attempt: u32,
    /// Live secrets, the newest first; empty: no signature headers.
    pub secrets: Vec<Secret>,
    /// Custom headers of the subscription, opened.
    pub headers: BTreeMap<String, Secret>,
    /// Unix seconds: `webhook-timestamp`.
    pub timestamp: i64,
    /// The whole attempt, connect and body included.
    pub deadline: Duration,
}

impl Request {
    /// The event. Nobody composes parcels of several yet.
    pub fn event(&self) -> &Arc<Event> {
        debug_assert_eq!(self.parcel.count(), 1, "a batch has a body and an id of its own");
        self.parcel.first()
    }

    /// The whole request as it goes onto the connection. Names and values are checked, so nothing can break out of its line.
    pub(super) fn wire(&self, user_agent: &HeaderValue, authority: &str, path: &str) -> Vec<u8> {
        let body = &self.event().body;
        let mut wire = Vec::with_capacity(640 + path.len() + body.len());
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| wire.extend_from_slice(part));
        put(&[b"POST ", path.as_bytes(), b" HTTP/1.1\r\nHost: ", authority.as_bytes(), b"\r\n"]);
        for (name, value) in self.headers(user_agent) {
            put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
        put(&[b"Content-Length: ", body.len().to_string().as_bytes(), b"\r\n\r\n", body]);
        wire
    }

    /// All headers of SPEC 4 in the old module's spelling, then the subscription's own. A custom header that is
    /// reserved or no valid HTTP was refused when it was written: a second guard, for what an earlier version took.
    pub fn headers(&self, user_agent: &HeaderValue) -> Vec<(&str, HeaderValue)> {
        let event = self.event();
        let id = event.id.to_string();
        let mut list: Vec<(&str, HeaderValue)> = vec![
            ("Content-Type", HeaderValue::from_static("application/json")),
            ("User-Agent", user_agent.clone()),
        ];
        let mut add = |name: &'static str, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                list.push((name, value));
            }
        };
        add("X-Event", event.name.as_str());
        add("X-Delivery-Id", &self.parcel.id().to_string());
        add("X-Attempt", &self.attempt.to_string());
        add("X-Event-Sequence", &event.sequence.to_string());
        add("webhook-id", &id);
        add("webhook-timestamp", &self.timestamp.to_string());
        if let Some(made) = sign::sign(&id, self.timestamp, &event.body, &self.secrets) {
            add("X-Signature", &made.x_signature);
            add("webhook-signature", &made.webhook_signature);
        }
        list.extend(self.headers.iter().filter_map(|(name, value)| {
            let fits = !is_reserved(name) && HeaderName::from_bytes(name.as_bytes()).is_ok();
            let mut value = HeaderValue::from_str(value.expose()).ok().filter(|_| fits)?;
            // may be a credential: not shown by `Debug`
            value.set_sensitive(true);
            Some((name.as_str(), value))
        }));
        list
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::{DeliveryId, EventId, EventName, Lsn, Sequence, TenantId};
    use uuid::Uuid;

    pub(crate) fn request(url: &str, body: &'static [u8]) -> Request {
        let tenant = TenantId::new("t1");
        let event = Event {
            id: EventId(Uuid::from_u128(7)),
            name: EventName::parse("invoice.created").unwrap(),
            tenant: tenant.clone(),
            resource: None,
            timestamp_us: 1,
            sequence: Sequence { lsn: Lsn(0x16_B374_D848), number: 3 },
            body: bytes::Bytes::from_static(body),
        };
        Request {
            endpoint: EndpointKey { tenant, url: url.into() },
            parcel: Parcel::single(DeliveryId(Uuid::from_u128(9)), Arc::new(event)),
            attempt: 2,
            secrets: vec![Secret::new("a secret")],
            headers: BTreeMap::new(),
            timestamp: 1_614_265_330,
            deadline: Duration::from_secs(5),
        }
    }

    #[test]
    fn headers_of_the_contract_and_custom_ones_that_never_override_them() {
        let mut request = request("https://receiver.test/", b"{}");
        for (name, value) in [
            ("X-Tenant-Key", "k1"),
            ("x-signature", "forged"),
            ("Host", "elsewhere"),
            ("TRANSFER-ENCODING", "chunked"),
            ("bad name", "x"),
            ("X-Bad", "a\r\nInjected: 1"),
        ] {
            request.headers.insert(name.into(), Secret::new(value));
        }
        let agent = HeaderValue::from_static("Agent/1");
        let list = request.headers(&agent);
        let text: Vec<(&str, &str)> = list.iter().map(|(n, v)| (*n, v.to_str().unwrap())).collect();
        assert_eq!(
            text[..8],
            [
                ("Content-Type", "application/json"),
                ("User-Agent", "Agent/1"),
                ("X-Event", "invoice.created"),
                ("X-Delivery-Id", "00000000-0000-0000-0000-000000000009"),
                ("X-Attempt", "2"),
                ("X-Event-Sequence", "00000016b374d848-00000003"),
                ("webhook-id", "00000000-0000-0000-0000-000000000007"),
                ("webhook-timestamp", "1614265330"),
            ]
        );
        assert!(text[8].1.starts_with("sha256=") && text[9].1.starts_with("v1,"));
        assert_eq!(text[10..], [("X-Tenant-Key", "k1")]);
        assert!(!format!("{list:?} {request:?}").contains("k1"), "a value is printed");

        request.secrets.clear();
        assert!(request.headers(&agent).iter().all(|(name, _)| !name.to_lowercase().contains("signature")));
    }
}
