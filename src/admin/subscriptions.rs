//! `/subscriptions`: create, list, get, delete. Written to Postgres, read from the routing that follows it.
use super::idempotency::{self, Begin};
use super::problem::Problem;
use super::query::Query;
use super::{Api, BASE, body, objects};
use crate::access::Caller;
use crate::domain::{Secret, Subscription, SubscriptionId};
use crate::fault;
use crate::postgres::snapshot::SUBSCRIPTION_COLUMNS;
use crate::postgres::subscriptions::{WriteError, WrittenSubscription};
use crate::registry::rows::{self, RowChange};
use crate::registry::seal::Field;
use crate::registry::validate::{self, Checked, Invalid, Origin};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Says of a 204 what a body would: the routing has not applied it yet.
const EFFECTIVE: &str = "x-effective";

/// `POST /subscriptions`
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(body).await?;
    let ticket = match idempotency::begin(&api, &caller, "POST /subscriptions", &headers, &bytes).await? {
        Begin::Replay(answer) => return Ok(answer),
        Begin::Go(ticket) => ticket,
    };
    let wish = read(body::object(&bytes)?)?;
    (api.0.parts.url_check)(wish.url.clone())
        .await
        .map_err(|why| Problem::invalid(vec![Invalid::new("url", "refused", why)]))?;
    if ticket.key().is_some() && !api.0.parts.store.vitals().writable {
        return Err(Problem::unavailable("store_unavailable", "the answer cannot be kept at the moment", 5));
    }
    let generated = wish.secret.is_none();
    let ids = ticket.ids(api.0.parts.clock.now_ms());
    let (subscription, written) = write(&api, &caller, wish, ids).await?;
    fault::crash_point("admin.subscribed");
    tracing::info!(subscription = %subscription.id, tenant = %subscription.tenant, "a subscription was created");
    let mut object = objects::subscription(&subscription);
    object.effective = Some(api.effective(subscription.id, true, written).await);
    let masked = serde_json::to_string(&object).map_err(|_| Problem::internal("serialising"))?;
    if let Some(answer) = ticket.answer(StatusCode::CREATED, &masked, api.0.parts.clock.now_ms()) {
        // the subscription stands whatever becomes of this: a repeat finds it by its id
        let kept = api.in_time(api.0.parts.store.answers().keep(answer)).await;
        kept.unwrap_or_else(|error| tracing::warn!(%error, "an idempotent answer could not be kept"));
    }
    fault::crash_point("admin.subscription-answer");
    let open = |sealed| api.0.parts.sealer.open(subscription.id, Field::Secret, sealed);
    let opened = subscription.secret.as_ref().filter(|_| generated).map(open);
    let secret = opened.transpose().map_err(|_| Problem::internal("opening the secret"))?;
    object.secret = secret.as_ref().map_or(object.secret, |secret| Some(secret.expose()));
    let answer = serde_json::to_string(&object).map_err(|_| Problem::internal("serialising"))?;
    let mut response = json(StatusCode::CREATED, answer);
    if let Ok(location) = HeaderValue::try_from(format!("{BASE}/subscriptions/{}", subscription.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Puts the wish into the table, sealed. `ids`: those of this very request, should it have been carried out before.
async fn write(
    api: &Api,
    caller: &Caller,
    wish: Wish,
    ids: Option<[Uuid; 2]>,
) -> Result<(Subscription, WrittenSubscription), Problem> {
    let random = || api.random().map(|bytes| uuid::Builder::from_random_bytes(bytes).into_uuid());
    let secret = match &wish.secret {
        Some(secret) => secret.clone(),
        None => generate(api.random()?),
    };
    let mut id = ids.map_or_else(random, |[today, _]| Ok(today))?;
    loop {
        let sealed = seal(api, caller, &wish, &secret, SubscriptionId(id))?;
        match api.0.parts.subscriptions.create(&sealed).await {
            Ok(written) => {
                let (created_us, updated_us) = (written.created_us, written.updated_us);
                return Ok((Subscription { created_us, updated_us, ..sealed }, written));
            }
            // it was carried out, and its subscription deleted, before; the key is used again
            Err(WriteError::IdTaken(taken)) if ids.is_some_and(|ids| ids[0] == taken.0 && id == taken.0) => {
                id = random()?;
            }
            // this very request was carried out, and its answer was lost
            Err(WriteError::Exists(first)) if ids.is_some_and(|ids| ids.contains(&first.0)) => {
                let found = in_table(api, caller).await?.into_iter().find(|s| s.id == first);
                let found = found.ok_or_else(|| Problem::from(WriteError::Exists(first)))?;
                let (created_us, updated_us) = (found.created_us, found.updated_us);
                return Ok((
                    Arc::unwrap_or_clone(found),
                    WrittenSubscription { created_us, updated_us, lsn: None },
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A wish as it is stored: sealed for this id.
fn seal(
    api: &Api,
    caller: &Caller,
    wish: &Wish,
    secret: &Secret,
    id: SubscriptionId,
) -> Result<Subscription, Problem> {
    let sealer = &api.0.parts.sealer;
    let mut options = wish.options.clone();
    for (name, value) in &wish.headers {
        options.headers.insert(name.clone(), sealer.seal(id, Field::Header(name), value, api.random()?));
    }
    Ok(Subscription {
        id,
        tenant: caller.tenant.clone(),
        pattern: wish.pattern.clone(),
        url: wish.url.clone(),
        secret: Some(sealer.seal(id, Field::Secret, secret, api.random()?)),
        active: true,
        created_us: 0,
        updated_us: 0,
        options,
    })
}

/// `GET /subscriptions?event=`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["event", "limit", "after"])?;
    let limit = query.limit()?;
    let event = query.parse("event", "an event name or pattern", |text| validate::pattern(text).ok())?;
    let after = query.parse("after", "a cursor from a Link header", cursor)?;
    let mut found = active(&api, &caller).await?;
    found.retain(|s| event.as_ref().is_none_or(|event| s.pattern == *event));
    found.retain(|s| after.is_none_or(|after| (s.created_us, s.id) < after));
    found.sort_by_key(|s| std::cmp::Reverse((s.created_us, s.id)));
    let next = found.get(limit.wrapping_sub(1)).filter(|_| found.len() > limit);
    let link = next
        .map(|s| query.next_link(&format!("{BASE}/subscriptions"), &format!("{}_{}", s.created_us, s.id)));
    let page: Vec<_> = found.iter().take(limit).map(|s| objects::subscription(s)).collect();
    let mut response =
        json(StatusCode::OK, serde_json::to_string(&page).map_err(|_| Problem::internal("serialising"))?);
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /subscriptions/{id}`
pub(super) async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let found = active(&api, &caller).await?.into_iter().find(|s| s.id == id);
    let found = found.ok_or_else(|| Problem::not_found("subscription"))?;
    let text = serde_json::to_string(&objects::subscription(&found));
    Ok(json(StatusCode::OK, text.map_err(|_| Problem::internal("serialising"))?))
}

/// `DELETE /subscriptions/{id}`
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let written = api.0.parts.subscriptions.deactivate(&caller.tenant, id).await?;
    fault::crash_point("admin.unsubscribed");
    tracing::info!(subscription = %id, tenant = %caller.tenant, "a subscription was deleted");
    let effective = api.effective(id, false, written).await;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if !effective {
        response.headers_mut().insert(EFFECTIVE, HeaderValue::from_static("false"));
    }
    Ok(response)
}

/// A tenant's active subscriptions, everything acknowledged included: from the routing, which needs no database, or from
/// the table while the stream lags behind our own writes.
async fn active(api: &Api, caller: &Caller) -> Result<Vec<Arc<Subscription>>, Problem> {
    if let Some(routing) = api.settled().await {
        return Ok(routing.of_tenant(&caller.tenant).cloned().collect());
    }
    in_table(api, caller).await
}

async fn in_table(api: &Api, caller: &Caller) -> Result<Vec<Arc<Subscription>>, Problem> {
    let rows = api.0.parts.subscriptions.active(&caller.tenant).await?;
    let rules = rows::RowRules { sealer: &api.0.parts.sealer, url: &|_| Ok(()) };
    let read = |values: &Vec<Option<String>>| match rows::snapshot_row(&SUBSCRIPTION_COLUMNS, values, rules) {
        Some(RowChange::Put(subscription)) => Some(Arc::from(subscription)),
        _ => None,
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// What a client wishes for.
pub(super) struct Wish {
    pattern: crate::domain::Pattern,
    pub(super) url: String,
    pub(super) secret: Option<Secret>,
    /// All but the headers.
    pub(super) options: crate::domain::Options,
    /// Clear values by lower-case name.
    pub(super) headers: BTreeMap<String, Secret>,
}

/// Everything that is wrong is named at once.
pub(super) fn read(mut given: Map<String, Value>) -> Result<Wish, Problem> {
    let mut wrong = Vec::new();
    let mut text = |field: &str, required: bool| match given.shift_remove(field) {
        Some(Value::String(text)) => Some(text),
        None | Some(Value::Null) => {
            if required {
                wrong.push(Invalid::new(field, "missing", "is needed"));
            }
            None
        }
        Some(_) => {
            wrong.push(Invalid::new(field, "invalid", "must be a string"));
            None
        }
    };
    let (event, url, secret) = (text("event", true), text("url", true), text("secret", false));
    let url = url.map(|url| url.trim().to_string());
    let pattern = event.and_then(|event| validate::pattern(&event).map_err(|why| wrong.push(why)).ok());
    wrong.extend(url.as_deref().and_then(|url| validate::url(url).err()));
    wrong.extend(secret.as_deref().and_then(|secret| validate::secret(secret).err()));
    let checked = validate::options(&given, Origin::Request).unwrap_or_else(|more| {
        wrong.extend(more);
        Checked::default()
    });
    let Checked { options, headers } = checked;
    match (pattern, url) {
        (Some(pattern), Some(url)) if wrong.is_empty() => {
            Ok(Wish { pattern, url, secret: secret.map(Secret::new), options, headers })
        }
        _ => Err(Problem::invalid(wrong)),
    }
}

fn generate(key: [u8; 32]) -> Secret {
    Secret::new(format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(key)))
}

pub(super) fn cursor(text: &str) -> Option<(i64, SubscriptionId)> {
    let (time, id) = text.split_once('_')?;
    Some((time.parse().ok()?, SubscriptionId(Uuid::try_parse(id).ok()?)))
}

/// What is no id is nobody's object.
fn parse_id(text: &str) -> Result<SubscriptionId, Problem> {
    Uuid::try_parse(text).map(SubscriptionId).map_err(|_| Problem::not_found("subscription"))
}

pub(super) fn json(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wish_names_everything_that_is_wrong() {
        let wish = |value: Value| read(value.as_object().cloned().unwrap());
        let good = wish(
            json!({"event": " Invoice.* ", "url": " https://a.example/hook ", "secret": null, "rate": 3}),
        )
        .unwrap();
        assert_eq!(
            (good.pattern.to_string().as_str(), good.url.as_str()),
            ("invoice.*", "https://a.example/hook")
        );
        assert!(good.secret.is_none() && good.options.rate == Some(3));
        for (bad, fields) in [
            (json!({}), vec!["event", "url"]),
            (
                json!({"event": 1, "url": "ftp://a.example/x", "secret": "short"}),
                vec!["event", "url", "secret"],
            ),
            (json!({"event": "a.b", "url": "https://a.example/", "filter": "x"}), vec!["filter"]),
            (json!({"event": "a.b", "url": "https://a.example/", "active": true}), vec!["active"]),
        ] {
            let problem = wish(bad.clone()).err().unwrap();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST);
            let text = format!("{problem:?}");
            assert!(
                fields.iter().all(|field| text.contains(&format!("field: \"{field}\""))),
                "{bad}: {text}"
            );
            assert_eq!(problem.code, if bad.get("filter").is_some() { "not_yet" } else { "validation" });
        }
        assert!(validate::secret(generate([7; 32]).expose()).is_ok());
    }

    #[test]
    fn cursors_are_read_back() {
        let id = SubscriptionId(Uuid::from_u128(5));
        assert_eq!(cursor(&format!("-3_{id}")), Some((-3, id)));
        for bad in ["", "_", "x_1", &format!("{id}"), "1_x"] {
            assert_eq!(cursor(bad), None, "{bad}");
        }
    }
}
