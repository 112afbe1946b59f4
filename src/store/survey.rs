//! What lies in the folder when a store opens: segments, checkpoints, marks. Knows no index and no frame.
use super::checkpoint;
use super::disk::Disk;
use super::outbox::{StoreError, blocked, unreadable};
use super::segment;
use std::collections::BTreeMap;

/// A file that says: rebuild the index. Left by a store whose index failed, and by what rewrites the journal.
pub(super) const REBUILD: &str = "rebuild-index";
/// Bytes of the newest segments that are checked at every start.
const CHECKED: u64 = 256 << 20;

/// The folder's files that are ours.
pub(super) struct Files<'a> {
    pub(super) disk: &'a dyn Disk,
    /// Segments and their lengths.
    pub(super) segments: BTreeMap<u64, u64>,
    pub(super) checkpoints: Vec<u64>,
    pub(super) rebuild: bool,
}

pub(super) async fn survey(disk: &dyn Disk) -> Result<Files<'_>, StoreError> {
    let mut files = Files { disk, segments: BTreeMap::new(), checkpoints: Vec::new(), rebuild: false };
    for name in disk.list().map_err(|e| unreadable(&e))? {
        if let Some(first) = segment::parse_name(&name) {
            files.segments.insert(first, disk.len(&name).map_err(|e| unreadable(&e))?);
        } else if checkpoint::is_unfinished(&name) {
            disk.remove(&name).await.map_err(|e| blocked(&e))?;
        } else {
            files.checkpoints.extend(checkpoint::parse_name(&name));
            files.rebuild |= name == REBUILD;
        }
    }
    Ok(files)
}

impl Files<'_> {
    /// The segment that holds the index's last frame, or an older one while there are few bytes to check.
    pub(super) fn first_to_check(&self, applied: u64) -> u64 {
        let mut bytes = 0;
        let mut from = self.segments.keys().next_back().copied().unwrap_or(1);
        for (first, len) in self.segments.iter().rev() {
            bytes += len;
            if from > applied.max(1) || bytes <= CHECKED {
                from = *first;
            }
        }
        from
    }

    pub(super) fn newest_checkpoint(&self) -> Result<Option<u64>, StoreError> {
        let mut wrong = None;
        for frame in self.checkpoints.iter().rev() {
            match checkpoint::verify(self.disk, *frame) {
                Ok(_) => return Ok(Some(*frame)),
                Err(why) => {
                    tracing::error!(frame, why, "a checkpoint is damaged");
                    wrong = Some(format!("the checkpoint of frame {frame}: {why}"));
                }
            }
        }
        // with its whole beginning, the journal needs no checkpoint
        if self.segments.contains_key(&1) {
            return Ok(None);
        }
        let wrong = wrong.unwrap_or_else(|| "no checkpoint is there".to_owned());
        Err(StoreError::Damaged(format!("{wrong}, and the journal's beginning is gone")))
    }
}
