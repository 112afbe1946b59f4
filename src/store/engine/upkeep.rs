//! Now and then (once a minute): drops finished deliveries past their time, writes the checkpoint, deletes segments. Knows no commits.
//!
//! One sweep reads all deliveries in pages, drops what has had its time, and learns which is the oldest segment that a
//! surviving one needs. Segments before that one go, oldest first, when index and checkpoint have taken what they say.
use crate::domain::Status;
use crate::fault;
use crate::store::engine::checkpoint;
use crate::store::engine::core::{Core, asked_to_close};
use crate::store::error::StoreError;
use crate::store::index::IndexError;
use crate::store::index::keys;
use crate::store::index::overlay::{Fetched, Known, Scanned, Way};
use crate::store::log::port::{Chunk, FrameNo};
use crate::store::records::codec;
use crate::store::records::entry::{Brief, brief};
use crate::store::records::field::Reader;
use crate::store::records::record::REMEMBERED_MS;
use crate::store::state::{StoreScope, untag};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Between two pages, so that a sweep over millions is a murmur.
const PAUSE: Duration = Duration::from_millis(20);
const SCAN: usize = 512;
/// Dropped under one lock.
const DROPPED: usize = 64;
/// Long-lived changes in the journal that are worth a checkpoint.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// Runs until the store closes, or its index fails.
pub(in crate::store) async fn run(core: Arc<Core>) -> Result<(), StoreError> {
    let mut closing = core.closing.subscribe();
    let mut broken = core.broken.subscribe();
    tokio::select! {
        biased;
        why = failure(&mut broken) => Err(IndexError::Broken(why).into()),
        () = asked_to_close(&mut closing) => Ok(()),
        error = rounds(&core) => Err(error),
    }
}

async fn failure(broken: &mut watch::Receiver<Option<String>>) -> String {
    let why = broken.wait_for(Option::is_some).await;
    why.ok().and_then(|why| why.clone()).unwrap_or_default()
}

/// Ends only when the index fails.
async fn rounds(core: &Arc<Core>) -> StoreError {
    let mut surplus = Surplus::default();
    core.deliveries_complete().await;
    loop {
        sleep(core.settings.upkeep_every).await;
        if !core.is_writable() {
            continue;
        }
        match round(core, &mut surplus).await {
            Ok(()) => {}
            Err(error @ StoreError::Index(IndexError::Broken(_))) => return error,
            Err(error) => tracing::warn!(%error, "upkeep of the data folder failed; it is tried again"),
        }
    }
}

async fn round(core: &Arc<Core>, surplus: &mut Surplus) -> Result<(), StoreError> {
    // all frames below this one are needed by nobody
    let free_below = deliveries(core, surplus).await?;
    answers(core).await?;
    shadow(core).await?;
    fault::crash_point("retention.swept");
    if checkpoint_is_due(core, &core.log.chunks().await?, free_below) {
        checkpoint::write(core).await?;
    }
    trim(core, free_below).await
}

/// Finished deliveries beyond `history_max`, known from the last sweep: all that changed before a minute, some of that minute.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::store) struct Surplus {
    minute: i64,
    of_that_minute: u64,
}

impl Surplus {
    /// From how many finished deliveries changed in each minute.
    pub(in crate::store) fn of(minutes: &BTreeMap<i64, u64>, most: u64) -> Self {
        let mut surplus = minutes.values().sum::<u64>().saturating_sub(most);
        if surplus == 0 {
            // not even what a clock that was set back puts before the oldest
            return Self::default();
        }
        for (minute, count) in minutes {
            if surplus <= *count {
                return Self { minute: *minute, of_that_minute: surplus };
            }
            surplus -= count;
        }
        Self::default()
    }
    /// Is this one of them?
    pub(in crate::store) fn takes(&mut self, updated_us: i64) -> bool {
        let minute = minute(updated_us);
        if minute == self.minute && self.of_that_minute > 0 {
            self.of_that_minute -= 1;
            return true;
        }
        minute < self.minute
    }
}

fn minute(us: i64) -> i64 {
    us.div_euclid(60_000_000)
}

/// Returns a frame below which no surviving one needs any.
async fn deliveries(core: &Arc<Core>, surplus: &mut Surplus) -> Result<u64, StoreError> {
    let keep_from = core.clock.now_us().saturating_sub(core.settings.history.as_micros() as i64);
    // what is not applied yet stands behind this frame
    let mut oldest_needed = core.read().applied.frame + 1;
    let mut minutes: BTreeMap<i64, u64> = BTreeMap::new();
    let mut pages = Pages::new(b"d", b"e");
    while let Some(page) = pages.next(core).await? {
        let mut dropped = Vec::new();
        for (key, value) in page.pairs {
            let front = brief(&value).map_err(|e| core.unreadable(e))?;
            let had_its_time = |f: &Brief| f.updated_us < keep_from;
            if front.status.is_final() && (had_its_time(&front) || surplus.takes(front.updated_us)) {
                dropped.push((key, value));
                continue;
            }
            oldest_needed = oldest_needed.min(front.event_at.segment);
            if front.status != Status::Pending {
                *minutes.entry(minute(front.updated_us)).or_default() += 1;
            }
        }
        forget(core, SweptPage { pairs: dropped, read: page.read }).await?;
    }
    *surplus = Surplus::of(&minutes, core.settings.history_max);
    Ok(oldest_needed)
}

