//! `store verify`: reads a whole data folder, frame by frame and block by block, and says what is there and what is wrong with
//! it. Changes nothing; knows how to go on (`salvage` does it) and no command line.
use crate::disk::Disk;
use crate::domain::{DeliveryKey, Lsn, Status};
use crate::store::engine::checkpoint::{self, Wrong};
use crate::store::error::{StoreError, unreadable};
use crate::store::index::Index;
use crate::store::inspect::audit;
use crate::store::inspect::dissect::{DissectedPiece, Past, dissect};
use crate::store::log::frame::{HEADER, Kind};
use crate::store::log::group;
use crate::store::log::segment;
use crate::store::records::record::Record;
use crate::store::recovery::survey::missing;
use crate::store::state::FollowedHistory;
use std::collections::BTreeMap;

/// What to do about a damaged journal.
const SALVAGE: &str = "restore the folder from a copy, or run `tailhook store verify --salvage`";

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderFinding {
    /// False: nothing that a start would not mend by itself.
    pub damage: bool,
    /// In the data folder.
    pub file: String,
    /// Where in the file.
    pub byte: Option<u64>,
    /// One line.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Frames that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where they stood.
    pub file: String,
    /// Where in the file the bad bytes begin.
    pub byte: u64,
    /// How many there are; 0: the frames are missing altogether.
    pub bytes: u64,
    /// The first and the last frame that is lost.
    pub frames: (u64, u64),
    /// Everything up to this position was in good frames before.
    pub after: Option<Lsn>,
    /// The next position in a good frame: events up to here may be lost. `None`: none follows.
    pub until: Option<Lsn>,
    /// Deliveries whose event stood there, as far as the index knows.
    pub deliveries: Vec<(DeliveryKey, Status)>,
}

/// A file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// One line.
    pub holds: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments, checkpoints, index, in this order.
    pub parts: Vec<Part>,
    /// What is wrong.
    pub findings: Vec<FolderFinding>,
    /// What is lost.
    pub losses: Vec<Loss>,
}

impl Report {
    /// Is everything as it was written, but for what a start mends by itself?
    pub fn is_fine(&self) -> bool {
        !self.findings.iter().any(|finding| finding.damage)
    }
    pub(in crate::store) fn find(
        &mut self,
        damage: bool,
        at: (&str, Option<u64>),
        what: String,
        remedy: &str,
    ) {
        let (file, byte) = (at.0.to_owned(), at.1);
        self.findings.push(FolderFinding { damage, file, byte, what, remedy: remedy.to_owned() });
    }
}

/// The journal as it was read.
#[derive(Debug, Default)]
pub(in crate::store) struct Walked {
    pub(in crate::store) report: Report,
    /// Segments and their lengths.
    pub(in crate::store) segments: BTreeMap<u64, u64>,
    pub(in crate::store) past: Past,
    /// The first free number.
    pub(in crate::store) next: u64,
    /// The frame that was asked for: its CRC.
    pub(in crate::store) crc: Option<u32>,
    checkpoints: Vec<u64>,
    /// What the newest whole checkpoint says of positions.
    pub(in crate::store) checkpoint: Option<FollowedHistory>,
    /// Frames between the newest checkpoint and the oldest segment.
    pub(in crate::store) missing: Option<(u64, u64)>,
    /// Why this cannot be salvaged.
    pub(in crate::store) hopeless: Option<String>,
}

/// Reads everything. `index`: open, or why it is not.
pub fn verify(disk: &dyn Disk, index: Result<&dyn Index, &str>) -> Result<Report, StoreError> {
    let applied = index.ok().and_then(audit::applied);
    let mut walked = walk(disk, applied.map_or(0, |applied| applied.frame))?;
    audit::index(disk, index, &mut walked);
    Ok(walked.report)
}

/// Reads the journal and the checkpoints; `watched` is the frame whose CRC is wanted.
pub(in crate::store) fn walk(disk: &dyn Disk, watched: u64) -> Result<Walked, StoreError> {
    let mut walked = Walked::default();
    for name in disk.list().map_err(|e| unreadable(&e))? {
        if let Some(first) = segment::parse_name(&name) {
            walked.segments.insert(first, disk.len(&name).map_err(|e| unreadable(&e))?);
        }
        walked.checkpoints.extend(checkpoint::parse_name(&name));
    }
    walked.begins(disk);
    let firsts: Vec<u64> = walked.segments.keys().copied().collect();
    for (n, first) in firsts.iter().enumerate() {
        walked.segment(disk, *first, firsts.get(n + 1).copied(), watched)?;
    }
    for frame in walked.checkpoints.clone() {
        walked.checkpoint(disk, frame)?;
    }
    walked.ends();
    Ok(walked)
}

/// All of a segment, unless only a newer version can judge it.
pub(in crate::store) fn pieces(
    bytes: &[u8],
    first: u64,
    following: Option<u64>,
) -> Result<Vec<DissectedPiece>, StoreError> {
    dissect(bytes, first, following)
        .map_err(|strange| segment::unknown_frame(strange.kind, &segment::name(first), strange.at as u64))
}

