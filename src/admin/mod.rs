//! People and machines looking in: API, health, metrics. Knows no socket of the source and no attempt.
//!
//! `router::rows` says what there is and who may; `gate` lets in; one file a resource answers.
mod body;
mod deliveries;
mod envelope;
mod gate;
mod health;
#[doc(hidden)]
#[cfg(feature = "hostile")]
pub mod hostile;
mod idempotency;
mod objects;
mod pages;
mod problem;
mod query;
mod router;
mod serve;
mod settled;
mod subscriptions;

pub use axum::Router;
pub use health::Health;
pub use router::{router, tenant_routes};
pub use serve::serve;

use crate::access::CallerLimiter;
use crate::clock::SharedClock;
use crate::domain::Routing;
use crate::postgres::subscriptions::Subscriptions;
use crate::registry::RefusedRows;
use crate::registry::seal::Sealer;
use crate::settings::{AdminSettings, EnvelopeSettings};
use crate::store::{HUNG, History, Store, StoreError};
use crate::telemetry::Metrics;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// Below this path live the tenants' routes.
pub const BASE: &str = "/api/v1/tenant/webhooks";
/// Largest request body (SPEC 6).
pub const LARGEST_BODY: usize = 256 * 1024;

/// What the configuration says; replaced whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct ApiSettings {
    /// Who may call, and by which names.
    pub access: AdminSettings,
    /// What stands in a posted event.
    pub envelope: EnvelopeSettings,
    /// Names of the mapping's events: others are counted as `other`.
    pub known_events: BTreeSet<String>,
}

/// May deliveries go to this URL? The guard with a lookup of the name; a name that does not resolve now is no error.
pub type ResolvingUrlCheck =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Fills with random bytes for secrets, nonces and ids.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> Result<(), String> + Send + Sync>;

/// Everything that the API stands on; `app` hands it in.
pub struct ApiParts {
    /// Reloadable settings.
    pub settings: watch::Receiver<Arc<ApiSettings>>,
    /// Deliveries, idempotent answers.
    pub store: Store,
    /// Rows of the table that are not routed.
    pub refused: watch::Receiver<Arc<RefusedRows>>,
    /// Where subscriptions are written.
    pub subscriptions: Subscriptions,
    /// Seals new secrets.
    pub sealer: Sealer,
    /// Time of day.
    pub clock: SharedClock,
    /// Rendered at `/metrics`.
    pub metrics: Metrics,
    /// What `/readyz` answers from.
    pub health: Health,
    /// The guard's opinion of a URL.
    pub url_check: ResolvingUrlCheck,
    /// Randomness.
    pub entropy: Entropy,
}

/// The handlers' state; clones share it.
#[derive(Clone)]
struct Api(Arc<ApiInner>);

struct ApiInner {
    parts: ApiParts,
    routing: watch::Receiver<Arc<Routing>>,
    limiter: CallerLimiter,
    writes: settled::Writes,
    busy_keys: idempotency::Busy,
    sequence: envelope::Numbering,
}

impl Api {
    fn new(parts: ApiParts) -> Self {
        Self(Arc::new(ApiInner {
            routing: parts.store.history().routing(),
            parts,
            limiter: CallerLimiter::new(tokio::time::Instant::now()),
            writes: settled::Writes::default(),
            busy_keys: idempotency::Busy::default(),
            sequence: envelope::Numbering::default(),
        }))
    }
    fn settings(&self) -> Arc<ApiSettings> {
        self.0.parts.settings.borrow().clone()
    }
    /// Makes it durable. Nobody waits for a disk that does not answer: then it is not known whether the batch becomes durable,
    /// and the same request with its `Idempotency-Key` finds out.
    fn history(&self) -> History {
        self.0.parts.store.history()
    }
    /// A commit, for as long as a client would wait.
    async fn in_time(&self, commit: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        let late = |_| StoreError::Blocked(format!("the disk has not answered for {HUNG:?}"));
        tokio::time::timeout(HUNG, commit).await.map_err(late)?
    }
    fn random<const N: usize>(&self) -> Result<[u8; N], problem::Problem> {
        let mut bytes = [0; N];
        (self.0.parts.entropy)(&mut bytes).map_err(|_| problem::Problem::internal("no randomness"))?;
        Ok(bytes)
    }
}

/// The system's randomness.
pub fn system_entropy() -> Entropy {
    Arc::new(|bytes| getrandom::fill(bytes).map_err(|error| error.to_string()))
}
