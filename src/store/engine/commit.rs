//! Purpose: the committer: one loop that makes batches durable, then visible, then answers. Must not: read or write the index: what
//! `apply` needs came with the batch.
//!
//! Group commit: everything that is queued goes into one append and one fdatasync. When the disk refuses, commits are answered
//! `Blocked` at once, and a probe is written now and then until one succeeds.
use crate::fault;
use crate::store::engine::core::{Core, StoreStage, Unstarted, asked_to_close};
use crate::store::engine::fetch::missing;
use crate::store::engine::queued::{Queued, answer};
use crate::store::engine::writing::{Writing, Written};
use crate::store::error::StoreError;
use crate::store::index::IndexError;
use crate::store::index::overlay::Fetched;
use crate::store::log::frame::{Kind, MAX_BODY};
use crate::store::log::group;
use crate::store::log::port::{self, Durability, FrameNo, LogError, Placed, StoredFrame};
use crate::store::records::record::Batch;
use crate::store::state::StoreScope;
use crate::store::state::apply::{FrameChange, Mode, apply};
use crate::store::state::said::said;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Commits that may wait.
pub(in crate::store) const QUEUE: usize = 1024;
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

impl Core {
    /// Makes a batch durable, all or nothing. `unseen`: no delivery of it can be in the store.
    pub(in crate::store) async fn commit(
        self: &Arc<Self>,
        batch: Batch,
        unseen: bool,
    ) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.is_closing() {
            return Err(StoreError::Closed);
        }
        if !self.is_writable() {
            return Err(StoreError::Blocked("the data folder cannot be written".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        let pieces = group::pieces(&batch.records, self.settings.frame_bytes);
        let mut queued =
            Queued { pieces, records: batch.records, unseen, fetched: Fetched::default(), answer };
        let largest = queued.pieces.iter().map(|piece| piece.body.len()).max().unwrap_or(0);
        if queued.bytes() > self.settings.batch_bytes || largest > MAX_BODY - group::prefix(Kind::Seal) {
            return Err(StoreError::TooLarge(queued.bytes()));
        }
        queued.fetched = self.fetch(&queued.records, unseen).await?;
        self.queue.send(queued).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

struct Committer {
    core: Arc<Core>,
    /// The last durable frame.
    last: FrameNo,
    blocked: Option<Blocked>,
    index_tries: u32,
}

struct Blocked {
    error: StoreError,
    retry_at: Instant,
}

/// Runs until the store is closed and what was queued is written.
pub(in crate::store) async fn run(core: Arc<Core>, unstarted: Unstarted) -> Result<(), StoreError> {
    let Unstarted { mut queue, last } = unstarted;
    let mut closing = core.closing.subscribe();
    let mut committer = Committer { core: core.clone(), last, blocked: None, index_tries: 0 };
    if core.read().scope != StoreScope::Whole {
        // whoever wrote before is fenced by it
        committer.heal().await?;
    }
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
            arrived = core.log.arrived() => committer.arrived(arrived).await?,
        }
    }
    core.stage.send_replace(StoreStage::Drained);
    Ok(())
}

impl Committer {
    async fn take(&mut self, first: Queued, queue: &mut mpsc::Receiver<Queued>) -> Result<(), StoreError> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while bytes < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes();
            batch.push(next);
        }
        if let Some(blocked) = &self.blocked {
            answer(batch, &Err(blocked.error.clone()));
            return Ok(());
        }
        match self.write_or_say(&batch).await {
            Err(error @ StoreError::Fenced(_)) => {
                answer(batch, &Err(error.clone()));
                Err(error)
            }
            Err(error) => {
                self.block(error.clone());
                answer(batch, &Err(error));
                Ok(())
            }
            Ok(written) => self.accept(batch, &written).await,
        }
    }

