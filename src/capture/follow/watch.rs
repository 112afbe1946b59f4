//! Purpose: what happens to the mapped tables under the running stream (SPEC 5.7): looked at every few seconds, a gap of a table opened, announced,
//! and ended by a fill that goes on beside the stream. Must not: judge the slot, or touch the stream.
use crate::capture::follow::batch::{CaptureRules, Prepared, routed};
use crate::capture::follow::fill;
use crate::capture::follow::memory::Memory;
use crate::capture::follow::refill::{RefillStep, Refilling};
use crate::capture::follow::status::CaptureStatus;
use crate::capture::follow::tables::{FollowedTables, TableGap};
use crate::capture::source::{BoxFuture, CatalogLook, Source, SourceError};
use crate::domain::{KeepingError, Lsn, Table};
use crate::fault;
use crate::mapping::Context;
use crate::store::{Batch, Checkpoint, Record};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

/// What changes is noticed within twice this (SPEC 3: 10 s).
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// What could not be mended is tried again so much later, or when the catalog shows something else: each try may be a line in the server's log.
const MEND_AGAIN: Duration = Duration::from_secs(60);
/// The position of the last look is noted this often: a gap that is found at a start begins there.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// What `Watch::next` gives.
pub(in crate::capture) enum Noticed {
    /// It is time for a look.
    Due,
    /// A look.
    Looked(Result<CatalogLook, SourceError>),
    /// The fill goes on.
    Refilled(RefillStep),
}

/// What a batch of the watch is made of, where a thread may wait.
pub(in crate::capture) type Preparing = Box<dyn FnOnce(&Checkpoint) -> Result<Prepared, KeepingError> + Send>;

/// Of one session.
pub(in crate::capture) struct Watch {
    due: Instant,
    looking: Option<BoxFuture<'static, Result<CatalogLook, SourceError>>>,
    /// What is durable, and since when.
    noted: FollowedTables,
    noted_at: Instant,
    /// Where the stream began.
    position: Lsn,
    /// Opened since.
    unsaid: Vec<TableGap>,
    refilling: Option<Refilling>,
    arrived: Option<RefillStep>,
    /// What the catalog showed when a fill was begun that failed, and until when it is not tried again with the same.
    failed: Option<(CatalogLook, Instant)>,
    status: watch::Sender<CaptureStatus>,
}

impl Watch {
    /// `memory` as the store has it; the stream begins at `position`.
    pub(in crate::capture) fn new(
        memory: &Memory,
        position: Lsn,
        status: watch::Sender<CaptureStatus>,
    ) -> Self {
        let watch = Self {
            due: Instant::now(),
            looking: None,
            noted: memory.tables.clone(),
            noted_at: Instant::now(),
            position,
            unsaid: Vec::new(),
            refilling: None,
            arrived: None,
            failed: None,
            status,
        };
        watch.show(memory);
        watch
    }

    /// Cancel-safe.
    pub(in crate::capture) async fn next(&mut self) -> Noticed {
        let (due, idle, taken) = (self.due, self.looking.is_none(), self.arrived.is_some());
        tokio::select! {
            biased;
            look = looked(&mut self.looking) => {
                self.looking = None;
                Noticed::Looked(look)
            }
            step = stepped(&mut self.refilling), if !taken => Noticed::Refilled(step),
            () = sleep_until(due), if idle => Noticed::Due,
        }
    }

    /// Reading of the stream pauses.
    pub(in crate::capture) fn is_full(&self) -> bool {
        self.refilling.as_ref().is_some_and(Refilling::is_full)
    }

    /// Begins a look, on a connection of its own.
    pub(in crate::capture) fn look<S: Source>(&mut self, source: &S) {
        let every = fault::instead("TAILHOOK_LOOK_MS", LOOK_EVERY.as_millis() as u64);
        self.due = Instant::now() + Duration::from_millis(every);
        self.looking = Some(source.look());
    }

    /// A look that is under way is worth nothing beside another one.
    pub(in crate::capture) fn give_up_look(&mut self) {
        self.looking = None;
    }

