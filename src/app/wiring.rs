//! Configuration → what each stage takes. Starts nothing.
use super::RunOptions;
use super::lookups::Lender;
use super::preflight;
use crate::admin::{self, ApiSettings};
use crate::capture::follow::batch::UrlCheck;
use crate::capture::{self, CaptureRules, PostgresSource};
use crate::clock::SharedClock;
use crate::config::{Config, IndexEngine};
use crate::disk::RealDisk;
use crate::dispatch;
use crate::domain::EventName;
use crate::egress::Proxy;
use crate::egress::guard::Guard;
use crate::egress::resolve::Resolver;
use crate::fault;
use crate::postgres::TableName;
use crate::postgres::subscriptions::Subscriptions;
use crate::postgres::url::Address;
use crate::registry::seal::Sealer;
use crate::registry::{RefusedRows, master_key};
use crate::settings::{EgressSettings, StoreSettings};
use crate::store::{Engine, FlushObserver, Recovery, Store, StoreError, index::engine};
use crate::telemetry::Metrics;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What several stages hold.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) refused: watch::Receiver<Arc<RefusedRows>>,
    pub(super) sealer: Sealer,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    pub(super) health: admin::Health,
    pub(super) egress: EgressSettings,
}

/// Opens journal and index.
pub(super) async fn store(
    config: &Config,
    disk: Arc<RealDisk>,
    metrics: &Metrics,
    clock: &SharedClock,
) -> Result<(Store, Recovery), StoreError> {
    let flush_seconds = metrics.flush_seconds.clone();
    let index = engine(config).factory(config.data_folder.join("index"), engine::memory_bytes());
    let (store, recovery) = Store::open(folder(&config.store), disk, index, clock.clone()).await?;
    store.observe_flush(FlushObserver::new(move |took| flush_seconds.observe(took.as_secs_f64())));
    Ok((store, recovery))
}

/// `[store]`, with the numbers that tests make smaller.
fn folder(settings: &StoreSettings) -> StoreSettings {
    let upkeep_ms = fault::instead("TAILHOOK_UPKEEP_MS", settings.upkeep_every.as_millis() as u64);
    StoreSettings {
        segment_bytes: fault::instead("TAILHOOK_SEGMENT_BYTES", settings.segment_bytes),
        frame_bytes: fault::instead("TAILHOOK_FRAME_BYTES", settings.frame_bytes as u64) as usize,
        upkeep_every: Duration::from_millis(upkeep_ms),
        ..settings.clone()
    }
}

/// `store.index`
pub(crate) fn engine(config: &Config) -> Engine {
    match config.index {
        IndexEngine::Lsm => Engine::Lsm,
        IndexEngine::Sled => Engine::Sled,
    }
}

/// The master key, made at the first run while nothing is sealed.
pub(super) fn sealer(config: &Config, sealed_exist: bool) -> anyhow::Result<Sealer> {
    if config.secrets.insecure_plaintext {
        return Ok(Sealer::plaintext());
    }
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let environment = std::env::var("TAILHOOK_MASTER_KEY").ok();
    master_key::load(&config.secrets.master_key_file, environment.as_deref(), sealed_exist, fresh)
        .context("[secrets]")
}

/// Everything capture needs.
pub(super) fn capture(
    config: &Config,
    options: &RunOptions,
    shared: &Shared,
    publish: (watch::Sender<Arc<RefusedRows>>, watch::Sender<capture::CaptureStatus>),
) -> anyhow::Result<capture::CaptureParts<PostgresSource>> {
    let database = &config.database;
    let guard = Guard::new(&shared.egress);
    let check_url: UrlCheck = Arc::new(move |url| guard.check_url(url));
    let lender = Lender {
        url: database.url.clone(),
        schema: database.schema.clone(),
        publication: database.publication.clone(),
        mapped: preflight::mapped(config),
        sealer: shared.sealer.clone(),
        check_url: check_url.clone(),
    };
    let address = Address::parse(database.url.expose()).context("database.url")?;
    let settings = capture::Settings::new(address, &database.slot, &database.publication);
    let mut epoch = [0; 16];
    getrandom::fill(&mut epoch).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(capture::CaptureParts {
        source: PostgresSource::new(settings, lender.lookups(), shared.clock.clone()),
        checkpoint: shared.store.checkpoint(),
        rules: CaptureRules {
            mapping: Arc::new(config.mapping.clone()),
            envelope: config.envelope.clone(),
            subscriptions: TableName::subscriptions(&database.schema).to_string(),
            sealer: shared.sealer.clone(),
            check_url,
        },
        refused: publish.0,
        status: publish.1,
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        identity: capture::IdentityTemplate {
            slot: database.slot.clone(),
            publication: database.publication.clone(),
            epoch,
        },
        accept_gap: options.accept_gap.clone(),
    })
}

/// Everything dispatch needs.
pub(super) fn dispatch(
    config: &Config,
    shared: &Shared,
    transport: Proxy,
    status: dispatch::DispatchStatus,
) -> dispatch::DispatchParts<Proxy, impl FnMut() -> f64 + Send + 'static> {
    let names: BTreeSet<EventName> = config.mapping.event_names().into_iter().collect();
    dispatch::DispatchParts {
        outbox: shared.store.outbox(),
        transport,
        sealer: shared.sealer.clone(),
        clock: shared.clock.clone(),
        settings: config.dispatch.clone(),
        metrics: shared.metrics.clone(),
        names: watch::channel(Arc::new(names)).1,
        status,
        jitter: random,
    }
}

/// A number in [0, 1); without randomness there is no jitter.
fn random() -> f64 {
    getrandom::u64().map_or(0.0, |bits| (bits >> 11) as f64 / (1_u64 << 53) as f64)
}

/// The admin API's routes.
pub(super) fn api(config: &Config, shared: &Shared) -> admin::Router {
    let database = &config.database;
    let api_url = database.api_url.as_ref().unwrap_or(&database.url);
    let (guard, resolver) = (Arc::new(Guard::new(&shared.egress)), Arc::new(Resolver::default()));
    admin::router(admin::ApiParts {
        settings: watch::channel(Arc::new(callers(config))).1,
        store: shared.store.clone(),
        refused: shared.refused.clone(),
        subscriptions: Subscriptions::new(api_url.expose(), &database.schema),
        sealer: shared.sealer.clone(),
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        health: shared.health.clone(),
        url_check: Arc::new(move |url| {
            let (guard, resolver) = (guard.clone(), resolver.clone());
            Box::pin(async move { resolver.check(&guard, &url).await })
        }),
        entropy: admin::system_entropy(),
    })
}

/// `[admin]`, and what the API needs of the rest.
fn callers(config: &Config) -> ApiSettings {
    ApiSettings {
        access: config.admin.clone(),
        envelope: config.envelope.clone(),
        known_events: config.mapping.event_names().iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests;
