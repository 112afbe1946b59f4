//! The capture loop: connect, judge, fill once, stream, and again. Knows neither SQL nor HTTP; decides nothing that
//! `slot`, `feedback` or `mapping` decide.
use crate::capture::follow::batch::CaptureRules;
use crate::capture::follow::fill;
use crate::capture::follow::slot::{self, KnownHistory as Remembered, Verdict};
use crate::capture::follow::stream::{self, StreamEnded};
use crate::capture::source::{Source, SourceError, Survey};
use crate::clock::SharedClock;
use crate::domain::Lsn;
use crate::fault;
use crate::registry::Routing;
use crate::stop;
use crate::store::{Batch, Identity, Record, Store, StoreError};
use crate::telemetry::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Why capture ended for good.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing can be streamed before an operator mends this.
    #[error("{0}")]
    Operator(String),
    /// The journal is damaged or closed.
    #[error(transparent)]
    Store(StoreError),
}

/// What capture does now; for `/readyz`, metrics and the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureStatus {
    /// The stream is open.
    pub streaming: bool,
    /// A gap that nobody has accepted.
    pub gap: Option<String>,
    /// Why it is not streaming.
    pub problem: Option<String>,
}

/// Everything capture needs.
#[derive(Debug)]
pub struct CaptureParts<S> {
    /// The slot.
    pub source: S,
    /// Where everything becomes durable.
    pub store: Store,
    /// How transactions become events.
    pub rules: CaptureRules,
    /// Published after each durable batch.
    pub routing: watch::Sender<Arc<Routing>>,
    /// Published on every change.
    pub status: watch::Sender<CaptureStatus>,
    /// Wall clock, for lag.
    pub clock: SharedClock,
    /// Metrics.
    pub metrics: Metrics,
    /// Slot name, publication, shadow plan and (random) epoch for a first start; system id and database are filled in.
    pub identity: Identity,
    /// `--accept-gap=FROM-TO`; used up by the first gap that it names.
    pub accept_gap: Option<String>,
}