    /// What the fill brought is taken when nothing else is in flight.
    pub(in crate::capture) fn arrived(&mut self, step: RefillStep) {
        self.arrived = Some(step);
    }

    /// The tables as the catalog has them. `may_fill`: no other fill is waited for.
    pub(in crate::capture) fn seen<S: Source>(
        &mut self,
        look: Result<CatalogLook, SourceError>,
        rules: &CaptureRules,
        memory: &mut Arc<Memory>,
        source: Option<&S>,
    ) {
        let look = match look {
            Ok(look) => look,
            Err(why) => return warn!("the tables of the mapping cannot be looked at: {why}"),
        };
        let opened = Arc::make_mut(memory).tables.compare(&look, rules.mapping.plan(), self.position);
        self.opened(opened, memory);
        let hopeless =
            |(then, until): &(CatalogLook, Instant)| then.tables == look.tables && *until > Instant::now();
        let may = self.refilling.is_none() && !self.failed.as_ref().is_some_and(hopeless);
        if let Some(source) = source.filter(|_| may) {
            self.mend(look, memory, source);
        }
    }

    /// The stream announces a relation in a transaction that commits at `commit`.
    pub(in crate::capture) fn announced(
        &mut self,
        table: &Table,
        commit: Lsn,
        rules: &CaptureRules,
        memory: &mut Arc<Memory>,
    ) {
        let opened = Arc::make_mut(memory).tables.announced(table, rules.mapping.plan(), commit);
        self.opened(opened, memory);
    }

    fn opened(&mut self, gaps: Vec<TableGap>, memory: &Memory) {
        for gap in &gaps {
            let TableGap { table, from, reason } = gap;
            error!(
                "gap of the table {table} from {from} on: {reason}; its changes have no events until it is filled anew"
            );
        }
        if !gaps.is_empty() {
            // mended soon, and not with a look that began before
            self.due = Instant::now();
            self.unsaid.extend(gaps);
            self.show(memory);
        }
    }

    /// Fills the tables in gaps that are there.
    fn mend<S: Source>(&mut self, look: CatalogLook, memory: &Memory, source: &S) {
        let there = |gap: &&TableGap| look.tables.iter().any(|standing| standing.table == gap.table);
        let tables: Vec<String> = memory.tables.gaps().filter(there).map(|gap| gap.table.clone()).collect();
        if tables.is_empty() {
            return;
        }
        let plans = tables.iter().filter_map(|table| memory.plan(table)).cloned().collect();
        self.refilling = Some(Refilling::begin(source, tables, plans));
        // until it has ended well
        self.failed = Some((look, Instant::now() + MEND_AGAIN));
    }

    fn show(&self, memory: &Memory) {
        let gaps: Vec<TableGap> = memory.tables.gaps().cloned().collect();
        self.status.send_if_modified(|status| {
            if gaps.is_empty() {
                status.unmended = None;
            }
            let changed = status.table_gaps != gaps;
            status.table_gaps = gaps;
            changed
        });
    }

    fn unmended(&mut self, why: &str) {
        self.refilling = None;
        let changed = self.status.send_if_modified(|status| {
            let changed = status.unmended.as_deref() != Some(why);
            status.unmended = Some(why.to_owned());
            changed
        });
        if changed {
            warn!("a gap of a table cannot be ended yet: {why}");
        }
    }

    /// A batch is durable: what its transactions changed in gaps of their tables is kept for the fill, and a gap that it ends is no more.
    pub(in crate::capture) fn durable(&mut self, prepared: &mut Prepared, memory: &Memory) {
        if !prepared.filled.is_empty() {
            info!("gap ended: {} filled anew; their rules are in effect", prepared.filled.join(", "));
            self.show(memory);
        }
        let aside = std::mem::take(&mut prepared.aside);
        if let Some(refilling) = &mut self.refilling {
            refilling.follow(aside);
        }
    }

