//! A tenant's wish. Knows what it says, not where it is kept.
use super::{EndpointKey, Pattern, Sealed, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// A subscription's id: the primary key of its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub Uuid);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which answers count as delivered, failed or worth a retry (SPEC 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// 2xx and 3xx delivered, 4xx failed, the rest retried.
    #[default]
    Classic,
    /// Standard Webhooks; refused with "not yet" for now.
    Standard,
}

/// What is kept in order (SPEC 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// One attempt at a time per (subscription, resource), in commit order.
    #[default]
    Resource,
    /// One attempt at a time per subscription.
    Endpoint,
    /// None.
    None,
}

/// The `options` column: what the old module's columns have no place for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Free text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Custom request headers, at most 20, none of ours: lower-case names, sealed values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Sealed>,
    /// Own profile; left out: `delivery.profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Own limit in requests per second; left out: `per_endpoint.rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Own ordering; left out: `delivery.ordering`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
}

/// One row of `webhook_subscriptions`, as the routing sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Primary key.
    pub id: SubscriptionId,
    /// Whose.
    pub tenant: TenantId,
    /// Which events.
    pub pattern: Pattern,
    /// Where to.
    pub url: String,
    /// Sealed; `None`: deliveries go unsigned (only rows written by SQL).
    pub secret: Option<Sealed>,
    /// False: deleted softly.
    pub active: bool,
    /// Unix microseconds.
    pub created_us: i64,
    /// Unix microseconds.
    pub updated_us: i64,
    /// The rest.
    pub options: Options,
}

impl Subscription {
    /// What limiter, breaker and pool are keyed by.
    pub fn endpoint(&self) -> EndpointKey {
        EndpointKey { tenant: self.tenant.clone(), url: self.url.clone() }
    }
}
