//! The index writer: takes what is acknowledged into the index, a generation at a time, behind the journal. Knows no records.
//!
//! A generation is what the overlay holds at one moment, and the last frame applied then: with it the index is what the journal says up to
//! that frame. It is taken whole or not at all.
use crate::fault;
use crate::store::engine::catch_up::REBUILD;
use crate::store::engine::core::{Core, StoreStage};
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::index::overlay::Layer;
use crate::store::index::{IndexError, Write};
use crate::store::state::Applied;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Entries that begin a generation at once.
pub(in crate::store) const FULL: usize = 8192;
/// How long fewer entries wait: what changes again meanwhile is written once.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the index may keep in memory what it took. Until it is durable there, the journal must keep it.
const UNSETTLED: Duration = Duration::from_secs(60);

/// Runs until the committer has ended and everything is in the index.
pub(in crate::store) async fn run(core: Arc<Core>) -> Result<(), StoreError> {
    let mut stage = core.stage.subscribe();
    let mut settle_at = Instant::now() + UNSETTLED;
    loop {
        let drained = *stage.borrow_and_update() >= StoreStage::Drained;
        if drained {
            fault::crash_point("stop.index");
            return last(&core).await;
        }
        let waiting = core.read().overlay.dirty();
        let unsettled = core.settled_to() < core.taken_to();
        if !unsettled {
            settle_at = Instant::now() + UNSETTLED;
        }
        // an index that was rebuilt is made durable at once: until then the next start would rebuild it again
        let rebuilt = core.marked.load(Ordering::SeqCst) && core.complete.is_open();
        if waiting < FULL && !rebuilt {
            tokio::select! {
                biased;
                _ = stage.changed() => continue,
                () = core.dirtied.notified(), if waiting == 0 => continue,
                () = core.full.notified(), if waiting > 0 => {}
                () = sleep(PATIENCE), if waiting > 0 => {}
                () = sleep_until(settle_at), if unsettled => {}
            }
        }
        if core.is_writable() {
            match generation(&core, rebuilt || Instant::now() >= settle_at).await {
                Ok(_) => {}
                Err(error) if *stage.borrow() < StoreStage::Drained => return Err(error),
                Err(error) => {
                    left_behind(&error);
                    return Ok(());
                }
            }
        } else {
            // a full disk: the index would only fail too
            tokio::select! {
                biased;
                _ = stage.changed() => {}
                () = core.writable.opened() => {}
            }
        }
    }
}

/// At the end a failure costs only a longer replay.
async fn last(core: &Arc<Core>) -> Result<(), StoreError> {
    if core.settled_to() < core.read().applied.frame
        && let Err(error) = generation(core, true).await
    {
        left_behind(&error);
    }
    Ok(())
}

fn left_behind(error: &StoreError) {
    tracing::warn!(%error, "the index was left behind; it will catch up at the next start");
}

/// Writes everything that is dirty now. True: all of it, and all before it, is durable in the index.
pub(in crate::store) async fn generation(core: &Arc<Core>, now: bool) -> Result<bool, StoreError> {
    let (layer, applied, whole) = {
        let mut state = core.write();
        let whole = !state.catching_up || fault::planted("rebuilt-too-early");
        (state.overlay.begin_flush(), Applied { partial: !whole, ..state.applied }, whole)
    };
    core.room.notify_one();
    fault::crash_point("index.begin");
    let settled = loop {
        let error = match write(core, &layer, applied, now).await {
            Ok(settled) => break settled,
            Err(error) => error,
        };
        tracing::error!(%error, "the index cannot be written");
        let by_disk = matches!(error, StoreError::Index(IndexError::Disk(_)));
        if !by_disk || fault::planted("index-given-up") {
            return Err(error);
        }
        mended(core, error).await?;
    };
    fault::crash_point("index.flushed");
    core.write().overlay.end_flush();
    core.took(applied.frame, settled);
    if settled && whole && core.marked.swap(false, Ordering::SeqCst) {
        unmark(core).await;
    }
    Ok(settled)
}

/// The index that was rebuilt is durable, whole.
async fn unmark(core: &Core) {
    fault::crash_point("rebuild.before-unmark");
    if let Err(error) = core.disk.remove(REBUILD).await {
        let file = REBUILD;
        tracing::warn!(%error, file, "a mark cannot be removed: the next start rebuilds the index once more");
    }
}

/// Waits until the committer has seen the index write again; at the end nobody does.
async fn mended(core: &Core, error: StoreError) -> Result<(), StoreError> {
    let mut stage = core.stage.subscribe();
    core.ail();
    tokio::select! {
        biased;
        _ = stage.wait_for(|stage| *stage >= StoreStage::Drained) => Err(error),
        () = core.writable.opened() => Ok(()),
    }
}

async fn write(
    core: &Arc<Core>,
    layer: &Arc<Layer>,
    applied: Applied,
    now: bool,
) -> Result<bool, StoreError> {
    let layer = layer.clone();
    core.offload(move |core| core.index.take(&mut writes(&layer, applied))).await??;
    fault::crash_point("index.before-flush");
    Ok(core.offload(move |core| core.index.flush(now)).await??)
}

/// What a generation writes.
pub(in crate::store) fn writes(layer: &Layer, applied: Applied) -> impl Iterator<Item = Write> {
    let entries = layer.iter().map(|(key, slot)| (key.clone(), slot.value.as_ref().map(|v| v.to_vec())));
    entries.chain(iter::once_with(move || {
        fault::crash_point("index.middle");
        (keys::APPLIED.to_vec(), Some(applied.encode()))
    }))
}