/// Runs until `shutdown`; reconnects for ever with backoff. Ends early only if an operator is needed before anything
/// was ever followed, or if the journal is damaged or was written by a newer version.
pub async fn run<S: Source>(
    mut parts: CaptureParts<S>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), CaptureError> {
    let mut failures = 0_u32;
    loop {
        let prepared = tokio::select! {
            biased;
            () = stop::requested(&mut shutdown) => return Ok(()),
            prepared = prepare(&mut parts) => prepared,
        };
        let streamed = prepared.is_ok();
        let result = match prepared {
            Ok(from) => stream::run(&mut parts, from, &mut shutdown).await,
            Err(failed) => Err(failed),
        };
        // a gap stands until something is streamed again
        parts.status.send_modify(|status| (status.streaming, status.problem) = (false, None));
        if !(matches!(result, Ok(StreamEnded::Blocked(_))) && fault::planted("no-close-when-blocked")) {
            parts.source.stop().await;
        }
        failures = if streamed { 0 } else { failures.saturating_add(1) };
        let pause = match result {
            Ok(StreamEnded::Shutdown) => return Ok(()),
            Ok(StreamEnded::Blocked(why)) => {
                error!("the replication connection is closed until the data folder can be written: {why}");
                parts.status.send_modify(|status| status.problem = Some(why));
                tokio::select! {
                    biased;
                    () = stop::requested(&mut shutdown) => return Ok(()),
                    () = parts.store.writable() => {}
                }
                Duration::from_millis(100)
            }
            Err(SessionError::Store(
                failed @ (StoreError::Damaged(_) | StoreError::Newer(_) | StoreError::Closed),
            )) => {
                return Err(CaptureError::Store(failed));
            }
            Err(SessionError::Store(failed)) => note(&parts, &failed.to_string(), failures),
            Err(SessionError::Source(failed)) => refuse_or_pause(&parts, &failed, failures)?,
        };
        tokio::select! {
            biased;
            () = stop::requested(&mut shutdown) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture) struct Position {
    /// The journal's position.
    pub(in crate::capture) from: Lsn,
    /// Where rows of a snapshot are to be taken into the shadow, if the mapping remembers more than before.
    pub(in crate::capture) fill_at: Option<Lsn>,
}

/// What ends a session early.
#[derive(Debug)]
pub(in crate::capture) enum SessionError {
    /// The server's side.
    Source(SourceError),
    /// Our side.
    Store(StoreError),
}
impl From<SourceError> for SessionError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}
impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Nothing was ever followed: then nothing is lost by ending, and an error that needs a person is best told at once.
fn never_followed<S>(parts: &CaptureParts<S>) -> bool {
    parts.store.position().is_none()
}

fn refuse_or_pause<S>(
    parts: &CaptureParts<S>,
    failed: &SourceError,
    failures: u32,
) -> Result<Duration, CaptureError> {
    let text = failed.to_string();
    match failed {
        SourceError::Gap(_) => {
            if parts.status.borrow().gap.is_none() {
                parts.metrics.gaps.inc();
                error!("gap: {text}");
            }
            parts.status.send_modify(|status| status.gap = Some(text));
            Ok(Duration::from_secs(30))
        }
        SourceError::Operator(_) | SourceError::Malformed(_) if never_followed(parts) => {
            Err(CaptureError::Operator(text))
        }
        SourceError::Operator(_) | SourceError::Malformed(_) | SourceError::RetrySlowly(_)
            if !never_followed(parts) =>
        {
            note(parts, &text, failures);
            Ok(Duration::from_secs(30))
        }
        SourceError::RetrySlowly(_) => Err(CaptureError::Operator(text)),
        _ => Ok(note(parts, &text, failures)),
    }
}

/// Says why there is no stream and how long to wait: 0.2 s, doubling to 10 s.
fn note<S>(parts: &CaptureParts<S>, why: &str, failures: u32) -> Duration {
    let pause = Duration::from_millis(200 << failures.min(6)).min(Duration::from_secs(10));
    warn!("not streaming: {why}; next try in {:.1} s", pause.as_secs_f64());
    parts.status.send_modify(|status| status.problem = Some(why.to_owned()));
    pause
}

/// Connects, judges what stands on the server, fills once if nothing was ever followed, and starts the stream.
async fn prepare<S: Source>(parts: &mut CaptureParts<S>) -> Result<Position, SessionError> {
    let survey = parts.source.survey().await?;
    fault::crash_point("capture.surveyed");
    parts.rules.context.system_id.clone_from(&survey.system_id);
    let (identity, filling) = (parts.store.identity(), parts.store.filling());
    let memory = match (&identity, parts.store.position(), &filling) {
        (_, _, Some(filling)) => Remembered::Filling(filling),
        (Some(identity), Some(position), None) => Remembered::Following(identity, position),
        _ => Remembered::Empty,
    };
    let from = match slot::judge(&parts.identity.slot, memory, &survey) {
        Verdict::Start { from } => {
            if let Some(range) = parts.accept_gap.take() {
                warn!("--accept-gap={range}: there is no gap, so nothing is accepted");
            }
            from
        }
        Verdict::FirstStart => fill::first(parts, &survey).await?,
        Verdict::Refill => {
            warn!("the first snapshot was interrupted before anything was followed: the slot is made again");
            parts.source.drop_slot().await?;
            fault::crash_point("refill.dropped");
            fill::first(parts, &survey).await?
        }
        Verdict::Wait { pid } => {
            return Err(SourceError::Retry(format!(
                "slot \"{}\" is in use by process {pid}",
                parts.identity.slot
            ))
            .into());
        }
        Verdict::Gap(gap) if parts.accept_gap.as_deref().is_some_and(|range| gap.is_accepted_by(range)) => {
            warn!(
                "gap {gap} accepted ({}): a new slot is made; what was committed until then has no events",
                gap.reason
            );
            if let Some(slot) = &survey.slot {
                if slot.plugin != "pgoutput" || slot.database != survey.database {
                    return Err(SourceError::Operator(format!(
                        "slot \"{}\" belongs to somebody else: choose another name for database.slot",
                        parts.identity.slot
                    ))
                    .into());
                }
                parts.source.drop_slot().await?;
            }
            fault::crash_point("gap.accepted");
            let from = fill::first(parts, &survey).await?;
            fault::crash_point("gap.followed");
            from
        }
        Verdict::Gap(gap) => {
            return Err(SourceError::Gap(format!(
                "{gap}: {}; nothing is streamed until `tailhook run --accept-gap={gap}` accepts that its changes have no \
                 events, or the right database is back",
                gap.reason
            ))
            .into());
        }
    };
    // used or not: what it named is passed, and a gap that comes later is another one
    parts.accept_gap = None;
    note_timeline(parts, &survey).await?;
    let fill_at = fill::prepare(parts).await?;
    fault::crash_point("capture.before-start");
    parts.source.start(from).await?;
    fault::crash_point("capture.started");
    info!("streaming from {from} (slot \"{}\", timeline {})", parts.identity.slot, survey.timeline);
    parts.status.send_replace(CaptureStatus { streaming: true, ..CaptureStatus::default() });
    Ok(Position { from, fill_at })
}

/// A promoted server whose history contains our position: remember its timeline.
async fn note_timeline<S: Source>(parts: &mut CaptureParts<S>, survey: &Survey) -> Result<(), SessionError> {
    let Some(ours) = parts.store.identity() else { return Ok(()) };
    if ours.timeline == survey.timeline {
        return Ok(());
    }
    info!(
        "the server is on timeline {} now (was {}); its history contains our position",
        survey.timeline, ours.timeline
    );
    let identity = Identity { timeline: survey.timeline, ..ours };
    Ok(parts.store.commit(Batch { records: vec![Record::Identity(identity)] }).await?)
}