impl Walked {
    fn segment(
        &mut self,
        disk: &dyn Disk,
        first: u64,
        following: Option<u64>,
        watched: u64,
    ) -> Result<(), StoreError> {
        let name = segment::name(first);
        let len = self.segments.get(&first).copied().unwrap_or_default();
        let bytes = disk.read(&name, 0, len as usize).map_err(|e| unreadable(&e))?;
        let mut frames = 0;
        self.next = self.next.max(first);
        for piece in pieces(&bytes, first, following)? {
            match piece {
                DissectedPiece::Frame { kind, number, crc, at, len } => {
                    frames += 1;
                    self.next = number + 1;
                    self.crc = self.crc.or((number == watched).then_some(crc));
                    self.frame(&name, (kind, number), &bytes[at + HEADER..at + len])?;
                }
                DissectedPiece::Bad { at, len, from, to } => {
                    self.next = to;
                    self.lose(&name, (at as u64, len as u64), (from, to));
                }
                DissectedPiece::Torn { at, len } => {
                    let what = format!("{len} bytes of an append that was not finished and not acknowledged");
                    self.report.find(
                        false,
                        (&name, Some(at as u64)),
                        what,
                        "nothing: the next start cuts them off",
                    );
                }
            }
        }
        if following.is_some_and(|following| following < self.next) {
            let what = format!("{name} reaches into the file after it");
            self.report.find(true, (&name, None), what.clone(), "restore the folder from a copy");
            self.hopeless = Some(what);
        }
        let holds = match frames {
            0 => "no frame".to_owned(),
            _ => format!("{frames} frames, up to {}", self.next - 1),
        };
        self.report.parts.push(Part { file: name, bytes: len, holds });
        Ok(())
    }

    fn frame(&mut self, name: &str, (kind, number): (Kind, u64), body: &[u8]) -> Result<(), StoreError> {
        let batch = match kind {
            Kind::Header => return segment::readable(body, name),
            Kind::Batch | Kind::Part | Kind::Seal => group::decode(kind, body),
        };
        let (batch, _) =
            batch.map_err(|what| segment::unknown_record(what, number, &format!("file {name}")))?;
        self.past.frame(&batch);
        let position =
            batch.records.iter().find_map(|r| if let Record::Position(lsn) = r { Some(*lsn) } else { None });
        for loss in self.report.losses.iter_mut().filter(|loss| loss.until.is_none()) {
            loss.until = position;
        }
        Ok(())
    }

    pub(in crate::store) fn lose(&mut self, name: &str, (byte, bytes): (u64, u64), (from, to): (u64, u64)) {
        let frames = match to - from {
            0 => "where no frame is missing".to_owned(),
            1 => format!("where frame {from} stood"),
            _ => format!("where frames {from} to {} stood", to - 1),
        };
        let what = match bytes {
            0 => format!("the file ends {frames}"),
            _ => format!("{bytes} bytes are not what was written, {frames}"),
        };
        self.lost(name, (byte, bytes), (from, to), what);
    }

    fn lost(&mut self, name: &str, (byte, bytes): (u64, u64), (from, to): (u64, u64), what: String) {
        self.report.find(true, (name, Some(byte)), what, SALVAGE);
        let after = self.past.history.position;
        let (file, frames) = (name.to_owned(), (from, to.saturating_sub(1)));
        if to > from {
            self.report.losses.push(Loss {
                file,
                byte,
                bytes,
                frames,
                after,
                until: None,
                deliveries: Vec::new(),
            });
        }
    }

    fn checkpoint(&mut self, disk: &dyn Disk, frame: u64) -> Result<(), StoreError> {
        let file = checkpoint::name(frame);
        let bytes = disk.len(&file).unwrap_or_default();
        let holds = match checkpoint::history(disk, frame) {
            Ok(history) => {
                self.checkpoint = Some(history);
                format!("whole, up to frame {frame}")
            }
            Err(Wrong::Newer(what)) => return Err(StoreError::Newer(what)),
            Err(Wrong::Damaged(what)) => {
                let remedy = "nothing while the index is whole: upkeep writes a new one; else restore the folder from a copy";
                self.report.find(true, (&file, None), what, remedy);
                "damaged".to_owned()
            }
        };
        self.report.parts.push(Part { file, bytes, holds });
        Ok(())
    }

    /// Frames between the newest checkpoint and the oldest segment were in a file that is gone.
    fn begins(&mut self, disk: &dyn Disk) {
        let checkpoint = self.checkpoints.last().copied();
        self.missing = missing(self.segments.keys().next().copied(), checkpoint);
        let (Some((from, to)), Some(frame)) = (self.missing, checkpoint) else { return };
        if let Ok(mut history) = checkpoint::history(disk, frame) {
            // a checkpoint may hold what is newer than its frame: a position that stood in a lost one is none to go on from
            history.position = history.position.filter(|_| history.tag.0 <= frame);
            self.past.history = history;
        }
        let what = format!("frames {from} to {to} are missing between the newest checkpoint and this file");
        self.lost(&segment::name(to + 1), (0, 0), (from, to + 1), what);
    }

    /// The journal's two ends against the checkpoints.
    fn ends(&mut self) {
        let (next, newest) = (self.next.max(1), self.checkpoints.last().copied().unwrap_or(0));
        if newest >= next {
            self.lose(&checkpoint::name(newest), (0, 0), (next, newest.saturating_add(1)));
        }
        self.next = next.max(newest.saturating_add(1));
        let begins = self.segments.keys().next().copied();
        if begins.is_some_and(|first| first > 1) && self.checkpoint.is_none() {
            let what = "the journal's beginning is gone, and no checkpoint is whole".to_owned();
            let remedy = "if the index is whole, `tailhook run` goes on; else restore the folder from a copy";
            self.report.find(true, (".", None), what.clone(), remedy);
            self.hopeless = Some(what);
        }
    }
}
