//! The committer: one loop that makes batches durable, then visible, then answers. Knows the journal and `apply`, no index writes.
//!
//! Group commit: everything that is queued goes into one append and one fdatasync. When the disk refuses, commits are answered
//! `Blocked` at once, and a probe is written now and then until one succeeds.
use super::apply::{Change, Mode, apply};
use super::codec::{self, Place};
use super::core::{Core, Stage, Unstarted, asked_to_close};
use super::index::IndexError;
use super::journal::{Group, Journal};
use super::outbox::{StoreError, blocked};
use super::record::{Batch, Record};
use crate::fault;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// Commits that may wait.
pub(super) const QUEUE: usize = 1024;
/// One append is at most about this long.
const GROUP_BYTES: usize = 4 << 20;
/// A disk that has not answered for so long is as good as blocked (SPEC 5.9).
pub const HUNG: Duration = Duration::from_secs(5);
/// How often a blocked disk is tried.
const RETRY: Duration = Duration::from_millis(500);
/// The journal takes writes and the index does not: after ten minutes of that it is given up, for it can be rebuilt.
const INDEX_TRIES: u32 = 1200;
/// Memory of what waits for the index; beyond it commits wait.
const DIRTY_BYTES: usize = 16 << 20;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) body: Vec<u8>,
    pub(super) places: Vec<Place>,
    pub(super) records: Vec<Record>,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

struct Committer {
    core: Arc<Core>,
    journal: Journal,
    blocked: Option<Blocked>,
    index_tries: u32,
}

struct Blocked {
    error: StoreError,
    retry_at: Instant,
}

/// Runs until the store is closed and what was queued is written.
pub(super) async fn run(core: Arc<Core>, unstarted: Unstarted) -> Result<(), StoreError> {
    let Unstarted { mut queue, journal } = unstarted;
    let mut closing = core.closing.subscribe();
    let mut committer = Committer { core: core.clone(), journal, blocked: None, index_tries: 0 };
    loop {
        let retry_at = committer.blocked.as_ref().map(|b| b.retry_at);
        tokio::select! {
            biased;
            () = asked_to_close(&mut closing), if !queue.is_closed() => queue.close(),
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                committer.heal().await?;
            }
            () = core.ailed.notified() => committer.block(index_ails()),
            first = queue.recv() => match first {
                Some(first) => committer.take(first, &mut queue).await?,
                None => break,
            },
        }
    }
    core.stage.send_replace(Stage::Drained);
    Ok(())
}

