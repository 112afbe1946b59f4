//! What runs beside the stages: health from capture's status, slot metrics, the heartbeat. Stops nothing when it fails.
use crate::admin::Health;
use crate::capture::{CaptureStatus, TableGap};
use crate::config::Config;
use crate::postgres::session::Patience;
use crate::postgres::{PgError, Session, slot};
use crate::stop;
use crate::store::Store;
use crate::telemetry::Metrics;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

/// How often the slot is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Less WAL than this until the slot is lost is said loudly.
const LITTLE_WAL: i64 = 1 << 30;

/// Keeps `/readyz` true.
pub(super) async fn follow(
    mut status: watch::Receiver<CaptureStatus>,
    health: Health,
    metrics: Metrics,
    mut ended: watch::Receiver<bool>,
) {
    loop {
        let CaptureStatus { streaming, gap, table_gaps, unmended, .. } = status.borrow_and_update().clone();
        health.set_streaming(streaming);
        health.set_gap(gap);
        metrics.table_gaps.set(table_gaps.len() as i64);
        degrade(&health, &table_gaps, unmended.as_deref());
        tokio::select! {
            biased;
            () = stop::requested(&mut ended) => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}

fn degrade(health: &Health, gaps: &[TableGap], unmended: Option<&str>) {
    let mends = unmended.unwrap_or("it is filled anew as soon as it can be");
    let line =
        |gap: &TableGap| format!("{} has no events from {} on: {}; {mends}", gap.table, gap.from, gap.reason);
    let object = |gap: &TableGap| serde_json::json!({"table": gap.table, "from": gap.from.to_string(), "reason": gap.reason, "mends": mends});
    health.set_degraded(gaps.iter().map(line).collect(), gaps.iter().map(object).collect());
}

/// Watches the slot and writes the heartbeat, on one connection that is made anew when it breaks.
pub(super) async fn slot(config: Config, store: Store, metrics: Metrics, mut ended: watch::Receiver<bool>) {
    let mut look = interval(LOOK.min(config.database.heartbeat));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher { config, metrics, session: None, beat: Instant::now() };
    loop {
        tokio::select! {
            biased;
            () = stop::requested(&mut ended) => return,
            _ = look.tick() => {
                let vitals = store.vitals();
                watcher.metrics.pending.set(vitals.pending as i64);
                watcher.metrics.index_lag.set(vitals.index_lag_frames as i64);
                if let Err(why) = watcher.look().await {
                    debug!("the slot cannot be looked at: {why}");
                    watcher.session = None;
                }
            }
        }
    }
}

struct Watcher {
    config: Config,
    metrics: Metrics,
    session: Option<Session>,
    beat: Instant,
}

impl Watcher {
    async fn look(&mut self) -> Result<(), PgError> {
        let database = &self.config.database;
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::connect(database.url.expose(), Patience::REQUEST).await?),
        };
        if let Some(health) = slot::health(session.client(), &database.slot).await? {
            self.metrics.slot_lag_bytes.set(health.lag_bytes);
            self.metrics.slot_safe_wal_bytes.set(health.safe_wal_bytes.unwrap_or(-1));
            if let Some(safe) = health.safe_wal_bytes.filter(|safe| *safe < LITTLE_WAL) {
                warn!(
                    "slot \"{}\" is {safe} bytes of WAL from being lost (max_slot_wal_keep_size); {} bytes wait for us",
                    database.slot, health.lag_bytes
                );
            }
        }
        if self.beat.elapsed() >= database.heartbeat {
            self.beat = Instant::now();
            slot::heartbeat(session.client()).await?;
        }
        Ok(())
    }
}