/// Idempotent answers of yesterday.
async fn answers(core: &Arc<Core>) -> Result<(), StoreError> {
    let now = core.clock.now_ms();
    let mut pages = Pages::new(b"i", b"j");
    while let Some(mut page) = pages.next(core).await? {
        page.pairs.retain(|(_, value)| {
            let answer = codec::take_idempotent(&mut Reader::new(value));
            answer.is_ok_and(|answer| answer.at_ms.saturating_add(REMEMBERED_MS) <= now)
        });
        forget(core, page).await?;
    }
    Ok(())
}

/// Shadow rows of tables that were cleared, then the clears themselves.
async fn shadow(core: &Arc<Core>) -> Result<(), StoreError> {
    let cleared = core.read().cleared.clone();
    if cleared.tables.is_empty() {
        return Ok(());
    }
    let mut pages = Pages::new(b"h", b"i");
    while let Some(mut page) = pages.next(core).await? {
        page.pairs.retain(|(key, value)| match (keys::shadow_table(key), untag(value)) {
            (Some(table), Ok((tag, _))) => cleared.hides(table, tag),
            _ => false,
        });
        forget(core, page).await?;
    }
    let mut state = core.write();
    for (table, tag) in cleared.tables {
        if state.cleared.tables.get(&table) == Some(&tag) {
            state.cleared.tables.remove(&table);
            state.overlay.remove(keys::cleared(table));
        }
    }
    core.dirtied.notify_one();
    Ok(())
}

/// Removes what is still as it was read: a retry may have come in between.
async fn forget(core: &Arc<Core>, page: SweptPage) -> Result<(), StoreError> {
    let SweptPage { pairs: mut gone, read } = page;
    while !gone.is_empty() {
        let rest = gone.split_off(gone.len().min(DROPPED));
        {
            let mut state = core.write();
            if !state.overlay.is_current(&read) {
                // what was read is too old to judge by: the next sweep finds it again
                return Ok(());
            }
            for (key, value) in std::mem::replace(&mut gone, rest) {
                let changed = state.overlay.peek(&key).is_some_and(|now| now != Known::Here(value));
                if !changed || fault::planted("sweep-unseen-retry") {
                    state.overlay.remove(key);
                }
            }
        }
        core.dirtied.notify_one();
        fault::crash_point("retention.forgotten");
        // a flood of deletes must not grow the overlay without bound
        while core.read().overlay.dirty() > crate::store::engine::flush::FULL {
            core.full.notify_one();
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Some pairs of the index, and when they were read.
struct SweptPage {
    pairs: Scanned,
    read: Fetched,
}

/// A range in pages, with a pause between them.
struct Pages {
    from: Option<Vec<u8>>,
    to: &'static [u8],
    begun: bool,
}

impl Pages {
    fn new(from: &[u8], to: &'static [u8]) -> Self {
        Self { from: Some(from.to_vec()), to, begun: false }
    }
    async fn next(&mut self, core: &Arc<Core>) -> Result<Option<SweptPage>, StoreError> {
        let Some(from) = self.from.take() else { return Ok(None) };
        if std::mem::replace(&mut self.begun, true) {
            sleep(PAUSE).await;
        }
        let to = self.to;
        let read = Fetched::begin(&core.read().overlay);
        let pairs = core.offload(move |core| core.scan((&from, to), Way::Up, SCAN)).await??;
        if pairs.len() == SCAN {
            self.from = pairs.last().map(|(key, _)| keys::successor(key));
        }
        Ok(Some(SweptPage { pairs, read }))
    }
}

fn checkpoint_is_due(core: &Core, chunks: &[Chunk], free_below: u64) -> bool {
    let (frame, bytes) = *core.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
    let quarter = bytes / 4;
    let changed = core.read().long_lived_bytes;
    let waiting = waiting(chunks, frame, free_below);
    changed >= quarter.max(CHECKPOINT_BYTES) || (waiting > 0 && waiting >= quarter)
}

/// Bytes that only a checkpoint keeps from being trimmed: of what begins before `below` and goes on after `frame`.
fn waiting(chunks: &[Chunk], frame: FrameNo, below: FrameNo) -> u64 {
    let closed = chunks.iter().zip(chunks.iter().skip(1));
    closed
        .filter(|(chunk, next)| chunk.first < below && next.first > frame + 1)
        .map(|(chunk, _)| chunk.bytes)
        .sum()
}

async fn trim(core: &Core, free_below: FrameNo) -> Result<(), StoreError> {
    if core.read().scope != StoreScope::Whole {
        // others read that log too, and none of them can tell what the others need
        return Ok(());
    }
    let checkpoint = core.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).0;
    let taken = core.settled_to().min(checkpoint);
    Ok(core.log.trim(free_below.min(taken + 1)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_finished_ones_are_surplus() {
        let minutes = BTreeMap::from([(1, 10), (2, 10), (3, 10)]);
        for (most, gone) in
            [(30, [0, 0, 0]), (25, [5, 0, 0]), (20, [10, 0, 0]), (12, [10, 8, 0]), (0, [10, 10, 10])]
        {
            let mut surplus = Surplus::of(&minutes, most);
            let taken: Vec<usize> = (1..=3_i64)
                .map(|minute| (0..10).filter(|_| surplus.takes(minute * 60_000_000 + 5)).count())
                .collect();
            assert_eq!(taken, gone, "at most {most}");
        }
        let earlier = 59_000_000;
        assert!(!Surplus::of(&minutes, 30).takes(earlier), "nothing is surplus");
    }
}
