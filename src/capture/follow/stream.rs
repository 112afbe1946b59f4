//! The streaming part of the loop: frames in, batches durable, confirmations out. One batch is in flight at a time; while
//! it waits for the disk the next transactions are decoded, so under load batches grow and at rest nothing waits.
use crate::capture::decode::transaction::{Assembler, DEFAULT_LIMIT, Step};
use crate::capture::follow::batch::{self, Prepared};
use crate::capture::follow::feedback::Progress;
use crate::capture::follow::fill;
use crate::capture::follow::memory::Memory;
use crate::capture::follow::run::{CaptureParts, Position, SessionError};
use crate::capture::source::{Frame, Source, SourceError};
use crate::domain::{Lsn, Transaction};
use crate::fault;
use crate::registry::Routing;
use crate::stop;
use crate::store::{Batch, HUNG, IndexError, Record, Store, StoreError};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tracing::warn;

/// Bytes of WAL messages whose transactions may wait, decoded, while a batch is made durable; then reading pauses.
const WAITING_BYTES: usize = 32 << 20;
/// Bytes in one batch, about a thousand small changes: bounds the frame and the time until the first of them is sent.
const BATCH_BYTES: usize = 256 << 10;
/// A confirmation at least this often; the server's default timeout is 60 s.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Why the stream ended without an error.
#[derive(Debug)]
pub(in crate::capture) enum StreamEnded {
    /// Asked to.
    Shutdown,
    /// The data folder cannot be written.
    Blocked(String),
}

type Committing = Pin<Box<dyn Future<Output = Result<Prepared, StoreError>> + Send>>;

struct Stream {
    assembler: Assembler,
    progress: Progress,
    memory: Memory,
    /// The stream pauses where a snapshot's rows are to be taken.
    fill_at: Option<Lsn>,
    /// With the bytes of their messages.
    waiting: Vec<(Transaction, usize)>,
    waiting_bytes: usize,
    /// Of the transaction that is not complete.
    open_bytes: usize,
    committing: Option<Committing>,
    commit_began: Instant,
    /// The server asked for an answer beyond what was durable, and since when: answer as soon as it is (its shutdown waits
    /// for this).
    asked: Option<(Lsn, Instant)>,
}