    /// Commits are refused while the disk does not answer; what it was asked to write may still become durable.
    async fn write_or_say(&mut self, batch: &[Queued]) -> Result<Written, StoreError> {
        let core = self.core.clone();
        let mut write = pin!(async {
            self.wait_for_room().await;
            if self.core.is_ailing() { Err(index_ails()) } else { self.write(batch).await }
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
    async fn accept(&mut self, mut batch: Vec<Queued>, written: &Written) -> Result<(), StoreError> {
        let applied = self.apply(&mut batch, written).await;
        if fault::planted("index-flush-only") {
            crate::store::engine::flush::generation(&self.core, true).await?;
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
            && let Err(error) = self.core.log.append(&[], self.last, Durability::Now).await
        {
            self.block(error.into());
        }
        applied
    }

    /// Under one lock: nobody sees half a group.
    async fn apply(&self, batch: &mut [Queued], written: &Written) -> Result<(), StoreError> {
        if fault::planted("ack-after-index") {
            self.core.offload(|_| ()).await?;
        }
        while !self.apply_now(batch, written)? {
            // rare: two generations have ended since it was fetched
            for queued in batch.iter_mut() {
                queued.fetched = self.core.fetch(&queued.records, queued.unseen).await?;
            }
        }
        Ok(())
    }

    /// False, and nothing is changed: something that is needed was not fetched, or too long ago.
    fn apply_now(&self, batch: &[Queued], written: &Written) -> Result<bool, StoreError> {
        let mut state = self.core.write();
        if fault::planted("read-under-lock") {
            self.core.get_older(b"any")?;
        }
        let lacks = |queued: &Queued| {
            !state.catching_up
                && missing(&state, &queued.records, queued.unseen, &queued.fetched).next().is_some()
        };
        if batch.iter().any(lacks) {
            return Ok(false);
        }
        let pieces = batch.iter().flat_map(|queued| queued.pieces.iter().map(move |piece| (queued, piece)));
        let mode = if state.catching_up { Mode::LongLived } else { Mode::All };
        let mut fresh = Vec::new();
        for ((queued, piece), at) in pieces.zip(&written.pieces) {
            let change = FrameChange {
                number: at.number,
                crc: at.crc,
                place: at.place,
                records: &queued.records[piece.records.clone()],
                places: &piece.places,
                fetched: &queued.fetched,
            };
            let woken = apply(&mut state, &change, mode).map_err(|error| self.core.unreadable(error))?;
            fresh.extend(woken);
        }
        // a delivery's subscription before the delivery
        self.core.publish(&state);
        self.core.feed.push(fresh);
        self.core.dirtied.notify_one();
        if state.overlay.dirty() >= crate::store::engine::flush::FULL {
            self.core.full.notify_one();
        }
        Ok(true)
    }

    /// What others have added to the log.
    async fn arrived(&mut self, frames: Result<Vec<StoredFrame>, LogError>) -> Result<(), StoreError> {
        let frames = match frames {
            Ok(frames) => frames,
            Err(error @ (LogError::Refused(_) | LogError::Unclear(_) | LogError::Unreadable(_))) => {
                tracing::warn!(%error, "what others add to the log cannot be read, trying again");
                sleep(RETRY).await;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.wait_for_room().await;
        let (mut batch, mut written) = (Vec::new(), Written::default());
        for frame in &frames {
            let (said, places) = said(self.core.log.as_ref(), frame)?;
            let fetched = self.core.fetch(&said.records, false).await?;
            batch.push(Queued::read(said, places, fetched));
            let place = frame.at.place.plus(group::prefix(frame.kind) as u64);
            written.pieces.push(Placed { place, ..frame.at });
            self.last = frame.at.number;
        }
        self.apply(&mut batch, &written).await
    }

    async fn wait_for_room(&self) {
        while self.core.read().overlay.dirty_bytes() > DIRTY_BYTES && !self.core.is_ailing() {
            self.core.full.notify_one();
            self.core.room.notified().await;
        }
    }

    /// Each batch is a group: one append and one sync for all of them.
    async fn write(&mut self, batch: &[Queued]) -> Result<Written, StoreError> {
        let mut there = None;
        let written = loop {
            let known = there.as_ref().map(VecDeque::len);
            let error = match (self.write_behind(batch, there.take().unwrap_or_default()).await, known) {
                (Ok(written), _) => break written,
                (Err(error), None) if !matches!(error, LogError::Unclear(_)) => return Err(error.into()),
                (Err(error), _) => error,
            };
            // nobody may be answered: what was given may be there, or come still
            tracing::warn!(%error, "it is not known what the log has taken, asking");
            self.core.writable.set(false);
            let found = self.behind_last().await?;
            if matches!(error, LogError::Fenced { .. }) && known == Some(found.len()) {
                return Err(error.into());
            }
            there = Some(found);
        };
        self.last = written.pieces.last().map_or(self.last, |at| at.number);
        Ok(written)
    }

    /// `there`: what of it the log has taken already.
    async fn write_behind(
        &self,
        batch: &[Queued],
        there: VecDeque<StoredFrame>,
    ) -> Result<Written, LogError> {
        let log = self.core.log.clone();
        let bytes = batch.iter().map(Queued::bytes).sum();
        let mut writing = Writing::new(log.as_ref(), self.last, bytes, there);
        for queued in batch {
            writing.group(&queued.pieces).await?;
        }
        if fault::planted("ack-before-fsync") || fault::planted("index-flush-only") {
            return writing.end_unsynced().await;
        }
        fault::crash_point("store.before-append");
        let written = writing.end().await?;
        fault::crash_point("store.synced");
        if let Some(observer) = self.core.flush_observer.get() {
            observer.observe(written.synced);
        }
        Ok(written)
    }

    /// What stands behind the last frame, as soon as it can be read: an append of ours of which the answer was lost, or another's.
    async fn behind_last(&self) -> Result<VecDeque<StoredFrame>, LogError> {
        loop {
            sleep(RETRY).await;
            match port::behind(self.core.log.as_ref(), self.last).await {
                Ok(frames) => return Ok(frames.into()),
                Err(fenced @ LogError::Fenced { .. }) => return Err(fenced),
                Err(error) => tracing::warn!(%error, "the log cannot be read, trying again"),
            }
        }
    }

    fn block(&mut self, error: StoreError) {
        if self.blocked.is_none() {
            tracing::error!(%error, "commits are refused until the data folder can be written again");
        }
        self.blocked = Some(Blocked { error, retry_at: Instant::now() + RETRY });
        self.core.writable.set(false);
    }

    /// Proves with an empty frame that writing works; what a failure left is cut off by that.
    async fn heal(&mut self) -> Result<(), StoreError> {
        let batch = vec![Queued::empty()];
        let probe = if fault::planted("no-heal") {
            Err(StoreError::Blocked("planted".to_owned()))
        } else {
            self.write(&batch).await
        };
        let written = match probe {
            Ok(written) => written,
            Err(error @ StoreError::Fenced(_)) => return Err(error),
            Err(error) => {
                self.block(error);
                return Ok(());
            }
        };
        self.accept(batch, &written).await?;
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
        if self.blocked.take().is_some() {
            tracing::info!("the data folder can be written again");
        }
        self.core.writable.set(true);
        Ok(())
    }
}

fn index_ails() -> StoreError {
    StoreError::Blocked("the index cannot be written".to_owned())
}
