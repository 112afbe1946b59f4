//! `Idempotency-Key`: the same request again gets the first answer again, for 24 hours, also across a restart. Knows no
//! resource.
use super::Api;
use super::problem::Problem;
use crate::access::Caller;
use crate::access::token::digest;
use crate::domain::TenantId;
use crate::domain::event::derived_uuid;
use crate::store::Idempotent;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;
const DAY_MS: i64 = 86_400_000;

type AnswerKey = (TenantId, String);
/// Keys whose first request is under way.
pub(super) type Busy = Arc<Mutex<BTreeSet<AnswerKey>>>;

/// What a POST does first.
pub(super) enum Begin {
    /// The answer of the first request.
    Replay(Response),
    /// Nothing is known: do it.
    Go(KeyTicket),
}

/// Holds a request's key (if it has one) until its answer is kept or given up.
pub(super) struct KeyTicket {
    held: Option<HeldKey>,
}

struct HeldKey {
    busy: Busy,
    key: AnswerKey,
    body_hash: [u8; 32],
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl KeyTicket {
    /// The client's key, to derive ids from.
    pub(super) fn key(&self) -> Option<&str> {
        self.held.as_ref().map(|held| held.key.1.as_str())
    }
    /// Ids that no other request gives: today's, and yesterday's for a repeat after midnight.
    pub(super) fn ids(&self, now_ms: i64) -> Option<[Uuid; 2]> {
        let held = self.held.as_ref()?;
        let (tenant, key) = (held.key.0.as_str().as_bytes(), held.key.1.as_bytes());
        let today = now_ms.div_euclid(DAY_MS);
        Some([today, today - 1].map(|day| derived_uuid(day * DAY_MS, &[tenant, key, &held.body_hash])))
    }
    /// What must be made durable with what the request did. The answer must hold no secret.
    pub(super) fn answer(&self, status: StatusCode, answer: &str, at_ms: i64) -> Option<Idempotent> {
        let held = self.held.as_ref()?;
        Some(Idempotent {
            tenant: held.key.0.clone(),
            key: held.key.1.clone(),
            body_hash: held.body_hash,
            status: status.as_u16(),
            answer: Bytes::copy_from_slice(answer.as_bytes()),
            at_ms,
        })
    }
}

/// The client's key, if it gives one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST || given.next().is_some() {
        return Err(Problem::bad(
            "idempotency_key",
            "Idempotency-Key must be 1 to 255 printable ASCII characters",
        ));
    }
    Ok(Some(text))
}

/// Looks the key up; `place` is method and path.
pub(super) async fn begin(
    api: &Api,
    caller: &Caller,
    place: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Begin, Problem> {
    let Some(text) = key(headers)? else { return Ok(Begin::Go(KeyTicket { held: None })) };
    let key = (caller.tenant.clone(), format!("{place} {text}"));
    let body_hash = digest(body);
    // held before it is looked up: of two at once, one does it and the other is told to come again
    if !api.0.busy_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
        let detail = "a request with this Idempotency-Key is under way";
        return Err(Problem::new(StatusCode::CONFLICT, "idempotency_busy", detail).retry_after(1));
    }
    let held = HeldKey { busy: api.0.busy_keys.clone(), key, body_hash };
    match api.0.parts.store.answers().find(&held.key.0, &held.key.1).await? {
        None => Ok(Begin::Go(KeyTicket { held: Some(held) })),
        Some(known) if known.body_hash == body_hash => Ok(Begin::Replay(replay(known))),
        Some(_) => {
            let detail = "this Idempotency-Key was used with another body";
            Err(Problem::new(StatusCode::CONFLICT, "idempotency_mismatch", detail))
        }
    }
}

fn replay(known: Idempotent) -> Response {
    let status = StatusCode::from_u16(known.status).unwrap_or(StatusCode::OK);
    let mut response = (status, known.answer).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(tenant: &str, busy: &Busy) -> KeyTicket {
        let key = (TenantId::new(tenant), "POST /x k".to_owned());
        busy.lock().unwrap().insert(key.clone());
        KeyTicket { held: Some(HeldKey { busy: busy.clone(), key, body_hash: [7; 32] }) }
    }

    #[test]
    fn ids_are_of_the_day_and_yesterdays_are_known_after_midnight() {
        let busy = Busy::default();
        let one = ticket("a", &busy);
        let midnight = 20_000 * DAY_MS;
        let [today, yesterday] = one.ids(midnight).unwrap();
        assert_eq!(one.ids(midnight + DAY_MS - 1), Some([today, yesterday]));
        assert_eq!(one.ids(midnight - 1).unwrap()[0], yesterday);
        assert_eq!(i64::try_from(today.as_u128() >> 80).unwrap(), midnight, "they sort by time");
        assert_ne!(ticket("b", &busy).ids(midnight).unwrap()[0], today, "each tenant has its own");
        assert_eq!(KeyTicket { held: None }.ids(midnight), None);
    }

    #[test]
    fn a_key_is_held_until_its_answer_is_kept_or_given_up() {
        let busy = Busy::default();
        let one = ticket("a", &busy);
        assert_eq!(one.key(), Some("POST /x k"));
        let kept = one.answer(StatusCode::CREATED, "{}", 5).unwrap();
        assert_eq!(
            (kept.status, &kept.answer[..], kept.at_ms, kept.body_hash),
            (201, &b"{}"[..], 5, [7; 32])
        );
        assert_eq!(busy.lock().unwrap().len(), 1);
        drop(one);
        assert!(busy.lock().unwrap().is_empty());
        let none = KeyTicket { held: None };
        assert!(none.key().is_none() && none.answer(StatusCode::OK, "", 0).is_none());
    }

    #[test]
    fn a_key_is_given_once_and_is_not_too_long() {
        let given = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_str(value).unwrap());
            }
            key(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.code)
        };
        assert_eq!(given(&[]), Ok(None));
        assert_eq!(given(&[" k "]), Ok(Some("k".into())));
        assert_eq!(given(&[&"k".repeat(255)]), Ok(Some("k".repeat(255))));
        for wrong in [&[" "][..], &[&"k".repeat(256)], &["k", "k"], &["ké"]] {
            assert_eq!(given(wrong), Err("idempotency_key"), "{wrong:?}");
        }
    }
}
