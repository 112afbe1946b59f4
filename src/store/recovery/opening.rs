//! Opening: what the files say, is the index theirs, what must be replayed. Decides; changes the folder only at the end.
//! The index is taken if its last frame is one of this journal; else it is moved aside and made again from the newest checkpoint
//! and every segment. Segments that are not replayed are still checked while they are few (`CHECKED`); older ones are checked when read.
use crate::disk::Disk;
use crate::fault;
use crate::store::engine::catch_up::REBUILD;
use crate::store::engine::checkpoint;
use crate::store::engine::fetch::missing;
use crate::store::engine::flush::{FULL, writes};
use crate::store::error::{StoreError, blocked};
use crate::store::index::keys;
use crate::store::index::overlay::{Fetched, Layer};
use crate::store::index::{Index, IndexError, IndexFactory, Pair, Reset};
use crate::store::log::group;
use crate::store::log::port::{FrameNo, Log, StoredFrame};
use crate::store::records::codec;
use crate::store::records::entry::Tag;
use crate::store::records::field::{Malformed, Reader};
use crate::store::records::record::Record;
use crate::store::recovery::replayed::OpenJournal;
use crate::store::recovery::survey::{Files, survey};
use crate::store::state::apply::{FrameChange, Mode, apply};
use crate::store::state::said::said;
use crate::store::state::{Applied, FollowedHistory, State, StoreScope, untag};
use bytes::Bytes;
use std::sync::Arc;

const SCAN: usize = 1000;

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing was there: an empty data folder.
    pub fresh: bool,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Frames replayed into the index.
    pub replayed_frames: u64,
    /// Why the index was rebuilt from nothing, if it was.
    pub rebuilt: Option<String>,
}

/// What `Store::open` goes on with.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    pub(in crate::store) index: Arc<dyn Index>,
    pub(in crate::store) state: State,
    /// The last durable frame.
    pub(in crate::store) last: FrameNo,
    /// Up to which frame the index is complete.
    pub(in crate::store) indexed: u64,
    /// Frame and bytes.
    pub(in crate::store) checkpoint: (u64, u64),
    /// Where the deliveries of the journal are still to be read from.
    pub(in crate::store) catch_up: Option<FrameNo>,
    pub(in crate::store) recovery: Recovery,
}

/// Why this index cannot be used, or why nothing can.
enum Trouble {
    Index(IndexError),
    Store(StoreError),
}
impl Trouble {
    fn broken(why: &str) -> Self {
        Self::Index(IndexError::Broken(why.to_owned()))
    }
}
impl From<IndexError> for Trouble {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}
impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::broken(&error.to_string())
    }
}

pub(in crate::store) async fn open(
    disk: &dyn Disk,
    log: &dyn Log,
    factory: &IndexFactory,
    scope: StoreScope,
) -> Result<Opened, StoreError> {
    let files = survey(disk).await?;
    let chunks = log.chunks().await?;
    if chunks.is_empty() {
        return begin(&files, log, factory, scope).await;
    }
    let journal = OpenJournal { log, chunks };
    let mut why = files.rebuild.then(|| "it was marked to be rebuilt".to_owned());
    let mut opened = loop {
        let attempt = match &why {
            None => keep(&files, &journal, (factory, scope)).await,
            Some(why) => rebuild(&files, &journal, (factory, scope), why).await,
        };
        match attempt {
            Ok(opened) => break opened,
            Err(Trouble::Store(error)) => return Err(error),
            Err(Trouble::Index(error)) if why.is_some() => return Err(error.into()),
            Err(Trouble::Index(error)) => why = Some(error.to_string()),
        }
    };
    opened.recovery.rebuilt = why;
    // Frames that a kill left written and not synced are believed from here on: their position is confirmed at once.
    let claim = log.claim().await?;
    if claim.last != opened.last && !journal.is_only_begun(opened.last).await? {
        let (last, now) = (opened.last, claim.last);
        return Err(StoreError::Fenced(format!(
            "the journal ended with frame {last} and ends with {now} now"
        )));
    }
    opened.last = claim.last;
    opened.recovery.torn_bytes = claim.cut;
    Ok(opened)
}

