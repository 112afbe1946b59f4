//! Purpose: brings the deliveries of the journal into an index that is being rebuilt, beside the commits. Must not: hold up a commit, or
//! touch what outlives the journal's segments: `open` has brought that, and commits go on with it.
//!
//! Until the last frame is reached, commits apply only what is no delivery, and everything that asks about deliveries waits. What the
//! index claims to be complete to stays nothing, and the mark stays in the folder until the index is durable (`flush`): a rebuild
//! that is cut off is begun again.
use crate::fault;
use crate::store::engine::core::{Core, StoreStage, asked_to_close};
use crate::store::engine::fetch::missing;
use crate::store::engine::flush;
use crate::store::error::{StoreError, unreadable};
use crate::store::index::overlay::Fetched;
use crate::store::log::group;
use crate::store::log::segment::{SegmentReader, SegmentStep};
use crate::store::recovery::opening::read;
use crate::store::state::apply::{FrameChange, Mode, apply};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// Frames in one visit to the blocking pool.
const STEP: usize = 256;
/// A line in the log after so many frames.
const TELL: u64 = 100_000;

/// How far the journal has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct BackfillCursor {
    /// The segment's first frame.
    pub(in crate::store) segment: u64,
    /// Byte in it.
    pub(in crate::store) at: u64,
    /// Number of the next frame.
    pub(in crate::store) next: u64,
}

/// Runs until the index has every delivery, or the store closes. At once, if nothing is missing.
pub(in crate::store) async fn run(core: Arc<Core>) -> Result<(), StoreError> {
    let mut closing = core.closing.subscribe();
    tokio::select! {
        biased;
        () = asked_to_close(&mut closing) => Ok(()),
        done = to_the_end(&core) => done,
    }
}

/// Reads to the end of the journal.
pub(in crate::store) async fn to_the_end(core: &Arc<Core>) -> Result<(), StoreError> {
    let begun = *core.backfill.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut cursor) = begun else { return Ok(()) };
    loop {
        let before = cursor.next;
        let (read_to, complete) = core.offload(move |core| step(core, cursor)).await??;
        cursor = read_to;
        if complete {
            break;
        }
        if cursor.next / TELL > before / TELL {
            tracing::info!(
                frame = cursor.next,
                of = core.read().applied.frame,
                "deliveries come into the index"
            );
        }
        fault::crash_point("rebuild.step");
        make_room(core).await?;
    }
    *core.backfill.lock().unwrap_or_else(PoisonError::into_inner) = None;
    core.complete.set(true);
    fault::crash_point("rebuild.complete");
    tracing::info!(frames = cursor.next - 1, "the index is rebuilt");
    if *core.stage.borrow() == StoreStage::Idle {
        flush::generation(core, true).await?;
    }
    Ok(())
}

/// What is rebuilt must not grow in memory without bound.
async fn make_room(core: &Arc<Core>) -> Result<(), StoreError> {
    if *core.stage.borrow() == StoreStage::Idle {
        if core.read().overlay.dirty() >= flush::FULL {
            flush::generation(core, false).await?;
        }
        return Ok(());
    }
    core.dirtied.notify_one();
    while core.read().overlay.dirty() >= flush::FULL {
        core.full.notify_one();
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Some frames further. True: that was the last one, and from now on commits bring deliveries themselves.
fn step(core: &Core, mut cursor: BackfillCursor) -> Result<(BackfillCursor, bool), StoreError> {
    let mut reader = SegmentReader::open(core.disk.as_ref(), cursor.segment).map_err(|e| unreadable(&e))?;
    reader.at = cursor.at;
    for _ in 0..STEP {
        {
            let mut state = core.write();
            if cursor.next > state.applied.frame {
                state.backfilling = false;
                return Ok((cursor, true));
            }
        }
        match reader.next(cursor.next).map_err(|e| unreadable(&e))? {
            SegmentStep::Frame(found) => {
                let (batch, places) = read(cursor.segment, &found)?;
                let mut fetched = Fetched::begin(&core.read().overlay);
                let keys: Vec<_> = missing(&core.read(), &batch.records, false, &fetched).collect();
                for key in keys {
                    let value = core.get_older(&key)?;
                    fetched.add(key, value);
                }
                let change = FrameChange {
                    number: found.number,
                    crc: found.crc,
                    segment: cursor.segment,
                    body_at: found.body_at + group::prefix(found.kind) as u64,
                    records: &batch.records,
                    places: &places,
                    fetched: &fetched,
                };
                apply(&mut core.write(), &change, Mode::Deliveries).map_err(|e| core.unreadable(e))?;
                (cursor.at, cursor.next) = (reader.at, cursor.next + 1);
            }
            SegmentStep::End => {
                cursor = BackfillCursor { segment: cursor.next, at: 0, next: cursor.next };
                reader =
                    SegmentReader::open(core.disk.as_ref(), cursor.segment).map_err(|e| unreadable(&e))?;
            }
            SegmentStep::Unknown(kind) => return Err(reader.unknown(kind)),
            SegmentStep::Flaw => return Err(reader.damaged("a frame that was acknowledged cannot be read")),
        }
    }
    Ok((cursor, false))
}
