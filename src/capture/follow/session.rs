//! Purpose: one connection's stream, from its start to its end: frames in, batches durable, confirmations out. One batch is in flight
//! at a time; while it waits for the disk the next transactions are decoded, so under load batches grow and at rest nothing waits.
//! Must not: judge the slot, or try again after a failure.
use crate::capture::decode::transaction::{Assembler, DEFAULT_LIMIT, Step};
use crate::capture::follow::batch::{self, CaptureRules, Prepared};
use crate::capture::follow::feedback::Progress;
use crate::capture::follow::fill;
use crate::capture::follow::memory::Memory;
use crate::capture::follow::publish::Publisher;
use crate::capture::follow::status::{CaptureStatus, SessionEnded, SessionError};
use crate::capture::follow::waiting::Waiting;
use crate::capture::follow::watch::{Noticed, Watch};
use crate::capture::source::{Frame, Source, SourceError};
use crate::domain::{KeepingError, Lsn, Table};
use crate::fault;
use crate::mapping::Context;
use crate::stop;
use crate::store::{Batch, Checkpoint, HUNG, Record};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

/// A confirmation at least this often; the server's default timeout is 60 s.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// What all sessions of a process share. A session only borrows it.
#[derive(Debug)]
pub(in crate::capture) struct CaptureHandles {
    pub(in crate::capture) checkpoint: Checkpoint,
    pub(in crate::capture) rules: Arc<CaptureRules>,
    pub(in crate::capture) publisher: Publisher,
    pub(in crate::capture) status: watch::Sender<CaptureStatus>,
}

/// The batch on its way to the disk.
struct InFlight {
    /// Prepared where the index may be waited for, then committed.
    done: Pin<Box<dyn Future<Output = Result<Prepared, KeepingError>> + Send>>,
    /// Since when it waits for the journal; empty while it is prepared.
    handed_over: Arc<OnceLock<Instant>>,
}

/// One stream. Nothing of it outlives its connection: the next session starts from the store's position.
pub(in crate::capture) struct CaptureSession<'a, S> {
    source: &'a mut S,
    handles: &'a CaptureHandles,
    context: Arc<Context>,
    /// Shared with the batch that is being prepared, and only with that.
    memory: Arc<Memory>,
    /// The stream pauses where a snapshot's rows are to be taken.
    fill_at: Option<Lsn>,
    /// The server's end of WAL before this session: what was committed later cannot be in the store. What was committed before may be, in
    /// part: earlier versions wrote a large batch in several commits.
    begun_at: Lsn,
    assembler: Assembler,
    progress: Progress,
    waiting: Waiting,
    /// Of the mapped tables.
    watch: Watch,
    in_flight: Option<InFlight>,
    /// The server asked for an answer beyond what was durable, and since when: answer as soon as it is (its shutdown waits
    /// for this).
    asked: Option<(Lsn, Instant)>,
}

