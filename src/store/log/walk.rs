//! Reads the journal's segments in order, from one of them to the end. Must not depend on an index or on what frames say; changes
//! nothing.
use crate::fault;
use crate::store::error::{StoreError, unreadable};
use crate::store::log::group::{self, Group};
use crate::store::log::segment::{self, Found, SegmentReader, SegmentStep};
use crate::store::recovery::survey::Files;

/// Where the journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct End {
    /// The next free number.
    pub(in crate::store) next: u64,
    /// Bytes at the end of the last segment that were never acknowledged.
    pub(in crate::store) torn: u64,
}

/// Gives every frame of the segments from `first` on to `see`, with the first frame of its segment. Parts of a group that has no
/// seal are not seen: they are torn.
pub(in crate::store) async fn walk<E: From<StoreError>>(
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
        let is_newest = Some(first) == newest;
        let mut group = Group::default();
        loop {
            let at = reader.at;
            match reader.next(end.next).map_err(|e| unreadable(&e))? {
                SegmentStep::Frame(found) => {
                    match group.follow(found.kind, found.crc, &found.body) {
                        group::GroupStep::Begins if !sealed(&reader, end.next, group, is_newest)? => {
                            end.torn = reader.rest(at);
                            break;
                        }
                        group::GroupStep::Breaks => {
                            return Err(reader.damaged("a group is not whole").into());
                        }
                        _ => {}
                    }
                    see(first, &found)?;
                }
                SegmentStep::End => break,
                SegmentStep::Unknown(kind) => return Err(reader.unknown(kind).into()),
                SegmentStep::Flaw if is_newest => {
                    end.torn = reader.judge(end.next)?;
                    break;
                }
                SegmentStep::Flaw => return Err(reader.damaged("a later file follows a bad frame").into()),
            }
            end.next += 1;
            if end.next.is_multiple_of(1000) {
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(end)
}

/// Looks ahead: is the group that begins with frame `first`, just read, whole? Nothing of it may be seen before that is sure, and it
/// need not fit the memory: it is read twice.
fn sealed(reader: &SegmentReader<'_>, first: u64, group: Group, is_newest: bool) -> Result<bool, StoreError> {
    let (mut reader, mut group) = (reader.clone(), group);
    if fault::planted("group-not-awaited") {
        return Ok(true);
    }
    for number in first + 1.. {
        match reader.next(number).map_err(|e| unreadable(&e))? {
            SegmentStep::Frame(found) => match group.follow(found.kind, found.crc, &found.body) {
                group::GroupStep::Seals => return Ok(true),
                group::GroupStep::GoesOn => {}
                _ => return Err(reader.damaged(&format!("the group of frame {first} is not whole"))),
            },
            SegmentStep::Unknown(kind) => return Err(reader.unknown(kind)),
            SegmentStep::End | SegmentStep::Flaw if !is_newest => break,
            SegmentStep::End => return Ok(false),
            SegmentStep::Flaw => return reader.judge(number).map(|_| false),
        }
    }
    Err(reader.damaged(&format!("a later file follows the group of frame {first}, which is not whole")))
}
