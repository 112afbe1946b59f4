//! What lies in the folder when a store opens: segments, checkpoints, marks. Knows no index and no frame.
use crate::disk::Disk;
use crate::fault;
use crate::store::engine::catch_up::REBUILD;
use crate::store::engine::checkpoint::{self, Wrong};
use crate::store::error::{StoreError, blocked, unreadable};
use crate::store::log::port::FrameNo;
use crate::store::log::segment;
use std::collections::BTreeMap;

/// The folder's files that are ours.
pub(in crate::store) struct Files<'a> {
    pub(in crate::store) disk: &'a dyn Disk,
    /// Segments and their lengths.
    pub(in crate::store) segments: BTreeMap<u64, u64>,
    pub(in crate::store) checkpoints: Vec<u64>,
    pub(in crate::store) rebuild: bool,
}

/// Looks at the folder; nothing is changed in one that only a newer version reads.
pub(in crate::store) async fn survey(disk: &dyn Disk) -> Result<Files<'_>, StoreError> {
    let (files, unfinished) = list(disk)?;
    files.begins()?;
    for name in unfinished {
        disk.remove(&name).await.map_err(|e| blocked(&e))?;
    }
    Ok(files)
}

/// Is there a file that only a newer version reads? Looks at the first bytes of each; what follows is judged when it is read.
pub fn check_formats(disk: &dyn Disk) -> Result<(), StoreError> {
    list(disk).map(drop)
}

/// What is ours, and checkpoints that were not finished.
fn list(disk: &dyn Disk) -> Result<(Files<'_>, Vec<String>), StoreError> {
    let mut files = Files { disk, segments: BTreeMap::new(), checkpoints: Vec::new(), rebuild: false };
    let mut unfinished = Vec::new();
    for name in disk.list().map_err(|e| unreadable(&e))? {
        if let Some(first) = segment::parse_name(&name) {
            let len = disk.len(&name).map_err(|e| unreadable(&e))?;
            files.segments.insert(first, len);
            segment::header(disk, first, len)?;
        } else if checkpoint::is_unfinished(&name) {
            unfinished.push(name);
        } else if let Some(frame) = checkpoint::parse_name(&name) {
            checkpoint::check_format(disk, frame)?;
            files.checkpoints.push(frame);
        } else {
            files.rebuild |= name == REBUILD;
        }
    }
    Ok((files, unfinished))
}

impl Files<'_> {
    /// A segment is deleted when a checkpoint holds what lives long in it: the oldest one that is left begins at or before the
    /// frame after the newest checkpoint, whether that can be read or not.
    fn begins(&self) -> Result<(), StoreError> {
        match missing(self.segments.keys().next().copied(), self.checkpoints.last().copied()) {
            None => Ok(()),
            Some(_) if fault::planted("lost-beginning-ignored") => Ok(()),
            Some((from, to)) => {
                let file = segment::name(to + 1);
                let why = format!(
                    "frames {from} to {to} are missing between the newest checkpoint and file {file}"
                );
                Err(StoreError::Damaged(why))
            }
        }
    }

    /// `oldest`: the log's first frame.
    pub(in crate::store) fn newest_checkpoint(&self, oldest: FrameNo) -> Result<Option<u64>, StoreError> {
        let mut wrong = None;
        for frame in self.checkpoints.iter().rev() {
            match checkpoint::verify(self.disk, *frame) {
                Ok(_) => return Ok(Some(*frame)),
                Err(Wrong::Newer(what)) => return Err(StoreError::Newer(what)),
                Err(Wrong::Damaged(why)) => {
                    tracing::error!(frame, why, "a checkpoint is damaged");
                    wrong = Some(format!("the checkpoint of frame {frame}: {why}"));
                }
            }
        }
        // with its whole beginning, the journal needs no checkpoint
        if oldest == 1 {
            return Ok(None);
        }
        let wrong = wrong.unwrap_or_else(|| "no checkpoint is there".to_owned());
        Err(StoreError::Damaged(format!("{wrong}, and the journal's beginning is gone")))
    }
}

/// Frames that are nowhere: after the newest checkpoint, before the oldest segment.
pub(in crate::store) fn missing(oldest: Option<u64>, checkpoint: Option<u64>) -> Option<(u64, u64)> {
    let (oldest, after) = (oldest?, checkpoint?.saturating_add(1));
    (oldest > after).then(|| (after, oldest - 1))
}