/// An empty folder.
async fn begin(
    files: &Files<'_>,
    log: &dyn Log,
    factory: &IndexFactory,
    scope: StoreScope,
) -> Result<Opened, StoreError> {
    if let Some(frame) = files.checkpoints.first() {
        return Err(StoreError::Damaged(format!("a checkpoint of frame {frame} is there, but no journal")));
    }
    let mut rebuilt = None;
    let index = match factory(Reset::Keep).and_then(|index| Ok((index.scan(&[0], &[u8::MAX], 1)?, index))) {
        Ok((found, index)) if found.is_empty() => index,
        not_empty => {
            drop(not_empty);
            rebuilt = Some("it belongs to no journal".to_owned());
            factory(Reset::MoveAside).map_err(StoreError::Index)?
        }
    };
    // an index that says "nothing yet" is told from one that lost everything
    index
        .take(&mut writes(&Layer::new(), Applied::default()))
        .and_then(|()| index.flush(true))
        .map_err(StoreError::Index)?;
    let claim = log.claim().await?;
    Ok(Opened {
        index,
        state: State { scope, ..State::default() },
        last: claim.last,
        indexed: 0,
        checkpoint: (0, 0),
        catch_up: None,
        recovery: Recovery { fresh: true, rebuilt, ..Recovery::default() },
    })
}

/// With the index as it is.
async fn keep(
    files: &Files<'_>,
    journal: &OpenJournal<'_>,
    (factory, scope): (&IndexFactory, StoreScope),
) -> Result<Opened, Trouble> {
    let index = factory(Reset::Keep)?;
    let applied = match index.get(keys::APPLIED)? {
        Some(bytes) => Applied::decode(&bytes)?,
        None => return Err(Trouble::broken("it is empty")),
    };
    if applied.partial {
        return Err(Trouble::broken("its rebuild has not ended"));
    }
    let oldest = journal.oldest();
    if applied.frame + 1 < oldest {
        return Err(Trouble::broken("it is further behind than the journal reaches back"));
    }
    let mut replay = Replay::new(index, applied, scope)?;
    let mut met = applied.frame < oldest;
    let see = |frame: &StoredFrame| {
        met |= frame.at.number == applied.frame;
        replay.frame(journal.log, frame)
    };
    let last = journal.walk(journal.first_to_check(applied.frame), see).await?;
    if applied.frame > last {
        return Err(Trouble::broken("it is ahead of the journal"));
    }
    if !met {
        // its last frame is a part of a group that was given up here
        return Err(Trouble::broken("it belongs to another journal"));
    }
    replay.finish(files, last)
}

/// From the newest good checkpoint and all there is of the journal: what outlives its segments. The deliveries follow.
async fn rebuild(
    files: &Files<'_>,
    journal: &OpenJournal<'_>,
    (factory, scope): (&IndexFactory, StoreScope),
    why: &str,
) -> Result<Opened, Trouble> {
    let oldest = journal.oldest();
    let below = files.newest_checkpoint(oldest)?;
    // all of it is read before anything is changed: it may be that only a newer version can
    let mut last = Applied::default();
    let see = |frame: &StoredFrame| {
        (last.frame, last.crc) = (frame.at.number, frame.at.crc);
        said(journal.log, frame).map(drop)
    };
    journal.walk(oldest, see).await?;
    tracing::warn!(why, segments = journal.chunks.len(), "the index is moved aside and rebuilt");
    if !files.rebuild {
        files.disk.create(REBUILD).await.map_err(|e| blocked(&e))?;
    }
    let index = factory(Reset::MoveAside)?;
    fault::crash_point("rebuild.fresh");
    if let Some(frame) = below {
        checkpoint::load(files.disk, frame, index.as_ref())?;
    }
    let mut replay = Replay::new(index, Applied::default(), scope)?;
    replay.below = below.unwrap_or(0);
    replay.state.catching_up = true;
    let after = journal.chunk_of(replay.below + 1);
    let end = journal.walk(after, |frame| replay.frame(journal.log, frame)).await?;
    (replay.state.applied.frame, replay.state.applied.crc) = (last.frame, last.crc);
    fault::crash_point("rebuild.replayed");
    let mut opened = replay.finish(files, end)?;
    opened.catch_up = Some(oldest);
    Ok(opened)
}

/// Brings an index up to date.
struct Replay {
    index: Arc<dyn Index>,
    state: State,
    /// What the index held.
    known: Applied,
    /// The checkpoint's frame.
    below: u64,
    /// Up to where the index is complete.
    indexed: u64,
    frames: u64,
}

