//! The real sidecar on the simulated seams: what `app` is given. The only file here that knows how it is put together.
use crate::disk::Platter;
use crate::net::SimTransport;
use crate::postgres::{Filler, SYSTEM_ID};
use crate::rng::Rng;
use crate::rules::MAPPING;
use crate::schema::{SUBSCRIPTIONS, TABLES, json};
use crate::source::SimSource;
use crate::witness;
use crate::world::World;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tailhook::app::pipeline;
use tailhook::capture;
use tailhook::capture::FillRow;
use tailhook::dispatch;
use tailhook::domain::TenantId;
use tailhook::mapping::{Context, EventSpec, Mapping};
use tailhook::registry::rows::{RowChange, RowRules, snapshot_row};
use tailhook::registry::seal::Sealer;
use tailhook::settings::{DispatchSettings, EnvelopeSettings, StoreSettings};
use tailhook::store::index::memory::MemoryIndex;
use tailhook::store::{Outbox, Store, StoreError};
use tailhook::telemetry::Metrics;
use tokio::sync::watch;

/// 32 bytes of base64.
const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub(crate) fn store_settings() -> StoreSettings {
    StoreSettings {
        history: Duration::from_secs(7 * 86_400),
        history_max: 1_000_000,
        min_free: 1 << 20,
        // small, so that a seed sees many segments
        segment_bytes: 64 << 10,
        // so small that many a batch becomes a group of several frames
        frame_bytes: 700,
        ..StoreSettings::default()
    }
}

pub(crate) fn context() -> Context {
    Context {
        system_id: SYSTEM_ID.to_owned(),
        source: "gestiqcloud".to_owned(),
        max_payload: 256 << 10,
        operations: TenantId::new("operations"),
    }
}

/// Opens a store on a copy of what is certain and says how far it is.
pub(crate) async fn position_of(platter: &Arc<Platter>, world: &Arc<World>) -> Result<u64, StoreError> {
    let index = MemoryIndex::default();
    let disk = Arc::new(platter.mount());
    let (store, _) = Store::open(store_settings(), disk, index.factory(), world.clone()).await?;
    Ok(store.checkpoint().position().map_or(0, |lsn| lsn.0))
}

#[derive(serde::Deserialize)]
struct File {
    event: Vec<EventSpec>,
}

/// The outside of one life.
pub(crate) struct Ends {
    pub(crate) source: SimSource,
    pub(crate) transport: SimTransport,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) status: watch::Sender<capture::CaptureStatus>,
    pub(crate) accept_gap: Option<String>,
}

/// What every life starts with.
pub(crate) struct Sidecar {
    pub(crate) mapping: Arc<Mapping>,
    sealer: Sealer,
    metrics: Metrics,
    /// When the life before this one began.
    gaps_before: AtomicU64,
}

impl Sidecar {
    pub(crate) fn new() -> Self {
        let file: File = toml::from_str(MAPPING).unwrap();
        let mapping = Mapping::compile(file.event.into_iter().enumerate().collect()).unwrap();
        Self {
            mapping: Arc::new(mapping),
            sealer: Sealer::from_base64(MASTER_KEY).unwrap(),
            metrics: Metrics::new().unwrap(),
            gaps_before: AtomicU64::new(0),
        }
    }

    /// The rows of a first snapshot: memories and subscriptions, secrets sealed.
    pub(crate) fn filler(&self) -> Filler {
        let (mapping, sealer) = (self.mapping.clone(), self.sealer.clone());
        Box::new(move |rows| {
            let mut filled = witness::remembered(&mapping, rows);
            let spec = &TABLES[SUBSCRIPTIONS];
            let names: Vec<&str> = spec.columns.iter().map(|c| c.0).collect();
            for (_, cells) in rows.range((SUBSCRIPTIONS, 0)..(SUBSCRIPTIONS + 1, 0)) {
                let texts = cells.iter().zip(spec.columns);
                let values: Vec<Option<String>> = texts
                    .map(|(text, column)| text.as_deref().map(|t| json(column.1, Some(t)).to_string()))
                    .collect();
                let rules = RowRules { sealer: &sealer, url: &|_| Ok(()) };
                if let Some(RowChange::Put(subscription)) = snapshot_row(&names, &values, rules) {
                    filled.push(FillRow::Subscription(subscription));
                }
            }
            filled
        })
    }

    /// One life, until it is stopped, fails or is dropped.
    pub(crate) async fn run(&self, world: &Arc<World>, store: Store, ends: Ends) -> anyhow::Result<()> {
        let Ends { source, transport, stopped, status, accept_gap } = ends;
        let gaps = self.metrics.gaps.get();
        if gaps > self.gaps_before.swap(gaps, Ordering::Relaxed) + 1 {
            world.violated("a gap was counted again while it stood".to_owned());
        }
        let jitter = world.rng.fork();
        let capture = self.capture(world, &store, source, status, accept_gap);
        let dispatch = self.dispatch(world, store.outbox(), transport, jitter);
        pipeline::run(pipeline::Stages { store, capture, dispatch }, stopped).await
    }

    pub(crate) fn capture(
        &self,
        world: &Arc<World>,
        store: &Store,
        source: SimSource,
        status: watch::Sender<capture::CaptureStatus>,
        accept_gap: Option<String>,
    ) -> capture::CaptureParts<SimSource> {
        capture::CaptureParts {
            source,
            checkpoint: store.checkpoint(),
            rules: capture::CaptureRules {
                mapping: self.mapping.clone(),
                envelope: EnvelopeSettings::default(),
                subscriptions: "tailhook.webhook_subscriptions".to_owned(),
                sealer: self.sealer.clone(),
                check_url: Arc::new(|_| Ok(())),
            },
            refused: watch::Sender::default(),
            status,
            clock: world.clone(),
            metrics: self.metrics.clone(),
            identity: capture::IdentityTemplate {
                slot: "tailhook".to_owned(),
                publication: "tailhook".to_owned(),
                epoch: [7; 16],
            },
            accept_gap,
        }
    }

    pub(crate) fn dispatch(
        &self,
        world: &Arc<World>,
        outbox: Outbox,
        transport: SimTransport,
        jitter: Rng,
    ) -> dispatch::DispatchParts<SimTransport, impl FnMut() -> f64 + Send + 'static> {
        dispatch::DispatchParts {
            outbox,
            transport,
            sealer: self.sealer.clone(),
            clock: world.clone(),
            settings: DispatchSettings::default(),
            metrics: self.metrics.clone(),
            names: watch::channel(Arc::default()).1,
            status: dispatch::DispatchStatus::default(),
            jitter: move || jitter.below(1 << 20) as f64 / f64::from(1 << 20),
        }
    }
}
