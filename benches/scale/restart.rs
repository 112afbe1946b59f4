//! A million deliveries that are owed: how long a start takes, and what a delivery costs beside them.
use crate::house::{Deliveries, House, lane, tenant, url};
use crate::report::{Watch, figure};
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tailhook::clock::SystemClock;
use tailhook::dispatch::{self, DispatchParts};
use tailhook::domain::{Outcome, Pattern, Subscription};
use tailhook::egress::{Request, Transport};
use tailhook::registry::seal::Sealer;
use tailhook::settings::DispatchSettings;
use tailhook::store::Record;
use tailhook::telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::sleep;

const LANES: u128 = 100;
const BATCH: u64 = 1_000;
/// Attempts that are timed.
const ATTEMPTS: u64 = 20_000;

/// Makes the backlog.
pub(crate) async fn fill(folder: &Path, size: u64) -> anyhow::Result<()> {
    let house = House::open(folder).await?;
    let deliveries = Deliveries::new(size, LANES)?;
    let watch = Watch::begin();
    house.commit((0..LANES).map(|n| Record::Subscription(Box::new(subscription(n)))).collect()).await?;
    for first in (0..size).step_by(BATCH as usize) {
        house.commit(deliveries.captured(first..(first + BATCH).min(size)).0).await?;
    }
    house.indexed().await;
    figure("queueing: per delivery", watch.seconds() * 1e6 / size as f64, "µs");
    let [journal, _, index] = house.bytes()?;
    figure("journal", journal as f64 / 1e6, "MB");
    figure("index", index as f64 / 1e6, "MB");
    house.close().await
}

fn subscription(n: u128) -> Subscription {
    Subscription {
        id: lane(n),
        tenant: tenant(),
        pattern: Pattern::Any,
        url: url(lane(n)),
        secret: None,
        active: true,
        created_us: 1,
        updated_us: 1,
        options: tailhook::domain::Options::default(),
    }
}

/// Says yes at once, and counts.
#[derive(Debug, Clone, Default)]
struct Yes(Arc<AtomicU64>);

impl Transport for Yes {
    async fn send(&self, _request: Request) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome { answer: Ok(200), detail: None, retry_after_ms: None, duration_us: 1 }
    }
}

/// Opens it again and delivers some.
pub(crate) async fn deliver(folder: &Path, _size: u64) -> anyhow::Result<()> {
    let watch = Watch::begin();
    let house = House::open(folder).await?;
    let after = house.after();
    figure(&format!("{after}open"), watch.seconds() * 1e3, "ms");
    let transport = Yes::default();
    let (_names, names) = watch::channel(Arc::new(BTreeSet::new()));
    let (stop, stopped) = watch::channel(false);
    let parts = DispatchParts {
        outbox: house.store.outbox(),
        transport: transport.clone(),
        sealer: Sealer::plaintext(),
        clock: Arc::new(SystemClock),
        settings: DispatchSettings { max_pending: u64::MAX, ..DispatchSettings::default() },
        metrics: Metrics::new().context("metrics")?,
        names,
        status: dispatch::DispatchStatus::default(),
        jitter: || 0.0,
    };
    let owed = house.store.vitals().pending;
    anyhow::ensure!(owed > 0, "nothing is owed");
    let began = Watch::begin();
    let measure = async {
        while transport.0.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        figure(&format!("{after}to the first attempt after that"), began.seconds() * 1e3, "ms");
        let watch = Watch::begin();
        let before = transport.0.load(Ordering::Relaxed).min(owed);
        let attempts = ATTEMPTS.min((owed - before) / 4);
        while transport.0.load(Ordering::Relaxed) < before + attempts {
            sleep(Duration::from_millis(5)).await;
        }
        figure(
            &format!("{after}an attempt beside them: time"),
            watch.seconds() * 1e6 / attempts as f64,
            "µs",
        );
        figure(
            &format!("{after}an attempt beside them: CPU"),
            watch.cpu_seconds() * 1e6 / attempts as f64,
            "µs",
        );
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(Box::pin(dispatch::run(parts, stopped)), measure);
    ended?;
    house.close().await
}