impl Committer {
    async fn take(&mut self, first: Queued, queue: &mut mpsc::Receiver<Queued>) -> Result<(), StoreError> {
        let mut bytes = first.body.len();
        let mut batch = vec![first];
        while bytes < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.body.len();
            batch.push(next);
        }
        if let Some(blocked) = &self.blocked {
            answer(batch, &Err(blocked.error.clone()));
            return Ok(());
        }
        let bodies: Vec<&[u8]> = batch.iter().map(|q| q.body.as_slice()).collect();
        match self.write_or_say(&bodies).await {
            Err(error) => {
                self.block(error.clone());
                answer(batch, &Err(error));
                Ok(())
            }
            Ok(group) => self.accept(batch, &group).await,
        }
    }

    /// Commits are refused while the disk does not answer; what it was asked to write may still become durable.
    async fn write_or_say(&mut self, bodies: &[&[u8]]) -> Result<Group, StoreError> {
        let core = self.core.clone();
        let mut write = pin!(async {
            self.wait_for_room().await;
            if self.core.is_ailing() { Err(index_ails()) } else { self.write(bodies).await }
        });
        if let Ok(written) = timeout(HUNG, write.as_mut()).await {
            return written;
        }
        tracing::error!("the disk has not answered for {HUNG:?}: commits are refused until it does");
        core.writable.set(false);
        let written = write.await;
        tracing::info!("the disk answers again");
        written
    }

    /// Makes what is durable visible, in order, and answers.
    async fn accept(&mut self, batch: Vec<Queued>, group: &Group) -> Result<(), StoreError> {
        let applied = self.apply(&batch, group);
        if fault::planted("index-flush-only") {
            super::flush::generation(&self.core, true).await?;
        }
        fault::crash_point("store.applied");
        // before the answer: who is answered may commit again
        if !self.core.is_ailing() {
            self.core.writable.set(true);
        }
        // durable is durable, whatever became of the index: the answer is yes
        answer(batch, &Ok(()));
        fault::crash_point("store.answered");
        if fault::planted("ack-before-fsync")
            && let Err(error) = self.journal.sync().await
        {
            self.block(blocked(&error));
        }
        applied
    }

    fn apply(&self, batch: &[Queued], group: &Group) -> Result<(), StoreError> {
        let mut state = self.core.write();
        for (queued, written) in batch.iter().zip(&group.written) {
            let change = Change {
                number: written.number,
                crc: written.crc,
                segment: written.segment,
                body_at: written.body_at,
                records: &queued.records,
                places: &queued.places,
            };
            let woken = apply(&mut state, self.core.index.as_ref(), &change, Mode::Live)
                .map_err(|error| self.core.failed(error))?;
            self.core.feed.push(woken);
        }
        self.core.dirtied.notify_one();
        if state.overlay.dirty() >= super::flush::FULL {
            self.core.full.notify_one();
        }
        Ok(())
    }

    async fn wait_for_room(&self) {
        while self.core.read().overlay.dirty_bytes() > DIRTY_BYTES && !self.core.is_ailing() {
            self.core.full.notify_one();
            self.core.room.notified().await;
        }
    }

    async fn write(&mut self, bodies: &[&[u8]]) -> Result<Group, StoreError> {
        let free = self.core.disk.free_bytes().map_err(|e| blocked(&e))?;
        if free < self.core.settings.min_free.saturating_add(Journal::size(bodies)) {
            return Err(StoreError::Blocked("less than store.min_free is free".to_owned()));
        }
        let mut group = self.journal.prepare(bodies).await.map_err(|e| blocked(&e))?;
        if fault::planted("ack-before-fsync") || fault::planted("index-flush-only") {
            self.journal.write_unsynced(&mut group).await.map_err(|e| blocked(&e))?;
        } else {
            fault::crash_point("store.before-append");
            let took = self.journal.write(&mut group).await.map_err(|e| blocked(&e))?;
            fault::crash_point("store.synced");
            self.core.settings.observe_flush.observe(took);
        }
        Ok(group)
    }

    fn block(&mut self, error: StoreError) {
        if self.blocked.is_none() {
            tracing::error!(%error, "commits are refused until the data folder can be written again");
        }
        self.blocked = Some(Blocked { error, retry_at: Instant::now() + RETRY });
        self.core.writable.set(false);
    }

    /// Cuts off what a failure left, then proves with an empty frame that writing works.
    async fn heal(&mut self) -> Result<(), StoreError> {
        let (body, places) = codec::encode(&Batch::default());
        let probe = match self.journal.cut().await {
            Ok(()) if fault::planted("no-heal") => Err(StoreError::Blocked("planted".to_owned())),
            Ok(()) => self.write(&[&body]).await,
            Err(error) => Err(blocked(&error)),
        };
        let group = match probe {
            Ok(group) => group,
            Err(error) => {
                self.block(error);
                return Ok(());
            }
        };
        let (answer, _nobody) = oneshot::channel();
        self.accept(vec![Queued { body, places, records: Vec::new(), answer }], &group).await?;
        if self.core.is_ailing() {
            if let Err(error) = self.core.offload(|core| core.index.flush(true)).await? {
                self.index_tries += 1;
                if self.index_tries == INDEX_TRIES || !matches!(error, IndexError::Disk(_)) {
                    return Err(error.into());
                }
                self.block(StoreError::Blocked(error.to_string()));
                return Ok(());
            }
            self.index_tries = 0;
            self.core.ailing.store(false, Ordering::SeqCst);
        }
        self.blocked = None;
        self.core.writable.set(true);
        tracing::info!("the data folder can be written again");
        Ok(())
    }
}

fn index_ails() -> StoreError {
    StoreError::Blocked("the index cannot be written".to_owned())
}

fn answer(batch: Vec<Queued>, result: &Result<(), StoreError>) {
    for queued in batch {
        // a caller that has gone away does not mind
        let _ = queued.answer.send(result.clone());
    }
}