impl Replay {
    fn new(index: Arc<dyn Index>, known: Applied, scope: StoreScope) -> Result<Self, Trouble> {
        let mut state = State { applied: known, scope, ..State::default() };
        if let Some(bytes) = index.get(keys::HISTORY)? {
            state.history = FollowedHistory::decode(&bytes)?;
            state.routing.applied = state.history.position.unwrap_or_default();
        }
        for (key, value) in all(index.as_ref(), b"mc", b"md")? {
            let table = key.last_chunk::<8>().ok_or(Malformed("key"))?;
            let tag: Tag = untag(&value)?.0;
            state.cleared.clear(*table, tag);
        }
        for (_, value) in all(index.as_ref(), b"s", b"t")? {
            let subscription = codec::take_subscription(&mut Reader::new(&value))?;
            state.routing.put(subscription);
        }
        Ok(Self { index, state, known, below: 0, indexed: known.frame, frames: 0 })
    }

    fn frame(&mut self, log: &dyn Log, frame: &StoredFrame) -> Result<(), Trouble> {
        let at = frame.at;
        if at.number == self.known.frame && at.crc != self.known.crc {
            return Err(Trouble::broken("it belongs to another journal"));
        }
        // also what the index holds already: it may be that only a newer version reads it
        let (batch, places) = said(log, frame)?;
        if at.number <= self.known.frame.max(self.below) {
            return Ok(());
        }
        let fetched = self.fetch(&batch.records)?;
        let change = FrameChange {
            fetched: &fetched,
            number: at.number,
            crc: at.crc,
            place: at.place.plus(group::prefix(frame.kind) as u64),
            records: &batch.records,
            places: &places,
        };
        let mode = if self.state.catching_up { Mode::LongLived } else { Mode::All };
        apply(&mut self.state, &change, mode)?;
        self.frames += 1;
        if self.frames.is_multiple_of(100_000) {
            tracing::info!(frames = self.frames, "replaying the journal");
        }
        let full = fault::instead("TAILHOOK_INDEX_ENTRIES", FULL as u64);
        if self.state.overlay.dirty() as u64 >= full { self.flush(false) } else { Ok(()) }
    }

    /// Nobody else has the index: there is no lock to keep it from.
    fn fetch(&self, records: &[Record]) -> Result<Fetched, IndexError> {
        let nothing = Fetched::begin(&self.state.overlay);
        let mut fetched = nothing.clone();
        for key in missing(&self.state, records, false, &nothing) {
            let value = self.index.get(&key)?.map(Bytes::from);
            fetched.add(key, value);
        }
        Ok(fetched)
    }

    fn flush(&mut self, now: bool) -> Result<(), Trouble> {
        let applied = Applied { partial: self.state.catching_up, ..self.state.applied };
        let layer = self.state.overlay.begin_flush();
        self.index.take(&mut writes(&layer, applied))?;
        match self.index.flush(now) {
            Ok(true) => self.indexed = applied.frame,
            Ok(false) => {}
            // it keeps what it has in memory until the disk is well; there is little of it
            Err(IndexError::Disk(why)) if self.known.frame > 0 && !fault::planted("index-given-up") => {
                tracing::warn!(why, "the index cannot be written");
            }
            Err(error) => return Err(error.into()),
        }
        self.state.overlay.end_flush();
        Ok(())
    }

    fn finish(self, files: &Files<'_>, last: FrameNo) -> Result<Opened, Trouble> {
        let newest = files.checkpoints.last().copied().unwrap_or(0);
        if newest > last {
            let next = last + 1;
            let why = format!("a checkpoint of frame {newest} is there, but frames {next} and later are not");
            return Err(StoreError::Damaged(why).into());
        }
        let size = files.disk.len(&checkpoint::name(newest)).unwrap_or(0);
        Ok(Opened {
            index: self.index,
            state: self.state,
            last,
            indexed: self.indexed,
            checkpoint: (newest, size),
            catch_up: None,
            recovery: Recovery { fresh: false, torn_bytes: 0, replayed_frames: self.frames, rebuilt: None },
        })
    }
}

fn all(index: &dyn Index, from: &[u8], to: &[u8]) -> Result<Vec<Pair>, IndexError> {
    let mut pairs = Vec::new();
    let mut from = from.to_vec();
    loop {
        let page = index.scan(&from, to, SCAN)?;
        let last = page.len() < SCAN;
        if let Some((key, _)) = page.last() {
            from = keys::successor(key);
        }
        pairs.extend(page);
        if last {
            return Ok(pairs);
        }
    }
}