    /// The next batch of the watch, if it has one. Nothing else is in flight. `passed` says whether all that commits before a position is durable,
    /// and nothing that commits later.
    pub(in crate::capture) fn batch(
        &mut self,
        rules: &Arc<CaptureRules>,
        context: &Arc<Context>,
        memory: &mut Arc<Memory>,
        now_us: i64,
        passed: impl Fn(Lsn) -> bool,
    ) -> Option<Preparing> {
        let stale = self.noted_at.elapsed() >= NOTE_EVERY && self.noted.fine_at() < memory.tables.fine_at();
        if stale || !memory.tables.is_as(&self.noted) {
            return Some(self.note(rules, context, memory, now_us));
        }
        if let Some(step) = self.arrived.take() {
            return self.step(step, memory);
        }
        let at = self.refilling.as_ref()?.ends_behind()?;
        let passed = passed(at) || fault::planted("fill-not-awaited");
        if passed { self.complete(rules, memory) } else { None }
    }

    /// The gaps that were opened, durable together with their announcement.
    fn note(
        &mut self,
        rules: &Arc<CaptureRules>,
        context: &Arc<Context>,
        memory: &Memory,
        now_us: i64,
    ) -> Preparing {
        fault::crash_point("table.gap");
        (self.noted, self.noted_at) = (memory.tables.clone(), Instant::now());
        let (gaps, text) = (std::mem::take(&mut self.unsaid), memory.text());
        let (rules, context) = (rules.clone(), context.clone());
        Box::new(move |checkpoint| Ok(announcement(&rules, &context, &gaps, text, checkpoint, now_us)))
    }

    fn step(&mut self, step: RefillStep, memory: &Arc<Memory>) -> Option<Preparing> {
        let refilling = self.refilling.as_mut()?;
        let records = match step {
            RefillStep::Begun(at, look) => match refilling.taken(at, look) {
                Ok(()) => refilling.cleared(memory),
                Err(why) => {
                    self.unmended(&why);
                    return None;
                }
            },
            RefillStep::Rows(rows) => memory.refill(rows),
            RefillStep::Read => {
                refilling.is_read();
                return None;
            }
            RefillStep::Failed(why) => {
                self.unmended(&why.to_string());
                return None;
            }
        };
        fault::crash_point("table.refill");
        Some(Box::new(move |_| Ok(batch_of(records))))
    }

    fn complete(&mut self, rules: &CaptureRules, memory: &mut Arc<Memory>) -> Option<Preparing> {
        let refilling = self.refilling.take()?;
        self.failed = None;
        let before = memory.clone();
        let plan = rules.mapping.plan();
        let (tables, gone) = refilling.complete(Arc::make_mut(memory), plan);
        self.noted = memory.tables.clone();
        let text = memory.text();
        if tables.is_empty() {
            warn!("tables changed again while they were filled; they are filled once more");
            return None;
        }
        fault::crash_point("table.filled");
        Some(Box::new(move |checkpoint| {
            let mut records = refilling.over(&before, checkpoint)?;
            records.extend(gone);
            records.extend(fill::noted(checkpoint, text));
            Ok(Prepared { filled: tables, ..batch_of(records) })
        }))
    }
}

/// Gaps that were opened, noted together with their `error.occurred`.
pub(in crate::capture) fn announcement(
    rules: &CaptureRules,
    context: &Context,
    gaps: &[TableGap],
    text: String,
    checkpoint: &Checkpoint,
    now_us: i64,
) -> Prepared {
    let (routing, mut records) = (checkpoint.routing(), Vec::new());
    let mut prepared = Prepared::default();
    for gap in gaps {
        let event = rules.mapping.table_gap(context, (&gap.table, gap.from, &gap.reason), now_us);
        prepared.events.extend(event.map(|event| routed(event, &routing, &mut records)));
    }
    records.extend(fill::noted(checkpoint, text));
    Prepared { batches: vec![Batch { records }], ..prepared }
}

fn batch_of(records: Vec<Record>) -> Prepared {
    Prepared { batches: vec![Batch { records }], ..Prepared::default() }
}

async fn looked(
    looking: &mut Option<BoxFuture<'static, Result<CatalogLook, SourceError>>>,
) -> Result<CatalogLook, SourceError> {
    match looking {
        Some(look) => look.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn stepped(refilling: &mut Option<Refilling>) -> RefillStep {
    match refilling {
        Some(refilling) => refilling.next().await,
        None => std::future::pending().await,
    }
}
