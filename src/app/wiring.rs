//! Configuration → what each stage takes. Starts nothing.
use super::Options;
use super::lookups::Lender;
use crate::admin;
use crate::capture::batch::UrlCheck;
use crate::capture::{self, PostgresSource, Rules};
use crate::clock::SharedClock;
use crate::config::{self, Config};
use crate::dispatch;
use crate::domain::{EventName, Ordering, TenantId};
use crate::egress::guard::Guard;
use crate::egress::resolve::Resolver;
use crate::egress::{self, Proxy};
use crate::fault;
use crate::mapping::Context;
use crate::postgres::TableName;
use crate::postgres::subscriptions::Subscriptions;
use crate::registry::seal::Sealer;
use crate::registry::{Routing, master_key};
use crate::store::{self, Engine, FlushObserver, Identity, RealDisk, Recovery, Store, StoreError, engine};
use crate::telemetry::Metrics;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What several stages hold.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) routing: watch::Receiver<Arc<Routing>>,
    pub(super) sealer: Sealer,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    pub(super) health: admin::Health,
    pub(super) egress: egress::Settings,
}

/// Opens journal and index.
pub(super) async fn store(
    config: &Config,
    disk: RealDisk,
    metrics: &Metrics,
    clock: &SharedClock,
) -> Result<(Store, Recovery), StoreError> {
    let flush_seconds = metrics.flush_seconds.clone();
    let defaults = store::Settings::default();
    let upkeep_ms = fault::instead("TAILHOOK_UPKEEP_MS", defaults.upkeep_every.as_millis() as u64);
    let settings = store::Settings {
        history: config.store.history,
        history_max: config.store.history_max,
        min_free: config.store.min_free,
        segment_bytes: fault::instead("TAILHOOK_SEGMENT_BYTES", defaults.segment_bytes),
        upkeep_every: Duration::from_millis(upkeep_ms),
        observe_flush: FlushObserver::new(move |took| flush_seconds.observe(took.as_secs_f64())),
        ..defaults
    };
    let index = engine(config).factory(config.store.path.join("index"), engine::memory_bytes());
    Store::open(settings, Arc::new(disk), index, clock.clone()).await
}

/// `store.index`
pub(crate) fn engine(config: &Config) -> Engine {
    match config.store.index {
        config::IndexEngine::Lsm => Engine::Lsm,
        config::IndexEngine::Sled => Engine::Sled,
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

/// `[egress]`.
pub(super) fn egress(config: &Config) -> egress::Settings {
    let config::Egress { allow_http, allow_networks, ports, ca_files } = config.egress.clone();
    egress::Settings {
        allow_http,
        allow_networks,
        ports,
        ca_files,
        user_agent: config.delivery.user_agent.clone(),
    }
}

/// Everything capture needs.
pub(super) fn capture(
    config: &Config,
    options: &Options,
    shared: &Shared,
    publish: (watch::Sender<Arc<Routing>>, watch::Sender<capture::Status>),
) -> anyhow::Result<capture::Parts<PostgresSource>> {
    let database = &config.database;
    let guard = Guard::new(&shared.egress);
    let check_url: UrlCheck = Arc::new(move |url| guard.check_url(url));
    let lender = Lender {
        url: database.url.clone(),
        schema: database.schema.clone(),
        publication: database.publication.clone(),
        sealer: shared.sealer.clone(),
        check_url: check_url.clone(),
    };
    let settings = capture::Settings::new(database.url.expose(), &database.slot, &database.publication)
        .map_err(|why| anyhow::anyhow!("database.url: {why}"))?;
    let mut epoch = [0; 16];
    getrandom::fill(&mut epoch).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(capture::Parts {
        source: PostgresSource::new(settings, lender.lookups(), shared.clock.clone()),
        store: shared.store.clone(),
        rules: Rules {
            mapping: Arc::new(config.mapping.clone()),
            context: Context {
                // part of every id: known once connected, see `capture::run`
                system_id: String::new(),
                source: config.delivery.source.clone(),
                max_payload: config.delivery.max_payload as usize,
                operations: TenantId::new(&config.operations.tenant),
            },
            subscriptions: TableName::subscriptions(&database.schema).to_string(),
            sealer: shared.sealer.clone(),
            check_url,
        },
        routing: publish.0,
        status: publish.1,
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        identity: Identity {
            system_id: String::new(),
            timeline: 0,
            database: String::new(),
            slot: database.slot.clone(),
            publication: database.publication.clone(),
            epoch,
            shadow_plan: String::new(),
        },
        accept_gap: options.accept_gap.clone(),
    })
}

/// Everything dispatch needs.
pub(super) fn dispatch(
    config: &Config,
    shared: &Shared,
    transport: Proxy,
    status: dispatch::Status,
) -> dispatch::Parts<Proxy, impl FnMut() -> f64 + Send + 'static> {
    let names: BTreeSet<EventName> = config.mapping.event_names().into_iter().collect();
    dispatch::Parts {
        store: shared.store.clone(),
        transport,
        routing: shared.routing.clone(),
        sealer: shared.sealer.clone(),
        clock: shared.clock.clone(),
        settings: delivery(&config.delivery),
        metrics: shared.metrics.clone(),
        names: watch::channel(Arc::new(names)).1,
        status,
        jitter: random,
    }
}

fn delivery(delivery: &config::Delivery) -> dispatch::Settings {
    let config::Backoff { base, factor, max, jitter } = delivery.backoff;
    dispatch::Settings {
        timeout: delivery.timeout,
        max_retries: delivery.max_retries,
        backoff: dispatch::Backoff { base, factor, max, jitter },
        expire_after: delivery.expire_after,
        max_pending: delivery.max_pending,
        ordering: match delivery.ordering {
            config::Ordering::Resource => Ordering::Resource,
            config::Ordering::Endpoint => Ordering::Endpoint,
            config::Ordering::None => Ordering::None,
        },
        concurrency: delivery.concurrency as usize,
        per_endpoint: dispatch::PerEndpoint {
            concurrency: delivery.per_endpoint.concurrency as usize,
            rate: delivery.per_endpoint.rate,
            burst: delivery.per_endpoint.burst,
        },
        breaker: dispatch::BreakerSettings {
            failures: delivery.breaker.failures,
            open_for: delivery.breaker.open_for,
        },
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
    let known_events = config.mapping.event_names().iter().map(ToString::to_string).collect();
    let settings = admin::Settings {
        listen: config.admin.listen,
        allowed_hosts: config.admin.allowed_hosts.clone(),
        tokens: config.admin.tokens.iter().map(token).collect(),
        source: config.delivery.source.clone(),
        max_payload: config.delivery.max_payload as usize,
        known_events,
    };
    admin::router(admin::Parts {
        settings: watch::channel(Arc::new(settings)).1,
        store: shared.store.clone(),
        routing: shared.routing.clone(),
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

fn token(token: &config::AdminToken) -> admin::Token {
    admin::Token {
        name: token.name.clone(),
        sha256: token.sha256,
        tenant: token.tenant.clone(),
        write: token.scope == config::Scope::Write,
    }
}
