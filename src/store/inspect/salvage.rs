//! `store verify --salvage`: makes a damaged journal one that opens, without making anything up. Knows no command line.
//!
//! Every good frame stays with its number and its bytes; where one is lost, an empty one stands. What is replaced is kept beside it
//! under another name. A last frame sets the position back to where the first loss begins and marks the history as lost: capture
//! then reports a gap from there and streams nothing until it is accepted, which also reads shadow and subscriptions anew.
//! Deliveries of good frames go on. Any crash in here leaves a folder that is still refused, and a second call ends the work.
use crate::disk::Disk;
use crate::domain::Lsn;
use crate::store::engine::catch_up::REBUILD;
use crate::store::error::{StoreError, blocked, unreadable};
use crate::store::inspect::dissect::{DissectedPiece, empty, set_back};
use crate::store::inspect::verify::{Loss, Report, Walked, pieces, walk};
use crate::store::log::segment;
use crate::store::records::record::Identity;

/// No more empty frames are written than this in place of lost ones: a number beyond it is not believed.
const MOST_LOST: u64 = 10_000_000;
const SUFFIX: &str = ".tmp";

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The position is back here: what came later, up to the server's end, is a gap.
    pub position: Option<Lsn>,
    /// Files under their old names that were written anew, and the names under which the damaged ones are kept.
    pub kept: Vec<(String, String)>,
}

/// Salvages what `report` (of `verify`, just now) found damaged. `stamp` tells what is kept from what an earlier call kept.
pub async fn salvage(disk: &dyn Disk, report: &Report, stamp: &str) -> Result<Salvaged, StoreError> {
    let walked = walk(disk, 0)?;
    if let Some(why) = &walked.hopeless {
        return Err(StoreError::Damaged(format!("{why}: this cannot be salvaged without guessing")));
    }
    let count = |loss: &Loss| loss.frames.1 - loss.frames.0 + 1;
    let lost = walked.report.losses.iter().map(count).fold(0, u64::saturating_add);
    if lost > MOST_LOST {
        return Err(StoreError::Damaged(format!("{lost} frames are missing, which is not believed")));
    }
    debug_assert_eq!(report.losses.len(), walked.report.losses.len(), "the folder is locked");
    disk.create(REBUILD).await.map_err(|e| blocked(&e))?;
    let position = end(disk, &walked).await?;
    if let Some((from, to)) = walked.missing {
        let mut bytes = Vec::new();
        (from..=to).for_each(|number| empty(&mut bytes, number));
        put(disk, &segment::name(from), bytes).await?;
    }
    let mut kept = Vec::new();
    let firsts: Vec<u64> = walked.segments.keys().copied().collect();
    for (n, first) in firsts.iter().enumerate() {
        let following = firsts.get(n + 1).copied().or(Some(walked.next));
        kept.extend(mend(disk, *first, following, stamp).await?);
    }
    Ok(Salvaged { position, kept })
}

/// Writes the last frame into a segment of its own, unless an earlier call did.
async fn end(disk: &dyn Disk, walked: &Walked) -> Result<Option<Lsn>, StoreError> {
    let mut history = walked.past.history.clone();
    if history.identity.is_none() && history.filling.is_none() {
        // its frame was deleted long ago
        history.identity = walked.checkpoint.as_ref().and_then(|history| history.identity.clone());
    }
    let marked = history.identity.as_ref().is_some_and(|identity| identity.epoch == Identity::LOST);
    let mut to = walked.report.losses.first().map_or(history.position, |loss| loss.after);
    if marked {
        to = to.min(history.position);
    }
    let done = marked && to == history.position;
    if walked.report.losses.is_empty() || done {
        return Ok(to);
    }
    let mut bytes = Vec::new();
    set_back(&mut bytes, walked.next, &history, to.unwrap_or(Lsn::ZERO));
    put(disk, &segment::name(walked.next), bytes).await?;
    Ok(to)
}

/// Writes a segment anew: what is good, and empty frames for what is lost. The old one is kept first.
async fn mend(
    disk: &dyn Disk,
    first: u64,
    following: Option<u64>,
    stamp: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let name = segment::name(first);
    let len = disk.len(&name).map_err(|e| unreadable(&e))?;
    let old = disk.read(&name, 0, len as usize).map_err(|e| unreadable(&e))?;
    let pieces = pieces(&old, first, following)?;
    if pieces.iter().all(|piece| matches!(piece, DissectedPiece::Frame { .. })) {
        return Ok(None);
    }
    let mut new = Vec::with_capacity(old.len());
    for piece in pieces {
        match piece {
            DissectedPiece::Frame { at, len, .. } => new.extend_from_slice(&old[at..at + len]),
            DissectedPiece::Bad { from, to, .. } => {
                for number in from..to {
                    empty(&mut new, number);
                }
            }
            DissectedPiece::Torn { .. } => {}
        }
    }
    let kept = format!("salvage-{stamp}-{name}");
    put(disk, &kept, old).await?;
    put(disk, &name, new).await?;
    Ok(Some((name, kept)))
}

/// A whole file under its name, or none.
async fn put(disk: &dyn Disk, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
    let unfinished = format!("salvage-{name}{SUFFIX}");
    disk.create(&unfinished).await.map_err(|e| blocked(&e))?;
    disk.append_durably(&unfinished, bytes).await.map_err(|e| blocked(&e))?;
    disk.rename(&unfinished, name).await.map_err(|e| blocked(&e))
}
