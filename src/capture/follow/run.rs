//! Purpose: supervises capture: connect, judge what stands on the server, fill once, hand over to a session, and again after a pause.
//! Must not: stream, speak SQL, or decide what `slot` decides.
use crate::capture::follow::batch::CaptureRules;
use crate::capture::follow::fill;
use crate::capture::follow::memory::Memory;
use crate::capture::follow::publish::Publisher;
use crate::capture::follow::session::{CaptureHandles, CaptureSession};
use crate::capture::follow::slot::{self, Gap, IdentityTemplate, KnownHistory, Verdict};
use crate::capture::follow::status::{CaptureError, CaptureStatus, SessionEnded, SessionError};
use crate::capture::follow::tables::TableGap;
use crate::capture::follow::watch as watching;
use crate::capture::source::{Source, SourceError, Survey};
use crate::clock::SharedClock;
use crate::domain::{KeepingError, Lsn};
use crate::fault;
use crate::registry::RefusedRows;
use crate::stop;
use crate::store::{Batch, Checkpoint, Identity, Record};
use crate::telemetry::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Everything capture needs.
#[derive(Debug)]
pub struct CaptureParts<S> {
    /// The slot.
    pub source: S,
    /// Where everything becomes durable.
    pub checkpoint: Checkpoint,
    /// How transactions become events.
    pub rules: CaptureRules,
    /// Rows of `webhook_subscriptions` that are not routed, for the API.
    pub refused: watch::Sender<Arc<RefusedRows>>,
    /// Published on every change.
    pub status: watch::Sender<CaptureStatus>,
    /// Wall clock, for lag.
    pub clock: SharedClock,
    /// Metrics.
    pub metrics: Metrics,
    /// What the configuration says of a history that is begun.
    pub identity: IdentityTemplate,
    /// `--accept-gap=FROM-TO`; used up by the first gap that it names.
    pub accept_gap: Option<String>,
}