/// Streams until shutdown, an error, or blocked storage.
pub(in crate::capture) async fn run<S: Source>(
    parts: &mut CaptureParts<S>,
    position: Position,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<StreamEnded, SessionError> {
    let mut stream = Stream {
        assembler: Assembler::new(DEFAULT_LIMIT),
        progress: Progress::new(position.from),
        memory: fill::memory(parts),
        fill_at: position.fill_at,
        waiting: Vec::new(),
        waiting_bytes: 0,
        open_bytes: 0,
        committing: None,
        commit_began: Instant::now(),
        asked: None,
    };
    let ended = stream.follow(parts, shutdown).await;
    stream.leave(parts, shutdown).await?;
    ended
}

async fn settled(committing: &mut Option<Committing>) -> Result<Prepared, StoreError> {
    match committing {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}

/// Returning `Ok` means that every frame has been fdatasynced.
async fn commit(store: Store, mut prepared: Prepared) -> Result<Prepared, StoreError> {
    for frame in std::mem::take(&mut prepared.frames) {
        fault::crash_point("capture.before-frame");
        match store.commit(frame).await {
            Err(StoreError::Blocked(_)) if fault::planted("blocked-is-done") => {}
            done => done?,
        }
        fault::crash_point("capture.frame-durable");
    }
    Ok(prepared)
}

impl Stream {
    async fn follow<S: Source>(
        &mut self,
        parts: &mut CaptureParts<S>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<StreamEnded, SessionError> {
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let patience_ends = self.patience_ends();
            tokio::select! {
                biased;
                () = stop::requested(shutdown) => return self.finish(parts).await,
                done = settled(&mut self.committing) => match self.settle(parts, done).await? {
                    Some(ended) => return Ok(ended),
                    None => self.advance(parts).await?,
                },
                () = sleep_until(patience_ends), if self.committing.is_some() => {
                    return Ok(StreamEnded::Blocked("Postgres or a batch has waited for the disk for 5 s".into()));
                }
                _ = status.tick() => {
                    self.confirm(parts).await?;
                    self.advance(parts).await?;
                }
                frame = parts.source.next(), if self.waiting_bytes < WAITING_BYTES => {
                    self.accept(parts, frame?).await?;
                    self.advance(parts).await?;
                }
            }
        }
    }

    /// Several batches may each be quick enough, and still hold Postgres' shutdown.
    fn patience_ends(&self) -> Instant {
        let since = self.asked.map_or(self.commit_began, |(_, since)| since.min(self.commit_began));
        since + HUNG
    }

    /// A session ends with a batch on its way. The next one starts from the store's position and the published routing, so
    /// first the batch's fate must be known: if it became durable unseen, its subscription changes would never be routed,
    /// and transactions derived again beside a shadow that is already ahead of them would give other events.
    async fn leave<S: Source>(
        &mut self,
        parts: &mut CaptureParts<S>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let Some(commit) = self.committing.take() else { return Ok(()) };
        // Postgres must not wait for our disk meanwhile
        parts.source.stop().await;
        parts.status.send_modify(|status| status.streaming = false);
        tokio::select! {
            biased;
            () = stop::requested(shutdown) => Ok(()),
            done = commit => match done {
                Ok(prepared) => {
                    self.progress.durable(prepared.position);
                    publish(parts, prepared);
                    Ok(())
                }
                Err(StoreError::Blocked(_)) => Ok(()),
                Err(failed) => Err(failed.into()),
            },
        }
    }

    async fn accept<S: Source>(
        &mut self,
        parts: &mut CaptureParts<S>,
        frame: Frame,
    ) -> Result<(), SourceError> {
        match frame {
            Frame::Keepalive { end, reply } => {
                self.progress.keepalive(end);
                if reply {
                    self.asked = Some((end, self.asked.map_or_else(Instant::now, |(_, since)| since)));
                    self.progress.asked();
                    self.confirm(parts).await?;
                }
            }
            Frame::Wal { start, end, data } => {
                self.open_bytes += data.len();
                let step = self.assembler.feed(start, data)?;
                self.progress.wal(start, end, self.assembler.is_open());
                match step {
                    Step::Nothing => {}
                    Step::Describe(relation) => {
                        let table = parts.source.describe(relation).await?;
                        self.assembler.described(&table);
                    }
                    Step::Transaction(transaction) => {
                        fault::crash_point("capture.decoded");
                        self.progress.committed(transaction.end_lsn);
                        let bytes = std::mem::take(&mut self.open_bytes);
                        self.waiting_bytes += bytes;
                        self.waiting.push((*transaction, bytes));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whatever comes next: the rows of a snapshot whose point is reached, or the next batch.
    async fn advance<S: Source>(&mut self, parts: &mut CaptureParts<S>) -> Result<(), SessionError> {
        if let Some(at) = self.fill_at.filter(|_| self.committing.is_none()) {
            let reached = match self.waiting.first() {
                Some((transaction, _)) => transaction.commit_lsn >= at,
                None => self.progress.is_idle() && self.progress.complete() >= at,
            };
            if reached {
                fill::again(parts, &mut self.memory, &self.progress).await?;
                self.fill_at = None;
            }
        }
        self.commit_next(parts)
    }

    /// Starts the next batch unless one is in flight: what waits, or the idle position.
    fn commit_next<S: Source>(&mut self, parts: &mut CaptureParts<S>) -> Result<(), SessionError> {
        if self.committing.is_some() {
            return Ok(());
        }
        let prepared = if self.waiting.is_empty() {
            let Some(position) = self.progress.idle_position(Instant::now()) else { return Ok(()) };
            if fault::planted("idle-confirm-without-frame") {
                self.progress.durable(position);
                return Ok(());
            }
            fault::crash_point("capture.idle-position");
            let frames = vec![Batch { records: vec![Record::Position(position)] }];
            Prepared { frames, position, ..Prepared::default() }
        } else {
            let transactions = self.take_batch();
            fault::crash_point("capture.batch-taken");
            let routing = parts.routing.borrow().clone();
            batch::prepare(&transactions, &parts.rules, &routing, &parts.store, &self.memory)
                .map_err(|why| StoreError::Index(IndexError::Broken(why)))?
        };
        self.commit_began = Instant::now();
        self.committing = Some(Box::pin(commit(parts.store.clone(), prepared)));
        Ok(())
    }

    fn take_batch(&mut self) -> Vec<Transaction> {
        let mut taken = 0;
        let fits = |(transaction, bytes): &&(Transaction, usize)| {
            taken += bytes;
            taken <= BATCH_BYTES && self.fill_at.is_none_or(|at| transaction.commit_lsn < at)
        };
        let count = self.waiting.iter().take_while(fits).count().max(1);
        let rest = self.waiting.split_off(count);
        let batch = std::mem::replace(&mut self.waiting, rest);
        self.waiting_bytes = self.waiting.iter().map(|(_, bytes)| bytes).sum();
        batch.into_iter().map(|(transaction, _)| transaction).collect()
    }

    /// A batch is durable: publish the routing, count, and answer the server if it asked.
    async fn settle<S: Source>(
        &mut self,
        parts: &mut CaptureParts<S>,
        done: Result<Prepared, StoreError>,
    ) -> Result<Option<StreamEnded>, SessionError> {
        self.committing = None;
        let prepared = match done {
            Ok(prepared) => prepared,
            Err(StoreError::Blocked(why)) => return Ok(Some(StreamEnded::Blocked(why))),
            Err(failed) => return Err(failed.into()),
        };
        fault::crash_point("capture.batch-durable");
        self.progress.durable(prepared.position);
        publish(parts, prepared);
        fault::crash_point("capture.published");
        if self.asked.is_some() {
            self.confirm(parts).await?;
        }
        Ok(None)
    }

    async fn confirm<S: Source>(&mut self, parts: &mut CaptureParts<S>) -> Result<(), SourceError> {
        let feedback = self.progress.feedback();
        if self.asked.is_some_and(|(end, _)| end <= feedback.flushed) {
            self.asked = None;
        }
        parts.metrics.slot_lag_bytes.set(self.progress.lag_bytes() as i64);
        if self.progress.is_idle() && self.committing.is_none() {
            parts.metrics.slot_lag_seconds.set(0.0);
        }
        fault::crash_point("capture.before-confirm");
        parts.source.feedback(feedback).await?;
        fault::crash_point("capture.confirmed");
        Ok(())
    }

    /// Shutdown: what is in flight becomes durable and is confirmed; what was only decoded comes again.
    async fn finish<S: Source>(&mut self, parts: &mut CaptureParts<S>) -> Result<StreamEnded, SessionError> {
        let patience_ends = self.patience_ends();
        if let Some(commit) = self.committing.take()
            && let Ok(Ok(prepared)) = timeout_at(patience_ends, commit).await
        {
            self.progress.durable(prepared.position);
            publish(parts, prepared);
        }
        fault::crash_point("stop.before-last-confirm");
        parts.source.feedback(self.progress.feedback()).await?;
        Ok(StreamEnded::Shutdown)
    }
}

fn publish<S>(parts: &CaptureParts<S>, prepared: Prepared) {
    let Prepared { routing, position, oldest_us, events, faults, .. } = prepared;
    parts.routing.send_modify(|current| {
        let fresh = routing.filter(|_| !fault::planted("stale-subscription"));
        let mut next = fresh.unwrap_or_else(|| Routing::clone(current));
        next.applied = position;
        *current = Arc::new(next);
    });
    if oldest_us > 0 {
        parts.metrics.slot_lag_seconds.set((parts.clock.now_us() - oldest_us).max(0) as f64 / 1e6);
    }
    for (name, asked) in events {
        parts.metrics.events.with_label_values(&[&*name]).inc();
        if !asked {
            parts.metrics.events_unrouted.inc();
        }
    }
    for fault in faults {
        parts.metrics.rule_faults.with_label_values(&[&*fault.rule, fault.reason]).inc();
        warn!("rule {} gave no event ({}): {}", fault.rule, fault.reason, fault.detail);
    }
}
