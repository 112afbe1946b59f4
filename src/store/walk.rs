//! Reads the journal's segments in order, from one of them to the end. Must not depend on an index or on what frames say; changes
//! nothing.
use super::outbox::{StoreError, unreadable};
use super::segment::{self, Found, SegmentReader, Step};
use super::survey::Files;

/// Where the journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The next free number.
    pub(super) next: u64,
    /// Bytes at the end of the last segment that were never acknowledged.
    pub(super) torn: u64,
}

/// Gives every frame of the segments from `first` on to `see`, with the first frame of its segment.
pub(super) async fn walk<E: From<StoreError>>(
    files: &Files<'_>,
    first: u64,
    mut see: impl FnMut(u64, &Found) -> Result<(), E>,
) -> Result<End, E> {
    let mut end = End { next: first, torn: 0 };
    let newest = files.segments.keys().next_back().copied();
    for first in files.segments.range(first..).map(|(first, _)| *first) {
        if first != end.next {
            let hole = format!("frames {} to {} are missing", end.next, first.saturating_sub(1));
            return Err(StoreError::Damaged(format!("{hole} before file {}", segment::name(first))).into());
        }
        let mut reader = SegmentReader::open(files.disk, first).map_err(|e| unreadable(&e))?;
        loop {
            match reader.next(end.next).map_err(|e| unreadable(&e))? {
                Step::Frame(found) => see(first, &found)?,
                Step::End => break,
                Step::Unknown(kind) => return Err(reader.unknown(kind).into()),
                Step::Flaw if Some(first) == newest => {
                    end.torn = reader.judge(end.next)?;
                    break;
                }
                Step::Flaw => return Err(reader.damaged("a later file follows a bad frame").into()),
            }
            end.next += 1;
            if end.next.is_multiple_of(1000) {
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(end)
}