/// Runs until `shutdown`; reconnects for ever with backoff. Ends early only if an operator is needed before anything
/// was ever followed, or if the journal is damaged or was written by a newer version.
pub async fn run<S: Source>(
    parts: CaptureParts<S>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), CaptureError> {
    let mut supervisor = Supervisor::new(parts);
    loop {
        let connected = tokio::select! {
            biased;
            () = stop::requested(&mut shutdown) => return Ok(()),
            connected = supervisor.connect() => connected,
        };
        let streamed = connected.is_ok();
        let result = match connected {
            Ok(session) => session.run(&mut shutdown).await,
            Err(failed) => Err(failed),
        };
        let Some(pause) = supervisor.ended(result, streamed, &mut shutdown).await? else { return Ok(()) };
        tokio::select! {
            biased;
            () = stop::requested(&mut shutdown) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What outlives a session.
struct Supervisor<S> {
    source: S,
    handles: CaptureHandles,
    identity: IdentityTemplate,
    accept_gap: Option<String>,
    /// Where the stream began while an acceptance had no gap to accept yet: only reading on may show it.
    unused: Option<(String, Lsn)>,
    /// The last stream ended in a gap.
    gap_in_stream: bool,
    /// Attempts in a row that did not come to a stream.
    failures: u32,
}

impl<S: Source> Supervisor<S> {
    fn new(parts: CaptureParts<S>) -> Self {
        let CaptureParts { source, checkpoint, rules, refused, status, clock, metrics, identity, accept_gap } =
            parts;
        let publisher = Publisher::new(refused, clock, metrics);
        let handles = CaptureHandles { checkpoint, rules: Arc::new(rules), publisher, status };
        Self { source, handles, identity, accept_gap, unused: None, gap_in_stream: false, failures: 0 }
    }

    /// Connects, judges what stands on the server, fills once if nothing was ever followed, and starts the stream.
    async fn connect(&mut self) -> Result<CaptureSession<'_, S>, SessionError> {
        let survey = self.source.survey().await?;
        fault::crash_point("capture.surveyed");
        let from = self.judge(&survey).await?;
        // used or not: what it named is passed, and a gap that comes later is another one
        self.accept_gap = None;
        self.note_timeline(&survey).await?;
        let context = self.handles.rules.context(&survey.system_id);
        let session =
            CaptureSession::open(&mut self.source, &self.handles, context, from, survey.wal_end).await?;
        info!("streaming from {from} (slot \"{}\", timeline {})", self.identity.slot, survey.timeline);
        Ok(session)
    }

    /// The position to stream from.
    async fn judge(&mut self, survey: &Survey) -> Result<Lsn, SessionError> {
        let checkpoint = &self.handles.checkpoint;
        let (identity, filling) = (checkpoint.identity(), checkpoint.filling());
        let known = match (&identity, checkpoint.position(), &filling) {
            (_, _, Some(filling)) => KnownHistory::Filling(filling),
            (Some(identity), Some(position), None) => KnownHistory::Following(identity, position),
            _ => KnownHistory::Empty,
        };
        match slot::judge(&self.identity.slot, known, survey) {
            Verdict::Start { from } => {
                self.unused = self.accept_gap.take().map(|range| (range, from));
                if let Some((range, _)) = &self.unused {
                    warn!("--accept-gap={range}: there is no gap, so nothing is accepted");
                }
                Ok(from)
            }
            Verdict::FirstStart => self.begin(survey).await,
            Verdict::Refill => {
                warn!(
                    "the first snapshot was interrupted before anything was followed: the slot is made again"
                );
                self.source.drop_slot().await?;
                fault::crash_point("refill.dropped");
                self.begin(survey).await
            }
            Verdict::Wait { pid } => {
                let slot = &self.identity.slot;
                Err(SourceError::Retry(format!("slot \"{slot}\" is in use by process {pid}")).into())
            }
            Verdict::Gap(gap) => self.pass(&gap, survey).await,
        }
    }

    /// A gap: the operator has accepted it, or nothing is streamed.
    async fn pass(&mut self, gap: &Gap, survey: &Survey) -> Result<Lsn, SessionError> {
        if !self.accept_gap.as_deref().is_some_and(|range| gap.is_accepted_by(range)) {
            return Err(SourceError::Gap(format!(
                "{gap}: {}; nothing is streamed until `tailhook run --accept-gap={gap}` accepts that its changes have no \
                 events, or the right database is back",
                gap.reason
            ))
            .into());
        }
        warn!(
            "gap {gap} accepted ({}): a new slot is made; what was committed until then has no events",
            gap.reason
        );
        if let Some(slot) = &survey.slot {
            if slot.plugin != "pgoutput" || slot.database != survey.database {
                return Err(SourceError::Operator(format!(
                    "slot \"{}\" belongs to somebody else: choose another name for database.slot",
                    self.identity.slot
                ))
                .into());
            }
            self.source.drop_slot().await?;
        }
        fault::crash_point("gap.accepted");
        let from = self.begin(survey).await?;
        fault::crash_point("gap.followed");
        Ok(from)
    }

    /// A history begins: with a slot and its snapshot.
    async fn begin(&mut self, survey: &Survey) -> Result<Lsn, SessionError> {
        self.last_look(survey).await?;
        let CaptureHandles { checkpoint, rules, publisher, .. } = &self.handles;
        let identity = self.identity.complete(survey, String::new());
        let from = fill::first(&mut self.source, checkpoint, &rules.mapping, identity).await?;
        publisher.begin();
        Ok(from)
    }

    /// Before what was followed is given up: tables that changed while it still was have lost events too, before the slot's gap.
    async fn last_look(&mut self, survey: &Survey) -> Result<(), SessionError> {
        let CaptureHandles { checkpoint, rules, publisher, status } = &self.handles;
        let (Some(identity), Some(position)) = (checkpoint.identity(), checkpoint.position()) else {
            return Ok(());
        };
        let mut memory = Memory::new(&rules.mapping, &identity.shadow_plan);
        let look = self.source.look().await?;
        let gaps = memory.tables.compare(&look, rules.mapping.plan(), position);
        if gaps.is_empty() {
            return Ok(());
        }
        for TableGap { table, from, reason } in &gaps {
            error!("gap of the table {table} from {from} on: {reason}; it ends with the slot's");
        }
        let open = memory.tables.gaps().cloned().collect();
        status.send_modify(|status| status.table_gaps = open);
        let (context, now_us) = (rules.context(&survey.system_id), publisher.now_us());
        let mut prepared = watching::announcement(rules, &context, &gaps, memory.text(), checkpoint, now_us);
        for batch in std::mem::take(&mut prepared.batches) {
            checkpoint.commit(batch).await?;
        }
        publisher.durable(prepared);
        Ok(())
    }

    /// A promoted server whose history contains our position: remember its timeline.
    async fn note_timeline(&mut self, survey: &Survey) -> Result<(), SessionError> {
        match self.handles.checkpoint.identity() {
            Some(ours) if ours.timeline != survey.timeline => {
                info!(
                    "the server is on timeline {} now (was {}); its history contains our position",
                    survey.timeline, ours.timeline
                );
                let identity = Identity { timeline: survey.timeline, ..ours };
                let records = vec![Record::Identity(identity)];
                Ok(self.handles.checkpoint.commit(Batch { records }).await?)
            }
            _ => Ok(()),
        }
    }

    /// A session has ended, or none came to be: how long to pause before the next; `None`: it was asked to stop.
    async fn ended(
        &mut self,
        result: Result<SessionEnded, SessionError>,
        streamed: bool,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Option<Duration>, CaptureError> {
        // a gap stands until something is streamed again
        self.handles.status.send_modify(|status| (status.streaming, status.problem) = (false, None));
        let kept = matches!(result, Ok(SessionEnded::Blocked(_))) && fault::planted("no-close-when-blocked");
        if !kept {
            self.source.stop().await;
        }
        self.failures = if streamed { 0 } else { self.failures.saturating_add(1) };
        self.keep_acceptance(&result);
        let in_stream = streamed && matches!(result, Err(SessionError::Source(SourceError::Gap(_))));
        // the server is looked at before a gap is reported: that names its range
        let look_first = !std::mem::replace(&mut self.gap_in_stream, in_stream) && in_stream;
        match result {
            Ok(SessionEnded::Shutdown) => Ok(None),
            Ok(SessionEnded::Blocked(why)) => {
                error!("the replication connection is closed until the data folder can be written: {why}");
                self.handles.status.send_modify(|status| status.problem = Some(why));
                tokio::select! {
                    biased;
                    () = stop::requested(shutdown) => return Ok(None),
                    () = self.handles.checkpoint.writable() => {}
                }
                Ok(Some(Duration::from_millis(100)))
            }
            Err(SessionError::Store(
                failed @ (KeepingError::Unusable(_) | KeepingError::Fenced(_) | KeepingError::Gone),
            )) => Err(CaptureError::Store(failed)),
            Err(SessionError::Store(failed)) => Ok(Some(self.note(&failed.to_string()))),
            Err(SessionError::Source(failed)) if look_first => Ok(Some(self.note(&failed.to_string()))),
            Err(SessionError::Source(failed)) => self.refuse_or_pause(&failed).map(Some),
        }
    }

    /// An acceptance is kept only where the stream it was given for has ended before anything of it was taken, in a gap.
    fn keep_acceptance(&mut self, result: &Result<SessionEnded, SessionError>) {
        let Some((range, from)) = self.unused.take() else { return };
        let unread = matches!(result, Err(SessionError::Source(SourceError::Gap(_))));
        if unread && self.handles.checkpoint.position() == Some(from) {
            self.accept_gap = Some(range);
        }
    }

    fn refuse_or_pause(&self, failed: &SourceError) -> Result<Duration, CaptureError> {
        let text = failed.to_string();
        // nothing is lost by ending then, and an error that needs a person is best told at once
        let never_followed = self.handles.checkpoint.position().is_none();
        match failed {
            SourceError::Gap(_) => {
                if self.handles.status.borrow().gap.is_none() {
                    self.handles.publisher.gap();
                    error!("gap: {text}");
                }
                self.handles.status.send_modify(|status| status.gap = Some(text));
                Ok(Duration::from_secs(30))
            }
            SourceError::Retry(_) => Ok(self.note(&text)),
            _ if never_followed => Err(CaptureError::Operator(text)),
            SourceError::Operator(_) | SourceError::Malformed(_) | SourceError::RetrySlowly(_) => {
                self.note(&text);
                Ok(Duration::from_secs(30))
            }
        }
    }

    /// Says why there is no stream and how long to wait: 0.2 s, doubling to 10 s.
    fn note(&self, why: &str) -> Duration {
        let pause = Duration::from_millis(200 << self.failures.min(6)).min(Duration::from_secs(10));
        warn!("not streaming: {why}; next try in {:.1} s", pause.as_secs_f64());
        self.handles.status.send_modify(|status| status.problem = Some(why.to_owned()));
        pause
    }
}
