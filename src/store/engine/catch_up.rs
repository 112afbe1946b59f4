//! Purpose: brings the deliveries of the log into an index that is being rebuilt, beside the commits. Must not: hold up a commit, or
//! touch what outlives the log's frames: `open` has brought that, and commits go on with it.
//!
//! Until the last frame is reached, commits apply only what is no delivery, and everything that asks about deliveries waits. The
//! index says meanwhile that it is partial, and the mark stays in the folder until all of it is durable (`flush`): a rebuild that is cut
//! off is begun again.
use crate::fault;
use crate::store::engine::core::{Core, StoreStage, asked_to_close};
use crate::store::engine::fetch::missing;
use crate::store::engine::flush;
use crate::store::error::StoreError;
use crate::store::index::overlay::Fetched;
use crate::store::log::group;
use crate::store::log::port::{FrameNo, StoredFrame};
use crate::store::log::whole::WholeGroups;
use crate::store::records::record::Record;
use crate::store::state::apply::{FrameChange, Mode, apply};
use crate::store::state::said::said;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// A file that says: rebuild the index. Left by a store whose index failed, by what rewrites the journal, and while a rebuild is not
/// durable.
pub(in crate::store) const REBUILD: &str = "rebuild-index";
/// Frames in one visit to the blocking pool.
const STEP: usize = 256;
/// Or so many bytes.
const STEP_BYTES: usize = 4 << 20;
/// Between two looks whether the index has taken what was read.
const PAUSE: Duration = Duration::from_millis(5);
/// A line in the log after so many frames.
const TELL: u64 = 100_000;

/// Runs until the index has every delivery, or the store closes. At once, if nothing is missing.
pub(in crate::store) async fn run(core: Arc<Core>) -> Result<(), StoreError> {
    let mut closing = core.closing.subscribe();
    tokio::select! {
        biased;
        () = asked_to_close(&mut closing) => Ok(()),
        done = to_the_end(&core) => done,
    }
}

/// Reads to the end of the log.
pub(in crate::store) async fn to_the_end(core: &Arc<Core>) -> Result<(), StoreError> {
    let from = *core.catch_up.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(from) = from else { return Ok(()) };
    let mut groups = WholeGroups::new(core.log.read(from).await?);
    let mut done = from.saturating_sub(1);
    loop {
        let applied = core.read().applied.frame;
        let frames = next_step(&mut groups, applied.saturating_sub(done)).await?;
        let before = done;
        done = frames.last().map_or(done, |frame| frame.at.number);
        if !frames.is_empty() {
            core.offload(move |core| apply_all(core, &frames)).await??;
        }
        fault::crash_point("rebuild.step");
        if is_complete(core, done) {
            break;
        }
        if done == before {
            sleep(PAUSE).await;
        }
        if done / TELL > before / TELL {
            tracing::info!(frame = done, of = applied, "deliveries come into the index");
        }
        make_room(core).await?;
    }
    *core.catch_up.lock().unwrap_or_else(PoisonError::into_inner) = None;
    core.complete.set(true);
    core.dirtied.notify_one();
    fault::crash_point("rebuild.complete");
    tracing::info!(frames = done, "the index is rebuilt");
    if *core.stage.borrow() == StoreStage::Idle {
        flush::generation(core, true).await?;
    }
    Ok(())
}

/// Some frames, none beyond those that commits have applied: at most `most` numbers.
async fn next_step(groups: &mut WholeGroups<'_>, most: u64) -> Result<Vec<StoredFrame>, StoreError> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while (frames.len() as u64) < most && frames.len() < STEP && bytes < STEP_BYTES {
        let Some(frame) = groups.next().await? else { break };
        bytes += frame.body.len();
        frames.push(frame);
    }
    Ok(frames)
}

/// That was the last frame: from now on commits bring deliveries themselves. Under one lock with what they apply.
fn is_complete(core: &Core, done: FrameNo) -> bool {
    let mut state = core.write();
    if done >= state.applied.frame {
        state.catching_up = false;
    }
    !state.catching_up
}

fn apply_all(core: &Core, frames: &[StoredFrame]) -> Result<(), StoreError> {
    for frame in frames {
        let (batch, places) = said(core.log.as_ref(), frame)?;
        let (fetched, mut state) = loop {
            let fetched = fetch(core, &batch.records)?;
            let state = core.write();
            if missing(&state, &batch.records, false, &fetched).next().is_none() {
                break (fetched, state);
            }
            // rare: two generations have ended meanwhile
        };
        let change = FrameChange {
            number: frame.at.number,
            crc: frame.at.crc,
            place: frame.at.place.plus(group::prefix(frame.kind) as u64),
            records: &batch.records,
            places: &places,
            fetched: &fetched,
        };
        apply(&mut state, &change, Mode::Deliveries).map_err(|e| core.unreadable(e))?;
    }
    Ok(())
}

/// What these records need of the index and the overlay does not hold.
fn fetch(core: &Core, records: &[Record]) -> Result<Fetched, StoreError> {
    let (mut fetched, keys) = {
        let state = core.read();
        let nothing = Fetched::begin(&state.overlay);
        let keys: Vec<_> = missing(&state, records, false, &nothing).collect();
        (nothing, keys)
    };
    for key in keys {
        let value = core.get_older(&key)?;
        fetched.add(key, value);
    }
    Ok(fetched)
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
        sleep(PAUSE).await;
    }
    Ok(())
}
