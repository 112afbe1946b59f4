//! The one place where the stages meet: wiring and shutdown order. Decides nothing that a stage decides.
mod at_rest;
mod housekeeping;
mod lookups;
pub mod pipeline;
pub mod preflight;
mod wiring;

pub(crate) use wiring::engine;

use crate::admin;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::disk::RealDisk;
use crate::dispatch;
use crate::fault;
use crate::registry::seal::holds_sealed;
use crate::stop;
use crate::store::{Recovery, Store};
use crate::telemetry::Metrics;
use anyhow::Context as _;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How `run` was called.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// `--accept-gap=FROM-TO`
    pub accept_gap: Option<String>,
}

/// Runs the sidecar until `shutdown` turns true. An error says in one line why it could not start or had to end.
pub async fn run(config: Config, options: RunOptions, shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Metrics::new().context("metrics")?;
    let place = || format!("store.path = \"{}\"", config.data_folder.display());
    let disk = Arc::new(RealDisk::open(&config.data_folder).with_context(place)?);
    let store = open_store(&config, disk.clone(), &metrics, &clock).await?;
    fault::crash_point("start.opened");
    let sealer = wiring::sealer(&config, store.checkpoint().subscriptions().iter().any(holds_sealed))?;
    let store = at_rest::folder(&config, disk, store, &sealer, (&metrics, &clock)).await?;
    preflight::run(&config, store.checkpoint().position().is_some()).await?;
    at_rest::table(&config, &store, &sealer).await;
    let listener = TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("admin.listen = \"{}\" cannot be listened on", config.admin.listen))?;
    fault::crash_point("start.listening");
    let (refused, refusals) = watch::channel(Arc::default());
    let (status, capture_status) = watch::channel(crate::capture::CaptureStatus::default());
    let health = admin::Health::default();
    let egress = config.egress.clone();
    let proxy = crate::egress::Proxy::new(&egress, clock.clone())?;
    let shared = wiring::Shared {
        store: store.clone(),
        refused: refusals,
        sealer,
        clock,
        metrics: metrics.clone(),
        health: health.clone(),
        egress,
    };
    let dispatch_status = dispatch::DispatchStatus::default();
    let stages = pipeline::Stages {
        capture: wiring::capture(&config, &options, &shared, (refused, status))?,
        dispatch: wiring::dispatch(&config, &shared, proxy, dispatch_status),
        store: store.clone(),
    };
    let api = wiring::api(&config, &shared);
    let (end, ended) = watch::channel(false);
    let mut beside = JoinSet::new();
    beside.spawn(admin::serve(listener, api, {
        let mut ended = ended.clone();
        async move { stop::requested(&mut ended).await }
    }));
    beside.spawn(housekeeping::follow(capture_status, health.clone(), metrics.clone(), ended.clone()));
    beside.spawn(housekeeping::slot(config.clone(), store, metrics, ended));
    info!("listening on http://{} (API, /healthz, /readyz, /metrics)", config.admin.listen);
    let result = run_pipeline(stages, health, shutdown).await;
    // the admin API goes last: it has answered 503 on /readyz since the stop began
    fault::crash_point("stop.pipeline-ended");
    end.send_replace(true);
    while beside.join_next().await.is_some() {}
    if result.is_ok() {
        info!("stopped; nothing is in flight");
    }
    result
}

async fn run_pipeline<S, T, J>(
    stages: pipeline::Stages<S, T, J>,
    health: admin::Health,
    mut shutdown: watch::Receiver<bool>,
) -> anyhow::Result<()>
where
    S: crate::capture::Source,
    T: crate::egress::Transport,
    J: FnMut() -> f64 + Send + 'static,
{
    let (end, ended) = watch::channel(false);
    let mut running = std::pin::pin!(pipeline::run(stages, ended));
    tokio::select! {
        biased;
        ended = &mut running => return ended,
        () = stop::requested(&mut shutdown) => {}
    }
    fault::crash_point("stop.asked");
    health.set_stopping();
    end.send_replace(true);
    running.await
}

async fn open_store(
    config: &Config,
    disk: Arc<RealDisk>,
    metrics: &Metrics,
    clock: &SharedClock,
) -> anyhow::Result<Store> {
    let place = || format!("store.path = \"{}\"", config.data_folder.display());
    let (store, recovery) = wiring::store(config, disk, metrics, clock).await.with_context(place)?;
    let Recovery { torn_bytes, replayed_frames, rebuilt, .. } = recovery;
    if torn_bytes > 0 {
        warn!(
            "the journal ended in {torn_bytes} bytes of an unfinished frame, which were cut off; nothing acknowledged was in them"
        );
    }
    if let Some(why) = rebuilt {
        warn!("the index is being rebuilt from the journal ({why}): nothing is sent until that is done");
    }
    if replayed_frames > 0 {
        info!("{replayed_frames} journal frames were replayed into the index");
    }
    Ok(store)
}