async fn settled(in_flight: &mut Option<InFlight>) -> Result<Prepared, KeepingError> {
    match in_flight {
        Some(batch) => batch.done.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Returning `Ok` means that all of it has been fdatasynced.
async fn commit(
    checkpoint: &Checkpoint,
    mut prepared: Prepared,
    unseen: bool,
) -> Result<Prepared, KeepingError> {
    for batch in std::mem::take(&mut prepared.batches) {
        fault::crash_point("capture.before-frame");
        let commit = async {
            if unseen { checkpoint.commit_unseen(batch).await } else { checkpoint.commit(batch).await }
        };
        match commit.await {
            Err(KeepingError::Refused(_)) if fault::planted("blocked-is-done") => {}
            done => done?,
        }
        fault::crash_point("capture.frame-durable");
    }
    Ok(prepared)
}

impl<'a, S: Source> CaptureSession<'a, S> {
    /// Starts the stream at `from`, the journal's position. First a snapshot is taken, if the mapping remembers more than before.
    pub(in crate::capture) async fn open(
        source: &'a mut S,
        handles: &'a CaptureHandles,
        context: Context,
        from: Lsn,
        begun_at: Lsn,
    ) -> Result<Self, SessionError> {
        let look = source.look().await;
        let (memory, fill_at) = fill::prepare(source, &handles.checkpoint, &handles.rules.mapping).await?;
        fault::crash_point("capture.before-start");
        source.start(from).await?;
        fault::crash_point("capture.started");
        handles.status.send_replace(CaptureStatus { streaming: true, ..CaptureStatus::default() });
        let mut watch = Watch::new(&memory, from, handles.status.clone());
        let mut memory = Arc::new(memory);
        watch.seen(look, &handles.rules, &mut memory, None::<&S>);
        Ok(Self {
            source,
            handles,
            context: Arc::new(context),
            memory,
            watch,
            fill_at,
            begun_at,
            assembler: Assembler::new(DEFAULT_LIMIT),
            progress: Progress::new(from),
            waiting: Waiting::default(),
            in_flight: None,
            asked: None,
        })
    }

    /// Streams until shutdown, an error, or blocked storage.
    pub(in crate::capture) async fn run(
        mut self,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<SessionEnded, SessionError> {
        let ended = self.follow(shutdown).await;
        self.leave(shutdown).await?;
        ended
    }

    async fn follow(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<SessionEnded, SessionError> {
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.progress.check();
            let patience_ends = self.patience_ends();
            tokio::select! {
                biased;
                () = stop::requested(shutdown) => return self.finish().await,
                done = settled(&mut self.in_flight) => match self.settle(done).await? {
                    Some(ended) => return Ok(ended),
                    None => self.advance().await?,
                },
                () = sleep_until(patience_ends.unwrap_or_else(Instant::now)), if patience_ends.is_some() => {
                    return Ok(SessionEnded::Blocked("Postgres or a batch has waited for the disk for 5 s".into()));
                }
                noticed = self.watch.next() => {
                    self.noticed(noticed);
                    self.advance().await?;
                }
                _ = status.tick() => {
                    self.confirm().await?;
                    self.advance().await?;
                }
                frame = self.source.next(), if !self.waiting.is_full() && !self.watch.is_full() => {
                    self.accept(frame?).await?;
                    self.advance().await?;
                }
            }
        }
    }

    /// Until when the disk may take for the batch in flight. Several batches may each be quick enough, and still hold Postgres'
    /// shutdown. To prepare a large one may take longer, and holds nobody unless Postgres asks.
    fn patience_ends(&self) -> Option<Instant> {
        let handed_over = self.in_flight.as_ref()?.handed_over.get().copied();
        let asked = self.asked.map(|(_, since)| since);
        Some(handed_over.into_iter().chain(asked).min()? + HUNG)
    }

    /// A session ends with a batch on its way. The next one starts from the store's position, so first the batch's fate
    /// must be known: transactions derived again beside a shadow that is already ahead of them would give other events.
    async fn leave(mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        // nothing is on its way: nothing to wait for
        let Some(batch) = self.in_flight.take() else { return Ok(()) };
        // Postgres must not wait for our disk meanwhile
        self.source.stop().await;
        self.handles.status.send_modify(|status| status.streaming = false);
        tokio::select! {
            biased;
            () = stop::requested(shutdown) => Ok(()),
            done = batch.done => match done {
                Ok(prepared) => {
                    self.durable(prepared);
                    Ok(())
                }
                Err(KeepingError::Refused(_)) => Ok(()),
                Err(failed) => Err(failed.into()),
            },
        }
    }

    async fn accept(&mut self, frame: Frame) -> Result<(), SourceError> {
        match frame {
            Frame::Keepalive { end, reply } => {
                self.progress.keepalive(end);
                if reply {
                    self.asked = Some((end, self.asked.map_or_else(Instant::now, |(_, since)| since)));
                    self.progress.asked();
                    self.confirm().await?;
                }
            }
            Frame::Wal { start, end, data } => {
                self.waiting.message(data.len());
                let step = self.assembler.feed(start, data)?;
                self.progress.wal(start, end, self.assembler.is_open());
                match step {
                    Step::Nothing => {}
                    Step::Describe(relation) => {
                        let table = self.source.describe(relation).await?;
                        if let Some(table) = self.assembler.described(&table) {
                            self.announced(&table).await?;
                        }
                    }
                    Step::Transaction(transaction) => {
                        debug_assert!(!self.assembler.is_open(), "a transaction ends before the next begins");
                        fault::crash_point("capture.decoded");
                        self.progress.committed(transaction.end_lsn);
                        self.waiting.complete(*transaction);
                    }
                }
            }
        }
        Ok(())
    }

    /// The server tells a relation when it is first seen, and anew after whatever was done to it or to the publications: before a change of
    /// it is judged, it must be what is followed.
    async fn announced(&mut self, table: &Table) -> Result<(), SourceError> {
        let Some(commit) = self.assembler.commits_at() else { return Ok(()) };
        self.watch.announced(table, commit, &self.handles.rules, &mut self.memory);
        if self.handles.rules.mapping.maps(&table.full_name()) && !fault::planted("gap-seen-late") {
            // nobody goes on with one that is under way meanwhile, and it holds the connection
            self.watch.give_up_look();
            let look = self.source.look().await?;
            self.watch.seen(Ok(look), &self.handles.rules, &mut self.memory, None::<&S>);
        }
        Ok(())
    }

    /// Whatever comes next: the rows of a snapshot whose point is reached, or the next batch; nothing while one is in flight.
    async fn advance(&mut self) -> Result<(), SessionError> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        if self.fill_at.is_some_and(|at| self.has_reached(at)) {
            let checkpoint = &self.handles.checkpoint;
            let feedback = self.progress.feedback();
            debug_assert_eq!(Arc::strong_count(&self.memory), 1, "no batch is prepared with it");
            let memory = Arc::make_mut(&mut self.memory);
            fill::again(self.source, checkpoint, memory, feedback).await?;
            self.fill_at = None;
        }
        if !self.begin_watch() {
            self.begin();
        }
        Ok(())
    }

    fn noticed(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Due => self.watch.look(&*self.source),
            Noticed::Looked(look) => {
                let source = Some(&*self.source).filter(|_| self.fill_at.is_none());
                self.watch.seen(look, &self.handles.rules, &mut self.memory, source);
            }
            Noticed::Refilled(step) => self.watch.arrived(step),
        }
    }

    /// Starts a batch of the watch, if it has one.
    fn begin_watch(&mut self) -> bool {
        let (first, idle, complete) =
            (self.waiting.first().map(|t| t.commit_lsn), self.progress.is_idle(), self.progress.complete());
        let passed = |at| first.map_or(idle && complete >= at, |first| first >= at);
        let now_us = self.handles.publisher.now_us();
        let batch = self.watch.batch(&self.handles.rules, &self.context, &mut self.memory, now_us, passed);
        let Some(prepare) = batch else { return false };
        let (checkpoint, position) = (self.handles.checkpoint.clone(), self.progress.feedback().flushed);
        let prepare = move |checkpoint: &Checkpoint| Ok(Prepared { position, ..prepare(checkpoint)? });
        self.send(async move { checkpoint.offload(prepare).await? }, false);
        true
    }

    /// Everything that committed before `at` is durable, and nothing that did later is.
    fn has_reached(&self, at: Lsn) -> bool {
        debug_assert!(self.in_flight.is_none(), "what is in flight may lie before the point");
        match self.waiting.first() {
            Some(transaction) => transaction.commit_lsn >= at,
            None => self.progress.is_idle() && self.progress.complete() >= at,
        }
    }

    /// Starts the next batch: what waits, or the idle position if it is time for one.
    fn begin(&mut self) {
        if self.waiting.first().is_some() {
            let transactions = self.waiting.take(self.fill_at);
            fault::crash_point("capture.batch-taken");
            let first = transactions.first().map(|transaction| transaction.end_lsn);
            let unseen = first.is_some_and(|end| end > self.begun_at);
            let (rules, context) = (self.handles.rules.clone(), self.context.clone());
            let (refused, memory) = (self.handles.publisher.refused(), self.memory.clone());
            let prepare = move |checkpoint: &Checkpoint| {
                batch::prepare(&transactions, &rules, &context, &refused, checkpoint, &memory)
            };
            let checkpoint = self.handles.checkpoint.clone();
            self.send(async move { checkpoint.offload(prepare).await? }, unseen);
        } else if let Some(position) = self.progress.idle_position(Instant::now()) {
            fault::crash_point("capture.idle-position");
            let record = Some(Record::Position(position));
            let record = record.filter(|_| !fault::planted("idle-confirm-without-frame"));
            let batches = vec![Batch { records: record.into_iter().collect() }];
            self.send(async move { Ok(Prepared { batches, position, ..Prepared::default() }) }, true);
        }
    }

    /// Prepares a batch and commits it. One is in flight at a time: what it is prepared with does not change meanwhile.
    fn send(
        &mut self,
        prepare: impl Future<Output = Result<Prepared, KeepingError>> + Send + 'static,
        unseen: bool,
    ) {
        debug_assert!(self.in_flight.is_none(), "one batch at a time");
        let (checkpoint, handed_over) = (self.handles.checkpoint.clone(), Arc::new(OnceLock::new()));
        let since = handed_over.clone();
        let done = Box::pin(async move {
            let prepared = prepare.await?;
            since.get_or_init(Instant::now);
            commit(&checkpoint, prepared, unseen).await
        });
        self.in_flight = Some(InFlight { done, handed_over });
    }

    /// The batch in flight has ended: if it is durable, others hear of it, and the server if it asked.
    async fn settle(
        &mut self,
        done: Result<Prepared, KeepingError>,
    ) -> Result<Option<SessionEnded>, SessionError> {
        self.in_flight = None;
        let prepared = match done {
            Ok(prepared) => prepared,
            Err(KeepingError::Refused(why)) => return Ok(Some(SessionEnded::Blocked(why))),
            Err(failed) => return Err(failed.into()),
        };
        fault::crash_point("capture.batch-durable");
        self.durable(prepared);
        fault::crash_point("capture.published");
        if self.asked.is_some() {
            self.confirm().await?;
        }
        Ok(None)
    }

    fn durable(&mut self, mut prepared: Prepared) {
        debug_assert!(self.in_flight.is_none(), "it is this one that was in flight");
        self.watch.durable(&mut prepared, &self.memory);
        debug_assert!(prepared.batches.is_empty(), "all of it is committed");
        self.progress.durable(prepared.position);
        self.handles.publisher.durable(prepared);
    }

    async fn confirm(&mut self) -> Result<(), SourceError> {
        let feedback = self.progress.feedback();
        if self.asked.is_some_and(|(end, _)| end <= feedback.flushed) {
            self.asked = None;
        }
        let idle = self.progress.is_idle() && self.in_flight.is_none();
        self.handles.publisher.lag(&self.progress, idle);
        fault::crash_point("capture.before-confirm");
        self.source.feedback(feedback).await?;
        fault::crash_point("capture.confirmed");
        Ok(())
    }

    /// Shutdown: what is in flight becomes durable and is confirmed; what was only decoded comes again.
    async fn finish(&mut self) -> Result<SessionEnded, SessionError> {
        let patience_ends = self.patience_ends();
        if let (Some(batch), Some(patience_ends)) = (self.in_flight.take(), patience_ends)
            && let Ok(Ok(prepared)) = timeout_at(patience_ends, batch.done).await
        {
            self.durable(prepared);
        }
        fault::crash_point("stop.before-last-confirm");
        self.source.feedback(self.progress.feedback()).await?;
        Ok(SessionEnded::Shutdown)
    }
}
